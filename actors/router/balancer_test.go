package router

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fake is a live host that takes no reads.
type fake struct {
	name string
	inc  uint64
	load load.Load
}

func (f *fake) Host() string        { return f.name }
func (f *fake) Incarnation() uint64 { return f.inc }
func (f *fake) Load() *load.Load    { return &f.load }
func (f *fake) Recall()             {}
func (f *fake) Offer(*request.Read, bool) (func(), error) {
	return nil, messages.ErrNotLive
}

// pick is Pick with the host's name, "" for none.
func pick(b *Balancer, from messages.From, allowPrimary bool, tried []uint64, now time.Time) (string, bool) {
	h, fallback, _ := b.Pick(&Want{From: from, Tried: tried}, allowPrimary, now)
	if h == nil {
		return "", fallback
	}
	return h.Host(), fallback
}

// set returns a Balancer over a primary (p) and n secondaries (s0, s1, …), all past their slow start,
// and their loads.
func set(t testing.TB, policy Policy, n int) (*Balancer, map[string]*fake) {
	t.Helper()
	b := NewBalancer(policy, DefaultSlowStart, 1)
	loads := map[string]*fake{}
	join := func(name string, primary bool) {
		loads[name] = &fake{name: name, inc: uint64(len(loads) + 1)}
		b.Join(loads[name], request.Member{Primary: primary}, epoch.Add(-time.Minute))
	}
	join("p", true)
	for i := range n {
		join(fmt.Sprintf("s%d", i), false)
	}
	return b, loads
}

// variation is the coefficient of variation of counts.
func variation(counts map[string]int, n int) float64 {
	var sum, sq float64
	for _, c := range counts {
		sum += float64(c)
	}
	mean := sum / float64(n)
	for _, c := range counts {
		sq += (float64(c) - mean) * (float64(c) - mean)
	}
	sq += float64(n-len(counts)) * mean * mean
	return math.Sqrt(sq/float64(n)) / mean
}

func TestEqualHostsGetEqualShares(t *testing.T) {
	for policy, limit := range map[Policy]float64{Adaptive: 0.10, RoundRobin: 0.001, LeastPending: 0.10, Random: 0.10} {
		for _, callers := range []int{1, 64} {
			b, loads := set(t, policy, 3)
			counts := map[string]int{}
			now := epoch
			var flying []string
			for range 10_000 {
				if len(flying) == callers {
					loads[flying[0]].load.End(command.Point, 400*time.Microsecond, now)
					flying = flying[1:]
				}
				h, fallback := pick(b, messages.FromSecondaries, true, nil, now)
				if h == "p" || fallback {
					t.Fatalf("%v: the primary was picked while secondaries are live", policy)
				}
				loads[h].load.Begin(command.Point, now)
				counts[h]++
				flying = append(flying, h)
				now = now.Add(50 * time.Microsecond)
			}
			if cv := variation(counts, 3); cv > limit {
				t.Errorf("%v, %d callers: coefficient of variation %.3f over %v, want at most %.3f", policy, callers, cv, counts, limit)
			}
		}
	}
}

func TestAdaptiveKeepsAwayFromASlowHost(t *testing.T) {
	b, loads := set(t, Adaptive, 3)
	counts := map[string]int{}
	now := epoch
	for range 3000 {
		h, _ := pick(b, messages.FromSecondaries, true, nil, now)
		counts[h]++
		took := time.Millisecond
		if h == "s1" {
			took = 50 * time.Millisecond
		}
		loads[h].load.Begin(command.Point, now)
		now = now.Add(took)
		loads[h].load.End(command.Point, took, now)
	}
	if counts["s1"] > 300 {
		t.Errorf("the slow host got %d of 3000 reads", counts["s1"])
	}
	if counts["s1"] == 0 {
		t.Error("the slow host is never tried again")
	}
}

func TestAReadNeverGoesBackToAHostItHasTried(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending, Random} {
		b, _ := set(t, policy, 2)
		for range 100 {
			if h, _ := pick(b, messages.FromSecondaries, true, []uint64{2}, epoch); h != "s1" {
				t.Fatalf("%v: picked %q after s0 was tried", policy, h)
			}
			if h, fallback := pick(b, messages.FromSecondaries, true, []uint64{2, 3}, epoch); h != "p" || !fallback {
				t.Fatalf("%v: picked %q (fallback %v) after all secondaries were tried", policy, h, fallback)
			}
			if h, _ := pick(b, messages.FromAll, true, []uint64{1, 2, 3}, epoch); h != "" {
				t.Fatalf("%v: picked %q after all were tried", policy, h)
			}
		}
	}
}

