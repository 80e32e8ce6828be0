// Package router chooses a live host for every read.
//
// A Read is encoded, admitted and handed to a host in its sender's goroutine; no
// mailbox is between. Hosts join and leave as their slaves say. A read whose attempt
// failed in a way that another host may not share comes back and goes to another, within
// its deadline and a retry budget. While no host may serve a read, it waits for one.
package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/door"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// limitReads is the Config field that a refusal names.
const limitReads = "ReadQueue"

// Router gives each read to a host. Its methods are safe for concurrent use.
type Router struct {
	cfg      Config
	system   *actor.ActorSystem
	door     *door.Door
	balancer *Balancer
	budget   *budget
	degraded degraded

	pending  atomic.Int64
	stopping atomic.Bool
	idle     chan struct{} // has a value after the last read was answered
	counts   counts

	mu     sync.Mutex
	parked map[*request.Read]bool // mu; reads that wait for a host
	joins  uint64                 // mu; how often a host joined, see park
}

type counts struct {
	reads, retries, evacuated, refused, failed atomic.Int64
}

// Stat is an immutable snapshot of a Router.
type Stat struct {
	// Pending is the number of unanswered reads; Parked of them wait for a host.
	Pending, Parked int64
	// Reads were accepted since the start, Retries sent again, Evacuated moved off an
	// ejected host, Refused for overload, and Failed answered with an error of evenkeel's
	// or of the network's.
	Reads, Retries, Evacuated, Refused, Failed int64
}

// New makes a router with its public PID. Its error names the Config field that
// can never work.
func New(system *actor.ActorSystem, cfg Config) (*Router, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &Router{
		cfg: cfg, system: system, budget: newBudget(now), parked: map[*request.Read]bool{}, idle: make(chan struct{}, 1),
		balancer: NewBalancer(cfg.Policy, cfg.SlowStart, uint64(now.UnixNano())),
	}
	r.degraded = degraded{router: r, since: now}
	r.door = door.Open(system, "evenkeel-router-", func(message any, sender *actor.PID) bool {
		read, ok := message.(*messages.Read)
		if ok {
			r.receive(read, sender)
		}
		return ok
	})
	return r, nil
}

// PID is where the game's actors send their Reads. It admits in the sender's
// goroutine and never blocks.
func (r *Router) PID() *actor.PID { return r.door.PID() }

// Stat returns a snapshot.
func (r *Router) Stat() Stat {
	r.mu.Lock()
	parked := len(r.parked)
	r.mu.Unlock()
	return Stat{
		Pending: r.pending.Load(), Parked: int64(parked),
		Reads: r.counts.reads.Load(), Retries: r.counts.retries.Load(), Evacuated: r.counts.evacuated.Load(),
		Refused: r.counts.refused.Load(), Failed: r.counts.failed.Load(),
	}
}

// receive accepts a read from an actor. Without a sender there is nobody to
// answer, and nothing is read.
func (r *Router) receive(m *messages.Read, sender *actor.PID) {
	if sender == nil {
		r.counts.refused.Add(1)
		r.cfg.Logger.Warn().Msg("a Read without a sender is dropped: nobody would get its reply; use Request instead of Send")
		return
	}
	r.Submit(m, func(rep *messages.ReadReply) { r.system.Root.Send(sender, rep) })
}

