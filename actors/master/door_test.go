package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

func newWrite(w *messages.Write, cmd *command.Write) *request.Write {
	return request.NewWrite(w, cmd, time.Now(), time.Now().Add(time.Minute), nil, func(*messages.WriteReply) {})
}

// collector is an actor process that counts what it gets.
type collector struct {
	replies chan *messages.WriteReply
	dead    atomic.Int64
}

func (c *collector) SendUserMessage(_ *actor.PID, message any) {
	switch msg := actor.UnwrapEnvelopeMessage(message).(type) {
	case *messages.WriteReply:
		c.replies <- msg
	case *actor.DeadLetterResponse:
		c.dead.Add(1)
	}
}
func (c *collector) SendSystemMessage(*actor.PID, any) {}
func (c *collector) Stop(*actor.PID)                   {}

func (r *rig) collector(room int) (*collector, *actor.PID) {
	c := &collector{replies: make(chan *messages.WriteReply, room)}
	pid, ok := r.system.ProcessRegistry.Add(c, "collector")
	if !ok {
		r.t.Fatal("two collectors")
	}
	return c, pid
}

func TestAFloodOfSendsIsRefusedAtTheLimitAndEverySendIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, flood = 100, 2_000
		wire, gate := blocked(succeed)
		r := newRig(t, Config{WriteQueue: limit}, wire)
		c, pid := r.collector(flood)
		for n := range flood {
			r.system.Root.RequestWithCustomSender(r.PID(), insert(n), pid)
		}
		if s := r.Stat(); s.Queued+s.OnWire != limit || s.Overloaded != flood-limit {
			t.Errorf("stat %+v", s)
		}
		refused := 0
		for len(c.replies) > 0 {
			rep := <-c.replies
			var over *messages.OverloadedError
			if !errors.As(rep.Err, &over) || over.Limit != "WriteQueue" || over.Max != limit || rep.Outcome != messages.NotApplied || rep.Correlation == nil {
				t.Fatalf("reply %+v", rep)
			}
			refused++
		}
		if refused != flood-limit {
			t.Errorf("%d refused, want %d", refused, flood-limit)
		}
		close(gate)
		for range limit {
			if rep := <-c.replies; rep.Outcome != messages.Applied {
				t.Fatalf("reply %+v", rep)
			}
		}
		time.Sleep(3 * time.Second) // In the bubble's time.
		var told int64
		for _, e := range r.seen() {
			told += e.(messages.Overloaded).Refused
		}
		if len(r.seen()) != 2 || told != flood-limit {
			t.Errorf("events %v", r.seen())
		}
	})
}

func TestTheBytesThatWaitAreLimitedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{WriteQueueBytes: 250}, wire) // An update counts 100 here.
		first, _ := r.ask(update(nil))
		second, _ := r.ask(update(nil))
		third, _ := r.ask(update(nil))
		var over *messages.OverloadedError
		if rep := r.get(third); !errors.As(rep.Err, &over) || over.Limit != "WriteQueueBytes" || over.Pending != 200 {
			t.Errorf("reply %+v", rep)
		}
		close(gate)
		r.get(first)
		r.get(second)
		if s := r.Stat(); s.Bytes != 0 {
			t.Errorf("%d bytes are held by nothing", s.Bytes)
		}
		again, _ := r.ask(update(nil))
		r.get(again)
	})
}

func TestWhatIsNoWriteIsAnsweredAndHarmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, &fakeWire{})
		defer time.Sleep(time.Second) // In the bubble's time: the framework's dead letter throttle ends.
		c, pid := r.collector(10)
		send := r.system.Root.RequestWithCustomSender
		send(r.PID(), nil, pid)
		send(r.PID(), "hello", pid)
		if c.dead.Load() != 2 {
			t.Errorf("%d dead letter responses, want 2", c.dead.Load())
		}
		r.system.Root.Send(r.PID(), nil)
		r.system.Root.Poison(r.PID())
		r.system.Root.Stop(r.PID())

		late := insert(1)
		late.Deadline = time.Now().Add(-time.Second)
		blind := insert(1)
		blind.WriteConcern = writeconcern.Unacknowledged()
		for _, w := range []*messages.Write{nil, {}, late, blind} {
			send(r.PID(), w, pid)
			rep := <-c.replies
			if rep.Outcome != messages.NotApplied || rep.Err == nil {
				t.Errorf("%+v: %+v", w, rep)
			}
		}
		send(r.PID(), insert(1), pid)
		if rep := <-c.replies; rep.Outcome != messages.Applied {
			t.Errorf("after all that: %+v", rep)
		}
	})
}

