package master

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func TestADeadlineInTheQueueKeepsTheWriteFromBeingSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{}, wire)
		first, _ := r.ask(insert(0))
		synctest.Wait()
		second, _ := r.ask(until(insert(1), time.Second))
		third, _ := r.ask(insert(2))
		start := time.Now()
		rep := r.get(second)
		var late *messages.DeadlineError
		if rep.Outcome != messages.NotApplied || !errors.As(rep.Err, &late) || late.Phase != "queued" || rep.Attempts != 0 {
			t.Errorf("reply %+v", rep)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("answered after %v", took)
		}
		if s := r.Stat(); s.Queued != 1 || s.OnWire != 1 || s.Lanes[0].HeadOfLine != time.Second {
			t.Errorf("stat %+v", s)
		}
		close(gate)
		r.get(first)
		r.get(third)
		if got := numbers(wire.sent()); !slices.Equal(got, []int{0, 2}) {
			t.Errorf("sent %v, want the late one left out", got)
		}
	})
}

// Whoever asks with a context that ends by the deadline is the write's timer: a cancelled
// one is told apart, and one that ends later, or has no end, leaves the write to a timer.
func TestAnAskedWriteIsAnsweredAtItsDeadlineWhateverEndsItsContext(t *testing.T) {
	for _, test := range []struct {
		name              string
		context, deadline time.Duration // 0 for none
		cancel            time.Duration
		after             time.Duration
		overdue           bool
	}{
		{"by its context", time.Second, time.Second, 0, time.Second, true},
		{"by its context, which is earlier", time.Second, time.Minute, 0, time.Second, true},
		{"by its own deadline, which is earlier", time.Minute, time.Second, 0, time.Second, true},
		{"by the default deadline", time.Hour, 0, 0, DefaultWriteTimeout, true},
		{"without an end to its context", 0, time.Second, 0, time.Second, true},
		{"cancelled", time.Minute, time.Minute, time.Second, time.Second, false},
		{"cancelled at the deadline", time.Second, time.Second, time.Second, time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rigWithoutPrimary(t, Config{}, &fakeWire{serve: succeed})
				ctx := t.Context()
				if test.context > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, test.context)
					defer stop()
				}
				if test.cancel > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithCancel(ctx)
					defer time.AfterFunc(test.cancel, stop).Stop()
				}
				w := insert(0)
				if test.deadline > 0 {
					w = until(w, test.deadline)
				}
				start := time.Now()
				rep := r.Ask(ctx, w)
				if took := time.Since(start); took != test.after || rep.Outcome != messages.NotApplied {
					t.Errorf("%v after %v, want %v after %v", rep.Outcome, took, messages.NotApplied, test.after)
				}
				var late *messages.DeadlineError
				if errors.As(rep.Err, &late) != test.overdue && test.cancel != test.context || !test.overdue && !errors.Is(rep.Err, context.Canceled) {
					t.Errorf("the error is %v", rep.Err)
				}
			})
		})
	}
}

func TestADeadlineOnTheWireIsUnknownAtOnceAndTheBatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		wire := &fakeWire{serve: func(ctx context.Context, b *batch, a *attempts) result {
			a.start(attempt{id: 1, fenced: true})
			<-gate
			if ctx.Err() != nil {
				t.Error("the batch was cut short before its longest deadline")
			}
			a.end(1, replied, nil)
			return result{}
		}}
		r := rigWithoutPrimary(t, Config{}, wire)
		short, _ := r.ask(until(insert(0), time.Second))
		long, _ := r.ask(until(insert(1), time.Minute))
		r.PrimaryChanged("a:1")
		rep := r.get(short)
		if rep.Outcome != messages.Unknown || !errors.Is(rep.Err, messages.ErrUnknownOutcome) || !errors.Is(rep.Err, messages.ErrDeadline) || rep.Attempts != 1 || rep.OrderOpen {
			t.Errorf("reply %+v", rep)
		}
		close(gate)
		if rep := r.get(long); rep.Outcome != messages.Applied {
			t.Errorf("the other one: %+v", rep)
		}
	})
}

func TestAWriteTheDriverNeverSentIsNotAppliedAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(ctx context.Context, b *batch, a *attempts) result {
			<-ctx.Done() // Looking for a server, in vain.
			return result{err: context.DeadlineExceeded}
		}}
		r := newRig(t, Config{Hosts: func() []string { return []string{"a:1 live (primary)"} }}, wire)
		reply, _ := r.ask(until(update(nil), time.Second))
		rep := r.get(reply)
		var none *messages.NoPrimaryError
		if !errors.As(rep.Err, &none) || len(none.Hosts) != 1 {
			t.Errorf("it does not say why: %v", rep.Err)
		}
		if rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrNoPrimary) || !errors.Is(rep.Err, messages.ErrDeadline) {
			t.Errorf("reply %+v", rep)
		}
	})
}

