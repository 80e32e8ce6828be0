package request

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

func TestOfManyRepliesExactlyOneIsDelivered(t *testing.T) {
	for range 200 {
		var delivered, left, won atomic.Int32
		r := NewRead(&messages.Read{}, &command.Read{}, time.Now(), time.Now().Add(time.Minute), func(*messages.ReadReply) { delivered.Add(1) })
		leave := func() { left.Add(1) }
		r.SetAttempt(&leave)
		r.OnDeadline(func() { r.Fail(messages.ErrDeadline) })
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if r.Fail(messages.ErrNotLive) {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if delivered.Load() != 1 || left.Load() != 1 || won.Load() != 1 {
			t.Fatalf("delivered %d, left %d, won %d; want 1 of each", delivered.Load(), left.Load(), won.Load())
		}
	}
}

func TestAReadNobodyAnswersIsAnsweredAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		replies := make(chan *messages.ReadReply, 1)
		r := NewRead(&messages.Read{Correlation: 7}, &command.Read{}, start, start.Add(3*time.Second),
			func(rep *messages.ReadReply) { replies <- rep })
		r.OnDeadline(func() { r.Fail(&messages.DeadlineError{Phase: "queued"}) })
		rep := <-replies
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("answered after %v, want 3s", took)
		}
		if !errors.Is(rep.Err, messages.ErrDeadline) || !errors.Is(rep.Err, context.DeadlineExceeded) {
			t.Errorf("error %v is not a passed deadline", rep.Err)
		}
		if rep.Correlation != 7 {
			t.Errorf("correlation %v, want 7", rep.Correlation)
		}
	})
}

func TestTheAttemptOnTheWireIsCancelledByTheReply(t *testing.T) {
	r := NewRead(&messages.Read{}, &command.Read{}, time.Now(), time.Now().Add(time.Minute), func(*messages.ReadReply) {})
	ctx, stop := context.WithCancel(context.Background())
	cancel := func() { stop() }
	r.SetAttempt(&cancel)
	r.Fail(messages.ErrStopped)
	if ctx.Err() == nil {
		t.Error("the attempt goes on after the reply")
	}
}

func TestAnAttemptThatStartsAfterTheReplyIsCancelledAtOnce(t *testing.T) {
	r := NewRead(&messages.Read{}, &command.Read{}, time.Now(), time.Now().Add(time.Minute), func(*messages.ReadReply) {})
	r.Fail(messages.ErrStopped)
	ctx, stop := context.WithCancel(context.Background())
	cancel := func() { stop() }
	r.SetAttempt(&cancel)
	if ctx.Err() == nil {
		t.Error("an attempt started after the reply goes on")
	}
}
