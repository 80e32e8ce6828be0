package query

import (
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// arrayFilter chooses the items that $[identifier] stands for.
type arrayFilter struct {
	identifier string
	filter     *Filter
	used       bool // only while compiling
}

func (f *arrayFilter) match(item bson.RawValue) bool {
	doc, start := openDocument(make([]byte, 0, len(item.Value)+len(f.identifier)+8))
	doc = appendElement(doc, f.identifier, item)
	return f.filter.Match(closeDocument(doc, start))
}

func compileArrayFilters(docs []bson.Raw) ([]*arrayFilter, error) {
	var filters []*arrayFilter
	for _, doc := range docs {
		f, err := CompileFilter(doc)
		if err != nil {
			e := err.(*Error)
			return nil, &Error{Code: e.Code, Name: e.Name, Message: "Error parsing array filter :: caused by :: " + e.Message}
		}
		if f.expr {
			return nil, refuse(queryFeatureNotAllowed, "Error parsing array filter :: caused by :: $expr is not allowed in this context")
		}
		name, err := identifierOf(f.root)
		if err != nil {
			return nil, err
		}
		switch {
		case name == "":
			return nil, refuse(failedToParse, "Cannot use an expression without a top-level field name in arrayFilters")
		case !isIdentifier(name):
			return nil, refuse(badValue, "Error parsing array filter :: caused by :: The top-level field name must be an alphanumeric string beginning with a lowercase letter, found '%s'", name)
		case slices.ContainsFunc(filters, func(o *arrayFilter) bool { return o.identifier == name }):
			return nil, refuse(failedToParse, "Found multiple array filters with the same top-level field name %s", name)
		}
		filters = append(filters, &arrayFilter{identifier: name, filter: f})
	}
	return filters, nil
}

func isIdentifier(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && (c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')) {
			return false
		}
	}
	return true
}

// identifierOf is the one name with which all paths of an array filter begin.
func identifierOf(m matcher) (string, error) {
	var parts []matcher
	switch m := m.(type) {
	case *field:
		return m.path[0].name, nil
	case and:
		parts = m
	case or:
		parts = m
	case nor:
		parts = m
	}
	found := ""
	for _, part := range parts {
		name, err := identifierOf(part)
		if err != nil {
			return "", err
		}
		if found != "" && name != "" && name != found {
			return "", refuse(failedToParse, "Error parsing array filter :: caused by :: Expected a single top-level field name, found '%s' and '%s'", found, name)
		}
		if name != "" {
			found = name
		}
	}
	return found, nil
}

// filterNamed is the filter for $[identifier], nil for $[].
func (p *updateParser) filterNamed(identifier, dotted string) (*arrayFilter, error) {
	if identifier == "" {
		return nil, nil
	}
	for _, f := range p.filters {
		if f.identifier == identifier {
			f.used = true
			return f, nil
		}
	}
	return nil, refuse(badValue, "No array filter found for identifier '%s' in path '%s'", identifier, dotted)
}

// applyItems appends arr to dst, its items as the item nodes of n leave them.
func (n *updateNode) applyItems(st *applyState, arr, dst []byte) (out []byte, changed bool, err error) {
	dst, start := openDocument(dst)
	e := elementsOf(arr)
	for i := 0; ; i++ {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			return closeDocument(dst, start), changed, nil
		}
		var applies *updateNode
		for _, k := range n.items {
			switch {
			case k.filter != nil && !k.filter.match(elementValue(raw, keyLen)):
			case applies == nil:
				applies = k
			default:
				if applies, err = merge(applies, k, n.path+"."+strconv.Itoa(i)); err != nil {
					return nil, false, err
				}
			}
		}
		if applies == nil {
			dst = append(dst, raw...)
			continue
		}
		var did bool
		if dst, did, err = applies.applyElement(st, raw, keyLen, dst, true); err != nil {
			return nil, false, err
		}
		changed = changed || did
	}
}

// merge joins two trees that apply to the same place.
func merge(a, b *updateNode, path string) (*updateNode, error) {
	if a.op != nil || b.op != nil || (len(a.items) > 0) != (len(b.items) > 0) {
		return nil, refuse(conflictingUpdates, "Update created a conflict at '%s'", path)
	}
	m := &updateNode{name: a.name, index: a.index, path: path, filter: a.filter}
	var err error
	if m.kids, err = mergeLists(a.kids, b.kids, path); err != nil {
		return nil, err
	}
	if m.items, err = mergeLists(a.items, b.items, path); err != nil {
		return nil, err
	}
	m.sort()
	return m, nil
}

func mergeLists(a, b []*updateNode, path string) ([]*updateNode, error) {
	list := slices.Clone(a)
	for _, k := range b {
		i := slices.IndexFunc(list, func(o *updateNode) bool { return o.name == k.name })
		if i < 0 {
			list = append(list, k)
			continue
		}
		both, err := merge(list[i], k, path+"."+k.name)
		if err != nil {
			return nil, err
		}
		list[i] = both
	}
	return list, nil
}

// resolve puts the number of the matched item in the place of each positional
// operator.
func (n *updateNode) resolve(matched int) (*updateNode, error) {
	if n.op != nil {
		return n, nil
	}
	c := *n
	c.kids, c.items, c.matched = nil, nil, nil
	for _, list := range []struct {
		from []*updateNode
		to   *[]*updateNode
	}{{n.kids, &c.kids}, {n.items, &c.items}} {
		for _, k := range list.from {
			r, err := k.resolve(matched)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, r)
		}
	}
	if n.matched == nil {
		return &c, nil
	}
	r, err := n.matched.resolve(matched)
	if err != nil {
		return nil, err
	}
	item := *r
	item.name, item.index = strconv.Itoa(matched), matched
	item.path = n.path + "." + item.name // the first name of a path is never $
	if c.kids, err = mergeLists(c.kids, []*updateNode{&item}, n.path); err != nil {
		return nil, err
	}
	slices.SortFunc(c.kids, func(a, b *updateNode) int { return comparePathNames(a.name, b.name) })
	return &c, nil
}
