package query

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

type decimalClass int

const (
	notANumber decimalClass = iota
	negativeInfinity
	finite
	positiveInfinity
)

// decimal is an exact number: coef × 10^exp. Every int, double and decimal128
// is one.
type decimal struct {
	class decimalClass
	coef  *big.Int
	exp   int
}

// The limits of decimal128: 34 digits and these exponents.
const (
	maxDigits  = 34
	minExp     = -6176
	maxExp     = 6111
	expBias    = 6176
	coefHighMx = 1<<49 - 1
)

var maxCoef = new(big.Int).Sub(powerOfTen(maxDigits), big.NewInt(1))

// exactly is v's value; v is a number.
func exactly(v bson.RawValue) decimal {
	switch v.Type {
	case bson.TypeDouble:
		return exactDouble(readDouble(v))
	case bson.TypeDecimal128:
		return exactDecimal128(v)
	}
	n, _ := asInt(v)
	return exactInt(n)
}

func exactInt(n int64) decimal { return decimal{class: finite, coef: big.NewInt(n)} }

func exactDouble(f float64) decimal {
	switch {
	case math.IsNaN(f):
		return decimal{class: notANumber}
	case math.IsInf(f, 1):
		return decimal{class: positiveInfinity}
	case math.IsInf(f, -1):
		return decimal{class: negativeInfinity}
	case f == 0:
		return exactInt(0)
	}
	frac, exp := math.Frexp(f)
	coef := big.NewInt(int64(frac * (1 << 53)))
	exp -= 53
	if exp >= 0 {
		return decimal{class: finite, coef: coef.Lsh(coef, uint(exp))}
	}
	// m / 2^k is m × 5^k / 10^k.
	fives := new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(-exp)), nil)
	return decimal{class: finite, coef: coef.Mul(coef, fives), exp: exp}
}

func exactDecimal128(v bson.RawValue) decimal {
	if len(v.Value) < 16 {
		return exactInt(0)
	}
	lo := binary.LittleEndian.Uint64(v.Value)
	hi := binary.LittleEndian.Uint64(v.Value[8:])
	negative := hi>>63 == 1
	switch hi >> 58 & 0x1f {
	case 0x1f:
		return decimal{class: notANumber}
	case 0x1e:
		if negative {
			return decimal{class: negativeInfinity}
		}
		return decimal{class: positiveInfinity}
	}
	if hi>>61&3 == 3 {
		// The second form holds only coefficients that are out of range, which
		// count as zero.
		return exactInt(0)
	}
	coef := new(big.Int).SetUint64(hi & coefHighMx)
	coef.Lsh(coef, 64)
	coef.Or(coef, new(big.Int).SetUint64(lo))
	if coef.Cmp(maxCoef) > 0 {
		return exactInt(0)
	}
	if negative {
		coef.Neg(coef)
	}
	return decimal{class: finite, coef: coef, exp: int(hi>>49&(1<<14-1)) - expBias}
}

// special is the double that stands for an infinity or NaN.
func (d decimal) special() float64 {
	switch d.class {
	case positiveInfinity:
		return math.Inf(1)
	case negativeInfinity:
		return math.Inf(-1)
	}
	return math.NaN()
}

// digits is the number of decimal digits of the coefficient.
func (d decimal) digits() int {
	n := len(d.coef.String())
	if d.coef.Sign() < 0 {
		n--
	}
	return n
}

// int64 is d's value when it is an integer that an int64 can hold.
func (d decimal) int64() (int64, bool) {
	if d.coef.Sign() == 0 {
		return 0, true
	}
	if d.exp < 0 {
		d.coef = new(big.Int).Set(d.coef)
		d.trim()
	}
	if d.exp < 0 || d.exp > 19 {
		return 0, false
	}
	n := d.coef
	if d.exp > 0 {
		n = new(big.Int).Mul(n, powerOfTen(d.exp))
	}
	return n.Int64(), n.IsInt64()
}

// trim moves trailing zeros of the coefficient into the exponent.
func (d *decimal) trim() {
	if d.coef.Sign() == 0 {
		d.exp = 0
		return
	}
	text := d.coef.String()
	n := len(text)
	for text[n-1] == '0' {
		n--
	}
	if zeros := len(text) - n; zeros > 0 {
		d.coef, _ = new(big.Int).SetString(text[:n], 10)
		d.exp += zeros
	}
}

func compareDecimals(a, b decimal) int {
	if a.class != finite || b.class != finite {
		return cmp.Compare(a.class, b.class)
	}
	sa, sb := a.coef.Sign(), b.coef.Sign()
	if sa != sb || sa == 0 {
		return cmp.Compare(sa, sb)
	}
	// Where the leading digits are of different weight nothing needs scaling; this also bounds
	// the scaling below by the digits there are.
	if c := cmp.Compare(a.digits()+a.exp, b.digits()+b.exp); c != 0 {
		return c * sa
	}
	ca, cb := a.coef, b.coef
	if a.exp > b.exp {
		ca = new(big.Int).Mul(ca, powerOfTen(a.exp-b.exp))
	} else if b.exp > a.exp {
		cb = new(big.Int).Mul(cb, powerOfTen(b.exp-a.exp))
	}
	return ca.Cmp(cb)
}

