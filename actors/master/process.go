package master

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// process is what stands behind the master's public PID. It has no mailbox: a
// message to it is judged in the sender's own goroutine, so that a flood of raw
// Sends gets refusals instead of filling memory, and order is the order in which
// the sends returned.
type process struct {
	m   *Master
	pid *actor.PID

	mu       sync.Mutex
	watchers map[string]*actor.PID
	gone     bool
}

var _ actor.Process = (*process)(nil)

// SendUserMessage admits a Write. What is no Write goes to the system's dead
// letters, which also answers its sender.
func (p *process) SendUserMessage(pid *actor.PID, message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	switch msg := inner.(type) {
	case *messages.Write:
		p.m.receive(msg, sender)
	case *actor.PoisonPill:
		// The app stops its master, nobody else: there may be other senders.
	default:
		p.m.system.DeadLetter.SendUserMessage(pid, message)
	}
}

// SendSystemMessage serves those who watch the master.
func (p *process) SendSystemMessage(_ *actor.PID, message any) {
	switch msg := message.(type) {
	case *actor.Watch:
		if msg.Watcher == nil {
			return
		}
		p.mu.Lock()
		gone := p.gone
		if !gone {
			p.watchers[msg.Watcher.String()] = msg.Watcher
		}
		p.mu.Unlock()
		if gone {
			p.tell(msg.Watcher)
		}
	case *actor.Unwatch:
		if msg.Watcher == nil {
			return
		}
		p.mu.Lock()
		delete(p.watchers, msg.Watcher.String())
		p.mu.Unlock()
	}
}

// Stop does nothing: the app stops its master with Close.
func (p *process) Stop(*actor.PID) {}

// close takes the PID out of the registry and tells the watchers. A sender whose
// PID has the process cached still gets ErrStopped.
func (p *process) close() {
	p.mu.Lock()
	watchers := p.watchers
	already := p.gone
	p.gone, p.watchers = true, nil
	p.mu.Unlock()
	if already {
		return
	}
	p.m.system.ProcessRegistry.Remove(p.pid)
	for _, w := range watchers {
		p.tell(w)
	}
}

func (p *process) tell(watcher *actor.PID) {
	if ref, ok := p.m.system.ProcessRegistry.Get(watcher); ok {
		ref.SendSystemMessage(watcher, &actor.Terminated{Who: p.pid, Why: actor.TerminatedReason_Stopped})
	}
}
