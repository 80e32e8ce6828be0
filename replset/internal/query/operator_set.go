package query

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// setOperators take arrays as sets; what they give is sorted and has each value once.
var setOperators = map[string]operator{
	"$setUnion": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		var all []bson.RawValue
		for i := range x.args {
			items, result, ok := argumentSet(s, x, i, 17043, "All operands of $setUnion must be arrays. One argument is of type: %s", true)
			if !ok {
				return result
			}
			all = append(all, items...)
		}
		return arrayValue(sortedOnce(all))
	}},
	"$setIntersection": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		var common []bson.RawValue
		for i := range x.args {
			items, result, ok := argumentSet(s, x, i, 17047, "All operands of $setIntersection must be arrays. One argument is of type: %s", true)
			if !ok {
				return result
			}
			if i == 0 {
				common = sortedOnce(items)
				continue
			}
			common = slices.DeleteFunc(common, func(v bson.RawValue) bool { return indexOf(items, v) < 0 })
		}
		return arrayValue(common)
	}},
	"$setDifference": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		a, result, ok := argumentSet(s, x, 0, 17048, "both operands of $setDifference must be arrays. First argument is of type: %s", true)
		if !ok {
			return result
		}
		b, result, ok := argumentSet(s, x, 1, 17049, "both operands of $setDifference must be arrays. Second argument is of type: %s", true)
		if !ok {
			return result
		}
		var left []bson.RawValue // in the order of the first set
		for _, v := range a {
			if indexOf(b, v) < 0 && indexOf(left, v) < 0 {
				left = append(left, v)
			}
		}
		return arrayValue(left)
	}},
	"$setIsSubset": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		a, result, ok := argumentSet(s, x, 0, 17046, "both operands of $setIsSubset must be arrays. First argument is of type: %s", false)
		if !ok {
			return result
		}
		b, result, ok := argumentSet(s, x, 1, 17042, "both operands of $setIsSubset must be arrays. Second argument is of type: %s", false)
		if !ok {
			return result
		}
		return boolValue(!slices.ContainsFunc(a, func(v bson.RawValue) bool { return indexOf(b, v) < 0 }))
	}},
	"$setEquals": {2, -1, func(s *scope, x *invocation) bson.RawValue {
		var first []bson.RawValue
		for i := range x.args {
			items, result, ok := argumentSet(s, x, i, 17044, "All operands of $setEquals must be arrays. One argument is of type: %s", false)
			if !ok {
				return result
			}
			items = sortedOnce(items)
			if i == 0 {
				first = items
				continue
			}
			if !slices.EqualFunc(first, items, func(a, b bson.RawValue) bool { return compareAll(a, b) == 0 }) {
				return boolValue(false)
			}
		}
		return boolValue(true)
	}},
	"$anyElementTrue": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		items, result, ok := argumentSet(s, x, 0, 17041, "$anyElementTrue's argument must be an array, but is %s", false)
		if !ok {
			return result
		}
		return boolValue(slices.ContainsFunc(items, Truthy))
	}},
	"$allElementsTrue": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		items, result, ok := argumentSet(s, x, 0, 17040, "$allElementsTrue's argument must be an array, but is %s", false)
		if !ok {
			return result
		}
		return boolValue(!slices.ContainsFunc(items, func(v bson.RawValue) bool { return !Truthy(v) }))
	}},
}

// argumentSet evaluates an argument that must be an array, or, with nulls, may be null, for
// which the result is null.
func argumentSet(s *scope, x *invocation, i int, code int32, format string, nulls bool) (items []bson.RawValue, result bson.RawValue, ok bool) {
	v := x.arg(s, i)
	switch {
	case s.err != nil:
		return nil, bson.RawValue{}, false
	case nulls && nullish(v):
		return nil, nullValue(), false
	case !isArray(v):
		return nil, s.fail(code, format, TypeName(v.Type)), false
	}
	return arrayItems(v.Value), result, true
}
