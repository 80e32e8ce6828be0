package supervisor

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// loud is a failure that cannot even be told.
type loud struct{ error }

func (loud) Events() []messages.Event { panic("while it is told") }

func TestAChildIsRestartedAlsoWhenItsFailureCannotBeTold(t *testing.T) {
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		var lives atomic.Int64
		err := s.Spawn("a", actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				lives.Add(1)
			case string:
				panic(loud{errors.New("bomb")})
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			system.Root.Send(actor.NewPID(s.PID().Address, s.PID().Id+"/a"), "bomb")
		}
		synctest.Wait()
		if lives.Load() != 4 || s.Restarts() != 3 {
			t.Errorf("%d lives, %d restarts", lives.Load(), s.Restarts())
		}
	})
}

func TestAPanicOfTheSupervisorsOwnStopsNobody(t *testing.T) {
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		var lives, ends atomic.Int64
		props := actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })
		if err := s.Spawn("a", props); err != nil {
			t.Fatal(err)
		}
		for range 20 { // The framework's own strategy gives up after ten.
			done := make(chan struct{})
			close(done)
			system.Root.Send(s.PID(), &remove{name: "nobody", done: done})
		}
		// And in Terminated: whoever waits for the end is told of it twice.
		end := make(chan struct{})
		close(end)
		if err := s.Spawn("b", props); err != nil {
			t.Fatal(err)
		}
		system.Root.Send(s.PID(), &remove{name: "b", done: end})
		time.Sleep(time.Second) // virtual
		if err := s.Spawn("b", props); err != nil {
			t.Errorf("the name of one that has ended is not free: %v", err)
		}
		if err := s.Remove(context.Background(), "b"); err != nil {
			t.Error(err)
		}
		if err := s.Remove(context.Background(), "a"); err != nil {
			t.Error(err)
		}
		if lives.Load() != 3 || ends.Load() != 3 {
			t.Errorf("%d lives and %d ends of three children", lives.Load(), ends.Load())
		}
	})
}

func TestAProducerThatPanicsIsAnErrorOfSpawn(t *testing.T) {
	inSystem(t, func(s *Supervisor, _ *actor.ActorSystem) {
		err := s.Spawn("a", actor.PropsFromProducer(func() actor.Actor { panic("the producer") }))
		if !errors.Is(err, messages.ErrPanicked) {
			t.Errorf("got %v", err)
		}
		var lives, ends atomic.Int64
		if err := s.Spawn("a", actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// A panic in any lifecycle message of a child that contains its own, as all of ours do, leaves nothing
// that cannot be stopped; one in Started is a failure like any other.
func TestAChildThatPanicsWhenItIsStartedIsRestartedUntilItIsNot(t *testing.T) {
	inSystem(t, func(s *Supervisor, _ *actor.ActorSystem) {
		var starts atomic.Int64
		err := s.Spawn("a", actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok && starts.Add(1) <= 3*panicBurst {
				panic("not yet")
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		if starts.Load() != 3*panicBurst+1 {
			t.Errorf("%d starts", starts.Load())
		}
	})
}
