package slave

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

func TestWhatAnotherHostMayServeGoesBackAsAWholeAndOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		s.set(func(s *shelf) {
			s.bad = func([]any) error {
				return mongo.CommandError{Message: "connection reset", Labels: []string{"NetworkError"}}
			}
		})
		reads := w.asks(host, 1, 2, 3, 2)
		s.lets(2)
		for _, r := range reads {
			if rep := w.got(r); rep == nil || rep.Err == nil {
				t.Errorf("got %+v", rep)
			}
			if r.Shared != 4 || len(r.Tried) != 1 {
				t.Errorf("it shared its attempt with %d, and was at %v", r.Shared, r.Tried)
			}
		}
		if n := len(w.router.failed); n != 5 || len(s.asked()) != 2 {
			t.Errorf("the router got back %d after %d finds", n, len(s.asked()))
		}
		w.settled(h, host)
	})
}

func TestABatchIsCalledOffOnlyWhenNobodyWaitsForIt(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		reads := w.asks(host, 1, 2, 3, 3)
		s.lets(1)
		for _, r := range reads[:3] {
			r.Fail(messages.ErrStopped)
			r.Fail(messages.ErrStopped) // Twice is once.
		}
		if w.pass(0); h.Stat().Active != 1 {
			t.Fatal("it was called off, and one still waits")
		}
		s.lets(1)
		w.finds(reads[3], 3)
		w.settled(h, host)

		w.asks(host, 0)
		reads = w.asks(host, 1, 2, 3)
		reads[0].Fail(messages.ErrStopped) // While it waits.
		s.set(func(s *shelf) { s.hung = func([]any) bool { return true } })
		s.lets(1)
		if got := s.asked(); len(got) != 4 || len(got[3]) != 2 {
			t.Errorf("asked for %v, with one that nobody waits for", got)
		}
		reads[1].Fail(messages.ErrStopped)
		reads[2].Fail(messages.ErrStopped)
		w.settled(h, host)
	})
}

func TestAReadThatIsGivenUpWhileItsBatchStartsLeavesItOnce(t *testing.T) {
	n := 50_000
	if raceDetector {
		n = 1000 // It would see a race at the first.
	}
	attempts := make([]*attempt, n)
	off := make([]bool, n)
	for i := range attempts {
		attempts[i] = &attempt{cancel: func() { off[i] = true }}
		for range 2 {
			attempts[i].reads = append(attempts[i].reads, request.NewRead(&messages.Read{}, pointRead, time.Now(), time.Now(), func(*messages.ReadReply) {}))
		}
	}
	// In step, so that now and then both happen at one moment.
	var at [2]atomic.Int64
	inStep := func(me int, f func(*attempt)) {
		for i, a := range attempts {
			at[me].Store(int64(i))
			for spins := 1; at[1-me].Load() < int64(i); spins++ {
				if spins%1000 == 0 {
					runtime.Gosched()
				}
			}
			f(a)
		}
		at[me].Store(int64(n))
	}
	var wg sync.WaitGroup
	wg.Go(func() { inStep(0, (*attempt).attach) })
	wg.Go(func() { inStep(1, func(a *attempt) { a.reads[0].Fail(messages.ErrStopped) }) })
	wg.Wait()
	for i, a := range attempts {
		if off[i] {
			t.Fatalf("%d was called off, and one still waits", i)
		}
		if a.reads[1].Fail(messages.ErrStopped); !off[i] {
			t.Fatalf("%d goes on, and nobody waits", i)
		}
	}
}

func TestEachReadOfABatchIsAnsweredByItsOwnDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		start := time.Now()
		var reads []*asked
		for i := range 4 { // Of like patience.
			reads = append(reads, askWithin(byID(i), &messages.Read{}, 2100*time.Millisecond+time.Duration(i)*300*time.Millisecond))
		}
		if err := offer(host, reads...); err != nil {
			t.Fatal(err)
		}
		s.set(func(s *shelf) { s.hung = func(ids []any) bool { return true } })
		s.lets(1)
		for _, r := range reads {
			w.pass(time.Until(r.Deadline) - 1)
			if w.got(r) != nil {
				t.Error("answered before its deadline")
			}
			w.pass(1)
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, context.DeadlineExceeded) {
				t.Errorf("%v after the start: %+v", time.Since(start), rep)
			}
		}
		if n := len(s.asked()); n != 2 {
			t.Errorf("%d finds", n)
		}
		w.settled(h, host)
	})
}

