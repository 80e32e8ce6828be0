package query

import (
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// MaxDocumentSize is the server's limit on a document's bytes.
const MaxDocumentSize = 16 << 20

// maxNesting is how deep documents may nest.
const maxNesting = 200

// maxStored is how deep those may nest that are stored: the server keeps the rest for
// what it wraps them in. A document or array without a field counts for nothing.
const maxStored = 180

// checkNesting refuses what is not a whole BSON document, or is one that nests
// too deep. The walks over documents elsewhere tolerate malformed bytes; this
// is where they are reported.
func checkNesting(doc []byte) error {
	_, err := nesting(doc)
	return err
}

// nesting is checkNesting, and says how deep doc nests.
func nesting(doc []byte) (deepest int, err error) {
	if len(doc) < 5 || int64(binary.LittleEndian.Uint32(doc)) != int64(len(doc)) {
		return 0, errMalformed()
	}
	err = checkAt(doc, 1, &deepest)
	return deepest, err
}

func checkAt(doc []byte, depth int, deepest *int) error {
	*deepest = max(*deepest, depth)
	if depth > maxNesting {
		return refuse(overflow, "Document exceeds maximum nested object depth: %d", maxNesting)
	}
	e := elementsOf(doc)
	for {
		_, v, ok := e.next()
		if !ok {
			break
		}
		switch v.Type {
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			if err := checkAt(v.Value, depth+1, deepest); err != nil {
				return err
			}
		case bson.TypeCodeWithScope:
			_, scope := readCode(v)
			if err := checkAt(scope, depth+1, deepest); err != nil {
				return err
			}
		case bson.TypeBoolean:
			if v.Value[0] > 1 {
				return refuse(invalidBSON, "invalid BSON document: a boolean that is neither 0 nor 1")
			}
		}
	}
	if e.bad {
		return errMalformed()
	}
	return nil
}

// tooDeep says whether doc nests deeper than what is stored may. The scope of code is not
// looked into, as in the server.
func tooDeep(doc []byte, depth int) bool {
	e := elementsOf(doc)
	for {
		_, v, ok := e.next()
		switch {
		case !ok:
			return false
		case depth > maxStored:
			return true
		case (isObject(v) || isArray(v)) && tooDeep(v.Value, depth+1):
			return true
		}
	}
}

// checkStored refuses what an update must not store for its nesting.
func checkStored(doc []byte) error {
	if tooDeep(doc, 1) {
		return refuse(overflow, "Document exceeds maximum nesting depth of %d", maxStored)
	}
	return checkNesting(doc)
}

// ValidateDocument refuses what the server would not store: malformed or
// too deep BSON, a document over 16 MiB, an _id of a kind that cannot be one. Names that start
// with a dollar sign are allowed as in current servers, except inside _id.
func ValidateDocument(doc bson.Raw, forInsert bool) error {
	switch {
	case len(doc) <= MaxDocumentSize:
	case !forInsert:
		return refuse(updatedDocumentTooLarge, "Resulting document after update is larger than %d", MaxDocumentSize)
	default:
		return refuse(bsonObjectTooLarge, "object to insert too large. size in bytes: %d, max size: %d", len(doc), MaxDocumentSize)
	}
	deepest, err := nesting(doc)
	switch {
	case deepest > maxStored && tooDeep(doc, 1):
		return refuse(overflow, "cannot insert document because it exceeds %d levels of nesting", maxStored)
	case err != nil:
		return err
	}
	seen := false
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			return nil
		}
		if string(key) != "_id" {
			continue
		}
		if seen {
			return refuse(badValue, "can't have multiple _id fields in one document")
		}
		seen = true
		if err := checkID(v); err != nil {
			return err
		}
	}
}

// checkID refuses values that cannot be an _id.
func checkID(v bson.RawValue) error {
	switch v.Type {
	case bson.TypeArray, bson.TypeRegex, bson.TypeUndefined:
		return refuse(invalidIDField, "The '_id' value cannot be of type %s", TypeName(v.Type))
	case bson.TypeEmbeddedDocument:
		e := elementsOf(v.Value)
		for {
			key, _, ok := e.next()
			if !ok {
				return nil
			}
			if isDollar(key) {
				switch string(key) {
				case "$id", "$ref", "$db":
					continue
				}
				return refuse(dollarPrefixedFieldName, "_id fields may not contain '$'-prefixed fields: %s is not valid for storage.", key)
			}
		}
	}
	return nil
}

// WithID returns doc with its _id as the first field: moved there, or a new
// ObjectID when it has none.
func WithID(doc bson.Raw) bson.Raw {
	e := elementsOf(doc)
	for first := true; ; first = false {
		raw, n := e.nextRaw()
		if raw == nil {
			return prependID(doc, objectIDValue(bson.NewObjectID()))
		}
		if string(raw[1:1+n]) != "_id" {
			continue
		}
		if first {
			return doc
		}
		return moveFirst(doc, raw)
	}
}

func prependID(doc []byte, id bson.RawValue) bson.Raw {
	dst, start := openDocument(make([]byte, 0, len(doc)+5+len(id.Value)))
	dst = appendElement(dst, "_id", id)
	e := elementsOf(doc)
	dst = append(dst, e.rest...)
	return closeDocument(dst, start)
}

// moveFirst returns doc with the element that is the given slice of it moved to
// the front.
func moveFirst(doc, element []byte) bson.Raw {
	dst, start := openDocument(make([]byte, 0, len(doc)))
	dst = append(dst, element...)
	e := elementsOf(doc)
	for {
		raw, _ := e.nextRaw()
		if raw == nil {
			return closeDocument(dst, start)
		}
		if &raw[0] != &element[0] {
			dst = append(dst, raw...)
		}
	}
}
