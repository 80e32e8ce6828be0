package slave

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// paced is a host whose reads take what the test says.
type paced struct {
	*Host
	conn   *fakeConn
	target request.Target
	takes  atomic.Int64
}

func (w *world) paced(host string, takes time.Duration) *paced {
	w.t.Helper()
	if w.cfg.Paces == nil {
		w.cfg.Paces = NewPaces()
	}
	p := &paced{}
	p.takes.Store(int64(takes))
	p.Host, p.conn, p.target = w.live(host)
	p.conn.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) {
		select {
		case <-time.After(time.Duration(p.takes.Load())):
			return reply(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return p
}

// load sends each host four reads at a time for as long as d.
func (w *world) load(d time.Duration, hosts ...*paced) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, p := range hosts {
			for range 4 {
				if r := ask(pointRead); p.target.Load().Pending() < 4 && p.State() == Live {
					// It may be ejected at this very moment.
					if err := offer(p.target, r); err != nil && !errors.Is(err, messages.ErrNotLive) {
						w.t.Fatal(err)
					}
				}
			}
		}
		synctest.Wait()
	}
}

func (h *Host) State() State { return h.view.Load().state }

func TestAHostMuchSlowerThanTheOthersIsOutUntilItIsQuickAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, c := w.paced("a:1", time.Millisecond), w.paced("b:1", 2*time.Millisecond), w.paced("c:1", time.Millisecond)
		w.load(2*time.Second, a, b, c)
		w.told()
		b.takes.Store(int64(50 * time.Millisecond))
		w.load(2*time.Second, a, b, c)
		w.is(b.Host, Ejected)
		if reason := b.Stat().Reason; !strings.Contains(reason, "slow") {
			t.Errorf("the reason is %q", reason)
		}
		w.load(4*time.Second, a, b, c)
		w.is(b.Host, Ejected)
		w.tells("HostEjected b:1")
		b.takes.Store(int64(2 * time.Millisecond))
		w.load(2*time.Second, a, b, c)
		w.is(b.Host, Live)
		w.tells("HostRestored b:1")
	})
}

func TestAHostThatWasAlwaysFarIsNotSlow(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("far:1", 40*time.Millisecond)
		w.load(5*time.Second, a, b)
		w.is(b.Host, Live)
	})
}

func TestAllHostsThatGetSlowTogetherStay(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, c := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond), w.paced("c:1", time.Millisecond)
		w.load(2*time.Second, a, b, c)
		for _, p := range []*paced{a, b, c} {
			p.takes.Store(int64(50 * time.Millisecond))
		}
		w.load(4*time.Second, a, b, c)
		for _, p := range []*paced{a, b, c} {
			w.is(p.Host, Live)
		}
	})
}

// Reads go to some hosts alone for a while, by their tags: what the others took before says nothing of now.
func TestHostsThatGetSlowTogetherAreNotComparedWithIdleOnes(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		c, d := w.paced("c:1", time.Millisecond), w.paced("d:1", time.Millisecond)
		w.load(2*time.Second, a, b, c, d)
		c.takes.Store(int64(50 * time.Millisecond))
		d.takes.Store(int64(50 * time.Millisecond))
		w.load(2*time.Second, c, d)
		w.is(c.Host, Live)
		w.is(d.Host, Live)
		// They are when the others are read from too.
		w.load(4*time.Second, a, b, c, d)
		w.is(c.Host, Ejected)
		w.is(d.Host, Ejected)
	})
}

func TestAShortStallIsNoSlowness(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.load(2*time.Second, a, b)
		w.told()
		for range 3 {
			b.takes.Store(int64(50 * time.Millisecond))
			w.load(600*time.Millisecond, a, b)
			b.takes.Store(int64(time.Millisecond))
			w.load(time.Second, a, b)
		}
		w.tells()
	})
}

func TestASlowHostThatIsNeededIsKeptAndThatIsSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.load(2*time.Second, a, b)
		w.router.keeps(true)
		w.told()
		b.takes.Store(int64(50 * time.Millisecond))
		w.load(5*time.Second, a, b)
		w.is(b.Host, Live)
		events := w.events(messages.KindHostEjected)
		if len(events) != 1 || !events[0].(messages.HostEjected).Floor {
			t.Errorf("told %v", events)
		}
	})
}

func TestEachEjectionInAMinuteTakesTwiceAsLong(t *testing.T) {
	var e ejections
	now := time.Now()
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if got := e.next(now); got != want*time.Millisecond {
			t.Errorf("ejection %d waits %v for its probe, want %v ms", i+1, got, want)
		}
		now = now.Add(ejectMemory)
	}
	if got := e.next(now.Add(time.Second)); got != probeFirst {
		t.Errorf("after a quiet minute it waits %v", got)
	}
}

func TestASilenceOfAllHostsIsNoHang(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.load(time.Second, a, b)
		w.told()
		// This process is stopped: nothing is answered, and pings are answered as soon as it goes on.
		for _, p := range []*paced{a, b} {
			p.takes.Store(int64(600 * time.Millisecond))
		}
		w.load(600*time.Millisecond, a, b)
		for _, p := range []*paced{a, b} {
			p.takes.Store(int64(time.Millisecond))
		}
		w.load(time.Second, a, b)
		w.tells()
		// One host alone hangs.
		b.conn.hangs()
		w.load(time.Second, a, b)
		w.is(a.Host, Live)
		w.is(b.Host, Ejected)
	})
}

func TestAHostEjectedAsSlowIsProbedWithAReadThatWasQuickThere(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		load := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); w.pass(5 * time.Millisecond) {
				for _, p := range []*paced{a, b} {
					p.ranged("log", 60*time.Millisecond+time.Duration(p.takes.Load()))
					if p.State() != Live || p.target.Load().Pending() > 4 {
						continue
					}
					cmd := rangeRead
					if time.Now().UnixMilli()/5%16 == 0 { // Some of them honestly take long, and one is the latest.
						cmd = slowRange("log")
					}
					w.offered(p.target, 1, cmd)
				}
			}
		}
		load(2 * time.Second)
		w.told()
		b.takes.Store(int64(50 * time.Millisecond))
		load(2 * time.Second)
		w.is(b.Host, Ejected)
		load(4 * time.Second)
		w.tells("HostEjected b:1")
		b.takes.Store(int64(time.Millisecond))
		load(2 * time.Second)
		w.is(b.Host, Live)
	})
}

func TestAProbeThatIsAsSlowElsewhereSaysNothingAgainstAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.load(2*time.Second, a, b)
		b.takes.Store(int64(50 * time.Millisecond))
		w.load(2*time.Second, a, b)
		w.is(b.Host, Ejected)
		a.takes.Store(int64(50 * time.Millisecond)) // Nobody reads there: its windows are those of before.
		w.pass(5 * time.Second)
		w.is(b.Host, Live)
	})
}
