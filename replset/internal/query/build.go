package query

import (
	"encoding/binary"
	"math"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// openDocument appends the length field of a new document to dst and returns
// where it is; closeDocument fills it in.
func openDocument(dst []byte) (out []byte, start int) {
	return append(dst, 0, 0, 0, 0), len(dst)
}

func closeDocument(dst []byte, start int) []byte {
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

func appendKey(dst []byte, t bson.Type, key string) []byte {
	dst = append(dst, byte(t))
	dst = append(dst, key...)
	return append(dst, 0)
}

func appendElement(dst []byte, key string, v bson.RawValue) []byte {
	return append(appendKey(dst, v.Type, key), v.Value...)
}

// appendItem appends v as the array item at index.
func appendItem(dst []byte, index int, v bson.RawValue) []byte {
	dst = append(dst, byte(v.Type))
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(dst, 0)
	return append(dst, v.Value...)
}

func arrayValue(items []bson.RawValue) bson.RawValue {
	dst, start := openDocument(nil)
	for i, v := range items {
		dst = appendItem(dst, i, v)
	}
	return bson.RawValue{Type: bson.TypeArray, Value: closeDocument(dst, start)}
}

// arrayItems returns the items of an array.
func arrayItems(arr []byte) []bson.RawValue {
	var items []bson.RawValue
	e := elementsOf(arr)
	for {
		_, v, ok := e.next()
		if !ok {
			return items
		}
		items = append(items, v)
	}
}

func documentValue(doc []byte) bson.RawValue {
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}
}

func nullValue() bson.RawValue { return bson.RawValue{Type: bson.TypeNull} }

func int32Value(n int32) bson.RawValue {
	return bson.RawValue{Type: bson.TypeInt32, Value: binary.LittleEndian.AppendUint32(nil, uint32(n))}
}

func int64Value(n int64) bson.RawValue {
	return bson.RawValue{Type: bson.TypeInt64, Value: binary.LittleEndian.AppendUint64(nil, uint64(n))}
}

func doubleValue(f float64) bson.RawValue {
	return bson.RawValue{Type: bson.TypeDouble, Value: binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))}
}

func decimalValue(d bson.Decimal128) bson.RawValue {
	h, l := d.GetBytes()
	b := binary.LittleEndian.AppendUint64(nil, l)
	return bson.RawValue{Type: bson.TypeDecimal128, Value: binary.LittleEndian.AppendUint64(b, h)}
}

func dateValue(ms int64) bson.RawValue {
	return bson.RawValue{Type: bson.TypeDateTime, Value: binary.LittleEndian.AppendUint64(nil, uint64(ms))}
}

func boolValue(b bool) bson.RawValue {
	if b {
		return bson.RawValue{Type: bson.TypeBoolean, Value: []byte{1}}
	}
	return bson.RawValue{Type: bson.TypeBoolean, Value: []byte{0}}
}

func stringValue(s string) bson.RawValue {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(s)+1))
	b = append(b, s...)
	return bson.RawValue{Type: bson.TypeString, Value: append(b, 0)}
}

func objectIDValue(id bson.ObjectID) bson.RawValue {
	return bson.RawValue{Type: bson.TypeObjectID, Value: id[:]}
}
