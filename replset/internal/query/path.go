package query

import (
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// path is a dotted field path, split once.
type path []component

// component is one name of a path. Index is the array position it may mean as
// well, -1 for none.
type component struct {
	name  string
	index int
}

func splitPath(dotted string) path {
	p := make(path, 0, strings.Count(dotted, ".")+1)
	for {
		name, rest, more := strings.Cut(dotted, ".")
		p = append(p, component{name: name, index: arrayIndex(name)})
		if !more {
			return p
		}
		dotted = rest
	}
}

// arrayIndex is the array position that name spells, -1 if it spells none: digits
// without a leading zero.
func arrayIndex(name string) int {
	if name == "" || len(name) > 9 || len(name) > 1 && name[0] == '0' {
		return -1
	}
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return -1
		}
	}
	n, _ := strconv.Atoi(name)
	return n
}

// test is a condition on one value; a value of type 0 stands for none.
type test interface {
	of(v bson.RawValue) bool
}

// any reports whether t holds for a value that p reaches in doc. On its way p
// goes through the items of arrays, and a number in it names an item too. At its
// end, unless whole, the items of an array are reached as well as the array itself;
// not so for an array that a number named. Where a document or a
// scalar ends the way early, t is asked about no value.
func (p path) any(doc []byte, whole bool, t test) bool {
	v := lookup(doc, p[0].name)
	if len(p) > 1 {
		switch v.Type {
		case bson.TypeEmbeddedDocument:
			return p[1:].any(v.Value, whole, t)
		case bson.TypeArray:
			return p[1:].anyItem(v.Value, whole, t)
		}
		return t.of(bson.RawValue{})
	}
	if !whole && v.Type == bson.TypeArray {
		e := elementsOf(v.Value)
		for {
			_, item, ok := e.next()
			if !ok {
				break
			}
			if t.of(item) {
				return true
			}
		}
	}
	return t.of(v)
}

// anyItem is any for the items of an array that p passes through.
func (p path) anyItem(arr []byte, whole bool, t test) bool {
	e := elementsOf(arr)
	for i := 0; ; i++ {
		_, item, ok := e.next()
		if !ok {
			return false
		}
		if item.Type == bson.TypeEmbeddedDocument && p.any(item.Value, whole, t) {
			return true
		}
		if p[0].index != i {
			continue
		}
		switch {
		case len(p) == 1:
			if t.of(item) {
				return true
			}
		case item.Type == bson.TypeEmbeddedDocument:
			if p[1:].any(item.Value, whole, t) {
				return true
			}
		case item.Type == bson.TypeArray:
			if p[1:].anyItem(item.Value, whole, t) {
				return true
			}
		}
	}
}

// isDollar reports whether name starts as an operator does.
func isDollar(name []byte) bool { return len(name) > 0 && name[0] == '$' }
