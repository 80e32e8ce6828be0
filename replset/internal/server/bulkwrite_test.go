package server

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// The operations that bulkWrite tests are made of.

func bulkOf(ops ...bson.D) bson.D {
	list := bson.A{}
	for _, op := range ops {
		list = append(list, op)
	}
	return bson.D{{Key: "bulkWrite", Value: 1}, {Key: "ops", Value: list}, {Key: "nsInfo", Value: bson.A{bson.D{{Key: "ns", Value: "test.c"}}, bson.D{{Key: "ns", Value: "other.d"}}}}}
}

func with(cmd bson.D, key string, value any) bson.D {
	return append(cmd[:len(cmd):len(cmd)], bson.E{Key: key, Value: value})
}

func insertOp(ns int, id any) bson.D {
	return bson.D{{Key: "insert", Value: ns}, {Key: "document", Value: bson.D{{Key: "_id", Value: id}}}}
}

func updateOp(ns int, filter, mods bson.D, more ...bson.E) bson.D {
	return append(bson.D{{Key: "update", Value: ns}, {Key: "filter", Value: filter}, {Key: "updateMods", Value: mods}}, more...)
}

func deleteOp(ns int, filter bson.D, more ...bson.E) bson.D {
	return append(bson.D{{Key: "delete", Value: ns}, {Key: "filter", Value: filter}}, more...)
}

var (
	multi   = bson.E{Key: "multi", Value: true}
	upserts = bson.E{Key: "upsert", Value: true}
)

func id(v any) bson.D              { return bson.D{{Key: "_id", Value: v}} }
func set(key string, v any) bson.D { return bson.D{{Key: "$set", Value: bson.D{{Key: key, Value: v}}}} }

// batchOf returns a reply's documents.
func batchOf(t testing.TB, reply bson.Raw, key string) (docs []bson.Raw) {
	t.Helper()
	if err := reply.Lookup("cursor", key).Unmarshal(&docs); err != nil {
		t.Fatalf("%v: %v", reply, err)
	}
	return docs
}

// sums are a reply's counts: errors, inserted, matched, modified, upserted, deleted.
func sums(reply bson.Raw) (n [6]int32) {
	for i, key := range []string{"nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"} {
		n[i] = reply.Lookup(key).Int32()
	}
	return n
}

func sameDocs(t testing.TB, got []bson.Raw, want ...bson.D) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%v, want %d documents", got, len(want))
		return
	}
	for i := range want {
		if w := doc(t, want[i]); !slices.Equal(got[i], w) {
			t.Errorf("%v, want %v", got[i], w)
		}
	}
}

func TestABulkWriteAnswersForEachOperationInOrder(t *testing.T) {
	for _, set0 := range []string{"rs0", ""} {
		s := start(t, set0)
		w := s.dial()
		reply := w.ok("admin", bulkOf(
			insertOp(0, 1), insertOp(0, 2), insertOp(1, 1), insertOp(0, 3),
			updateOp(0, bson.D{}, set("a", 1), multi),
			updateOp(0, id(1), set("a", 1)),
			updateOp(1, id(9), set("a", 1), upserts),
			updateOp(1, id(1), bson.D{{Key: "b", Value: 1}}),
			updateOp(1, id("none"), set("a", 1)),
			deleteOp(0, bson.D{{Key: "a", Value: 1}}),
			deleteOp(0, bson.D{}, multi),
		))
		one := func(idx, n int32, more ...bson.E) bson.D {
			return append(bson.D{{Key: "ok", Value: 1.0}, {Key: "idx", Value: idx}, {Key: "n", Value: n}}, more...)
		}
		modified := func(n int32) bson.E { return bson.E{Key: "nModified", Value: n} }
		sameDocs(t, batchOf(t, reply, "firstBatch"),
			one(0, 1), one(1, 1), one(2, 1), one(3, 1),
			one(4, 3, modified(3)), one(5, 1, modified(0)),
			one(6, 1, modified(0), bson.E{Key: "upserted", Value: id(int32(9))}),
			one(7, 1, modified(1)), one(8, 0, modified(0)), one(9, 1), one(10, 2))
		if got := sums(reply); got != [6]int32{0, 4, 5, 4, 1, 3} {
			t.Error(reply)
		}
		elements, err := reply.Elements()
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range elements {
			keys = append(keys, e.Key())
		}
		want := []string{"cursor", "nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted", "electionId", "opTime", "ok", "$clusterTime", "operationTime"}
		if set0 == "" {
			want = append(want[:7:7], "ok")
		}
		if !slices.Equal(keys, want) {
			t.Errorf("%q, want %q", keys, want)
		}
		if reply.Lookup("cursor", "ns").StringValue() != "admin.$cmd.bulkWrite" || reply.Lookup("cursor", "id").Int64() != 0 {
			t.Error(reply)
		}
		left := w.ok("other", bson.D{{Key: "find", Value: "d"}})
		sameDocs(t, batchOf(t, left, "firstBatch"), bson.D{{Key: "_id", Value: int32(1)}, {Key: "b", Value: int32(1)}}, bson.D{{Key: "_id", Value: int32(9)}, {Key: "a", Value: int32(1)}})
	}
}

