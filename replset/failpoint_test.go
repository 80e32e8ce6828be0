package replset

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A retryable write that the fail point has cut off is there, and its retry says what it has done; one that it has
// kept from being committed is not there, and may come again.
func TestOnPrimaryTransactionalWriteStrikesAsAWriteIsCommitted(t *testing.T) {
	m := primaryOf(t, steady(t, Options{Members: 1}))
	admin := dial(t, m)
	fail := func(mode any, data ...bson.E) {
		t.Helper()
		reply := admin.run("admin", bson.D{{Key: "configureFailPoint", Value: "onPrimaryTransactionalWrite"}, {Key: "mode", Value: mode}, {Key: "data", Value: bson.D(data)}})
		if reply.Lookup("ok").Double() != 1 {
			t.Fatal(reply)
		}
	}
	once := bson.D{{Key: "times", Value: 1}}
	uncommitted := []bson.E{{Key: "closeConnection", Value: false}, {Key: "failBeforeCommitExceptionCode", Value: 1}}
	number := int64(0)
	retryable := func(cmd bson.D) bson.D {
		return append(cmd[:len(cmd):len(cmd)],
			bson.E{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}},
			bson.E{Key: "txnNumber", Value: number})
	}
	insert := func(ids ...any) bson.D {
		var docs bson.A
		for _, id := range ids {
			docs = append(docs, bson.D{{Key: "_id", Value: id}})
		}
		return bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: docs}}
	}
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	where := func(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }
	remove := func(id any) bson.D {
		return bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: where(id)}, {Key: "limit", Value: 1}}}}}
	}
	count := func(filter bson.D) int32 {
		return admin.run("test", bson.D{{Key: "count", Value: "c"}, {Key: "query", Value: filter}}).Lookup("n").Int32()
	}
	admin.run("test", insert("x", "y"))
	for name, c := range map[string]struct {
		cmd    bson.D
		single bool // its failure is the command's
	}{
		"insert":        {insert(1, 2), false},
		"update":        {bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: where("x")}, {Key: "u", Value: inc}}}}}, false},
		"findAndModify": {bson.D{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: where("x")}, {Key: "update", Value: inc}}, true},
		"delete":        {remove("y"), false},
	} {
		number++
		fail("alwaysOn", uncommitted...)
		// What changes nothing is not committed, and not struck.
		if reply := admin.run("test", retryable(remove("none"))); reply.Lookup("ok").Double() != 1 || reply.Lookup("writeErrors").Type != 0 {
			t.Errorf("%s: nothing to do: %v", name, reply)
		}
		number++
		reply := admin.run("test", retryable(c.cmd))
		code, _ := reply.Lookup("code").AsInt64OK()
		if !c.single {
			code, _ = reply.Lookup("writeErrors", "0", "code").AsInt64OK()
		}
		if code != 1 {
			t.Errorf("%s: uncommitted: %v", name, reply)
		}
		fail(once)
		cut := dial(t, m)
		cut.send("test", retryable(c.cmd))
		if err := cut.end(); !gone(err) {
			t.Errorf("%s: cut off: %v", name, err)
		}
		reply = admin.run("test", retryable(c.cmd))
		if reply.Lookup("retriedStmtIds").Type == 0 && reply.Lookup("retriedStmtId").Type == 0 {
			t.Errorf("%s: the retry was executed: %v", name, reply)
		}
	}
	if all, changed := count(bson.D{}), count(bson.D{{Key: "n", Value: 2}}); all != 3 || changed != 1 {
		t.Errorf("%d documents, want x, 1 and 2; x was changed twice: %v", all, changed == 1)
	}
	// One insert is one try.
	number++
	fail(bson.D{{Key: "times", Value: 2}}, uncommitted...)
	for range 2 {
		if reply := admin.run("test", retryable(insert(9))); reply.Lookup("n").Int32() != 0 {
			t.Error(reply)
		}
	}
	// What could not be committed together is tried one by one.
	number++
	fail(once, uncommitted...)
	if reply := admin.run("test", retryable(insert(5, 6))); reply.Lookup("n").Int32() != 2 {
		t.Error(reply)
	}
}
