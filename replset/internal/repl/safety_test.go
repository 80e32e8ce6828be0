package repl

import (
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The rules that only matter when several rare things meet, each by itself.

func TestAVoteGoesToOneCandidateATermThatLacksNothing(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.insert(0, "x")
		synctest.Wait()
		p := c.node(1)
		top, cfg := p.disk.log.top(), p.disk.cfg
		short := OpTime{TS: bson.Timestamp{T: top.TS.T, I: top.TS.I - 1}, Term: top.Term}
		older := *cfg
		older.version--
		for _, step := range []struct {
			name string
			ballot
			want bool
		}{
			{"a dry run", ballot{from: 2, term: 1, top: top, cfg: cfg, dry: true}, true},
			{"a dry run with a shorter log", ballot{from: 2, term: 1, top: short, cfg: cfg, dry: true}, false},
			{"a shorter log", ballot{from: 2, term: 2, top: short, cfg: cfg}, false},
			{"a later time in an earlier term", ballot{from: 2, term: 2, top: OpTime{TS: bson.Timestamp{T: top.TS.T + 9}}, cfg: cfg}, false},
			{"an older config", ballot{from: 2, term: 2, top: top, cfg: &older}, false},
			{"nobody of this set", ballot{from: 9, term: 2, top: top, cfg: cfg}, false},
			{"the first good candidate", ballot{from: 2, term: 2, top: top, cfg: cfg}, true},
			{"the same again", ballot{from: 2, term: 2, top: top, cfg: cfg}, true},
			{"another one in that term", ballot{from: 0, term: 2, top: top, cfg: cfg}, false},
			{"an earlier term", ballot{from: 2, term: 1, top: top, cfg: cfg}, false},
			{"another one in a later term", ballot{from: 0, term: 3, top: top, cfg: cfg}, true},
		} {
			if got := p.vote(step.ballot); got.yes != step.want {
				t.Errorf("%s: the vote is %v", step.name, got.yes)
			}
		}
		c.Member(1).Kill()
		c.Member(1).Start()
		if got := c.node(1).vote(ballot{from: 2, term: 3, top: top, cfg: cfg}); got.yes {
			t.Error("a restart forgot the vote")
		}
	})
}

// TestAnEntryOfAnEarlierTermIsNotCommittedByItself is figure 8 of the Raft paper:
// a majority may have such an entry, and a later primary still lack it.
func TestAnEntryOfAnEarlierTermIsNotCommittedByItself(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Lag(time.Hour)
		c.Member(2).Lag(time.Hour)
		op := c.insert(0, "x")
		p := c.node(0)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.disk.term++ // as if elected again, before the first entry of the new term
		p.reach(1, op)
		p.recount()
		if got := p.disk.hist.committed().op; !got.Before(op) {
			t.Errorf("%v is committed", got)
		}
		p.disk.term--
		p.recount()
		if got := p.disk.hist.committed().op; got != op {
			t.Errorf("in its own term, %v is committed, not %v", got, op)
		}
	})
}

func TestACommitPointOfAnotherTermIsNotTakenOver(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Partition([]int32{0})
		op := c.insert(0, "alone")
		c.until("it has stepped down", func() bool { return c.role(0) == Secondary })
		p := c.node(0)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.learn(OpTime{TS: bson.Timestamp{T: op.TS.T + 9}, Term: op.Term + 1})
		if got := p.disk.hist.committed().op; !got.Before(op) {
			t.Errorf("an entry that only this member has counts as committed at %v", got)
		}
	})
}

func TestAWriteDoesNotOutliveTheReignItBeganIn(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		_, err := c.node(0).Write(c.ctx, func(w Writer) error {
			if err := c.node(0).StepDown(c.ctx, time.Second, 0, true); err != nil {
				t.Error(err)
			}
			c.until("it leads again", func() bool { return c.leader() == 0 })
			return w.Insert("game", "players", raw(bson.D{{Key: "_id", Value: "x"}}))
		})
		c.wantCode(err, codeInterruptedStateChange)
		if c.has(0, Local, "x") {
			t.Error("the write was kept")
		}
	})
}

func TestANewPrimaryCatchesUpBeforeItWrites(t *testing.T) {
	inCluster(t, 5, func(c *cluster) {
		c.Member(2).Lag(500 * time.Millisecond)
		c.Member(3).Lag(time.Hour)
		c.Member(4).Lag(time.Hour)
		c.insert(0, "x")
		synctest.Wait()
		c.Member(0).Kill()
		c.node(2).stands() // the votes of 3 and 4 are enough
		synctest.Wait()
		if st := c.node(2).Status(); st.Role != Primary || st.WritablePrimary {
			t.Fatalf("a primary that lacks an entry of a living member shows %+v", st)
		}
		c.until("it writes", func() bool { return c.leader() == 2 })
		if !c.has(2, Local, "x") {
			t.Error("it writes without the entry")
		}
	})
}

