package command

import (
	"bytes"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// exactID returns v of a filter that is exactly {_id: v}, where v is an _id that a
// document can have; else the zero value. An array or a regex cannot be one, null
// stands for a missing one too, and a document of operators is a question.
func exactID(filter bson.Raw) bson.RawValue {
	w := walk(filter)
	if !w.next() || string(w.key) != "_id" {
		return bson.RawValue{}
	}
	id := w.raw()
	if w.next() || w.broken {
		return bson.RawValue{}
	}
	switch id.Type {
	case bson.TypeRegex, bson.TypeArray, bson.TypeNull, bson.TypeUndefined:
		return bson.RawValue{}
	case bson.TypeEmbeddedDocument:
		if first, ok := firstKey(id.Value); ok && strings.HasPrefix(first, "$") {
			return bson.RawValue{}
		}
	}
	return id
}

// showsID reports whether documents still have their whole _id under a projection.
func showsID(projection bson.Raw) bool {
	if projection == nil {
		return true
	}
	w := walk(projection)
	for w.next() {
		switch {
		case bytes.HasPrefix(w.key, []byte("_id.")):
			return false
		case string(w.key) != "_id":
			continue
		case w.typ == bson.TypeBoolean:
			return w.value[0] != 0
		}
		n, ok := w.raw().AsInt64OK()
		return ok && n != 0
	}
	return !w.broken
}
