package query

import (
	"math"
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var numberOperators = map[string]operator{
	"$add":      {0, -1, evalAdd},
	"$subtract": {2, 2, evalSubtract},
	"$multiply": {0, -1, evalMultiply},
	"$divide":   {2, 2, evalDivide},
	"$mod":      {2, 2, evalMod},
	"$abs":      {1, 1, evalAbs},
	"$ceil":     rounding(math.Ceil, 1),
	"$floor":    rounding(math.Floor, -1),
}

// evalAdd is $add: numbers, of which the widest type is the sum's, and one date at
// most, which makes the sum a date. A long that overflows goes on as a double.
func evalAdd(s *scope, x *invocation) bson.RawValue {
	total, date, ints := int32Value(0), false, true
	for i := range x.args {
		v := x.arg(s, i)
		switch {
		case s.err != nil:
			return bson.RawValue{}
		case nullish(v):
			return nullValue()
		case v.Type == bson.TypeDateTime && date:
			return s.fail(16612, "only one date allowed in an $add expression")
		case v.Type == bson.TypeDateTime:
			date, v = true, int64Value(readInt64(v))
		case !isNumber(v):
			return s.fail(typeMismatch, "$add only supports numeric or date types, not %s", TypeName(v.Type))
		}
		ints = ints && v.Type == bson.TypeInt32
		total = addWide(total, v)
	}
	if date {
		ms, ok := rounded(total)
		if !ok {
			return s.fail(overflow, "date overflow")
		}
		return dateValue(ms)
	}
	if n, ok := asInt(total); ok && ints {
		return shortest(n)
	}
	return total
}

// addWide is addNumbers, but that a long that overflows becomes a double.
func addWide(a, b bson.RawValue) bson.RawValue {
	if v, ok := addNumbers(a, b); ok {
		return v
	}
	return doubleValue(asDouble(a) + asDouble(b))
}

// rounded is the nearest long to a number.
func rounded(v bson.RawValue) (int64, bool) {
	switch v.Type {
	case bson.TypeDouble:
		return wholeDouble(math.Round(readDouble(v)))
	case bson.TypeDecimal128:
		d := exactly(v)
		if d.class != finite {
			return 0, false
		}
		return wholeDecimal(d, func(q, twice *big.Int, unit *big.Int) bool {
			return twice.CmpAbs(unit) > 0 || twice.CmpAbs(unit) == 0 && q.Bit(0) == 1
		}).int64()
	}
	return asInt(v)
}

// wholeDecimal is a finite decimal cut to an integer, and one further from zero where
// away says so, of the quotient and of twice what is left of the unit.
func wholeDecimal(d decimal, away func(quotient, twice, unit *big.Int) bool) decimal {
	if d.exp >= 0 {
		return d
	}
	unit := powerOfTen(-d.exp)
	q, r := new(big.Int).QuoRem(d.coef, unit, new(big.Int))
	if r.Sign() != 0 && away(q, new(big.Int).Lsh(r, 1), unit) {
		q.Add(q, big.NewInt(int64(r.Sign())))
	}
	return decimal{class: finite, coef: q}
}

func evalSubtract(s *scope, x *invocation) bson.RawValue {
	a, b := x.arg(s, 0), x.arg(s, 1)
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case nullish(a) || nullish(b):
		return nullValue()
	case isNumber(a) && isNumber(b):
		return subtractWide(a, b)
	case a.Type == bson.TypeDateTime && b.Type == bson.TypeDateTime:
		v := subtractWide(int64Value(readInt64(a)), int64Value(readInt64(b)))
		if v.Type != bson.TypeInt64 {
			return s.fail(overflow, "date overflow")
		}
		return v
	case a.Type == bson.TypeDateTime && isNumber(b):
		ms, ok := rounded(b)
		if v := subtractWide(int64Value(readInt64(a)), int64Value(ms)); ok && v.Type == bson.TypeInt64 {
			return dateValue(readInt64(v))
		}
		return s.fail(overflow, "date overflow")
	}
	return s.fail(typeMismatch, "can't $subtract %s from %s", TypeName(b.Type), TypeName(a.Type))
}

func subtractWide(a, b bson.RawValue) bson.RawValue {
	na, aInt := asInt(a)
	nb, bInt := asInt(b)
	switch {
	case aInt && bInt:
		if d := na - nb; (d < na) == (nb > 0) {
			return integerValue(d, a, b)
		}
	case a.Type == bson.TypeDecimal128 || b.Type == bson.TypeDecimal128:
		minus, _ := mulNumbers(b, int32Value(-1))
		if b.Type != bson.TypeDecimal128 {
			minus = mulDecimals(decimalOf(b), exactInt(-1)).value128()
		}
		return addDecimals(decimalOf(a), decimalOf(minus)).value128()
	}
	return doubleValue(asDouble(a) - asDouble(b))
}

