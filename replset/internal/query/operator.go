package query

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// operator is an expression operator whose arguments are a list. The codes and texts
// of what it refuses are those of the server's Expression classes.
type operator struct {
	least, most int // arguments; most is -1 for any number
	eval        func(s *scope, x *invocation) bson.RawValue
}

// invocation is an operator with its arguments, which it evaluates itself, in turn: what
// comes after an argument that decides is not evaluated.
type invocation struct {
	name string
	args []expression
	op   func(s *scope, x *invocation) bson.RawValue
}

func (x *invocation) eval(s *scope) bson.RawValue {
	v := x.op(s, x)
	if s.err != nil {
		return bson.RawValue{}
	}
	return v
}

func (x *invocation) arg(s *scope, i int) bson.RawValue { return x.args[i].eval(s) }

var operators map[string]operator

// special are the operators whose operand is no list of arguments.
var special map[string]func(p *expressionParser, v bson.RawValue) (expression, error)

func init() {
	operators = map[string]operator{}
	for _, group := range []map[string]operator{
		comparisonOperators, logicOperators, numberOperators, arrayOperators, setOperators, objectOperators, stringOperators, totalOperators,
	} {
		for name, op := range group {
			operators[name] = op
		}
	}
	special = map[string]func(p *expressionParser, v bson.RawValue) (expression, error){
		"$literal": parseLiteral, "$const": parseLiteral, "$cond": parseCond, "$switch": parseSwitch,
		"$let": parseLet, "$map": parseMap, "$filter": parseArrayFilter, "$reduce": parseReduce,
	}
}

func parseLiteral(_ *expressionParser, v bson.RawValue) (expression, error) { return &literal{v}, nil }

// operator reads {$name: v}.
func (p *expressionParser) operator(name string, v bson.RawValue) (expression, error) {
	if parse := special[name]; parse != nil {
		return parse(p, v)
	}
	op, ok := operators[name]
	if !ok {
		return nil, unsupportedExpression(name)
	}
	args, err := p.arguments(v)
	if err != nil {
		return nil, err
	}
	switch n := len(args); {
	case n >= op.least && (op.most < 0 || n <= op.most):
	case name == "$ifNull":
		return nil, refuse(1257300, "$ifNull needs at least two arguments, had: %d", n)
	case op.least == op.most:
		return nil, refuse(16020, "Expression %s takes exactly %d arguments. %d were passed in.", name, op.least, n)
	default:
		return nil, refuse(28667, "Expression %s takes at least %d arguments, and at most %d, but %d were passed in.", name, op.least, op.most, n)
	}
	return &invocation{name: name, args: args, op: op.eval}, nil
}

// arguments reads a list of arguments, or a single one.
func (p *expressionParser) arguments(v bson.RawValue) ([]expression, error) {
	if !isArray(v) {
		x, err := p.parse(v)
		return []expression{x}, err
	}
	var args []expression
	for _, item := range arrayItems(v.Value) {
		x, err := p.parse(item)
		if err != nil {
			return nil, err
		}
		args = append(args, x)
	}
	return args, nil
}

// namedArguments reads a document of arguments by name. Codes are those of a document that is none, of an
// unknown name, and of the names that must be there and are not.
type namedArguments struct {
	op        string
	notObject int32
	unknown   int32
	known     []string
	must      []string
	missing   []int32 // for each of must
}

func (n *namedArguments) read(v bson.RawValue) (map[string]bson.RawValue, error) {
	if !isObject(v) {
		return nil, refuse(n.notObject, "%s only supports an object as its argument", n.op)
	}
	found := map[string]bson.RawValue{}
	e := elementsOf(v.Value)
	for {
		key, item, ok := e.next()
		if !ok {
			break
		}
		name := string(key)
		if !slices.Contains(n.known, name) {
			return nil, refuse(n.unknown, "Unrecognized parameter to %s: %s", n.op, name)
		}
		found[name] = item
	}
	for i, name := range n.must {
		if missing(found[name]) {
			return nil, refuse(n.missing[i], "Missing '%s' parameter to %s", name, n.op)
		}
	}
	return found, nil
}

// nullish says that a value is null, undefined or none.
func nullish(v bson.RawValue) bool {
	return missing(v) || v.Type == bson.TypeNull || v.Type == bson.TypeUndefined
}
