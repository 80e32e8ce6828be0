package slave

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

func TestASlaveGoesLiveWhenTheRightServerAnswersAndLetsItIn(t *testing.T) {
	inWorld(t, func(w *world) {
		letIn := make(chan error)
		w.opens(func(_ string, c *fakeConn) error {
			c.pings(func(context.Context) error { return <-letIn })
			return nil
		})
		h := w.spawn("a:1")
		w.is(h, Dialing)
		w.tells("HostDialing a:1")
		w.conn().hello(mongoconn.Secondary)
		w.is(h, Checking)
		if w.router.target("a:1") != nil {
			t.Fatal("it is in rotation before it was let in")
		}
		w.conn().hello(mongoconn.Primary) // Elected in the meantime.
		letIn <- nil
		w.is(h, Live)
		w.tells("HostLive a:1")
		if st := h.Stat(); st.Role != messages.RolePrimary || st.Reason != "" || st.Restarts != 0 {
			t.Errorf("%+v", st)
		}
		if w.router.target("a:1") == nil || !w.router.isPrimary("a:1") {
			t.Error("the router does not know it as a primary")
		}
	})
}

func TestADialThatFailsIsTriedAgainWithoutARestartAndToldOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error {
			if w.dials()%2 == 0 {
				return errRefused
			}
			c.obs.Lost(errRefused) // Before Open returns, and twice.
			c.obs.Lost(errRefused)
			return nil
		})
		h := w.spawn("a:1")
		w.pass(time.Minute)
		w.tells("HostDialing a:1", "HostLost a:1")
		if n := w.dials(); n < 120 {
			t.Errorf("%d attempts in a minute, want one each half second at least", n)
		}
		if st := h.Stat(); st.Restarts != 0 || w.super.Restarts() != 0 {
			t.Errorf("%d restarts, want none", st.Restarts)
		}
		w.opens(answers(mongoconn.Secondary))
		w.pass(time.Second)
		w.is(h, Live)
		events := w.events()
		live, ok := events[0].(messages.HostLive)
		if !ok || live.Down != 0 || live.Attempts != w.dials() {
			t.Errorf("%+v, want HostLive after %d attempts, for the first time", events, w.dials())
		}
	})
}

func TestAHostThatNeverAnswersIsTriedForADayAtMostHalfASecondApart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error { c.obs.Lost(errRefused); return nil })
		h := w.spawn("a:1")
		day := 24 * time.Hour
		if testing.Short() || raceDetector {
			day = time.Hour
		}
		w.pass(day)
		w.is(h, Waiting)
		w.mu.Lock()
		defer w.mu.Unlock()
		gaps := map[int]int{} // in tenths of the bound
		for i := 10; i < len(w.conns); i++ {
			gap := w.conns[i].at.Sub(w.conns[i-1].at)
			if gap > DefaultBackoffMax {
				t.Fatalf("%v between attempts %d and %d", gap, i-1, i)
			}
			gaps[int(gap*10/(DefaultBackoffMax+1))]++
		}
		// Full jitter: each tenth of the range as often as the others.
		for tenth := range 10 {
			if n, want := gaps[tenth], len(w.conns)/10; n < want*8/10 || n > want*12/10 {
				t.Errorf("%d of %d waits in tenth %d, want about %d", n, len(w.conns), tenth, want)
			}
		}
	})
}

func TestARefusedLoginIsToldApartAndTriedSlowly(t *testing.T) {
	for how, open := range map[string]func(string, *fakeConn) error{
		"told by the pool": func(_ string, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(ctx context.Context) error { c.obs.Lost(authRefused()); return hang(ctx) })
			return nil
		},
		"told by the ping": func(_ string, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(context.Context) error { return authRefused() })
			return nil
		},
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.opens(func(string, *fakeConn) error { return errRefused })
				h := w.spawn("a:1")
				w.tells("HostDialing a:1", "HostLost a:1")
				w.opens(open)
				w.pass(time.Second)
				lost := w.events()
				if len(lost) != 1 || !mongoconn.IsAuth(lost[0].(messages.HostLost).Err) {
					t.Fatalf("told %v, want that the login was refused", lost)
				}
				w.pass(2 * time.Minute)
				before := w.dials()
				w.pass(10 * time.Minute)
				if n := w.dials() - before; n < 60 || n > 240 {
					t.Errorf("%d attempts in 10 minutes, want one in 5 s on average", n)
				}
				w.tells() // Nothing more: no restarts, no repetition.
				w.opens(answers(mongoconn.Secondary))
				w.pass(DefaultLoginBackoffMax)
				w.is(h, Live)
			})
		})
	}
}

