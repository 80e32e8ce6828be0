package router

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/messages"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// set returns a Balancer over a primary (p) and n secondaries (s0, s1, …), all past their slow start,
// and their loads.
func set(t testing.TB, policy Policy, n int) (*Balancer, map[string]*load.Load) {
	t.Helper()
	b := NewBalancer(policy, DefaultSlowStart, 1)
	loads := map[string]*load.Load{}
	join := func(name string, primary bool) {
		loads[name] = new(load.Load)
		b.Join(name, primary, loads[name], epoch.Add(-time.Minute))
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
					loads[flying[0]].End(400*time.Microsecond, now)
					flying = flying[1:]
				}
				h, fallback := b.Pick(messages.FromSecondaries, true, nil, now)
				if h == "p" || fallback {
					t.Fatalf("%v: the primary was picked while secondaries are live", policy)
				}
				loads[h].Begin()
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
		h, _ := b.Pick(messages.FromSecondaries, true, nil, now)
		counts[h]++
		took := time.Millisecond
		if h == "s1" {
			took = 50 * time.Millisecond
		}
		loads[h].Begin()
		now = now.Add(took)
		loads[h].End(took, now)
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
			if h, _ := b.Pick(messages.FromSecondaries, true, []string{"s0"}, epoch); h != "s1" {
				t.Fatalf("%v: picked %q after s0 was tried", policy, h)
			}
			if h, fallback := b.Pick(messages.FromSecondaries, true, []string{"s0", "s1"}, epoch); h != "p" || !fallback {
				t.Fatalf("%v: picked %q (fallback %v) after all secondaries were tried", policy, h, fallback)
			}
			if h, _ := b.Pick(messages.FromAll, true, []string{"s0", "s1", "p"}, epoch); h != "" {
				t.Fatalf("%v: picked %q after all were tried", policy, h)
			}
		}
	}
}

func TestEveryReadGoesOnlyWhereItMay(t *testing.T) {
	full, _ := set(t, Adaptive, 2)
	alone, _ := set(t, Adaptive, 0)
	headless, _ := set(t, Adaptive, 2)
	headless.Leave("p")
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
			h, fallback := c.b.Pick(c.from, c.allowPrimary, nil, epoch)
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
				h, _ := b.Pick(messages.FromSecondaries, true, nil, now)
				loads[h].Begin()
				loads[h].End(400*time.Microsecond, now)
				if h == "s1" {
					got++
				}
				now = now.Add(step)
			}
			return float64(got) / float64(reads)
		}
		run(3000, 100*time.Microsecond)
		b.Leave("s1")
		run(3000, 100*time.Microsecond)
		b.Join("s1", false, loads["s1"], now)
		if share := run(300, 100*time.Microsecond); share > 0.15 {
			t.Errorf("%v: share %.2f in the first 30 ms back, want a little", policy, share)
		}
		run(2700, 100*time.Microsecond) // to the end of the slow start
		if share := run(3000, 100*time.Microsecond); share < 0.30 || share > 0.37 {
			t.Errorf("%v: share %.2f after the slow start, want a third", policy, share)
		}
	}
}

func TestTheFirstHostIsNotSlowStarted(t *testing.T) {
	b := NewBalancer(Adaptive, time.Hour, 1)
	b.Join("s0", false, new(load.Load), epoch)
	b.Join("s1", false, new(load.Load), epoch)
	if !b.hosts[0].ramped || b.hosts[1].ramped {
		t.Errorf("ramped: %v, %v; want true, false", b.hosts[0].ramped, b.hosts[1].ramped)
	}
}

func TestAPickAllocatesNothing(t *testing.T) {
	for _, policy := range []Policy{Adaptive, RoundRobin, LeastPending, Random} {
		b, _ := set(t, policy, 3)
		if n := testing.AllocsPerRun(1000, func() { b.Pick(messages.FromSecondaries, true, nil, epoch) }); n != 0 {
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
				bal.Pick(messages.FromSecondaries, true, nil, now)
			}
		})
	}
}
