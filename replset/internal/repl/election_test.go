package repl

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

func TestTheFirstElectionNeedsNoTimeOut(t *testing.T) {
	for n := 1; n <= 7; n++ {
		inCluster(t, n, func(c *cluster) {
			if c.leader() != 0 {
				t.Fatalf("the leader of %d is %d", n, c.leader())
			}
			st := c.node(0).Status()
			if st.Term != 1 || st.LastApplied.Term != 1 || st.ElectionID != electionID(1) {
				t.Errorf("the first primary shows %+v", st)
			}
			for i := 1; i < n; i++ {
				if st := c.node(i).Status(); st.Role != Secondary || st.Primary != member(0).Host || !st.ElectionID.IsZero() {
					t.Errorf("member %d shows %+v", i, st)
				}
			}
		})
	}
}

func TestAKilledPrimaryIsReplacedAfterAnElectionTimeOut(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		pass(5 * time.Second)
		c.Member(0).Kill()
		began := time.Now()
		c.until("a new primary", func() bool { return c.leader() > 0 })
		if took := time.Since(began); took < 800*time.Millisecond || took > 3*time.Second {
			t.Errorf("the election took %v", took)
		}
		if term := c.node(c.leader()).Status().Term; term != 2 {
			t.Errorf("the new primary's term is %d", term)
		}
		c.Member(0).Start()
		c.converged()
		if c.role(0) != Secondary {
			t.Errorf("the old primary came back as %v", c.role(0))
		}
	})
}

func TestTheMostUpToDateMemberBecomesPrimary(t *testing.T) {
	inCluster(t, 5, func(c *cluster) {
		for _, i := range []int32{1, 2, 3} {
			c.Member(i).Lag(time.Hour)
		}
		c.insert(0, "x")
		synctest.Wait()
		c.Member(0).Kill()
		c.until("a new primary", func() bool { return c.leader() >= 0 })
		if c.leader() != 4 {
			t.Errorf("member %d became primary, 4 has the newest entry", c.leader())
		}
		if !c.has(c.leader(), Local, "x") {
			t.Error("an entry that a living member had is lost")
		}
	})
}

func TestWithoutAMajorityNobodyLeads(t *testing.T) {
	inCluster(t, 5, func(c *cluster) {
		for _, i := range []int32{2, 3, 4} {
			c.Member(i).Kill()
		}
		began := time.Now()
		c.until("the primary steps down", func() bool { return c.role(0) == Secondary })
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("stepping down took %v", took)
		}
		_, err := insert(c.node(0), "x")
		c.wantCode(err, codeNotWritablePrimary)
		pass(time.Minute)
		if c.leader() >= 0 {
			t.Errorf("member %d leads two of five", c.leader())
		}
		if term := c.node(0).Status().Term; term != 1 {
			t.Errorf("elections that nobody could win have spent terms up to %d", term)
		}
		c.Member(2).Start()
		c.until("a primary of three", func() bool { return c.leader() >= 0 })
	})
}

func TestAWaitForAMajorityFailsWhenThePrimaryIsDeposed(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Partition([]int32{0})
		op := c.insert(0, "x")
		began := time.Now()
		c.wantCode(c.node(0).AwaitReplication(c.ctx, op, 0), codeInterruptedStateChange)
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("the wait took %v", took)
		}
		c.wantCode(c.node(0).AwaitReplication(c.ctx, op, 0), codeInterruptedStateChange)
	})
}

func TestAWriteUnderWayFailsWhenThePrimaryIsDeposed(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		_, err := c.node(0).Write(c.ctx, func(w Writer) error {
			go func() {
				// While this holds the write lock.
				_, err := insert(c.node(0), "waits")
				c.wantCode(err, codeInterruptedStateChange)
			}()
			synctest.Wait()
			if err := c.node(0).StepDown(c.ctx, time.Second, time.Second, false); err != nil {
				t.Error(err)
			}
			return w.Insert("game", "players", raw(map[string]any{"_id": "x"}))
		})
		c.wantCode(err, codeInterruptedStateChange)
		c.converged()
		if c.has(0, Local, "x") || c.has(0, Local, "waits") {
			t.Error("a deposed primary has kept a write")
		}
	})
}