func TestAWrongHostRestartsTheSlaveAndIsToldOnceAnOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error { return c.strange("b:1") })
		w.cfg.Open = func(host string, obs mongoconn.Observer) (Conn, error) {
			c, err := w.dial(host, obs)
			if err != nil { // The driver opens sockets in the background: Open itself succeeds.
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.conns[len(w.conns)-1], nil
			}
			return c, nil
		}
		h := w.spawn("a:1")
		w.pass(20 * time.Second)
		events := w.events()
		if len(events) != 3 {
			t.Fatalf("told %v, want HostDialing, WrongHost and HostRestarting", events)
		}
		wrong, ok := events[1].(messages.WrongHost)
		if !ok || wrong.Field != "me" || wrong.Got != "b:1" || wrong.Want != "a:1" || wrong.Remote == "" {
			t.Errorf("%+v", events[1])
		}
		again, ok := events[2].(messages.HostRestarting)
		if !ok || again.Restarts != 1 || again.Backoff > DefaultBackoffBase {
			t.Errorf("%+v", events[2])
		}
		if st := h.Stat(); st.Restarts < 20 || int64(st.Restarts) != w.super.Restarts() {
			t.Errorf("%d restarts of %d", st.Restarts, w.super.Restarts())
		}
		// Somebody else is there now: that is news.
		w.opens(func(_ string, c *fakeConn) error { return c.strange("c:1") })
		w.pass(5 * time.Second)
		w.tells("WrongHost a:1", "HostRestarting a:1")
	})
}

func TestTheNewIncarnationLivesOutTheBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, _ := w.live("a:1")
		w.cfg.BackoffBase = time.Second
		w.told()
		c.obs.Lost(errReset)
		events := w.events(messages.KindHostRestarting)
		if len(events) != 1 {
			t.Fatalf("told %v", events)
		}
		backoff := events[0].(messages.HostRestarting).Backoff
		if backoff <= 0 {
			t.Fatal("no backoff")
		}
		w.is(h, Waiting)
		if !c.closed() || w.router.target("a:1") != nil {
			t.Error("the lost connection is not closed, or still in rotation")
		}
		w.pass(backoff - 1)
		if w.dials() != 1 {
			t.Fatal("dialled before the backoff was over")
		}
		w.pass(1)
		w.is(h, Live)
		if d := w.conn().at.Sub(c.at); d != backoff {
			t.Errorf("dialled after %v, want %v", d, backoff)
		}
	})
}

func TestALostHostRestartsTheSlaveAndComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, old := w.live("a:1")
		w.told()
		w.opens(func(string, *fakeConn) error { return nil }) // Nobody answers for a while.
		c.obs.Lost(errReset)
		w.pass(3 * time.Second)
		w.tells("HostLost a:1", "HostRestarting a:1", "HostDialing a:1")
		w.is(h, Dialing)
		w.conn().hello(mongoconn.Secondary)
		w.is(h, Live)
		live := w.events()[0].(messages.HostLive)
		if live.Down != 3*time.Second || live.Attempts != 1 {
			t.Errorf("%+v, want 3 s down and 1 attempt", live)
		}
		if w.router.target("a:1").Incarnation() == old.Incarnation() {
			t.Error("it came back as the same incarnation")
		}
		if err := offer(old, ask(pointRead)); !errors.Is(err, messages.ErrNotLive) {
			t.Errorf("the earlier incarnation takes reads: %v", err)
		}
	})
}

func TestFailuresAreForgottenOnlyAfterASteadyTime(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		fall := func(after time.Duration) time.Duration {
			w.is(h, Live)
			w.pass(after)
			w.told()
			w.conn().obs.Lost(errReset)
			backoff := w.events(messages.KindHostRestarting)[0].(messages.HostRestarting).Backoff
			w.pass(DefaultBackoffMax)
			return backoff
		}
		var longest time.Duration
		for range 30 {
			longest = max(longest, fall(time.Second))
		}
		if longest < 4*DefaultBackoffBase {
			t.Errorf("a flapping host waits %v at most", longest)
		}
		for range 30 {
			if backoff := fall(steadyAfter); backoff > DefaultBackoffBase {
				t.Fatalf("a host that was steady waits %v", backoff)
			}
		}
	})
}

