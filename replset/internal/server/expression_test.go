package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// d is a document of pairs of a name and a value.
func d(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}

func updateOf(q, u any, more ...any) bson.D {
	return d("update", "c", "updates", bson.A{append(d("q", q, "u", u), d(more...)...)})
}

// spenders is a collection of two who have gold and a limit.
func spenders(t *testing.T) *wire {
	w := start(t, "rs0").dial()
	w.ok("test", d("insert", "c", "documents", bson.A{
		d("_id", 1, "gold", 5, "limit", 3, "bag", bson.A{1, 2, 3}), d("_id", 2, "gold", 2, "limit", 3, "zero", 0),
	}))
	return w
}

func TestAFilterMayCompareFieldsWithEachOther(t *testing.T) {
	w := spenders(t)
	over := d("$expr", d("$gt", bson.A{"$gold", "$limit"}))
	for name, cmd := range map[string]bson.D{
		"find":      d("find", "c", "filter", over),
		"aggregate": d("aggregate", "c", "pipeline", bson.A{d("$match", over)}, "cursor", d()),
	} {
		reply := w.ok("test", cmd)
		if docs, err := reply.Lookup("cursor", "firstBatch").Array().Values(); err != nil || len(docs) != 1 || docs[0].Document().Lookup("_id").Int32() != 1 {
			t.Errorf("%s: %v", name, reply)
		}
	}
	if n := w.ok("test", d("count", "c", "query", over)).Lookup("n").Int32(); n != 1 {
		t.Errorf("count: %d", n)
	}
	if reply := w.ok("test", updateOf(over, d("$set", d("over", true)))); reply.Lookup("nModified").Int32() != 1 {
		t.Error(reply)
	}
	// A filter that may have to make a document cannot have one.
	for _, cmd := range []bson.D{updateOf(over, d("$set", d("a", 1)), "upsert", true), d("findAndModify", "c", "query", over, "update", d("$set", d("a", 1)), "upsert", true)} {
		reply := w.run("test", cmd)
		code := reply.Lookup("code")
		if code.Type == 0 {
			code = reply.Lookup("writeErrors", "0", "code")
		}
		if code.Int32() != codeQueryFeatureNotAllowed {
			t.Errorf("%v: %v", cmd, reply)
		}
	}
	if reply := w.ok("test", d("delete", "c", "deletes", bson.A{d("q", over, "limit", 0)})); reply.Lookup("n").Int32() != 1 {
		t.Error(reply)
	}
}

func TestAFilterThatFailsFailsTheCommandAndChangesNothing(t *testing.T) {
	w := spenders(t)
	fails := d("$expr", d("$divide", bson.A{1, "$zero"}))
	for _, cmd := range []bson.D{
		d("find", "c", "filter", fails), d("count", "c", "query", fails), d("distinct", "c", "key", "gold", "query", fails),
		d("aggregate", "c", "pipeline", bson.A{d("$match", fails)}, "cursor", d()), d("find", "c", "projection", d("a", d("$divide", bson.A{1, "$zero"}))),
		d("findAndModify", "c", "query", fails, "remove", true), d("findAndModify", "c", "query", d("_id", 2), "update", d("$set", d("gold", 9)), "fields", d("a", d("$divide", bson.A{1, "$zero"}))),
	} {
		w.refused("test", cmd, codeBadValue)
	}
	for _, cmd := range []bson.D{updateOf(fails, d("$set", d("gold", 9)), "multi", true), d("delete", "c", "deletes", bson.A{d("q", fails, "limit", 0)}), updateOf(d("_id", 2), bson.A{d("$set", d("gold", d("$divide", bson.A{1, "$zero"})))})} {
		reply := w.ok("test", cmd)
		if reply.Lookup("writeErrors", "0", "code").Int32() != codeBadValue {
			t.Errorf("%v: %v", cmd, reply)
		}
	}
	if n := w.ok("test", d("count", "c", "query", d("gold", d("$lt", 9)))).Lookup("n").Int32(); n != 2 {
		t.Errorf("%d documents are as they were", n)
	}
}

func TestAProjectionMayCompute(t *testing.T) {
	w := spenders(t)
	reply := w.ok("test", d("find", "c", "filter", d("_id", 1), "projection", d("_id", 0, "left", d("$subtract", bson.A{"$gold", "$limit"}), "same", "$gold", "text", "x")))
	got := reply.Lookup("cursor", "firstBatch", "0").Document()
	if got.Lookup("left").Int32() != 2 || got.Lookup("same").Int32() != 5 || got.Lookup("text").StringValue() != "x" {
		t.Error(reply)
	}
}

func TestAnUpdateMayBeAPipeline(t *testing.T) {
	w := spenders(t)
	spend := bson.A{
		d("$set", d("gold", d("$subtract", bson.A{"$gold", 1}), "was", "$gold", "at", "$$NOW")),
		d("$unset", "limit"),
		d("$set", d("rich", d("$gte", bson.A{"$gold", 4}))),
	}
	reply := w.ok("test", retryable(updateOf(d(), spend, "multi", false), 1))
	again := w.ok("test", retryable(updateOf(d(), spend, "multi", false), 1))
	if reply.Lookup("nModified").Int32() != 1 || again.Lookup("nModified").Int32() != 1 {
		t.Errorf("%v, %v", reply, again)
	}
	got := w.ok("test", d("find", "c", "filter", d("_id", 1))).Lookup("cursor", "firstBatch", "0").Document()
	if got.Lookup("gold").Int32() != 4 || got.Lookup("was").Int32() != 5 || !got.Lookup("rich").Boolean() || got.Lookup("limit").Type != 0 || got.Lookup("at").Type != bson.TypeDateTime {
		t.Errorf("it is %v", got)
	}
	// A document that it makes anew keeps its _id.
	reply = w.ok("test", d("findAndModify", "c", "query", d("_id", 2), "update", bson.A{d("$replaceWith", d("gold", "$gold"))}, "new", true))
	if value := reply.Lookup("value").Document(); value.Lookup("_id").Int32() != 2 || value.Lookup("gold").Int32() != 2 || value.Lookup("limit").Type != 0 {
		t.Error(reply)
	}
	reply = w.ok("test", updateOf(d("_id", 9, "kind", "new"), bson.A{d("$set", d("n", d("$add", bson.A{d("$ifNull", bson.A{"$n", 0}), 1})))}, "upsert", true))
	if reply.Lookup("upserted", "0", "_id").Int32() != 9 {
		t.Error(reply)
	}
	got = w.ok("test", d("find", "c", "filter", d("_id", 9))).Lookup("cursor", "firstBatch", "0").Document()
	if got.Lookup("kind").StringValue() != "new" || got.Lookup("n").Int32() != 1 {
		t.Errorf("it is %v", got)
	}
	for code, cmd := range map[int32]bson.D{
		66:                 updateOf(d("_id", 1), bson.A{d("$set", d("_id", 3))}),
		72:                 updateOf(d("_id", 1), bson.A{d("$match", d("a", 1))}),
		9:                  updateOf(d("_id", 1), bson.A{d("$set", d("a", 1))}, "arrayFilters", bson.A{d("x", 1)}),
		codeNotImplemented: updateOf(d("_id", 1), bson.A{d("$set", d("a", 1))}, "c", d("x", 1)),
	} {
		reply := w.ok("test", cmd)
		if got := reply.Lookup("writeErrors", "0", "code"); got.Type == 0 || got.Int32() != code {
			t.Errorf("%v: %v", cmd, reply)
		}
	}
}
