package evenkeel_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/replset"
)

// Not parallel with others: it is about equal hosts, and a busy machine makes them
// unequal.
func TestEqualHostsGetEqualShares(t *testing.T) {
	if testing.Short() {
		t.Skip("counts 140,000 reads, alone on the machine")
	}
	c := anySet(t, replset.Options{Members: 4})
	c.seed(t, "us")
	for _, tt := range []struct {
		policy  app.Policy
		callers int
		most    float64
		// Where reads share round trips, the servers count those.
		noBatch bool
	}{
		{app.RoundRobin, 1, 0.03, false}, {app.RoundRobin, 64, 0.03, true}, {app.RoundRobin, 64, 0.03, false},
		{app.Adaptive, 1, 0.10, false}, {app.Adaptive, 64, 0.10, true}, {app.Adaptive, 64, 0.10, false},
	} {
		callers := tt.callers
		t.Run(fmt.Sprintf("%v/%d callers/alone %v", tt.policy, callers, tt.noBatch), func(t *testing.T) {
			g := c.play(t, app.Config{Policy: tt.policy, NoBatch: tt.noBatch})
			eventually(t, "two secondaries are live", func() bool { return len(g.events.live()) >= 3 })
			if c.set != nil {
				g.steady(t, 4)
			}
			// As many round trips in each case; those that are shared are for several reads.
			reads := 10_000
			if callers > 1 && !tt.noBatch {
				reads = 50_000
			}
			var wg sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(reads))
			var mu sync.Mutex
			shares := map[string]float64{}
			began := time.Now()
			for range callers {
				wg.Go(func() {
					own := map[string]float64{}
					for left.Add(-1) >= 0 {
						rep := g.read(t, g.point(int(left.Load()+players)%players))
						if rep.Err != nil {
							t.Errorf("a read failed: %v", rep.Err)
							return
						}
						own[rep.Host]++
					}
					mu.Lock()
					defer mu.Unlock()
					for h, n := range own {
						shares[h] += n
					}
				})
			}
			wg.Wait()
			took := time.Since(began)
			var counts []float64
			if c.set == nil || callers > 1 && !tt.noBatch {
				for _, n := range shares {
					counts = append(counts, n)
				}
			} else { // What the servers say counts more.
				executed := g.reads()
				for i, m := range c.set.Members() {
					if !m.IsPrimary() {
						counts = append(counts, float64(executed[i]))
					} else if executed[i] != 0 {
						t.Errorf("the primary has executed %d reads", executed[i])
					}
				}
			}
			if cv := spread(counts); cv > tt.most {
				t.Errorf("shares %v: coefficient of variation %.3f, more than %.2f", counts, cv, tt.most)
			} else {
				t.Logf("coefficient of variation %.4f; %v a read", cv, took/time.Duration(reads))
			}
		})
	}
}

// The ancestor's bug: a host that was away for maintenance never got a read again.
func TestAHostBackFromMaintenanceGetsItsShareBack(t *testing.T) {
	for _, tt := range []struct {
		name     string
		away     func(*replset.Member) error
		back     func(*replset.Member) error
		standsBy bool
	}{
		{"maintenance mode", func(m *replset.Member) error { return m.SetMaintenance(true) }, func(m *replset.Member) error { return m.SetMaintenance(false) }, true},
		{"killed and restarted", func(m *replset.Member) error { m.Kill(); return nil }, (*replset.Member).Restart, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ownSet(t, "maintenance mode, or kill -9, of a member", primaryFirst(4))
			c.seed(t, "us")
			g := c.play(t, app.Config{})
			g.steady(t, 4)
			crowd := g.crowd(t, 8, 2*time.Second, nil)
			crowd.more(t, 300)

			m := c.set.Member(3)
			if err := tt.away(m); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the host is out", func() bool { return !g.events.isLive(m.Host()) })
			away := time.Now()
			crowd.more(t, 1000)
			if n := byHost(crowd.since(away))[m.Host()]; n > 8 {
				t.Errorf("%d reads were answered by the host that is away", n) // Up to 8 were on their way.
			}

			if err := tt.back(m); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is a secondary again", m.IsSecondary)
			back := time.Now()
			crowd.moreAt(t, m.Host(), 1)
			first := time.Since(back)
			// 90 % of its fair share, which is a third, over 300 reads in a row.
			const window = 300
			var full time.Duration
			eventually(t, "it has its share back", func() bool {
				reads := crowd.since(back)
				for i := window; i <= len(reads); i += window / 10 {
					if byHost(reads[i-window : i])[m.Host()] >= window*9/30 {
						full = reads[i-1].at.Sub(back)
						return true
					}
				}
				return false
			})
			crowd.mustBeFine(t)
			t.Logf("first read after %v, 90 %% of its share after %v", first, full) // BenchmarkReturn measures it.
		})
	}
}
