package query

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxText bounds how much of a value an error's message repeats.
const maxText = 512

// text writes v as the server writes values in its messages.
func text(v bson.RawValue) string {
	var b strings.Builder
	writeText(&b, v, 0)
	return clip(b.String())
}

// elementText is `name: value`.
func elementText(name string, v bson.RawValue) string { return clip(name + ": " + text(v)) }

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return s[:maxText] + "..."
}

func writeText(b *strings.Builder, v bson.RawValue, depth int) {
	if b.Len() > maxText || depth > maxDepth {
		return
	}
	switch v.Type {
	case bson.TypeDouble:
		b.WriteString(doubleText(readDouble(v)))
	case bson.TypeString, bson.TypeSymbol:
		fmt.Fprintf(b, "%q", string(readString(v)))
	case bson.TypeEmbeddedDocument:
		writeFields(b, v.Value, true, depth)
	case bson.TypeArray:
		writeFields(b, v.Value, false, depth)
	case bson.TypeBinary:
		sub, data := readBinary(v)
		fmt.Fprintf(b, "BinData(%d, %s)", sub, strings.ToUpper(hex.EncodeToString(data[:min(len(data), maxText)])))
	case bson.TypeUndefined:
		b.WriteString("undefined")
	case bson.TypeObjectID:
		fmt.Fprintf(b, "ObjectId('%s')", hex.EncodeToString(fixed(v, 12)))
	case bson.TypeBoolean:
		b.WriteString(strconv.FormatBool(readBool(v)))
	case bson.TypeDateTime:
		fmt.Fprintf(b, "new Date(%d)", readInt64(v))
	case bson.TypeNull:
		b.WriteString("null")
	case bson.TypeRegex:
		p, f := readRegex(v)
		fmt.Fprintf(b, "/%s/%s", p, f)
	case bson.TypeJavaScript:
		b.Write(readString(v))
	case bson.TypeInt32, bson.TypeInt64:
		n, _ := asInt(v)
		b.WriteString(strconv.FormatInt(n, 10))
	case bson.TypeTimestamp:
		ts := uint64(readInt64(v))
		fmt.Fprintf(b, "Timestamp(%d, %d)", ts>>32, uint32(ts))
	case bson.TypeDecimal128:
		if d, ok := v.Decimal128OK(); ok {
			b.WriteString(d.String())
		}
	case bson.TypeMinKey:
		b.WriteString("MinKey")
	case bson.TypeMaxKey:
		b.WriteString("MaxKey")
	case 0:
		b.WriteString("EOO")
	default:
		b.WriteString(TypeName(v.Type))
	}
}

func writeFields(b *strings.Builder, doc []byte, names bool, depth int) {
	open, closing := "[", "]"
	if names {
		open, closing = "{", "}"
	}
	b.WriteString(open)
	e := elementsOf(doc)
	for i := 0; ; i++ {
		key, v, ok := e.next()
		if !ok || b.Len() > maxText {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		if names {
			b.Write(key)
			b.WriteString(": ")
		}
		writeText(b, v, depth+1)
	}
	if b.String()[b.Len()-1] != open[0] {
		b.WriteByte(' ')
	}
	b.WriteString(closing)
}

func doubleText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan.0"
	case math.IsInf(f, 1):
		return "inf.0"
	case math.IsInf(f, -1):
		return "-inf.0"
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