func TestEveryReadGoesOnlyWhereItMay(t *testing.T) {
	full, _ := set(t, Adaptive, 2)
	alone, _ := set(t, Adaptive, 0)
	headless, hosts := set(t, Adaptive, 2)
	headless.Leave(hosts["p"])
	for _, c := range []struct {
		b            *Balancer
		from         messages.From
		allowPrimary bool
		primary      bool // the expected host is the primary
		none         bool
		fallback     bool
	}{
		{full, messages.FromDefault, true, false, false, false},
		{full, messages.FromPrimary, true, true, false, false},
		{full, messages.FromPrimaryPreferred, true, true, false, false},
		{alone, messages.FromSecondaries, true, true, false, true},
		{alone, messages.FromSecondaries, false, false, true, false},
		{alone, messages.FromSecondariesOnly, true, false, true, false},
		{alone, messages.FromAll, true, true, false, false},
		{headless, messages.FromPrimary, true, false, true, false},
		{headless, messages.FromPrimaryPreferred, true, false, false, true},
		{full, messages.From(99), true, false, true, false},
	} {
		for range 50 {
			h, fallback := pick(c.b, c.from, c.allowPrimary, nil, epoch)
			if (h == "") != c.none || h != "" && (h == "p") != c.primary || fallback != c.fallback {
				t.Fatalf("from %v, primary allowed %v: picked %q, fallback %v", c.from, c.allowPrimary, h, fallback)
			}
		}
	}
}

func TestAReturningHostTakesItsShareGraduallyAndNoMoreThanThat(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin} {
		b, loads := set(t, policy, 3)
		now := epoch
		run := func(reads int, step time.Duration) float64 {
			got := 0
			for range reads {
				h, _ := pick(b, messages.FromSecondaries, true, nil, now)
				loads[h].load.Begin(command.Point, now)
				loads[h].load.End(command.Point, 400*time.Microsecond, now)
				if h == "s1" {
					got++
				}
				now = now.Add(step)
			}
			return float64(got) / float64(reads)
		}
		run(3000, 100*time.Microsecond)
		b.Leave(loads["s1"])
		run(3000, 100*time.Microsecond)
		b.Join(loads["s1"], request.Member{Primary: false}, now)
		if share := run(300, 100*time.Microsecond); share > 0.15 {
			t.Errorf("%v: share %.2f in the first 30 ms back, want a little", policy, share)
		}
		run(2700, 100*time.Microsecond) // to the end of the slow start
		if share := run(3000, 100*time.Microsecond); share < 0.30 || share > 0.37 {
			t.Errorf("%v: share %.2f after the slow start, want a third", policy, share)
		}
	}
}

func TestAPrimaryThatStepsDownTakesNoMoreThanItsShare(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending} {
		b, hosts := set(t, policy, 3)
		now := epoch
		for range 3000 {
			now = now.Add(time.Millisecond)
			pick(b, messages.FromSecondaries, true, nil, now)
		}
		b.Join(hosts["p"], request.Member{Primary: false}, now)
		b.Join(hosts["s0"], request.Member{Primary: true}, now)
		counts := map[string]int{}
		for range 300 {
			now = now.Add(time.Millisecond)
			name, _ := pick(b, messages.FromSecondaries, true, nil, now)
			counts[name]++
		}
		if counts["s0"] > 0 || counts["p"] < 80 || counts["p"] > 120 {
			t.Errorf("%v: after the step-down 300 reads are spread %v; want 100 for each of p, s1 and s2", policy, counts)
		}
	}
}

func TestHostsThatJoinAtTheStartAreNotSlowStarted(t *testing.T) {
	b := NewBalancer(Adaptive, time.Second, 1)
	b.Join(&fake{name: "s0", inc: 1}, request.Member{Primary: false}, epoch)
	b.Join(&fake{name: "s1", inc: 2}, request.Member{Primary: false}, epoch.Add(5*time.Millisecond))
	b.Join(&fake{name: "s1", inc: 4}, request.Member{Primary: false}, epoch.Add(10*time.Millisecond)) // back already
	b.Join(&fake{name: "s2", inc: 3}, request.Member{Primary: false}, epoch.Add(time.Minute))
	for i, want := range []bool{true, false, false} {
		if b.hosts[i].ramped != want {
			t.Errorf("s%d has its full share at once: %v, want %v", i, b.hosts[i].ramped, want)
		}
	}
}

