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
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/door"
	"github.com/evenkeel/evenkeel/internal/refusals"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// The Config fields that refusals name.
const (
	limitReads = "ReadQueue"
	limitBytes = "ReadQueueBytes"
)

// Router gives each read to a host. Its methods are safe for concurrent use.
type Router struct {
	cfg      Config
	system   *actor.ActorSystem
	door     *door.Door
	balancer *Balancer
	budget   *budget
	hedger   *hedger // nil when there are no hedges
	degraded degraded

	pending atomic.Int64
	bytes   atomic.Int64 // that the pending ones hold
	counts  counts
	full    *refusals.Teller
	heavy   *refusals.Teller
	deaf    zerolog.Logger // for reads without a sender: a warning a second at most

	stopping atomic.Bool   // new reads are refused, and none is parked
	over     atomic.Bool   // no read is sent any more
	idle     chan struct{} // has a value after the last read was answered
	askers   request.Askers[*messages.ReadReply]

	mu     sync.Mutex
	parked map[*request.Read]bool // mu; reads that wait for a host
	joins  atomic.Uint64          // grows under mu; how often a host joined, see park
	waking bool                   // mu; wake is running
}

type counts struct {
	reads, retries, evacuated, refused, failed, fallbacks atomic.Int64
}

// Stat is an immutable snapshot of a Router.
type Stat struct {
	// Pending is the number of unanswered reads, which hold Bytes; Parked of them wait for a host.
	Pending, Bytes, Parked int64
	// Reads were accepted since the start, Retries sent again, Evacuated moved off an
	// ejected host, Refused for overload, and Failed answered with an error of evenkeel's
	// or of the network's.
	Reads, Retries, Evacuated, Refused, Failed int64
	// Fallbacks were given to the primary for want of a secondary, or to a secondary for
	// want of the primary: by the app's settings, or by their own, of which ReadsDegraded
	// does not tell.
	Fallbacks int64
	// Hedges are second copies that were sent, HedgesWon those that were answered first.
	Hedges, HedgesWon int64
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
	if cfg.Hedge {
		r.hedger = newHedger(r, cfg.HedgeShare, now)
	}
	r.full = refusals.New(cfg.Emit, "", limitReads, int64(cfg.ReadQueue))
	r.heavy = refusals.New(cfg.Emit, "", limitBytes, int64(cfg.ReadQueueBytes))
	r.deaf = cfg.Logger.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Second})
	r.degraded = degraded{router: r, since: now}
	r.degraded.review() // There may be no host to join, or leave, at all.
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
	var hedges, won int64
	if r.hedger != nil {
		hedges, won = r.hedger.sent.Load(), r.hedger.won.Load()
	}
	return Stat{
		Hedges: hedges, HedgesWon: won,
		Pending: r.pending.Load(), Bytes: r.bytes.Load(), Parked: int64(parked),
		Reads: r.counts.reads.Load(), Retries: r.counts.retries.Load(), Evacuated: r.counts.evacuated.Load(),
		Refused: r.counts.refused.Load(), Failed: r.counts.failed.Load(),
		Fallbacks: r.counts.fallbacks.Load(),
	}
}

// receive accepts a read from an actor. Without a sender there is nobody to
// answer, and nothing is read.
func (r *Router) receive(m *messages.Read, sender *actor.PID) {
	if sender == nil {
		r.counts.refused.Add(1)
		r.deaf.Warn().Msg("a Read without a sender is dropped: nobody would get its reply; use Request instead of Send")
		return
	}
	r.Submit(m, func(rep *messages.ReadReply) { r.system.Root.Send(sender, rep) })
}

