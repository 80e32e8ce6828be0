package slave

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// Failure is why a slave failed; the supervisor finds it as the reason.
type Failure struct {
	Host string
	Err  error
	// Restarts counts this slave's restarts, the one that follows included.
	Restarts int
	// Backoff is how long the next incarnation waits before it dials.
	Backoff time.Duration
	// Repeated says that the same has been told in this outage already.
	Repeated bool
}

func (f *Failure) Error() string { return fmt.Sprintf("slave of %s: %v", f.Host, f.Err) }

// Unwrap returns why.
func (f *Failure) Unwrap() error { return f.Err }

// Events are what the supervisor publishes as it restarts the slave.
func (f *Failure) Events() []messages.Event {
	if f.Repeated {
		return nil
	}
	head := messages.Header{Host: f.Host}
	var events []messages.Event
	var wrong *messages.WrongHostError
	if errors.As(f.Err, &wrong) {
		events = append(events, messages.WrongHost{Header: head, Field: wrong.Field, Want: wrong.Want, Got: wrong.Got, Remote: wrong.Remote})
	}
	return append(events, messages.HostRestarting{Header: head, Reason: f.Err.Error(), Restarts: f.Restarts, Backoff: f.Backoff})
}

// recoverer gives panics a type and their stack, which the framework drops. In a
// lifecycle message the panic ends here: the framework would bring a stopping actor
// back to life, or never finish its parent's stop. A PoisonPill ends here too: no host
// is given up because somebody has sent one.
func recoverer(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
		if _, poison := env.Message.(*actor.PoisonPill); poison {
			return
		}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			switch env.Message.(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
				return
			}
			if f, ok := v.(*Failure); ok {
				panic(f)
			}
			panic(asPanicError(v))
		}()
		next(ctx, env)
	}
}

// asPanicError makes a recovered value an error. It is called in the deferred
// function that recovered, while the stack is still the panic's.
func asPanicError(v any) *messages.PanicError {
	if err, ok := v.(*messages.PanicError); ok {
		return err
	}
	return &messages.PanicError{Value: v, Stack: debug.Stack()}
}

// guarded runs f and makes a panic in it an error: what it calls is the driver, and
// through it the embedder's monitors, in a goroutine of ours.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = asPanicError(v)
		}
	}()
	return f()
}