func TestABulkWriteTakesItsArraysAsDocumentSequences(t *testing.T) {
	w := start(t, "rs0").dial()
	ops := sequence{name: "ops", docs: []bson.Raw{doc(t, insertOp(0, 1)), doc(t, insertOp(1, 1))}}
	spaces := sequence{name: "nsInfo", docs: []bson.Raw{doc(t, bson.D{{Key: "ns", Value: "test.c"}}), doc(t, bson.D{{Key: "ns", Value: "other.d"}})}}
	if got := sums(w.ok("admin", bson.D{{Key: "bulkWrite", Value: 1}}, ops, spaces)); got[1] != 2 {
		t.Error(got)
	}
	if got := sums(w.ok("admin", bson.D{{Key: "bulkWrite", Value: 1}, {Key: "nsInfo", Value: bson.A{bson.D{{Key: "ns", Value: "test.e"}}, bson.D{{Key: "ns", Value: "test.f"}}}}}, ops)); got[1] != 2 {
		t.Error(got)
	}
	other := sequence{name: "documents", docs: ops.docs}
	if reply := w.run("admin", bulkOf(insertOp(0, 2)), other); reply.Lookup("code").Int32() != codeUnknownField {
		t.Error(reply)
	}
}

func TestAnOrderedBulkWriteEndsAtItsFirstError(t *testing.T) {
	w := start(t, "rs0").dial()
	w.ok("test", insertOf(2))
	for _, c := range []struct {
		ordered bool
		n       [6]int32
		results int
	}{{true, [6]int32{1, 1, 0, 0, 0, 0}, 2}, {false, [6]int32{3, 2, 1, 1, 0, 0}, 6}} {
		w.ok("test", bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: bson.D{{Key: "$ne", Value: 2}}}}}, {Key: "limit", Value: 0}}}}})
		reply := w.ok("admin", with(bulkOf(
			insertOp(0, 1), insertOp(0, 2), insertOp(0, 3),
			updateOp(0, id(1), bson.D{{Key: "$bad", Value: 1}}),
			deleteOp(0, bson.D{{Key: "$bad", Value: 1}}),
			updateOp(0, id(1), set("a", 1)),
		), "ordered", c.ordered))
		if got := sums(reply); got != c.n {
			t.Errorf("ordered %v: %v", c.ordered, reply)
		}
		batch := batchOf(t, reply, "firstBatch")
		if len(batch) != c.results {
			t.Fatalf("ordered %v: %v", c.ordered, reply)
		}
		dup := batch[1]
		if dup.Lookup("ok").Double() != 0 || dup.Lookup("idx").Int32() != 1 || dup.Lookup("code").Int32() != codeDuplicateKey || dup.Lookup("errmsg").Type != bson.TypeString ||
			dup.Lookup("keyPattern", "_id").Int32() != 1 || dup.Lookup("keyValue", "_id").Int32() != 2 || dup.Lookup("n").Int32() != 0 || dup.Lookup("nModified").Type != 0 {
			t.Error(dup)
		}
		if c.ordered {
			continue
		}
		if up := batch[3]; up.Lookup("code").Int32() != codeFailedToParse || up.Lookup("n").Int32() != 0 || up.Lookup("nModified").Int32() != 0 {
			t.Error(up)
		}
		if del := batch[4]; del.Lookup("code").Int32() != codeBadValue || del.Lookup("n").Int32() != 0 || del.Lookup("nModified").Type != 0 {
			t.Error(del)
		}
	}
}

