package query

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Projection is a compiled projection of find, or of a $project or $unset stage.
// It is immutable and may be used from any goroutine.
type Projection struct {
	root      *projected
	inclusion bool
	// found are the $elemMatch fields, which an inclusion puts at the end.
	found []foundItem
	// added are the computed fields of a $project stage.
	added *addition
}

// projected is a name in the tree of projected paths: a leaf, or a document or
// array to go into.
type projected struct {
	name  string
	kids  []*projected
	leaf  bool
	slice *itemRange // a leaf that keeps a part of an array
	gone  bool       // a leaf that another step puts back
}

// itemRange is $slice: from skip (from the end if negative), at most limit items.
type itemRange struct{ skip, limit int64 }

// foundItem is $elemMatch: the field with the first item that matches.
type foundItem struct {
	name  string
	holds func(item bson.RawValue) bool
}

// Apply returns the projection of doc. The result may be doc itself. It fails where a
// computed field does.
func (p *Projection) Apply(doc bson.Raw) (bson.Raw, error) {
	if p.added == nil {
		return p.fields(doc), nil
	}
	s := &scope{root: doc}
	doc = p.apply(s)
	return doc, s.failure()
}

func (p *Projection) apply(s *scope) bson.Raw {
	out := p.fields(s.root)
	if p.added != nil {
		out = p.added.applyTo(out, s)
	}
	return out
}

// fields is the projection but for the computed fields.
func (p *Projection) fields(doc bson.Raw) bson.Raw {
	if len(p.root.kids) == 0 && !p.inclusion {
		return doc
	}
	dst, start := openDocument(make([]byte, 0, len(doc)))
	if p.inclusion {
		dst = p.root.include(dst, doc, false, 0)
	} else {
		dst = p.root.exclude(dst, doc, false, p.found, 0)
	}
	if p.inclusion {
		for _, f := range p.found {
			dst = f.appendFound(dst, lookup(doc, f.name))
		}
	}
	return closeDocument(dst, start)
}

func (n *projected) kid(name []byte) *projected {
	for _, k := range n.kids {
		if len(k.name) == len(name) && k.name == string(name) {
			return k
		}
	}
	return nil
}

// include appends the elements of doc that n keeps. Inside an array every
// document is projected, arrays are gone into, and other items are left out.
func (n *projected) include(dst, doc []byte, array bool, depth int) []byte {
	e := elementsOf(doc)
	kept := 0
	for {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			return dst
		}
		v := elementValue(raw, keyLen)
		k := n
		if !array {
			if k = n.kid(raw[1 : 1+keyLen]); k == nil || k.gone {
				continue
			}
			if k.leaf {
				dst = k.appendLeaf(dst, raw, keyLen)
				continue
			}
		}
		if !isObject(v) && !isArray(v) || depth > maxDepth {
			continue
		}
		if array {
			dst = appendItemKey(dst, v.Type, kept)
			kept++
		} else {
			dst = append(dst, raw[:keyLen+2]...)
		}
		var start int
		dst, start = openDocument(dst)
		dst = closeDocument(k.include(dst, v.Value, isArray(v), depth+1), start)
	}
}

// exclude appends the elements of doc that n does not take away.
func (n *projected) exclude(dst, doc []byte, array bool, found []foundItem, depth int) []byte {
	e := elementsOf(doc)
	for {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			return dst
		}
		v := elementValue(raw, keyLen)
		k := n
		if !array {
			if k = n.kid(raw[1 : 1+keyLen]); k == nil {
				dst = append(dst, raw...)
				continue
			}
			if k.gone {
				for _, f := range found {
					if f.name == k.name {
						dst = f.appendFound(dst, v)
					}
				}
				continue
			}
			if k.leaf {
				if k.slice != nil {
					dst = k.appendLeaf(dst, raw, keyLen)
				}
				continue
			}
		}
		if !isObject(v) && !isArray(v) || depth > maxDepth {
			dst = append(dst, raw...)
			continue
		}
		dst = append(dst, raw[:keyLen+2]...)
		var start int
		dst, start = openDocument(dst)
		dst = closeDocument(k.exclude(dst, v.Value, isArray(v), nil, depth+1), start)
	}
}

func appendItemKey(dst []byte, t bson.Type, index int) []byte {
	return appendItem(dst, index, bson.RawValue{Type: t})
}

func (n *projected) appendLeaf(dst, raw []byte, keyLen int) []byte {
	v := elementValue(raw, keyLen)
	if n.slice == nil || !isArray(v) {
		return append(dst, raw...)
	}
	dst = append(dst, raw[:keyLen+2]...)
	return append(dst, arrayValue(n.slice.of(arrayItems(v.Value))).Value...)
}

// of is the part of items that r names.
func (r *itemRange) of(items []bson.RawValue) []bson.RawValue {
	size := int64(len(items))
	from := r.skip
	if from < 0 {
		from = max(from+size, 0)
	}
	from = min(from, size)
	return items[from : from+min(r.limit, size-from)]
}

// appendFound appends the field with the first matching item of v, if there is
// one.
func (f *foundItem) appendFound(dst []byte, v bson.RawValue) []byte {
	if !isArray(v) {
		return dst
	}
	e := elementsOf(v.Value)
	for {
		_, item, ok := e.next()
		if !ok {
			return dst
		}
		if f.holds(item) {
			dst = appendKey(dst, bson.TypeArray, f.name)
			return append(dst, arrayValue([]bson.RawValue{item}).Value...)
		}
	}
}
