package router

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// desk is a live host that does nothing with what it is given. With a free worker it
// lets askers do the work, which takes until the read is answered.
type desk struct {
	name string
	inc  uint64
	load load.Load
	free bool

	mu      sync.Mutex
	recalls int
	got     []*request.Read // mu
	inline  []bool          // mu; whether the caller offered to do the work
	ran     int             // mu; how often it has done it
}

func (d *desk) Host() string        { return d.name }
func (d *desk) Incarnation() uint64 { return d.inc }
func (d *desk) Load() *load.Load    { return &d.load }

func (d *desk) Recall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recalls++
}

func (d *desk) Offer(r *request.Read, inline bool) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got, d.inline = append(d.got, r), append(d.inline, inline)
	if !inline || !d.free {
		return nil, nil
	}
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		left := func() { cancel() }
		r.SetAttempt(&left)
		d.mu.Lock()
		d.ran++
		d.mu.Unlock()
		<-ctx.Done()
		d.load.Cancel(r.LoadClass(), time.Now())
	}, nil
}

// last is what was offered last.
func (d *desk) last(t testing.TB) (r *request.Read, inline bool) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.got) == 0 {
		t.Fatalf("%s was offered nothing", d.name)
	}
	return d.got[len(d.got)-1], d.inline[len(d.got)-1]
}

func (d *desk) runs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ran
}

// inHall runs a test with a router, in virtual time, and checks that no read is left.
func inHall(t *testing.T, f func(t *testing.T, r *Router)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		r, err := New(system, Config{Encoder: &command.Encoder{}, From: messages.FromAll, SlowStart: -1})
		if err != nil {
			t.Fatal(err)
		}
		f(t, r)
		synctest.Wait()
		if st := r.Stat(); st.Pending != 0 || st.Parked != 0 {
			t.Errorf("%d reads are pending and %d parked", st.Pending, st.Parked)
		}
		r.Stop()
		r.Close()
		system.Shutdown()
		time.Sleep(time.Minute)
	})
}

type panics struct{ Encoder }

func (panics) Read(*messages.Read) (*command.Read, error) { panic("the game's marshaler") }

func TestAPanicInTheGamesMarshalerIsTheReadsOwnReply(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		r.cfg.Encoder = panics{}
		if rep := r.Ask(t.Context(), byID(1)); !errors.Is(rep.Err, messages.ErrPanicked) {
			t.Errorf("Ask: %+v", rep)
		}
		replies := make(chan *messages.ReadReply, 1)
		r.Submit(byID(1), func(rep *messages.ReadReply) { replies <- rep })
		if rep := now(t, replies); !errors.Is(rep.Err, messages.ErrPanicked) {
			t.Errorf("Submit: %+v", rep)
		}
	})
}

func TestAReadThatNamesNoDeadlineHasOne(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		began := time.Now()
		rep := r.Ask(context.Background(), byID(1))
		if took := time.Since(began); took != DefaultReadTimeout || !errors.Is(rep.Err, messages.ErrDeadline) {
			t.Errorf("after %v: %+v", took, rep)
		}
	})
}

func byID(id any) *messages.Read {
	return &messages.Read{Database: "game", Collection: "players", Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}}}
}

// asking asks in a goroutine of its own.
func asking(ctx context.Context, r *Router, m *messages.Read) <-chan *messages.ReadReply {
	done := make(chan *messages.ReadReply, 1)
	go func() { done <- r.Ask(ctx, m) }()
	synctest.Wait()
	return done
}

// now takes what must be there already.
func now(t testing.TB, done <-chan *messages.ReadReply) *messages.ReadReply {
	t.Helper()
	synctest.Wait()
	select {
	case rep := <-done:
		return rep
	default:
		t.Fatal("the asker is not back")
		return nil
	}
}

