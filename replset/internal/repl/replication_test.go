package repl

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestAnEntryReachesEveryMember(t *testing.T) {
	inCluster(t, 5, func(c *cluster) {
		c.insert(0, "x")
		synctest.Wait()
		for i := range 5 {
			if !c.has(i, Local, "x") || !c.has(i, Majority, "x") {
				t.Errorf("member %d lacks the document", i)
			}
		}
		c.converged()
	})
}

func TestAMajorityWriteWaitsForAMajority(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Lag(300 * time.Millisecond)
		c.Member(2).Lag(700 * time.Millisecond)
		began := time.Now()
		op := c.insert(0, "x")
		if c.has(0, Majority, "x") {
			t.Error("a majority read sees what only the primary has")
		}
		if err := c.node(0).AwaitReplication(c.ctx, op, 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("the majority took %v, not the shorter lag", took)
		}
		if !c.has(0, Majority, "x") || !c.has(1, Local, "x") || c.has(2, Local, "x") {
			t.Error("the majority is not made of members 0 and 1")
		}
		if err := c.node(0).AwaitReplication(c.ctx, op, 3); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 700*time.Millisecond {
			t.Errorf("all three took %v, not the longer lag", took)
		}
	})
}

func TestAWaitForReplicationEndsWithItsContext(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Kill()
		c.Member(2).Lag(time.Hour)
		op := c.insert(0, "x")
		ctx, cancel := context.WithTimeout(c.ctx, 100*time.Millisecond)
		defer cancel()
		if err := c.node(0).AwaitReplication(ctx, op, 0); err != context.DeadlineExceeded {
			t.Errorf("the wait ended with %v", err)
		}
		if n := len(c.node(0).waiters); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	})
}

func TestAReadAfterAClusterTimeWaitsForIt(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Lag(400 * time.Millisecond)
		began := time.Now()
		op := c.insert(0, "x")
		if err := c.node(1).AwaitApplied(c.ctx, op.TS, Local); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 400*time.Millisecond {
			t.Errorf("the wait took %v, not the lag", took)
		}
		if !c.has(1, Local, "x") {
			t.Error("the member has not applied what was waited for")
		}
	})
}

func TestAClusterTimeThatNobodyHasWrittenAtIsReached(t *testing.T) {
	for _, at := range []int{0, 1} {
		inCluster(t, 3, func(c *cluster) {
			ts := c.node(at).ClusterTime()
			ts.T += 3600
			c.node(at).AdvanceClusterTime(ts)
			began := time.Now()
			for _, level := range []ReadLevel{Local, Majority} {
				if err := c.node(at).AwaitApplied(c.ctx, ts, level); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("member %d waited %v", at, took)
			}
		})
	}
}

func TestAMemberThatWasAwayCatchesUp(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(2).Kill()
		for i := range 2000 {
			c.insert(0, i)
		}
		c.Member(2).Start()
		c.converged()
		if !c.has(2, Majority, 1999) {
			t.Error("the last document is missing")
		}
	})
}

func TestAMemberThatFellOffTheOplogCopiesTheData(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.insert(0, "early")
		c.Member(2).Kill()
		for i := range 3000 {
			c.insert(0, i)
			synctest.Wait()
		}
		if n := len(c.node(0).disk.log.entries); n > 200 {
			t.Fatalf("the oplog has %d entries: nothing was trimmed", n)
		}
		c.Member(2).Start()
		c.converged()
		c.save(0, "late")
		c.converged()
	}, func(o *Options) { o.OplogLimit = 100 })
}

func TestTheOplogIsTrimmedOnlyToWhatEveryMemberHas(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(2).Lag(time.Hour)
		for i := range 3 * keepAlways {
			c.insert(0, i)
		}
		synctest.Wait()
		if n := len(c.node(0).disk.log.entries); n < 3*keepAlways {
			t.Errorf("%d entries are left while a member lacks all", n)
		}
		c.Member(2).Lag(0)
		synctest.Wait()
		c.insert(0, "last")
		c.converged()
		c.insert(0, "really the last")
		if n := len(c.node(0).disk.log.entries); n > 2*keepAlways {
			t.Errorf("%d entries are left that every member has", n)
		}
	})
}

func TestAViewDoesNotSeeWhatIsWrittenMeanwhile(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		c.insert(0, 1)
		err := c.node(0).View(Local, func(s Snapshot) error {
			c.insert(0, 2) // which the view does not block
			coll := s.Collection("game", "players")
			n := 0
			coll.Each(func(bson.Raw) bool { n++; return true })
			if _, ok := coll.ByID(idOf(2)); ok || n != 1 || coll.Len() != 1 {
				t.Errorf("the view has %d documents", n)
			}
			return nil
		})
		if err != nil || !c.has(0, Local, 2) {
			t.Errorf("the write is missing: %v", err)
		}
	})
}

func TestAWriteThatFailsLeavesNothing(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		before := c.dump(0)
		_, err := c.node(0).Write(c.ctx, func(w Writer) error {
			if err := w.Insert("game", "players", raw(bson.D{{Key: "_id", Value: 1}})); err != nil {
				return err
			}
			if _, ok := w.Collection("game", "players").ByID(idOf(1)); !ok {
				t.Error("a write does not see itself")
			}
			if err := w.Remember("a", 1, RetryRecord{}); err != nil {
				return err
			}
			return context.Canceled
		})
		if err != context.Canceled {
			t.Errorf("the write ended with %v", err)
		}
		if after := c.dump(0); after != before {
			t.Errorf("it left\n%s\nin place of\n%s", after, before)
		}
	})
}

func TestTwoWritersNeverLoseAWrite(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		done := make(chan error)
		for g := range 8 {
			go func() {
				for i := range 50 {
					if _, err := insert(c.node(0), g*1000+i); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		c.converged()
		if n := c.node(0).seen.Load().now.data.of("game")[0].Len(); n != 400 {
			t.Errorf("%d documents of 400", n)
		}
	})
}

func TestAStandaloneKeepsItsDataAndItsWritesToItself(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "shared")
		synctest.Wait()
		c.Member(2).Kill()
		n := c.Member(2).StartStandalone()
		if st := n.Status(); st.Role != Standalone || st.SetName != "" || !st.WritablePrimary {
			t.Errorf("a standalone shows %+v", st)
		}
		if !c.has(2, Majority, "shared") {
			t.Error("the data is gone")
		}
		c.insert(2, "own")
		if !c.has(2, Majority, "own") {
			t.Error("its own write is missing")
		}
		c.save(0, "meanwhile")
		if c.has(2, Local, "meanwhile") {
			t.Error("a standalone replicates")
		}
		c.Member(2).Kill()
		c.Member(2).Start()
		c.until("it has caught up", func() bool { return c.has(2, Local, "meanwhile") })
		if c.has(0, Local, "own") {
			t.Error("the set has learned of the standalone's write")
		}
	})
}

func TestALagHoldsForWhatIsWrittenOnceItIsSet(t *testing.T) {
	// Again and again, since a member may be asking for more at any moment: it must not
	// apply the answer by the lag that it had when it asked.
	inCluster(t, 3, func(c *cluster) {
		for i := range 300 {
			c.save(0, i) // by one of the two, while the other one is still at it
			c.Member(1).Lag(time.Hour)
			c.Member(2).Lag(time.Hour)
			id := fmt.Sprint("late ", i)
			c.insert(0, id)
			synctest.Wait()
			if c.has(1, Local, id) || c.has(2, Local, id) {
				t.Fatalf("round %d: a member has what it should have in an hour", i)
			}
			c.Member(1).Lag(0)
			c.Member(2).Lag(0)
		}
	})
}