// value128 rounds d half to even to what a decimal128 can hold.
func (d decimal) value128() bson.RawValue {
	switch d.class {
	case notANumber:
		return decimalValue(bson.NewDecimal128(0x7c00000000000000, 0))
	case positiveInfinity:
		return decimalValue(bson.NewDecimal128(0x7800000000000000, 0))
	case negativeInfinity:
		return decimalValue(bson.NewDecimal128(0xf800000000000000, 0))
	}
	coef, exp := new(big.Int).Abs(d.coef), d.exp
	drop := max(len(coef.String())-maxDigits, minExp-exp, 0)
	for drop > 0 {
		coef = roundAway(coef, drop)
		exp += drop
		drop = max(len(coef.String())-maxDigits, 0) // 99…9 may have become 100…0
	}
	var sign uint64
	if d.coef.Sign() < 0 {
		sign = 1 << 63
	}
	if coef.Sign() == 0 {
		exp = min(exp, maxExp)
	}
	if exp > maxExp {
		pad := exp - maxExp
		if len(coef.String())+pad > maxDigits {
			return decimalValue(bson.NewDecimal128(sign|0x7800000000000000, 0))
		}
		coef.Mul(coef, powerOfTen(pad))
		exp = maxExp
	}
	lo := new(big.Int).And(coef, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	hi := new(big.Int).Rsh(coef, 64).Uint64()
	return decimalValue(bson.NewDecimal128(sign|uint64(exp+expBias)<<49|hi, lo))
}

// roundAway drops n decimal digits of coef, rounding half to even.
func roundAway(coef *big.Int, n int) *big.Int {
	unit := powerOfTen(n)
	q, r := new(big.Int).QuoRem(coef, unit, new(big.Int))
	switch r.Lsh(r, 1).Cmp(unit) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		if q.Bit(0) == 1 {
			q.Add(q, big.NewInt(1))
		}
	}
	return q
}

// addDecimals and mulDecimals are exact; value128 rounds once.
func addDecimals(a, b decimal) decimal {
	if a.class != finite || b.class != finite {
		return exactDouble(a.orZero() + b.orZero())
	}
	if a.exp < b.exp {
		a, b = b, a
	}
	// a has the larger exponent: what lies more than 80 digits below it cannot
	// change 34 rounded digits except as a trace, which one digit keeps.
	if gap := a.exp - b.exp; gap > 80+b.digits() && a.coef.Sign() != 0 && b.coef.Sign() != 0 {
		b = decimal{class: finite, coef: big.NewInt(int64(b.coef.Sign())), exp: a.exp - 80}
	}
	ca := new(big.Int).Mul(a.coef, powerOfTen(a.exp-b.exp))
	return decimal{class: finite, coef: ca.Add(ca, b.coef), exp: b.exp}
}

func mulDecimals(a, b decimal) decimal {
	if a.class != finite || b.class != finite {
		return exactDouble(a.signum() * b.signum())
	}
	return decimal{class: finite, coef: new(big.Int).Mul(a.coef, b.coef), exp: a.exp + b.exp}
}

// orZero and signum reduce d to a double that adds and multiplies with
// infinities and NaN as d does.
func (d decimal) orZero() float64 {
	if d.class == finite {
		return 0
	}
	return d.special()
}

func (d decimal) signum() float64 {
	if d.class == finite {
		return float64(d.coef.Sign())
	}
	return d.special()
}

// quotient is d / n to 34 digits, n > 0.
func (d decimal) quotient(n int64) decimal { return divideDecimals(d, exactInt(n)) }

// divideDecimals is a / b, exact or with so many digits that value128 rounds it as if it
// were; b is not zero.
func divideDecimals(a, b decimal) decimal {
	if a.class != finite || b.class != finite {
		return exactDouble(a.signum() / b.signum())
	}
	// 20 digits beyond the 34 kept, and a trace of what is cut off.
	shift := maxDigits + 20 + b.digits()
	num := new(big.Int).Mul(a.coef, powerOfTen(shift))
	q, r := new(big.Int).QuoRem(num, b.coef, new(big.Int))
	exp := a.exp - b.exp
	if r.Sign() == 0 {
		out := decimal{class: finite, coef: q, exp: exp - shift}
		out.trim()
		if pad := out.exp - exp; pad > 0 && out.digits()+pad <= maxDigits {
			out.coef.Mul(out.coef, powerOfTen(pad))
			out.exp = exp
		}
		return out
	}
	q.Mul(q, big.NewInt(10)).Add(q, big.NewInt(int64(a.coef.Sign()*b.coef.Sign())))
	return decimal{class: finite, coef: q, exp: exp - shift - 1}
}

// modDecimals is what is left of a when b has been taken from it a whole number of
// times, with the sign of a; b is not zero.
func modDecimals(a, b decimal) decimal {
	switch {
	case a.class != finite || b.class == notANumber:
		return decimal{class: notANumber}
	case b.class != finite:
		return a
	}
	exp := min(a.exp, b.exp)
	ca := new(big.Int).Mul(a.coef, powerOfTen(a.exp-exp))
	cb := new(big.Int).Mul(b.coef, powerOfTen(b.exp-exp))
	return decimal{class: finite, coef: ca.Rem(ca, cb), exp: exp}
}

// decimalOf is v as decimal arithmetic takes it: a double counts with the 15
// digits that are certain.
func decimalOf(v bson.RawValue) decimal {
	if v.Type != bson.TypeDouble {
		return exactly(v)
	}
	f := readDouble(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return exactDouble(f)
	}
	text := strconv.FormatFloat(f, 'e', 14, 64)
	i := len(text) - 1
	for text[i] != 'e' {
		i--
	}
	exp, _ := strconv.Atoi(text[i+1:])
	digits := make([]byte, 0, i)
	for _, c := range []byte(text[:i]) {
		if c != '.' {
			digits = append(digits, c)
		}
	}
	coef, _ := new(big.Int).SetString(string(digits), 10)
	return decimal{class: finite, coef: coef, exp: exp - 14}
}
