// Package door is a public PID that admits in the sender's goroutine. A message to
// it is judged before Send returns: a flood of raw Sends gets refusals instead of
// filling a mailbox, and order is the order in which the sends returned.
package door

import (
	"errors"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// Door is a process of the actor system without a mailbox.
type Door struct {
	system  *actor.ActorSystem
	receive func(message any, sender *actor.PID) bool
	pid     *actor.PID

	mu       sync.Mutex
	watchers map[string]*actor.PID // mu
	gone     bool                  // mu
}

var _ actor.Process = (*Door)(nil)

// Open registers a Door under a name that starts with prefix. Receive is called
// for each user message in its sender's goroutine, must not block, and reports
// whether the message is one of its own. A request that belongs to another door, or was
// sent by value, is answered with what to do instead; anything else goes to the system's
// dead letters, which also answers its sender.
func Open(system *actor.ActorSystem, prefix string, receive func(message any, sender *actor.PID) bool) *Door {
	d := &Door{system: system, receive: receive, watchers: map[string]*actor.PID{}}
	for {
		pid, fresh := system.ProcessRegistry.Add(d, prefix+system.ProcessRegistry.NextId())
		if fresh {
			d.pid = pid
			// A PID finds its process when it is first sent to, and keeps it: who has this PID is
			// answered, that the app has stopped, also when his first message comes after Close.
			system.Root.Send(pid, first{})
			return d
		}
	}
}

// first is what a PID is first sent.
type first struct{}

// PID is the Door's address.
func (d *Door) PID() *actor.PID { return d.pid }

// SendUserMessage is called by the actor system.
func (d *Door) SendUserMessage(pid *actor.PID, message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	switch inner.(type) {
	case first:
		return
	case *actor.PoisonPill:
		return // Its owner closes it, nobody else: there may be other senders.
	}
	if d.receive(inner, sender) {
		return
	}
	if rep := misaddressed(inner); rep != nil && sender != nil {
		d.system.Root.Send(sender, rep)
		return
	}
	d.system.DeadLetter.SendUserMessage(pid, message)
}

// misaddressed is the reply to a request that the door it was sent to does not take, nil
// for what is no request.
func misaddressed(message any) any {
	wrong := func(field, text string) error { return &messages.InvalidError{Field: field, Err: errors.New(text)} }
	switch m := message.(type) {
	case *messages.Read:
		return &messages.ReadReply{Correlation: m.Correlation, Err: wrong("Read", "it was sent to the master; send it to App.Router()")}
	case messages.Read:
		return &messages.ReadReply{Correlation: m.Correlation, Err: wrong("Read", "it was sent by value; send a *messages.Read")}
	case *messages.Write:
		return &messages.WriteReply{Outcome: messages.NotApplied, Correlation: m.Correlation, Err: wrong("Write", "it was sent to the router; send it to App.Master()")}
	case messages.Write:
		return &messages.WriteReply{Outcome: messages.NotApplied, Correlation: m.Correlation, Err: wrong("Write", "it was sent by value; send a *messages.Write")}
	}
	return nil
}

// SendSystemMessage serves those who watch the Door.
func (d *Door) SendSystemMessage(_ *actor.PID, message any) {
	switch msg := message.(type) {
	case *actor.Watch:
		if msg.Watcher == nil {
			return
		}
		d.mu.Lock()
		gone := d.gone
		if !gone {
			d.watchers[msg.Watcher.String()] = msg.Watcher
		}
		d.mu.Unlock()
		if gone {
			d.tell(msg.Watcher)
		}
	case *actor.Unwatch:
		if msg.Watcher == nil {
			return
		}
		d.mu.Lock()
		delete(d.watchers, msg.Watcher.String())
		d.mu.Unlock()
	}
}

// Stop does nothing: the owner closes the Door.
func (d *Door) Stop(*actor.PID) {}

// Close takes the PID out of the registry and tells the watchers. A sender whose
// PID has the process cached still reaches receive, which goes on to refuse. Closing
// twice is fine.
func (d *Door) Close() {
	d.mu.Lock()
	watchers, already := d.watchers, d.gone
	d.gone, d.watchers = true, nil
	d.mu.Unlock()
	if already {
		return
	}
	d.system.ProcessRegistry.Remove(d.pid)
	for _, w := range watchers {
		d.tell(w)
	}
}

func (d *Door) tell(watcher *actor.PID) {
	if ref, ok := d.system.ProcessRegistry.Get(watcher); ok {
		ref.SendSystemMessage(watcher, &actor.Terminated{Who: d.pid, Why: actor.TerminatedReason_Stopped})
	}
}
