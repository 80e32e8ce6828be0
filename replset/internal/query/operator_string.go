package query

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var stringOperators = map[string]operator{
	"$concat": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		var all strings.Builder
		for i := range x.args {
			v := x.arg(s, i)
			switch {
			case nullish(v):
				return nullValue()
			case v.Type != bson.TypeString:
				return s.fail(16702, "$concat only supports strings, not %s", TypeName(v.Type))
			}
			all.Write(readString(v))
		}
		return stringValue(all.String())
	}},
	"$toLower": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		return stringValue(mapASCII(coerced(s, x.arg(s, 0)), 'A', 'Z'))
	}},
	"$toUpper": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		return stringValue(mapASCII(coerced(s, x.arg(s, 0)), 'a', 'z'))
	}},
	"$strcasecmp": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		a, b := mapASCII(coerced(s, x.arg(s, 0)), 'a', 'z'), mapASCII(coerced(s, x.arg(s, 1)), 'a', 'z')
		return int32Value(int32(strings.Compare(a, b)))
	}},
	"$strLenBytes": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		v := x.arg(s, 0)
		if v.Type != bson.TypeString {
			return s.fail(34473, "$strLenBytes requires a string argument, found: %s", TypeName(v.Type))
		}
		return int32Value(int32(len(readString(v))))
	}},
	"$strLenCP": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		v := x.arg(s, 0)
		if v.Type != bson.TypeString {
			return s.fail(34471, "$strLenCP requires a string argument, found: %s", TypeName(v.Type))
		}
		return int32Value(int32(utf8.RuneCount(readString(v))))
	}},
	"$substr":      {3, 3, evalSubstrBytes},
	"$substrBytes": {3, 3, evalSubstrBytes},
	"$substrCP":    {3, 3, evalSubstrCP},
	"$split": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		v, separator := x.arg(s, 0), x.arg(s, 1)
		switch {
		case nullish(v) || nullish(separator):
			return nullValue()
		case v.Type != bson.TypeString:
			return s.fail(40085, "$split requires an expression that evaluates to a string as a first argument, found: %s", TypeName(v.Type))
		case separator.Type != bson.TypeString:
			return s.fail(40086, "$split requires an expression that evaluates to a string as a second argument, found: %s", TypeName(separator.Type))
		case len(readString(separator)) == 0:
			return s.fail(40087, "$split requires a non-empty separator")
		}
		var parts []bson.RawValue
		for _, part := range bytes.Split(readString(v), readString(separator)) {
			parts = append(parts, stringValue(string(part)))
		}
		return arrayValue(parts)
	}},
}

// mapASCII changes the case of the letters from lowest to highest. Of other letters the
// server's manual says that nothing is defined; it leaves them.
func mapASCII(text string, lowest, highest byte) string {
	b := []byte(text)
	for i, c := range b {
		if c >= lowest && c <= highest {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// coerced is a value as operators on strings take it. Of the other types that the
// server turns into strings, numbers with fractions are refused: how it writes those is
// not known here.
func coerced(s *scope, v bson.RawValue) string {
	switch v.Type {
	case bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript:
		return string(readString(v))
	case 0, bson.TypeNull, bson.TypeUndefined:
		return ""
	case bson.TypeInt32, bson.TypeInt64:
		n, _ := asInt(v)
		return strconv.FormatInt(n, 10)
	case bson.TypeDateTime:
		return time.UnixMilli(readInt64(v)).UTC().Format("2006-01-02T15:04:05.000Z")
	case bson.TypeDouble, bson.TypeDecimal128, bson.TypeTimestamp:
		s.fail(notImplemented, "a string of a %s is not supported by this server", TypeName(v.Type))
		return ""
	}
	s.fail(16007, "can't convert from BSON type %s to String", TypeName(v.Type))
	return ""
}

func evalSubstrBytes(s *scope, x *invocation) bson.RawValue {
	str, from, length := coerced(s, x.arg(s, 0)), x.arg(s, 1), x.arg(s, 2)
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case !isNumber(from):
		return s.fail(16034, "%s:  starting index must be a numeric type (is BSON type %s)", x.name, TypeName(from.Type))
	case !isNumber(length):
		return s.fail(16035, "%s:  length must be a numeric type (is BSON type %s)", x.name, TypeName(length.Type))
	}
	size := int64(len(str))
	low, _ := truncated(from)
	if low < 0 {
		return s.fail(50752, "%s:  starting index must be non-negative (got: %d)", x.name, low)
	}
	n, _ := truncated(length)
	if n < 0 || n > size {
		n = size
	}
	low = min(low, size)
	high := min(low+n, size)
	switch {
	case low < size && !utf8.RuneStart(str[low]):
		return s.fail(28656, "%s:  Invalid range, starting index is a UTF-8 continuation byte.", x.name)
	case high < size && !utf8.RuneStart(str[high]):
		return s.fail(28657, "%s:  Invalid range, ending index is in the middle of a UTF-8 character.", x.name)
	}
	return stringValue(str[low:high])
}

func evalSubstrCP(s *scope, x *invocation) bson.RawValue {
	str, from, length := coerced(s, x.arg(s, 0)), x.arg(s, 1), x.arg(s, 2)
	if s.err != nil {
		return bson.RawValue{}
	}
	if !isNumber(from) {
		return s.fail(34450, "$substrCP: starting index must be a numeric type (is BSON type %s)", TypeName(from.Type))
	}
	low, ok := whole32(from)
	if !ok {
		return s.fail(34451, "$substrCP: starting index cannot be represented as a 32-bit integral value: %s", text(from))
	}
	if !isNumber(length) {
		return s.fail(34452, "$substrCP: length must be a numeric type (is BSON type %s)", TypeName(length.Type))
	}
	n, ok := whole32(length)
	switch {
	case !ok:
		return s.fail(34453, "$substrCP: length cannot be represented as a 32-bit integral value: %s", text(length))
	case n < 0:
		return s.fail(34454, "$substrCP: length must be a nonnegative integer.")
	case low < 0:
		return s.fail(34455, "$substrCP: the starting index must be nonnegative integer.")
	}
	runes := []rune(str)
	low = min(low, int64(len(runes)))
	return stringValue(string(runes[low:min(low+n, int64(len(runes)))]))
}
