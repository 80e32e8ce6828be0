package slave

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// limitHost is the Config field that a host's refusal names.
const limitHost = "HostQueue"

// service is a host's live time: two bounded queues, each with a bounded number
// of workers that exist only while there is work. It is the router's Target.
//
// The actor opens and closes it; reads pass through it without a mailbox.
type service struct {
	host    *Host
	inc     uint64
	conn    Conn
	load    load.Load
	health  *health
	cursors *cursors
	ctx     context.Context // ends with close: what is on the wire is called off
	cancel  context.CancelFunc

	mu     sync.Mutex
	open   bool              // mu; false while ejected, while it is drained, and after close
	closed bool              // mu; until then open cursors go on
	point  lane              // mu
	after  lane              // mu; reads that may have to wait for a cluster time
	other  lane              // mu
	flying map[*attempt]bool // mu; attempts that may be evacuated
	paces  [classes]pace     // mu
	quick  [classes]known    // mu; reads to probe with
	reports
	// answeredAt is when the server answered last; nil before.
	answeredAt atomic.Pointer[time.Time]
	// drained ends a drain; nil while there is none.
	drained func() // mu
}

// reports are what a service calls, from any goroutine.
type reports struct {
	hung   func(suspect, several bool)           // reads get no reply
	slow   func(of command.Class, reason string) // reads of a class are slow
	broken func(error)                           // they are answered with what is no answer
	recall func()                                // the router needs the host
}

// newService makes a service.
func newService(h *Host, inc uint64, conn Conn, to reports) *service {
	s := &service{host: h, inc: inc, conn: conn, reports: to, open: true, flying: map[*attempt]bool{}}
	s.point.init(h.cfg.PointWorkers)
	s.after.init(h.cfg.AfterWorkers)
	s.other.init(h.cfg.OtherWorkers)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.health = newHealth(h.cfg.HungReads, h.cfg.HungAfter, s.othersAnswer, to.hung)
	s.cursors = newCursors(h, inc)
	if h.cfg.Paces != nil {
		h.cfg.Paces.join(s)
	}
	return s
}

// othersAnswer reports whether other hosts have answered a moment ago.
func (s *service) othersAnswer() bool {
	p, after := s.host.cfg.Paces, s.host.cfg.HungAfter
	return p == nil || p.answering(s, time.Now().Add(-after/4))
}

// Host implements request.Target.
func (s *service) Host() string { return s.host.name }

// Incarnation implements request.Target.
func (s *service) Incarnation() uint64 { return s.inc }

// Load implements request.Target.
func (s *service) Load() *load.Load { return &s.load }

// Recall implements request.Target.
func (s *service) Recall() { s.recall() }

// Offer implements request.Target.
func (s *service) Offer(r *request.Read, inline bool) (run func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takes(r.Cmd) {
		return nil, messages.ErrNotLive
	}
	l := s.laneOf(r)
	if l.active < l.workers {
		l.active++
		// One that is called off may go on for a while to close its cursor, and its asker
		// must not: a Pinned read is always a worker's.
		if inline && r.Cmd.Class != command.Pinned {
			return func() {
				if left := s.serve([]*request.Read{r}); left != nil {
					go func() { // In the worker's place, which is free when they are closed.
						s.bury(left)
						s.work(l, s.next(l))
					}()
					return
				}
				s.handOver(l)
			}, nil
		}
		go s.work(l, []*request.Read{r})
		return nil, nil
	}
	limit := s.host.cfg.HostQueue
	if l.queue.reads >= limit && l.gone.Load() > 0 {
		l.compact(s.unload)
	}
	if n := l.queue.reads; n >= limit {
		s.host.queueFull.Refused()
		return nil, &messages.OverloadedError{Limit: limitHost, Max: int64(limit), Pending: int64(n), Host: s.host.name}
	}
	l.queue.add(r, !s.host.cfg.NoBatch, time.Now())
	r.SetAttempt(&l.left) // At once when the read was answered just now.
	return nil, nil
}

// takes reports whether a read may be served. A cursor is here and nowhere else, whatever keeps other reads
// off the host. s.mu must be held.
func (s *service) takes(cmd *command.Read) bool {
	return s.open || cmd.Class == command.Pinned && !s.closed
}

// laneOf is where a read waits. What must see its own write may wait on the server, and holds nobody up who need
// not; a cursor's reads go on where its first one was answered.
func (s *service) laneOf(r *request.Read) *lane {
	switch {
	case !r.After.IsZero() && r.Cmd.Class != command.Pinned:
		return &s.after
	case r.Cmd.Class == command.Point:
		return &s.point
	}
	return &s.other
}

func (s *service) lanes() [3]*lane { return [...]*lane{&s.point, &s.after, &s.other} }

