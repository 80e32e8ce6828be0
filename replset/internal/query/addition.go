package query

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// addition is a tree of computed fields: what $addFields and $project put into a
// document.
type addition struct {
	name string
	x    expression // of a leaf
	kids []*addition
}

func (a *addition) add(dotted string, x expression) error {
	parts := strings.Split(dotted, ".")
	for i, name := range parts {
		var k *addition
		for _, o := range a.kids {
			if o.name == name {
				k = o
			}
		}
		last := i == len(parts)-1
		switch {
		case k == nil:
			k = &addition{name: name}
			a.kids = append(a.kids, k)
		case k.x != nil && !last:
			return refuse(31249, "Path collision at %s remaining portion %s", dotted, strings.Join(parts[i+1:], "."))
		case k.x != nil || last:
			return refuse(31250, "Path collision at %s", dotted)
		}
		a = k
	}
	a.x = x
	return nil
}

// applyTo puts the fields into base.
func (a *addition) applyTo(base []byte, s *scope) bson.Raw {
	dst, start := openDocument(make([]byte, 0, len(base)+64))
	return closeDocument(a.put(dst, base, s), start)
}

// put appends the elements of base, with the kids of a in their places or at the end.
func (a *addition) put(dst, base []byte, s *scope) []byte {
	seen := make([]bool, len(a.kids))
	e := elementsOf(base)
next:
	for {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			break
		}
		for i, k := range a.kids {
			if !seen[i] && k.name == string(raw[1:1+keyLen]) {
				seen[i] = true
				dst = k.field(dst, elementValue(raw, keyLen), s)
				continue next
			}
		}
		dst = append(dst, raw...)
	}
	for i, k := range a.kids {
		if !seen[i] {
			dst = k.field(dst, bson.RawValue{}, s)
		}
	}
	return dst
}

// field appends a's element, given the value that stands there so far.
func (a *addition) field(dst []byte, old bson.RawValue, s *scope) []byte {
	var v bson.RawValue
	if a.x != nil {
		v = a.x.eval(s)
	} else {
		v = a.inside(old, s, 0)
	}
	if missing(v) {
		return dst
	}
	return appendElement(dst, a.name, v)
}

// inside is old with the kids of a: every document in an array gets them, and
// what is no document becomes one.
func (a *addition) inside(old bson.RawValue, s *scope, depth int) bson.RawValue {
	switch {
	case depth > maxDepth: // hostile bytes; see maxDepth
		return old
	case isArray(old):
		items := arrayItems(old.Value)
		for i, item := range items {
			items[i] = a.inside(item, s, depth+1)
		}
		return arrayValue(items)
	case isObject(old):
		return documentValue(a.applyTo(old.Value, s))
	}
	return documentValue(a.applyTo([]byte{5, 0, 0, 0, 0}, s))
}
