package evenkeel_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// follow starts an app that follows the set. These tests are of who is read from, not of
// how fast: no host is ejected because the machine has other things to do.
func (c *cluster) follow(t testing.TB, cfg app.Config) *game {
	t.Helper()
	cfg.Discover, cfg.HungAfter = true, patience
	return c.play(t, cfg)
}

// hosts are those that Stat knows.
func (g *game) hosts() (names []string) {
	for _, h := range g.Stat().Hosts {
		names = append(names, h.Host)
	}
	slices.Sort(names)
	return names
}

// consistsOf waits until the app has just the hosts of those members, and all of them live.
func (g *game) consistsOf(t testing.TB, members ...int) {
	t.Helper()
	var want []string
	for _, m := range members {
		want = append(want, g.c.host(m))
	}
	slices.Sort(want)
	eventually(t, "the app has the hosts of the members that are to be read from", func() bool {
		return slices.Equal(g.hosts(), want) && slices.Equal(g.events.live(), want)
	})
}

func TestFromOneSeedTheAppFindsTheSetAndFollowsIt(t *testing.T) {
	for seed, name := range map[int]string{0: "the primary", 2: "a secondary"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "members that come and go", primaryFirst(3))
			c.seed(t, "us")
			g := c.follow(t, app.Config{URI: c.only(seed)})
			g.consistsOf(t, 0, 1, 2)
			crowd := g.crowd(t, 8, patience, nil)
			ledger := g.ledger(t, 8)
			crowd.more(t, 100)
			mark := g.events.mark()

			added, err := c.set.Add(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.MemberAdded](added.Host()))
			g.consistsOf(t, 0, 1, 2, 3)
			crowd.moreAt(t, added.Host(), 50)

			mark = g.events.mark()
			if err := c.set.Remove(soon(t), 1); err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.MemberRemoved](c.host(1)))
			g.consistsOf(t, 0, 2, 3)
			gone := time.Now()
			crowd.more(t, 300)
			if n := byHost(crowd.since(gone))[c.host(1)]; n > 0 {
				t.Errorf("%d reads were answered by the member that was removed", n)
			}

			// It comes back, and its killed process does not matter to the list.
			mark = g.events.mark()
			c.set.Member(1).Kill()
			if err := c.set.Return(soon(t), 1); err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.MemberAdded](c.host(1)))
			if err := c.set.Member(1).Restart(); err != nil {
				t.Fatal(err)
			}
			g.consistsOf(t, 0, 1, 2, 3)
			crowd.moreAt(t, c.host(1), 50)
			crowd.mustBeFine(t)
			ledger.mustBeApplied(t)
			g.mustBeRight(t)
		})
	}
}

func TestWithoutDiscoverTheHostsAreTheURIs(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that come and go", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{URI: c.only(0, 1), HungAfter: patience})
	g.steady(t, 2)
	added, err := c.set.Add(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	c.awaitSteady(t)
	if err := c.set.Remove(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	// It says once more what it is on the sockets that it closes then, or hangs up before that.
	await(t, g.events, 0, func(e messages.Event) bool {
		return e.Head().Host == c.host(1) && (e.Kind() == messages.KindHostStandby || e.Kind() == messages.KindHostLost)
	})
	crowd := g.crowd(t, 4, patience, nil)
	crowd.more(t, 200)
	crowd.mustBeFine(t)
	if got := g.hosts(); len(got) != 2 || !slices.Contains(got, c.host(1)) {
		t.Errorf("the hosts are %v", got)
	}
	for _, m := range []*replset.Member{added, c.set.Member(2)} {
		g.mustBeUntouched(t, m)
	}
	for _, e := range g.events.all() {
		if e.Kind() == messages.KindMemberAdded || e.Kind() == messages.KindMemberRemoved {
			t.Errorf("told: %v", e)
		}
	}
}

// The members of these tests: 0 is the primary, 1 a secondary, 2 hidden, 3 delayed, 4 an arbiter,
// 5 one that never becomes primary.
func ofAllSorts() replset.Options {
	o := primaryFirst(6)
	delete(o.Priority, 1)
	o.Priority[0] = 2
	o.Hidden, o.Delay, o.Arbiters = map[int]bool{2: true}, map[int]time.Duration{3: time.Hour}, map[int]bool{4: true}
	return o
}

func TestHiddenAndDelayedMembersAndArbitersAreNotReadFrom(t *testing.T) {
	for _, discover := range []bool{true, false} {
		t.Run(map[bool]string{true: "discovered", false: "named in the URI"}[discover], func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "members that are hidden or delayed", ofAllSorts())
			c.seedOn(t, "us", 4) // Neither the delayed one nor the arbiter.
			// All of them are named, whatever they are.
			g := c.play(t, app.Config{URI: c.only(2, 3, 4, 5, 0, 1), Discover: discover, Policy: app.RoundRobin, From: messages.FromAll, HungAfter: patience, NoBatch: true})
			if discover {
				g.consistsOf(t, 0, 1, 5)
				for _, m := range []int{2, 3, 4} {
					await(t, g.events, 0, of[messages.MemberRemoved](c.host(m)))
				}
			} else {
				g.steady(t, 3)
				for m, why := range map[int]string{2: "hidden", 3: "delayed", 4: "arbiter"} {
					if e := await(t, g.events, 0, of[messages.HostStandby](c.host(m))); !strings.Contains(e.Reason, why) {
						t.Errorf("%s stands by: %s", c.host(m), e.Reason)
					}
				}
			}
			crowd := g.crowd(t, 8, patience, nil)
			crowd.more(t, 600)
			crowd.mustBeFine(t)
			for m, n := range g.reads() {
				if serves := m == 0 || m == 1 || m == 5; serves != (n > 100) || !serves && n > 0 {
					t.Errorf("member %d has served %d reads", m, n)
				}
			}
		})
	}
}