// unload takes a read off the load that was never sent.
func (s *service) unload(r *request.Read) { s.load.Cancel(r.LoadClass(), time.Now()) }

// work serves reads, and then those that wait, until none is left.
func (s *service) work(l *lane, reads []*request.Read) {
	for reads != nil {
		s.bury(s.serve(reads))
		reads = s.next(l)
	}
}

// next takes what a worker serves next; nil ends the worker.
func (s *service) next(l *lane) []*request.Read {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := l.queue.take()
	if reads == nil {
		l.active--
		s.tellDrained()
	}
	return reads
}

// handOver ends the work that an asker's goroutine has done in a worker's place.
func (s *service) handOver(l *lane) {
	if reads := s.next(l); reads != nil {
		go s.work(l, reads)
	}
}

// close ends the service: what waits goes back to the router, what is on the wire
// is called off and comes back as a failure.
func (s *service) close() {
	waiting, _ := s.stop(true)
	s.cancel()
	s.health.stop()
	s.cursors.close()
	s.giveBack(waiting)
}

// stop ends the acceptance of reads, and with end that of the cursors' as well. It returns those that
// wait, and the attempts that may be evacuated.
func (s *service) stop(end bool) (waiting []*request.Read, sent []*attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.closed = false, s.closed || end
	if s.host.cfg.Paces != nil {
		s.host.cfg.Paces.forget(s)
	}
	for _, l := range s.lanes() {
		waiting = append(waiting, l.queue.drain(end)...)
	}
	for _, r := range waiting {
		s.unload(r)
	}
	for a := range s.flying {
		sent = append(sent, a)
	}
	return waiting, sent
}

// evacuate takes the service out: what waits and what is on the wire goes to
// other hosts. It returns how many reads were moved, and what to probe the host with, of a class
// if there is any: see known.
func (s *service) evacuate(of command.Class) (moved int, probe known) {
	waiting, sent := s.stop(false)
	moved = s.giveBack(waiting)
	s.mu.Lock()
	quick := s.quick
	s.mu.Unlock()
	probe = quick[of]
	for _, a := range sent {
		if !s.claim(a) {
			continue // It has come back just now.
		}
		if cmd := a.reads[0].Cmd; probe.cmd == nil && cmd.Class == command.Point {
			probe.cmd = cmd // What it takes here is not known, but that it takes no long.
		}
		a.cancel()
		for _, r := range a.reads {
			if !r.Done() {
				moved++
				s.evacuated(r)
			}
		}
	}
	for _, q := range quick {
		if probe.cmd == nil {
			probe = q
		}
	}
	return moved, probe
}

// known is a read to probe a host with, and what it has taken there, zero when that is not known. It is one
// that the host has answered as quickly as it answers such reads: what was on the wire when the host was
// ejected may be the very reason for it, an honest read that is slow wherever it goes. With none of
// that sort, which is the zero value, a ping must do.
type known struct {
	cmd  *command.Read
	took time.Duration
}

// noteQuick remembers a read that was answered quickly. s.mu must be held.
func (s *service) noteQuick(cmd *command.Read, took time.Duration) {
	if took < s.host.cfg.HungAfter/2 && !tooSlow(took, s.paces[cmd.Class].usual) {
		s.quick[cmd.Class] = known{cmd, took}
	}
}

// onWire is a read that is on the wire, nil while there is none: a point read if any is, another
// one only where that is allowed.
func (s *service) onWire(others bool) (cmd *command.Read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.flying {
		switch c := a.reads[0].Cmd; {
		case c.Class == command.Point:
			return c
		case others:
			cmd = c
		}
	}
	return cmd
}

// pause takes the service out and leaves what is on the wire there. It returns how many
// reads that waited went to other hosts.
func (s *service) pause() (moved int) {
	waiting, _ := s.stop(false)
	return s.giveBack(waiting)
}

// giveBack returns reads that were never sent to the router, and how many they were that
// somebody still waits for.
func (s *service) giveBack(waiting []*request.Read) (moved int) {
	for _, r := range waiting {
		if !r.Done() {
			moved++
		}
		s.unserved(r)
	}
	return moved
}

// reopen lets an ejected service serve again.
func (s *service) reopen() {
	if s.host.cfg.Paces != nil {
		s.host.cfg.Paces.join(s)
	}
	s.mu.Lock()
	s.open = true
	for i := range s.paces {
		s.paces[i].samples, s.paces[i].slow = nil, time.Time{}
	}
	s.mu.Unlock()
	s.health.reset()
}

// waiting returns the numbers of reads that wait and that are on the wire.
func (s *service) waiting() (queued, active int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes() {
		queued += l.queue.waiting()
		active += l.active
	}
	return queued, active
}