// Submit accepts a read as a Send to PID does. Deliver is called exactly once, by
// the deadline, from any goroutine, possibly before Submit returns; it must not
// block. Cancel gives up on the read.
func (r *Router) Submit(m *messages.Read, deliver func(*messages.ReadReply)) (cancel func(error)) {
	refuse := func(err error) func(error) {
		r.counts.refused.Add(1)
		rep := &messages.ReadReply{Err: err}
		if m != nil {
			rep.Correlation = m.Correlation
		}
		deliver(rep)
		return func(error) {}
	}
	if m == nil {
		return refuse(&messages.InvalidError{Field: "Read", Err: errors.New("it is nil")})
	}
	if r.stopping.Load() {
		return refuse(messages.ErrStopped)
	}
	if m.From > messages.FromPrimaryPreferred {
		return refuse(&messages.InvalidError{Field: "From", Err: fmt.Errorf("%d is none of the messages.From… constants", m.From)})
	}
	now := time.Now()
	deadline := m.Deadline
	if deadline.IsZero() {
		deadline = now.Add(r.cfg.ReadTimeout)
	}
	if !deadline.After(now) {
		return refuse(&messages.DeadlineError{Phase: "queued"})
	}
	if n := r.pending.Add(1); n > int64(r.cfg.ReadQueue) {
		r.pending.Add(-1)
		return refuse(&messages.OverloadedError{Limit: limitReads, Max: int64(r.cfg.ReadQueue), Pending: n - 1})
	}
	cmd, err := r.encode(m)
	if err != nil {
		r.pending.Add(-1)
		return refuse(err)
	}
	var read *request.Read
	read = request.NewRead(m, cmd, now, deadline, func() {
		r.mu.Lock()
		delete(r.parked, read)
		r.mu.Unlock()
		if r.pending.Add(-1) == 0 && r.stopping.Load() {
			select {
			case r.idle <- struct{}{}:
			default:
			}
		}
	}, func(rep *messages.ReadReply) {
		if rep.Err != nil && !errors.Is(rep.Err, mongo.ErrNoDocuments) {
			r.counts.failed.Add(1)
		}
		deliver(rep)
	})
	if read.From == messages.FromDefault {
		read.From = r.cfg.From
	}
	r.counts.reads.Add(1)
	r.budget.earn()
	read.OnDeadline(func() { read.Fail(r.overdue(read)) })
	r.route(read)
	if r.stopping.Load() {
		// Stop may have emptied the parked reads just before this one was parked.
		r.failParked()
	}
	return func(err error) {
		if err == nil {
			err = messages.ErrStopped
		}
		read.Fail(err)
	}
}

// encode runs the encoder, whose marshalers are the game's own code.
func (r *Router) encode(m *messages.Read) (cmd *command.Read, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &messages.PanicError{Value: v}
		}
	}()
	return r.cfg.Encoder.Read(m)
}

// overdue says why a read was not answered in time.
func (r *Router) overdue(read *request.Read) error {
	r.mu.Lock()
	parked := r.parked[read]
	r.mu.Unlock()
	late := &messages.DeadlineError{Phase: "sent", After: time.Since(read.Asked), Err: read.LastErr()}
	if parked {
		late.Phase = "held"
		return &messages.NoLiveHostError{From: read.From, Hosts: r.cfg.Hosts(), Err: late}
	}
	return late
}

// route hands a read to a host, or parks it until there is one.
func (r *Router) route(read *request.Read) {
	if read.Cmd.Cursor != nil {
		r.routePinned(read)
		return
	}
	tried := read.Tried
	var full error
	for {
		r.mu.Lock()
		joins := r.joins
		r.mu.Unlock()
		now := time.Now()
		host, fallback, another := r.balancer.Pick(read.From, !r.cfg.NoPrimaryFallback, tried, now)
		if host == nil {
			if full != nil {
				r.counts.refused.Add(1)
				read.Fail(full)
				return
			}
			if err := read.LastErr(); err != nil && len(read.Tried) > 0 && r.anyLive(read.Tried) {
				// All that are live have had it, and at least one of them is still there to
				// say the same again.
				read.Fail(err)
				return
			}
			if r.park(read, joins) {
				return
			}
			continue // A host joined between the pick and the parking.
		}
		if fallback {
			r.degraded.fell()
		}
		read.AttemptDeadline = read.Deadline
		if another && read.Cmd.Class == command.Point {
			// Leaves as much for the next host: a point read takes milliseconds, and a host
			// that needs half the deadline for one will not answer at all. Others may
			// honestly take long; a hung host is found by its silence instead.
			read.AttemptDeadline = now.Add(read.Deadline.Sub(now) / 2)
		}
		host.Load().Begin()
		err := host.Offer(read)
		if err == nil {
			return
		}
		host.Load().End(0, now)
		// Full, or gone a moment ago. Tried is not extended: it was never sent there.
		tried = append(tried[:len(tried):len(tried)], host.Incarnation())
		if errors.Is(err, messages.ErrOverloaded) {
			full = err
		}
	}
}

// routePinned hands a cursor's read to the one host that has the cursor.
func (r *Router) routePinned(read *request.Read) {
	c := read.Cmd.Cursor
	host := r.balancer.Find(c.Host, c.Incarnation)
	if host == nil {
		read.Fail(&messages.CursorLostError{Host: c.Host, Err: messages.ErrNotLive})
		return
	}
	read.AttemptDeadline = read.Deadline
	host.Load().Begin()
	if err := host.Offer(read); err != nil {
		host.Load().End(0, time.Now())
		if errors.Is(err, messages.ErrNotLive) {
			err = &messages.CursorLostError{Host: c.Host, Err: err}
		}
		read.Fail(err)
	}
}

