package slave

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
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
	open   bool              // mu; false before Join, while ejected, and after close
	point  lane              // mu
	other  lane              // mu
	flying map[*attempt]bool // mu; attempts that may be evacuated
}

// lane is one queue and its workers; the service's lock guards it.
type lane struct {
	waiting []*request.Read
	active  int
	workers int
	// gone is how many of those that wait were answered in the meantime, or one or two
	// more.
	gone atomic.Int64
	left context.CancelFunc // counts in gone
}

func (l *lane) init(workers int) {
	l.workers = workers
	l.left = func() { l.gone.Add(1) }
}

// compact drops reads that were answered while they waited, and returns how many. The
// service's lock must be held.
func (l *lane) compact() (dropped int) {
	l.gone.Store(0)
	before := len(l.waiting)
	l.waiting = slices.DeleteFunc(l.waiting, (*request.Read).Done)
	return before - len(l.waiting)
}

// attempt is one read on the wire. Whoever claims it decides what becomes of the
// read: the worker that has its result, or the evacuation that does not wait for it.
type attempt struct {
	read    *request.Read
	cancel  context.CancelFunc
	moves   bool // it may be evacuated, and its silence tells of the host's health
	claimed bool // the service's mu
}

func newService(h *Host, inc uint64, conn Conn, hung func(suspect bool)) *service {
	s := &service{host: h, inc: inc, conn: conn, open: true, flying: map[*attempt]bool{}}
	s.point.init(h.cfg.PointWorkers)
	s.other.init(h.cfg.OtherWorkers)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.health = newHealth(h.cfg.HungReads, h.cfg.HungAfter, hung)
	s.cursors = newCursors(h, inc)
	return s
}

// Host implements request.Target.
func (s *service) Host() string { return s.host.name }

// Incarnation implements request.Target.
func (s *service) Incarnation() uint64 { return s.inc }

// Load implements request.Target.
func (s *service) Load() *load.Load { return &s.load }

// Offer implements request.Target.
func (s *service) Offer(r *request.Read) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return messages.ErrNotLive
	}
	l := &s.other
	if r.Cmd.Class == command.Point {
		l = &s.point
	}
	if l.active < l.workers {
		l.active++
		go s.work(l, r)
		return nil
	}
	limit := s.host.cfg.HostQueue
	if len(l.waiting) >= limit && l.gone.Load() > 0 {
		now := time.Now()
		for range l.compact() {
			s.load.End(0, now)
		}
	}
	if n := len(l.waiting); n >= limit {
		s.host.queueFull.Refused()
		return &messages.OverloadedError{Limit: limitHost, Max: int64(limit), Pending: int64(n), Host: s.host.name}
	}
	l.waiting = append(l.waiting, r)
	r.SetAttempt(l.left) // At once when the read was answered just now.
	return nil
}

// work serves a read, and then those that wait, until none is left.
func (s *service) work(l *lane, r *request.Read) {
	for r != nil {
		s.safely(r)
		s.mu.Lock()
		if len(l.waiting) == 0 {
			l.active--
			s.mu.Unlock()
			return
		}
		r = l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		s.mu.Unlock()
	}
}

// safely serves a read. A panic is the read's alone: its asker is answered and the
// worker goes on.
func (s *service) safely(r *request.Read) {
	defer func() {
		if v := recover(); v != nil {
			err := asPanicError(v)
			s.panicked(err)
			r.Fail(err)
		}
	}()
	s.serve(r)
}

func (s *service) panicked(err *messages.PanicError) {
	s.host.cfg.Logger.Error().Str("host", s.host.name).Err(err).Bytes("stack", err.Stack).Msg("panic in a read")
}

