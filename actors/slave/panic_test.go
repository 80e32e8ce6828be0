package slave

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// blowing panics behind the handler of one sort of message, as often as left says.
func blowing(sort string, left *atomic.Int64) actor.PropsOption {
	return actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
			next(ctx, env)
			if fmt.Sprintf("%T", env.Message) == sort && left.Add(-1) >= 0 {
				panic("behind " + sort)
			}
		}
	})
}

func TestAPanicInALifecycleMessageIsNeitherAnEndNorALife(t *testing.T) {
	for sort, c := range map[string]struct {
		panics   int64
		restarts int64 // that this leads to
		stops    bool
	}{
		"*actor.Started":    {3, 3, false},
		"*actor.Restarting": {1, 0, false}, // It is being restarted already.
		"*actor.Stopping":   {1, 0, true},
		"*actor.Stopped":    {1, 0, true},
	} {
		t.Run(sort, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.opens(answers(mongoconn.Secondary))
				h, err := New(w.system, "a:1", w.cfg)
				if err != nil {
					t.Fatal(err)
				}
				var left atomic.Int64
				left.Store(c.panics)
				if err := w.super.Spawn("slave-a:1", h.Props(blowing(sort, &left), actor.WithReceiverMiddleware(explosive))); err != nil {
					t.Fatal(err)
				}
				w.pass(10 * time.Second)
				w.is(h, Live)
				// What is on the wire, and what waits, is answered once whatever happens.
				w.main().hangs()
				reads := w.offered(w.router.target("a:1"), 4*testPointWorkers, pointRead)
				before := w.super.Restarts()
				h.send(pidOf(w), bang{})
				synctest.Wait()
				for i, r := range reads {
					if w.got(r) == nil {
						t.Fatalf("read %d has no reply", i)
					}
				}
				w.pass(10 * time.Second)
				w.is(h, Live)
				if got := w.super.Restarts(); before != c.restarts || got != before+1 || left.Load() > 0 && !c.stops {
					t.Errorf("%d and then %d restarts; %d panics are left", before, got-before, left.Load())
				}
				if err := w.super.Stop(context.Background()); err != nil {
					t.Errorf("stop: %v", err)
				}
				w.pass(time.Minute)
				w.is(h, Stopped)
				if left.Load() > 0 || w.router.target("a:1") != nil {
					t.Errorf("%d panics are left; in rotation: %v", left.Load(), w.router.target("a:1"))
				}
			})
		})
	}
}

// The restart tells of the loss, and that panics as well.
func TestAPanicInTheTellingOfAPanicLeavesNothingBehind(t *testing.T) {
	onStage(t, func(s *stage) {
		s.reach(Live)
		s.w.bomb.Store(true)
		s.h.send(s.pid, bang{})
		synctest.Wait()
		if s.w.bomb.Load() {
			t.Fatal("nothing was told")
		}
		s.mustComeBack()
	})
}
