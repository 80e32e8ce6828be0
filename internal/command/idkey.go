package command

import (
	"encoding/binary"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// idKey is a comparable form of an _id: for values that matchable accepts, keys are
// equal exactly where the server takes the values for the same _id, but for a
// collation, of which nothing is known here (see Batch.HasText).
type idKey struct {
	kind   idKind
	a, b   uint64
	string string
}

type idKind uint8

const (
	idBytes    idKind = iota // type in a, value in string
	idInteger                // of any numeric type, in a
	idDouble                 // one that is no 64-bit integer, by its bits
	idFixed                  // 8 bytes in a, type and up to 4 more bytes in b
	idLong                   // a binary of 16 bytes, whose subtype string is
	idDocument               // string is what canonical makes of it
)

// The subtypes of UUIDs, which are worth a key without a copy.
const (
	uuidLegacy = "\x03"
	uuid       = "\x04"
)

// matchable reports whether keyOf tells which values the server takes for equal to v.
// It does not for decimals, which equal other numbers, and for types that are out of
// use, such as symbols, which equal strings.
func matchable(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeString, bson.TypeObjectID, bson.TypeDateTime,
		bson.TypeTimestamp, bson.TypeBoolean, bson.TypeBinary, bson.TypeNull:
		return true
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		w := walk(v.Value)
		for w.next() {
			if !matchable(w.raw()) {
				return false
			}
		}
		return !w.broken
	}
	return false
}

// hasText reports whether v is a string or has one in it.
func hasText(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeString:
		return true
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		for w := walk(v.Value); w.next(); {
			if hasText(w.raw()) {
				return true
			}
		}
	}
	return false
}

// keyOf returns the key of a value that is whole.
func keyOf(v bson.RawValue) idKey {
	switch v.Type {
	case bson.TypeInt32:
		return idKey{kind: idInteger, a: uint64(int64(int32(binary.LittleEndian.Uint32(v.Value))))}
	case bson.TypeInt64:
		return idKey{kind: idInteger, a: binary.LittleEndian.Uint64(v.Value)}
	case bson.TypeDouble:
		return doubleKey(math.Float64frombits(binary.LittleEndian.Uint64(v.Value)))
	case bson.TypeObjectID:
		return idKey{
			kind: idFixed, a: binary.LittleEndian.Uint64(v.Value),
			b: uint64(v.Type)<<32 | uint64(binary.LittleEndian.Uint32(v.Value[8:])),
		}
	case bson.TypeDateTime, bson.TypeTimestamp:
		return idKey{kind: idFixed, a: binary.LittleEndian.Uint64(v.Value), b: uint64(v.Type) << 32}
	case bson.TypeBinary:
		if len(v.Value) == 4+1+16 && (v.Value[4] == uuid[0] || v.Value[4] == uuidLegacy[0]) {
			k := idKey{kind: idLong, a: binary.LittleEndian.Uint64(v.Value[5:]), b: binary.LittleEndian.Uint64(v.Value[13:]), string: uuid}
			if v.Value[4] == uuidLegacy[0] {
				k.string = uuidLegacy
			}
			return k
		}
	case bson.TypeEmbeddedDocument:
		return idKey{kind: idDocument, string: string(canonical(nil, v))}
	}
	return idKey{kind: idBytes, a: uint64(v.Type), string: string(v.Value)}
}

// doubleKey gives an integral double the key of that integer. The server compares a
// double and an integer exactly, without rounding either.
func doubleKey(f float64) idKey {
	switch {
	case math.IsNaN(f): // All of them are one value.
		return idKey{kind: idDouble, a: math.Float64bits(math.NaN())}
	case f == math.Trunc(f) && f >= -1<<63 && f < 1<<63: // -0 is 0.
		return idKey{kind: idInteger, a: uint64(int64(f))}
	}
	return idKey{kind: idDouble, a: math.Float64bits(f)}
}

// canonical appends a form of v that is the same for all documents that the server takes
// for equal: same names, in the same order, with equal values. The indexes in an
// array are no names.
func canonical(b []byte, v bson.RawValue) []byte {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		k := keyOf(v)
		return binary.LittleEndian.AppendUint64(append(b, byte(k.kind)), k.a)
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		b = append(b, byte(v.Type))
		for w := walk(v.Value); w.next(); {
			if b = append(b, 1); v.Type == bson.TypeEmbeddedDocument {
				b = append(append(b, w.key...), 0)
			}
			b = canonical(b, w.raw())
		}
		return append(b, 0)
	}
	b = append(b, 0xff, byte(v.Type))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Value)))
	return append(b, v.Value...)
}
