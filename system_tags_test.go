package evenkeel_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// tagged makes reads go by tag sets.
func tagged(sets ...messages.TagSet) func(*messages.Read) {
	return func(m *messages.Read) { m.Tags = sets }
}

func TestReadsGoToMembersWithTheTagsThenToTheNextSetsThenToThePrimary(t *testing.T) {
	t.Parallel()
	o := primaryFirst(4)
	o.Tags = map[int]map[string]string{0: {"dc": "east"}, 1: {"dc": "east"}, 2: {"dc": "west"}, 3: {"dc": "west"}}
	c := ownSet(t, "members that are killed", o)
	c.seed(t, "us")
	g := c.play(t, app.Config{HungAfter: time.Minute}) // A busy machine must not move reads.
	g.steady(t, 4)
	east, west := messages.TagSet{"dc": "east"}, messages.TagSet{"dc": "west"}

	only := func(what string, sets []messages.TagSet, members ...int) {
		t.Helper()
		began := time.Now()
		crowd := g.crowd(t, 8, patience, tagged(sets...))
		crowd.more(t, 500)
		crowd.mustBeFine(t)
		served := byHost(crowd.since(began))
		for i, m := range c.set.Members() {
			if n := served[m.Host()]; (n > 0) != slices.Contains(members, i) {
				t.Errorf("%s: member %d has served %d reads", what, i, n)
			}
		}
	}
	only("one member has the tags, beside the primary", []messages.TagSet{east, {}}, 1)
	only("two have them", []messages.TagSet{west}, 2, 3)
	only("nobody has the first set's", []messages.TagSet{{"dc": "north"}, west}, 2, 3)
	only("nobody has any", []messages.TagSet{{"dc": "north"}}, 0)

	// Under load, a member that has them is lost, and back.
	crowd := g.crowd(t, 8, patience, tagged(east, messages.TagSet{"dc": "west"}))
	crowd.moreAt(t, c.host(1), 100)
	c.set.Member(1).Kill()
	crowd.moreAt(t, c.host(2), 100)
	if err := c.set.Member(1).Restart(); err != nil {
		t.Fatal(err)
	}
	crowd.moreAt(t, c.host(1), 100)
	crowd.mustBeFine(t)

	// Where the primary may not stand in, they wait up to the deadline, and the error says for what.
	m := g.point(1)
	m.From, m.Tags, m.Deadline = messages.FromSecondariesOnly, []messages.TagSet{{"dc": "north"}}, time.Now().Add(100*time.Millisecond)
	if rep := g.read(t, m); !errors.Is(rep.Err, messages.ErrNoLiveHost) || !strings.Contains(rep.Err.Error(), "{dc: north}") {
		t.Errorf("a read that nobody may serve got %v", rep.Err)
	}
}

func TestHedgesCutOffTheSlowReadsOfAHostAndAreFew(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member that is slow now and then", primaryFirst(4))
	c.seed(t, "us")
	g := c.play(t, app.Config{Hedge: true, NoBatch: true, Policy: app.RoundRobin})
	g.steady(t, 4)
	slow := c.set.Member(2).Delay(replset.Target{Commands: []string{"find"}, AppName: g.name, Share: 0.02, Seed: 1},
		func(*rand.Rand) time.Duration { return time.Second })
	crowd := g.crowd(t, 4, patience, nil)
	eventually(t, "hedges have won", func() bool { return g.Stat().Reads.HedgesWon >= 5 })
	slow.End()
	crowd.mustBeFine(t)
	st := g.Stat().Reads
	if most := float64(st.Reads)*0.05 + 10 + 1; float64(st.Hedges) > most {
		t.Errorf("%d hedges for %d reads", st.Hedges, st.Reads)
	}
	// All copies of a read together are answered once.
	if n := int64(crowd.count()); st.Reads != n {
		t.Errorf("%d replies to %d reads", n, st.Reads)
	}
	if struck := slow.Struck(); struck == 0 {
		t.Error("no read was slow")
	}
}
