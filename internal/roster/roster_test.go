package roster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// set is a roster and the time of a test.
type set struct {
	t *testing.T
	*Roster
	now time.Time
}

func of(t *testing.T, seeds string) *set {
	return &set{t, New(Config{Seeds: strings.Fields(seeds)}), time.Unix(1_000_000, 0)}
}

func term(n byte) bson.ObjectID { return bson.ObjectID{0: 0x7f, 11: n} }

// hello is what a member says that has a config of that version, with those hosts.
func hello(kind mongoconn.Kind, me string, election byte, version uint32, hosts string) mongoconn.Hello {
	h := mongoconn.Hello{Kind: kind, Me: me, SetName: "rs0", SetVersion: version, Hosts: strings.Fields(hosts), MaxWireVersion: 21}
	if kind == mongoconn.Primary {
		h.ElectionID = term(election)
	}
	return h
}

func (s *set) primary(me string, election byte, version uint32, hosts string) {
	s.t.Helper()
	s.hear(hello(mongoconn.Primary, me, election, version, hosts))
}

func (s *set) secondary(me string, version uint32, hosts string) {
	s.t.Helper()
	s.hear(hello(mongoconn.Secondary, me, 0, version, hosts))
}

// hear checks that Hear says whether the list has changed.
func (s *set) hear(h mongoconn.Hello) {
	s.t.Helper()
	before := s.Hosts()
	if got := s.Hear(h, s.now); got == slices.Equal(before, s.Hosts()) {
		s.t.Fatalf("%v of %s: changed is %v, the list went from %v to %v", h.Kind, h.Me, got, before, s.Hosts())
	}
}

func (s *set) is(want string) {
	s.t.Helper()
	if got := strings.Join(s.Hosts(), " "); got != want {
		s.t.Fatalf("the list is %s, want %s", got, want)
	}
}

// insists lets a primary go on saying the same for longer than the grace.
func (s *set) insists(me string, election byte, version uint32, hosts string) {
	s.t.Helper()
	for range 6 {
		s.primary(me, election, version, hosts)
		s.now = s.now.Add(DefaultGrace / 5)
	}
}

func TestTheNewestPrimaryDecides(t *testing.T) {
	s := of(t, "a b")
	s.is("a b")
	s.primary("a", 1, 1, "a b c")
	s.is("a b c")
	s.insists("a", 1, 2, "a c d")
	s.is("a c d")
	s.insists("c", 2, 2, "a b c") // It comes back.
	s.is("a c b")
}

func TestPassivesAreOnTheListAndArbitersAreNot(t *testing.T) {
	s := of(t, "a")
	h := hello(mongoconn.Primary, "a", 1, 1, "a b")
	h.Passives, h.Arbiters = []string{"p"}, []string{"z"}
	s.hear(h)
	s.is("a b p")
}

func TestAPrimaryThatWasReplacedIsNotHeard(t *testing.T) {
	s := of(t, "a b c")
	s.insists("b", 2, 7, "a b c d")
	s.insists("a", 1, 6, "a b")
	s.insists("a", 1, 9, "a b x") // A later config of its own, which no majority has.
	s.is("a b c d")
	// The same primary with an older config: an answer that was under way.
	s.insists("b", 2, 6, "a b x")
	s.is("a b c d")
}

func TestBeforeMongoDB6TheConfigsVersionComesFirst(t *testing.T) {
	for wire, want := range map[int32]string{13: "a b", 17: "a c"} {
		s := of(t, "a b c")
		for round := range 2 {
			for _, p := range []struct {
				election byte
				version  uint32
				hosts    string
			}{{1, 9, "a b"}, {2, 8, "a c"}} {
				h := hello(mongoconn.Primary, "a", p.election, p.version, p.hosts)
				h.MaxWireVersion = wire
				s.hear(h)
			}
			s.now = s.now.Add(DefaultGrace * time.Duration(1-round))
		}
		s.is(want)
	}
}

func TestASecondaryAddsAndNeverTakesAway(t *testing.T) {
	s := of(t, "a b")
	s.secondary("a", 3, "a c")
	s.is("a b c")
	s.secondary("b", 3, "b d") // Nobody leads: it is as good as the other.
	s.is("a b c d")
	s.secondary("b", 2, "b e") // An older config.
	s.is("a b c d")
	s.now = s.now.Add(time.Hour)
	s.secondary("a", 4, "a")
	s.is("a b c d")
}

func TestNextToAPrimaryOnlyANewerConfigAdds(t *testing.T) {
	s := of(t, "a b")
	s.primary("a", 1, 3, "a b")
	s.secondary("b", 2, "a b x")
	s.secondary("b", 3, "a b x")
	s.is("a b")
	s.secondary("b", 4, "a b d")
	s.is("a b d")
}

func TestWhoIsListedByANewerConfigThanThePrimarysStays(t *testing.T) {
	s := of(t, "a b c")
	s.primary("a", 1, 3, "a b")
	for range 10 { // a is cut off and does not know it; c and b have gone on without it.
		s.secondary("c", 4, "b c d")
		s.primary("a", 1, 3, "a b")
		s.now = s.now.Add(DefaultGrace)
	}
	s.is("a b c d")
	// They are not heard of any more.
	s.now = s.now.Add(DefaultFresh)
	s.insists("a", 1, 3, "a b")
	s.is("a b")
}

func TestAMemberThatDoesNotKnowThatItWasRemovedDoesNotStay(t *testing.T) {
	s := of(t, "a b c")
	for range 10 {
		s.secondary("c", 3, "a b c")
		s.primary("a", 1, 4, "a b")
		s.now = s.now.Add(DefaultGrace / 5)
	}
	s.is("a b")
}

