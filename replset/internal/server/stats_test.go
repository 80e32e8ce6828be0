package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestDbStatsAndCollStatsCountWhatIsThere(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("game", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}}}})
	w.ok("game", bson.D{{Key: "insert", Value: "d"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}}}})
	const each = 14 // bytes of {_id: 1}
	of := w.ok("game", bson.D{{Key: "dbStats", Value: 1}, {Key: "scale", Value: 2}})
	if of.Lookup("collections").AsInt64() != 2 || of.Lookup("objects").AsInt64() != 3 || of.Lookup("dataSize").Double() != 3*each/2 || of.Lookup("avgObjSize").Double() != each {
		t.Errorf("dbStats: %v", of)
	}
	of = w.ok("game", bson.D{{Key: "collStats", Value: "c"}})
	if of.Lookup("ns").StringValue() != "game.c" || of.Lookup("count").AsInt64() != 2 || of.Lookup("size").AsInt64() != 2*each || of.Lookup("nindexes").AsInt64() != 1 {
		t.Errorf("collStats: %v", of)
	}
	if of = w.ok("game", bson.D{{Key: "collStats", Value: "none"}}); of.Lookup("count").AsInt64() != 0 {
		t.Errorf("collStats of none: %v", of)
	}
	w.refused("game", bson.D{{Key: "dbStats", Value: 1}, {Key: "scale", Value: 0}}, codeBadValue)
	w.refused("game", bson.D{{Key: "collStats", Value: "c"}, {Key: "scale", Value: "k"}}, codeTypeMismatch)
}

func TestCollStatsIsAlsoTheFirstStageOfAPipeline(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("game", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}}}})
	aggregate := func(coll string, stages ...bson.D) bson.D {
		return bson.D{{Key: "aggregate", Value: coll}, {Key: "pipeline", Value: stages}, {Key: "cursor", Value: bson.D{}}}
	}
	stage := func(spec any) bson.D { return bson.D{{Key: "$collStats", Value: spec}} }
	counted := stage(bson.D{{Key: "count", Value: bson.D{}}, {Key: "storageStats", Value: bson.D{{Key: "scale", Value: 2}}}})
	first := func(reply bson.Raw) bson.Raw { return reply.Lookup("cursor", "firstBatch", "0").Document() }

	doc := first(w.ok("game", aggregate("c", counted)))
	if doc.Lookup("count").AsInt64() != 2 || doc.Lookup("storageStats", "size").AsInt64() != 14 || doc.Lookup("ns").StringValue() != "game.c" {
		t.Errorf("$collStats: %v", doc)
	}
	// As a driver counts that estimates by it.
	sum := bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: bson.D{{Key: "$sum", Value: "$count"}}}}}}
	if doc = first(w.ok("game", aggregate("c", counted, sum))); doc.Lookup("n").AsInt64() != 2 {
		t.Errorf("the sum of counts: %v", doc)
	}
	w.refused("game", aggregate("none", counted), codeNamespaceNotFound)
	w.ok("game", aggregate("none", stage(bson.D{{Key: "storageStats", Value: bson.D{}}})))
	w.refused("game", aggregate("c", sum, counted), 40602)
	w.refused("game", aggregate("c", stage(1)), 40601)
	w.refused("game", aggregate("c", stage(bson.D{{Key: "latencyStats", Value: bson.D{}}})), codeNotImplemented)
	w.refused("game", aggregate("c", stage(bson.D{{Key: "weather", Value: bson.D{}}})), codeUnknownField)
}

func TestTheDefaultConcernsAreThoseOfASet(t *testing.T) {
	w := start(t, "rs0").dial()
	reply := w.ok("admin", bson.D{{Key: "getDefaultRWConcern", Value: 1}})
	if reply.Lookup("defaultWriteConcern", "w").StringValue() != "majority" || reply.Lookup("defaultReadConcern", "level").StringValue() != "local" {
		t.Error(reply)
	}
	old, err := ParseVersion("4.4")
	if err != nil {
		t.Fatal(err)
	}
	w = start(t, "rs0", func(c *Config) { c.Version = old }).dial()
	if _, err := w.ok("admin", bson.D{{Key: "getDefaultRWConcern", Value: 1}}).LookupErr("defaultWriteConcern"); err == nil {
		t.Error("a server of 4.4 has a default that nobody has set")
	}
	start(t, "").dial().refused("admin", bson.D{{Key: "getDefaultRWConcern", Value: 1}}, 51300)
}