func TestABatchOnTheWireToAHostThatHangsIsMovedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		reads := w.asks(host, 1, 2, 2, 3)
		given := w.asks(host, 4)[0]
		s.set(func(s *shelf) { s.hung = func([]any) bool { return true } })
		s.lets(1)
		given.Fail(messages.ErrStopped)
		waiting := w.asks(host, 5, 6)
		moved, probe := host.evacuate(command.Point)
		if moved != len(reads)+len(waiting) || probe.cmd == nil || probe.cmd.Name != "find" || probe.cmd.ID.IsZero() {
			t.Errorf("%d were moved, and the probe is %v", moved, probe)
		}
		for _, r := range reads {
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, errEvacuated) || len(r.Tried) != 1 {
				t.Errorf("one of the batch got %+v", rep)
			}
		}
		for _, r := range waiting {
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, errUnserved) || len(r.Tried) != 0 {
				t.Errorf("one that waited got %+v", rep)
			}
		}
		if n := len(w.router.evacuated); n != len(reads) {
			t.Errorf("the router got back %d as evacuated", n)
		}
		if len(w.router.failed) != 0 {
			t.Errorf("the router got back %v as failed", w.router.failed)
		}
		w.settled(h, host)
		host.reopen()
		s.set(func(s *shelf) { s.hung = nil })
		again := w.asks(host, 7)[0]
		s.opens()
		w.finds(again, 7)
	})
}

func TestABatchOnTheWireToAHostThatIsLostFailsOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		_, s, host := w.busy(numbered(10)...)
		first := w.asks(host, 1, 2, 3)
		s.lets(1)
		w.asks(host, 4)
		s.c.obs.Lost(errReset)
		for _, r := range first {
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, messages.ErrNotLive) || len(r.Tried) != 1 {
				t.Errorf("got %+v", rep)
			}
		}
		if f, u := len(w.router.failed), len(w.router.unserved); f != 3 || u != 1 {
			t.Errorf("%d failed and %d unserved, want 3 and 1", f, u)
		}
		if n := host.load.Pending(); n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

func TestTheRestOfACutBatchGoesBackUnsentFromAHostThatServesNoMore(t *testing.T) {
	for how, end := range map[string]func(*service){
		"closed":  (*service).close,
		"ejected": func(s *service) { s.evacuate(command.Point) },
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy(numbered(10)...)
				s.set(func(s *shelf) { s.most = 3 })
				reads := w.asks(host, 0, 1, 2, 3, 4, 5)
				// It ends while the first of the batch is answered.
				first := askThen(byID(0), func(*messages.ReadReply) { end(host) })
				if err := offer(host, first); err != nil {
					t.Fatal(err)
				}
				s.opens()
				for i, r := range append(reads[:3:3], first) {
					w.finds(r, i%3)
				}
				for _, r := range reads[3:] {
					if rep := w.got(r); rep == nil || !errors.Is(rep.Err, errUnserved) {
						t.Errorf("got %+v, want that it comes back unserved", rep)
					}
				}
				if n := len(s.asked()); n != 2 {
					t.Errorf("%d finds", n)
				}
				w.settled(h, host)
			})
		})
	}
}

func TestAnEvacuatedBatchWhoseReplyComesAfterAllIsNotGoneOnWith(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		w.router.elsewhere = true
		reads := w.asks(host, 0, 1, 2, 3, 4, 5)
		s.set(func(s *shelf) {
			s.most = 3
			s.then = func(n int, _ []any) {
				if n == 2 {
					host.evacuate(command.Point)
				}
			}
		})
		s.opens()
		for _, r := range reads {
			if rep := w.got(r); rep != nil {
				t.Errorf("got %+v, from a host that has nothing to say any more", rep)
			}
		}
		if e, u := len(w.router.evacuated), len(w.router.unserved); e != 6 || u != 0 {
			t.Errorf("%d came back as evacuated and %d as unserved, want 6 and 0", e, u)
		}
		if st := h.Stat(); st.Served != 1 || st.Failed != 0 {
			t.Errorf("%+v", st)
		}
		w.settled(h, host)
	})
}