func TestAFrozenPrimaryIsReplacedAndRollsBackWhatItWritesWhenItThaws(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		pass(time.Second)
		c.Member(0).Freeze()
		wrote := make(chan error)
		go func() {
			_, err := insert(c.node(0), "x")
			wrote <- err
		}()
		c.until("a new primary", func() bool { return c.leader() > 0 })
		pass(10 * time.Second)
		c.save(c.leader(), "y")
		c.Member(0).Unfreeze()
		var refused *query.Error
		if err := <-wrote; err != nil && !(errors.As(err, &refused) && (refused.Code == codeNotWritablePrimary || refused.Code == codeInterruptedStateChange)) {
			t.Errorf("the write ended with %v", err)
		}
		c.converged()
		if c.role(0) != Secondary || c.has(0, Local, "x") || !c.has(0, Local, "y") {
			t.Error("the thawed member goes its own way")
		}
	})
}

func TestStepDownHandsOverAtOnce(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.insert(0, "x")
		began := time.Now()
		if err := c.node(0).StepDown(c.ctx, 30*time.Second, 10*time.Second, false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if c.leader() <= 0 || time.Since(began) != 0 {
			t.Errorf("the leader is %d after %v", c.leader(), time.Since(began))
		}
		c.converged()
		heir := c.leader()
		c.Member(int32(heir)).Kill()
		c.until("the third one leads", func() bool { return c.leader() >= 0 })
		if c.leader() == 0 {
			t.Error("the old primary stood for election within its time")
		}
	})
}

func TestStepDownWaitsForASecondaryToCatchUp(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		for _, i := range []int32{1, 2} {
			c.Member(i).Lag(2 * time.Second)
		}
		c.insert(0, "x")
		began := time.Now()
		c.wantCode(c.node(0).StepDown(c.ctx, time.Minute, time.Second, false), codeExceededTimeLimit)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it was given up after %v", took)
		}
		if st := c.node(0).Status(); !st.WritablePrimary {
			t.Error("the primary takes no writes after a step down that failed")
		}
		if err := c.node(0).StepDown(c.ctx, time.Minute, 10*time.Second, false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the secondaries caught up after %v", took)
		}
		c.until("another primary", func() bool { return c.leader() > 0 })
		if !c.has(c.leader(), Local, "x") {
			t.Error("a write was lost in a step down")
		}
	})
}

func TestAForcedStepDownLeavesNobodyWhenNobodyCanStand(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		c.wantCode(c.node(0).StepDown(c.ctx, 10*time.Second, time.Second, false), codeExceededTimeLimit)
		if err := c.node(0).StepDown(c.ctx, 10*time.Second, 0, true); err != nil {
			t.Fatal(err)
		}
		pass(9 * time.Second)
		if c.leader() >= 0 {
			t.Error("it leads before its time is over")
		}
		pass(2 * time.Second)
		if c.leader() != 0 {
			t.Error("it does not lead again")
		}
	})
}

func TestAStepDownThatIsCancelledTakesWritesAgain(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(1).Lag(time.Hour)
		c.Member(2).Lag(time.Hour)
		c.insert(0, "x")
		ctx, cancel := context.WithCancel(c.ctx)
		done := make(chan error)
		go func() { done <- c.node(0).StepDown(ctx, time.Minute, time.Minute, false) }()
		synctest.Wait()
		_, err := insert(c.node(0), "y")
		c.wantCode(err, codeNotWritablePrimary)
		c.wantCode(c.node(0).StepDown(c.ctx, time.Minute, time.Minute, false), codeConflictingOperation)
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("the step down ended with %v", err)
		}
		c.insert(0, "y")
	})
}

func TestAMemberWithoutPriorityNeverLeads(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(0).Kill()
		pass(time.Minute)
		if c.leader() >= 0 {
			t.Errorf("member %d leads", c.leader())
		}
	}, func(o *Options) { o.Members[1].Priority, o.Members[2].Priority = 0, 0 })
}