func TestAListMustStandForTheTimeOfGraceToTakeAway(t *testing.T) {
	s := of(t, "a b c")
	s.primary("a", 1, 2, "a b")
	s.now = s.now.Add(DefaultGrace - time.Millisecond)
	s.primary("a", 1, 2, "a b")
	s.is("a b c")
	s.primary("b", 2, 1, "a b c") // It had not got its config to a majority.
	s.now = s.now.Add(DefaultGrace)
	s.primary("b", 2, 2, "a b") // Now it is missing anew.
	s.is("a b c")
	s.now = s.now.Add(DefaultGrace)
	s.primary("b", 2, 2, "a b")
	s.is("a b")
}

func TestWithoutAPrimaryTheListStaysAsItIs(t *testing.T) {
	s := of(t, "a b c")
	s.primary("a", 1, 2, "a b")
	s.now = s.now.Add(time.Hour)
	s.secondary("b", 2, "a b")
	s.is("a b c")
}

func TestWhoSaysNothingOfASetIsNotHeard(t *testing.T) {
	s := of(t, "a b")
	for _, change := range []func(*mongoconn.Hello){
		func(h *mongoconn.Hello) { h.Kind = mongoconn.Unknown },
		func(h *mongoconn.Hello) { h.Kind = mongoconn.Ghost },
		func(h *mongoconn.Hello) { h.Kind = mongoconn.Standalone },
		func(h *mongoconn.Hello) { h.SetName = "" },
		func(h *mongoconn.Hello) { h.SetVersion = 0 },
		func(h *mongoconn.Hello) { h.Hosts = nil },
		func(h *mongoconn.Hello) { h.Hosts = []string{"x"} }, // It does not list itself.
	} {
		h := hello(mongoconn.Primary, "a", 1, 1, "a x")
		change(&h)
		for range 3 {
			s.hear(h)
			s.now = s.now.Add(DefaultGrace)
		}
	}
	s.is("a b")
}

func TestHiddenMembersAndArbitersKnowTheSetTooAndMayAdd(t *testing.T) {
	for _, kind := range []mongoconn.Kind{mongoconn.Hidden, mongoconn.Delayed, mongoconn.Arbiter, mongoconn.Recovering} {
		s := of(t, "h")
		s.hear(hello(kind, "h", 0, 1, "a b"))
		s.is("h a b")
		s.insists("a", 1, 1, "a b") // And are on the list only as long as nobody knows better.
		s.is("a b")
	}
}

func TestAMemberIsOnTheListByTheAddressThatItIsDialledAt(t *testing.T) {
	s := &set{t, New(Config{Seeds: []string{"10.0.0.1:1", "db2:1"}, Address: func(member string) string {
		if member == "db1:1" {
			return "10.0.0.1:1"
		}
		return member
	}}), time.Unix(1_000_000, 0)}
	s.insists("db1:1", 1, 1, "db1:1 db3:1")
	s.is("10.0.0.1:1 db3:1")
}

func TestNoListIsLongerThanTheLimit(t *testing.T) {
	many := func(prefix string, n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint(prefix, i))
		}
		return strings.Join(list, " ")
	}
	s := of(t, "a b")
	s.secondary("a", 1, "a "+many("x", 100))
	if n := len(s.Hosts()); n != Limit {
		t.Errorf("%d hosts", n)
	}
	s.insists("a", 1, 2, "a "+many("y", 100))
	s.primary("a", 1, 2, "a "+many("y", 100))
	s.is("a " + many("y", Limit-1))
	if n := len(s.claims) + len(s.missing); n > 2*Limit {
		t.Errorf("%d notes are kept", n)
	}
}

// A history of elections and changes of the config, and everybody who lives through it or has
// been cut off at some time speaks in any order: in the end, when those of the last config
// are heard, the list is theirs.
func TestWhateverWasSaidBeforeTheListEndsAsTheLastPrimarysConfig(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		names := strings.Fields("a b c d e f g")
		type config struct {
			election byte
			version  uint32
			hosts    []string
		}
		now := config{1, 1, names[:3]}
		history := []config{now}
		for range 1 + rng.IntN(8) {
			next := config{now.election, now.version, slices.Clone(now.hosts)}
			switch rng.IntN(3) {
			case 0:
				next.election++
			case 1:
				next.version++
				if i := slices.IndexFunc(names, func(n string) bool { return !slices.Contains(next.hosts, n) }); i >= 0 {
					next.hosts = append(next.hosts, names[i])
				}
			case 2:
				next.version++
				if len(next.hosts) > 1 {
					next.hosts = slices.Delete(next.hosts, 0, 1)
				}
			}
			now = next
			history = append(history, now)
		}
		s := of(t, "a b c")
		says := func(c config) {
			me := c.hosts[rng.IntN(len(c.hosts))]
			if rng.IntN(2) == 0 {
				s.primary(me, c.election, c.version, strings.Join(c.hosts, " "))
			} else {
				s.secondary(me, c.version, strings.Join(c.hosts, " "))
			}
			s.now = s.now.Add(time.Duration(rng.Int64N(int64(DefaultGrace))))
		}
		for range 100 {
			says(history[rng.IntN(len(history))])
		}
		for range 10 { // The old ones speak on.
			says(history[rng.IntN(len(history))])
			s.primary(now.hosts[0], now.election, now.version, strings.Join(now.hosts, " "))
			s.now = s.now.Add(DefaultGrace / 2)
		}
		got := s.Hosts()
		want := slices.Clone(now.hosts)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: the list is %v, want %v; %+v", seed, got, want, history)
		}
	}
}
