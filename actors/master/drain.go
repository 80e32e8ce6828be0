package master

import (
	"context"
	"errors"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// wireGrace is how long a drain waits, after its own time is over, for what was
// on the wire to come back: its context is cancelled, so that it does at once.
const wireGrace = time.Second

// Drain refuses new writes with ErrStopped and finishes, or settles, those that
// were accepted. When ctx ends, what is queued is answered NotApplied with
// ErrStopped and what is on the wire is given up. Every asker has its reply when
// Drain returns; the result has those that were NotApplied, or Unknown, since it began,
// told apart by their Correlation. It may be called more than once.
func (m *Master) Drain(ctx context.Context) (undone []*messages.WriteReply) {
	m.drainMu.Lock()
	m.draining = true
	m.drainMu.Unlock()
	m.stopping.Store(true)
	for _, l := range m.lanes {
		l.refuse()
	}
	if !m.waitIdle(ctx) {
		m.abort(messages.ErrStopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), wireGrace)
		m.waitIdle(grace)
		cancel()
	}
	m.drainMu.Lock()
	defer m.drainMu.Unlock()
	return append([]*messages.WriteReply(nil), m.undone...)
}

// waitIdle waits until no lane has work, or ctx ends.
func (m *Master) waitIdle(ctx context.Context) bool {
	for {
		idle := true
		for _, l := range m.lanes {
			idle = idle && l.idle()
		}
		if idle {
			// The next waiter, if there is one, may have lost the signal to us.
			m.noteQuiet()
			return true
		}
		select {
		case <-m.quietened:
		case <-ctx.Done():
			return false
		}
	}
}

// noteQuiet wakes a drain that waits.
func (m *Master) noteQuiet() {
	select {
	case m.quietened <- struct{}{}:
	default:
	}
}

func (m *Master) noteUndone(rep *messages.WriteReply) {
	if rep.Outcome != messages.NotApplied && rep.Outcome != messages.Unknown {
		return
	}
	m.drainMu.Lock()
	if m.draining {
		m.undone = append(m.undone, rep)
	}
	m.drainMu.Unlock()
}

// abort answers everything that is queued and cancels what is on the wire. It does
// not wait.
func (m *Master) abort(err error) {
	m.stopping.Store(true)
	for _, l := range m.lanes {
		l.abort(err)
	}
}

// Close stops the master without waiting for what is queued (Drain does), takes
// its PID away and ends its sessions. Closing twice is fine.
func (m *Master) Close() {
	m.closed.Do(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		m.Drain(now)
		m.stopLogins()
		m.hold.stop()
		m.admission.stop()
		for _, l := range m.lanes {
			l.close()
		}
		m.door.Close()
	})
}

func isInvalid(err error) bool { return errors.Is(err, messages.ErrInvalid) }
