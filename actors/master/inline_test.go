package master

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// here reports whether the caller runs in a goroutine that waits in Ask.
func here() bool { return strings.Contains(string(debug.Stack()), "master.(*Master).Ask") }

func TestAWriteThatFindsItsLaneIdleIsSentByWhoWaitsForIt(t *testing.T) {
	wire := &fakeWire{}
	var inline []bool
	wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
		inline = append(inline, here())
		return succeed(ctx, b, a)
	}
	r := newRig(t, Config{}, wire)
	for n, w := range []*messages.Write{insert(0), update(nil), updateMany()} {
		if rep := r.Ask(t.Context(), w); rep.Outcome != messages.Applied || rep.Attempts != 1 {
			t.Errorf("write %d: %+v", n, rep)
		}
	}
	// One without a fence must not be called off in the middle.
	if !inline[0] || !inline[1] || inline[2] {
		t.Errorf("sent by who waits: %v", inline)
	}
}

func TestWhatQueuesBehindSuchAWriteIsTheLanesToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var inline []bool
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			inline = append(inline, here())
			if len(inline) == 1 {
				<-gate
			}
			return succeed(ctx, b, a)
		}
		r := newRig(t, Config{}, wire)
		first := make(chan *messages.WriteReply, 1)
		go func() { first <- r.Ask(t.Context(), insert(0)) }()
		synctest.Wait()
		second := make(chan *messages.WriteReply, 1)
		go func() { second <- r.Ask(t.Context(), insert(1)) }()
		synctest.Wait()
		third, _ := r.ask(insert(2))
		synctest.Wait()
		if n := len(wire.sent()); n != 1 {
			t.Errorf("%d batches are on the wire at once", n)
		}
		close(gate)
		for i, c := range []chan *messages.WriteReply{first, second, third} {
			if rep := <-c; rep.Outcome != messages.Applied {
				t.Errorf("write %d: %+v", i, rep)
			}
		}
		if len(inline) != 2 || !inline[0] || inline[1] {
			t.Errorf("sent by who waits: %v", inline)
		}
		synctest.Wait()
		if !r.lanes[0].idle() {
			t.Error("the lane is not idle")
		}
	})
}

func TestWhoGivesUpAWriteInTheMiddleIsFreeAtOnceAndTheLaneGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if len(wire.sent()) > 1 {
				return succeed(ctx, b, a)
			}
			try(a, lost, context.Canceled)
			<-ctx.Done() // The server does not answer.
			return result{err: ctx.Err()}
		}
		r := newRig(t, Config{}, wire)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		rep := r.Ask(ctx, insert(0))
		if took := time.Since(start); took != time.Second || rep.Outcome != messages.Unknown || !errors.Is(rep.Err, context.Canceled) {
			t.Errorf("after %v: %+v", took, rep)
		}
		if rep := r.Ask(t.Context(), insert(1)); rep.Outcome != messages.Applied {
			t.Errorf("the next write: %+v", rep)
		}
	})
}

func TestAWriteSentByWhoWaitsIsAnsweredByItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, _ *batch, a *attempts) result {
			try(a, lost, context.DeadlineExceeded)
			<-ctx.Done()
			return result{err: ctx.Err()}
		}
		r := newRig(t, Config{}, wire)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := insert(0)
		w.Deadline, _ = ctx.Deadline()
		start := time.Now()
		rep := r.Ask(ctx, w)
		if took := time.Since(start); took > time.Second || rep.Outcome == messages.Applied || !errors.Is(rep.Err, context.DeadlineExceeded) {
			t.Errorf("after %v: %+v", took, rep)
		}
	})
}

func TestAskWaitsForAPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rigWithoutPrimary(t, Config{}, &fakeWire{})
		time.AfterFunc(time.Second, func() { r.PrimaryChanged("a:1") })
		if rep := r.Ask(t.Context(), insert(0)); rep.Outcome != messages.Applied {
			t.Errorf("%+v", rep)
		}
	})
}

// In between it may be given up, while a look at an earlier write comes due: the lane has something to do then, and no
// write to send.
func TestAWriteThatIsGivenUpBeforeItsAskerSendsItIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, &fakeWire{serve: succeed})
		l := r.lanes[0]
		reply := make(chan *messages.WriteReply, 1)
		it, run := r.accept(insert(0), t.Context(), func(rep *messages.WriteReply) { reply <- rep })
		if run == nil {
			t.Fatal("the lane is not idle")
		}
		l.giveUp(it, context.Canceled)
		l.mu.Lock()
		l.lateDue = true
		l.mu.Unlock()
		run()
		if rep := <-reply; rep.Outcome != messages.NotApplied {
			t.Errorf("%+v", rep)
		}
		next, _ := r.ask(insert(1))
		if rep := r.get(next); rep.Outcome != messages.Applied {
			t.Errorf("the next one: %+v", rep)
		}
	})
}
