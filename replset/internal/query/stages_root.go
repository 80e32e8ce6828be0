package query

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func compileReplaceRoot(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(40229, "expected an object as specification for $replaceRoot stage, got %s", TypeName(spec.Type))
	}
	var root bson.RawValue
	e := elementsOf(spec.Value)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		if string(key) != "newRoot" {
			return nil, refuse(40415, "BSON field '$replaceRoot.%s' is an unknown field.", key)
		}
		root = v
	}
	if missing(root) {
		return nil, refuse(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field")
	}
	return replaceRoot("'newRoot' expression", root)
}

func compileReplaceWith(spec bson.RawValue) (stage, error) {
	return replaceRoot("'replacement document'", spec)
}

// replaceRoot makes a document of an expression the new one.
func replaceRoot(what string, spec bson.RawValue) (stage, error) {
	x, err := parseExpression(spec)
	if err != nil {
		return nil, err
	}
	return mapped(func(s *scope) bson.Raw {
		v := x.eval(s)
		if !isObject(v) {
			s.fail(40228, "%s must evaluate to an object, but resulting value was: %s. Type of resulting value: '%s'. Input document: %s", what, text(v), TypeName(v.Type), text(documentValue(s.root)))
		}
		return v.Value
	}), nil
}

// compileSortByCount is a $group by an expression and a $sort by the groups' sizes.
func compileSortByCount(spec bson.RawValue) (stage, error) {
	const either = "the sortByCount field must be defined as a $-prefixed path or an expression inside an object"
	switch {
	case isObject(spec):
		e := elementsOf(spec.Value)
		if key, _, ok := e.next(); !ok || !isDollar(key) {
			return nil, refuse(40147, either)
		}
	case spec.Type != bson.TypeString:
		return nil, refuse(40149, "the sortByCount field must be specified as a string or as an object")
	case !strings.HasPrefix(string(readString(spec)), "$"):
		return nil, refuse(40148, either)
	}
	id, err := parseExpression(spec)
	if err != nil {
		return nil, err
	}
	g := &group{id: id, names: []string{"count"}, fields: []groupField{{&literal{int32Value(1)}, accumulators["$sum"]}}}
	order, start := openDocument(nil)
	order = closeDocument(appendElement(order, "count", int32Value(-1)), start)
	by, err := CompileSort(order)
	if err != nil {
		return nil, err
	}
	return func(in source) source {
		return onceAll(in, func(in source) ([]bson.Raw, error) {
			docs, err := g.run(in)
			if err != nil {
				return nil, err
			}
			return docs, by.Sort(docs)
		})
	}, nil
}
