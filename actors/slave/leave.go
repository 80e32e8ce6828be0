package slave

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// drainFor bounds how long reads that are on the wire may take when their connection is
// given up in an orderly way.
const drainFor = 5 * time.Second

// drain ends the acceptance of reads: those that wait go to other hosts, those on the wire
// may come back, for drainFor at most. Then it closes the service and calls done, from any
// goroutine, but once.
func (s *service) drain(done func()) {
	s.pause()
	s.health.stop()
	end := sync.OnceFunc(func() {
		s.close()
		done()
	})
	timer := time.AfterFunc(drainFor, end)
	s.mu.Lock()
	s.drained = func() {
		timer.Stop()
		end()
	}
	s.tellDrained()
	s.mu.Unlock()
}

// tellDrained ends a drain when nothing is on the wire any more. s.mu must be held.
func (s *service) tellDrained() {
	if s.drained != nil && s.point.active+s.after.active+s.other.active == 0 {
		go s.drained() // It takes the lock.
	}
}

// leaveMsg asks a slave to give its host up for good.
type leaveMsg struct {
	internal
	reason string
	gone   *Departure
}

// Departure is how a slave gives its host up.
type Departure struct {
	// Out is closed when the host gets no more reads, and the slave tells nothing more
	// of it.
	Out chan struct{}
	// Drained is closed when the reads that were on the wire have come back, or after some
	// seconds have been called off, to go to other hosts where they may.
	Drained chan struct{}
}

// Leave gives the host up for good, for that reason: it gets no more reads, and is not
// dialled again. The actor is then to be stopped. What is on the wire may come back before
// that: see Departure, whose channels stay open when the actor was stopped before. It must be
// called once.
func (h *Host) Leave(reason string) *Departure {
	msg := leaveMsg{reason: reason, gone: &Departure{Out: make(chan struct{}), Drained: make(chan struct{})}}
	// An actor that has not started yet is nobody to tell, and looks here when it does.
	h.parting.Store(&msg)
	h.tell(msg)
	return msg.gone
}

// onLeave gives the host up, in whatever state it is.
func (i *incarnation) onLeave(msg leaveMsg) {
	h := i.h
	if h.leaving != "" {
		return
	}
	h.leaving = msg.reason
	svc, conn := i.svc, i.conn
	if svc != nil {
		h.cfg.Router.Leave(svc)
	}
	i.svc, i.conn = nil, nil // The drain's.
	i.disconnect()
	i.enter(Leaving, messages.RoleOther, msg.reason)
	close(msg.gone.Out)
	drained := func() {
		if conn != nil {
			conn.Close()
		}
		close(msg.gone.Drained)
	}
	if svc == nil {
		drained()
		return
	}
	svc.drain(func() {
		h.live.CompareAndSwap(svc, nil)
		drained()
	})
}
