package query

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// rename is one field of a $rename. It works as two modifiers: one takes the
// value at the source away, one puts it at the target.
type rename struct {
	from, to         path
	fromText, toText string
}

func (p *updateParser) parseRename(from string, v bson.RawValue) error {
	if v.Type != bson.TypeString {
		return refuse(badValue, "The 'to' field for $rename must be a string: %s", elementText(from, v))
	}
	to := string(readString(v))
	if strings.IndexByte(to, 0) >= 0 {
		return refuse(badValue, "The 'to' field for $rename cannot contain an embedded null byte")
	}
	for _, dotted := range []string{from, to} {
		parts, err := updatePath(dotted)
		if err != nil {
			return err
		}
		for _, name := range parts {
			if isItemName(name) {
				which := "source"
				if dotted == to {
					which = "destination"
				}
				return refuse(badValue, "The %s field for $rename may not be dynamic: %s", which, dotted)
			}
		}
	}
	if from == to {
		return refuse(badValue, "The source and target field for $rename must differ: %s", elementText(from, v))
	}
	if strings.HasPrefix(from, to+".") || strings.HasPrefix(to, from+".") {
		return refuse(badValue, "The source and target field for $rename must not be on the same path: %s", elementText(from, v))
	}
	i := len(p.update.renames)
	p.update.renames = append(p.update.renames, rename{splitPath(from), splitPath(to), from, to})
	p.update.deep = true // what moves may nest as deep as it likes
	if err := p.add(from, renameSource(i), 0); err != nil {
		return err
	}
	return p.add(to, renameTarget(i), 0)
}

// findRenamed looks up the values that $rename moves, before anything changes.
func (st *applyState) findRenamed() error {
	if len(st.update.renames) == 0 {
		return nil
	}
	st.moved = make([]bson.RawValue, len(st.update.renames))
	for i, r := range st.update.renames {
		v, err := st.walk(r.from, r.fromText, "source", true)
		if err != nil {
			return err
		}
		if missing(v) {
			continue
		}
		if r.fromText == "_id" || strings.HasPrefix(r.fromText, "_id.") {
			return refuse(immutableField, "Unsetting the path '%s' using $rename would modify the immutable field '_id'", r.fromText)
		}
		if _, err := st.walk(r.to, r.toText, "destination", false); err != nil {
			return err
		}
		st.moved[i] = v
	}
	return nil
}

// walk follows p by names. A rename may not pass through an array.
func (st *applyState) walk(p path, dotted, which string, strict bool) (bson.RawValue, error) {
	v := documentValue(st.doc)
	for i, c := range p {
		v = lookup(v.Value, c.name)
		if i == len(p)-1 || missing(v) {
			break
		}
		switch {
		case isArray(v):
			next := p[i+1]
			if strict && next.index < 0 {
				return v, refuse(pathNotViable, "cannot use the part (%s of %s) to traverse the element ({%s})", c.name, dotted, elementText(c.name, v))
			}
			if strict && missing(lookup(v.Value, next.name)) {
				return bson.RawValue{}, nil
			}
			return v, refuse(badValue, "The %s field cannot be an array element, '%s' in doc with %s has an array field called '%s'", which, dotted, st.id(), c.name)
		case !isObject(v):
			if strict {
				return v, refuse(pathNotViable, "cannot use the part (%s of %s) to traverse the element ({%s})", c.name, dotted, elementText(c.name, v))
			}
			return bson.RawValue{}, nil
		}
	}
	return v, nil
}

// renameSource takes the value of the numbered rename away.
type renameSource int

func (m renameSource) update(st *applyState, _ *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if missing(st.moved[m]) {
		return v, nil
	}
	return bson.RawValue{}, nil
}

func (m renameSource) create(*applyState) (bson.RawValue, error) { return bson.RawValue{}, nil }
func (m renameSource) onBlocked(bool) blockedPath                { return ignored }

// renameTarget puts the value of the numbered rename where it is to be.
type renameTarget int

func (m renameTarget) update(st *applyState, _ *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if moved := st.moved[m]; !missing(moved) {
		return moved, nil
	}
	return v, nil
}

func (m renameTarget) create(st *applyState) (bson.RawValue, error) { return st.moved[m], nil }
func (m renameTarget) onBlocked(bool) blockedPath                   { return refusedCreating }
