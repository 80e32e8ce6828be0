package slave

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// Whatever ends a host again and again the moment it is live: how often it is dialled is bounded in any
// span of time, each wait has its limit, nothing is left behind, and the host is live with the first
// connection that serves.
func TestAHundredRestartsInARowAreBoundedAndLeaveNothingBehind(t *testing.T) {
	const restarts = 100
	for how, c := range map[string]struct {
		lose func(w *world, c *fakeConn)
		// apart bounds the time between two dials of the host itself.
		apart time.Duration
	}{
		"a heartbeat fails":    {func(_ *world, c *fakeConn) { c.obs.Lost(errReset) }, DefaultBackoffMax},
		"the driver gives up":  {func(_ *world, c *fakeConn) { c.obs.Lost(mongoconn.ErrRemoved) }, DefaultBackoffMax},
		"a standalone answers": {func(_ *world, c *fakeConn) { c.obs.WrongSocket(errRefused) }, DefaultBackoffMax},
		"the actor panics": {func(w *world, c *fakeConn) {
			w.bomb.Store(true)
			c.hello(mongoconn.Primary)
		}, DefaultBackoffMax + 500*time.Millisecond}, // The supervisor's pause, where there are too many in a second.
		"a login is refused":       {func(_ *world, c *fakeConn) { c.obs.Lost(authRefused()) }, DefaultLoginBackoffMax},
		"a socket leads elsewhere": {func(_ *world, c *fakeConn) { _ = c.strange("b:1") }, DefaultBackoffMax + quarantineTime + quarantineEvery},
		"a reply is broken": {func(_ *world, c *fakeConn) {
			c.obs.WrongSocket(&messages.ProtocolError{Host: c.host, Reason: "garbage"})
		}, DefaultBackoffMax + quarantineTime + quarantineEvery},
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, first, _ := w.live("a:1")
				w.told()
				goroutines := runtime.NumGoroutine()
				var losses atomic.Int64
				lose := func() {
					if losses.Add(1) <= restarts {
						c.lose(w, w.main())
					}
				}
				w.router.mu.Lock()
				w.router.onJoin = lose
				w.router.mu.Unlock()
				lose()
				for range 1000 {
					if w.pass(time.Second); losses.Load() > restarts {
						break
					}
				}
				w.is(h, Live)
				if n := losses.Load(); n != restarts+1 {
					t.Fatalf("it was live %d times more, want %d", n-1, restarts)
				}
				if st := h.Stat(); st.Restarts != restarts || w.super.Restarts() != restarts {
					t.Errorf("%d restarts, %d of the supervisor's; want %d", st.Restarts, w.super.Restarts(), restarts)
				}
				w.mu.Lock()
				var dials []time.Time // of the host itself
				for _, c := range w.conns {
					if _, own := c.obs.(*observer); own {
						dials = append(dials, c.at)
					}
					if c != w.conns[len(w.conns)-1] && !c.closed() {
						t.Error("a connection of an earlier incarnation is open")
					}
				}
				w.mu.Unlock()
				if len(dials) != restarts+1 || dials[0] != first.at {
					t.Errorf("%d dials, want one for each restart", len(dials)-1)
				}
				mustBePaced(t, dials, c.apart)
				for i, e := range w.events(messages.KindHostLive) {
					live := e.(messages.HostLive)
					if down := dials[i+1].Sub(dials[i]); c.apart <= DefaultBackoffMax && (live.Attempts != 1 || live.Down != down || !live.Time.Equal(dials[i+1])) {
						t.Errorf("%+v, want it live the moment that it was dialled, after %v", live, down)
					}
				}
				if n := len(w.claims.owners); n != 1 {
					t.Errorf("%d claims", n)
				}
				if n := len(h.wrong); n > quarantineWrong {
					t.Errorf("%d wrong sockets are remembered", n)
				}
				// Of each restart's, if it left one.
				if n := runtime.NumGoroutine(); n >= goroutines+restarts/2 {
					t.Errorf("%d goroutines, and %d before", n, goroutines)
				}
				if read := w.offered(w.router.target("a:1"), 1, pointRead)[0]; w.got(read) == nil || w.got(read).Err != nil {
					t.Errorf("a read got %+v", w.got(read))
				}
			})
		})
	}
}

// mustBePaced checks dials against the longest wait, and against how many there may be in any span of
// time: see newSockets, of the system tests, for the arithmetic.
func mustBePaced(t *testing.T, dials []time.Time, apart time.Duration) {
	t.Helper()
	for i := 1; i < len(dials); i++ {
		if gap := dials[i].Sub(dials[i-1]); gap > apart {
			t.Errorf("%v between two dials, want %v at most", gap, apart)
		}
	}
	for _, span := range []time.Duration{time.Second, 5 * time.Second, 20 * time.Second} {
		s := span.Seconds()
		most := int(5 + 4*s + 7*math.Sqrt(s))
		for i, n := 0, 0; i < len(dials); i++ {
			for n < len(dials) && dials[n].Sub(dials[i]) < span {
				n++
			}
			if n-i > most {
				t.Errorf("%d dials within %v, want %d at most", n-i, span, most)
			}
		}
	}
}

// A password that is put right, by whomever, lets the host in again within ten seconds, at whatever
// moment that is and however long it was wrong: the longest wait, and one login.
func TestAPasswordThatIsRightAgainIsNoticedWithinTheLimit(t *testing.T) {
	if DefaultLoginBackoffMax > 9*time.Second {
		t.Errorf("up to %v between two logins: with the login itself that is more than ten seconds", DefaultLoginBackoffMax)
	}
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		for range 50 {
			w.told()
			from := w.dials()
			wrong := time.Now()
			// Sometimes the ping hears of it, and sometimes the pool.
			w.opens(func(_ string, c *fakeConn) error {
				c.hello(mongoconn.Secondary)
				if rand.N(2) == 0 {
					c.obs.Lost(authRefused())
				} else {
					c.pings(func(context.Context) error { return authRefused() })
				}
				return nil
			})
			w.conn().obs.Lost(authRefused())
			w.pass(rand.N(3 * time.Minute))
			if h.Stat().State == Live {
				t.Fatal("it is live without a login")
			}
			w.opens(answers(mongoconn.Secondary))
			right := time.Now()
			w.pass(DefaultLoginBackoffMax)
			w.is(h, Live)
			w.mu.Lock()
			dials := []time.Time{wrong}
			for _, c := range w.conns[from:] {
				dials = append(dials, c.at)
			}
			w.mu.Unlock()
			mustBePaced(t, dials, DefaultLoginBackoffMax)
			if last := dials[len(dials)-1]; last.Before(right) || last.Sub(right) > DefaultLoginBackoffMax {
				t.Errorf("let in %v after the password was right", last.Sub(right))
			}
			lost := w.events(messages.KindHostLost)
			if len(lost) != 1 || !mongoconn.IsAuth(lost[0].(messages.HostLost).Err) {
				t.Errorf("told %v, want once that the login is refused", lost)
			}
			synctest.Wait()
		}
	})
}
