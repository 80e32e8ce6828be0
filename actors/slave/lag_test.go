package slave

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// lags lets every server say how far behind now its last write is, and sets MaxLag.
func (w *world) lags(maxLag time.Duration) (tell func(c *fakeConn, kind mongoconn.Kind, lag time.Duration)) {
	w.cfg.MaxLag, w.cfg.Clock = maxLag, NewClock(0)
	return func(c *fakeConn, kind mongoconn.Kind, lag time.Duration) {
		c.obs.Hello(mongoconn.Hello{Kind: kind, ProcessID: processOf(c.host), LastWrite: time.Now().Add(-lag)})
	}
}

func TestAMemberThatFallsBehindIsOutUntilItHasCaughtUp(t *testing.T) {
	inWorld(t, func(w *world) {
		tell := w.lags(2 * time.Second)
		w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Primary, 0); return nil })
		w.spawn("p:1")
		p := w.conn()
		w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Secondary, 0); return nil })
		h := w.spawn("s:1")
		s := w.conn()
		w.is(h, Live)
		w.told()
		s.runs(nil)

		w.pass(3 * time.Second)
		tell(p, mongoconn.Primary, 0)
		tell(s, mongoconn.Secondary, 1900*time.Millisecond)
		w.is(h, Live)
		w.pass(500 * time.Millisecond)
		tell(p, mongoconn.Primary, 0)
		tell(s, mongoconn.Secondary, 2400*time.Millisecond)
		w.is(h, Ejected)
		if reason := h.Stat().Reason; !strings.Contains(reason, "2.4s behind") {
			t.Errorf("the reason is %q", reason)
		}
		if w.router.target("s:1") != nil {
			t.Error("the router still has it")
		}
		w.tells("HostEjected s:1")

		w.pass(500 * time.Millisecond)
		tell(p, mongoconn.Primary, 0)
		tell(s, mongoconn.Secondary, 1900*time.Millisecond)
		w.is(h, Ejected) // At the limit it does not come back yet.
		tell(s, mongoconn.Secondary, time.Second)
		w.is(h, Live)
		if w.router.target("s:1") == nil {
			t.Error("the router does not have it again")
		}
		w.tells("HostRestored s:1")
	})
}

func TestAMemberThatComesBackFarBehindStandsBy(t *testing.T) {
	inWorld(t, func(w *world) {
		tell := w.lags(2 * time.Second)
		w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Primary, 0); return nil })
		w.spawn("p:1")
		w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Secondary, time.Hour); return nil })
		h := w.spawn("s:1")
		w.is(h, Standby)
		tell(w.conn(), mongoconn.Secondary, time.Minute)
		w.tells("HostDialing p:1", "HostLive p:1", "HostDialing s:1", "HostStandby s:1")
		tell(w.conn(), mongoconn.Secondary, 0)
		w.is(h, Live)
	})
}

func TestReadsThatWaitAtAMemberThatFallsBehindGoToOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		tell := w.lags(time.Second)
		w.cfg.PointWorkers = 1
		h, s, target := w.live("s:1")
		g := w.gate(s)
		sent := w.offered(target, 1, pointRead)
		waiting := w.offered(target, 2, pointRead)
		w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Primary, 0); return nil })
		w.spawn("p:1")
		tell(s, mongoconn.Secondary, time.Minute)
		w.is(h, Ejected)
		for _, r := range waiting {
			if rep := w.got(r); rep == nil {
				t.Error("a read that waits is left there")
			}
		}
		if rep := w.got(sent[0]); rep != nil {
			t.Errorf("the read on the wire was answered with %+v", rep)
		}
		g.pass(1)
		if rep := w.got(sent[0]); rep == nil || rep.Err != nil {
			t.Errorf("the read on the wire was answered with %+v", rep)
		}
	})
}

func TestWithoutAPrimaryTheFurthestSecondaryCounts(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b, p := &Host{name: "a"}, &Host{name: "b"}, &Host{name: "p"}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	hello := func(k mongoconn.Kind, written time.Duration) mongoconn.Hello {
		return mongoconn.Hello{Kind: k, LastWrite: at(written)}
	}
	type step struct {
		host *Host
		h    mongoconn.Hello
		now  time.Duration
		want time.Duration
	}
	for name, steps := range map[string][]step{
		"an idle set is not behind": {
			{p, hello(mongoconn.Primary, 0), 10 * time.Minute, 0},
			{a, hello(mongoconn.Secondary, 0), 20 * time.Minute, 0},
		},
		"behind a primary that writes": {
			{p, hello(mongoconn.Primary, 10*time.Second), 10 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 4*time.Second), 10 * time.Second, 6 * time.Second},
		},
		"behind a primary whose last write is some time ago": {
			{p, hello(mongoconn.Primary, 8*time.Second), 10 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 4*time.Second), 10 * time.Second, 4 * time.Second},
		},
		"the primary is gone, with a write that nobody has": {
			{p, hello(mongoconn.Primary, 10*time.Second), 10 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 9*time.Second), 60 * time.Second, time.Second},
			{b, hello(mongoconn.Secondary, 4*time.Second), 60 * time.Second, 6 * time.Second},
		},
		"a member that does not say": {
			{p, hello(mongoconn.Primary, 10*time.Second), 10 * time.Second, 0},
			{a, mongoconn.Hello{Kind: mongoconn.Secondary}, 10 * time.Second, 0},
		},
		"without the first write after a long time": {
			{p, hello(mongoconn.Primary, 0), 9 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 0), 9200 * time.Millisecond, 0},
			{p, hello(mongoconn.Primary, 9400*time.Millisecond), 9500 * time.Millisecond, 0},
			{a, hello(mongoconn.Secondary, 0), 9700 * time.Millisecond, 700 * time.Millisecond},
			{p, hello(mongoconn.Primary, 13400*time.Millisecond), 13500 * time.Millisecond, 0},
			{a, hello(mongoconn.Secondary, 9400*time.Millisecond), 13700 * time.Millisecond, 4200 * time.Millisecond},
		},
		"without another primary's first write after a long time": {
			{p, hello(mongoconn.Primary, 0), 9 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 0), 9200 * time.Millisecond, 0},
			{b, hello(mongoconn.Primary, 9400*time.Millisecond), 9500 * time.Millisecond, 0},
			{a, hello(mongoconn.Secondary, 0), 9700 * time.Millisecond, 9600 * time.Millisecond},
		},
		"behind a primary whose heartbeat is late": {
			{p, hello(mongoconn.Primary, 10*time.Second), 10 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 4*time.Second), 16500 * time.Millisecond, 12500 * time.Millisecond},
		},
		"ahead of what the primary had at its hello": {
			{p, hello(mongoconn.Primary, 10*time.Second), 10 * time.Second, 0},
			{a, hello(mongoconn.Secondary, 10500*time.Millisecond), 10600 * time.Millisecond, 0},
		},
	} {
		c := NewClock(3 * time.Second)
		for i, s := range steps {
			if got := c.note(s.host, s.h, at(s.now)); got != s.want {
				t.Errorf("%s: step %d: %v behind, want %v", name, i, got, s.want)
			}
		}
	}
	c := NewClock(0)
	c.note(p, hello(mongoconn.Primary, 10*time.Second), at(10*time.Second))
	c.forget(p)
	if got := c.note(a, hello(mongoconn.Secondary, 0), at(10*time.Second)); got != 0 {
		t.Errorf("%v behind a member that is forgotten", got)
	}
}
