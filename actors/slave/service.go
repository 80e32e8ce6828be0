package slave

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

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
}

// attempt is one read on the wire. Whoever claims it decides what becomes of the
// read: the worker that has its result, or the evacuation that does not wait for it.
type attempt struct {
	read    *request.Read
	cancel  context.CancelFunc
	claimed bool // the service's mu
}

func newService(h *Host, inc uint64, conn Conn, hung func(suspect bool)) *service {
	s := &service{
		host: h, inc: inc, conn: conn, open: true,
		point:  lane{workers: h.cfg.PointWorkers},
		other:  lane{workers: h.cfg.OtherWorkers},
		flying: map[*attempt]bool{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.health = newHealth(h.cfg.HungReads, h.cfg.HungAfter, hung)
	s.cursors = newCursors(h.name, inc, h.cfg.MaxCursors)
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
	if len(l.waiting) >= s.host.cfg.HostQueue {
		l.compact(s)
		if n := len(l.waiting); n >= s.host.cfg.HostQueue {
			s.host.overloaded()
			return &messages.OverloadedError{Limit: limitHost, Max: int64(s.host.cfg.HostQueue), Pending: int64(n), Host: s.host.name}
		}
	}
	l.waiting = append(l.waiting, r)
	return nil
}

// compact drops reads that were answered while they waited.
func (l *lane) compact(s *service) {
	now := time.Now()
	kept := l.waiting[:0]
	for _, r := range l.waiting {
		if r.Done() {
			s.load.End(0, now)
			continue
		}
		kept = append(kept, r)
	}
	clear(l.waiting[len(kept):])
	l.waiting = kept
}

// work serves a read, and then those that wait, until none is left.
func (s *service) work(l *lane, r *request.Read) {
	for r != nil {
		s.serve(r)
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

// serve runs one read. A panic is the read's alone: its asker is answered and the
// worker goes on.
func (s *service) serve(r *request.Read) {
	defer func() {
		if v := recover(); v != nil {
			err := asPanicError(v)
			s.host.cfg.Logger.Error().Str("host", s.host.name).Err(err).Bytes("stack", err.Stack).Msg("panic in a read")
			r.Fail(err)
		}
	}()
	now := time.Now()
	if r.Done() {
		s.load.End(0, now)
		return
	}
	ctx, cancel := context.WithDeadline(s.ctx, r.AttemptDeadline)
	defer cancel()
	a := &attempt{read: r, cancel: cancel}
	counts := r.After.IsZero() && (r.Cmd.Class == command.Point || r.Cmd.Class == command.Range)
	if counts && !s.take(a) {
		s.load.End(0, now)
		s.host.cfg.Router.Unserved(r)
		return
	}
	r.SetAttempt(cancel)
	if counts {
		s.health.sent(now)
	}
	rep := &messages.ReadReply{Host: s.host.name, Attempts: len(r.Tried) + 1}
	err := s.ask(ctx, r, rep)
	end := time.Now()
	if counts {
		s.health.answered(end, err == nil || !unanswered(err))
		if !s.settle(a) {
			s.load.End(0, end)
			return // Evacuated: it is somebody else's now.
		}
	}
	switch {
	case err == nil:
		s.load.End(end.Sub(now), end)
		s.host.served.Add(1)
		r.Reply(rep)
	case r.Done():
		s.load.End(0, end)
	default:
		s.host.failed.Add(1)
		s.load.End(0, end)
		s.decide(r, err)
	}
}

// decide says what becomes of a read whose attempt failed.
func (s *service) decide(r *request.Read, err error) {
	if s.ctx.Err() != nil {
		// Called off by close: the host was lost while the read was there.
		err = fmt.Errorf("%w: %s was lost while the read was there: %w", messages.ErrNotLive, s.host.name, err)
		s.host.cfg.Router.Failed(r, s, err)
		return
	}
	if mongoconn.OtherHostMayServe(err) {
		s.host.cfg.Router.Failed(r, s, err)
		return
	}
	r.Reply(&messages.ReadReply{Err: err, Host: s.host.name, Attempts: len(r.Tried) + 1})
}

// unanswered reports whether an attempt ended without any word from the server.
func unanswered(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || mongoconn.IsNetwork(err)
}

// take registers an attempt that may be evacuated. It reports false on a service
// that no longer serves.
func (s *service) take(a *attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return false
	}
	s.flying[a] = true
	return true
}

// settle gives an attempt's read to its worker, unless the evacuation has it.
func (s *service) settle(a *attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, a)
	if a.claimed {
		return false
	}
	a.claimed = true
	return true
}

// ask puts a read on the wire and reads its reply into rep.
func (s *service) ask(ctx context.Context, r *request.Read, rep *messages.ReadReply) error {
	var sess *mongo.Session
	var err error
	cmd := r.Cmd
	switch {
	case cmd.Cursor != nil:
		return s.askPinned(ctx, r, rep)
	case cmd.Kind == command.KindBatch || !r.After.IsZero():
		// A cursor must be continued under the session that opened it, and a session
		// is how the driver is told a cluster time.
		if sess, err = s.conn.StartSession(); err != nil {
			return err
		}
		if len(r.After.ClusterTime) > 0 {
			if err := sess.AdvanceClusterTime(r.After.ClusterTime); err != nil {
				sess.EndSession(ctx)
				return &messages.InvalidError{Field: "After", Err: err}
			}
		}
	}
	concern := command.Concern{Level: s.host.cfg.ReadConcern, After: r.After.OperationTime}
	raw, err := s.conn.Run(ctx, cmd.Database, cmd.Wire(concern, 0), sess)
	var id int64
	if err == nil {
		id, err = cmd.Parse(raw, rep)
	}
	if err == nil && id != 0 {
		rep.Cursor, err = s.cursors.add(id, cmd, sess)
		if err == nil {
			if r.Done() {
				s.forgetCursor(rep.Cursor)
			}
			return nil
		}
		s.kill(cmd.Database, cmd.Collection, id, sess)
		return err
	}
	if sess != nil {
		sess.EndSession(ctx)
	}
	return err
}

// close ends the service: what waits goes back to the router, what is on the wire
// is called off and comes back as a failure. It may be called twice.
func (s *service) close() {
	for _, r := range s.stop() {
		s.host.cfg.Router.Unserved(r)
	}
	s.cancel()
	s.health.stop()
}

// stop ends the acceptance of reads and returns those that wait.
func (s *service) stop() []*request.Read {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	waiting := append(s.point.waiting, s.other.waiting...)
	s.point.waiting, s.other.waiting = nil, nil
	now := time.Now()
	for range waiting {
		s.load.End(0, now)
	}
	return waiting
}

// evacuate takes the service out: what waits and what is on the wire goes to
// other hosts. It returns how many reads were moved, and one of them to probe the host
// with.
func (s *service) evacuate() (moved int, probe *command.Read) {
	waiting := s.stop()
	s.mu.Lock()
	var sent []*attempt
	for a := range s.flying {
		a.claimed = true
		sent = append(sent, a)
	}
	clear(s.flying)
	s.mu.Unlock()
	for _, a := range sent {
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
	return len(s.point.waiting) + len(s.other.waiting), s.point.active + s.other.active
}