func TestAMalformedBulkWriteWritesNothing(t *testing.T) {
	w := start(t, "rs0").dial()
	good := insertOp(0, 1)
	bare := func(ops, spaces any) bson.D {
		return bson.D{{Key: "bulkWrite", Value: 1}, {Key: "ops", Value: ops}, {Key: "nsInfo", Value: spaces}}
	}
	for _, c := range []struct {
		cmd    bson.D
		code   int32
		errmsg string
	}{
		{bulkOf(), codeInvalidLength, "Write batch sizes must be between 1 and 100000. Got 0 operations."},
		{bulkOf()[:2], codeMissingField, "BSON field 'bulkWrite.nsInfo' is missing but a required field"},
		{append(bulkOf()[:1:1], bulkOf()[2]), codeMissingField, "BSON field 'bulkWrite.ops' is missing but a required field"},
		{bare(bson.A{good}, nil), codeMissingField, "BSON field 'bulkWrite.nsInfo' is missing but a required field"},
		{bare(bson.A{}, 5), codeTypeMismatch, "BSON field 'bulkWrite.nsInfo' is the wrong type 'int', expected type 'array'"},
		{bare(bson.A{good}, bson.A{5}), codeTypeMismatch, "BSON field 'bulkWrite.nsInfo.0' is the wrong type 'int', expected type 'object'"},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "x", Value: 1}}}), codeUnknownField, "BSON field 'bulkWrite.nsInfo.x' is an unknown field."},
		{bare(bson.A{good}, bson.A{bson.D{}}), codeMissingField, "BSON field 'bulkWrite.nsInfo.ns' is missing but a required field"},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "nodot"}}}), codeInvalidNamespace, "Invalid namespace specified for bulkWrite: 'nodot'"},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "."}}}), codeInvalidNamespace, "Invalid namespace specified for bulkWrite: ''"},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "test.c"}}, bson.D{{Key: "ns", Value: "a b.c"}}}), codeInvalidNamespace, "Invalid namespace specified for bulkWrite: 'a b.c'"},
		{bulkOf(good, bson.D{{Key: "frobnicate", Value: 0}}), codeUnknownField, "BSON field 'bulkWrite.frobnicate' is an unknown field."},
		{bulkOf(good, bson.D{{Key: "document", Value: bson.D{}}, {Key: "insert", Value: 0}}), codeUnknownField, "BSON field 'bulkWrite.document' is an unknown field."},
		{bulkOf(good, bson.D{{Key: "insert", Value: 0}}), codeMissingField, "BSON field 'bulkWrite.ops.document' is missing but a required field"},
		{bulkOf(good, updateOp(0, nil, set("a", 1))), codeMissingField, "BSON field 'bulkWrite.ops.filter' is missing but a required field"},
		{bulkOf(good, bson.D{{Key: "update", Value: 0}, {Key: "filter", Value: bson.D{}}}), codeMissingField, "BSON field 'bulkWrite.ops.updateMods' is missing but a required field"},
		{bulkOf(good, bson.D{{Key: "delete", Value: 0}}), codeMissingField, "BSON field 'bulkWrite.ops.filter' is missing but a required field"},
		{bulkOf(good, bson.D{{Key: "insert", Value: nil}, {Key: "document", Value: bson.D{}}}), codeMissingField, "BSON field 'bulkWrite.ops.insert' is missing but a required field"},
		{bulkOf(good, insertOp(-1, 2)), codeBadValue, "BSON field 'insert' value must be >= 0, actual value '-1'"},
		{bulkOf(good, bson.D{{Key: "insert", Value: "0"}, {Key: "document", Value: bson.D{}}}), codeTypeMismatch, ""},
		{bulkOf(good, insertOp(5, 2)), codeBadValue, "BulkWrite ops entry { insert: 5, document: { _id: 2 } } has an invalid nsInfo index."},
		{bulkOf(good, append(deleteOp(0, bson.D{}), bson.E{Key: "multi", Value: 1})), codeTypeMismatch, "BSON field 'bulkWrite.ops.multi' is the wrong type 'int', expected type 'bool'"},
		{bulkOf(good, append(deleteOp(0, bson.D{}), bson.E{Key: "sort", Value: bson.D{}})), codeUnknownField, "BSON field 'bulkWrite.ops.sort' is an unknown field."},
		{bulkOf(good, append(deleteOp(0, bson.D{}), bson.E{Key: "hint", Value: 5})), codeFailedToParse, "Hint must be a string or an object"},
		{bulkOf(good, bson.D{{Key: "update", Value: 0}, {Key: "filter", Value: bson.D{}}, {Key: "updateMods", Value: 5}}), codeFailedToParse, "Update argument must be either an object or an array"},
		{with(bulkOf(good), "x", 1), codeUnknownField, "BSON field 'bulkWrite.x' is an unknown field."},
		{with(bulkOf(good), "ordered", 1), codeTypeMismatch, "BSON field 'bulkWrite.ordered' is the wrong type 'int', expected type 'bool'"},
		{with(bulkOf(good), "errorsOnly", 1), codeTypeMismatch, "BSON field 'bulkWrite.errorsOnly' is the wrong type 'int', expected type 'bool'"},
		{with(bulkOf(good), "cursor", bson.D{{Key: "batchSize", Value: -1}}), codeBadValue, "BSON field 'batchSize' value must be >= 0, actual value '-1'"},
		{with(bulkOf(good), "let", bson.D{{Key: "x", Value: 1}}), codeNotImplemented, ""},
		{with(bulkOf(good), "stmtIds", bson.A{1, 2}), codeInvalidLength, ""},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "test.c"}, {Key: "encryptionInformation", Value: bson.D{}}}}), codeNotImplemented, ""},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "test.c"}, {Key: "isTimeseriesNamespace", Value: true}}}), 7934201, ""},
		{bare(bson.A{good}, bson.A{bson.D{{Key: "ns", Value: "test.c"}, {Key: "collectionUUID", Value: bson.Binary{Data: []byte("short")}}}}), codeInvalidUUID, ""},
	} {
		reply := w.refused("admin", c.cmd, c.code)
		if got := reply.Lookup("errmsg").StringValue(); c.errmsg != "" && got != c.errmsg {
			t.Errorf("%v: %s", c.cmd, got)
		}
	}
	if found := batchOf(t, w.ok("test", bson.D{{Key: "find", Value: "c"}}), "firstBatch"); len(found) != 0 {
		t.Errorf("something was written: %v", found)
	}
	w.ok("admin", with(with(with(with(bulkOf(good), "let", bson.D{}), "comment", "c"), "bypassDocumentValidation", 1), "cursor", nil))
}

