package supervisor

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/evenkeel/evenkeel/messages"
)

const (
	// panicBurst panics of one child within panicWindow are restarted at once; more
	// are a defect that a restart does not mend, and are restarted after panicPause.
	panicBurst  = 10
	panicWindow = time.Second
	panicPause  = 500 * time.Millisecond
)

// Supervisor is the actor above all others of an app. It restarts any child that
// fails, at once and without end: no host is given up. Only one that panics again and
// again has a pause before. What a child needs to wait for, its
// next incarnation waits for itself, alive and answering.
type Supervisor struct {
	system   *actor.ActorSystem
	hub      *Hub
	log      zerolog.Logger
	pid      *actor.PID
	stopped  chan struct{}
	restarts atomic.Int64

	// The actor's: its children by name, and who waits for the end of one.
	children map[string]*actor.PID
	ends     map[string][]chan<- struct{}
	stopping bool
}

// reporter is a failure that says which events tell of it.
type reporter interface {
	error
	Events() []messages.Event
}

type spawn struct {
	name  string
	props *actor.Props
	done  chan<- error
}

type remove struct {
	name string
	done chan<- struct{}
}

// restart ends a child's pause after too many panics.
type restart struct {
	sup   actor.Supervisor
	child *actor.PID
	of    *actor.PID // what Spawn made of the name then: another one may have it by now
}

// IgnoreDeadLetterLogging keeps one that comes after the stop out of the host's log.
func (*restart) IgnoreDeadLetterLogging() {}

// Start spawns the supervisor. Its name starts with "evenkeel".
func Start(system *actor.ActorSystem, hub *Hub, log zerolog.Logger) (*Supervisor, error) {
	s := &Supervisor{system: system, hub: hub, log: log, stopped: make(chan struct{}), children: map[string]*actor.PID{}, ends: map[string][]chan<- struct{}{}}
	props := actor.PropsFromProducer(func() actor.Actor { return (*root)(s) },
		actor.WithSupervisor((*strategy)(s)), actor.WithReceiverMiddleware(contain(log)))
	for {
		pid, err := system.Root.SpawnNamed(props, "evenkeel-"+system.ProcessRegistry.NextId())
		if errors.Is(err, actor.ErrNameExists) {
			continue // Another app's in the same system.
		}
		if err != nil {
			return nil, err
		}
		s.pid = pid
		return s, nil
	}
}

// PID is the supervisor's.
func (s *Supervisor) PID() *actor.PID { return s.pid }

// Restarts is how often any child was restarted.
func (s *Supervisor) Restarts() int64 { return s.restarts.Load() }

// Spawn starts a child under that name.
func (s *Supervisor) Spawn(name string, props *actor.Props) error {
	done := make(chan error, 1)
	s.system.Root.Send(s.pid, &spawn{name: name, props: props, done: done})
	select {
	case err := <-done:
		return err
	case <-s.stopped:
		return messages.ErrStopped
	}
}

// Remove stops the child of that name, if there is one, and waits until it has stopped or
// ctx ends.
func (s *Supervisor) Remove(ctx context.Context, name string) error {
	done := make(chan struct{})
	s.system.Root.Send(s.pid, &remove{name: name, done: done})
	select {
	case <-done:
		return nil
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop stops the supervisor and its children, and waits until they have stopped or
// ctx ends.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.system.Root.Stop(s.pid)
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stopped is closed when the supervisor and all its children have stopped.
func (s *Supervisor) Stopped() <-chan struct{} { return s.stopped }

// root is the supervisor's actor.
type root Supervisor

// Receive never blocks.
func (r *root) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *spawn:
		if r.stopping {
			// The framework would start it, and wait for its end without ever stopping it.
			msg.done <- messages.ErrStopped
			return
		}
		msg.done <- r.start(ctx, msg)
	case *remove:
		pid := r.children[msg.name]
		if pid == nil {
			close(msg.done)
			return
		}
		r.ends[msg.name] = append(r.ends[msg.name], msg.done)
		ctx.Stop(pid)
	case *restart:
		(*strategy)(r).restart(msg)
	case *actor.Terminated:
		r.ended(msg.Who)
	case *actor.Stopping:
		r.stopping = true
	case *actor.Stopped:
		close(r.stopped)
	}
}