func TestAnAskerWhoDoesTheWorkIsBackAsSoonAsItGivesUp(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		d := &desk{name: "a:1", inc: 1, free: true}
		r.Join(d, request.Member{})
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := asking(ctx, r, byID(1))
		if len(done) != 0 || d.runs() != 1 {
			t.Fatalf("%d are at work, and %d back", d.runs(), len(done))
		}
		cancel()
		if rep := now(t, done); !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("got %+v", rep)
		}
		// And at once when it has given up before.
		if rep := now(t, asking(ctx, r, byID(1))); !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("got %+v", rep)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAnAskerWhoDoesTheWorkIsBackAtTheDeadline(t *testing.T) {
	for _, ends := range []bool{false, true} {
		inHall(t, func(t *testing.T, r *Router) {
			ctx, cancel := context.Background(), func() {}
			if ends {
				ctx, cancel = context.WithCancel(ctx)
			}
			defer cancel()
			r.Join(&desk{name: "a:1", inc: 1, free: true}, request.Member{})
			start := time.Now()
			m := byID(1)
			m.Deadline = start.Add(time.Second)
			rep := r.Ask(ctx, m)
			if took := time.Since(start); took != time.Second || !errors.Is(rep.Err, messages.ErrDeadline) {
				t.Errorf("after %v: %+v", took, rep)
			}
		})
	}
}

func TestOnlyAnAskerWhoIsThereDoesTheWork(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		a, b, c := &desk{name: "a:1", inc: 1, free: true}, &desk{name: "b:1", inc: 2, free: true}, &desk{name: "c:1", inc: 3, free: true}
		// Parked: it waits for its reply when a host joins.
		done := asking(t.Context(), r, byID(1))
		r.Join(a, request.Member{})
		read, inline := a.last(t)
		if inline {
			t.Error("a parked read was offered with its asker's goroutine")
		}
		// Moved from an ejected host.
		r.Join(b, request.Member{})
		r.Leave(a)
		r.Evacuated(read, a)
		if _, inline = b.last(t); inline {
			t.Error("an evacuated read was offered with its asker's goroutine")
		}
		// Failed there.
		r.Join(c, request.Member{})
		r.Leave(b)
		r.Failed(read, b, errors.New("reset"))
		if _, inline = c.last(t); inline {
			t.Error("a read that failed was offered with its asker's goroutine")
		}
		// Never sent.
		r.Unserved(read)
		if _, inline = c.last(t); inline {
			t.Error("a read that was not served was offered with its asker's goroutine")
		}
		read.Reply(&messages.ReadReply{Host: "c:1"})
		if rep := now(t, done); rep.Err != nil || rep.Host != "c:1" {
			t.Errorf("got %+v", rep)
		}
		// An actor is never there.
		r.Submit(byID(1), func(*messages.ReadReply) {})
		read, inline = c.last(t)
		if inline {
			t.Error("an actor's read was offered with a goroutine")
		}
		read.Fail(messages.ErrStopped)
		if n := a.runs() + b.runs() + c.runs(); n != 0 {
			t.Errorf("%d reads were served by those who were not there", n)
		}
	})
}

func TestAReadThatHungAtTheOnlyHostItMayGoToIsSentThereAgainOnceThatIsBack(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		a, b := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}
		r.Join(a, request.Member{Primary: true})
		r.Join(b, request.Member{})
		m := byID(1)
		m.From = messages.FromPrimary
		done := asking(t.Context(), r, m)
		read, _ := a.last(t)
		if !r.Eject(a, false) {
			t.Fatal("it was not ejected")
		}
		r.Evacuated(read, a)
		if st := r.Stat(); st.Parked != 1 {
			t.Fatalf("%+v", st)
		}
		r.Join(a, request.Member{Primary: true})
		synctest.Wait()
		if len(done) != 0 || len(a.got) != 2 || len(b.got) != 0 {
			t.Fatalf("it was offered %d times to its host and %d times to another one, and %d are answered", len(a.got), len(b.got), len(done))
		}
		// Once: after a failure it goes nowhere again.
		r.Failed(read, a, errors.New("reset"))
		if rep := now(t, done); rep.Err == nil || rep.Err.Error() != "reset" || len(a.got) != 2 {
			t.Errorf("got %+v after %d offers", rep, len(a.got))
		}
	})
}

func TestTheBytesThatReadsHoldAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		defer time.Sleep(time.Minute)
		defer system.Shutdown()
		r, err := New(system, Config{Encoder: &command.Encoder{}, ReadQueueBytes: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		long := func(n int) *messages.Read {
			return &messages.Read{Database: "game", Collection: "c", Operation: messages.FindOne{Filter: bson.D{{Key: "a", Value: strings.Repeat("x", n)}}}}
		}
		var first *messages.ReadReply
		cancel := r.Submit(long(6_000), func(rep *messages.ReadReply) { first = rep })
		var over *messages.OverloadedError
		if rep := r.Ask(t.Context(), long(6_000)); !errors.As(rep.Err, &over) || over.Limit != "ReadQueueBytes" || over.Max != 10_000 || over.Pending < 6_000 {
			t.Errorf("a second: %v", rep.Err)
		}
		if rep := r.Ask(t.Context(), long(20_000)); !errors.Is(rep.Err, messages.ErrInvalid) {
			t.Errorf("one that can never be held: %v", rep.Err)
		}
		if st := r.Stat(); st.Bytes < 6_000 || st.Pending != 1 {
			t.Errorf("%+v", st)
		}
		cancel(nil)
		if first == nil || r.Stat().Bytes != 0 {
			t.Errorf("%+v, %+v", first, r.Stat())
		}
	})
}

func TestAnEjectedHostIsAskedBackWhenTheOthersAreLost(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		a, b, c := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}, &desk{name: "c:1", inc: 3}
		for _, d := range []*desk{a, b, c} {
			r.Join(d, request.Member{})
		}
		r.Eject(a, false)
		r.Leave(b)
		if a.recalls != 0 {
			t.Error("it was recalled while one of two was left")
		}
		r.Leave(c)
		if a.recalls != 1 || b.recalls+c.recalls != 0 {
			t.Errorf("recalled %d times, and the others %d and %d", a.recalls, b.recalls, c.recalls)
		}
	})
}

func TestAReadThatHungGoesToAHostThatHasNotHadItFirst(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		a, b := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}
		r.Join(a, request.Member{})
		done := asking(t.Context(), r, byID(1))
		read, _ := a.last(t)
		r.Join(b, request.Member{})
		r.Evacuated(read, a) // A is back before its reads are moved.
		if synctest.Wait(); len(a.got) != 1 || len(b.got) != 1 {
			t.Errorf("it was offered %d times to its host and %d times to the other one", len(a.got), len(b.got))
		}
		r.Evacuated(read, b)
		if synctest.Wait(); len(a.got) != 2 || len(b.got) != 1 {
			t.Errorf("then it was offered %d times to its host and %d times to the other one", len(a.got), len(b.got))
		}
		r.Evacuated(read, a)
		if rep := now(t, done); !errors.Is(rep.Err, messages.ErrNotLive) {
			t.Errorf("got %+v", rep)
		}
	})
}

func TestAReadThatIsMovedAgainCostsWhatAFailedOneDoes(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		hosts := make([]*desk, 6)
		for i := range hosts {
			hosts[i] = &desk{name: string(rune('a'+i)) + ":1", inc: uint64(i + 1)}
		}
		r.Join(hosts[0], request.Member{})
		done := asking(t.Context(), r, byID(1))
		read, _ := hosts[0].last(t)
		for i, h := range hosts[1:] {
			r.Join(h, request.Member{})
			r.Evacuated(read, hosts[i])
			if i == DefaultReadAttempts-1 {
				break
			}
			if synctest.Wait(); len(h.got) != 1 {
				t.Fatalf("it was offered %d times to host %d", len(h.got), i+1)
			}
		}
		if rep := now(t, done); !errors.Is(rep.Err, messages.ErrNotLive) || rep.Attempts != DefaultReadAttempts {
			t.Errorf("got %+v", rep)
		}
		if st := r.Stat(); st.Evacuated != 1 || st.Retries != DefaultReadAttempts-2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestACommandIsNotSentTwiceWhenItsHostIsEjected(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		a, b := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}
		r.Join(a, request.Member{})
		done := asking(t.Context(), r, &messages.Read{Database: "game", Operation: messages.Command{Document: bson.D{{Key: "collStats", Value: "players"}}}})
		read, _ := a.last(t)
		r.Join(b, request.Member{})
		r.Evacuated(read, a)
		if rep := now(t, done); !errors.Is(rep.Err, messages.ErrNotLive) || len(b.got) != 0 {
			t.Errorf("got %+v, and it was sent %d times more", rep, len(b.got))
		}
	})
}

