package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/evenkeel/evenkeel/messages"
)

// child counts its lives, and panics when it is told so. It takes its time to stop.
type child struct{ lives, ends *atomic.Int64 }

func (c *child) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		c.lives.Add(1)
	case *actor.Stopping:
		time.Sleep(time.Millisecond) // virtual: all others get on meanwhile
	case *actor.Stopped:
		c.ends.Add(1)
	case chan struct{}:
		<-msg
		panic("bomb")
	case string:
		panic(msg)
	}
}

func inSystem(t *testing.T, f func(s *Supervisor, system *actor.ActorSystem)) {
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(
			actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
			actor.WithDeadLetterThrottleInterval(10*time.Millisecond))
		s, err := Start(system, NewHub(0), zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		f(s, system)
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		system.Shutdown()
		time.Sleep(time.Minute) // virtual: the framework's timers end
	})
}

func TestARemovedChildHasStoppedAndItsNameIsFree(t *testing.T) {
	inSystem(t, func(s *Supervisor, _ *actor.ActorSystem) {
		var lives, ends atomic.Int64
		props := actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })
		for i := range 3 {
			if err := s.Spawn("a", props); err != nil {
				t.Fatal(err)
			}
			if err := s.Spawn("a", props); err == nil {
				t.Error("one name is given twice")
			}
			if err := s.Remove(context.Background(), "a"); err != nil {
				t.Fatal(err)
			}
			if lives.Load() != int64(i+1) || ends.Load() != int64(i+1) {
				t.Fatalf("%d lives and %d ends after %d removals", lives.Load(), ends.Load(), i+1)
			}
		}
		if err := s.Remove(context.Background(), "a"); err != nil {
			t.Errorf("removing who is not there: %v", err)
		}
	})
}

func TestAChildThatFailsWhileItIsRemovedStaysDead(t *testing.T) {
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		var lives, ends atomic.Int64
		props := actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })
		for round := range 50 {
			name := fmt.Sprint("a", round)
			if err := s.Spawn(name, props); err != nil {
				t.Fatal(err)
			}
			pid := actor.NewPID(s.PID().Address, s.PID().Id+"/"+name)
			blow := make(chan struct{})
			system.Root.Send(pid, blow)
			synctest.Wait() // It sits in its message.
			removed := make(chan error, 1)
			go func() { removed <- s.Remove(context.Background(), name) }()
			synctest.Wait() // The stop waits behind that message.
			close(blow)     // The failure is told before the stop has ended.
			if err := <-removed; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second) // virtual
		if lives.Load() != 50 || ends.Load() != 50 {
			t.Errorf("%d lives and %d ends of 50 children", lives.Load(), ends.Load())
		}
	})
}

func TestAChildThatIsRemovedInItsPauseAfterPanicsStaysDead(t *testing.T) {
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		var lives, ends atomic.Int64
		if err := s.Spawn("a", actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })); err != nil {
			t.Fatal(err)
		}
		pid := actor.NewPID(s.PID().Address, s.PID().Id+"/a")
		for range panicBurst + 1 {
			system.Root.Send(pid, "bomb")
			synctest.Wait()
		}
		before := lives.Load()
		if err := s.Remove(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * panicPause) // virtual
		synctest.Wait()
		if lives.Load() != before || ends.Load() != 1 {
			t.Errorf("%d lives since, and %d ends", lives.Load()-before, ends.Load())
		}
	})
}

// slow is a child that stops when it is let.
type slow struct{ let <-chan struct{} }

func (c *slow) Receive(ctx actor.Context) {
	if _, stopping := ctx.Message().(*actor.Stopping); stopping {
		<-c.let
	}
}

func TestWhoIsSpawnedWhileTheSupervisorStopsIsRefused(t *testing.T) {
	inSystem(t, func(s *Supervisor, _ *actor.ActorSystem) {
		let := make(chan struct{})
		if err := s.Spawn("a", actor.PropsFromProducer(func() actor.Actor { return &slow{let} })); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop(context.Background()) }()
		synctest.Wait() // It waits for its child.
		var lives, ends atomic.Int64
		err := s.Spawn("b", actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} }))
		if !errors.Is(err, messages.ErrStopped) || lives.Load() != 0 {
			t.Errorf("spawned with %v, and %d lives", err, lives.Load())
		}
		close(let)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestAChildThatFailsWhileTheSupervisorStopsStaysDead(t *testing.T) {
	var lives, ends atomic.Int64
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		let, blow := make(chan struct{}), make(chan struct{})
		if err := s.Spawn("slow", actor.PropsFromProducer(func() actor.Actor { return &slow{let} })); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			name := fmt.Sprint("a", i)
			if err := s.Spawn(name, actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })); err != nil {
				t.Fatal(err)
			}
			system.Root.Send(actor.NewPID(s.PID().Address, s.PID().Id+"/"+name), blow)
		}
		synctest.Wait() // Each sits in its message.
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop(context.Background()) }()
		synctest.Wait() // Their stops wait behind that.
		close(blow)
		synctest.Wait()
		close(let)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	if lives.Load() != 50 || ends.Load() != 50 {
		t.Errorf("%d lives and %d ends of 50 children", lives.Load(), ends.Load())
	}
}

func TestAPauseThatIsOverRestartsNoOtherOfItsName(t *testing.T) {
	inSystem(t, func(s *Supervisor, system *actor.ActorSystem) {
		var lives, ends atomic.Int64
		props := actor.PropsFromProducer(func() actor.Actor { return &child{&lives, &ends} })
		if err := s.Spawn("a", props); err != nil {
			t.Fatal(err)
		}
		pid := actor.NewPID(s.PID().Address, s.PID().Id+"/a")
		for range panicBurst + 1 {
			system.Root.Send(pid, "bomb")
			synctest.Wait()
		}
		if err := s.Remove(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Spawn("a", props); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := lives.Load()
		time.Sleep(2 * panicPause) // virtual
		synctest.Wait()
		if n := lives.Load() - before; n != 0 {
			t.Errorf("the new one has been restarted %d times", n)
		}
	})
}
