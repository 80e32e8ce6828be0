package query

import (
	"bytes"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Sort is a compiled sort order. It is immutable and may be used from any
// goroutine.
type Sort struct {
	parts   []sortPart
	natural int
}

type sortPart struct {
	path      path
	direction int
}

// CompileSort reads a sort document. It keeps no reference to s.
func CompileSort(s bson.Raw) (*Sort, error) {
	s = bytes.Clone(s)
	if err := checkNesting(s); err != nil {
		return nil, err
	}
	out := &Sort{}
	seen := map[string]bool{}
	e := elementsOf(s)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		name := string(key)
		if name == "$natural" {
			n, ok := wholeNumber(v)
			if !ok || !isNumber(v) || n != 1 && n != -1 {
				return nil, refuse(badValue, "$natural sort cannot be set to a value other than -1 or 1.")
			}
			out.natural = int(n)
			continue
		}
		if isObject(v) {
			return nil, notSupported("a sort by $meta")
		}
		if !isNumber(v) {
			return nil, refuse(15974, "Illegal key in $sort specification: %s", elementText(name, v))
		}
		n, ok := truncated(v)
		if !ok || n != 1 && n != -1 {
			return nil, refuse(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
		}
		if err := checkFieldPath(name); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, refuse(7472500, "$sort key must not contain duplicate keys (duplicate: '%s')", name)
		}
		seen[name] = true
		out.parts = append(out.parts, sortPart{splitPath(name), int(n)})
	}
	if out.natural != 0 && len(out.parts) > 0 {
		return nil, refuse(badValue, "Cannot include '$natural' in compound sort: %s", text(documentValue(s)))
	}
	return out, nil
}

// Natural reports whether the order is that of storage, {$natural: ±1}, and its
// direction. Such a Sort leaves documents in the order they come in.
func (s *Sort) Natural() (direction int, ok bool) { return s.natural, s.natural != 0 }

// Compare says how a and b sort: below 0, 0 or above 0. A missing field counts
// as null, and of an array the item that comes first counts: the least if
// ascending, the greatest if descending. A document that Sort would fail for sorts
// as if it had none of the fields.
func (s *Sort) Compare(a, b bson.Raw) int {
	return s.compareKeys(s.keyOrNulls(a), s.keyOrNulls(b))
}

func (s *Sort) keyOrNulls(doc bson.Raw) []bson.RawValue {
	key, err := s.key(doc, make([]bson.RawValue, 0, len(s.parts)))
	if err != nil {
		return slices.Repeat([]bson.RawValue{nullValue()}, len(s.parts))
	}
	return key
}

// Sort sorts docs in place and keeps the order of equal ones. It fails, as the server
// does, for a document that has arrays in two of the fields sorted by.
func (s *Sort) Sort(docs []bson.Raw) error {
	if len(s.parts) == 0 {
		return nil
	}
	type keyed struct {
		key []bson.RawValue
		doc bson.Raw
	}
	list := make([]keyed, len(docs))
	keys := make([]bson.RawValue, 0, len(docs)*len(s.parts))
	for i, doc := range docs {
		at := len(keys)
		var err error
		if keys, err = s.key(doc, keys); err != nil {
			return err
		}
		list[i] = keyed{keys[at:len(keys):len(keys)], doc}
	}
	slices.SortStableFunc(list, func(a, b keyed) int { return s.compareKeys(a.key, b.key) })
	for i := range list {
		docs[i] = list[i].doc
	}
	return nil
}

func (s *Sort) compareKeys(a, b []bson.RawValue) int {
	for i, p := range s.parts {
		if c := Compare(a[i], b[i]); c != 0 {
			return c * p.direction
		}
	}
	return 0
}

// key appends the values that doc sorts by to dst.
func (s *Sort) key(doc []byte, dst []bson.RawValue) ([]bson.RawValue, error) {
	at := len(dst)
	for _, p := range s.parts {
		v, _ := p.path.untilArray(documentValue(doc))
		if isArray(v) {
			return s.arrayKey(doc, dst[:at])
		}
		dst = append(dst, orNull(v))
	}
	return dst, nil
}

func orNull(v bson.RawValue) bson.RawValue {
	if missing(v) {
		return nullValue()
	}
	return v
}

// untilArray follows p from v to its end or to the first array that p does not
// number an item of, whichever comes first; rest is what is left of p.
func (p path) untilArray(v bson.RawValue) (_ bson.RawValue, rest path) {
	for i, c := range p {
		switch {
		case isObject(v):
			v = lookup(v.Value, c.name)
		case isArray(v) && c.index >= 0 && !missing(lookup(v.Value, c.name)):
			v = lookup(v.Value, c.name)
		case isArray(v):
			return v, p[i:]
		default:
			return bson.RawValue{}, nil
		}
	}
	return v, nil
}

// arrayKey appends the key of a document with an array on its way: of all the
// keys that the array's items give, the one that sorts first.
func (s *Sort) arrayKey(doc []byte, dst []bson.RawValue) ([]bson.RawValue, error) {
	x := &keyExpansion{sort: s}
	todo := make([]path, len(s.parts))
	for i, p := range s.parts {
		todo[i] = p.path
	}
	if err := x.expand(documentValue(doc), todo, make([]bson.RawValue, len(s.parts))); err != nil {
		return nil, err
	}
	return append(dst, x.best...), nil
}

// keyExpansion looks for the first of the keys that a document's arrays give.
type keyExpansion struct {
	sort *Sort
	best []bson.RawValue
}

// expand goes on from v with the paths still to do; a nil one is done, and its
// value stands in key.
func (x *keyExpansion) expand(v bson.RawValue, todo []path, key []bson.RawValue) error {
	todo, key = slices.Clone(todo), slices.Clone(key)
	var arr bson.RawValue
	inside := make([]bool, len(todo)) // the parts that go on inside arr
	for i, p := range todo {
		if p == nil {
			continue
		}
		at, rest := p.untilArray(v)
		if !isArray(at) {
			key[i], todo[i] = orNull(at), nil
			continue
		}
		if missing(arr) {
			arr = at
		} else if &arr.Value[0] != &at.Value[0] {
			return refuse(badValue, "cannot sort with keys that are parallel arrays")
		}
		inside[i], todo[i] = true, rest
	}
	if missing(arr) {
		if x.best == nil || x.sort.compareKeys(key, x.best) < 0 {
			x.best = key
		}
		return nil
	}
	items := arrayItems(arr.Value)
	if len(items) == 0 {
		items = []bson.RawValue{{Type: bson.TypeUndefined}} // an empty array comes before null
	}
	for _, item := range items {
		below := slices.Clone(todo)
		for i := range todo {
			if inside[i] && len(todo[i]) == 0 {
				key[i], below[i] = item, nil
			}
		}
		if isArray(item) {
			item = bson.RawValue{} // arrays in arrays are not gone into
		}
		if err := x.expand(item, below, key); err != nil {
			return err
		}
	}
	return nil
}