func TestNeverMoreThanHalfOfTheHostsNorTheLastIsEjected(t *testing.T) {
	for secondaries, want := range map[int]int{0: 0, 1: 1, 2: 1, 3: 2, 4: 2} {
		b, hosts := set(t, Adaptive, secondaries)
		got := 0
		for _, h := range hosts {
			if b.Eject(h, false) {
				got++
			}
		}
		if got != want {
			t.Errorf("of %d hosts %d were ejected, want %d", secondaries+1, got, want)
		}
	}
}

// Whatever comes and goes, in any order: a walk over many states, each held against what the floor says.
func TestTheFloorHoldsWhateverComesAndGoes(t *testing.T) {
	for members := 1; members <= 6; members++ {
		rng := rand.New(rand.NewPCG(1, uint64(members)))
		b := NewBalancer(Adaptive, DefaultSlowStart, 1)
		var live, out []*fake // As it should be; out in the order of the ejections.
		without := func(list []*fake, f *fake) []*fake {
			return slices.DeleteFunc(slices.Clone(list), func(g *fake) bool { return g == f })
		}
		inc, recalls := uint64(0), 0
		for range 5_000 {
			known := append(slices.Clone(live), out...)
			if len(known) < members && rng.IntN(3) == 0 {
				inc++
				f := &fake{name: fmt.Sprint("h", inc), inc: inc}
				b.Join(f, request.Member{}, epoch)
				live = append(live, f)
				continue
			}
			if len(known) == 0 {
				continue
			}
			f := known[rng.IntN(len(known))]
			switch isLive := slices.Contains(live, f); rng.IntN(4) {
			case 0, 1:
				may := isLive && 2*(len(out)+1) <= len(known)
				if got := b.Eject(f, false); got != may {
					t.Fatalf("%d live, %d out: ejected %v, want %v", len(live), len(out), got, may)
				}
				if may {
					live, out = without(live, f), append(out, f)
				}
			case 2:
				b.Join(f, request.Member{}, epoch)
				if !isLive {
					live, out = append(live, f), without(out, f)
				}
			case 3:
				was, needed := b.Leave(f)
				live, out = without(live, f), without(out, f)
				if was != isLive {
					t.Fatalf("it was live: %v, want %v", was, isLive)
				}
				if n := max(0, len(out)-(len(live)+len(out))/2); len(needed) != n {
					t.Fatalf("%d live, %d out: %d are recalled, want %d", len(live), len(out), len(needed), n)
				}
				for i, target := range needed {
					if target.(outcast).Target != request.Target(out[0]) {
						t.Errorf("number %d that is recalled is not the one that is out for longest", i)
					}
					b.Join(target, request.Member{}, epoch)
					live, out = append(live, out[0]), out[1:]
					recalls++
				}
			}
			if p, s := b.Counts(nil); p+s != len(live) || len(live) == 0 && len(out) > 0 || len(out) > len(live) {
				t.Fatalf("%d live and %d out, and it has %d", len(live), len(out), p+s)
			}
		}
		if members > 1 && recalls == 0 {
			t.Error("none was ever recalled")
		}
	}
}

// The primary may be live beside it: it is not for all reads, and the others would all be its.
func TestTheLastSecondaryIsNotEjectedForBeingSlow(t *testing.T) {
	b, hosts := set(t, Adaptive, 2)
	if !b.Eject(hosts["s0"], true) {
		t.Fatal("one of two is not ejected")
	}
	b.Leave(hosts["p"])
	if b.Eject(hosts["s1"], true) {
		t.Error("the last is ejected")
	}
	b.Join(hosts["p"], request.Member{Primary: true}, epoch)
	if live, needed := b.Leave(hosts["s1"]); !live || len(needed) != 1 || needed[0].Host() != "s0" {
		t.Errorf("%d are needed when the last secondary is lost", len(needed))
	}
	b.Join(hosts["s1"], request.Member{}, epoch)
	b.Join(hosts["s0"], request.Member{}, epoch)
	b.Leave(hosts["s0"])
	if !b.Eject(hosts["s1"], false) {
		t.Error("one that does not answer stays, because it is the last secondary")
	}
}

