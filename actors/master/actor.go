package master

import (
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// Props makes the actor through which the master has its place under a
// supervisor: a panic in a lane fails it, and stopping it stops the master.
//
// The actor holds nothing. Queues, sessions and what is on the wire belong to the
// Master and outlive every incarnation, so that a restart loses no accepted write
// and no order.
func (m *Master) Props(opts ...actor.PropsOption) *actor.Props {
	opts = append([]actor.PropsOption{actor.WithReceiverMiddleware(recoverer)}, opts...)
	return actor.PropsFromProducer(func() actor.Actor { return &incarnation{m: m} }, opts...)
}

// incarnation is one life of the master's actor.
type incarnation struct{ m *Master }

// laneFailed tells the actor that a lane's goroutine panicked.
type laneFailed struct{ err *messages.PanicError }

// IgnoreDeadLetterLogging keeps a failure that comes after the actor's stop out of
// the host's log; it was logged already.
func (*laneFailed) IgnoreDeadLetterLogging() {}

// Receive never blocks: it hands on.
func (i *incarnation) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		i.m.self.Store(ctx.Self())
	case *actor.Stopping:
		// Every caller is answered now. A graceful stop has called Drain before.
		i.m.abort(messages.ErrStopped)
	case *laneFailed:
		panic(msg.err)
	case *messages.Write:
		// Somebody sent it to the supervised actor and not to PID; the same rules hold.
		i.m.receive(msg, ctx.Sender())
	}
}

// recoverer gives panics a type and their stack, which the framework drops. In a
// lifecycle message the panic ends here: the framework would bring a stopping actor
// back to life, or never finish its parent's stop.
func recoverer(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			switch env.Message.(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
				return
			}
			panic(asPanicError(r))
		}()
		next(ctx, env)
	}
}

// asPanicError makes a recovered value an error. It is called in the deferred
// function that recovered, while the stack is still the panic's.
func asPanicError(r any) *messages.PanicError {
	if err, ok := r.(*messages.PanicError); ok {
		return err
	}
	return &messages.PanicError{Value: r, Stack: debug.Stack()}
}
