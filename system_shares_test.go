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
// unequal. Where it is seen to have held up one of them, which Adaptive then keeps away from for a while, they
// are measured again.
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
			for range 5 {
				counts, heldUp, each := equalShares(t, c, app.Config{Policy: tt.policy, NoBatch: tt.noBatch, HungAfter: patience, ConnectTimeout: patience}, callers)
				cv := spread(counts)
				switch {
				case cv <= tt.most:
					t.Logf("coefficient of variation %.4f; %v a read", cv, each)
					return
				case tt.policy != app.Adaptive || !heldUp:
					t.Fatalf("shares %v: coefficient of variation %.3f, more than %.2f", counts, cv, tt.most)
				}
				t.Logf("shares %v: coefficient of variation %.3f; the host with the least was held up, once more", counts, cv)
			}
			t.Error("five times in a row")
		})
	}
}

// equalShares counts the reads of each secondary. With one caller, heldUp says that the one with the least of them
// took longer than a millisecond, within which Adaptive takes hosts for equal, for most of five reads in a row.
func equalShares(t *testing.T, c *cluster, cfg app.Config, callers int) (counts []float64, heldUp bool, each time.Duration) {
	t.Helper()
	g := c.play(t, cfg)
	defer g.stop(t)
	eventually(t, "two secondaries are live", func() bool { return len(g.events.live()) >= 3 })
	if c.set != nil {
		g.steady(t, 4)
	}
	// As many round trips in each case; those that are shared are for several reads.
	reads, shared := 10_000, callers > 1 && !cfg.NoBatch
	if shared {
		reads = 50_000
	}
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(reads))
	var mu sync.Mutex
	shares, held := map[string]float64{}, map[string]bool{}
	began := time.Now()
	for range callers {
		wg.Go(func() {
			own, slow := map[string]float64{}, map[string][5]bool{}
			for left.Add(-1) >= 0 {
				asked := time.Now()
				rep := g.read(t, g.point(int(left.Load()+players)%players))
				if rep.Err != nil {
					t.Errorf("a read failed: %v", rep.Err)
					return
				}
				last := slow[rep.Host]
				last[int(own[rep.Host])%len(last)] = time.Since(asked) > time.Millisecond
				slow[rep.Host] = last
				own[rep.Host]++
				if callers == 1 && trues(last[:]) > len(last)/2 {
					held[rep.Host] = true
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for h, n := range own {
				shares[h] += n
			}
		})
	}
	wg.Wait()
	each = time.Since(began) / time.Duration(reads)
	least := ""
	for h, n := range shares {
		if least == "" || n < shares[least] {
			least = h
		}
	}
	heldUp = held[least]
	if c.set == nil || shared {
		for _, n := range shares {
			counts = append(counts, n)
		}
		return counts, heldUp, each
	}
	executed := g.reads() // What the servers say counts more.
	for i, m := range c.set.Members() {
		if !m.IsPrimary() {
			counts = append(counts, float64(executed[i]))
		} else if executed[i] != 0 {
			t.Errorf("the primary has executed %d reads", executed[i])
		}
	}
	return counts, heldUp, each
}

func trues(list []bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
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
			crowd := g.crowd(t, 8, unhurried, nil)
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