func TestMembersThatAreHiddenOrDelayedWhileTheAppRunsAreGivenUp(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that are hidden or delayed", primaryFirst(3))
	c.seed(t, "us")
	g := c.follow(t, app.Config{URI: c.only(2)})
	g.consistsOf(t, 0, 1, 2)
	crowd := g.crowd(t, 8, patience, nil)
	for name, change := range map[string]func(on bool) error{
		"hidden":  func(on bool) error { return c.set.Hide(soon(t), 2, on) },
		"delayed": func(on bool) error { return c.set.Delay(soon(t), 2, map[bool]time.Duration{true: time.Second}[on]) },
	} {
		mark := g.events.mark()
		if err := change(true); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// The member itself says so first.
		if by := await(t, g.events, mark, of[messages.HostStandby](c.host(2))); !strings.Contains(by.Reason, name) {
			t.Errorf("%s: it stands by since %q", name, by.Reason)
		}
		await(t, g.events, mark, of[messages.MemberRemoved](c.host(2)))
		g.consistsOf(t, 0, 1)
		if err := change(false); err != nil {
			t.Fatalf("no longer %s: %v", name, err)
		}
		g.consistsOf(t, 0, 1, 2)
		crowd.moreAt(t, c.host(2), 20)
	}
	crowd.mustBeFine(t)
}