// One that was cut off takes itself for the primary for some seconds more.
func TestOfTwoPrimariesTheOneOfTheLaterElectionIsReadFrom(t *testing.T) {
	b, hosts := set(t, Adaptive, 2)
	election := func(n byte) request.Member { return request.Member{Primary: true, Election: [12]byte{11: n}} }
	reads := func(from messages.From) map[string]bool {
		got := map[string]bool{}
		for range 200 {
			host, _ := pick(b, from, true, nil, epoch)
			got[host] = true
		}
		return got
	}
	b.Join(hosts["p"], election(7), epoch)
	b.Join(hosts["s0"], election(8), epoch)
	if got := reads(messages.FromPrimary); !maps.Equal(got, map[string]bool{"s0": true}) {
		t.Errorf("the primary's reads go to %v", got)
	}
	if got := reads(messages.FromSecondaries); !maps.Equal(got, map[string]bool{"s1": true}) {
		t.Errorf("the secondaries' reads go to %v", got)
	}
	if got := reads(messages.FromAll); got["p"] {
		t.Errorf("anybody's reads go to %v", got)
	}
	if primaries, secondaries := b.Counts(nil); primaries != 1 || secondaries != 1 {
		t.Errorf("%d primaries and %d secondaries", primaries, secondaries)
	}
	b.Join(hosts["p"], request.Member{}, epoch)
	if got := reads(messages.FromSecondaries); !got["p"] || !got["s1"] || got["s0"] {
		t.Errorf("after it has stepped down, the secondaries' reads go to %v", got)
	}
	b.Join(hosts["p"], election(9), epoch)
	b.Leave(hosts["p"])
	if got := reads(messages.FromPrimary); !got["s0"] {
		t.Errorf("with the other one gone, the primary's reads go to %v", got)
	}
}

func TestAnEjectedHostComesBackWithJoinAndCountsNoMoreWhenItLeaves(t *testing.T) {
	b, hosts := set(t, Adaptive, 2)
	if !b.Eject(hosts["s0"], false) || b.Live(hosts["s0"].inc) {
		t.Fatal("s0 is not ejected")
	}
	if b.Eject(hosts["s1"], false) {
		t.Fatal("two of three hosts are ejected")
	}
	b.Leave(hosts["s0"]) // lost while ejected
	if !b.Eject(hosts["s1"], false) {
		t.Fatal("a host that is gone still counts as ejected")
	}
	b.Join(hosts["s1"], request.Member{Primary: false}, epoch)
	if !b.Live(hosts["s1"].inc) {
		t.Fatal("s1 is not back")
	}
}

func TestALateLeaveOfAnEarlierIncarnationDoesNotTakeTheHostOut(t *testing.T) {
	b, hosts := set(t, Adaptive, 2)
	again := &fake{name: "s0", inc: 99}
	b.Join(again, request.Member{Primary: false}, epoch)
	if live, _ := b.Leave(hosts["s0"]); live || !b.Live(99) {
		t.Error("the new incarnation is out")
	}
}

