package master

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

func TestAPanicInALifecycleMessageCostsNoWriteAndNoOrder(t *testing.T) {
	for sort, c := range map[string]struct {
		panics   int64
		restarts int64
	}{
		"*actor.Started":    {3, 3},
		"*actor.Restarting": {1, 0},
		"*actor.Stopping":   {1, 0},
		"*actor.Stopped":    {1, 0},
		"*messages.Write":   {1, 1}, // To the supervised actor: it was accepted before.
	} {
		t.Run(sort, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire, gate := blocked(succeed)
				r := newRig(t, Config{MaxBatch: 1}, wire)
				var left atomic.Int64
				left.Store(c.panics)
				strategy, pids := &tally{}, make(chan *actor.PID, 1)
				parent := r.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
					if _, ok := ctx.Message().(*actor.Started); ok {
						pid, err := ctx.SpawnNamed(r.Props(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
							return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
								next(ctx, env)
								if fmt.Sprintf("%T", env.Message) == sort && left.Add(-1) >= 0 {
									panic("behind " + sort)
								}
							}
						})), "master")
						if err != nil {
							t.Error(err)
						}
						pids <- pid
					}
				}, actor.WithSupervisor(strategy)))
				pid := <-pids
				var replies []chan *messages.WriteReply
				for n := range 3 {
					reply, _ := r.ask(insert(n))
					replies = append(replies, reply)
					synctest.Wait()
				}
				direct := r.system.Root.RequestFuture(pid, insert(3), time.Minute)
				synctest.Wait()
				r.system.Root.Send(pid, &laneFailed{&messages.PanicError{Value: "a lane's"}})
				synctest.Wait()
				if got := strategy.restarts.Load(); got != c.restarts+1 {
					t.Errorf("%d restarts, want %d", got, c.restarts+1)
				}
				close(gate)
				for n, reply := range replies {
					if rep := r.get(reply); rep.Outcome != messages.Applied {
						t.Errorf("write %d: %+v", n, rep)
					}
				}
				if rep, err := direct.Result(); err != nil || rep.(*messages.WriteReply).Outcome != messages.Applied {
					t.Errorf("the write to the actor: %+v, %v", rep, err)
				}
				if got := numbers(wire.sent()); fmt.Sprint(got) != "[0 1 2 3]" {
					t.Errorf("sent %v", got)
				}
				if err := r.system.Root.StopFuture(parent).Wait(); err != nil {
					t.Errorf("the parent's stop does not end: %v", err)
				}
				if left.Load() > 0 {
					t.Errorf("%d panics are left", left.Load())
				}
				late, _ := r.ask(insert(9))
				if rep := r.get(late); rep.Outcome != messages.NotApplied {
					t.Errorf("after the stop: %+v", rep)
				}
			})
		})
	}
}