func TestAMemberThatWasCutOffNeitherBringsBackNorTakesAway(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that are cut off from each other", primaryFirst(6))
	c.seed(t, "us")
	g := c.follow(t, app.Config{URI: c.only(0)})
	g.consistsOf(t, 0, 1, 2, 3, 4, 5)
	crowd := g.crowd(t, 8, patience, nil)
	// Clients reach 4 and 5 still; what happens from now on they do not hear.
	c.set.Partition([]int{4, 5})
	for _, m := range []int{5, 1} {
		if err := c.set.Remove(soon(t), m); err != nil {
			t.Fatal(err)
		}
	}
	added, err := c.set.Add(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	// 5 does not know that it was removed, and would go on serving.
	g.consistsOf(t, 0, 2, 3, 4, added.Index())
	if state := c.set.Member(5).State(); state != "SECONDARY" {
		t.Errorf("member 5 is %s: this test shows less than it should", state)
	}
	// The list of hosts is ahead of the events that tell of it.
	for _, m := range []int{1, 5} {
		await(t, g.events, 0, of[messages.MemberRemoved](c.host(m)))
	}
	await(t, g.events, 0, of[messages.MemberAdded](added.Host()))
	mark := g.events.mark()
	crowd.more(t, 300)
	crowd.moreAt(t, c.host(4), 20)
	// 4 says its old config, which has 1 and 5 and lacks the added one, also to sockets that are new.
	if err := c.set.Member(4).Restart(); err != nil {
		t.Fatal(err)
	}
	crowd.moreAt(t, c.host(4), 100)
	for _, e := range g.events.all()[mark:] {
		if e.Kind() == messages.KindMemberAdded || e.Kind() == messages.KindMemberRemoved {
			t.Errorf("told: %v", e)
		}
	}
	c.set.Heal()
	eventually(t, "member 5 knows that it was removed", func() bool { return c.set.Member(5).State() == "REMOVED" })
	g.consistsOf(t, 0, 2, 3, 4, added.Index())
	crowd.mustBeFine(t)
}

func TestADiscoveredMemberIsDialledAtItsAlias(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that come and go", primaryFirst(3))
	c.seed(t, "us")
	name := func(m int) string { return strings.Replace(c.host(m), "127.0.0.1", "localhost", 1) }
	aliases := map[string]string{name(0): c.host(0), name(2): c.host(2)}
	uri := "mongodb://" + name(0) + "/?replicaSet=" + c.set.Name()
	g := c.follow(t, app.Config{URI: uri, Aliases: aliases})
	want := []string{name(0), c.host(1), name(2)}
	slices.Sort(want)
	eventually(t, "the app has each member once, at its alias where there is one", func() bool {
		return slices.Equal(g.hosts(), want) && slices.Equal(g.events.live(), want)
	})
	eventually(t, "the primary goes by its alias too", func() bool { return g.Stat().Primary == name(0) && g.events.primary() == name(0) })
	crowd := g.crowd(t, 4, patience, nil)
	crowd.moreAt(t, name(2), 20)
	crowd.mustBeFine(t)
}

func TestASetIsReplacedMemberByMemberUnderLoad(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that come and go", replset.Options{ElectionTimeout: 500 * time.Millisecond})
	c.seed(t, "us")
	g := c.follow(t, app.Config{})
	g.consistsOf(t, 0, 1, 2)
	crowd := g.crowd(t, 8, patience, nil)
	ledger := g.ledger(t, 8)
	now := []int{0, 1, 2}
	for old := range 3 {
		added, err := c.set.Add(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		c.awaitSteady(t)
		if err := c.set.Remove(soon(t), old); err != nil {
			t.Fatal(err)
		}
		now = append(now[1:], added.Index())
		g.consistsOf(t, now...)
		c.set.Member(old).Kill()
		ledger.more(t, 20)
		crowd.moreAt(t, added.Host(), 20)
	}
	crowd.mustBeFine(t)
	c.uri = c.set.URI() // Those of before are gone.
	// A member that is removed hangs up, also on who has just taken it for the primary.
	ledger.mustBeTrue(t, 3)
	g.mustBeRight(t)
}

func TestAMemberThatIsTakenOffIsNeitherInStatNorInASubscribersSnapshot(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that are hidden", primaryFirst(3))
	c.seed(t, "us")
	g := c.follow(t, app.Config{})
	g.consistsOf(t, 0, 1, 2)
	mark := g.events.mark()
	if err := c.set.Hide(soon(t), 2, true); err != nil {
		t.Fatal(err)
	}
	await(t, g.events, mark, of[messages.MemberRemoved](c.host(2)))
	sub := g.Events()
	defer sub.Cancel()
	eventually(t, "its slave has stopped, and Stat does not know it", func() bool { return !slices.Contains(g.hosts(), c.host(2)) })
	for _, h := range g.Stat().Hosts {
		if h.State == slave.Leaving || h.State == slave.Stopped {
			t.Errorf("%s is %s: %s", h.Host, h.State, h.Reason)
		}
	}
	// Nobody has to have been there to know what is.
	for len(sub.Events()) > 0 {
		if e := <-sub.Events(); e.Head().Host == c.host(2) && e.Kind() != messages.KindMemberRemoved {
			t.Errorf("a new subscriber is told %v", e)
		}
	}
}

func TestDiscoverAndADirectConnectionAreRefusedTogether(t *testing.T) {
	_, err := app.Start(soon(t), app.Config{URI: "mongodb://a:1/?directConnection=true", Discover: true})
	var cfg *app.ConfigError
	if !errors.As(err, &cfg) || cfg.Field != "Discover" {
		t.Errorf("Start returned %v", err)
	}
}