func TestAnAskerMayGiveUpAWriteThatWaitsAndOneThatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
			a.start(attempt{id: 1, fenced: true})
			<-gate
			a.end(1, replied, nil)
			return result{}
		}}
		r := newRig(t, Config{}, wire)
		sent, cancelSent := r.ask(insert(0))
		synctest.Wait()
		waiting, cancelWaiting := r.ask(insert(1))
		cancelWaiting(context.Canceled)
		cancelSent(context.Canceled)
		if rep := r.get(waiting); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("waiting: %+v", rep)
		}
		if rep := r.get(sent); rep.Outcome != messages.Unknown || !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("sent: %+v", rep)
		}
		close(gate)
		synctest.Wait()
		if got := numbers(wire.sent()); !slices.Equal(got, []int{0}) {
			t.Errorf("sent %v", got)
		}
		cancelSent(nil) // Too late is fine.
	})
}

func TestAWriteGivenUpBeforeTheDriverSentItIsKeptFromTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wentOut bool
		gate := make(chan struct{})
		wire := &fakeWire{serve: func(ctx context.Context, _ *batch, a *attempts) result {
			<-gate // Looking for a server; it has found one when the asker is gone.
			a.start(attempt{id: 1, fenced: true})
			wentOut = ctx.Err() == nil
			a.end(1, unsent, ctx.Err())
			return result{err: ctx.Err()}
		}}
		r := newRig(t, Config{}, wire)
		reply, cancel := r.ask(update(nil))
		synctest.Wait()
		cancel(nil)
		if rep := r.get(reply); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, context.Canceled) || rep.Attempts != 0 {
			t.Errorf("reply %+v", rep)
		}
		close(gate)
		synctest.Wait()
		if wentOut {
			t.Error("it went out after it had been reported as not applied")
		}
	})
}

// The driver is looking for a server when the time of one write of a batch is up.
func TestAWriteGivenUpBeforeItsBatchWasSentIsNotAppliedAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if len(wire.sent()) == 1 {
				<-ctx.Done()
				return result{err: ctx.Err()}
			}
			return succeed(ctx, b, a)
		}
		r := rigWithoutPrimary(t, Config{}, wire)
		first, _ := r.ask(until(insert(0), time.Minute))
		hasty, _ := r.ask(until(insert(1), time.Second))
		last, _ := r.ask(until(insert(2), time.Minute))
		r.PrimaryChanged("a:1")
		start := time.Now()
		rep := r.get(hasty)
		if rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrDeadline) || rep.Attempts != 0 || time.Since(start) != time.Second {
			t.Errorf("the hasty one after %v: %+v", time.Since(start), rep)
		}
		for _, reply := range []chan *messages.WriteReply{first, last} {
			if rep := r.get(reply); rep.Outcome != messages.Applied || rep.Attempts != 1 {
				t.Errorf("another one: %+v", rep)
			}
		}
		if got := numbers(wire.sent()); !slices.Equal(got, []int{0, 1, 2, 0, 2}) {
			t.Errorf("sent %v", got)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the others took %v", took)
		}
	})
}

func TestAWriteThatWasKeptFromTheWireForAnothersSakeSaysNothingOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rigWithoutPrimary(t, Config{}, &fakeWire{serve: func(ctx context.Context, _ *batch, _ *attempts) result {
			<-ctx.Done()
			return result{err: ctx.Err()}
		}})
		hasty, _ := r.ask(until(insert(0), time.Second))
		other, _ := r.ask(until(insert(1), 10*time.Second))
		r.PrimaryChanged("a:1")
		r.get(hasty)
		r.PrimaryChanged("")
		if rep := r.get(other); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrNoPrimary) || errors.Is(rep.Err, context.Canceled) {
			t.Errorf("%+v", rep)
		}
	})
}

func TestAWriteThatNamesNoDeadlineHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rigWithoutPrimary(t, Config{}, &fakeWire{})
		began := time.Now()
		reply, _ := r.ask(insert(1))
		rep := <-reply
		if took := time.Since(began); took != DefaultWriteTimeout || rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrDeadline) {
			t.Errorf("after %v: %+v", took, rep)
		}
	})
}
