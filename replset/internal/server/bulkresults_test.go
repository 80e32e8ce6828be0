package server

import (
	"bytes"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func manyOps(n int) (ops []bson.D) {
	for i := range n {
		ops = append(ops, insertOp(0, i))
	}
	return ops
}

func batchSize(n int) bson.D { return bson.D{{Key: "batchSize", Value: n}} }

func TestResultsThatDoNotFitTheFirstBatchAreKeptForGetMore(t *testing.T) {
	for _, c := range []struct {
		size, first int
		more        []int // what each getMore of two brings
	}{{0, 0, []int{2, 2, 1}}, {2, 2, []int{2, 1}}, {3, 3, []int{2}}, {5, 5, nil}, {6, 6, nil}, {-1, 5, nil}} {
		s := start(t, "rs0")
		w := s.dial()
		cmd := bulkOf(manyOps(5)...)
		if c.size >= 0 {
			cmd = with(cmd, "cursor", batchSize(c.size))
		}
		reply := w.ok("admin", cmd)
		if got := sums(reply); got[1] != 5 {
			t.Fatalf("%d: %v", c.size, reply)
		}
		seen := batchOf(t, reply, "firstBatch")
		if len(seen) != min(c.first, 5) {
			t.Errorf("%d: %v", c.size, reply)
		}
		id := reply.Lookup("cursor", "id").Int64()
		for _, n := range c.more {
			if id == 0 {
				t.Fatalf("%d: the cursor is gone after %d results", c.size, len(seen))
			}
			reply = w.ok("admin", bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "$cmd.bulkWrite"}, {Key: "batchSize", Value: 2}})
			batch := batchOf(t, reply, "nextBatch")
			if len(batch) != n || reply.Lookup("cursor", "ns").StringValue() != "admin.$cmd.bulkWrite" {
				t.Errorf("%d: %v", c.size, reply)
			}
			seen = append(seen, batch...)
			id = reply.Lookup("cursor", "id").Int64()
		}
		if id != 0 || s.srv.cursors.len() != 0 {
			t.Errorf("%d: cursor %d is left", c.size, id)
		}
		for i, d := range seen {
			if d.Lookup("idx").Int32() != int32(i) {
				t.Errorf("%d: result %d is %v", c.size, i, d)
			}
		}
	}
}

func TestTheResultsBelongToTheSessionOfTheirBulkWrite(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	open := func(txn int64, n int) int64 {
		t.Helper()
		return w.ok("admin", with(with(retryable(bulkOf(manyOps(n)...), txn), "ordered", false), "cursor", batchSize(1))).Lookup("cursor", "id").Int64()
	}
	more := func(id int64) bson.D {
		return bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "$cmd.bulkWrite"}}
	}
	inSession := func(cmd bson.D) bson.D { return retryable(cmd, 0)[:len(cmd)+1] }
	id := open(1, 2)
	w.refused("admin", more(id), 50737)
	w.refused("test", inSession(more(id)), codeUnauthorized)
	if batch := batchOf(t, w.ok("admin", inSession(more(id))), "nextBatch"); len(batch) != 1 {
		t.Error(batch)
	}
	w.refused("admin", inSession(more(id)), codeCursorNotFound)
	id = open(2, 3)
	if reply := w.ok("admin", bson.D{{Key: "killCursors", Value: "$cmd.bulkWrite"}, {Key: "cursors", Value: bson.A{id}}}); reply.Lookup("cursorsKilled", "0").Int64() != id {
		t.Error(reply)
	}
	if got := s.srv.cursors.len(); got != 0 {
		t.Errorf("%d cursors are left", got)
	}
}

func TestABulkWriteTellsNoMoreThanItIsAskedFor(t *testing.T) {
	w := start(t, "rs0").dial()
	reply := w.ok("admin", with(bulkOf(insertOp(0, 1), insertOp(0, 2)), "errorsOnly", true))
	if len(batchOf(t, reply, "firstBatch")) != 0 || sums(reply)[1] != 2 || reply.Lookup("electionId").Type != 0 || reply.Lookup("opTime").Type != 0 {
		t.Error(reply)
	}
	reply = w.ok("admin", with(with(bulkOf(insertOp(0, 1), insertOp(0, 3)), "errorsOnly", true), "ordered", false))
	if batch := batchOf(t, reply, "firstBatch"); len(batch) != 1 || batch[0].Lookup("idx").Int32() != 0 || sums(reply) != [6]int32{1, 1, 0, 0, 0, 0} {
		t.Error(reply)
	}
	reply = w.ok("admin", with(with(bulkOf(insertOp(0, 1), insertOp(0, 4)), "writeConcern", bson.D{{Key: "w", Value: 0}}), "ordered", false))
	if len(batchOf(t, reply, "firstBatch")) != 0 || sums(reply) != [6]int32{1, 1, 0, 0, 0, 0} {
		t.Error(reply)
	}
	w.send(flagMoreToCome, append(with(bulkOf(insertOp(0, 5)), "writeConcern", bson.D{{Key: "w", Value: 0}}), bson.E{Key: "$db", Value: "admin"}))
	if n := w.ok("test", bson.D{{Key: "count", Value: "c"}}).Lookup("n").Int32(); n != 5 {
		t.Errorf("%d documents", n)
	}
}