type panickyEncoder struct{}

func (panickyEncoder) InsertedID(bson.RawValue) any { return nil }

func (panickyEncoder) Write(*messages.Write) (*command.Write, error) { panic("the game's marshaler") }

func TestAPanicInTheGamesMarshalerIsItsOwnReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Encoder: panickyEncoder{}}, &fakeWire{})
		reply, _ := r.ask(insert(1))
		if rep := r.get(reply); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrPanicked) {
			t.Errorf("reply %+v", rep)
		}
		if s := r.Stat(); s.Queued != 0 || s.Accepted != 0 {
			t.Errorf("stat %+v", s)
		}
	})
}

func TestAFailedWriteWithoutASenderIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
			try(a, replied, nil)
			return result{err: mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000}}}}
		}}
		r := newRig(t, Config{}, wire)
		r.system.Root.Send(r.PID(), insert(1))
		synctest.Wait()
		if s := r.Stat(); s.Unheard != 1 || s.NotApplied != 1 {
			t.Errorf("stat %+v", s)
		}
	})
}

// tally is a supervision strategy that restarts and counts.
type tally struct{ restarts atomic.Int64 }

func (s *tally) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason any, _ any) {
	if _, ok := reason.(*messages.PanicError); ok {
		s.restarts.Add(1)
	}
	sup.RestartChildren(child)
}

func TestAPanicInALaneAnswersItsBatchRestartsTheActorAndLosesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			switch n := numbers([][]*item{b.items})[0]; n {
			case 0:
				<-gate
				panic("before anything was sent")
			case 1:
				a.start(attempt{id: 1, fenced: true})
				panic(errors.New("after it was sent"))
			}
			return succeed(ctx, b, a)
		}
		r := newRig(t, Config{MaxBatch: 1}, wire)
		strategy := &tally{}
		parent := r.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				if _, err := ctx.SpawnNamed(r.Props(), "master"); err != nil {
					t.Error(err)
				}
			}
		}, actor.WithSupervisor(strategy)))
		synctest.Wait()
		var replies []chan *messages.WriteReply
		for n := range 5 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
		}
		close(gate)
		want := []messages.Outcome{messages.NotApplied, messages.Unknown, messages.Applied, messages.Applied, messages.Applied}
		for n, reply := range replies {
			rep := r.get(reply)
			if rep.Outcome != want[n] || n < 2 && !errors.Is(rep.Err, messages.ErrPanicked) {
				t.Errorf("write %d: %+v, want %v", n, rep, want[n])
			}
		}
		synctest.Wait()
		if strategy.restarts.Load() != 2 || r.Stat().Panics != 2 {
			t.Errorf("%d restarts and %d panics, want 2", strategy.restarts.Load(), r.Stat().Panics)
		}
		after, _ := r.ask(insert(9))
		if rep := r.get(after); rep.Outcome != messages.Applied {
			t.Errorf("after the restarts: %+v", rep)
		}
		if err := r.system.Root.StopFuture(parent).Wait(); err != nil {
			t.Error(err)
		}
		refused, _ := r.ask(insert(10))
		if rep := r.get(refused); !errors.Is(rep.Err, messages.ErrStopped) {
			t.Errorf("after the stop: %+v", rep)
		}
	})
}

func TestAPanicInTheAskersOwnCodeHurtsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, &fakeWire{})
		r.Submit(insert(0), func(*messages.WriteReply) { panic("the asker") })
		reply, _ := r.ask(insert(1))
		if rep := r.get(reply); rep.Outcome != messages.Applied {
			t.Errorf("reply %+v", rep)
		}
	})
}

func TestAnAskerMaySendTheNextWriteFromItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{WriteQueue: 1}, &fakeWire{})
		done := make(chan struct{})
		var next func(n int)
		next = func(n int) {
			r.Submit(insert(n), func(rep *messages.WriteReply) {
				if rep.Outcome != messages.Applied {
					t.Errorf("write %d: %+v", n, rep)
				}
				if n == 50 {
					close(done)
					return
				}
				next(n + 1)
			})
		}
		next(0)
		<-done
	})
}

func TestDrainFinishesWhatWasAcceptedAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{}, wire)
		var replies []chan *messages.WriteReply
		for n := range 4 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
		}
		drained := make(chan []*messages.WriteReply)
		go func() { drained <- r.Drain(context.Background()) }()
		synctest.Wait()
		refused, _ := r.ask(insert(9))
		if rep := r.get(refused); !errors.Is(rep.Err, messages.ErrStopped) || rep.Outcome != messages.NotApplied {
			t.Errorf("while draining: %+v", rep)
		}
		close(gate)
		if left := <-drained; len(left) != 0 {
			t.Errorf("%d were not applied", len(left))
		}
		for _, reply := range replies {
			if rep := r.get(reply); rep.Outcome != messages.Applied {
				t.Errorf("reply %+v", rep)
			}
		}
	})
}

// A write that comes in just as a drain begins finds the door open and the lane
// closed. It was reported among the accepted writes that were lost.
func TestAWriteThatADrainOvertakesAtTheDoorIsRefusedAndNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{}, wire)
		close(gate)
		for _, l := range r.lanes {
			l.refuse() // As Drain does, after a sender has passed the door.
		}
		r.drainMu.Lock()
		r.draining = true
		r.drainMu.Unlock()
		reply, _ := r.ask(insert(1))
		if rep := r.get(reply); !errors.Is(rep.Err, messages.ErrStopped) || rep.Outcome != messages.NotApplied {
			t.Errorf("the write got %+v", rep)
		}
		if left := r.Drain(context.Background()); len(left) != 0 {
			t.Errorf("the drain lists %v, which it never accepted", left)
		}
		if st := r.Stat(); st.Accepted != 0 || st.Refused != 1 {
			t.Errorf("%d accepted and %d refused, want 0 and 1", st.Accepted, st.Refused)
		}
	})
}

func TestADrainWithoutTimeAnswersEveryoneAndListsWhatWasNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(ctx context.Context, _ *batch, a *attempts) result {
			a.start(attempt{id: 1, fenced: true})
			<-ctx.Done()
			a.end(1, lost, networkError())
			return result{err: ctx.Err()}
		}}
		r := newRig(t, Config{MaxBatch: 1}, wire)
		var replies []chan *messages.WriteReply
		for n := range 4 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		left := r.Drain(ctx)
		for n, reply := range replies {
			rep := r.get(reply)
			want := messages.NotApplied
			if n == 0 {
				want = messages.Unknown
			}
			if rep.Outcome != want || !errors.Is(rep.Err, messages.ErrStopped) {
				t.Errorf("write %d: %+v, want %v", n, rep, want)
			}
		}
		var listed []string
		for _, rep := range left {
			listed = append(listed, fmt.Sprint(rep.Correlation, " ", rep.Outcome))
		}
		slices.Sort(listed)
		if !slices.Equal(listed, []string{"0 unknown", "1 not applied", "2 not applied", "3 not applied"}) {
			t.Errorf("listed %q", listed)
		}
		r.Close()
		r.Close()
		if !wire.ended {
			t.Error("the session was not given back")
		}
	})
}

func TestAWatcherIsToldWhenTheMasterIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, &fakeWire{})
		told := make(chan *actor.Terminated, 1)
		watcher := r.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch msg := ctx.Message().(type) {
			case *actor.Started:
				ctx.Watch(r.PID())
			case *actor.Terminated:
				told <- msg
			}
		}))
		synctest.Wait()
		r.Close()
		if msg := <-told; !msg.Who.Equal(r.PID()) {
			t.Errorf("told of %v", msg.Who)
		}
		_ = r.system.Root.StopFuture(watcher).Wait()
	})
}

func TestAConfigThatCanNeverWorkNamesItsField(t *testing.T) {
	for _, cfg := range []Config{{}, {Encoder: plainEncoder{}, WriteQueue: -1}, {Encoder: plainEncoder{}, WriteTimeout: -1}} {
		if _, err := New(newSystem(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestASecondConnectionIsRefused(t *testing.T) {
	r := newRig(t, Config{}, &fakeWire{})
	if err := r.Attach(nil); err == nil {
		t.Error("it was attached")
	}
}
