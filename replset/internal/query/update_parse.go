package query

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// updateParser builds the tree of an update's paths.
type updateParser struct {
	update  *Update
	filters []*arrayFilter
}

func (p *updateParser) parse(doc []byte) error {
	p.update.root = &updateNode{index: -1}
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		op := string(key)
		if !isModifier(op) {
			return refuse(failedToParse, "Unknown modifier: %s. Expected a valid update modifier or pipeline-style update specified as an array", op)
		}
		if !isObject(v) {
			return refuse(failedToParse, "Modifiers operate on fields but we found type %s instead. For example: {$mod: {<field>: ...}} not {%s}", TypeName(v.Type), elementText(op, v))
		}
		fields := elementsOf(v.Value)
		for {
			name, operand, ok := fields.next()
			if !ok {
				break
			}
			if err := p.parseField(op, string(name), operand); err != nil {
				return err
			}
		}
	}
	p.update.root.sort()
	return nil
}

func isModifier(op string) bool {
	switch op {
	case "$set", "$unset", "$inc", "$mul", "$min", "$max", "$rename", "$currentDate", "$push",
		"$addToSet", "$pull", "$pop", "$pullAll", "$setOnInsert", "$bit":
		return true
	}
	return false
}

func (p *updateParser) parseField(op, name string, v bson.RawValue) error {
	if op == "$rename" {
		return p.parseRename(name, v)
	}
	m, err := parseModifier(op, name, v)
	if err != nil {
		return err
	}
	return p.add(name, m, nestingOf(v))
}

func parseModifier(op, name string, v bson.RawValue) (modifier, error) {
	switch op {
	case "$set":
		return &set{v}, nil
	case "$setOnInsert":
		return &setOnInsert{v}, nil
	case "$unset":
		return unset{}, nil
	case "$inc", "$mul":
		return parseArithmetic(op, name, v)
	case "$min", "$max":
		return &bound{v: v, max: op == "$max"}, nil
	case "$currentDate":
		return parseCurrentDate(v)
	case "$push":
		return parsePush(v)
	case "$addToSet":
		return parseAddToSet(v)
	case "$pop":
		return parsePop(name, v)
	case "$pull":
		return parsePull(v)
	case "$pullAll":
		return parsePullAll(v)
	}
	return parseBit(v)
}

// nestingOf is how deep v nests: 0 for a scalar.
func nestingOf(v bson.RawValue) int {
	if !isObject(v) && !isArray(v) {
		return 0
	}
	deepest := 0
	e := elementsOf(v.Value)
	for {
		_, item, ok := e.next()
		if !ok {
			return deepest + 1
		}
		deepest = max(deepest, nestingOf(item))
	}
}

// add puts m at the end of the dotted path.
func (p *updateParser) add(dotted string, m modifier, nesting int) error {
	parts, err := updatePath(dotted)
	if err != nil {
		return err
	}
	if len(parts)+nesting+1 > maxStored {
		p.update.deep = true
	}
	n := p.update.root
	for i, name := range parts {
		prefix := strings.Join(parts[:i+1], ".")
		conflict := func(at string) error {
			return refuse(conflictingUpdates, "Updating the path '%s' would create a conflict at '%s'", dotted, at)
		}
		if n.op != nil {
			return conflict(n.path)
		}
		if items := strings.HasPrefix(name, "$["); items && (len(n.kids) > 0 || n.matched != nil) || !items && len(n.items) > 0 {
			return conflict(n.path)
		}
		k := n.part(name)
		if k == nil {
			k = &updateNode{name: name, index: arrayIndex(name), path: prefix}
			if err := p.attach(n, k, dotted); err != nil {
				return err
			}
		} else if i == len(parts)-1 {
			return conflict(dotted)
		}
		n = k
	}
	n.op = m
	return nil
}

// attach makes k a part of n, where its name says.
func (p *updateParser) attach(n, k *updateNode, dotted string) (err error) {
	switch {
	case k.name == "$":
		n.matched = k
		p.update.positional = true
	case strings.HasPrefix(k.name, "$["):
		k.filter, err = p.filterNamed(k.name[2:len(k.name)-1], dotted)
		n.items = append(n.items, k)
	default:
		n.kids = append(n.kids, k)
	}
	return err
}

// part is the kid or item node of that name.
func (n *updateNode) part(name string) *updateNode {
	if name == "$" {
		return n.matched
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	for _, k := range n.items {
		if k.name == name {
			return k
		}
	}
	return nil
}

// updatePath splits a path that is to be written to.
func updatePath(dotted string) ([]string, error) {
	if dotted == "" {
		return nil, refuse(emptyFieldName, "An empty update path is not valid.")
	}
	parts := strings.Split(dotted, ".")
	if len(parts) > maxNesting {
		return nil, refuse(overflow, "Update path exceeds maximum nested object depth: %d", maxNesting)
	}
	for i, name := range parts {
		switch {
		case name == "":
			return nil, refuse(emptyFieldName, "The update path '%s' contains an empty field name, which is not allowed.", dotted)
		case name[0] != '$':
		case isItemName(name):
			if i == 0 {
				return nil, refuse(badValue, "Cannot have array filter identifier (i.e. '$[<id>]') or positional (i.e. '$') element in the first position in path '%s'", dotted)
			}
		case i > 0 && (name == "$id" || name == "$ref" || name == "$db"):
		default:
			return nil, refuse(dollarPrefixedFieldName, "The dollar ($) prefixed field '%s' in '%s' is not valid for storage.", name, dotted)
		}
	}
	return parts, nil
}

// isItemName reports whether name stands for items of an array.
func isItemName(name string) bool {
	return name == "$" || strings.HasPrefix(name, "$[") && strings.HasSuffix(name, "]")
}

// sort brings the kids into the order in which they are created.
func (n *updateNode) sort() {
	slices.SortFunc(n.kids, func(a, b *updateNode) int { return comparePathNames(a.name, b.name) })
	for _, k := range n.kids {
		k.sort()
	}
	for _, k := range n.items {
		k.sort()
	}
	if n.matched != nil {
		n.matched.sort()
	}
}

// comparePathNames orders names by bytes, except numbers among themselves by
// value.
func comparePathNames(a, b string) int {
	if arrayIndex(a) >= 0 && arrayIndex(b) >= 0 && len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