func TestWhatASingleOperationCannotDoFailsThatOperation(t *testing.T) {
	w := start(t, "rs0").dial()
	sort := bson.E{Key: "sort", Value: bson.D{{Key: "_id", Value: -1}}}
	reply := w.ok("admin", with(bulkOf(
		insertOp(0, 1), insertOp(0, 2),
		updateOp(0, bson.D{}, set("a", 1), sort, multi),
		updateOp(0, bson.D{}, set("a", 1), sort),
		updateOp(0, bson.D{}, set("a", 1), bson.E{Key: "constants", Value: bson.D{}}),
		updateOp(0, bson.D{}, set("a", 1), bson.E{Key: "upsertSupplied", Value: true}),
		updateOp(0, bson.D{}, set("a", 1), bson.E{Key: "hint", Value: "none_1"}),
		deleteOp(0, bson.D{}, bson.E{Key: "hint", Value: "none_1"}),
		updateOp(0, id(1), set("list.$[x]", 1), bson.E{Key: "arrayFilters", Value: bson.A{bson.D{{Key: "x", Value: 1}}}}),
	), "ordered", false))
	var codes []int32
	for _, d := range batchOf(t, reply, "firstBatch") {
		code, _ := d.Lookup("code").Int32OK()
		codes = append(codes, code)
	}
	if !slices.Equal(codes, []int32{0, 0, codeFailedToParse, 0, 51198, codeFailedToParse, codeBadValue, codeBadValue, codeBadValue}) {
		t.Error(codes, reply)
	}
	if found := batchOf(t, w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "a", Value: 1}}}}), "firstBatch"); len(found) != 1 || found[0].Lookup("_id").Int32() != 2 {
		t.Error(found)
	}
	// A namespace that cannot be written to matters once something is to be.
	bad := bulkOf(insertOp(0, 10), deleteOp(1, bson.D{}), insertOp(0, 11))
	bad[2].Value = bson.A{bson.D{{Key: "ns", Value: "test.c"}}, bson.D{{Key: "ns", Value: "test.$x"}}}
	if got := sums(w.ok("admin", with(bad, "ordered", false))); got[0] != 1 || got[1] != 2 {
		t.Error(got)
	}
	bad[2].Value.(bson.A)[1] = bson.D{{Key: "ns", Value: "local.x"}}
	if got := batchOf(t, w.ok("admin", with(bad, "ordered", false)), "firstBatch"); got[1].Lookup("code").Int32() != codeNotImplemented {
		t.Error(got)
	}
	bad[2].Value.(bson.A)[1] = bson.D{{Key: "ns", Value: "test.$x"}}
	bad[1].Value = bson.A{insertOp(0, 20), insertOp(1, 21)}
	w.refused("admin", bad, codeInvalidNamespace)
	if found := batchOf(t, w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: id(20)}}), "firstBatch"); len(found) != 1 {
		t.Error("what came before the refusal is not there")
	}
}

