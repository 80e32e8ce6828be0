package query

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// asInt is v's value when v is an int or a long.
func asInt(v bson.RawValue) (int64, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return int64(readInt32(v)), true
	case bson.TypeInt64:
		return readInt64(v), true
	}
	return 0, false
}

// compareNumbers compares exactly: no value is rounded to another's type first.
func compareNumbers(a, b bson.RawValue) int {
	na, aInt := asInt(a)
	nb, bInt := asInt(b)
	switch {
	case aInt && bInt:
		return cmp.Compare(na, nb)
	case a.Type == bson.TypeDouble && b.Type == bson.TypeDouble:
		return cmp.Compare(readDouble(a), readDouble(b)) // NaN equals itself and is the least
	case aInt && b.Type == bson.TypeDouble:
		return compareIntDouble(na, readDouble(b))
	case bInt && a.Type == bson.TypeDouble:
		return -compareIntDouble(nb, readDouble(a))
	}
	return compareDecimals(exactly(a), exactly(b))
}

const twoTo63 = float64(1 << 63)

func compareIntDouble(n int64, f float64) int {
	switch {
	case math.IsNaN(f), f < -twoTo63:
		return 1
	case f >= twoTo63:
		return -1
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(n, int64(whole)); c != 0 {
		return c
	}
	return cmp.Compare(whole, f)
}

// wholeDouble is f's value when f is an integer that an int64 can hold.
func wholeDouble(f float64) (int64, bool) {
	if f >= -twoTo63 && f < twoTo63 && f == math.Trunc(f) {
		return int64(f), true
	}
	return 0, false
}

// appendNumberKey appends a form that equal numbers of all types share: an
// int64 if one can hold the value, else a double if one can, else a decimal.
func appendNumberKey(dst []byte, v bson.RawValue) []byte {
	if n, ok := asInt(v); ok {
		return binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(n))
	}
	if v.Type == bson.TypeDouble {
		return appendDoubleKey(dst, readDouble(v))
	}
	d := exactly(v)
	if d.class != finite {
		return appendDoubleKey(dst, d.special())
	}
	d.trim()
	if d.coef.Sign() == 0 {
		return appendDoubleKey(dst, 0)
	}
	if n, ok := d.int64(); ok {
		return binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(n))
	}
	text := d.coef.String()
	if f, err := strconv.ParseFloat(text+"e"+strconv.Itoa(d.exp), 64); err == nil && f != 0 {
		if compareDecimals(exactDouble(f), d) == 0 {
			return appendDoubleKey(dst, f)
		}
	}
	dst = append(dst, 'D')
	dst = binary.BigEndian.AppendUint32(dst, uint32(int32(d.exp)))
	return appendSized(dst, []byte(text))
}

func appendDoubleKey(dst []byte, f float64) []byte {
	if n, ok := wholeDouble(f); ok { // -0 is 0 here
		return binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(n))
	}
	bits := math.Float64bits(f)
	if math.IsNaN(f) {
		bits = math.Float64bits(math.NaN())
	}
	return binary.BigEndian.AppendUint64(append(dst, 'd'), bits)
}

// truncated is v's value with its fraction cut off; ok is false for NaN and for what an
// int64 cannot hold.
func truncated(v bson.RawValue) (n int64, ok bool) {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64:
		return asInt(v)
	case bson.TypeDouble:
		return wholeDouble(math.Trunc(readDouble(v)))
	case bson.TypeDecimal128:
		d := exactly(v)
		if d.class != finite {
			return 0, false
		}
		if d.exp < 0 {
			d.coef.Quo(d.coef, powerOfTen(-d.exp))
			d.exp = 0
		}
		return d.int64()
	}
	return 0, false
}

// wholeNumber is v's value when v is a number of any type with no fraction that
// an int64 can hold.
func wholeNumber(v bson.RawValue) (int64, bool) {
	n, ok := truncated(v)
	if !ok || v.Type == bson.TypeDouble && readDouble(v) != float64(n) {
		return 0, false
	}
	if v.Type == bson.TypeDecimal128 && compareDecimals(exactly(v), exactInt(n)) != 0 {
		return 0, false
	}
	return n, true
}

// Truthy is whether v counts as true: anything but false, zero, null,
// undefined and no value.
func Truthy(v bson.RawValue) bool {
	switch v.Type {
	case 0, bson.TypeNull, bson.TypeUndefined:
		return false
	case bson.TypeBoolean:
		return readBool(v)
	case bson.TypeInt32, bson.TypeInt64:
		n, _ := asInt(v)
		return n != 0
	case bson.TypeDouble:
		return readDouble(v) != 0
	case bson.TypeDecimal128:
		d := exactly(v)
		return d.class != finite || d.coef.Sign() != 0
	}
	return true
}

// powerOfTen is 10 to the n, n ≥ 0.
func powerOfTen(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}