// Submit accepts a read as a Send to PID does. Receive is called exactly once, by
// the deadline, from any goroutine, possibly before Submit returns; it must not
// block. Cancel gives up on the read.
func (r *Router) Submit(m *messages.Read, receive func(*messages.ReadReply)) (cancel func(error)) {
	deliver := func(rep *messages.ReadReply) { r.deliver(rep, receive) }
	read, err := r.accept(m, deliver)
	if err != nil {
		r.refuse(m, err, deliver)
		return func(error) {}
	}
	r.watch(read)
	r.route(read, false)
	return func(err error) {
		if err == nil {
			err = messages.ErrStopped
		}
		read.Fail(err)
	}
}

// deliver gives a reply to the asker, whose panic must not end the process: it may come in the
// goroutine of a deadline's timer. That of an actor's is, where he is gone, the code of whoever
// has subscribed to dead letters.
func (r *Router) deliver(rep *messages.ReadReply, receive func(*messages.ReadReply)) {
	defer func() {
		if v := recover(); v != nil {
			r.deaf.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("panic while delivering a reply")
		}
	}()
	receive(rep)
}

// Ask accepts a read and waits for its reply. A ctx that ends gives the read up. Where a
// host has a free worker the caller's goroutine does its work: nothing is handed
// over, which would take longer than all the rest that is not the server's.
func (r *Router) Ask(ctx context.Context, m *messages.Read) *messages.ReadReply {
	asker := r.askers.Get()
	read, err := r.accept(m, asker.Deliver)
	if err != nil {
		r.refuse(m, err, asker.Deliver)
		return asker.Wait()
	}
	// A ctx that ends by the read's deadline is its timer as well.
	if !request.EndsBy(ctx, read.Deadline) {
		r.watch(read)
	}
	if run := r.route(read, true); run != nil {
		if ctx.Done() == nil {
			run()
		} else {
			stop := context.AfterFunc(ctx, func() { r.giveUp(ctx, read) })
			run()
			stop()
		}
	}
	select {
	case rep := <-asker.Replies:
		asker.Free()
		return rep
	case <-ctx.Done():
		r.giveUp(ctx, read)
		return asker.Wait() // That of giving up, unless another was faster.
	}
}

// giveUp answers a read whose asker's context has ended.
func (r *Router) giveUp(ctx context.Context, read *request.Read) {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		read.Fail(r.overdue(read)) // It knows more of it.
		return
	}
	read.Fail(fmt.Errorf("evenkeel: the read was given up: %w", err))
}

// refuse answers a read that was not accepted.
func (r *Router) refuse(m *messages.Read, err error, deliver func(*messages.ReadReply)) {
	r.counts.refused.Add(1)
	messages.SetRecent(err, r.cfg.Recent)
	rep := &messages.ReadReply{Err: err}
	if m != nil {
		rep.Correlation = m.Correlation
	}
	deliver(rep)
}

