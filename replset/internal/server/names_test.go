package server

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// writes are an insert, a replacement and an upsert of a document with the _id 2, and what
// each answers as its error, if it has one.
func writes(w *wire, doc any) (errors [3]bson.Raw) {
	w.t.Helper()
	for i, cmd := range []bson.D{
		d("insert", "new", "documents", bson.A{doc}),
		d("update", "old", "updates", bson.A{d("q", id(2), "u", doc)}),
		d("update", "none", "updates", bson.A{d("q", id(2), "u", doc, "upsert", true)}),
	} {
		if e, err := w.ok("test", cmd).LookupErr("writeErrors", "0"); err == nil {
			errors[i] = e.Document()
		}
	}
	return errors
}

func TestNamesWithDollarsAreStoredSince50(t *testing.T) {
	top, embedded := d("_id", 2, "$a", 1), d("_id", 2, "a", d("$b", 1))
	for _, c := range []struct {
		series string
		doc    bson.D
		codes  [3]int32 // of the insert, the replacement and the upsert
	}{
		{"4.4", top, [3]int32{codeBadValue, 52, 52}}, {"4.4", embedded, [3]int32{0, 52, 52}},
		{"5.0", top, [3]int32{0, 52, 52}}, {"5.0", embedded, [3]int32{}},
	} {
		w := start(t, "rs0", as(t, c.series)).dial()
		w.ok("test", d("insert", "old", "documents", bson.A{id(2)}))
		for i, e := range writes(w, c.doc) {
			var code int32
			if e != nil {
				code = e.Lookup("code").Int32()
			}
			if code != c.codes[i] {
				t.Errorf("%s: %v, write %d: %v", c.series, c.doc, i, e)
			}
			if code == codeBadValue && e.Lookup("errmsg").StringValue() != "Document can't have $ prefixed field names: $a" {
				t.Error(e)
			}
		}
		modify := d("findAndModify", "old", "query", id(2), "update", embedded)
		if c.series == "4.4" {
			w.refused("test", modify, 52)
		} else {
			w.ok("test", modify)
		}
	}
}

func TestWhatNestsTooDeepIsNotStored(t *testing.T) {
	w := start(t, "rs0").dial()
	w.ok("test", d("insert", "old", "documents", bson.A{id(2)}))
	for levels, refused := range map[int]bool{180: false, 181: true} {
		var nested any = 1
		for range levels - 1 {
			nested = d("a", nested)
		}
		for i, e := range writes(w, d("_id", 2, "a", nested)) {
			part := "exceeds maximum nesting depth of 180"
			if i == 0 {
				part = "cannot insert document because it exceeds 180 levels of nesting"
			}
			switch {
			case !refused && e != nil:
				t.Errorf("%d levels, write %d: %v", levels, i, e)
			case refused && (e == nil || e.Lookup("code").Int32() != codeOverflow || !strings.Contains(e.Lookup("errmsg").StringValue(), part)):
				t.Errorf("%d levels, write %d: %v", levels, i, e)
			}
		}
		w.ok("test", d("delete", "new", "deletes", bson.A{d("q", bson.D{}, "limit", 0)}))
		w.ok("test", d("delete", "none", "deletes", bson.A{d("q", bson.D{}, "limit", 0)}))
	}
}

func TestZeroTimestampsAreStampedInInsertsAndReplacements(t *testing.T) {
	w := start(t, "rs0").dial()
	zero := d("_id", 2, "t", bson.Timestamp{})
	w.ok("test", d("insert", "old", "documents", bson.A{id(2)}))
	w.ok("test", d("insert", "modified", "documents", bson.A{id(2)}))
	w.ok("test", d("insert", "bulk", "documents", bson.A{id(2)}))
	for i, e := range writes(w, zero) {
		if e != nil {
			t.Errorf("write %d: %v", i, e)
		}
	}
	w.ok("test", d("findAndModify", "modified", "query", id(2), "update", zero))
	w.ok("admin", d("bulkWrite", 1, "ops", bson.A{updateOp(0, id(2), zero)}, "nsInfo", bson.A{d("ns", "test.bulk")}))
	w.ok("test", d("update", "set", "updates", bson.A{d("q", id(2), "u", set("t", bson.Timestamp{}), "upsert", true)}))
	for coll, stamped := range map[string]bool{"old": true, "new": true, "none": true, "modified": true, "bulk": true, "set": false} {
		found := batchOf(t, w.ok("test", d("find", coll)), "firstBatch")
		if at, _ := found[0].Lookup("t").Timestamp(); (at != 0) != stamped {
			t.Errorf("%s: %v", coll, found)
		}
	}
}