func TestABulkWriteKnowsItsCollectionByItsUUID(t *testing.T) {
	w := start(t, "rs0").dial()
	w.ok("test", insertOf(1))
	w.ok("test", bson.D{{Key: "create", Value: "other"}})
	uuids := map[string]bson.Binary{}
	for _, d := range batchOf(t, w.ok("test", bson.D{{Key: "listCollections", Value: 1}}), "firstBatch") {
		_, data := d.Lookup("info", "uuid").Binary()
		uuids[d.Lookup("name").StringValue()] = bson.Binary{Subtype: 4, Data: data}
	}
	cmd := bson.D{{Key: "bulkWrite", Value: 1}, {Key: "ops", Value: bson.A{insertOp(0, 2), insertOp(1, 3), updateOp(1, bson.D{}, set("a", 1)), deleteOp(1, bson.D{})}}, {Key: "nsInfo", Value: bson.A{
		bson.D{{Key: "ns", Value: "test.c"}, {Key: "collectionUUID", Value: uuids["c"]}},
		bson.D{{Key: "ns", Value: "test.c"}, {Key: "collectionUUID", Value: uuids["other"]}},
	}}, {Key: "ordered", Value: false}}
	reply := w.ok("admin", cmd)
	if got := sums(reply); got != [6]int32{3, 1, 0, 0, 0, 0} {
		t.Fatal(reply)
	}
	for _, d := range batchOf(t, reply, "firstBatch")[1:] {
		if d.Lookup("code").Int32() != codeCollectionUUIDMismatch || d.Lookup("db").StringValue() != "test" || d.Lookup("expectedCollection").StringValue() != "c" || d.Lookup("actualCollection").StringValue() != "other" {
			t.Error(d)
		}
	}
}

