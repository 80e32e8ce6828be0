package query

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// expression computes a value from a document; type 0 stands for none.
type expression interface {
	eval(s *scope) bson.RawValue
}

// scope is what an expression is evaluated in. What fails leaves its error here and
// gives no value; the first error counts.
type scope struct {
	root []byte
	vars []bson.RawValue // by how deep each is bound
	err  *Error
}

func (s *scope) fail(code int32, format string, args ...any) bson.RawValue {
	if s.err == nil {
		s.err = refuse(code, format, args...)
	}
	return bson.RawValue{}
}

// failure is the scope's error as an error, or nil.
func (s *scope) failure() error {
	if s.err == nil {
		return nil
	}
	return s.err
}

type literal struct{ v bson.RawValue }

func (x *literal) eval(*scope) bson.RawValue { return x.v }

// fieldPath is "$a.b".
type fieldPath []string

func (x fieldPath) eval(s *scope) bson.RawValue { return x.from(documentValue(s.root)) }

// from follows x from v. Through an array it goes by way of each item that is a
// document, and gives an array of what it finds.
func (x fieldPath) from(v bson.RawValue) bson.RawValue {
	if len(x) == 0 {
		return v
	}
	switch {
	case isObject(v):
		return x[1:].from(lookup(v.Value, x[0]))
	case isArray(v):
		var found []bson.RawValue
		e := elementsOf(v.Value)
		for {
			_, item, ok := e.next()
			if !ok {
				return arrayValue(found)
			}
			if !isObject(item) {
				continue
			}
			if at := x.from(item); !missing(at) {
				found = append(found, at)
			}
		}
	}
	return bson.RawValue{}
}

// removed is $$REMOVE.
type removed struct{}

func (removed) eval(*scope) bson.RawValue { return bson.RawValue{} }

// documentOf is a document of expressions; fields without a value are left out.
type documentOf struct {
	names  []string
	values []expression
}

func (x *documentOf) eval(s *scope) bson.RawValue {
	dst, start := openDocument(nil)
	for i, name := range x.names {
		if v := x.values[i].eval(s); !missing(v) {
			dst = appendElement(dst, name, v)
		}
	}
	return documentValue(closeDocument(dst, start))
}

// arrayOf is an array of expressions; an item without a value is null.
type arrayOf []expression

func (x arrayOf) eval(s *scope) bson.RawValue {
	items := make([]bson.RawValue, len(x))
	for i, item := range x {
		items[i] = orNull(item.eval(s))
	}
	return arrayValue(items)
}

// variable is "$$name.a.b": what is bound so deep, and a path below it.
type variable struct {
	depth int
	below fieldPath
}

func (x *variable) eval(s *scope) bson.RawValue {
	if x.depth >= len(s.vars) {
		return bson.RawValue{}
	}
	return x.below.from(s.vars[x.depth])
}

// bind evaluates x with values bound to the next variables.
func (s *scope) bind(x expression, values ...bson.RawValue) bson.RawValue {
	n := len(s.vars)
	s.vars = append(s.vars, values...)
	v := x.eval(s)
	s.vars = s.vars[:n]
	return v
}
