package query

import (
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var arrayOperators = map[string]operator{
	"$size": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		v := x.arg(s, 0)
		if !isArray(v) {
			return s.fail(17124, "The argument to $size must be an array, but was of type: %s", TypeName(v.Type))
		}
		return int32Value(int32(len(arrayItems(v.Value))))
	}},
	"$isArray": {1, 1, func(s *scope, x *invocation) bson.RawValue { return boolValue(isArray(x.arg(s, 0))) }},
	"$in": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		v, list := x.arg(s, 0), x.arg(s, 1)
		if !isArray(list) {
			return s.fail(40081, "$in requires an array as a second argument, found: %s", TypeName(list.Type))
		}
		return boolValue(indexOf(arrayItems(list.Value), v) >= 0)
	}},
	"$arrayElemAt": {2, 2, func(s *scope, x *invocation) bson.RawValue { return elementAt(s, x, x.arg(s, 0), x.arg(s, 1)) }},
	"$first":       {1, 1, func(s *scope, x *invocation) bson.RawValue { return elementAt(s, x, x.arg(s, 0), int32Value(0)) }},
	"$last":        {1, 1, func(s *scope, x *invocation) bson.RawValue { return elementAt(s, x, x.arg(s, 0), int32Value(-1)) }},
	"$concatArrays": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		var all []bson.RawValue
		for i := range x.args {
			v := x.arg(s, i)
			switch {
			case nullish(v):
				return nullValue()
			case !isArray(v):
				return s.fail(28664, "$concatArrays only supports arrays, not %s", TypeName(v.Type))
			}
			all = append(all, arrayItems(v.Value)...)
		}
		return arrayValue(all)
	}},
	"$reverseArray": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		v := x.arg(s, 0)
		switch {
		case nullish(v):
			return nullValue()
		case !isArray(v):
			return s.fail(34435, "The argument to $reverseArray must be an array, but was of type: %s", TypeName(v.Type))
		}
		items := arrayItems(v.Value)
		slices.Reverse(items)
		return arrayValue(items)
	}},
	"$slice":        {2, 3, evalSlice},
	"$indexOfArray": {2, 4, evalIndexOfArray},
	"$range":        {2, 3, evalRange},
}

// indexOf is the place of the first item that equals v, -1 for none.
func indexOf(items []bson.RawValue, v bson.RawValue) int {
	return slices.IndexFunc(items, func(item bson.RawValue) bool { return compareAll(item, v) == 0 })
}

// whole32 is a number without a fraction that an int32 can hold.
func whole32(v bson.RawValue) (int64, bool) {
	n, ok := wholeNumber(v)
	return n, ok && n == int64(int32(n))
}

func elementAt(s *scope, x *invocation, list, at bson.RawValue) bson.RawValue {
	which := "first argument"
	if len(x.args) == 1 {
		which = "argument"
	}
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case nullish(list) || nullish(at):
		return nullValue()
	case !isArray(list):
		return s.fail(28689, "%s's %s must be an array, but is %s", x.name, which, TypeName(list.Type))
	case !isNumber(at):
		return s.fail(28690, "%s's second argument must be a numeric value, but is %s", x.name, TypeName(at.Type))
	}
	n, ok := whole32(at)
	if !ok {
		return s.fail(28691, "%s's second argument must be representable as a 32-bit integer: %s", x.name, text(at))
	}
	items := arrayItems(list.Value)
	if n < 0 {
		n += int64(len(items))
	}
	if n < 0 || n >= int64(len(items)) {
		return bson.RawValue{}
	}
	return items[n]
}

