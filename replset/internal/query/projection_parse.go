package query

import (
	"bytes"
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// CompileProjection reads the projection of a find. It keeps no reference to p.
// $meta and the positional a.$ are refused.
func CompileProjection(p bson.Raw) (*Projection, error) {
	p = bytes.Clone(p)
	if err := checkNesting(p); err != nil {
		return nil, err
	}
	return compileProjection(p, false)
}

// projectionParser collects what decides whether a projection includes or
// excludes: its first plain field, else rules of precedence.
type projectionParser struct {
	p          *Projection
	stage      bool // a $project stage, which may compute and may not $slice
	decided    bool
	idIncluded bool
	idExcluded bool
	idNamed    bool
	sliced     bool
}

func compileProjection(doc []byte, stage bool) (*Projection, error) {
	pp := &projectionParser{p: &Projection{root: &projected{}}, stage: stage}
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		if err := pp.element(string(key), string(key), v, pp.p.root); err != nil {
			return nil, err
		}
	}
	p := pp.p
	if !pp.decided {
		switch {
		case pp.sliced:
			p.inclusion = pp.idIncluded
		case len(p.found) > 0, p.added != nil:
			p.inclusion = true
		default:
			p.inclusion = pp.idIncluded
		}
	}
	p.settleID(pp)
	return p, nil
}

// settleID makes _id part of an inclusion unless it was excluded, and keeps it in
// an exclusion that names it.
func (p *Projection) settleID(pp *projectionParser) {
	switch {
	case p.inclusion && !pp.idNamed:
		p.root.kids = append(p.root.kids, &projected{name: "_id", leaf: true})
	case p.inclusion && pp.idExcluded, !p.inclusion && pp.idIncluded:
		for i, k := range p.root.kids {
			if k.name == "_id" {
				p.root.kids = append(p.root.kids[:i:i], p.root.kids[i+1:]...)
				break
			}
		}
	}
}

// element reads one field of the projection; dotted is its path from the root,
// name the part of it that is below parent.
func (pp *projectionParser) element(dotted, name string, v bson.RawValue, parent *projected) error {
	if strings.HasSuffix(name, ".$") || strings.Contains(name, ".$.") || name == "$" {
		if pp.stage {
			return refuse(31324, "Cannot use positional projection in aggregation projection")
		}
		return notSupported("the positional projection '" + clip(dotted) + "'")
	}
	if err := checkFieldPath(name); err != nil {
		return err
	}
	if dotted == "_id" || strings.HasPrefix(dotted, "_id.") {
		pp.idNamed = true
	}
	switch {
	case isObject(v):
		return pp.document(dotted, name, v, parent)
	case isNumber(v), v.Type == bson.TypeBoolean:
		return pp.plain(dotted, name, Truthy(v), parent)
	}
	return pp.computed(dotted, name, v, parent)
}

// plain is a field that is included or excluded.
func (pp *projectionParser) plain(dotted, name string, include bool, parent *projected) error {
	if err := parent.add(name, &projected{leaf: true}); err != nil {
		return err
	}
	switch {
	case dotted == "_id" && include:
		pp.idIncluded = true
		return nil
	case dotted == "_id":
		pp.idExcluded = true
		return nil
	case pp.decided && include && !pp.p.inclusion:
		return refuse(31253, "Cannot do inclusion on field %s in exclusion projection", name)
	case pp.decided && !include && pp.p.inclusion:
		return refuse(31254, "Cannot do exclusion on field %s in inclusion projection", name)
	}
	pp.decided, pp.p.inclusion = true, include
	return nil
}

// document is an operator or a nested projection.
func (pp *projectionParser) document(dotted, name string, v bson.RawValue, parent *projected) error {
	e := elementsOf(v.Value)
	key, operand, ok := e.next()
	if !ok {
		return refuse(51270, "An empty sub-projection is not a valid value. Found empty object at path")
	}
	if isDollar(key) {
		switch op := string(key); {
		case len(e.rest) > 0 || pp.stage:
			return pp.computed(dotted, name, v, parent)
		case op == "$slice":
			return pp.slice(name, operand, parent)
		case op == "$elemMatch":
			return pp.elemMatch(dotted, name, v, operand, parent)
		case op == "$meta":
			return notSupported("$meta")
		case isExpressionName(op):
			return pp.computed(dotted, name, v, parent)
		default:
			return refuse(31325, "Unknown expression %s", op)
		}
	}
	n, err := parent.enter(name)
	if err != nil {
		return err
	}
	for e = elementsOf(v.Value); ; {
		key, v, ok := e.next()
		if !ok {
			return nil
		}
		if err := pp.element(dotted+"."+string(key), string(key), v, n); err != nil {
			return err
		}
	}
}

