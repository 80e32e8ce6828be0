package master

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWritesAreHeldWithoutAPrimaryAndGoOutInOrderWhenThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		r := newRig(t, Config{Hosts: func() []string { return []string{"a:1 waiting: gone"} }}, wire)
		r.PrimaryChanged("")
		if len(r.seen()) != 0 {
			t.Errorf("events %v with no write waiting", r.seen())
		}
		expiring, _ := r.ask(until(insert(0), time.Second))
		var replies []chan *messages.WriteReply
		for n := 1; n <= 3; n++ {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
		}
		rep := r.get(expiring)
		var late *messages.DeadlineError
		if rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrNoPrimary) || !errors.Is(rep.Err, messages.ErrDeadline) ||
			!errors.As(rep.Err, &late) || late.Phase != "held" {
			t.Errorf("the expired one: %+v", rep)
		}
		var none *messages.NoPrimaryError
		if !errors.As(rep.Err, &none) || !slices.Equal(none.Hosts, []string{"a:1 waiting: gone"}) || none.Err != nil {
			t.Errorf("it does not say why: %v", rep.Err)
		}
		time.Sleep(time.Second) // In the bubble's time.
		if s := r.Stat(); s.HeldFor != 2*time.Second || s.Queued != 3 {
			t.Errorf("stat %+v", s)
		}
		r.PrimaryChanged("b:1")
		for _, reply := range replies {
			if rep := r.get(reply); rep.Outcome != messages.Applied {
				t.Errorf("a held one: %+v", rep)
			}
		}
		if got := numbers(wire.sent()); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("sent %v", got)
		}
		events := r.seen()
		if len(events) != 2 {
			t.Fatalf("events %v", events)
		}
		if e, ok := events[0].(messages.WritesHeld); !ok || e.Waiting != 1 {
			t.Errorf("first event %v", events[0])
		}
		if e, ok := events[1].(messages.WritesResumed); !ok || e.Held != 4 || e.Sent != 3 || e.Expired != 1 || e.After != 2*time.Second {
			t.Errorf("second event %+v", events[1])
		}
	})
}

func TestWhatQueuesBehindABatchIsHeldWhenThePrimaryGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{}, wire)
		first, _ := r.ask(insert(0))
		synctest.Wait()
		second, _ := r.ask(insert(1))
		third, _ := r.ask(insert(2))
		r.PrimaryChanged("")
		close(gate)
		r.get(first)
		synctest.Wait()
		if got := len(wire.sent()); got != 1 {
			t.Fatalf("%d batches went out with no primary", got)
		}
		if e, ok := r.seen()[0].(messages.WritesHeld); !ok || e.Waiting != 2 {
			t.Errorf("event %+v", r.seen()[0])
		}
		r.PrimaryChanged("a:1")
		r.get(second)
		r.get(third)
		if e, ok := r.seen()[1].(messages.WritesResumed); !ok || e.Held != 2 || e.Sent != 2 || e.Expired != 0 {
			t.Errorf("event %+v", r.seen()[1])
		}
	})
}

func TestARefusalThatPassesIsSentAgainBeforeAnythingBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if len(wire.sent()) <= 3 {
				try(a, refused, serverError(10107))
				return result{err: mongo.CommandError{Code: 10107}}
			}
			return succeed(ctx, b, a)
		}
		r := newRig(t, Config{MaxBatch: 1}, wire)
		first, _ := r.ask(insert(0))
		second, _ := r.ask(insert(1))
		if rep := r.get(first); rep.Outcome != messages.Applied || rep.Attempts != 4 {
			t.Errorf("first: %+v", rep)
		}
		r.get(second)
		if got := numbers(wire.sent()); !slices.Equal(got, []int{0, 0, 0, 0, 1}) {
			t.Errorf("sent %v", got)
		}
	})
}

func TestACommandIsNeverSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
			tryNumbered(a, false, refused, serverError(10107))
			return result{err: mongo.CommandError{Code: 10107}}
		}}
		r := newRig(t, Config{}, wire)
		reply, _ := r.ask(&messages.Write{Database: "game", Operation: messages.Command{Document: map[string]any{"create": "x"}}})
		if rep := r.get(reply); rep.Outcome != messages.NotApplied || rep.Attempts != 1 {
			t.Errorf("reply %+v", rep)
		}
		if len(wire.sent()) != 1 {
			t.Errorf("sent %d times", len(wire.sent()))
		}
	})
}