func TestAQueuedReadIsWaitedForAndGivenUpAtOnce(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		d := &desk{name: "a:1", inc: 1}
		r.Join(d, request.Member{})
		ctx, cancel := context.WithCancel(t.Context())
		done := asking(ctx, r, byID(1))
		if _, inline := d.last(t); !inline {
			t.Error("the asker has not offered to do the work")
		}
		cancel()
		if rep := now(t, done); !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("got %+v", rep)
		}
	})
}

// TestAFewRoundTripsThatFailDoNotUseUpTheRetriesOfAll: a host is lost with four batches on
// the wire.
func TestAFewRoundTripsThatFailDoNotUseUpTheRetriesOfAll(t *testing.T) {
	for _, c := range []struct{ trips, shared, retried int }{
		{4, 128, 4 * 128},
		{defaultBudgetCapacity + 5, 128, defaultBudgetCapacity * 128},
		{512, 1, defaultBudgetCapacity},
		{512, 0, defaultBudgetCapacity}, // It never was at a host.
	} {
		inHall(t, func(t *testing.T, r *Router) {
			a, b := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}
			r.Join(a, request.Member{})
			for range c.trips * max(1, c.shared) {
				r.Submit(byID(1), func(*messages.ReadReply) {})
			}
			// What they have earned is more than the budget holds.
			r.Join(b, request.Member{})
			r.Leave(a)
			for _, read := range a.got {
				read.Shared = c.shared
				r.Failed(read, a, errors.New("reset"))
			}
			if n := len(b.got); n != c.retried {
				t.Errorf("%+v: %d of %d were tried elsewhere", c, n, len(a.got))
			}
			for _, read := range a.got {
				read.Reply(&messages.ReadReply{})
			}
		})
	}
}

func TestAReadThatMayHaveToWaitForItsTimeLeavesHalfOfItsOwnForAnotherHost(t *testing.T) {
	find := func() *messages.Read {
		return &messages.Read{Database: "game", Collection: "players", Operation: messages.Find{Filter: bson.D{}}}
	}
	at := bson.Timestamp{T: 7, I: 1}
	for name, c := range map[string]struct {
		read    func() *messages.Read
		after   bool
		hosts   int
		reached bool
		half    bool
	}{
		"a range":                      {find, true, 2, false, true},
		"where there is one host":      {find, true, 1, false, false},
		"that need not wait there":     {find, true, 2, true, false},
		"that waits for nothing":       {find, false, 2, false, false},
		"a point read, which is quick": {func() *messages.Read { return byID(1) }, true, 2, true, true},
		"a Command, which goes once": {func() *messages.Read {
			return &messages.Read{Database: "game", Operation: messages.Command{Document: bson.D{{Key: "dbStats", Value: 1}}}}
		}, true, 2, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inHall(t, func(t *testing.T, r *Router) {
				desks := make([]*desk, c.hosts)
				for i := range desks {
					desks[i] = &desk{name: string(rune('a' + i)), inc: uint64(i + 1)}
					if c.reached {
						desks[i].load.Replied(at)
					}
					r.Join(desks[i], request.Member{})
				}
				m := c.read()
				m.Deadline = time.Now().Add(4 * time.Second)
				if c.after {
					m.After.OperationTime = at
				}
				r.Submit(m, func(*messages.ReadReply) {})
				for _, d := range desks {
					for _, read := range d.got {
						want := 4 * time.Second
						if c.half {
							want = 2 * time.Second
						}
						if got := time.Until(read.AttemptDeadline); got != want {
							t.Errorf("the attempt has %v, want %v", got, want)
						}
						read.Fail(messages.ErrStopped)
					}
				}
			})
		})
	}
}
