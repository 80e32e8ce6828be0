package query

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// under reads an expression that may use more variables.
func (p *expressionParser) under(v bson.RawValue, names ...string) (expression, error) {
	n := len(p.names)
	p.names = append(p.names, names...)
	x, err := p.parse(v)
	p.names = p.names[:n]
	return x, err
}

// checkVariable refuses what cannot name a variable of a user's.
func checkVariable(name string) error {
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 0x80:
		case i == 0:
			return refuse(failedToParse, "'%s' starts with an invalid character for a user variable name", name)
		case !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'):
			return refuse(failedToParse, "'%s' contains an invalid character for a variable name: '%c'", name, c)
		}
	}
	if name == "" {
		return refuse(failedToParse, "empty variable names are not allowed")
	}
	return nil
}

// let is $let: values that have names within an expression.
type let struct {
	values []expression
	in     expression
}

func (x *let) eval(s *scope) bson.RawValue {
	values := make([]bson.RawValue, len(x.values))
	for i, v := range x.values {
		values[i] = v.eval(s)
	}
	return s.bind(x.in, values...)
}

func parseLet(p *expressionParser, v bson.RawValue) (expression, error) {
	args, err := (&namedArguments{
		op: "$let", notObject: 16874, unknown: 16875, known: []string{"vars", "in"}, must: []string{"vars", "in"}, missing: []int32{16876, 16877},
	}).read(v)
	if err != nil {
		return nil, err
	}
	if !isObject(args["vars"]) {
		return nil, refuse(10065, "invalid parameter: expected an object (vars)")
	}
	x := &let{}
	var names []string
	e := elementsOf(args["vars"].Value)
	for {
		key, item, ok := e.next()
		if !ok {
			break
		}
		if err := checkVariable(string(key)); err != nil {
			return nil, err
		}
		value, err := p.parse(item)
		if err != nil {
			return nil, err
		}
		names, x.values = append(names, string(key)), append(x.values, value)
	}
	x.in, err = p.under(args["in"], names...)
	return x, err
}

// loop is $map and $filter: an expression for each item of an array.
type loop struct {
	op    string
	code  int32 // of an input that is no array
	input expression
	each  expression
	keep  bool       // $filter
	limit expression // of $filter; nil for none
}

func (x *loop) eval(s *scope) bson.RawValue {
	input := x.input.eval(s)
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case nullish(input):
		return nullValue()
	case !isArray(input):
		return s.fail(x.code, "input to %s must be an array not %s", x.op, TypeName(input.Type))
	}
	limit := int64(-1)
	if x.limit != nil {
		if v := x.limit.eval(s); !nullish(v) {
			n, ok := int64(0), false
			if isNumber(v) {
				n, ok = whole32(v)
			}
			switch {
			case !ok:
				return s.fail(327391, "$filter: limit must be represented as a 32-bit integral value: %s", text(v))
			case n <= 0:
				return s.fail(327392, "$filter: limit must be greater than 0: %s", text(v))
			}
			limit = n
		}
	}
	var out []bson.RawValue
	for _, item := range arrayItems(input.Value) {
		v := s.bind(x.each, item)
		switch {
		case s.err != nil:
			return bson.RawValue{}
		case !x.keep:
			out = append(out, orNull(v))
		case Truthy(v):
			out = append(out, item)
		}
		if x.keep && int64(len(out)) == limit {
			break
		}
	}
	return arrayValue(out)
}

// loopVariable is the name of a loop's variable.
func loopVariable(args map[string]bson.RawValue) (string, error) {
	as := args["as"]
	if missing(as) {
		return "this", nil
	}
	if as.Type != bson.TypeString {
		return "", refuse(typeMismatch, "'as' must be a string, but is %s", TypeName(as.Type))
	}
	name := string(readString(as))
	return name, checkVariable(name)
}

func parseMap(p *expressionParser, v bson.RawValue) (expression, error) {
	args, err := (&namedArguments{
		op: "$map", notObject: 16878, unknown: 16879, known: []string{"input", "as", "in"}, must: []string{"input", "in"}, missing: []int32{16880, 16882},
	}).read(v)
	if err != nil {
		return nil, err
	}
	return p.loop(&loop{op: "$map", code: 16883}, args, "in")
}

func parseArrayFilter(p *expressionParser, v bson.RawValue) (expression, error) {
	args, err := (&namedArguments{
		op: "$filter", notObject: 28646, unknown: 28647, known: []string{"input", "as", "cond", "limit"}, must: []string{"input", "cond"}, missing: []int32{28648, 28650},
	}).read(v)
	if err != nil {
		return nil, err
	}
	x := &loop{op: "$filter", code: 28651, keep: true}
	if limit := args["limit"]; !missing(limit) {
		if x.limit, err = p.parse(limit); err != nil {
			return nil, err
		}
	}
	return p.loop(x, args, "cond")
}

func (p *expressionParser) loop(x *loop, args map[string]bson.RawValue, each string) (expression, error) {
	name, err := loopVariable(args)
	if err != nil {
		return nil, err
	}
	if x.input, err = p.parse(args["input"]); err != nil {
		return nil, err
	}
	x.each, err = p.under(args[each], name)
	return x, err
}

// fold is $reduce: an array's items put into one value, one after the other.
type fold struct{ input, initial, in expression }

func (x *fold) eval(s *scope) bson.RawValue {
	input := x.input.eval(s)
	switch {
	case s.err != nil:
		return bson.RawValue{}
	case nullish(input):
		return nullValue()
	case !isArray(input):
		return s.fail(40080, "$reduce requires that 'input' be an array, found: %s", text(input))
	}
	v := x.initial.eval(s)
	for _, item := range arrayItems(input.Value) {
		if v = s.bind(x.in, item, v); s.err != nil {
			return bson.RawValue{}
		}
		if len(v.Value) > maxFold {
			return s.fail(exceededMemoryLimit, "$reduce would use too much memory and cannot spill")
		}
	}
	return v
}

// maxFold bounds what $reduce gathers, as the server's limit does.
const maxFold = 100 << 20

func parseReduce(p *expressionParser, v bson.RawValue) (expression, error) {
	if !isObject(v) {
		return nil, refuse(40075, "$reduce requires an object as an argument, found: %s", TypeName(v.Type))
	}
	x := &fold{}
	e := elementsOf(v.Value)
	for {
		key, item, ok := e.next()
		if !ok {
			break
		}
		var err error
		switch name := string(key); name {
		case "input":
			x.input, err = p.parse(item)
		case "initialValue":
			x.initial, err = p.parse(item)
		case "in":
			x.in, err = p.under(item, "this", "value")
		default:
			err = refuse(40076, "$reduce found an unknown argument: %s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case x.input == nil:
		return nil, refuse(40077, "$reduce requires 'input' to be specified")
	case x.initial == nil:
		return nil, refuse(40078, "$reduce requires 'initialValue' to be specified")
	case x.in == nil:
		return nil, refuse(40079, "$reduce requires 'in' to be specified")
	}
	return x, nil
}