// start spawns a child. Its producer runs here, and may panic.
func (r *root) start(ctx actor.Context, msg *spawn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &messages.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	pid, err := ctx.SpawnNamed(msg.props, msg.name)
	if err == nil {
		r.children[msg.name] = pid
	}
	return err
}

// ended forgets a child that has stopped, and tells those who wait for it.
func (r *root) ended(pid *actor.PID) {
	name := (*Supervisor)(r).nameOf(pid)
	ends := r.ends[name]
	// Before anything that might fail: an end that is waited for keeps the name's next child from
	// being restarted.
	delete(r.children, name)
	delete(r.ends, name)
	for _, done := range ends {
		close(done)
	}
}

// nameOf returns the name of a child, "" for one that has stopped. It is the actor's.
func (s *Supervisor) nameOf(pid *actor.PID) string {
	for name, child := range s.children {
		if child.Equal(pid) {
			return name
		}
	}
	return ""
}

// strategy restarts every child that fails.
type strategy Supervisor

// HandleFailure implements actor.SupervisorStrategy. It is called in the
// supervisor's goroutine.
func (s *strategy) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, _ any) {
	s.restarts.Add(1)
	again := &restart{sup, child, s.children[(*Supervisor)(s).nameOf(child)]}
	pause := time.Duration(0)
	// Whatever goes wrong in telling of it, the child is restarted.
	defer func() {
		if v := recover(); v != nil {
			s.log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("panic while an actor's failure was told")
		}
		if pause == 0 {
			s.restart(again)
			return
		}
		time.AfterFunc(pause, func() {
			select {
			case <-s.stopped:
			default:
				s.system.Root.Send(s.pid, again)
			}
		})
	}()
	if r, ok := reason.(reporter); ok {
		events := r.Events()
		for _, e := range events {
			s.hub.Publish(e)
		}
		if len(events) == 0 {
			s.log.Debug().Str("child", child.Id).Err(r).Msg("restarting, for the same reason as before")
		}
		return
	}
	if storms(rs) {
		pause = panicPause
	}
	err := asError(reason)
	line := s.log.Error().Str("child", child.Id).Err(err)
	var p *messages.PanicError
	if errors.As(err, &p) {
		line = line.Bytes("stack", p.Stack)
	}
	line.Msg("an actor panicked; it is restarted")
}

// storms counts a panic, and reports whether there are too many of late to restart
// at once.
func storms(rs *actor.RestartStatistics) bool {
	if rs.NumberOfFailures(panicWindow) == 0 {
		rs.Reset() // It keeps every time for ever otherwise.
	}
	rs.Fail()
	if rs.NumberOfFailures(panicWindow) <= panicBurst {
		return false
	}
	rs.Reset()
	return true
}

// restart restarts a child, unless it has been told to stop: a restart that comes after
// the stop brings the framework's actor back to life. It is called in the supervisor's
// goroutine.
func (s *strategy) restart(again *restart) {
	name := (*Supervisor)(s).nameOf(again.child)
	if s.stopping || name == "" || s.children[name] != again.of || len(s.ends[name]) > 0 {
		return
	}
	again.sup.RestartChildren(again.child)
}

func asError(reason any) error {
	if err, ok := reason.(error); ok {
		return err
	}
	return &messages.PanicError{Value: reason}
}

// contain keeps a panic of the supervisor's own from reaching the framework, whose
// strategy for a root actor gives up after ten; and a PoisonPill that somebody sends to
// the public PID, since the app stops it when nothing is left to answer.
func contain(log zerolog.Logger) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
			if _, poison := env.Message.(*actor.PoisonPill); poison {
				return
			}
			defer func() {
				if v := recover(); v != nil {
					log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("panic in the supervisor")
				}
			}()
			next(ctx, env)
		}
	}
}