// serve runs one read and says what becomes of it.
func (s *service) serve(r *request.Read) {
	start := time.Now()
	if r.Done() {
		s.load.End(0, start)
		return
	}
	ctx, cancel := context.WithDeadline(s.ctx, r.AttemptDeadline)
	defer cancel()
	rep := &messages.ReadReply{Host: s.host.name, Attempts: len(r.Tried) + 1}
	// All of the read's own fields are used before begin: after it an evacuation may hand
	// the read to another host at any time.
	r.SetAttempt(cancel)
	a := &attempt{read: r, cancel: cancel}
	a.moves = r.After.IsZero() && (r.Cmd.Class == command.Point || r.Cmd.Class == command.Range)
	if !s.begin(a, start) {
		s.load.End(0, start)
		s.host.cfg.Router.Unserved(r)
		return
	}
	err := s.try(ctx, r, rep)
	end := time.Now()
	mine := s.settle(a, end, err)
	if err == nil {
		s.load.End(end.Sub(start), end)
	} else {
		s.load.End(0, end)
	}
	switch {
	case err == nil && mine:
		s.host.reads.Add(1)
		s.deliver(r, rep)
	case err == nil && rep.Cursor != nil: // Evacuated: it is somebody else's now.
		s.abandon(rep.Cursor)
	case err != nil && mine && !r.Done():
		s.host.failed.Add(1)
		s.decide(r, err)
	}
}

// try asks, and makes a panic an error: what was counted is to be counted back.
func (s *service) try(ctx context.Context, r *request.Read, rep *messages.ReadReply) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = asPanicError(v)
		}
	}()
	return s.ask(ctx, r, rep)
}

// begin registers an attempt. It reports false when the service serves no more.
func (s *service) begin(a *attempt, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return false
	}
	if a.moves {
		s.flying[a] = true
		s.health.sent(now)
	}
	return true
}

// settle gives an attempt's read to its worker, unless the evacuation has it.
func (s *service) settle(a *attempt, now time.Time, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.moves {
		delete(s.flying, a)
		s.health.answered(now, err == nil || !unanswered(err))
	}
	mine := !a.claimed
	a.claimed = true
	return mine
}

// decide says what becomes of a read whose attempt failed.
func (s *service) decide(r *request.Read, err error) {
	var panicked *messages.PanicError
	switch {
	case errors.As(err, &panicked):
		s.panicked(panicked)
	case s.ctx.Err() != nil:
		// Called off by close: the host was lost while the read was there.
		s.host.cfg.Router.Failed(r, s, fmt.Errorf("%w: %s was lost while the read was there: %w", messages.ErrNotLive, s.host.name, err))
		return
	case mongoconn.OtherHostMayServe(err):
		s.host.cfg.Router.Failed(r, s, err)
		return
	}
	r.Reply(&messages.ReadReply{Err: err, Host: s.host.name, Attempts: len(r.Tried) + 1})
}

// unanswered reports whether an attempt ended without any word from the server.
func unanswered(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, messages.ErrPanicked) || mongoconn.IsNetwork(err)
}

// close ends the service: what waits goes back to the router, what is on the wire
// is called off and comes back as a failure.
func (s *service) close() {
	waiting, _ := s.stop()
	s.cancel()
	s.health.stop()
	s.cursors.close()
	for _, r := range waiting {
		s.host.cfg.Router.Unserved(r)
	}
}

// stop ends the acceptance of reads. It returns those that wait, and the attempts
// that may be evacuated.
func (s *service) stop() (waiting []*request.Read, sent []*attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	now := time.Now()
	for _, l := range []*lane{&s.point, &s.other} {
		waiting = append(waiting, l.waiting...)
		l.waiting = nil
	}
	for range waiting {
		s.load.End(0, now)
	}
	for a := range s.flying {
		sent = append(sent, a)
	}
	return waiting, sent
}

// evacuate takes the service out: what waits and what is on the wire goes to
// other hosts. It returns how many reads were moved, and one of them to probe the host
// with.
func (s *service) evacuate() (moved int, probe *command.Read) {
	waiting, sent := s.stop()
	for _, a := range sent {
		s.mu.Lock()
		mine := !a.claimed
		a.claimed = true
		s.mu.Unlock()
		if !mine {
			continue // It has come back just now.
		}
		if probe == nil || a.read.Cmd.Class == command.Point {
			probe = a.read.Cmd
		}
		a.cancel()
		if !a.read.Done() {
			moved++
			s.host.cfg.Router.Evacuated(a.read, s)
		}
	}
	for _, r := range waiting {
		if !r.Done() {
			moved++
		}
		s.host.cfg.Router.Unserved(r)
	}
	return moved, probe
}

// reopen lets an ejected service serve again.
func (s *service) reopen() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.health.reset()
}

// waiting returns the numbers of reads that wait and that are on the wire.
func (s *service) waiting() (queued, active int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*lane{&s.point, &s.other} {
		queued += max(0, len(l.waiting)-int(l.gone.Load()))
		active += l.active
	}
	return queued, active
}
