package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestIndexesThatClashAreRefused(t *testing.T) {
	w := start(t, "rs0").dial()
	index := func(specs ...bson.D) bson.D {
		list := bson.A{}
		for _, s := range specs {
			list = append(list, s)
		}
		return bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: list}}
	}
	spec := func(field string, direction any, name string, more ...bson.E) bson.D {
		return append(bson.D{{Key: "key", Value: bson.D{{Key: field, Value: direction}}}, {Key: "name", Value: name}}, more...)
	}
	unique := bson.E{Key: "unique", Value: true}
	reply := w.ok("test", index(spec("a", 1, "a_1")))
	if reply.Lookup("numIndexesBefore").Int32() != 1 || reply.Lookup("numIndexesAfter").Int32() != 2 || !reply.Lookup("createdCollectionAutomatically").Boolean() {
		t.Error(reply)
	}
	if reply := w.ok("test", index(spec("a", 1.0, "a_1"), spec("_id", 1, "_id_"))); reply.Lookup("note").StringValue() != "all indexes already exist" {
		t.Error(reply)
	}
	w.refused("test", index(spec("b", 1, "a_1")), 86)
	w.refused("test", index(spec("a", 1, "a_1", unique)), 86)
	w.refused("test", index(spec("a", 1, "other")), 85)
	w.refused("test", index(spec("b", 1, "b"), spec("b", 1, "b")), 68)
	w.refused("test", index(spec("_id", 1, "_id_", unique)), 197)
	w.refused("test", index(spec("b", 0, "b")), codeCannotCreateIndex)
	w.refused("test", index(spec("b", 1, "")), codeCannotCreateIndex)
	w.refused("test", index(spec("b", "text", "b")), codeNotImplemented)
	w.refused("test", index(spec("b", 1, "b", bson.E{Key: "frob", Value: 1})), 197)
	reply = w.refused("test", index(bson.D{{Key: "key", Value: bson.D{{Key: "v", Value: 1}}}}), codeFailedToParse)
	if got, want := reply.Lookup("errmsg").StringValue(), "Error in specification { key: { v: 1 } } :: caused by :: The 'name' field is a required property of an index specification"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.refused("test", index(), codeBadValue)
	drop := func(what any) bson.D {
		return bson.D{{Key: "dropIndexes", Value: "c"}, {Key: "index", Value: what}}
	}
	w.refused("test", drop("none"), codeIndexNotFound)
	w.refused("test", drop("_id_"), codeInvalidOptions)
	w.refused("test", drop(bson.D{{Key: "z", Value: 1}}), codeIndexNotFound)
	w.refused("test", bson.D{{Key: "dropIndexes", Value: "none"}, {Key: "index", Value: "*"}}, codeNamespaceNotFound)
	w.refused("test", bson.D{{Key: "listIndexes", Value: "none"}}, codeNamespaceNotFound)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "hint", Value: "none"}}, codeBadValue)
	w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "hint", Value: bson.D{{Key: "a", Value: 1}}}})
	if reply := w.ok("test", drop("*")); reply.Lookup("nIndexesWas").Int32() != 2 {
		t.Error(reply)
	}
}
