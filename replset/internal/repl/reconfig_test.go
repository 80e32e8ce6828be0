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
	c.Add(member(i)).Start()
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
		c.wantCode(c.remove(0), codeNewReplicaSetConfig)
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
