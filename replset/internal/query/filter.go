package query

import (
	"bytes"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Filter is a compiled query. It is immutable and may be used from any
// goroutine.
type Filter struct {
	root matcher
	ids  []bson.RawValue
	byID bool
	expr bool // there is an $expr
}

// CompileFilter reads a query filter. It keeps no reference to f. Operators that
// this package does not have are refused: with the server's own error where the server does not
// know them either, with NotImplemented (238) where it does.
func CompileFilter(f bson.Raw) (*Filter, error) {
	f = bytes.Clone(f)
	if err := checkNesting(f); err != nil {
		return nil, err
	}
	m, err := parseFilter(f, true)
	if err != nil {
		return nil, err
	}
	flt := &Filter{root: m, expr: hasExpr(m)}
	flt.ids, flt.byID = idsOf(m)
	return flt, nil
}

// Match reports whether doc satisfies the filter. An $expr that fails is not satisfied; TryMatch
// tells why.
func (f *Filter) Match(doc bson.Raw) bool { return f.root.match(doc, nil) }

// TryMatch is Match, and fails where an $expr does.
func (f *Filter) TryMatch(doc bson.Raw) (bool, error) {
	if !f.expr {
		return f.root.match(doc, nil), nil
	}
	s := &scope{}
	ok := f.root.match(doc, s)
	return ok && s.err == nil, s.failure()
}

// UsesExpr reports whether the filter has an $expr, which the server forbids in an upsert.
func (f *Filter) UsesExpr() bool { return f.expr }

func hasExpr(m matcher) bool {
	var parts []matcher
	switch m := m.(type) {
	case *holds:
		return true
	case and:
		parts = m
	case or:
		parts = m
	case nor:
		parts = m
	}
	return slices.ContainsFunc(parts, hasExpr)
}

// IDs returns, when ok, the only values that the _id of a matching document can
// have, sorted and each once: the caller can look them up instead of scanning, and still
// has to ask Match. The slice must not be modified.
func (f *Filter) IDs() (ids []bson.RawValue, ok bool) { return f.ids, f.byID }

// RangesOverID reports whether the filter asks all documents for an _id above or below something: a server
// finds them by the index on _id, and so in its order.
func (f *Filter) RangesOverID() bool { return !f.byID && rangesOverID(f.root) }

func rangesOverID(m matcher) bool {
	switch m := m.(type) {
	case *field:
		return m.dotted == "_id" && isRange(m.p)
	case and:
		return slices.ContainsFunc(m, rangesOverID)
	}
	return false
}

func isRange(p predicate) bool {
	switch p := p.(type) {
	case *leaf:
		_, ok := p.t.(*ordered)
		return ok
	case every:
		return slices.ContainsFunc(p, isRange)
	}
	return false
}

// HasAny reports whether a document has any of the fields of an index's key.
func HasAny(doc, key bson.Raw) bool {
	e := elementsOf(key)
	for {
		name, _, ok := e.next()
		if !ok {
			return false
		}
		if splitPath(string(name)).any(doc, true, exists{}) {
			return true
		}
	}
}

// matcher is a condition on a document. Where s is not nil, what fails leaves its error
// there.
type matcher interface {
	match(doc []byte, s *scope) bool
}

// predicate is a condition on a field, asked of a document and a path in it, or
// of a value itself (inside $elemMatch).
type predicate interface {
	at(doc []byte, p path) bool
	of(v bson.RawValue) bool
}

// field is a condition on the values of one path.
type field struct {
	path   path
	dotted string
	p      predicate
}

func (m *field) match(doc []byte, _ *scope) bool { return m.p.at(doc, m.path) }

type and []matcher

func (m and) match(doc []byte, s *scope) bool {
	for _, c := range m {
		if !c.match(doc, s) {
			return false
		}
	}
	return true
}

type or []matcher

func (m or) match(doc []byte, s *scope) bool {
	for _, c := range m {
		if c.match(doc, s) {
			return true
		}
	}
	return false
}

type nor []matcher

func (m nor) match(doc []byte, s *scope) bool { return !or(m).match(doc, s) }

// constant is $alwaysTrue or $alwaysFalse.
type constant bool

func (m constant) match([]byte, *scope) bool { return bool(m) }

// holds is $expr.
type holds struct{ x expression }

func (m *holds) match(doc []byte, s *scope) bool {
	own := &scope{root: doc}
	v := m.x.eval(own)
	if own.err != nil {
		if s != nil && s.err == nil {
			s.err = own.err
		}
		return false
	}
	return Truthy(v)
}

// leaf is a predicate that some value at the path passes a test. With whole
// set, arrays at the end of the path are asked about as they are.
type leaf struct {
	t     test
	whole bool
}

func (l *leaf) at(doc []byte, p path) bool { return p.any(doc, l.whole, l.t) }
func (l *leaf) of(v bson.RawValue) bool    { return l.t.of(v) }

type not struct{ p predicate }

func (n *not) at(doc []byte, p path) bool { return !n.p.at(doc, p) }
func (n *not) of(v bson.RawValue) bool    { return !n.p.of(v) }

type every []predicate

func (all every) at(doc []byte, p path) bool {
	for _, c := range all {
		if !c.at(doc, p) {
			return false
		}
	}
	return true
}

func (all every) of(v bson.RawValue) bool {
	for _, c := range all {
		if !c.of(v) {
			return false
		}
	}
	return true
}

type never struct{}

func (never) at([]byte, path) bool  { return false }
func (never) of(bson.RawValue) bool { return false }

// idsOf finds the values that m pins _id to: the shortest list that any of its
// conjuncts gives.
func idsOf(m matcher) (ids []bson.RawValue, ok bool) {
	switch m := m.(type) {
	case *field:
		if m.dotted == "_id" {
			return idsOfPredicate(m.p)
		}
	case and:
		for _, c := range m {
			if found, has := idsOf(c); has && (!ok || len(found) < len(ids)) {
				ids, ok = found, true
			}
		}
	case or:
		for _, c := range m {
			found, has := idsOf(c)
			if !has {
				return nil, false
			}
			ids = append(ids, found...)
		}
		return sortedOnce(ids), true
	}
	return ids, ok
}

func idsOfPredicate(p predicate) (ids []bson.RawValue, ok bool) {
	switch p := p.(type) {
	case *leaf:
		switch t := p.t.(type) {
		case *equals:
			return []bson.RawValue{t.v}, true
		case *in:
			if len(t.regexes) == 0 {
				return t.sorted, true
			}
		}
	case every:
		for _, c := range p {
			if found, has := idsOfPredicate(c); has && (!ok || len(found) < len(ids)) {
				ids, ok = found, true
			}
		}
	case never:
		return nil, true
	}
	return ids, ok
}

// sortedOnce sorts values and drops equal ones.
func sortedOnce(values []bson.RawValue) []bson.RawValue {
	values = slices.Clone(values)
	slices.SortStableFunc(values, Compare)
	return slices.CompactFunc(values, func(a, b bson.RawValue) bool { return Compare(a, b) == 0 })
}