func (pp *projectionParser) slice(name string, v bson.RawValue, parent *projected) error {
	r := &itemRange{limit: math.MaxInt64}
	switch {
	case isNumber(v):
		n := clampInt(v)
		if n < 0 {
			r.skip = n
		} else {
			r.limit = n
		}
	case isArray(v):
		items := arrayItems(v.Value)
		switch {
		case len(items) != 2:
			return refuse(31272, "$slice array argument should be of form [skip, limit]")
		case !isNumber(items[0]):
			return refuse(31257, "$slice expects the skip argument to be a number, got %s", TypeName(items[0].Type))
		case !isNumber(items[1]):
			return refuse(31258, "$slice expects the limit argument to be a number, got %s", TypeName(items[1].Type))
		}
		r.skip, r.limit = clampInt(items[0]), clampInt(items[1])
		if r.limit <= 0 {
			return refuse(31259, "$slice limit must be positive, got %d", r.limit)
		}
	default:
		return refuse(31273, "$slice only supports numbers and [skip, limit] arrays")
	}
	pp.sliced = true
	return parent.add(name, &projected{leaf: true, slice: r})
}

// clampInt is a number cut to an int, at the limits of int32.
func clampInt(v bson.RawValue) int64 {
	if n, ok := truncated(v); ok {
		return min(max(n, math.MinInt32), math.MaxInt32)
	}
	switch {
	case isNaN(v):
		return 0
	case compareNumbers(v, int32Value(0)) < 0:
		return math.MinInt32
	}
	return math.MaxInt32
}

func (pp *projectionParser) elemMatch(dotted, name string, v, operand bson.RawValue, parent *projected) error {
	if !isObject(operand) {
		return refuse(31274, "elemMatch: Invalid argument, object required, but got %s", TypeName(operand.Type))
	}
	if strings.Contains(dotted, ".") {
		return refuse(31275, "Cannot use $elemMatch projection on a nested field.")
	}
	parsed, err := parseElemMatch(name, operand)
	if err != nil {
		return err
	}
	f := foundItem{name: name}
	switch t := parsed.(*leaf).t.(type) {
	case *matchesItem:
		f.holds = t.holds
	case *matchesValue:
		f.holds = t.p.of
	}
	pp.p.found = append(pp.p.found, f)
	return parent.add(name, &projected{leaf: true, gone: true})
}

// computed is a field whose value an expression gives.
func (pp *projectionParser) computed(dotted, name string, v bson.RawValue, parent *projected) error {
	x, err := parseExpression(v)
	if err != nil {
		return err
	}
	if pp.decided && !pp.p.inclusion {
		return refuse(31310, "Cannot use an expression %s in an exclusion projection", elementText(name, v))
	}
	pp.decided, pp.p.inclusion = true, true
	if pp.p.added == nil {
		pp.p.added = &addition{}
	}
	if err := parent.add(name, &projected{leaf: true, gone: true}); err != nil {
		return err
	}
	return pp.p.added.add(dotted, x)
}

// add puts leaf at the end of the dotted path below n.
func (n *projected) add(dotted string, leaf *projected) error {
	parts := strings.Split(dotted, ".")
	last := len(parts) - 1
	for i, name := range parts[:last] {
		k := n.kid([]byte(name))
		if k == nil {
			k = &projected{name: name}
			n.kids = append(n.kids, k)
		} else if k.leaf {
			return refuse(31249, "Path collision at %s remaining portion %s", dotted, strings.Join(parts[i+1:], "."))
		}
		n = k
	}
	if n.kid([]byte(parts[last])) != nil {
		return refuse(31250, "Path collision at %s", dotted)
	}
	leaf.name = parts[last]
	n.kids = append(n.kids, leaf)
	return nil
}

// enter is the node at the dotted path below n, which a nested projection
// fills.
func (n *projected) enter(dotted string) (*projected, error) {
	for _, name := range strings.Split(dotted, ".") {
		k := n.kid([]byte(name))
		if k == nil {
			k = &projected{name: name}
			n.kids = append(n.kids, k)
		} else if k.leaf {
			return nil, refuse(31250, "Path collision at %s", dotted)
		}
		n = k
	}
	return n, nil
}

// checkFieldPath refuses paths that cannot be projected, sorted or computed.
func checkFieldPath(dotted string) error {
	switch {
	case dotted == "":
		return refuse(40352, "FieldPath cannot be constructed with empty string")
	case strings.HasSuffix(dotted, "."):
		return refuse(40353, "FieldPath must not end with a '.'.")
	}
	parts := strings.Split(dotted, ".")
	if len(parts) > maxNesting {
		return refuse(overflow, "FieldPath is too long")
	}
	for _, name := range parts {
		switch {
		case name == "":
			return refuse(15998, "FieldPath field names may not be empty strings.")
		case name[0] == '$' && name != "$id" && name != "$ref" && name != "$db":
			return refuse(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.")
		}
	}
	return nil
}