func TestAPickAllocatesNothing(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending, Random} {
		b, _ := set(t, policy, 3)
		if n := testing.AllocsPerRun(1000, func() { b.Pick(&Want{From: messages.FromSecondaries}, true, epoch) }); n != 0 {
			t.Errorf("%v: %v allocations", policy, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending, Random} {
		b.Run(policy.String(), func(b *testing.B) {
			bal, _ := set(b, policy, 3)
			b.ReportAllocs()
			now := epoch
			for b.Loop() {
				now = now.Add(time.Microsecond)
				bal.Pick(&Want{From: messages.FromSecondaries}, true, now)
			}
		})
	}
}

func TestReadsGoWhereTheirTagsAre(t *testing.T) {
	b := NewBalancer(Random, 0, 1)
	for i, h := range []struct {
		name    string
		primary bool
		tags    map[string]string
	}{
		{"p", true, map[string]string{"dc": "west"}},
		{"east", false, map[string]string{"dc": "east", "disk": "ssd"}},
		{"west", false, map[string]string{"dc": "west"}},
		{"plain", false, nil},
	} {
		b.Join(&fake{name: h.name, inc: uint64(i + 1)}, request.Member{Primary: h.primary, Tags: h.tags}, epoch)
	}
	east, west, ssd, north := messages.TagSet{"dc": "east"}, messages.TagSet{"dc": "west"}, messages.TagSet{"disk": "ssd", "dc": "east"}, messages.TagSet{"dc": "north"}
	for _, c := range []struct {
		from  messages.From
		tags  []messages.TagSet
		tried []uint64
		want  string // names of all that are picked, in the order of the alphabet
	}{
		{messages.FromSecondaries, nil, nil, "east plain west"},
		{messages.FromSecondaries, []messages.TagSet{{}}, nil, "east plain west"},
		{messages.FromSecondaries, []messages.TagSet{east}, nil, "east"},
		{messages.FromSecondaries, []messages.TagSet{ssd}, nil, "east"},
		{messages.FromSecondaries, []messages.TagSet{north, west}, nil, "west"},
		{messages.FromSecondaries, []messages.TagSet{east, {}}, []uint64{2}, "plain west"}, // the first set's only member has had it
		{messages.FromSecondaries, []messages.TagSet{north}, nil, "p"},                     // the primary needs none
		{messages.FromSecondariesOnly, []messages.TagSet{north}, nil, ""},
		{messages.FromAll, []messages.TagSet{west}, nil, "p west"},
		{messages.FromAll, []messages.TagSet{north}, nil, ""},
		{messages.FromPrimary, []messages.TagSet{east}, nil, "p"},
		{messages.FromPrimaryPreferred, []messages.TagSet{east}, nil, "p"},
		{messages.FromPrimaryPreferred, []messages.TagSet{east}, []uint64{1}, "east"},
	} {
		seen := map[string]bool{}
		for range 200 {
			if h, _, _ := b.Pick(&Want{From: c.from, Tags: c.tags, Tried: c.tried}, true, epoch); h != nil {
				seen[h.Host()] = true
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != c.want {
			t.Errorf("%v with %v after %v: picked %q, want %q", c.from, c.tags, c.tried, got, c.want)
		}
	}
	if primaries, secondaries := b.Counts([]messages.TagSet{west, ssd}); primaries != 1 || secondaries != 2 {
		t.Errorf("%d primaries and %d secondaries have the tags of one of them", primaries, secondaries)
	}
}

func TestTagsThatChangeCountFromThenOn(t *testing.T) {
	b := NewBalancer(RoundRobin, 0, 1)
	h := &fake{name: "a", inc: 1}
	b.Join(h, request.Member{}, epoch)
	w := &Want{From: messages.FromSecondaries, Tags: []messages.TagSet{{"dc": "east"}}}
	if got, _, _ := b.Pick(w, false, epoch); got != nil {
		t.Fatal("it was picked without the tags")
	}
	b.Join(h, request.Member{Tags: map[string]string{"dc": "east"}}, epoch)
	if got, _, _ := b.Pick(w, false, epoch); got == nil {
		t.Fatal("it was not picked with the tags")
	}
}

func TestCursorsAreFoundAtHostsThatAreOutAndConnected(t *testing.T) {
	b, hosts := set(t, Adaptive, 3)
	slow, behind := hosts["s0"], hosts["s1"]
	if !b.Eject(slow, true) {
		t.Fatal("it is not ejected")
	}
	if live, _ := b.Pause(behind); !live {
		t.Fatal("it was not live")
	}
	for _, h := range []*fake{slow, behind} {
		if b.Live(h.inc) {
			t.Errorf("%s is live", h.name)
		}
		if got := b.Find(h.name, h.inc); got != request.Target(h) {
			t.Errorf("%s: found %v", h.name, got)
		}
		if got := b.Find(h.name, h.inc+100); got != nil {
			t.Errorf("%s: of another incarnation found %v", h.name, got)
		}
	}
	b.Join(behind, request.Member{}, epoch)
	b.Leave(behind)
	b.Leave(slow)
	for _, h := range []*fake{slow, behind} {
		if got := b.Find(h.name, h.inc); got != nil {
			t.Errorf("%s is lost, and found", h.name)
		}
	}
}

// callers is a simulation of so many of them that read from hosts as quick as each says; a negative time is that of
// a failure, zero is for ever. It returns how many reads each host got.
func callers(b *Balancer, hosts map[string]*fake, n int, from time.Time, d time.Duration, takes func(host string) time.Duration) map[string]int {
	type flight struct {
		host  string
		began time.Time
		ends  time.Time
		fails bool
	}
	var flying []flight
	got := map[string]int{}
	for now := from; now.Before(from.Add(d)); now = now.Add(100 * time.Microsecond) {
		flying = slices.DeleteFunc(flying, func(f flight) bool {
			if f.ends.After(now) {
				return false
			}
			if l := &hosts[f.host].load; f.fails {
				l.Fail(command.Point, f.ends.Sub(f.began), now)
			} else {
				l.End(command.Point, f.ends.Sub(f.began), now)
			}
			return true
		})
		for len(flying) < n {
			h, _ := pick(b, messages.FromSecondaries, true, nil, now)
			got[h]++
			hosts[h].load.Begin(command.Point, now)
			f := flight{h, now, now, false}
			switch took := takes(h); {
			case took < 0:
				f.ends, f.fails = now.Add(-took), true
			case took == 0:
				f.ends = now.Add(time.Hour)
			default:
				f.ends = now.Add(took)
			}
			flying = append(flying, f)
		}
	}
	for _, f := range flying {
		hosts[f.host].load.Cancel(command.Point, from.Add(d))
	}
	return got
}

func TestAHostThatFailsEveryReadIsTriedNowAndThenAndIsBackWithTheFirstThatSucceeds(t *testing.T) {
	quick := func(string) time.Duration { return 400 * time.Microsecond }
	for name, fails := range map[string]time.Duration{"at once": -100 * time.Microsecond, "after a while": -50 * time.Millisecond} {
		for _, n := range []int{1, 16} {
			b, hosts := set(t, Adaptive, 3)
			now := epoch
			callers(b, hosts, n, now, time.Second/2, quick)
			now = now.Add(time.Second / 2)
			got := callers(b, hosts, n, now, 5*time.Second, func(h string) time.Duration {
				if h == "s1" {
					return fails
				}
				return quick(h)
			})
			// What retries there are besides those that the reads earn.
			if got["s1"] > 50 || got["s1"] < 3 {
				t.Errorf("%s, %d callers: %d reads of %v went to it in 5 s", name, n, got["s1"], got)
			}
			now = now.Add(5 * time.Second)
			callers(b, hosts, n, now, 3*time.Second, quick)
			now = now.Add(3 * time.Second)
			got = callers(b, hosts, n, now, time.Second/2, quick)
			if sum := got["s0"] + got["s1"] + got["s2"]; got["s1"]*4 < sum {
				t.Errorf("%s, %d callers: it gets %v once it is well", name, n, got)
			}
		}
	}
}

func TestAHostThatAnswersNothingDoesNotLookQuickerTheLongerItIsSilent(t *testing.T) {
	b, hosts := set(t, Adaptive, 3)
	quick := func(string) time.Duration { return 400 * time.Microsecond }
	callers(b, hosts, 8, epoch, time.Second, quick)
	// Whether it was idle before or not.
	for i, pause := range []time.Duration{0, time.Minute} {
		got := callers(b, hosts, 24, epoch.Add(time.Second+pause), 2*time.Second, func(h string) time.Duration {
			if h == "s1" {
				return 0
			}
			return quick(h)
		})
		if got["s1"] > 20 || got["s0"] < 5000 || got["s2"] < 5000 {
			t.Errorf("%d: of 24 callers %d wait at the host that answers none: %v", i, got["s1"], got)
		}
	}
}

func TestAReadThatMustSeeAWriteGoesToAHostThatIsNotKnownToBeBehind(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending, Random} {
		b, hosts := set(t, policy, 3)
		at := bson.Timestamp{T: uint32(epoch.Unix()), I: 1}
		count := func() map[string]int {
			got := map[string]int{}
			for i := range 300 {
				h, _, another := b.Pick(&Want{From: messages.FromSecondaries, After: at}, true, epoch.Add(time.Duration(i)*time.Millisecond))
				if !another {
					t.Fatalf("%v: there is no other host", policy)
				}
				got[h.Host()]++
			}
			return got
		}
		if got := count(); len(got) != 3 {
			t.Errorf("%v: nothing is known of any, and reads go to %v", policy, got)
		}
		hosts["s0"].load.Written(epoch)
		hosts["s1"].load.Written(epoch.Add(-5 * time.Second))
		hosts["s2"].load.Written(epoch.Add(-time.Second)) // A heartbeat ago.
		if got := count(); len(got) != 2 || got["s1"] > 0 {
			t.Errorf("%v: s1 is behind, and reads go to %v", policy, got)
		}
		hosts["s0"].load.Written(epoch.Add(-5 * time.Second))
		hosts["s2"].load.Written(epoch.Add(-5 * time.Second))
		if got := count(); len(got) != 3 {
			t.Errorf("%v: all are behind, and reads go to %v", policy, got)
		}
	}
}
