package slave

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// states brings a new slave into each of its states, and says how to make the actor
// panic there.
var states = map[State]struct {
	enter func(w *world) *Host
	panic func(w *world)
}{
	Waiting: {
		func(w *world) *Host {
			w.opens(func(string, *fakeConn) error { return errRefused })
			return w.spawn("a:1")
		},
		func(w *world) { // In Open, which its next attempt calls.
			w.opens(func(string, *fakeConn) error {
				w.opens(answers(mongoconn.Secondary))
				panic("bomb")
			})
		},
	},
	Dialing: {
		func(w *world) *Host { return w.spawn("a:1") },
		func(w *world) { w.bomb.Store(true); w.conn().hello(mongoconn.Recovering) },
	},
	Checking: {
		func(w *world) *Host {
			w.opens(func(_ string, c *fakeConn) error {
				c.pings(hang)
				c.hello(mongoconn.Secondary)
				return nil
			})
			return w.spawn("a:1")
		},
		func(w *world) { w.bomb.Store(true); w.conn().hello(mongoconn.Recovering) },
	},
	Standby: {
		func(w *world) *Host { w.opens(answers(mongoconn.Recovering)); return w.spawn("a:1") },
		func(w *world) { w.bomb.Store(true); w.conn().hello(mongoconn.Hidden) },
	},
	Live: {
		func(w *world) *Host { h, _, _ := w.live("a:1"); return h },
		func(w *world) { w.bomb.Store(true); w.conn().hello(mongoconn.Primary) },
	},
	Ejected: {
		func(w *world) *Host {
			h, c, target := w.live("a:1")
			c.hangs()
			w.offered(target, testHungReads, pointRead)
			w.pass(time.Second)
			return h
		},
		func(w *world) { w.bomb.Store(true); w.conn().hello(mongoconn.Primary) },
	},
}

func TestInEveryStateALossIsFollowedByAReturn(t *testing.T) {
	for state, s := range states {
		for how, lose := range map[string]func(w *world){
			"a heartbeat fails":        func(w *world) { w.conn().obs.Lost(errReset) },
			"the driver gives up":      func(w *world) { w.conn().obs.Lost(mongoconn.ErrRemoved) },
			"a login is refused":       func(w *world) { w.conn().obs.Lost(authRefused()) },
			"a socket leads elsewhere": func(w *world) { w.conn().strange("b:1") },
			"a standalone answers":     func(w *world) { w.conn().obs.WrongSocket(errors.New("not a member")) },
			"the actor panics":         s.panic,
			"somebody poisons it":      func(w *world) { w.system.Root.Poison(pidOf(w)) },
			"all of these at one time": func(w *world) {
				w.conn().obs.Lost(errReset)
				w.conn().strange("b:1")
				w.conn().obs.Lost(mongoconn.ErrRemoved)
			},
			"one after the other again": func(w *world) { w.conn().obs.Lost(errReset); w.pass(time.Second); w.conn().strange("b:1") },
		} {
			t.Run(string(state)+" when "+how, func(t *testing.T) {
				inWorld(t, func(w *world) {
					h := s.enter(w)
					w.is(h, state)
					w.opens(answers(mongoconn.Secondary))
					lose(w)
					w.pass(2 * time.Second)
					w.conn().hello(mongoconn.Secondary) // The heartbeat after that.
					w.conn().thaws()
					w.pass(DefaultLoginBackoffMax)
					w.is(h, Live)
					target := w.router.target("a:1")
					if target == nil {
						t.Fatal("it is live, and not in rotation")
					}
					if read := w.offered(target, 1, pointRead)[0]; w.got(read) == nil || w.got(read).Err != nil {
						t.Errorf("a read got %+v", w.got(read))
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					for i, c := range w.conns[:len(w.conns)-1] {
						if !c.closed() {
							t.Errorf("connection %d of %d is still open", i, len(w.conns))
						}
					}
				})
			})
		}
	}
}

func pidOf(w *world) *actor.PID {
	return actor.NewPID(w.super.PID().Address, w.super.PID().Id+"/slave-a:1")
}

func TestInEveryStateAStopEndsEverything(t *testing.T) {
	for state, s := range states {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h := s.enter(w)
				w.is(h, state)
				if err := w.super.Stop(context.Background()); err != nil {
					t.Fatal(err)
				}
				w.is(h, Stopped)
				dials := w.dials()
				for _, c := range w.conns {
					c.hello(mongoconn.Secondary)
					c.obs.Lost(errReset)
				}
				w.pass(time.Hour)
				if w.is(h, Stopped); w.dials() != dials || w.router.target("a:1") != nil {
					t.Error("it dials, or serves, after the stop")
				}
			})
		})
	}
}

func TestAPanicIsToldAsALossAndCountsForTheBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, _ := w.live("a:1")
		w.told()
		w.opens(func(string, *fakeConn) error { panic("always") })
		w.bomb.Store(true)
		c.hello(mongoconn.Primary)
		w.pass(time.Minute)
		events := w.events()
		if len(events) != 2 || !errors.Is(events[0].(messages.HostLost).Err, messages.ErrPanicked) {
			t.Fatalf("told %v, want HostLost and HostDialing", events)
		}
		if n := w.dials(); n < 120 || n > 1000 {
			t.Errorf("%d attempts in a minute", n)
		}
		w.opens(answers(mongoconn.Secondary))
		w.pass(2 * DefaultBackoffMax)
		w.is(h, Live)
	})
}

func TestAPanicOfThePingIsAFailedCheck(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opens(func(_ string, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(context.Context) error { panic("a monitor of the game's") })
			return nil
		})
		h := w.spawn("a:1")
		w.pass(time.Second)
		w.tells("HostDialing a:1", "HostLost a:1")
		w.opens(answers(mongoconn.Secondary))
		w.pass(time.Second)
		w.is(h, Live)
	})
}