func TestWhatAnEarlierConnectionStillTellsIsDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		h, first, _ := w.live("a:1")
		first.obs.Lost(errReset)
		w.pass(time.Second)
		w.is(h, Live)
		w.told()
		first.obs.Lost(errReset)
		first.strange("b:1")
		first.hello(mongoconn.Arbiter)
		w.is(h, Live)
		w.tells()
		if w.dials() != 2 {
			t.Errorf("%d dials, want 2", w.dials())
		}
	})
}

func TestTheAnswerToAnEarlierCheckIsDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := make(chan error), make(chan error)
		w.opens(nil)
		h := w.spawn("a:1")
		c := w.conn()
		c.pings(func(context.Context) error { return <-first })
		c.hello(mongoconn.Secondary)
		w.is(h, Checking)
		c.pings(func(context.Context) error { return <-second })
		c.hello(mongoconn.Recovering)
		c.hello(mongoconn.Secondary)
		w.is(h, Checking)
		first <- errRefused
		w.is(h, Checking)
		second <- nil
		w.is(h, Live)
	})
}

func TestAWrongSocketInTheCheckCountsAsOneWhicheverIsToldFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(context.Context) error {
				return fmt.Errorf("handshake: %w", &messages.WrongHostError{Address: "a:1", Field: "me", Want: "a:1", Got: "b:1"})
			})
			return nil
		})
		w.spawn("a:1")
		w.tells("HostDialing a:1", "WrongHost a:1", "HostRestarting a:1")
	})
}

func TestAMemberThatCannotServeStandsByWithItsConnectionAndComesBack(t *testing.T) {
	for _, kind := range []mongoconn.Kind{mongoconn.Recovering, mongoconn.Hidden, mongoconn.Delayed, mongoconn.Arbiter, mongoconn.Ghost, mongoconn.Unknown} {
		t.Run(kind.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, c, target := w.live("a:1")
				c.hangs()
				read := w.offered(target, 1, pointRead)[0]
				w.told()
				c.hello(kind)
				c.hello(kind)
				w.is(h, Standby)
				w.tells("HostStandby a:1")
				if w.router.target("a:1") != nil || c.closed() {
					t.Error("it is in rotation, or its connection is closed")
				}
				if rep := w.got(read); rep == nil || !errors.Is(rep.Err, messages.ErrNotLive) {
					t.Errorf("the read on the wire got %+v", rep)
				}
				c.thaws()
				w.pass(2 * time.Second)
				c.hello(mongoconn.Secondary)
				w.is(h, Live)
				live := w.events()[0].(messages.HostLive)
				if live.Down != 2*time.Second || w.dials() != 1 {
					t.Errorf("%+v and %d dials, want 2 s down on one connection", live, w.dials())
				}
			})
		})
	}
}

func TestAMemberThatStandsByFromTheStartIsLiveTheMomentItCan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(answers(mongoconn.Recovering))
		h := w.spawn("a:1")
		w.is(h, Standby)
		w.tells("HostDialing a:1", "HostStandby a:1")
		w.conn().hello(mongoconn.Hidden) // Another reason is told too.
		w.tells("HostStandby a:1")
		w.conn().hello(mongoconn.Secondary)
		w.is(h, Live)
		w.tells("HostLive a:1")
	})
}

func TestAMemberLostInStandbyIsToldAndTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(string, *fakeConn) error { return errRefused })
		h := w.spawn("a:1")
		w.tells("HostDialing a:1", "HostLost a:1")
		w.opens(answers(mongoconn.Recovering))
		w.pass(time.Second)
		w.tells("HostStandby a:1")
		w.conn().obs.Lost(errReset)
		w.pass(time.Second)
		w.tells("HostLost a:1", "HostRestarting a:1", "HostStandby a:1")
		w.is(h, Standby)
	})
}