func TestABulkWriteIsRefusedWhereItCannotRun(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.refused("test", bulkOf(insertOp(0, 1)), codeUnauthorized)
	w.refused("admin", append(retryable(bulkOf(insertOp(0, 1)), 1), bson.E{Key: "autocommit", Value: false}, bson.E{Key: "startTransaction", Value: true}), 263)
	w.ok("admin", retryable(bulkOf(insertOp(0, 1)), 2))
	s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
	if got := labels(t, w.refused("admin", retryable(bulkOf(insertOp(0, 2)), 3), codeNotWritablePrimary)); !slices.Equal(got, []string{labelRetryable, labelNoWrites}) {
		t.Error(got)
	}
	if got := s.srv.Counters().Commands["bulkWrite"]; got != 1 {
		t.Errorf("%d bulkWrites ran", got)
	}
	start(t, "").dial().refused("admin", retryable(bulkOf(insertOp(0, 1)), 1), codeIllegalOperation)
	for _, series := range []string{"4.4", "5.0", "6.0", "7.0"} {
		if got := start(t, "rs0", as(t, series)).dial().refused("admin", bulkOf(insertOp(0, 1)), codeCommandNotFound).Lookup("errmsg").StringValue(); got != "no such command: 'bulkWrite'" {
			t.Error(got)
		}
	}
}

func TestFaultsAndCountersKnowABulkWrite(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	fail := func(data bson.D) {
		t.Helper()
		w.ok("admin", failCommand(bson.D{{Key: "times", Value: 1}}, append(data, bson.E{Key: "failCommands", Value: bson.A{"bulkWrite"}})))
	}
	fail(bson.D{{Key: "errorCode", Value: 189}})
	if got := labels(t, w.refused("admin", retryable(bulkOf(insertOp(0, 1)), 1), codePrimarySteppedDown)); !slices.Equal(got, []string{labelRetryable}) {
		t.Error(got)
	}
	fail(bson.D{{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 91}, {Key: "errmsg", Value: "m"}}}})
	if reply := w.ok("admin", retryable(bulkOf(insertOp(0, 1)), 1)); reply.Lookup("writeConcernError", "code").Int32() != 91 || reply.Lookup("nInserted").Int32() != 1 {
		t.Error(reply)
	}
	s.srv.Slow("bulkWrite", 20*time.Millisecond)
	w.refused("admin", with(bulkOf(insertOp(0, 2)), "maxTimeMS", 5), codeMaxTimeMSExpired)
	s.srv.Slow("bulkWrite", 0)
	s.node.members = 3
	s.node.replicated = make(chan struct{})
	for _, wc := range []bson.D{{{Key: "w", Value: 2}, {Key: "wtimeout", Value: 5}}, {{Key: "wtimeout", Value: 5}}} {
		if reply := w.ok("admin", with(bulkOf(updateOp(0, id(1), set("a", 1)), deleteOp(0, id(7))), "writeConcern", wc)); reply.Lookup("writeConcernError", "code").Int32() != codeWriteConcernFailed || sums(reply)[2] != 1 {
			t.Error(reply)
		}
	}
	status := w.ok("admin", bson.D{{Key: "serverStatus", Value: 1}})
	for name, want := range map[string]int64{"insert": 1, "update": 2, "delete": 2, "command": 3} { // the others, this one included
		if got := status.Lookup("opcounters", name).Int64(); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := status.Lookup("metrics", "commands", "bulkWrite", "total").Int64(); got != 3 {
		t.Errorf("%d bulkWrites", got)
	}
	if got := s.srv.Counters(); got.Commands["bulkWrite"] != 3 || got.Writes != 5 {
		t.Errorf("%+v", got)
	}
	w.send(0, append(with(bulkOf(insertOp(0, 3)), "maxTimeMS", 20_000), bson.E{Key: "$db", Value: "admin"}))
	close(s.node.replicated)
	if _, reply := w.receive(); reply.Lookup("writeConcernError").Type != 0 {
		t.Error(reply)
	}
}
