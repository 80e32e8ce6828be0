package repl

import (
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestAPartitionedPrimaryStepsDownAndRollsBack(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "before")
		c.Partition([]int32{0})
		c.insert(0, "alone") // w: 1
		if !c.has(0, Local, "alone") || c.has(0, Majority, "alone") {
			t.Error("what only one member has is a matter of the read concern")
		}
		c.until("another primary", func() bool { return c.leader() > 0 && c.role(0) == Secondary })
		c.save(c.leader(), "after")
		if !c.has(0, Local, "alone") || c.has(0, Local, "after") {
			t.Error("the network is not cut")
		}
		c.Heal()
		c.converged()
		for i := range 3 {
			if !c.has(i, Local, "before") || !c.has(i, Local, "after") || c.has(i, Local, "alone") {
				t.Errorf("member %d has\n%s", i, c.dump(i))
			}
		}
	})
}

func TestAKilledPrimaryRollsBackWhatNobodyHas(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Lag(time.Hour)
		c.Member(2).Lag(time.Hour)
		c.insert(0, "x")
		c.Member(0).Kill()
		c.Member(1).Lag(0)
		c.Member(2).Lag(0)
		c.until("another primary", func() bool { return c.leader() > 0 })
		c.save(c.leader(), "y")
		c.Member(0).Start()
		c.converged()
		if c.has(0, Local, "x") {
			t.Error("a write that no other member had has survived")
		}
	})
}

func TestRollbackRestoresEverythingThatAWriteCanChange(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		unique := raw(bson.D{{Key: "v", Value: 2}, {Key: "key", Value: bson.D{{Key: "name", Value: 1}}}, {Key: "name", Value: "name_1"}, {Key: "unique", Value: true}})
		ok := func(errs ...error) {
			t.Helper()
			for _, err := range errs {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		write := func(i int, fn func(w Writer)) {
			t.Helper()
			op, err := c.node(i).Write(c.ctx, func(w Writer) error { fn(w); return nil })
			ok(err)
			if i == c.leader() && i != 0 {
				ok(c.node(i).AwaitReplication(c.ctx, op, 0))
			}
		}
		doc := func(id int, name string) bson.Raw {
			return raw(bson.D{{Key: "_id", Value: id}, {Key: "name", Value: name}})
		}
		write(0, func(w Writer) {
			ok(w.Insert("game", "players", doc(1, "ann")), w.Insert("game", "players", doc(2, "bob")))
			ok(w.Insert("game", "old", doc(1, "x")), w.Remember("s", 7, RetryRecord{StmtID: 0}))
			_, err := w.CreateIndex("game", "players", unique)
			ok(err)
		})
		synctest.Wait()
		want := c.dump(1)
		c.Partition([]int32{0})
		write(0, func(w Writer) {
			ok(w.Replace("game", "players", idOf(1), doc(1, "cid")), w.Delete("game", "players", idOf(2)))
			ok(w.Insert("game", "players", doc(3, "ann")), w.Insert("game", "new", doc(1, "x")))
			ok(w.DropCollection("game", "old"), w.DropIndex("game", "players", "name_1"))
			ok(w.Remember("s", 7, RetryRecord{StmtID: 1}), w.Remember("t", 1, RetryRecord{}))
		})
		write(0, func(w Writer) { ok(w.DropDatabase("game")) })
		c.until("another primary", func() bool { return c.leader() > 0 })
		write(c.leader(), func(w Writer) { ok(w.CreateCollection("game", "mark", nil), w.DropCollection("game", "mark")) })
		c.Heal()
		c.converged()
		_, got, _ := cutLine(c.dump(0))
		_, expect, _ := cutLine(want)
		if got != expect {
			t.Errorf("after the rollback:\n%s\nbefore:\n%s", got, expect)
		}
		_, err := c.node(c.leader()).Write(c.ctx, func(w Writer) error {
			return w.Insert("game", "players", doc(9, "ann"))
		})
		c.wantCode(err, codeDuplicateKey)
		if _, _, there := c.node(0).Session("t"); there {
			t.Error("the retry history of a write that was rolled back is left")
		}
		if txn, done, _ := c.node(0).Session("s"); txn != 7 || len(done) != 1 {
			t.Errorf("the retry history is %d, %v", txn, done)
		}
	})
}

// cutLine takes the first line off, which says the op time.
func cutLine(s string) (line, rest string, ok bool) {
	for i := range s {
		if s[i] == '\n' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func TestAMemberRollsBackAlsoAfterItWasAStandalone(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		c.Partition([]int32{0})
		c.insert(0, "alone")
		c.Member(0).Kill()
		c.Member(0).StartStandalone()
		c.until("another primary", func() bool { return c.leader() > 0 })
		c.Member(0).Kill()
		c.Member(0).Start()
		c.Heal()
		c.converged()
		if c.has(0, Local, "alone") {
			t.Error("it kept what the set has not")
		}
	})
}

func TestTheRetryHistoryReplicates(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		op, err := c.node(0).Write(c.ctx, func(w Writer) error {
			done, err := w.BeginStatement("s", 5, 3)
			if done != nil || err != nil {
				t.Errorf("a new statement begins with %v, %v", done, err)
			}
			return w.Remember("s", 5, RetryRecord{StmtID: 3, Result: raw(bson.D{{Key: "n", Value: 1}})})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.node(0).AwaitReplication(c.ctx, op, 3); err != nil {
			t.Fatal(err)
		}
		c.Member(0).Kill()
		c.until("another primary", func() bool { return c.leader() > 0 })
		_, err = c.node(c.leader()).Write(c.ctx, func(w Writer) error {
			done, err := w.BeginStatement("s", 5, 3)
			if err != nil || done == nil || done.Result.Lookup("n").AsInt64() != 1 {
				t.Errorf("the next primary knows of the statement %v, %v", done, err)
			}
			_, err = w.BeginStatement("s", 4, 0)
			c.wantCode(err, codeTransactionTooOld)
			c.wantCode(w.Remember("s", 4, RetryRecord{}), codeTransactionTooOld)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
