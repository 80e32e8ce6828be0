package query

import (
	"bytes"
	"encoding/binary"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// elements walks the elements of a document or array without decoding them. It
// never reads outside the bytes it was given: at the first malformed element it
// stops and says so in bad.
type elements struct {
	rest []byte
	bad  bool
}

// elementsOf starts a walk over doc, which may be anything.
func elementsOf(doc []byte) elements {
	if len(doc) < 5 {
		return elements{bad: true}
	}
	n := int(int32(binary.LittleEndian.Uint32(doc)))
	if n < 5 || n > len(doc) || doc[n-1] != 0 {
		return elements{bad: true}
	}
	return elements{rest: doc[4 : n-1]}
}

// next returns the next element. The key is a slice of the document, without
// its terminating zero.
func (e *elements) next() (key []byte, v bson.RawValue, ok bool) {
	raw, keyLen := e.nextRaw()
	if raw == nil {
		return nil, bson.RawValue{}, false
	}
	return raw[1 : 1+keyLen], bson.RawValue{Type: bson.Type(raw[0]), Value: raw[keyLen+2:]}, true
}

// nextRaw returns the next element whole (type, key, zero, value) and the
// length of its key.
func (e *elements) nextRaw() (raw []byte, keyLen int) {
	if len(e.rest) == 0 {
		return nil, 0
	}
	keyLen = bytes.IndexByte(e.rest[1:], 0)
	if keyLen < 0 {
		e.rest, e.bad = nil, true
		return nil, 0
	}
	start := keyLen + 2
	size, ok := valueSize(bson.Type(e.rest[0]), e.rest[start:])
	if !ok {
		e.rest, e.bad = nil, true
		return nil, 0
	}
	end := start + size
	raw = e.rest[:end:end]
	e.rest = e.rest[end:]
	return raw, keyLen
}

// elementValue is the value of an element returned by nextRaw.
func elementValue(raw []byte, keyLen int) bson.RawValue {
	return bson.RawValue{Type: bson.Type(raw[0]), Value: raw[keyLen+2:]}
}

// valueSize is the number of bytes that a value of type t takes at the start of
// b; ok is false when b does not hold a whole one.
func valueSize(t bson.Type, b []byte) (size int, ok bool) {
	switch t {
	case bson.TypeNull, bson.TypeUndefined, bson.TypeMinKey, bson.TypeMaxKey:
		return 0, true
	case bson.TypeBoolean:
		size = 1
	case bson.TypeInt32:
		size = 4
	case bson.TypeDouble, bson.TypeInt64, bson.TypeDateTime, bson.TypeTimestamp:
		size = 8
	case bson.TypeObjectID:
		size = 12
	case bson.TypeDecimal128:
		size = 16
	case bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript:
		size, ok = stringSize(b)
		return size, ok
	case bson.TypeDBPointer:
		size, ok = stringSize(b)
		if !ok {
			return 0, false
		}
		size += 12
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		if len(b) < 5 {
			return 0, false
		}
		size = int(int32(binary.LittleEndian.Uint32(b)))
		if size < 5 || size > len(b) || b[size-1] != 0 {
			return 0, false
		}
	case bson.TypeBinary:
		if len(b) < 5 {
			return 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 0 {
			return 0, false
		}
		size = 5 + n
	case bson.TypeCodeWithScope:
		if len(b) < 4 {
			return 0, false
		}
		size = int(int32(binary.LittleEndian.Uint32(b)))
		if size < 14 || size > len(b) {
			return 0, false
		}
		n, ok := stringSize(b[4:size])
		if !ok {
			return 0, false
		}
		if m, ok := valueSize(bson.TypeEmbeddedDocument, b[4+n:size]); !ok || 4+n+m != size {
			return 0, false
		}
	case bson.TypeRegex:
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return 0, false
		}
		j := bytes.IndexByte(b[i+1:], 0)
		if j < 0 {
			return 0, false
		}
		size = i + j + 2
	default:
		return 0, false
	}
	return size, size <= len(b)
}

func stringSize(b []byte) (int, bool) {
	if len(b) < 5 {
		return 0, false
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	if n < 1 || n > len(b)-4 || b[3+n] != 0 {
		return 0, false
	}
	return 4 + n, true
}

// The readers below return a zero value where v is too short for its type,
// which only a malformed document can bring about.

func readInt32(v bson.RawValue) int32 {
	if len(v.Value) < 4 {
		return 0
	}
	return int32(binary.LittleEndian.Uint32(v.Value))
}

func readInt64(v bson.RawValue) int64 {
	if len(v.Value) < 8 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(v.Value))
}

func readDouble(v bson.RawValue) float64 {
	return math.Float64frombits(uint64(readInt64(v)))
}

func readBool(v bson.RawValue) bool { return len(v.Value) > 0 && v.Value[0] != 0 }

// readString returns the bytes of a string, symbol or code without their
// length and terminating zero.
func readString(v bson.RawValue) []byte {
	n, ok := stringSize(v.Value)
	if !ok {
		return nil
	}
	return v.Value[4 : n-1]
}

func readBinary(v bson.RawValue) (subtype byte, data []byte) {
	n, ok := valueSize(bson.TypeBinary, v.Value)
	if !ok {
		return 0, nil
	}
	return v.Value[4], v.Value[5:n]
}

func readRegex(v bson.RawValue) (pattern, flags []byte) {
	n, ok := valueSize(bson.TypeRegex, v.Value)
	if !ok {
		return nil, nil
	}
	i := bytes.IndexByte(v.Value, 0)
	return v.Value[:i], v.Value[i+1 : n-1]
}

// readCode splits code with scope.
func readCode(v bson.RawValue) (code, scope []byte) {
	size, ok := valueSize(bson.TypeCodeWithScope, v.Value)
	if !ok {
		return nil, nil
	}
	n, _ := stringSize(v.Value[4:])
	return v.Value[8 : 4+n-1], v.Value[4+n : size]
}

// lookup returns the first value of that name in doc; its Type is 0 when there
// is none.
func lookup(doc []byte, name string) bson.RawValue {
	e := elementsOf(doc)
	for {
		raw, n := e.nextRaw()
		if raw == nil {
			return bson.RawValue{}
		}
		if n == len(name) && string(raw[1:1+n]) == name {
			return elementValue(raw, n)
		}
	}
}

// missing reports that v stands for no value at all.
func missing(v bson.RawValue) bool { return v.Type == 0 }

func isObject(v bson.RawValue) bool { return v.Type == bson.TypeEmbeddedDocument }
func isArray(v bson.RawValue) bool  { return v.Type == bson.TypeArray }

func isNumber(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return true
	}
	return false
}

