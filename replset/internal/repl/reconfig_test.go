package repl

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func (c *cluster) add(i int) {
	c.t.Helper()
	c.Add(member(i))
	c.enlist(i)
}

// addSlowly adds a member that takes half a minute to copy the data.
func (c *cluster) addSlowly(i int) {
	c.t.Helper()
	c.Add(member(i)).InitialSync(30 * time.Second)
	c.enlist(i)
}

func (c *cluster) enlist(i int) {
	c.t.Helper()
	c.Member(int32(i)).Start()
	err := c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) {
		return append(have, member(i)), nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(i int) error {
	return c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) {
		return slices.DeleteFunc(have, func(m MemberConfig) bool { return m.ID == int32(i) }), nil
	})
}

func TestAnAddedMemberCopiesTheData(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		for i := range 100 {
			c.insert(0, i)
		}
		c.add(3)
		c.converged()
		if st := c.node(3).Status(); st.SetVersion != 2 || len(st.Hosts) != 4 || st.Me != member(3).Host {
			t.Errorf("the new member shows %+v", st)
		}
		c.Member(1).Kill()
		c.save(0, "with three of four")
	})
}

func TestACopyHasOnlyWhatCannotBeRolledBack(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		c.Member(1).Lag(time.Hour)
		c.Member(2).Lag(time.Hour)
		c.insert(0, "uncommitted")
		c.add(3)
		synctest.Wait()
		if !c.has(3, Majority, "x") || c.has(3, Majority, "uncommitted") {
			t.Errorf("the new member's majority reads see\n%s", c.dump(3))
		}
	})
}

func TestARemovedMemberKnowsItAndMayReturn(t *testing.T) {
	inCluster(t, 4, func(c *cluster) {
		if err := c.remove(3); err != nil {
			t.Fatal(err)
		}
		c.until("it knows that it is removed", func() bool { return c.role(3) == Removed })
		if st := c.node(0).Status(); len(st.Hosts) != 3 || st.SetVersion != 2 {
			t.Errorf("the primary shows %+v", st)
		}
		c.save(0, "x")
		pass(time.Minute)
		if c.has(3, Local, "x") || c.role(3) != Removed || c.leader() != 0 {
			t.Error("a removed member still takes part")
		}
		err := c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) { return append(have, member(3)), nil })
		if err != nil {
			t.Fatal(err)
		}
		c.converged()
	})
}

func TestAMemberThatWasDownWhenItWasRemovedLearnsOfIt(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.Member(2).Kill()
		if err := c.remove(2); err != nil {
			t.Fatal(err)
		}
		c.Member(2).Start()
		c.until("it knows that it is removed", func() bool { return c.role(2) == Removed })
	})
}

func TestThePrimaryIsNotRemoved(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.wantCode(c.remove(0), codeNodeNotElectable)
		for i := range int32(3) {
			c.Member(i).Kill()
		}
		if err := c.remove(1); !errors.Is(err, ErrNoPrimary) {
			t.Errorf("a dead set is reconfigured with %v", err)
		}
	})
}

func TestAConfigSurvivesANewPrimary(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.add(3)
		c.add(4)
		c.Member(0).Kill()
		c.until("another primary", func() bool { return c.leader() > 0 })
		if st := c.node(c.leader()).Status(); len(st.Hosts) != 5 {
			t.Errorf("the new primary knows the hosts %v", st.Hosts)
		}
		c.Member(0).Start()
		c.converged()
	})
}

func TestAnAddedMemberHasNoVoteUntilItIsASecondary(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		c.addSlowly(3)
		c.until("it copies the data", func() bool { return c.role(3) == Startup2 })
		pass(15 * time.Second)
		st := c.node(3).Status()
		if st.Role != Startup2 || !st.NewlyAdded || !st.Passive || len(st.Passives) != 1 || st.Votes.Voters != 3 || st.SetVersion != 2 {
			t.Errorf("it shows %+v", st)
		}
		// The config that it is shown in is the one that has been ordered.
		if shown := c.node(0).Config().Lookup("members", "3"); shown.Document().Lookup("votes").Int32() != 1 || shown.Document().Lookup("priority").Double() != 1 {
			t.Errorf("the config shows %v", shown)
		}
		// With a vote, it would now take two of four who have data.
		c.Member(1).Kill()
		c.save(0, "y")
		if c.role(3) != Startup2 {
			t.Error("it has not taken as long as it should")
		}
		c.Member(1).Start()
		c.until("it has its vote", func() bool { return c.node(0).Status().Votes.Voters == 4 && c.role(3) == Secondary })
		c.converged()
		if st := c.node(3).Status(); st.NewlyAdded || st.Passive || len(st.Hosts) != 4 || st.SetVersion != 3 {
			t.Errorf("then it shows %+v", st)
		}
	}, func(o *Options) { o.NewlyAdded = true })
}

func TestAChangeLeavesANewlyAddedMemberWithoutAVote(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.addSlowly(3)
		err := c.Reconfigure(c.ctx, func(have []MemberConfig) ([]MemberConfig, error) {
			for i := range have {
				if have[i].Votes != 1 || have[i].Priority != 1 {
					t.Errorf("the change sees %+v", have[i])
				}
			}
			have[3].Priority, have[1].Priority = 0.5, 2
			return have, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if st := c.node(0).Status(); st.Votes.Voters != 3 {
			t.Errorf("there are %d voters", st.Votes.Voters)
		}
		c.until("it has its vote", func() bool { return c.node(3).Status().Votes.Voters == 4 })
		if st := c.node(3).Status(); st.Passive || len(st.Hosts) != 4 {
			t.Errorf("then it shows %+v", st)
		}
	}, func(o *Options) { o.NewlyAdded = true })
}

func TestAnAdmissionGoesOnUnderTheNextPrimary(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.addSlowly(3)
		c.Member(0).Kill()
		c.until("another primary", func() bool { return c.leader() > 0 })
		c.until("it has its vote", func() bool { return c.node(c.leader()).Status().Votes.Voters == 4 })
	}, func(o *Options) { o.NewlyAdded = true })
}

// source is whom a member copies the data from.
func (c *cluster) source(i int) int32 {
	p := c.node(i)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.syncing.since.IsZero() {
		return nobody
	}
	return p.syncing.from
}

func TestAnInitialSyncBeginsAnewWithAnotherSource(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.addSlowly(3)
		c.until("it copies from the primary", func() bool { return c.source(3) == 0 })
		pass(25 * time.Second)
		c.Member(0).Kill()
		c.until("it copies from another", func() bool { return c.source(3) > 0 })
		pass(25 * time.Second)
		if c.role(3) != Startup2 {
			t.Error("it has gone on where it was")
		}
		c.until("it is done", func() bool { return c.role(3) == Secondary })
	}, func(o *Options) { o.NewlyAdded = true })
}

func TestAWipedMemberCopiesTheDataAgain(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		c.converged()
		c.Member(2).Wipe() // not while it runs
		if !c.has(2, Local, "x") {
			t.Fatal("it was wiped while it ran")
		}
		c.Member(2).Kill()
		c.Member(2).Wipe()
		c.Member(2).InitialSync(30 * time.Second)
		c.Member(2).Start()
		if c.has(2, Local, "x") {
			t.Error("it starts with its data")
		}
		c.until("it is told the config", func() bool { return c.role(2) == Startup2 })
		c.save(0, "y")
		pass(25 * time.Second)
		if c.role(2) != Startup2 || c.has(2, Local, "x") {
			t.Errorf("before it is done it is %v", c.role(2))
		}
		c.converged()
	})
}