// accept admits a read. What it returns is to be watched and routed.
func (r *Router) accept(m *messages.Read, deliver func(*messages.ReadReply)) (*request.Read, error) {
	if m == nil {
		return nil, &messages.InvalidError{Field: "Read", Err: errors.New("it is nil")}
	}
	if r.stopping.Load() {
		return nil, messages.ErrStopped
	}
	if m.From > messages.FromPrimaryPreferred {
		return nil, &messages.InvalidError{Field: "From", Err: fmt.Errorf("%d is none of the messages.From… constants", m.From)}
	}
	now := time.Now()
	deadline := m.Deadline
	if deadline.IsZero() {
		deadline = now.Add(r.cfg.ReadTimeout)
	}
	if !deadline.After(now) {
		return nil, &messages.DeadlineError{Phase: "queued"}
	}
	if n := r.pending.Add(1); n > int64(r.cfg.ReadQueue) {
		r.answered()
		r.full.Refused()
		return nil, &messages.OverloadedError{Limit: limitReads, Max: int64(r.cfg.ReadQueue), Pending: n - 1}
	}
	cmd, err := r.encode(m)
	if err != nil {
		r.answered()
		return nil, err
	}
	size, limit := int64(len(cmd.Body)), int64(r.cfg.ReadQueueBytes)
	if n := r.bytes.Add(size); n > limit {
		r.bytes.Add(-size)
		r.answered()
		if size > limit {
			return nil, &messages.InvalidError{Field: "Operation", Err: fmt.Errorf(
				"it holds %d bytes, which is more than the whole queue may (%s=%d); split it, or raise the limit", size, limitBytes, limit)}
		}
		r.heavy.Refused()
		return nil, &messages.OverloadedError{Limit: limitBytes, Max: limit, Pending: n - size}
	}
	read := request.NewRead(m, cmd, now, deadline, nil)
	read.DeliverTo(func(rep *messages.ReadReply) {
		if read.Parked.Load() {
			r.mu.Lock()
			delete(r.parked, read)
			r.mu.Unlock()
		}
		r.bytes.Add(-size)
		r.answered() // Before the reply, so that an asker who sends again at once is admitted.
		messages.SetRecent(rep.Err, r.cfg.Recent)
		switch {
		case rep.Err != nil && !errors.Is(rep.Err, mongo.ErrNoDocuments):
			r.counts.failed.Add(1)
		case r.hedger != nil:
			r.hedger.observe(cmd.Class, time.Since(now))
		}
		deliver(rep)
	})
	if read.From == messages.FromDefault {
		read.From = r.cfg.From
	}
	if read.Tags == nil {
		read.Tags = r.cfg.Tags
	}
	r.counts.reads.Add(1)
	r.budget.earn()
	if r.hedger != nil {
		r.hedger.budget.earn()
	}
	return read, nil
}

// watch answers a read at its deadline, unless it was answered before.
func (r *Router) watch(read *request.Read) {
	read.OnDeadline(func() { read.Fail(r.overdue(read)) })
}

// answered takes a read off those that are pending.
func (r *Router) answered() {
	if r.pending.Add(-1) == 0 && r.stopping.Load() {
		select {
		case r.idle <- struct{}{}:
		default:
		}
	}
}

// encode runs the encoder, whose marshalers are the game's own code.
func (r *Router) encode(m *messages.Read) (cmd *command.Read, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &messages.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.cfg.Encoder.Read(m)
}

// Join makes a host live, or tells what it is from now on.
func (r *Router) Join(host request.Target, as request.Member) {
	r.balancer.Join(host, as, time.Now())
	r.unpark()
	r.degraded.review()
}

// Leave takes a host out.
func (r *Router) Leave(host request.Target) { r.left(r.balancer.Leave(host)) }

// Pause takes a host out in which no reads are to begin for a while, and whose cursors go on.
func (r *Router) Pause(host request.Target) { r.left(r.balancer.Pause(host)) }

func (r *Router) left(live bool, needed []request.Target) {
	for _, ejected := range needed {
		ejected.Recall()
	}
	if live {
		r.degraded.review()
	}
}

// Eject takes a host out that is connected but does not serve. It reports false, and
// leaves the host in, when too few would remain.
func (r *Router) Eject(host request.Target, slow bool) bool {
	if !r.balancer.Eject(host, slow) {
		return false
	}
	r.degraded.review()
	return true
}

// Stop refuses new reads and answers those that wait for a host. Those at hosts are
// answered as they come back; another live host is still asked after a failure.
func (r *Router) Stop() {
	r.stopping.Store(true)
	r.failParked()
	r.degraded.stop()
	r.full.Stop()
	r.heavy.Stop()
}

// Drain waits, after Stop, until every accepted read was answered or ctx ends. Then no
// read is sent any more: one that comes back unanswered is answered with
// messages.ErrStopped.
func (r *Router) Drain(ctx context.Context) {
	defer r.over.Store(true)
	for r.pending.Load() > 0 {
		select {
		case <-r.idle:
		case <-ctx.Done():
			return
		}
	}
}

// Close takes the PID out of the registry.
func (r *Router) Close() {
	r.door.Close()
	r.degraded.stop()
	r.full.Stop()
	r.heavy.Stop()
}