func TestAnAttemptThatHasJustComeBackIsNotEvacuated(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		reads := w.asks(host, 0, 1)
		s.lets(1)
		_, sent := host.stop(false) // As an evacuation begins.
		s.lets(1)
		w.finds(reads[0], 0)
		w.finds(reads[1], 1)
		if len(sent) != 1 || host.claim(sent[0]) {
			t.Errorf("of %d attempts one that is answered was moved", len(sent))
		}
		w.settled(h, host)
	})
}

func TestAPanickingReceiverIsNoneOfTheOthersBusiness(t *testing.T) {
	for how, end := range map[string]func(*shelf, *service){
		"answered":            func(s *shelf, _ *service) { s.opens() },
		"hung, and moved":     func(_ *shelf, host *service) { host.evacuate(command.Point) },
		"waiting, and closed": func(_ *shelf, host *service) { host.close() },
		"failed": func(s *shelf, _ *service) {
			s.set(func(s *shelf) { s.bad = func([]any) error { return errReset } })
			s.opens()
		},
		"cut, and then ejected": func(s *shelf, host *service) { s.set(func(s *shelf) { s.most = 1 }); s.opens() },
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy(numbered(10)...)
				var reads []*asked
				panics := 0
				for i := range 9 {
					reads = append(reads, askThen(byID(i), func(*messages.ReadReply) {
						if i == 0 && how == "cut, and then ejected" {
							host.evacuate(command.Point)
						}
						if i%3 == 0 {
							panics++
							panic("bomb")
						}
					}))
				}
				if err := offer(host, reads...); err != nil {
					t.Fatal(err)
				}
				if how == "hung, and moved" {
					s.set(func(s *shelf) { s.hung = func([]any) bool { return true } })
					s.lets(1)
				}
				end(s, host)
				for i, r := range reads {
					if rep := w.got(r); rep == nil {
						t.Errorf("read %d has no reply", i)
					} else if errors.Is(rep.Err, messages.ErrPanicked) {
						t.Errorf("read %d got the panic of another one's receiver", i)
					}
				}
				if panics != 3 {
					t.Errorf("%d panics", panics)
				}
				w.settled(h, host)
			})
		})
	}
}

func TestABatchIsOneCommandForAHostsHealth(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(50)...)
		for i := range 50 {
			w.asks(host, i)
		}
		s.set(func(s *shelf) { s.hung = func([]any) bool { return true } })
		s.lets(1)
		if n := host.health.flying; n != 1 {
			t.Errorf("%d reads are on the wire for the health, want the one command", n)
		}
		w.pass(2 * time.Second) // Pings are answered.
		w.is(h, Live)
	})
}

func TestReadsThatWereGivenUpAreNotCountedAsQueuedForEver(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(50)...)
		for i := range 20 {
			w.asks(host, i)[0].Fail(messages.ErrStopped)
		}
		if st := h.Stat(); st.Queued != 0 {
			t.Errorf("%d queued, of 20 that were given up", st.Queued)
		}
		s.lets(1) // The worker has been through all of them.
		w.asks(host, 1)
		w.asks(host, 2, 3, 4)
		if st := h.Stat(); st.Queued != 3 {
			t.Errorf("%d queued, want 3", st.Queued)
		}
		s.opens()
		w.settled(h, host)
	})
}

func TestAFullQueueMakesRoomOfReadsThatWereGivenUpInABatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.HostQueue = 10
		h, s, host := w.busy(numbered(50)...)
		var reads []*asked
		for i := range 10 {
			reads = append(reads, w.asks(host, i)...)
		}
		if err := offer(host, ask(byID(10))); !errors.Is(err, messages.ErrOverloaded) {
			t.Fatalf("the eleventh: %v", err)
		}
		for _, r := range reads[:10] {
			r.Fail(messages.ErrStopped)
		}
		more := w.asks(host, 10, 11, 12)
		s.opens()
		for i, r := range more {
			w.finds(r, 10+i)
		}
		if got := s.asked()[1]; len(got) != 3 {
			t.Errorf("asked for %v", got)
		}
		w.settled(h, host)
	})
}