func (r *Router) anyLive(incarnations []uint64) bool {
	for _, inc := range incarnations {
		if r.balancer.Live(inc) {
			return true
		}
	}
	return false
}

// park keeps a read until a host joins. It reports false when one has joined
// since joins was read: the pick was made without it, and its Join has woken all who
// were parked then.
func (r *Router) park(read *request.Read, joins uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.joins != joins {
		return false
	}
	if !read.Done() {
		// A reply given between the two lines takes the read off again: its release
		// waits for the lock.
		r.parked[read] = true
	}
	return true
}

// Join makes a host live, or tells its new role.
func (r *Router) Join(host request.Target, primary bool) {
	r.balancer.Join(host, primary, time.Now())
	r.mu.Lock()
	r.joins++
	waiting := make([]*request.Read, 0, len(r.parked))
	for read := range r.parked {
		waiting = append(waiting, read)
	}
	clear(r.parked)
	r.mu.Unlock()
	r.degraded.review()
	if len(waiting) > 0 {
		go func() { // There may be very many, and the caller is a slave's actor.
			for _, read := range waiting {
				r.Unserved(read)
			}
		}()
	}
}

// Leave takes a host out.
func (r *Router) Leave(host request.Target) {
	if r.balancer.Leave(host) {
		r.degraded.review()
	}
}

// Eject takes a host out that is connected but does not serve. It reports false, and
// leaves the host in, when too few would remain.
func (r *Router) Eject(host request.Target) bool {
	if !r.balancer.Eject(host) {
		return false
	}
	r.degraded.review()
	return true
}

// Unserved takes back a read that a host has accepted and never sent.
func (r *Router) Unserved(read *request.Read) {
	if read.Done() {
		return
	}
	if r.stopping.Load() {
		read.Fail(messages.ErrStopped)
		return
	}
	r.route(read)
}

// Evacuated takes back a read that was sent to a host which was then ejected. It
// has an allowance of its own, once for each read: a hung host must not use up the
// budget for all others.
func (r *Router) Evacuated(read *request.Read, host request.Target) {
	if read.Evacuated {
		read.Fail(fmt.Errorf("%w: the read hung at two hosts in a row, %s the second", messages.ErrNotLive, host.Host()))
		return
	}
	read.Evacuated = true
	read.Tried = append(read.Tried, host.Incarnation())
	read.SetLastErr(fmt.Errorf("%w: %s was ejected while the read was there", messages.ErrNotLive, host.Host()))
	r.counts.evacuated.Add(1)
	r.Unserved(read)
}

// Failed takes back a read whose attempt failed in a way that another host may
// not share.
func (r *Router) Failed(read *request.Read, host request.Target, err error) {
	if read.Done() {
		return
	}
	if read.Cmd.Cursor != nil {
		read.Fail(&messages.CursorLostError{Host: host.Host(), Err: err})
		return
	}
	read.Tried = append(read.Tried, host.Incarnation())
	read.SetLastErr(err)
	if errors.Is(err, context.DeadlineExceeded) && !read.AttemptDeadline.Before(read.Deadline) {
		// The driver gives up a little before the deadline, when a round trip would not
		// fit any more.
		read.Fail(r.overdue(read))
		return
	}
	if read.Cmd.Kind == command.KindCommand || len(read.Tried) >= r.cfg.ReadAttempts || !r.budget.spend(time.Now()) {
		read.Fail(err) // A Command is never sent twice.
		return
	}
	r.counts.retries.Add(1)
	r.Unserved(read)
}

// Stop refuses new reads and answers those that wait for a host. Those at hosts are
// answered as they come back.
func (r *Router) Stop() {
	r.stopping.Store(true)
	r.failParked()
	r.degraded.stop()
}

// Drain waits, after Stop, until every accepted read was answered or ctx ends.
func (r *Router) Drain(ctx context.Context) {
	for r.pending.Load() > 0 {
		select {
		case <-r.idle:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Router) failParked() {
	r.mu.Lock()
	waiting := r.parked
	r.parked = map[*request.Read]bool{}
	r.mu.Unlock()
	for read := range waiting {
		read.Fail(messages.ErrStopped)
	}
}

// Close takes the PID out of the registry.
func (r *Router) Close() { r.door.Close() }