func TestAChangeOfRoleIsToldAndTheRouterKnows(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		w.told()
		w.pass(time.Second)
		since := h.Stat().Since
		c.hello(mongoconn.Primary)
		c.hello(mongoconn.Primary)
		w.is(h, Live)
		events := w.events()
		if len(events) != 1 || events[0].(messages.RoleChanged).From != messages.RoleSecondary || events[0].(messages.RoleChanged).To != messages.RolePrimary {
			t.Errorf("told %v", events)
		}
		if !w.router.isPrimary("a:1") || w.router.target("a:1").Incarnation() != target.Incarnation() {
			t.Error("the router does not have the same incarnation as a primary")
		}
		if st := h.Stat(); st.Role != messages.RolePrimary || st.Since != since {
			t.Errorf("%+v, want a primary that is live since %v", st, since)
		}
		c.hello(mongoconn.Secondary)
		if w.tells("RoleChanged a:1"); w.router.isPrimary("a:1") {
			t.Error("the router takes it for a primary still")
		}
	})
}

func TestAServerThatIsNoMemberIsLostWithoutAWord(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, _ := w.live("a:1")
		w.told()
		w.opens(func(_ string, c *fakeConn) error { c.obs.WrongSocket(errors.New("not a member")); return nil })
		c.obs.WrongSocket(errors.New("not a member"))
		w.pass(20 * time.Second)
		w.tells("HostLost a:1", "HostRestarting a:1", "HostDialing a:1")
		if st := h.Stat(); st.Restarts != 1 {
			t.Errorf("%d restarts, want 1: nothing was there to restart after the first", st.Restarts)
		}
		w.opens(answers(mongoconn.Secondary)) // No quarantine: nobody took its place.
		w.pass(time.Second)
		w.is(h, Live)
	})
}

func TestOfTwoNamesForOneServerTheFirstConfiguredStays(t *testing.T) {
	same := func(_ string, c *fakeConn) error {
		c.helloFrom(mongoconn.Secondary, bson.ObjectID{1})
		return nil
	}
	t.Run("which comes first", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.opens(same)
			a, b := w.spawn("a:1"), w.spawn("b:1")
			w.is(a, Live)
			w.is(b, Standby)
			w.tells("HostDialing a:1", "HostLive a:1", "HostDialing b:1", "DuplicateHost b:1")
			w.conn().helloFrom(mongoconn.Secondary, bson.ObjectID{1})
			w.tells()
		})
	})
	t.Run("which comes later", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.opens(func(host string, c *fakeConn) error {
				if host == "a:1" {
					return nil
				}
				return same(host, c)
			})
			a, b := w.spawn("a:1"), w.spawn("b:1")
			w.is(b, Live)
			w.told()
			w.conns[0].helloFrom(mongoconn.Secondary, bson.ObjectID{1})
			w.is(a, Live)
			w.is(b, Standby)
			if got := w.told(messages.KindDuplicateHost); !slices.Equal(got, []string{"DuplicateHost b:1"}) {
				t.Errorf("told %v", got)
			}
			if w.router.target("b:1") != nil {
				t.Error("b is in rotation")
			}
			// The first one leads elsewhere from now on: the server is the second's again.
			w.conns[0].helloFrom(mongoconn.Secondary, bson.ObjectID{2})
			w.is(a, Live)
			w.conns[1].helloFrom(mongoconn.Secondary, bson.ObjectID{1})
			w.is(a, Live)
			w.is(b, Live)
		})
	})
	t.Run("until it is lost", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.opens(same)
			w.spawn("a:1")
			b := w.spawn("b:1")
			w.is(b, Standby)
			w.opens(func(string, *fakeConn) error { return errRefused })
			w.conns[0].obs.Lost(errReset)
			w.pass(time.Second)
			w.conns[1].helloFrom(mongoconn.Secondary, bson.ObjectID{1})
			w.is(b, Live)
		})
	})
}

func TestServersThatDoNotTellTheirProcessAreNeverDuplicates(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error { c.helloFrom(mongoconn.Secondary, bson.ObjectID{}); return nil })
		a, b := w.spawn("a:1"), w.spawn("b:1")
		w.is(a, Live)
		w.is(b, Live)
	})
}

func TestAClaimIsForgottenWhenTheServerIsStartedAnew(t *testing.T) {
	c := NewClaims()
	h := &Host{name: "a:1"}
	for n := range byte(200) {
		if owner := c.claim(bson.ObjectID{n + 1}, h); owner != "" {
			t.Fatal(owner)
		}
	}
	if n := len(c.owners); n != 1 {
		t.Errorf("%d claims are kept, want the latest", n)
	}
	c.release(h)
	if n := len(c.owners); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}
