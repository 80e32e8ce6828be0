package server

import (
	"encoding/binary"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxDepth is how deep documents may nest, as in the server.
const maxDepth = 200

// field is one element of a document. It aliases the document's bytes.
type field struct {
	key   []byte
	value bson.RawValue
}

// checkDocument reports whether b starts with a well-formed document, and how
// long that is. Everything that arrives is checked once, whole, so that what
// reads it later needs no checks.
func checkDocument(b []byte) (int, error) { return checkNested(b, 0) }

func checkNested(b []byte, depth int) (int, error) {
	if depth > maxDepth {
		return 0, refuse(codeOverflow, "BSONObj exceeded maximum nested object depth: %d", maxDepth)
	}
	if len(b) < 5 {
		return 0, errInvalidBSON("not enough data for a document")
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	if n < 5 || n > len(b) || b[n-1] != 0 {
		return 0, errInvalidBSON("incorrect BSON length")
	}
	rest := b[4 : n-1]
	for len(rest) > 0 {
		typ := bson.Type(rest[0])
		if typ == 0 {
			return 0, errInvalidBSON("incorrect BSON length")
		}
		key, ok := cstring(rest[1:])
		if !ok {
			return 0, errInvalidBSON("field name is not terminated")
		}
		rest = rest[2+len(key):]
		size, ok := valueSize(typ, rest)
		if !ok {
			return 0, errInvalidBSON(fmt.Sprintf("in element with field name '%s': bad value of type %d", key, byte(typ)))
		}
		v := rest[:size]
		switch typ {
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			m, err := checkNested(v, depth+1)
			if err != nil {
				return 0, err
			}
			if m != size {
				return 0, errInvalidBSON("incorrect BSON length")
			}
		case bson.TypeCodeWithScope:
			code := int(int32(binary.LittleEndian.Uint32(v[4:])))
			m, err := checkNested(v[8+code:], depth+1)
			if err != nil {
				return 0, err
			}
			if 8+code+m != size {
				return 0, errInvalidBSON("incorrect BSON length")
			}
		case bson.TypeBoolean:
			if v[0] > 1 {
				return 0, errInvalidBSON("invalid boolean value")
			}
		}
		rest = rest[size:]
	}
	return n, nil
}

// cstring returns the bytes before the first zero byte.
func cstring(b []byte) ([]byte, bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i], true
		}
	}
	return nil, false
}

// valueSize returns the length of the value that b starts with. The value of a
// container is checked in its length alone.
func valueSize(typ bson.Type, b []byte) (int, bool) {
	n := 0
	switch typ {
	case bson.TypeNull, bson.TypeUndefined, bson.TypeMinKey, bson.TypeMaxKey:
		return 0, true
	case bson.TypeBoolean:
		n = 1
	case bson.TypeInt32:
		n = 4
	case bson.TypeDouble, bson.TypeDateTime, bson.TypeTimestamp, bson.TypeInt64:
		n = 8
	case bson.TypeObjectID:
		n = 12
	case bson.TypeDecimal128:
		n = 16
	case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol, bson.TypeDBPointer:
		s, ok := length(b)
		if !ok || s < 1 || s > len(b)-4 || b[4+s-1] != 0 {
			return 0, false
		}
		n = 4 + s
		if typ == bson.TypeDBPointer {
			n += 12
		}
	case bson.TypeBinary:
		s, ok := length(b)
		if !ok || s < 0 || s > len(b)-5 {
			return 0, false
		}
		if b[4] == bson.TypeBinaryBinaryOld {
			// Subtype 2 repeats its length inside.
			inner, ok := length(b[5:])
			if !ok || inner != s-4 {
				return 0, false
			}
		}
		n = 5 + s
	case bson.TypeRegex:
		pattern, ok := cstring(b)
		if !ok {
			return 0, false
		}
		options, ok := cstring(b[len(pattern)+1:])
		if !ok {
			return 0, false
		}
		n = len(pattern) + len(options) + 2
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		s, ok := length(b)
		if !ok || s < 5 {
			return 0, false
		}
		n = s
	case bson.TypeCodeWithScope:
		s, ok := length(b)
		if !ok || s < 4+5+5 || s > len(b) {
			return 0, false
		}
		code, _ := length(b[4:])
		if code < 1 || code > s-8-5 || b[8+code-1] != 0 {
			return 0, false
		}
		n = s
	default:
		return 0, false
	}
	return n, n <= len(b)
}

func length(b []byte) (int, bool) {
	if len(b) < 4 {
		return 0, false
	}
	return int(int32(binary.LittleEndian.Uint32(b))), true
}

// scanner walks the elements of a checked document without allocating.
type scanner struct{ rest []byte }

func scan(doc []byte) scanner {
	if len(doc) < 5 {
		return scanner{}
	}
	return scanner{rest: doc[4 : len(doc)-1]}
}

func (s *scanner) next() (field, bool) {
	if len(s.rest) == 0 {
		return field{}, false
	}
	typ := bson.Type(s.rest[0])
	key, ok := cstring(s.rest[1:])
	if !ok {
		return field{}, false
	}
	b := s.rest[2+len(key):]
	n, ok := valueSize(typ, b)
	if !ok {
		return field{}, false
	}
	s.rest = b[n:]
	return field{key: key, value: bson.RawValue{Type: typ, Value: b[:n:n]}}, true
}

// lookup returns the first element of that name.
func lookup(doc []byte, name string) (bson.RawValue, bool) {
	for s := scan(doc); ; {
		f, ok := s.next()
		if !ok {
			return bson.RawValue{}, false
		}
		if string(f.key) == name {
			return f.value, true
		}
	}
}

// text returns a string value's bytes; v must be one (or a symbol, or code).
func text(v bson.RawValue) []byte { return v.Value[4 : len(v.Value)-1] }

// integral returns a number's value as an integer: of any of the number types,
// fractions cut off, out of range values clamped. ok is false for what is not a
// number.
func integral(v bson.RawValue) (n int64, ok bool) {
	switch v.Type {
	case bson.TypeInt32:
		return int64(int32(binary.LittleEndian.Uint32(v.Value))), true
	case bson.TypeInt64:
		return int64(binary.LittleEndian.Uint64(v.Value)), true
	case bson.TypeDouble:
		return clamp(math.Float64frombits(binary.LittleEndian.Uint64(v.Value))), true
	case bson.TypeDecimal128:
		return clamp(decimal(v)), true
	}
	return 0, false
}

// number returns a number's value as a double.
func number(v bson.RawValue) (float64, bool) {
	switch v.Type {
	case bson.TypeDouble:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.Value)), true
	case bson.TypeDecimal128:
		return decimal(v), true
	}
	n, ok := integral(v)
	return float64(n), ok
}

func decimal(v bson.RawValue) float64 {
	d, ok := v.Decimal128OK()
	if !ok {
		return 0
	}
	if d.IsNaN() {
		return math.NaN()
	}
	if inf := d.IsInf(); inf != 0 {
		return math.Inf(inf)
	}
	mantissa, exp, err := d.BigInt()
	if err != nil {
		return 0
	}
	f, _ := mantissa.Float64()
	return f * math.Pow10(exp)
}

func clamp(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}