// evalSlice is $slice of an array and a number, or of an array, a position and a
// number.
func evalSlice(s *scope, x *invocation) bson.RawValue {
	list, second := x.arg(s, 0), x.arg(s, 1)
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case nullish(list) || nullish(second):
		return nullValue()
	case !isArray(list):
		return s.fail(28724, "First argument to $slice must be an array, but is of type: %s", TypeName(list.Type))
	case !isNumber(second):
		return s.fail(28725, "Second argument to $slice must be a numeric value, but is of type: %s", TypeName(second.Type))
	}
	n, ok := whole32(second)
	if !ok {
		return s.fail(28726, "Second argument to $slice can't be represented as a 32-bit integer: %s", text(second))
	}
	r := &itemRange{skip: min(n, 0), limit: math.MaxInt64}
	if n >= 0 {
		r.limit = n
	}
	if len(x.args) == 3 {
		third := x.arg(s, 2)
		switch {
		case nullish(third):
			return nullValue()
		case !isNumber(third):
			return s.fail(28727, "Third argument to $slice must be numeric, but is of type: %s", TypeName(third.Type))
		}
		r.skip = n
		if r.limit, ok = whole32(third); !ok {
			return s.fail(28728, "Third argument to $slice can't be represented as a 32-bit integer: %s", text(third))
		}
		if r.limit <= 0 {
			return s.fail(28729, "Third argument to $slice must be positive: %s", text(third))
		}
	}
	return arrayValue(r.of(arrayItems(list.Value)))
}

func evalIndexOfArray(s *scope, x *invocation) bson.RawValue {
	list := x.arg(s, 0)
	switch {
	case nullish(list):
		return nullValue()
	case !isArray(list):
		return s.fail(40090, "$indexOfArray requires an array as a first argument, found: %s", TypeName(list.Type))
	}
	items := arrayItems(list.Value)
	bounds := [2]int64{0, int64(len(items))}
	for i, what := range []string{"starting index", "ending index"} {
		if len(x.args) <= 2+i {
			break
		}
		v := x.arg(s, 2+i)
		n, ok := int64(0), false
		if isNumber(v) {
			n, ok = whole32(v)
		}
		switch {
		case !ok:
			return s.fail(40096, "$indexOfArrayrequires an integral %s, found a value of type: %s, with value: %s", what, TypeName(v.Type), text(v))
		case n < 0:
			return s.fail(40097, "$indexOfArray requires a nonnegative %s, found: %s", what, text(v))
		}
		bounds[i] = min(n, int64(len(items)))
	}
	v := x.arg(s, 1)
	if bounds[0] < bounds[1] {
		if i := indexOf(items[bounds[0]:bounds[1]], v); i >= 0 {
			return int32Value(int32(bounds[0]) + int32(i))
		}
	}
	return int32Value(-1)
}

// rangeLimit bounds what $range makes, as the server's limit on its memory does: 100 MB
// of values of 16 bytes.
const rangeLimit = 100 << 20 / 16

func evalRange(s *scope, x *invocation) bson.RawValue {
	bounds := [3]int64{2: 1}
	for i, c := range []struct {
		what           string
		kind, integral int32
	}{{"starting", 34443, 34444}, {"ending", 34445, 34446}, {"step", 34447, 34448}} {
		if i == len(x.args) {
			break
		}
		v := x.arg(s, i)
		if s.err != nil {
			return bson.RawValue{}
		}
		if !isNumber(v) {
			return s.fail(c.kind, "$range requires a numeric %s value, found value of type: %s", c.what, TypeName(v.Type))
		}
		n, ok := whole32(v)
		if !ok {
			return s.fail(c.integral, "$range requires a %s value that can be represented as a 32-bit integer, found value: %s", c.what, text(v))
		}
		bounds[i] = n
	}
	step := bounds[2]
	if step == 0 {
		return s.fail(34449, "$range requires a non-zero step value")
	}
	if (bounds[1]-bounds[0])/step > rangeLimit {
		return s.fail(exceededMemoryLimit, "$range would use too much memory and cannot spill")
	}
	var items []bson.RawValue
	for n := bounds[0]; step > 0 && n < bounds[1] || step < 0 && n > bounds[1]; n += step {
		items = append(items, int32Value(int32(n)))
	}
	return arrayValue(items)
}
