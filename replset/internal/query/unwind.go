package query

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// unwind is $unwind: a document for each item of an array.
type unwind struct {
	path     []string
	index    string // the field that holds the item's number, "" for none
	preserve bool   // a document without items goes on as it is
}

func compileUnwind(spec bson.RawValue) (stage, error) {
	u := &unwind{}
	var dotted string
	switch spec.Type {
	case bson.TypeString:
		dotted = string(readString(spec))
	case bson.TypeEmbeddedDocument:
		var err error
		if dotted, err = u.parse(spec.Value); err != nil {
			return nil, err
		}
	default:
		return nil, refuse(15981, "expected either a string or an object as specification for $unwind stage, got %s", TypeName(spec.Type))
	}
	if dotted == "" {
		return nil, refuse(28812, "no path specified to $unwind stage")
	}
	if dotted[0] != '$' {
		return nil, refuse(28818, "path option to $unwind stage should be prefixed with a '$': %s", dotted)
	}
	if err := checkFieldPath(dotted[1:]); err != nil {
		return nil, err
	}
	u.path = strings.Split(dotted[1:], ".")
	return u.stage, nil
}

func (u *unwind) parse(spec []byte) (dotted string, err error) {
	e := elementsOf(spec)
	for {
		key, v, ok := e.next()
		if !ok {
			return dotted, nil
		}
		switch string(key) {
		case "path":
			if v.Type != bson.TypeString {
				return "", refuse(28808, "expected a string as the path for $unwind stage, got %s", TypeName(v.Type))
			}
			dotted = string(readString(v))
		case "preserveNullAndEmptyArrays":
			if v.Type != bson.TypeBoolean {
				return "", refuse(28809, "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got %s", TypeName(v.Type))
			}
			u.preserve = readBool(v)
		case "includeArrayIndex":
			if v.Type != bson.TypeString || len(readString(v)) == 0 {
				return "", refuse(28810, "expected a non-empty string for the includeArrayIndex option to $unwind stage, got %s", TypeName(v.Type))
			}
			u.index = string(readString(v))
			if u.index[0] == '$' {
				return "", refuse(28822, "includeArrayIndex option to $unwind stage should not be prefixed with a '$': %s", u.index)
			}
			if err := checkFieldPath(u.index); err != nil {
				return "", err
			}
		default:
			return "", refuse(28811, "unrecognized option to $unwind stage: %s", key)
		}
	}
}

func (u *unwind) stage(in source) source {
	var doc bson.Raw
	var items []bson.RawValue
	at := 0
	return func() (bson.Raw, bool, error) {
		for at == len(items) {
			var ok bool
			var err error
			if doc, ok, err = in(); !ok || err != nil {
				return nil, false, err
			}
			v := u.find(doc)
			switch {
			case isArray(v):
				if items, at = arrayItems(v.Value), 0; len(items) > 0 {
					continue
				}
				if u.preserve {
					return u.numbered(u.without(doc), nullValue()), true, nil
				}
			case missing(v), v.Type == bson.TypeNull, v.Type == bson.TypeUndefined:
				if u.preserve {
					return u.numbered(doc, nullValue()), true, nil
				}
			default:
				return u.numbered(doc, nullValue()), true, nil
			}
		}
		out := u.with(doc, items[at])
		out = u.numbered(out, int64Value(int64(at)))
		at++
		return out, true, nil
	}
}

// find is the value to unwind; arrays on the way to it are not gone through.
func (u *unwind) find(doc []byte) bson.RawValue {
	v := documentValue(doc)
	for _, name := range u.path {
		if !isObject(v) {
			return bson.RawValue{}
		}
		v = lookup(v.Value, name)
	}
	return v
}

// with is doc with v at the path.
func (u *unwind) with(doc []byte, v bson.RawValue) bson.Raw {
	a := &addition{}
	// One path cannot collide with itself.
	_ = a.add(strings.Join(u.path, "."), &literal{v})
	return a.applyTo(doc, nil) // a literal needs no scope
}

func (u *unwind) without(doc []byte) bson.Raw { return u.with(doc, bson.RawValue{}) }

// numbered adds the item's number where one is wanted.
func (u *unwind) numbered(doc bson.Raw, n bson.RawValue) bson.Raw {
	if u.index == "" {
		return doc
	}
	a := &addition{}
	_ = a.add(u.index, &literal{n})
	return a.applyTo(doc, nil) // a literal needs no scope
}