// A sender finds the gate closed; before it says so, the gate opens and the lane is
// told. Its word comes too late then, and must not begin a hold that nothing ends.
func TestAHoldThatIsOverIsNotAnnounced(t *testing.T) {
	var events []messages.Event
	h := hold{emit: func(e messages.Event) { events = append(events, e) }}
	h.set(func(h *hold) { h.connected, h.primary = true, "a:1" })
	h.wait(1)
	if len(events) != 0 || !h.heldSince().IsZero() {
		t.Errorf("events %v", events)
	}
}

func TestThatThereIsNoPrimaryYetIsNoNewsAtTheStart(t *testing.T) {
	held := func(r *rig) (got []messages.Event) {
		for _, e := range r.seen() {
			if k := e.Kind(); k == messages.KindWritesHeld || k == messages.KindWritesResumed {
				got = append(got, e)
			}
		}
		return got
	}
	start := func(t *testing.T, f func(r *rig)) {
		synctest.Test(t, func(t *testing.T) { f(rigWithoutPrimary(t, Config{}, &fakeWire{})) })
	}
	t.Run("when it is there in time", func(t *testing.T) {
		start(t, func(r *rig) {
			reply, _ := r.ask(insert(0))
			r.PrimaryChanged("")
			time.Sleep(startGrace - 1)
			r.PrimaryChanged("a:1")
			r.get(reply)
			time.Sleep(time.Minute)
			if got := held(r); len(got) != 0 {
				t.Errorf("told %v", got)
			}
			// The next hold is news at once, however soon after the start it may be.
			r.PrimaryChanged("")
			reply, _ = r.ask(insert(1))
			if got := held(r); len(got) != 1 || got[0].(messages.WritesHeld).Waiting != 1 {
				t.Errorf("told %v of a primary that was lost", got)
			}
			r.PrimaryChanged("a:1")
			r.get(reply)
			if got := held(r); len(got) != 2 || got[1].(messages.WritesResumed).Held != 1 {
				t.Errorf("told %v of a primary that came back", got)
			}
		})
	})
	t.Run("when it is lost again soon", func(t *testing.T) {
		start(t, func(r *rig) {
			r.PrimaryChanged("a:1")
			r.PrimaryChanged("")
			r.ask(insert(0))
			if got := held(r); len(got) != 1 {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("but for when it is not there in time", func(t *testing.T) {
		start(t, func(r *rig) {
			reply, _ := r.ask(insert(0))
			time.Sleep(startGrace / 2)
			r.ask(insert(1))
			r.ask(until(insert(2), time.Minute))
			time.Sleep(startGrace/2 - 1)
			synctest.Wait()
			if got := held(r); len(got) != 0 {
				t.Errorf("told %v", got)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := held(r); len(got) != 1 || got[0].(messages.WritesHeld).Waiting != 3 {
				t.Errorf("told %v", got)
			}
			r.PrimaryChanged("a:1")
			r.get(reply)
			if got := held(r); len(got) != 2 || got[1].(messages.WritesResumed).Sent != 3 || got[1].(messages.WritesResumed).After != startGrace {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("but for a write that waits later", func(t *testing.T) {
		start(t, func(r *rig) {
			time.Sleep(startGrace)
			r.ask(insert(0))
			if got := held(r); len(got) != 1 {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("but for a write that expires", func(t *testing.T) {
		start(t, func(r *rig) {
			r.ask(insert(0))
			brief, _ := r.ask(until(insert(1), startGrace/4))
			r.get(brief)
			if got := held(r); len(got) != 1 || got[0].(messages.WritesHeld).Waiting != 1 {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("but for a login that is refused", func(t *testing.T) {
		start(t, func(r *rig) {
			r.ask(insert(0))
			r.LoginRefused(&messages.LoginError{Host: "a:1"})
			if got := held(r); len(got) != 1 || got[0].(messages.WritesHeld).Reason == "" {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("nor after the end", func(t *testing.T) {
		start(t, func(r *rig) {
			r.ask(insert(0))
			r.Close()
			time.Sleep(time.Minute)
			if got := held(r); len(got) != 0 {
				t.Errorf("told %v", got)
			}
		})
	})
}