// TypeName is the server's name of a BSON type, as $type and its messages use it.
func TypeName(t bson.Type) string {
	switch t {
	case 0:
		return "missing"
	case bson.TypeDouble:
		return "double"
	case bson.TypeString:
		return "string"
	case bson.TypeEmbeddedDocument:
		return "object"
	case bson.TypeArray:
		return "array"
	case bson.TypeBinary:
		return "binData"
	case bson.TypeUndefined:
		return "undefined"
	case bson.TypeObjectID:
		return "objectId"
	case bson.TypeBoolean:
		return "bool"
	case bson.TypeDateTime:
		return "date"
	case bson.TypeNull:
		return "null"
	case bson.TypeRegex:
		return "regex"
	case bson.TypeDBPointer:
		return "dbPointer"
	case bson.TypeJavaScript:
		return "javascript"
	case bson.TypeSymbol:
		return "symbol"
	case bson.TypeCodeWithScope:
		return "javascriptWithScope"
	case bson.TypeInt32:
		return "int"
	case bson.TypeTimestamp:
		return "timestamp"
	case bson.TypeInt64:
		return "long"
	case bson.TypeDecimal128:
		return "decimal"
	case bson.TypeMinKey:
		return "minKey"
	case bson.TypeMaxKey:
		return "maxKey"
	}
	return "unknown"
}
