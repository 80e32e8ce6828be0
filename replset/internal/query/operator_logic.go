package query

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// comparisonOperators compare in the order of all BSON values.
var comparisonOperators = map[string]operator{
	"$eq":  comparison(func(c int) bool { return c == 0 }),
	"$ne":  comparison(func(c int) bool { return c != 0 }),
	"$gt":  comparison(func(c int) bool { return c > 0 }),
	"$gte": comparison(func(c int) bool { return c >= 0 }),
	"$lt":  comparison(func(c int) bool { return c < 0 }),
	"$lte": comparison(func(c int) bool { return c <= 0 }),
	"$cmp": {2, 2, func(s *scope, x *invocation) bson.RawValue {
		return int32Value(int32(compareAll(x.arg(s, 0), x.arg(s, 1))))
	}},
}

func comparison(holds func(int) bool) operator {
	return operator{2, 2, func(s *scope, x *invocation) bson.RawValue {
		return boolValue(holds(compareAll(x.arg(s, 0), x.arg(s, 1))))
	}}
}

// compareAll is Compare, for which no value and undefined are the same: an expression tells
// them apart, no value first.
func compareAll(a, b bson.RawValue) int {
	switch {
	case missing(a) && missing(b):
		return 0
	case missing(a) && b.Type == bson.TypeUndefined:
		return -1
	case missing(b) && a.Type == bson.TypeUndefined:
		return 1
	}
	c := Compare(a, b)
	return min(max(c, -1), 1)
}

var logicOperators = map[string]operator{
	"$and": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		for i := range x.args {
			if !Truthy(x.arg(s, i)) {
				return boolValue(false)
			}
		}
		return boolValue(true)
	}},
	"$or": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		for i := range x.args {
			if Truthy(x.arg(s, i)) {
				return boolValue(true)
			}
		}
		return boolValue(false)
	}},
	"$not": {1, 1, func(s *scope, x *invocation) bson.RawValue { return boolValue(!Truthy(x.arg(s, 0))) }},
	"$ifNull": {2, -1, func(s *scope, x *invocation) bson.RawValue {
		last := len(x.args) - 1
		for i := range last {
			if v := x.arg(s, i); !nullish(v) {
				return v
			}
		}
		return x.arg(s, last)
	}},
	"$type": {1, 1, func(s *scope, x *invocation) bson.RawValue { return stringValue(TypeName(x.arg(s, 0).Type)) }},
	"$isNumber": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		return boolValue(isNumber(x.arg(s, 0)))
	}},
}

// choice is $cond and $switch: the first branch whose condition holds.
type choice struct {
	conditions, values []expression
	otherwise          expression // nil for a $switch that must find a branch
}

func (x *choice) eval(s *scope) bson.RawValue {
	for i, c := range x.conditions {
		if Truthy(c.eval(s)) {
			return x.values[i].eval(s)
		}
		if s.err != nil {
			return bson.RawValue{}
		}
	}
	if x.otherwise == nil {
		return s.fail(40066, "$switch could not find a matching branch for an input, and no default was specified.")
	}
	return x.otherwise.eval(s)
}

func parseCond(p *expressionParser, v bson.RawValue) (expression, error) {
	var parts []expression
	if isObject(v) {
		found := map[string]bson.RawValue{}
		e := elementsOf(v.Value)
		for {
			key, item, ok := e.next()
			if !ok {
				break
			}
			switch name := string(key); name {
			case "if", "then", "else":
				found[name] = item
			default:
				return nil, refuse(17083, "Unrecognized parameter to $cond: %s", name)
			}
		}
		for i, name := range []string{"if", "then", "else"} {
			if missing(found[name]) {
				return nil, refuse(17080+int32(i), "Missing '%s' parameter to $cond", name)
			}
			x, err := p.parse(found[name])
			if err != nil {
				return nil, err
			}
			parts = append(parts, x)
		}
	} else {
		var err error
		if parts, err = p.arguments(v); err != nil {
			return nil, err
		}
		if len(parts) != 3 {
			return nil, refuse(16020, "Expression $cond takes exactly 3 arguments. %d were passed in.", len(parts))
		}
	}
	return &choice{conditions: parts[:1], values: parts[1:2], otherwise: parts[2]}, nil
}

func parseSwitch(p *expressionParser, v bson.RawValue) (expression, error) {
	if !isObject(v) {
		return nil, refuse(40060, "$switch requires an object as an argument, found: %s", TypeName(v.Type))
	}
	x := &choice{}
	e := elementsOf(v.Value)
	for {
		key, item, ok := e.next()
		if !ok {
			break
		}
		var err error
		switch name := string(key); {
		case name == "branches" && !isArray(item):
			err = refuse(40061, "$switch expected an array for 'branches', found: %s", TypeName(item.Type))
		case name == "branches":
			err = x.branches(p, item)
		case name == "default":
			x.otherwise, err = p.parse(item)
		default:
			err = refuse(40067, "$switch found an unknown argument: %s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(x.conditions) == 0 {
		return nil, refuse(40068, "$switch requires at least one branch.")
	}
	return x, nil
}

func (x *choice) branches(p *expressionParser, list bson.RawValue) error {
	for _, branch := range arrayItems(list.Value) {
		if !isObject(branch) {
			return refuse(40062, "$switch expected each branch to be an object, found: %s", TypeName(branch.Type))
		}
		var condition, value expression
		e := elementsOf(branch.Value)
		for {
			key, item, ok := e.next()
			if !ok {
				break
			}
			var err error
			switch name := string(key); name {
			case "case":
				condition, err = p.parse(item)
			case "then":
				value, err = p.parse(item)
			default:
				err = refuse(40063, "$switch found an unknown argument to a branch: %s", name)
			}
			if err != nil {
				return err
			}
		}
		switch {
		case condition == nil:
			return refuse(40064, "$switch requires each branch have a 'case' expression")
		case value == nil:
			return refuse(40065, "$switch requires each branch have a 'then' expression.")
		}
		x.conditions, x.values = append(x.conditions, condition), append(x.values, value)
	}
	return nil
}
