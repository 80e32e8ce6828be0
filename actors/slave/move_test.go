package slave

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// moves lets the host's name mean another address than its sockets go to.
func (c *fakeConn) moves() {
	c.obs.Moved(&mongoconn.MovedError{Host: c.host, From: netip.MustParseAddr("10.0.0.1"), To: []netip.Addr{netip.MustParseAddr("10.0.0.2")}})
}

func TestALiveHostWhoseNameMovedMovesWithoutAMomentOut(t *testing.T) {
	inWorld(t, func(w *world) {
		h, old, before := w.live("a:1")
		answer := make(chan struct{})
		old.runs(func(context.Context, bson.Raw) (bson.Raw, error) { <-answer; return reply(), nil })
		sent := w.offered(before, 2, heavyRead)
		w.told()
		pinged := make(chan error)
		w.opens(func(_ string, c *fakeConn) error {
			c.pings(func(context.Context) error { return <-pinged })
			return nil
		})
		old.moves()
		old.moves()
		w.is(h, Live)
		next := w.conn()
		if next == old || w.dials() != 2 {
			t.Fatalf("%d connections were opened, want a second one", w.dials())
		}
		if w.router.target("a:1") != before {
			t.Error("it has moved before anybody was there")
		}
		next.hello(mongoconn.Secondary)
		next.hello(mongoconn.Primary) // Elected in the meantime.
		if w.is(h, Live); w.router.target("a:1") != before {
			t.Error("it has moved before it was let in")
		}
		pinged <- nil
		w.is(h, Live)
		after := w.router.target("a:1")
		if after == before || !w.router.isPrimary("a:1") {
			t.Fatal("it has not moved")
		}
		events := w.events()
		if len(events) != 2 || events[0].Kind() != messages.KindAddressChanged || events[1].Kind() != messages.KindRoleChanged {
			t.Fatalf("told %v", events)
		}
		if e := events[0].(messages.AddressChanged); e.From != "10.0.0.1" || !slices.Equal(e.To, []string{"10.0.0.2"}) || e.Stays != "" {
			t.Errorf("told %+v", e)
		}
		if read := w.offered(after, 1, pointRead)[0]; w.got(read) == nil || w.got(read).Err != nil || len(next.commands()) != 1 {
			t.Errorf("a read got %+v", w.got(read))
		}
		if old.closed() || w.got(sent[0]) != nil {
			t.Error("what is on the wire was cut off")
		}
		close(answer)
		for _, r := range sent {
			if rep := w.got(r); rep == nil || rep.Err != nil {
				t.Errorf("a read on the wire got %+v", rep)
			}
		}
		if !old.closed() || next.closed() {
			t.Error("the wrong connection is closed")
		}
		// The old one is nobody any more, and the new one is it.
		old.obs.Lost(errReset)
		old.strange("b:1")
		old.hello(mongoconn.Recovering)
		w.is(h, Live)
		next.hello(mongoconn.Secondary)
		w.pass(time.Minute)
		w.is(h, Live)
		w.tells("RoleChanged a:1")
		if st := h.Stat(); st.Restarts != 0 || st.Served != 3 {
			t.Errorf("%+v", st)
		}
		next.obs.Lost(errReset)
		w.opens(answers(mongoconn.Secondary))
		w.pass(time.Second)
		w.is(h, Live)
		if st := h.Stat(); st.Restarts != 1 {
			t.Errorf("after a loss: %+v", st)
		}
	})
}

func TestAHostStaysWhereItIsUntilTheRightMemberIsWhereItsNameLeads(t *testing.T) {
	for name, there := range map[string]func(w *world, c *fakeConn) error{
		"it cannot be dialled":      func(*world, *fakeConn) error { return errRefused },
		"nobody answers":            func(_ *world, c *fakeConn) error { c.obs.Lost(errRefused); return nil },
		"another member answers":    func(_ *world, c *fakeConn) error { c.strange("b:1"); return nil },
		"a standalone answers":      func(_ *world, c *fakeConn) error { c.obs.WrongSocket(errors.New("not a member")); return nil },
		"it is silent":              func(*world, *fakeConn) error { return nil },
		"it cannot serve yet":       func(_ *world, c *fakeConn) error { c.hello(mongoconn.Recovering); return nil },
		"it says nothing of itself": func(_ *world, c *fakeConn) error { c.hello(mongoconn.Unknown); return nil },
		"it hangs": func(_ *world, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.hangs()
			return nil
		},
		"the login is refused": func(_ *world, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(ctx context.Context) error { c.obs.Lost(authRefused()); return hang(ctx) })
			return nil
		},
		"a socket of the pool leads elsewhere": func(_ *world, c *fakeConn) error {
			c.hello(mongoconn.Secondary)
			c.pings(func(context.Context) error { return c.strange("b:1") })
			return nil
		},
		"it is another host's server": func(_ *world, c *fakeConn) error { c.helloFrom(mongoconn.Secondary, processOf("first:1")); return nil },
		"a heartbeat was called off, and then nothing": func(_ *world, c *fakeConn) error {
			c.obs.Lost(context.Canceled)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.live("first:1")
				h, c, before := w.live("a:1")
				w.told()
				w.opens(func(_ string, c *fakeConn) error { return there(w, c) })
				for range 5 {
					c.moves()
					w.pass(30 * time.Second)
				}
				w.is(h, Live)
				if w.router.target("a:1") != before || c.closed() || h.Stat().Restarts != 0 {
					t.Error("it has not stayed")
				}
				if w.dials() != 7 {
					t.Errorf("%d connections, want one more for each report", w.dials())
				}
				events := w.events()
				if len(events) != 1 || events[0].(messages.AddressChanged).Stays == "" {
					t.Fatalf("told %v, want that it stays, once", events)
				}
				if read := w.offered(before, 1, pointRead)[0]; w.got(read) == nil || w.got(read).Err != nil {
					t.Errorf("a read got %+v", w.got(read))
				}
				for _, other := range w.conns[2:] {
					if !other.closed() {
						t.Error("a connection that was given up is open")
					}
				}
				// In the end it is there.
				w.opens(answers(mongoconn.Secondary))
				c.moves()
				w.is(h, Live)
				if w.router.target("a:1") == before {
					t.Error("it has not moved")
				}
				w.tells("AddressChanged a:1")
			})
		})
	}
}