func TestTheHighestPriorityTakesOver(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		if c.leader() != 2 {
			t.Fatalf("the first leader is %d", c.leader())
		}
		c.Member(2).Kill()
		c.until("another primary", func() bool { return c.leader() >= 0 })
		c.save(c.leader(), "x")
		c.Member(2).Start()
		c.until("the one with the highest priority leads again", func() bool { return c.leader() == 2 })
		c.converged()
		if !c.has(2, Local, "x") {
			t.Error("it took over without the newest entry")
		}
	}, func(o *Options) { o.Members[2].Priority = 5 })
}

func TestAFrozenCandidateDoesNotStand(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.node(1).Freeze(time.Minute)
		c.Member(0).Kill()
		c.until("another primary", func() bool { return c.leader() >= 0 })
		if c.leader() != 2 {
			t.Errorf("member %d leads", c.leader())
		}
	})
}

func TestARecoveringMemberVotesButDoesNotLead(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.wantCode(c.Member(0).SetMaintenance(true), codeNotSecondary)
		if err := c.Member(1).SetMaintenance(true); err != nil {
			t.Fatal(err)
		}
		if c.role(1) != Recovering {
			t.Errorf("a member in maintenance is %v", c.role(1))
		}
		c.save(0, "x")
		c.Member(0).Kill()
		c.until("another primary", func() bool { return c.leader() >= 0 })
		if c.leader() != 2 {
			t.Errorf("member %d leads", c.leader())
		}
		if err := c.Member(1).SetMaintenance(false); err != nil {
			t.Fatal(err)
		}
		if c.role(1) != Secondary || !c.has(1, Local, "x") {
			t.Error("it did not come back up to date")
		}
	})
}

func TestStatusChangesAreAnnounced(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		n := c.node(1)
		changed, before := n.StatusChanged(), n.Status()
		pass(time.Minute)
		select {
		case <-changed:
			t.Error("the status changed in a minute without events")
		default:
		}
		c.Member(0).Kill()
		<-changed
		if after := n.Status(); after.TopologyCounter <= before.TopologyCounter || after.Primary != "" {
			t.Errorf("after the kill, hello shows %+v", after)
		}
	})
}

func TestAllMembersDownAndBack(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		for i := range int32(3) {
			c.Member(i).Kill()
		}
		pass(time.Hour)
		for i := range int32(3) {
			c.Member(i).Start()
		}
		c.converged()
		for i := range 3 {
			if !c.has(i, Local, "x") {
				t.Errorf("member %d has lost a document", i)
			}
		}
	})
}

func TestAMemberThatLagsTakesOverOnlyWhenItHasCaughtUp(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(2).Kill()
		c.until("another leads", func() bool { l := c.leader(); return l == 0 || l == 1 })
		leads := c.leader()
		c.Member(2).Start()
		c.converged()
		// The other one is behind as well, and would vote for it.
		c.Member(2).Lag(time.Hour)
		c.Member(int32(1 - leads)).Lag(time.Hour)
		pass(4 * time.Second)
		c.insert(leads, "ahead")
		pass(30 * time.Second)
		if c.leader() != leads {
			t.Errorf("member %d has taken over, seconds behind", c.leader())
		}
		c.Member(2).Lag(0)
		c.Member(int32(1 - leads)).Lag(0)
		c.until("it has caught up and taken over", func() bool { return c.leader() == 2 })
	}, func(o *Options) { o.Members[2].Priority, o.TakeoverDelay = 5, 10*time.Second })
}

func TestATakeoverComesAfterItsDelay(t *testing.T) {
	for name, test := range map[string]struct {
		delay, least, most time.Duration
	}{
		"the server's rule":   {0, 2 * time.Second, 2500 * time.Millisecond}, // one member has a still higher priority
		"a delay of its own":  {20 * time.Second, 20 * time.Second, 20500 * time.Millisecond},
		"less than a timeout": {100 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 5, func(c *cluster) {
				c.Member(4).Kill()
				c.Member(3).Kill()
				c.until("another leads", func() bool { return c.leader() >= 0 && c.leader() < 3 })
				began := time.Now()
				c.Member(3).Start()
				c.until("it has taken over", func() bool { return c.leader() == 3 })
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("it took over after %v", took)
				}
			}, func(o *Options) {
				o.Members[4].Priority, o.Members[3].Priority, o.TakeoverDelay = 9, 5, test.delay
			})
		})
	}
}
