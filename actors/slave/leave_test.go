package slave

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

func is(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestInEveryStateAHostThatLeavesIsOutAndIsNotDialledAgain(t *testing.T) {
	for state, s := range states {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h := s.enter(w)
				w.is(h, state)
				gone := h.Leave("it is no member any more")
				w.is(h, Leaving)
				if !is(gone.Out) || w.router.target("a:1") != nil {
					t.Error("it is in rotation")
				}
				dials := w.dials()
				w.told()
				w.opens(answers(mongoconn.Secondary))
				w.conn().hello(mongoconn.Secondary)
				w.conn().obs.Lost(errReset)
				w.conn().strange("b:1")
				w.pass(time.Hour)
				if !is(gone.Drained) || w.dials() != dials {
					t.Errorf("drained: %v; %d dials since", is(gone.Drained), w.dials()-dials)
				}
				w.tells()
				if err := w.super.Remove(context.Background(), "slave-a:1"); err != nil {
					t.Fatal(err)
				}
				w.is(h, Stopped)
				if reason := h.Stat().Reason; reason != "it is no member any more" {
					t.Errorf("it is stopped since %s", reason)
				}
				// Its name is free for the same host, should it come back.
				back := w.spawn("a:1")
				w.is(back, Live)
			})
		})
	}
}

func TestReadsOnTheWireToAHostThatLeavesComeBackAndThoseThatWaitGoElsewhere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.OtherWorkers, w.cfg.NoBatch = 2, true
		h, c, target := w.live("a:1")
		answer := make(chan struct{})
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { <-answer; return reply(), nil })
		sent := w.offered(target, 2, heavyRead)
		waiting := w.offered(target, 3, heavyRead)
		gone := h.Leave("it is no member any more")
		w.is(h, Leaving)
		for _, r := range waiting {
			if rep := w.got(r); rep == nil || rep.Err != errUnserved {
				t.Errorf("a read that waited got %+v", rep)
			}
		}
		if st := h.Stat(); is(gone.Drained) || c.closed() || st.Active != 2 || st.Reason != "it is no member any more" {
			t.Fatalf("the connection is closed: %v; %+v", c.closed(), st)
		}
		if err := offer(target, ask(heavyRead)); !errors.Is(err, messages.ErrNotLive) {
			t.Errorf("a read that comes late: %v", err)
		}
		w.pass(drainFor / 2)
		close(answer)
		for _, r := range sent {
			if rep := w.got(r); rep == nil || rep.Err != nil {
				t.Errorf("a read on the wire got %+v", rep)
			}
		}
		if !is(gone.Drained) || !c.closed() {
			t.Error("all reads have come back, and the connection is open still")
		}
		if st := h.Stat(); st.Active != 0 || st.Served != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestReadsThatDoNotComeBackFromAHostThatLeavesAreCalledOff(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		read := askWithin(heavyRead, &messages.Read{}, time.Minute)
		if err := offer(target, read); err != nil {
			t.Fatal(err)
		}
		w.is(h, Live) // The read is on the wire by then.
		gone := h.Leave("it is no member any more")
		w.pass(drainFor - time.Millisecond)
		if is(gone.Drained) || w.got(read) != nil {
			t.Fatal("it is called off too early")
		}
		w.pass(time.Millisecond)
		if rep := w.got(read); !is(gone.Drained) || !c.closed() || rep == nil || !errors.Is(rep.Err, messages.ErrNotLive) {
			t.Errorf("the connection is closed: %v; the read got %+v", c.closed(), rep)
		}
	})
}

func TestAHostThatIsToLeaveBeforeItsActorHasStartedIsNotDialled(t *testing.T) {
	inWorld(t, func(w *world) {
		h, err := New(w.system, "a:1", w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		gone := h.Leave("it is no member any more")
		if err := w.super.Spawn("slave-a:1", h.Props()); err != nil {
			t.Fatal(err)
		}
		w.is(h, Leaving)
		if !is(gone.Out) || !is(gone.Drained) || w.dials() != 0 {
			t.Errorf("%d dials", w.dials())
		}
		w.tells()
	})
}
