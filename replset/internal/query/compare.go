package query

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxDepth is how deep values nest before comparison stops looking. What is stored
// nests no deeper than ValidateDocument lets it, as in the server; the limit here
// only keeps hostile bytes from exhausting the stack.
const maxDepth = 1000

// rank is the place of a type in the order of all types; types of one rank
// compare by value.
func rank(t bson.Type) int {
	switch t {
	case bson.TypeMinKey:
		return -1
	case 0, bson.TypeUndefined:
		return 0
	case bson.TypeNull:
		return 5
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return 10
	case bson.TypeString, bson.TypeSymbol:
		return 15
	case bson.TypeEmbeddedDocument:
		return 20
	case bson.TypeArray:
		return 25
	case bson.TypeBinary:
		return 30
	case bson.TypeObjectID:
		return 35
	case bson.TypeBoolean:
		return 40
	case bson.TypeDateTime:
		return 45
	case bson.TypeTimestamp:
		return 47
	case bson.TypeRegex:
		return 50
	case bson.TypeDBPointer:
		return 55
	case bson.TypeJavaScript:
		return 60
	case bson.TypeCodeWithScope:
		return 65
	case bson.TypeMaxKey:
		return 127
	}
	return 200 + int(t) // no BSON type: only a malformed document holds one
}

// Compare says how a and b sort: below 0, 0 or above 0, in the server's order
// of all BSON values. Numbers compare by exact value across their types, NaN
// below all others; strings by their bytes; documents field by field: type, then
// name, then value.
//
// The order of types: MinKey, undefined (and no value at all), null, numbers,
// strings and symbols, documents, arrays, binary, ObjectID, booleans, dates, timestamps,
// regular expressions, DBPointer, code, code with scope, MaxKey.
//
// See https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/.
func Compare(a, b bson.RawValue) int { return compareAt(a, b, 0) }

func compareAt(a, b bson.RawValue, depth int) int {
	ra := rank(a.Type)
	if a.Type != b.Type {
		if c := cmp.Compare(ra, rank(b.Type)); c != 0 {
			return c
		}
	}
	switch ra {
	case -1, 0, 5, 127:
		return 0
	case 10:
		return compareNumbers(a, b)
	case 15, 60:
		return bytes.Compare(readString(a), readString(b))
	case 20:
		return compareDocuments(a.Value, b.Value, true, depth)
	case 25:
		return compareDocuments(a.Value, b.Value, false, depth)
	case 30:
		return compareBinary(a, b)
	case 35:
		return bytes.Compare(fixed(a, 12), fixed(b, 12))
	case 40:
		return compareBools(readBool(a), readBool(b))
	case 45:
		return cmp.Compare(readInt64(a), readInt64(b))
	case 47:
		return cmp.Compare(uint64(readInt64(a)), uint64(readInt64(b)))
	case 50:
		pa, fa := readRegex(a)
		pb, fb := readRegex(b)
		if c := bytes.Compare(pa, pb); c != 0 {
			return c
		}
		return bytes.Compare(fa, fb)
	case 55:
		pa, pb := dbPointer(a), dbPointer(b)
		if c := cmp.Compare(len(pa), len(pb)); c != 0 {
			return c
		}
		return bytes.Compare(pa, pb)
	case 65:
		ca, sa := readCode(a)
		cb, sb := readCode(b)
		if c := bytes.Compare(ca, cb); c != 0 {
			return c
		}
		return compareDocuments(sa, sb, true, depth)
	}
	return bytes.Compare(a.Value, b.Value)
}

func compareDocuments(a, b []byte, names bool, depth int) int {
	if depth >= maxDepth {
		return 0
	}
	ea, eb := elementsOf(a), elementsOf(b)
	for {
		ka, va, oka := ea.next()
		kb, vb, okb := eb.next()
		if !oka || !okb {
			return compareBools(oka, okb)
		}
		if names {
			if va.Type != vb.Type {
				if c := cmp.Compare(rank(va.Type), rank(vb.Type)); c != 0 {
					return c
				}
			}
			if c := bytes.Compare(ka, kb); c != 0 {
				return c
			}
		}
		if c := compareAt(va, vb, depth+1); c != 0 {
			return c
		}
	}
}

func compareBinary(a, b bson.RawValue) int {
	sa, da := readBinary(a)
	sb, db := readBinary(b)
	if c := cmp.Compare(len(da), len(db)); c != 0 {
		return c
	}
	if c := cmp.Compare(sa, sb); c != 0 {
		return c
	}
	return bytes.Compare(da, db)
}

func compareBools(a, b bool) int {
	if a == b {
		return 0
	}
	if a {
		return 1
	}
	return -1
}

// fixed is v's n bytes, or nil when it does not have them.
func fixed(v bson.RawValue, n int) []byte {
	if len(v.Value) < n {
		return nil
	}
	return v.Value[:n]
}

func dbPointer(v bson.RawValue) []byte {
	n, ok := valueSize(bson.TypeDBPointer, v.Value)
	if !ok {
		return nil
	}
	return v.Value[:n]
}

// IDKey is a map key for v: two values have the same one exactly when Compare
// says 0 of them, so that 1, 1.0, int64 1 and decimal 1.0 are one key.
func IDKey(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeObjectID:
		if len(v.Value) >= 12 {
			var buf [13]byte
			buf[0] = 35
			copy(buf[1:], v.Value)
			return string(buf[:])
		}
	case bson.TypeInt32, bson.TypeInt64:
		n := int64(readInt32(v))
		if v.Type == bson.TypeInt64 {
			n = readInt64(v)
		}
		var buf [10]byte
		buf[0], buf[1] = 10, 'i'
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
		return string(buf[:])
	}
	var buf [128]byte
	return string(appendIDKey(buf[:0], v, 0))
}

// appendIDKey appends v's key. Every key says where it ends, so that keys in a
// row are unambiguous.
func appendIDKey(dst []byte, v bson.RawValue, depth int) []byte {
	r := rank(v.Type)
	dst = append(dst, byte(min(r, 200)))
	switch r {
	case -1, 0, 5, 127:
		return dst
	case 10:
		return appendNumberKey(dst, v)
	case 15, 60:
		return appendSized(dst, readString(v))
	case 20:
		return appendDocumentKey(dst, v.Value, true, depth)
	case 25:
		return appendDocumentKey(dst, v.Value, false, depth)
	case 30:
		sub, data := readBinary(v)
		return appendSized(append(dst, sub), data)
	case 35:
		return appendSized(dst, fixed(v, 12))
	case 40:
		if readBool(v) {
			return append(dst, 1)
		}
		return append(dst, 0)
	case 45, 47:
		return binary.BigEndian.AppendUint64(dst, uint64(readInt64(v)))
	case 50:
		p, f := readRegex(v)
		return appendSized(appendSized(dst, p), f)
	case 55:
		return appendSized(dst, dbPointer(v))
	case 65:
		code, scope := readCode(v)
		return appendDocumentKey(appendSized(dst, code), scope, true, depth)
	}
	return appendSized(append(dst, byte(v.Type)), v.Value)
}

func appendDocumentKey(dst, doc []byte, names bool, depth int) []byte {
	if depth >= maxDepth {
		return dst
	}
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			return append(dst, 0)
		}
		dst = append(dst, 1)
		if names {
			dst = append(append(dst, key...), 0)
		}
		dst = appendIDKey(dst, v, depth+1)
	}
}

func appendSized(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
