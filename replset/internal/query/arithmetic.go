package query

import (
	"math"
	"math/bits"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// addNumbers and mulNumbers compute as the server's update operators do: ints
// grow to longs, doubles win over integers and decimals over all; ok is false
// where a long overflows.

func addNumbers(a, b bson.RawValue) (result bson.RawValue, ok bool) {
	na, aInt := asInt(a)
	nb, bInt := asInt(b)
	switch {
	case aInt && bInt:
		sum := na + nb
		if (sum > na) != (nb > 0) && nb != 0 {
			return bson.RawValue{}, false
		}
		return integerValue(sum, a, b), true
	case a.Type == bson.TypeDecimal128 || b.Type == bson.TypeDecimal128:
		return addDecimals(decimalOf(a), decimalOf(b)).value128(), true
	}
	return doubleValue(asDouble(a) + asDouble(b)), true
}

func mulNumbers(a, b bson.RawValue) (result bson.RawValue, ok bool) {
	na, aInt := asInt(a)
	nb, bInt := asInt(b)
	switch {
	case aInt && bInt:
		product, ok := mulInts(na, nb)
		if !ok {
			return bson.RawValue{}, false
		}
		return integerValue(product, a, b), true
	case a.Type == bson.TypeDecimal128 || b.Type == bson.TypeDecimal128:
		return mulDecimals(decimalOf(a), decimalOf(b)).value128(), true
	}
	return doubleValue(asDouble(a) * asDouble(b)), true
}

// integerValue is an int where both operands were ints and the result still is
// one, else a long.
func integerValue(n int64, a, b bson.RawValue) bson.RawValue {
	if a.Type == bson.TypeInt32 && b.Type == bson.TypeInt32 && n == int64(int32(n)) {
		return int32Value(int32(n))
	}
	return int64Value(n)
}

func mulInts(a, b int64) (int64, bool) {
	negative := (a < 0) != (b < 0)
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	switch {
	case hi != 0, !negative && lo > math.MaxInt64, negative && lo > 1<<63:
		return 0, false
	case negative:
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// asDouble is the nearest double to an int, long or double.
func asDouble(v bson.RawValue) float64 {
	if n, ok := asInt(v); ok {
		return float64(n)
	}
	return readDouble(v)
}
