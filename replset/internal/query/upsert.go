package query

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Upsert builds the document to insert where filter matched nothing: the fields
// that the filter pins to one value, then the update with $setOnInsert on top
// of them, its _id first, a new ObjectID where none is given. The filter's values are
// put in by the order of their paths, as the server does.
func (u *Update) Upsert(filter bson.Raw) (doc bson.Raw, err error) {
	f, err := CompileFilter(filter)
	if err != nil {
		return nil, err
	}
	if f.expr {
		return nil, refuse(queryFeatureNotAllowed, "$expr is not allowed in the query predicate for an upsert")
	}
	pinned, err := pinnedFields(f.root, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case u.replacement != nil:
		doc, err = u.upsertReplacement(pinned)
	case u.steps != nil:
		doc, err = u.upsertSteps(pinned)
	default:
		doc, err = u.upsertOperators(pinned)
	}
	if err != nil {
		return nil, err
	}
	doc = WithID(doc)
	if err := checkUpsertedID(lookup(doc, "_id")); err != nil {
		return nil, err
	}
	if err := u.checkNames(nil, doc); err != nil {
		return nil, err
	}
	if err := checkStored(doc); err != nil {
		return nil, err
	}
	if len(doc) > MaxDocumentSize {
		return nil, refuse(upsertedDocumentTooLarge, "Document to upsert is larger than %d", MaxDocumentSize)
	}
	return doc, nil
}

func checkUpsertedID(id bson.RawValue) error {
	if isArray(id) {
		return refuse(notSingleValueField, "After applying the update to the document, the field '_id' was found to be an array or array descendant.")
	}
	return checkID(id)
}

// pin is a field that a filter pins to one value.
type pin struct {
	dotted string
	v      bson.RawValue
}

// pinnedFields collects what m pins, and refuses paths that it pins twice or
// that contain one another.
func pinnedFields(m matcher, pins []pin) (_ []pin, err error) {
	var parts []matcher
	switch m := m.(type) {
	case *field:
		return pinnedBy(m.p, m.dotted, pins)
	case and:
		parts = m
	case or:
		if len(m) == 1 {
			parts = m
		}
	}
	for _, part := range parts {
		if pins, err = pinnedFields(part, pins); err != nil {
			return nil, err
		}
	}
	return pins, nil
}

func pinnedBy(p predicate, dotted string, pins []pin) (_ []pin, err error) {
	switch p := p.(type) {
	case *leaf:
		switch t := p.t.(type) {
		case *equals:
			return addPin(pins, pin{dotted, t.v})
		case *in:
			if len(t.sorted) == 1 && len(t.regexes) == 0 {
				return addPin(pins, pin{dotted, t.sorted[0]})
			}
		}
	case every:
		for _, part := range p {
			if pins, err = pinnedBy(part, dotted, pins); err != nil {
				return nil, err
			}
		}
	}
	return pins, nil
}

func addPin(pins []pin, p pin) ([]pin, error) {
	for _, o := range pins {
		switch {
		case o.dotted == p.dotted:
			return nil, refuse(notSingleValueField, "cannot infer query fields to set, path '%s' is matched twice", p.dotted)
		case strings.HasPrefix(p.dotted, o.dotted+"."):
			return nil, refuse(notSingleValueField, "cannot infer query fields to set, both paths '%s' and '%s' are matched", p.dotted, o.dotted)
		case strings.HasPrefix(o.dotted, p.dotted+"."):
			return nil, refuse(notSingleValueField, "cannot infer query fields to set, both paths '%s' and '%s' are matched", o.dotted, p.dotted)
		}
	}
	return append(pins, p), nil
}

func (u *Update) upsertReplacement(pinned []pin) (bson.Raw, error) {
	doc := u.replacement
	for _, p := range pinned {
		if strings.HasPrefix(p.dotted, "_id.") {
			return nil, refuse(notExactValueField, "field at '_id' must be exactly specified, field at sub-path '%s'found", p.dotted)
		}
		if p.dotted != "_id" {
			continue
		}
		own := lookup(doc, "_id")
		switch {
		case missing(own):
			doc = prependID(doc, p.v)
		case Compare(own, p.v) != 0:
			return nil, refuse(immutableField, "After applying the update, the (immutable) field '_id' was found to have been altered to %s", elementText("_id", own))
		}
	}
	return doc, nil
}

// pinnedDocument is the document of what a filter pins.
func pinnedDocument(pinned []pin) (base []byte, err error) {
	slices.SortStableFunc(pinned, func(a, b pin) int { return strings.Compare(a.dotted, b.dotted) })
	base = []byte{5, 0, 0, 0, 0}
	for _, p := range pinned {
		if base, err = setPath(base, p.dotted, p.v); err != nil {
			return nil, err
		}
	}
	return base, nil
}

func (u *Update) upsertOperators(pinned []pin) (bson.Raw, error) {
	base, err := pinnedDocument(pinned)
	if err != nil {
		return nil, err
	}
	st := applyState{update: u, doc: base, insert: true, matched: -1}
	return st.run()
}

// setPath puts v at a path of doc that is not there yet.
func setPath(doc []byte, dotted string, v bson.RawValue) ([]byte, error) {
	n := &updateNode{index: -1}
	root := n
	for _, c := range splitPath(dotted) {
		k := &updateNode{name: c.name, index: c.index, path: dotted}
		n.kids = []*updateNode{k}
		n = k
	}
	n.op = &set{v}
	out, _, err := root.applyDocument(&applyState{doc: doc}, doc, nil, false)
	return out, err
}