func TestAHostThatServesNobodyRestartsWhenTheRightMemberIsWhereItsNameLeads(t *testing.T) {
	for _, state := range []State{Ejected, Standby} {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h := states[state].enter(w)
				w.is(h, state)
				old := w.conn()
				w.told()
				w.opens(func(_ string, c *fakeConn) error { c.strange("b:1"); return nil })
				old.moves()
				w.is(h, state)
				w.tells("AddressChanged a:1")
				if old.closed() || h.Stat().Restarts != 0 {
					t.Error("it has not stayed")
				}
				w.opens(answers(mongoconn.Secondary))
				old.moves()
				w.pass(time.Second)
				w.is(h, Live)
				want := []string{"AddressChanged a:1", "HostRestarting a:1", "HostLive a:1"}
				if got := w.told(messages.KindAddressChanged, messages.KindHostRestarting, messages.KindHostLive); !slices.Equal(got, want) {
					t.Errorf("told %v", got)
				}
				if !old.closed() || h.Stat().Restarts != 1 {
					t.Error("the old connection is open, or it was not restarted once")
				}
			})
		})
	}
}

func TestAHostThatIsBeingConnectedHasNowhereToMove(t *testing.T) {
	for _, state := range []State{Waiting, Dialing, Checking} {
		inWorld(t, func(w *world) {
			h := states[state].enter(w)
			w.is(h, state)
			dials := w.dials()
			w.conn().moves()
			if w.is(h, state); w.dials() != dials {
				t.Errorf("%s: it dials", state)
			}
		})
	}
}

// What was asked over a connection ends with it: see line, and fakeConn.Close, which looks.
func TestTheQuestionsOfAMoveEndWithTheirConnections(t *testing.T) {
	for name, end := range map[string]func(w *world, h *Host, old, next *fakeConn){
		"the second one, as the host is lost": func(w *world, h *Host, old, next *fakeConn) {
			next.hangs()
			next.hello(mongoconn.Secondary)
			w.is(h, Live)
			w.opens(answers(mongoconn.Secondary))
			old.obs.Lost(errReset)
		},
		"the second one, as the slave leaves": func(w *world, h *Host, _, next *fakeConn) {
			next.hangs()
			next.hello(mongoconn.Secondary)
			w.is(h, Live)
			h.Leave("test")
		},
		"the first one, as the host has moved": func(w *world, h *Host, old, next *fakeConn) {
			old.hangs()
			asked := make(chan struct{})
			old.pings(func(ctx context.Context) error { close(asked); return hang(ctx) })
			r := w.offered(w.router.target("a:1"), 1, pointRead)[0]
			<-asked // It is suspected.
			w.is(h, Live)
			next.hello(mongoconn.Secondary)
			r.Reply(&messages.ReadReply{Err: errReset})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, old, _ := w.live("a:1")
				w.opens(func(string, *fakeConn) error { return nil })
				old.moves()
				w.is(h, Live)
				next := w.conn()
				if next == old {
					t.Fatal("no second connection")
				}
				end(w, h, old, next)
				w.pass(10 * time.Millisecond)
				if !old.closed() && !next.closed() {
					t.Error("none is closed")
				}
			})
		})
	}
}

func TestAHostThatIsLostWhileItMovesIsDialledAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, _ := w.live("a:1")
		w.opens(func(string, *fakeConn) error { return nil })
		c.moves()
		w.is(h, Live)
		next := w.conn()
		w.opens(answers(mongoconn.Secondary))
		c.obs.Lost(errReset)
		w.pass(time.Second)
		w.is(h, Live)
		next.hello(mongoconn.Secondary)
		w.pass(time.Minute)
		if w.is(h, Live); !next.closed() || h.Stat().Restarts != 1 || w.dials() != 3 {
			t.Errorf("%d dials, %+v", w.dials(), h.Stat())
		}
	})
}
