package query

import "go.mongodb.org/mongo-driver/v2/bson"

// position is the number of the array item that made f match doc, for the
// positional operator $; -1 if no array had to do with it. Like the server, it
// takes the outermost array on the path of the last condition that looked into
// one, and of a $or the first clause that holds.
func (f *Filter) position(doc []byte) int {
	at := -1
	positionIn(f.root, doc, &at)
	return at
}

func positionIn(m matcher, doc []byte, at *int) {
	switch m := m.(type) {
	case *field:
		positionOf(m.p, m.path, doc, at)
	case and:
		for _, c := range m {
			positionIn(c, doc, at)
		}
	case or:
		for _, c := range m {
			if c.match(doc, nil) {
				positionIn(c, doc, at)
				return
			}
		}
	}
}

func positionOf(p predicate, where path, doc []byte, at *int) {
	switch p := p.(type) {
	case *leaf:
		if i, ok := where.locate(doc, p); ok && i >= 0 {
			*at = i
		}
	case every:
		for _, c := range p {
			positionOf(c, where, doc, at)
		}
	}
}

// locate is any, and tells the number of the item at which p, without a number of
// its own, went through the outermost array; -1 for none.
func (p path) locate(doc []byte, l *leaf) (index int, ok bool) {
	v := lookup(doc, p[0].name)
	if len(p) > 1 {
		switch v.Type {
		case bson.TypeEmbeddedDocument:
			return p[1:].locate(v.Value, l)
		case bson.TypeArray:
			return p[1:].locateItem(v.Value, l)
		}
		return -1, l.of(bson.RawValue{})
	}
	if isArray(v) && !l.whole {
		for i, item := range arrayItems(v.Value) {
			if l.of(item) {
				return i, true
			}
		}
	}
	return l.itemIn(v), l.of(v)
}

func (p path) locateItem(arr []byte, l *leaf) (index int, ok bool) {
	for i, item := range arrayItems(arr) {
		if isObject(item) && p.any(item.Value, l.whole, l.t) {
			return i, true
		}
		if p[0].index != i {
			continue
		}
		switch {
		case len(p) == 1:
			if l.of(item) {
				return l.itemIn(item), true
			}
		case isObject(item):
			if index, ok := p[1:].locate(item.Value, l); ok {
				return index, true
			}
		case isArray(item):
			if index, ok := p[1:].locateItem(item.Value, l); ok {
				return index, true
			}
		}
	}
	return -1, false
}

// itemIn is the number of the item of v that an $elemMatch found, -1 for none.
func (l *leaf) itemIn(v bson.RawValue) int {
	if !isArray(v) {
		return -1
	}
	for i, item := range arrayItems(v.Value) {
		switch t := l.t.(type) {
		case *matchesItem:
			if t.holds(item) {
				return i
			}
		case *matchesValue:
			if t.p.of(item) {
				return i
			}
		}
	}
	return -1
}
