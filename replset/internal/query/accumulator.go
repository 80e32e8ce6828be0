package query

import (
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// accumulator folds the values of one group. A value of type 0 stands for none.
type accumulator interface {
	add(v bson.RawValue)
	result() bson.RawValue
}

var accumulators = map[string]func() accumulator{
	"$sum":      func() accumulator { return &sum{} },
	"$avg":      func() accumulator { return &average{} },
	"$min":      func() accumulator { return &extreme{sign: 1} },
	"$max":      func() accumulator { return &extreme{sign: -1} },
	"$first":    func() accumulator { return &edge{} },
	"$last":     func() accumulator { return &edge{last: true} },
	"$push":     func() accumulator { return &list{} },
	"$addToSet": func() accumulator { return &list{keys: map[string]struct{}{}} },
	"$count":    func() accumulator { return &sum{} },

	"$mergeObjects": func() accumulator { return &mergedObjects{} },
}

// totalOperators are the accumulators that are expressions too: of one array, or of their
// arguments.
var totalOperators = map[string]operator{
	"$sum": total("$sum"), "$avg": total("$avg"), "$min": total("$min"), "$max": total("$max"),
}

func total(name string) operator {
	return operator{0, -1, func(s *scope, x *invocation) bson.RawValue {
		a := accumulators[name]()
		for i := range x.args {
			v := x.arg(s, i)
			if len(x.args) > 1 || !isArray(v) {
				a.add(v)
				continue
			}
			for _, item := range arrayItems(v.Value) {
				a.add(item)
			}
		}
		return orNull(a.result())
	}}
}

// sum is $sum, and the total of $avg. Integers stay exact; they become a double
// only where a long cannot hold them.
type sum struct {
	whole    int64
	spilled  bool // whole overflowed and went into double
	double   float64
	lost     float64 // what rounding took from double
	decimal  decimal
	decimals bool // there was one
	widest   bson.Type
	n        int64
}

func (s *sum) add(v bson.RawValue) {
	if !isNumber(v) {
		return
	}
	s.n++
	if widthOf(v.Type) > widthOf(s.widest) {
		s.widest = v.Type
	}
	switch v.Type {
	case bson.TypeDecimal128:
		if !s.decimals {
			s.decimal, s.decimals = exactInt(0), true
		}
		s.decimal = addDecimals(s.decimal, exactly(v))
	case bson.TypeDouble:
		s.addDouble(readDouble(v))
	default:
		n, _ := asInt(v)
		t := s.whole + n
		if (t > s.whole) != (n > 0) && n != 0 {
			s.addDouble(float64(s.whole))
			s.spilled = true
			t = n
		}
		s.whole = t
	}
}

// addDouble adds f and keeps, beside the sum, what rounding takes from it
// (Neumaier's summation).
func (s *sum) addDouble(f float64) {
	t := s.double + f
	if math.Abs(s.double) >= math.Abs(f) {
		s.lost += s.double - t + f
	} else {
		s.lost += f - t + s.double
	}
	s.double = t
}

// doubles is the sum of the doubles, with what rounding had taken.
func (s *sum) doubles() float64 {
	if math.IsNaN(s.lost) || math.IsInf(s.lost, 0) { // an infinity or NaN came in
		return s.double
	}
	return s.double + s.lost
}

func (s *sum) total() float64 {
	if s.double == 0 && s.lost == 0 {
		return float64(s.whole)
	}
	t := sum{double: s.double, lost: s.lost}
	t.addDouble(float64(s.whole))
	return t.doubles()
}

func (s *sum) result() bson.RawValue {
	switch s.widest {
	case bson.TypeDecimal128:
		return s.exact().value128()
	case bson.TypeDouble:
		return doubleValue(s.total())
	case bson.TypeInt64:
		if !s.spilled {
			return int64Value(s.whole)
		}
	default:
		if !s.spilled {
			return shortest(s.whole)
		}
	}
	return doubleValue(s.total())
}

// exact is the sum as a decimal.
func (s *sum) exact() decimal {
	d := addDecimals(s.decimal, exactInt(s.whole))
	if s.double == 0 && s.lost == 0 {
		return d
	}
	return addDecimals(d, decimalOf(doubleValue(s.doubles())))
}

func widthOf(t bson.Type) int {
	switch t {
	case bson.TypeInt32:
		return 1
	case bson.TypeInt64:
		return 2
	case bson.TypeDouble:
		return 3
	case bson.TypeDecimal128:
		return 4
	}
	return 0
}

type average struct{ sum }

func (a *average) result() bson.RawValue {
	switch {
	case a.n == 0:
		return nullValue()
	case a.widest == bson.TypeDecimal128:
		return a.exact().quotient(a.n).value128()
	}
	return doubleValue(a.total() / float64(a.n))
}

// extreme is $min (sign 1) and $max (sign -1); null and no value do not count.
type extreme struct {
	sign int
	v    bson.RawValue
}

func (x *extreme) add(v bson.RawValue) {
	if missing(v) || v.Type == bson.TypeNull || v.Type == bson.TypeUndefined {
		return
	}
	if missing(x.v) || Compare(v, x.v)*x.sign < 0 {
		x.v = v
	}
}

func (x *extreme) result() bson.RawValue { return x.v }

// edge is $first and $last.
type edge struct {
	last, met bool
	v         bson.RawValue
}

func (x *edge) add(v bson.RawValue) {
	if x.last || !x.met {
		x.v, x.met = v, true
	}
}

func (x *edge) result() bson.RawValue { return x.v }

// list is $push and, with keys, $addToSet.
type list struct {
	items []bson.RawValue
	keys  map[string]struct{}
}

func (l *list) add(v bson.RawValue) {
	if missing(v) {
		return
	}
	if l.keys != nil {
		key := string(appendIDKey(nil, v, 0))
		if _, ok := l.keys[key]; ok {
			return
		}
		l.keys[key] = struct{}{}
	}
	l.items = append(l.items, v)
}

func (l *list) result() bson.RawValue { return arrayValue(l.items) }

// mergedObjects is $mergeObjects.
type mergedObjects struct {
	fields mergedFields
	err    *Error
}

func (m *mergedObjects) add(v bson.RawValue) {
	switch {
	case nullish(v):
	case isObject(v):
		m.fields.take(v.Value)
	case m.err == nil:
		m.err = refuse(40400, "$mergeObjects requires object inputs, but input %s is of type %s", text(v), TypeName(v.Type))
	}
}

func (m *mergedObjects) result() bson.RawValue { return m.fields.result() }
