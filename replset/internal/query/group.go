package query

import (
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// group is $group. The groups come out in the order their first documents came
// in.
type group struct {
	id     expression
	names  []string
	fields []groupField
}

type groupField struct {
	x    expression
	make func() accumulator
}

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
}

func compileGroup(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(15947, "a group's fields must be specified in an object")
	}
	g := &group{}
	e := elementsOf(spec.Value)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		name := string(key)
		var err error
		switch {
		case name == "_id" && g.id != nil:
			err = refuse(15948, "a group's _id may only be specified once")
		case name == "_id":
			g.id, err = parseExpression(v)
		case name == "$doingMerge":
			err = refuse(17030, "$doingMerge should be true if present")
		default:
			err = g.parseField(name, v)
		}
		if err != nil {
			return nil, err
		}
	}
	if g.id == nil {
		return nil, refuse(15955, "a group specification must include an _id")
	}
	return func(in source) source { return onceAll(in, g.run) }, nil
}

func (g *group) parseField(name string, v bson.RawValue) error {
	switch {
	case !isObject(v):
		return refuse(40234, "The field '%s' must be an accumulator object", name)
	case strings.Contains(name, "."):
		return refuse(40235, "The field name '%s' cannot contain '.'", name)
	case strings.HasPrefix(name, "$"):
		return refuse(40236, "The field name '%s' cannot be an operator name", name)
	}
	e := elementsOf(v.Value)
	key, operand, ok := e.next()
	if !ok || len(e.rest) > 0 {
		return refuse(40238, "The field '%s' must specify one accumulator", name)
	}
	op := string(key)
	make, known := accumulators[op]
	if !known {
		switch op {
		case "$accumulator", "$bottom", "$bottomN", "$firstN", "$lastN", "$maxN", "$median", "$mergeObjects", "$minN",
			"$percentile", "$stdDevPop", "$stdDevSamp", "$top", "$topN", "$concatArrays", "$setUnion":
			return refuse(invalidPipelineOperator, "The accumulator %s is not supported by this server", op)
		}
		return refuse(15952, "unknown group operator '%s'", op)
	}
	var x expression
	var err error
	switch {
	case op == "$count":
		if inner := elementsOf(operand.Value); !isObject(operand) || len(inner.rest) > 0 {
			return refuse(typeMismatch, "$count takes no arguments, i.e. $count:{}")
		}
		x = &literal{int32Value(1)}
	case isArray(operand):
		items := arrayItems(operand.Value)
		if len(items) != 1 {
			return refuse(40237, "The %s accumulator is a unary operator", op)
		}
		x, err = parseExpression(items[0])
	default:
		x, err = parseExpression(operand)
	}
	g.names = append(g.names, name)
	g.fields = append(g.fields, groupField{x, make})
	return err
}

func (g *group) run(in source) ([]bson.Raw, error) {
	type bucket struct {
		id     bson.RawValue
		fields []accumulator
	}
	var buckets []*bucket
	byKey := map[string]*bucket{}
	var key []byte
	for {
		doc, ok, err := in()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		id := orNull(g.id.eval(doc))
		key = appendIDKey(key[:0], id, 0)
		b := byKey[string(key)]
		if b == nil {
			b = &bucket{id: id}
			for _, f := range g.fields {
				b.fields = append(b.fields, f.make())
			}
			byKey[string(key)] = b
			buckets = append(buckets, b)
		}
		for i, f := range g.fields {
			b.fields[i].add(f.x.eval(doc))
		}
	}
	out := make([]bson.Raw, 0, len(buckets))
	for _, b := range buckets {
		dst, start := openDocument(nil)
		dst = appendElement(dst, "_id", b.id)
		for i, name := range g.names {
			dst = appendElement(dst, name, orNull(b.fields[i].result()))
		}
		out = append(out, closeDocument(dst, start))
	}
	return out, nil
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
