package query

import (
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// push is $push.
type push struct {
	creating
	values   []bson.RawValue
	position int64 // math.MaxInt64 for the end; negative from the end
	slice    int64 // math.MaxInt64 for all; negative keeps the last ones
	order    func(a, b bson.RawValue) int
}

func parsePush(v bson.RawValue) (modifier, error) {
	m := &push{position: math.MaxInt64, slice: math.MaxInt64}
	if !isObject(v) || missing(lookup(v.Value, "$each")) {
		m.values = []bson.RawValue{v}
		return m, nil
	}
	seen := map[string]bool{}
	e := elementsOf(v.Value)
	for {
		key, operand, ok := e.next()
		if !ok {
			return m, nil
		}
		clause := string(key)
		if seen[clause] {
			return nil, refuse(badValue, "Only one %s is supported.", clause)
		}
		seen[clause] = true
		switch clause {
		case "$each":
			if !isArray(operand) {
				return nil, refuse(badValue, "The argument to $each in $push must be an array but it was of type: %s", TypeName(operand.Type))
			}
			m.values = arrayItems(operand.Value)
		case "$slice":
			n, err := parseInteger(clause, operand, false)
			if err != nil {
				return nil, refuse(badValue, "The value for $slice must be an integer value but was given type: %s", TypeName(operand.Type))
			}
			m.slice = n
		case "$position":
			n, err := parseInteger(clause, operand, false)
			if err != nil {
				return nil, refuse(badValue, "The value for $position must be an integer value, not of type: %s", TypeName(operand.Type))
			}
			m.position = n
		case "$sort":
			order, err := parsePushSort(operand)
			if err != nil {
				return nil, err
			}
			m.order = order
		default:
			return nil, refuse(badValue, "Unrecognized clause in $push: %s", clause)
		}
	}
}

func parsePushSort(v bson.RawValue) (func(a, b bson.RawValue) int, error) {
	direction := func(v bson.RawValue) (int, error) {
		n, ok := wholeNumber(v)
		if !isNumber(v) || !ok || n != 1 && n != -1 {
			return 0, refuse(badValue, "The $sort element value must be either 1 or -1")
		}
		return int(n), nil
	}
	if isNumber(v) {
		d, err := direction(v)
		return func(a, b bson.RawValue) int { return d * Compare(a, b) }, err
	}
	if !isObject(v) {
		return nil, refuse(badValue, "The $sort is invalid: use 1/-1 to sort the whole element, or {field:1/-1} to sort embedded fields")
	}
	type key struct {
		path      path
		direction int
	}
	var keys []key
	e := elementsOf(v.Value)
	for {
		name, operand, ok := e.next()
		if !ok {
			break
		}
		d, err := direction(operand)
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			return nil, refuse(badValue, "The $sort field cannot be empty")
		}
		k := key{splitPath(string(name)), d}
		for _, c := range k.path {
			if c.name == "" {
				return nil, refuse(badValue, "The $sort field is a dotted field but has an empty part: %s", name)
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, refuse(badValue, "The $sort pattern is empty when it should be a set of fields.")
	}
	return func(a, b bson.RawValue) int {
		for _, k := range keys {
			if c := Compare(k.path.plain(a), k.path.plain(b)); c != 0 {
				return c * k.direction
			}
		}
		return 0
	}, nil
}

// plain is the value at p by names alone, null if there is none.
func (p path) plain(v bson.RawValue) bson.RawValue {
	for _, c := range p {
		if !isObject(v) && !isArray(v) {
			return nullValue()
		}
		v = lookup(v.Value, c.name)
	}
	if missing(v) {
		return nullValue()
	}
	return v
}

func (m *push) update(st *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if !isArray(v) {
		return v, refuse(badValue, "The field '%s' must be an array but is of type %s in document {%s}", n.path, TypeName(v.Type), st.id())
	}
	if m.position == math.MaxInt64 && m.slice == math.MaxInt64 && m.order == nil {
		return appendItems(v, m.values), nil
	}
	return m.pushed(arrayItems(v.Value)), nil
}

func (m *push) create(*applyState) (bson.RawValue, error) { return m.pushed(nil), nil }

func (m *push) pushed(items []bson.RawValue) bson.RawValue {
	at := m.position
	size := int64(len(items))
	if at < 0 {
		at = max(at+size, 0)
	}
	items = slices.Insert(slices.Clip(items), int(min(at, size)), m.values...)
	if m.order != nil {
		slices.SortStableFunc(items, m.order)
	}
	size = int64(len(items))
	switch {
	case m.slice >= 0 && m.slice < size:
		items = items[:m.slice]
	case m.slice < 0 && m.slice > -size:
		items = items[size+m.slice:]
	}
	return arrayValue(items)
}

// appendItems is the array v with items at its end.
func appendItems(v bson.RawValue, items []bson.RawValue) bson.RawValue {
	if len(items) == 0 {
		return v
	}
	size := 0
	e := elementsOf(v.Value)
	old := e.rest
	for {
		if raw, _ := e.nextRaw(); raw == nil {
			break
		}
		size++
	}
	dst, start := openDocument(make([]byte, 0, len(v.Value)+len(items)*16))
	dst = append(dst, old...)
	for i, item := range items {
		dst = appendItem(dst, size+i, item)
	}
	return bson.RawValue{Type: bson.TypeArray, Value: closeDocument(dst, start)}
}

// addToSet is $addToSet.
type addToSet struct {
	creating
	values []bson.RawValue // each once
}

func parseAddToSet(v bson.RawValue) (modifier, error) {
	values := []bson.RawValue{v}
	if isObject(v) {
		e := elementsOf(v.Value)
		if key, each, _ := e.next(); string(key) == "$each" {
			if !isArray(each) {
				return nil, refuse(typeMismatch, "The argument to $each in $addToSet must be an array but it was of type %s", TypeName(each.Type))
			}
			if len(e.rest) > 0 {
				return nil, refuse(badValue, "Found unexpected fields after $each in $addToSet: %s", text(v))
			}
			values = arrayItems(each.Value)
		}
	}
	return &addToSet{values: addMissing(nil, values)}, nil
}

// addMissing appends to set what of values it does not hold.
func addMissing(set, values []bson.RawValue) []bson.RawValue {
	for _, v := range values {
		if !slices.ContainsFunc(set, func(o bson.RawValue) bool { return Compare(o, v) == 0 }) {
			set = append(set, v)
		}
	}
	return set
}

func (m *addToSet) update(_ *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if !isArray(v) {
		return v, refuse(badValue, "Cannot apply $addToSet to non-array field. Field named '%s' has non-array type %s", n.name, TypeName(v.Type))
	}
	old := arrayItems(v.Value)
	return appendItems(v, addMissing(old, m.values)[len(old):]), nil
}

func (m *addToSet) create(*applyState) (bson.RawValue, error) { return arrayValue(m.values), nil }

// pop is $pop.
type pop struct {
	changing
	first bool
}

func parsePop(name string, v bson.RawValue) (modifier, error) {
	n, err := parseInteger(name, v, false)
	if err != nil {
		return nil, err
	}
	if n != 1 && n != -1 {
		return nil, refuse(failedToParse, "$pop expects 1 or -1, found: %s", text(v))
	}
	return &pop{first: n < 0}, nil
}

func (m *pop) update(_ *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if !isArray(v) {
		return v, refuse(typeMismatch, "Path '%s' contains an element of non-array type '%s'", n.path, TypeName(v.Type))
	}
	items := arrayItems(v.Value)
	switch {
	case len(items) == 0:
		return v, nil
	case m.first:
		return arrayValue(items[1:]), nil
	}
	return arrayValue(items[:len(items)-1]), nil
}

// pull is $pull and $pullAll.
type pull struct {
	changing
	drop func(item bson.RawValue) bool
}

func parsePull(v bson.RawValue) (modifier, error) {
	e := elementsOf(v.Value)
	switch {
	case isObject(v):
		if key, _, _ := e.next(); isDollar(key) && !isPathless(string(key)) {
			p, err := parseOperators("", v.Value)
			if err != nil {
				return nil, err
			}
			return pullWhere(p), nil
		}
		m, err := parseFilter(v.Value, false)
		return &pull{drop: func(item bson.RawValue) bool { return isObject(item) && m.match(item.Value, nil) }}, err
	case v.Type == bson.TypeRegex:
		p, err := parseRegexValue(v)
		return pullWhere(p), err
	}
	return &pull{drop: func(item bson.RawValue) bool { return Compare(item, v) == 0 }}, nil
}

// pullWhere drops the items that p holds for, each asked about as if it were the
// value of a field.
func pullWhere(p predicate) *pull {
	unnamed := path{{index: -1}}
	return &pull{drop: func(item bson.RawValue) bool {
		doc, start := openDocument(make([]byte, 0, len(item.Value)+8))
		return p.at(closeDocument(appendElement(doc, "", item), start), unnamed)
	}}
}

func parsePullAll(v bson.RawValue) (modifier, error) {
	if !isArray(v) {
		return nil, refuse(badValue, "$pullAll requires an array argument but was given a %s", TypeName(v.Type))
	}
	values := arrayItems(v.Value)
	return &pull{drop: func(item bson.RawValue) bool {
		return slices.ContainsFunc(values, func(o bson.RawValue) bool { return Compare(o, item) == 0 })
	}}, nil
}

func (m *pull) update(_ *applyState, _ *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if !isArray(v) {
		return v, refuse(badValue, "Cannot apply $pull to a non-array value")
	}
	items := arrayItems(v.Value)
	kept := slices.DeleteFunc(slices.Clone(items), m.drop)
	if len(kept) == len(items) {
		return v, nil
	}
	return arrayValue(kept), nil
}