func evalMultiply(s *scope, x *invocation) bson.RawValue {
	product, ints := int32Value(1), true
	for i := range x.args {
		v := x.arg(s, i)
		switch {
		case s.err != nil:
			return bson.RawValue{}
		case nullish(v):
			return nullValue()
		case !isNumber(v):
			return s.fail(typeMismatch, "$multiply only supports numeric types, not %s", TypeName(v.Type))
		}
		ints = ints && v.Type == bson.TypeInt32
		next, ok := mulNumbers(product, v)
		if !ok {
			next = doubleValue(asDouble(product) * asDouble(v))
		}
		product = next
	}
	if n, ok := asInt(product); ok && ints {
		return shortest(n)
	}
	return product
}

// pair evaluates the two numbers of $divide and $mod; ok is false where the result is already
// there.
func pair(s *scope, x *invocation, code int32) (a, b, result bson.RawValue, ok bool) {
	a, b = x.arg(s, 0), x.arg(s, 1)
	switch {
	case s.err != nil:
	case isNumber(a) && isNumber(b):
		return a, b, result, true
	case nullish(a) || nullish(b):
		result = nullValue()
	default:
		result = s.fail(code, "%s only supports numeric types, not %s and %s", x.name, TypeName(a.Type), TypeName(b.Type))
	}
	return a, b, result, false
}

func isZero(v bson.RawValue) bool { return compareNumbers(v, int32Value(0)) == 0 }

// evalDivide is $divide, which gives a double unless there is a decimal.
func evalDivide(s *scope, x *invocation) bson.RawValue {
	a, b, result, ok := pair(s, x, typeMismatch)
	switch {
	case !ok:
		return result
	case isZero(b):
		return s.fail(badValue, "can't $divide by zero")
	case a.Type == bson.TypeDecimal128 || b.Type == bson.TypeDecimal128:
		return divideDecimals(decimalOf(a), decimalOf(b)).value128()
	}
	return doubleValue(asDouble(a) / asDouble(b))
}

// evalMod is $mod, with the sign of the dividend.
func evalMod(s *scope, x *invocation) bson.RawValue {
	a, b, result, ok := pair(s, x, 16611)
	decimals := a.Type == bson.TypeDecimal128 || b.Type == bson.TypeDecimal128
	switch {
	case !ok:
		return result
	case isZero(b) && decimals:
		return s.fail(5733415, "can't $mod by zero")
	case isZero(b):
		return s.fail(16610, "can't $mod by zero")
	case decimals:
		return modDecimals(decimalOf(a), decimalOf(b)).value128()
	}
	na, aInt := asInt(a)
	nb, bInt := asInt(b)
	if !aInt || !bInt {
		return doubleValue(math.Mod(asDouble(a), asDouble(b)))
	}
	if nb == -1 { // which could overflow
		return integerValue(0, a, b)
	}
	return integerValue(na%nb, a, b)
}

// number evaluates the argument of an operator on one number; ok is false where the result
// is already there.
func number(s *scope, x *invocation) (v, result bson.RawValue, ok bool) {
	v = x.arg(s, 0)
	switch {
	case s.err != nil:
	case isNumber(v):
		return v, result, true
	case nullish(v):
		result = nullValue()
	default:
		result = s.fail(28765, "%s only supports numeric types, not %s", x.name, TypeName(v.Type))
	}
	return v, result, false
}

func evalAbs(s *scope, x *invocation) bson.RawValue {
	v, result, ok := number(s, x)
	if !ok {
		return result
	}
	switch n, isInt := asInt(v); {
	case isInt && n == math.MinInt64:
		return s.fail(28680, "can't take $abs of long long min")
	case isInt && n < 0:
		if v.Type == bson.TypeInt32 {
			return shortest(-n)
		}
		return int64Value(-n)
	case isInt:
		return v
	case v.Type == bson.TypeDouble:
		return doubleValue(math.Abs(readDouble(v)))
	}
	if d := exactly(v); d.class == negativeInfinity || d.class == finite && d.coef.Sign() < 0 {
		return subtractWide(int32Value(0), v)
	}
	return v
}

// rounding is $ceil and $floor: towards which side of a decimal is 1 or -1.
func rounding(double func(float64) float64, side int) operator {
	return operator{1, 1, func(s *scope, x *invocation) bson.RawValue {
		v, result, ok := number(s, x)
		switch {
		case !ok:
			return result
		case v.Type == bson.TypeDouble:
			return doubleValue(double(readDouble(v)))
		case v.Type == bson.TypeDecimal128:
			d := exactly(v)
			if d.class != finite {
				return v
			}
			return wholeDecimal(d, func(_, twice, _ *big.Int) bool { return twice.Sign() == side }).value128()
		}
		return v
	}}
}
