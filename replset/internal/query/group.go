package query

import (
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
		case "$accumulator", "$bottom", "$bottomN", "$firstN", "$lastN", "$maxN", "$median", "$minN",
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
		s := &scope{root: doc}
		id := orNull(g.id.eval(s))
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
			b.fields[i].add(f.x.eval(s))
		}
		if err := s.failure(); err != nil {
			return nil, err
		}
	}
	out := make([]bson.Raw, 0, len(buckets))
	for _, b := range buckets {
		dst, start := openDocument(nil)
		dst = appendElement(dst, "_id", b.id)
		for i, name := range g.names {
			if m, ok := b.fields[i].(*mergedObjects); ok && m.err != nil {
				return nil, m.err
			}
			dst = appendElement(dst, name, orNull(b.fields[i].result()))
		}
		out = append(out, closeDocument(dst, start))
	}
	return out, nil
}