func TestARetriedBulkWriteExecutesOnlyWhatItHasNot(t *testing.T) {
	w := start(t, "rs0").dial()
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	ops := []bson.D{
		insertOp(0, 1), insertOp(0, 2), updateOp(0, id(1), inc), updateOp(1, id(9), inc, upserts),
		updateOp(0, id("none"), inc), deleteOp(0, id(2)), deleteOp(0, id("none")), insertOp(1, 1),
	}
	first := w.ok("admin", retryable(bulkOf(ops...), 1))
	again := w.ok("admin", retryable(bulkOf(append(ops, insertOp(1, 2))...), 1))
	if sums(first) != [6]int32{0, 3, 1, 1, 1, 1} || sums(again) != [6]int32{0, 4, 1, 1, 1, 1} {
		t.Errorf("%v, then %v", first, again)
	}
	a, b := batchOf(t, first, "firstBatch"), batchOf(t, again, "firstBatch")
	if len(b) != len(a)+1 {
		t.Fatal(again)
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			t.Errorf("%v, then %v", a[i], b[i])
		}
	}
	var retried []int32
	if err := again.Lookup("retriedStmtIds").Unmarshal(&retried); err != nil || !slices.Equal(retried, []int32{0, 1, 2, 3, 5, 7}) {
		t.Errorf("%v: %v", retried, err)
	}
	if d := batchOf(t, w.ok("test", bson.D{{Key: "find", Value: "c"}}), "firstBatch"); len(d) != 1 || d[0].Lookup("n").Int32() != 1 {
		t.Error(d)
	}
	reply := w.ok("admin", with(retryable(bulkOf(updateOp(0, bson.D{}, inc, multi), deleteOp(0, bson.D{}, multi), insertOp(0, 5)), 2), "ordered", false))
	batch := batchOf(t, reply, "firstBatch")
	if sums(reply) != [6]int32{2, 1, 0, 0, 0, 0} || batch[0].Lookup("code").Int32() != codeInvalidOptions || batch[1].Lookup("code").Int32() != codeInvalidOptions ||
		batch[0].Lookup("errmsg").StringValue() != "Cannot use retryable writes with multi=true" || batch[0].Lookup("nModified").Int32() != 0 {
		t.Error(reply)
	}
	w.refused("admin", retryable(bulkOf(insertOp(0, 6)), 1), codeTransactionTooOld)
	// The numbers may be the client's.
	w.ok("admin", with(retryable(bulkOf(insertOp(0, 7), deleteOp(0, id(5))), 3), "stmtIds", bson.A{8, 4}))
	reply = w.ok("admin", with(retryable(bulkOf(deleteOp(0, id(5)), deleteOp(0, id(7))), 3), "stmtId", 4))
	if err := reply.Lookup("retriedStmtIds").Unmarshal(&retried); err != nil || !slices.Equal(retried, []int32{4}) || sums(reply)[5] != 2 {
		t.Errorf("%v: %v", reply, err)
	}
}

func TestResultsAreBoundedInSize(t *testing.T) {
	w := start(t, "rs0").dial()
	ops := make([]bson.D, 0, 4)
	for i := range 3 {
		ops = append(ops, updateOp(0, id(string(bytes.Repeat([]byte{byte('a' + i)}, 15_900_000))), set("a", 1), upserts))
	}
	reply := w.ok("admin", with(bulkOf(ops...), "ordered", false))
	if sums(reply) != [6]int32{1, 0, 0, 0, 2, 0} || len(batchOf(t, reply, "firstBatch")) != 1 {
		t.Fatalf("%v, %d bytes", sums(reply), len(reply))
	}
	reply = w.ok("admin", bson.D{{Key: "getMore", Value: reply.Lookup("cursor", "id").Int64()}, {Key: "collection", Value: "$cmd.bulkWrite"}})
	batch := batchOf(t, reply, "nextBatch")
	if len(batch) != 2 || len(batch[0].Lookup("upserted", "_id").StringValue()) != 15_900_000 || batch[1].Lookup("code").Int32() != codeExceededMemoryLimit || reply.Lookup("cursor", "id").Int64() != 0 {
		t.Errorf("%d results", len(batch))
	}
	small := doc(t, insertOp(0, 1))
	many := sequence{name: "ops", docs: slices.Repeat([]bson.Raw{small}, maxBatch+1)}
	reply = w.run("admin", bson.D{{Key: "bulkWrite", Value: 1}, {Key: "nsInfo", Value: bson.A{bson.D{{Key: "ns", Value: "test.c"}}}}}, many)
	if reply.Lookup("errmsg").StringValue() != "Write batch sizes must be between 1 and 100000. Got 100001 operations." || reply.Lookup("code").Int32() != codeInvalidLength {
		t.Error(reply)
	}
}