func TestANewPrimaryThatCannotCatchUpWritesAllTheSame(t *testing.T) {
	inCluster(t, 5, func(c *cluster) {
		for _, i := range []int32{2, 3, 4} {
			c.Member(i).Lag(time.Hour)
		}
		c.insert(0, "x")
		synctest.Wait()
		c.Member(0).Kill()
		c.node(2).stands()
		began := time.Now()
		c.until("it writes", func() bool { return c.leader() == 2 })
		if took := time.Since(began); took != 2*DefaultElectionTimeout {
			t.Errorf("it gave up after %v", took)
		}
		for _, i := range []int32{2, 3, 4} {
			c.Member(i).Lag(0)
		}
		c.until("the one that was ahead rolls back", func() bool { return !c.has(1, Local, "x") })
	})
}

func TestAStateDoesNotChangeWhenTheNextIsMadeFromIt(t *testing.T) {
	change := func(id int) *entry {
		return &entry{op: OpTime{TS: bson.Timestamp{T: uint32(id)}}, changes: []change{{
			kind: insertDoc, db: "game", coll: "players", doc: raw(bson.D{{Key: "_id", Value: id}}),
		}, {
			kind: rememberStmt, name: "s", txn: 1, record: RetryRecord{StmtID: int32(id)},
		}}}
	}
	moments := moment{data: &state{}}.after([]*entry{change(1), change(2), change(3)})
	for i, m := range moments {
		if n := m.data.of("game")[0].Len(); n != i+1 {
			t.Errorf("after entry %d there are %d documents", i+1, n)
		}
		s, _ := m.data.sessions.get("s")
		if s.done.n != i+1 {
			t.Errorf("after entry %d, %d statements are remembered", i+1, s.done.n)
		}
	}
}

func TestAScanInsideAWriteSeesWhatWasThereWhenItBegan(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		for i := range 5 {
			c.insert(0, i)
		}
		_, err := c.node(0).Write(c.ctx, func(w Writer) error {
			n := int32(0)
			w.Collection("game", "players").Each(func(doc bson.Raw) bool {
				n++
				if err := w.Delete("game", "players", doc.Lookup("_id")); err != nil {
					t.Error(err)
				}
				if err := w.Insert("game", "players", raw(bson.D{{Key: "_id", Value: 100 + n}})); err != nil {
					t.Error(err)
				}
				return true
			})
			if n != 5 {
				t.Errorf("the scan saw %d documents", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := c.node(0).seen.Load().now.data.of("game")[0].Len(); n != 5 {
			t.Errorf("%d documents are left", n)
		}
	})
}

func TestOneConfigIsAgreedOnBeforeTheNext(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Partition([]int32{0})
		done := make(chan error, 2)
		for i := 3; i < 5; i++ {
			go func() {
				done <- c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) {
					return append(have, member(i)), nil
				})
			}()
			synctest.Wait()
		}
		if v := c.node(0).Status().SetVersion; v != 2 {
			t.Errorf("the primary is at config %d, of which a majority has only 1", v)
		}
		for range 2 {
			c.wantCode(<-done, codeInterruptedStateChange)
		}
		// An election gives the majority's config a later term, against which the one
		// that was left alone with its primary is an older one, whatever its version.
		c.until("the others have elected one of them", func() bool { return c.leader() > 0 })
		c.Heal()
		c.until("a primary that all follow", func() bool { return c.leader() > 0 && c.role(0) == Secondary })
		if v := c.node(0).Status().SetVersion; v != 1 {
			t.Errorf("a config that no majority had has survived an election as %d", v)
		}
	})
}

// TestAConfigThatNobodyHasOverruledMayStillWin is the other end: like an entry, a
// config that its primary could not spread is not undone by that alone. Whoever asked for it
// was told that nobody knows.
func TestAConfigThatNobodyHasOverruledMayStillWin(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		for _, i := range []int{1, 2} { // They are in no hurry to elect one of them.
			p := c.node(i)
			p.mu.Lock()
			p.standFrom = time.Now().Add(time.Hour)
			p.mu.Unlock()
		}
		c.Partition([]int32{0})
		err := c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) {
			return append(have, member(3)), nil
		})
		c.wantCode(err, codeInterruptedStateChange)
		c.Heal()
		c.until("it leads again", func() bool { return c.leader() == 0 })
		synctest.Wait()
		for i := range 3 {
			if st := c.node(i).Status(); st.SetVersion != 2 || len(st.Hosts) != 4 {
				t.Errorf("member %d shows %+v", i, st)
			}
		}
	})
}

func TestABatchThatDoesNotFollowOnIsDropped(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		p := c.node(1)
		top := p.disk.log.top()
		e := &entry{op: OpTime{TS: bson.Timestamp{T: top.TS.T + 5}, Term: 1}}
		if p.absorb(0, OpTime{TS: top.TS, Term: 0}, c.node(0).pulse(), []*entry{e}, make([]moment, 1)) {
			t.Error("it was taken after another entry than it follows")
		}
		if p.absorb(2, top, c.node(0).pulse(), []*entry{e}, make([]moment, 1)) {
			t.Error("it was taken from a member that this one does not follow")
		}
		if p.disk.log.top() != top {
			t.Error("the oplog has grown")
		}
	})
}
