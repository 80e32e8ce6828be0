// Package master serializes the game's Writes.
//
// A Write is encoded and admitted in its sender's goroutine, appended to a lane's
// queue, and sent when everything before it in that lane was decided. A lane has
// one driver session of its own, and at most one batch on the wire; what queued
// meanwhile goes together where each write keeps its own exact result. Each Write
// gets one reply, by its deadline, that says whether it has happened: see
// classify.go for how that is judged and settle.go for how what was left open is
// found out.
package master

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/door"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// Master is the ordered queue, or queues, of writes. Its methods are safe for
// concurrent use.
type Master struct {
	cfg       Config
	system    *actor.ActorSystem
	door      *door.Door
	admission *admission
	hold      hold
	lanes     []*lane
	unknowns  atomic.Uint64 // writes that were answered Unknown, by which they are numbered
	counts    counts
	self      atomic.Pointer[actor.PID] // the supervised actor's
	quiet     zerolog.Logger            // for what a flood could repeat without end

	// gate orders Attach and PrimaryChanged among themselves, so that lanes hear of
	// changes in the order in which they came.
	gate     sync.Mutex
	attached bool
	logins   logins
	stopping atomic.Bool
	// noBulk is until when (in Unix nanoseconds) no bulkWrite is tried.
	noBulk atomic.Int64

	drainMu  sync.Mutex
	draining bool
	undone   []*messages.WriteReply // NotApplied and Unknown replies given since Drain began
	closed   sync.Once
	// quietened has a value whenever a lane may have become idle.
	quietened chan struct{}
	askers    request.Askers[*messages.WriteReply]
}

// New makes a master with its public PID. Writes are accepted at once, and held
// until Attach and PrimaryChanged were called. The error names the Config field
// that can never work.
func New(system *actor.ActorSystem, cfg Config) (*Master, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Master{cfg: cfg, system: system, admission: newAdmission(cfg), quietened: make(chan struct{}, 1)}
	m.hold.emit, m.hold.since, m.logins = cfg.Emit, time.Now(), newLogins()
	m.quiet = cfg.Logger.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	for i := range cfg.WriteLanes {
		m.lanes = append(m.lanes, newLane(m, i))
	}
	m.door = door.Open(system, "evenkeel-master-", func(message any, sender *actor.PID) bool {
		w, ok := message.(*messages.Write)
		if ok {
			m.receive(w, sender)
		}
		return ok
	})
	return m, nil
}

// PID is where the game's actors send their Writes. It admits in the sender's
// goroutine and never blocks.
func (m *Master) PID() *actor.PID { return m.door.PID() }

// Attach gives the master the set-aware client that it writes over; whoever
// opened it closes it, after Close. A second one is refused: the lanes' sessions
// belong to the first one's client, and what may still be in flight there is
// fenced by nothing else.
func (m *Master) Attach(set *mongoconn.Set) error {
	m.gate.Lock()
	if !m.attached { // Before a lane has a wire that could fail.
		m.logins.explain, m.logins.try = set.LoginError, set.TryLogin
	}
	m.gate.Unlock()
	return m.attach(func() wire {
		w := newSessionWire(set.Client(), set.WireVersion)
		w.verbatim = set.Verbatim()
		return w
	})
}

// attach gives every lane a way to make its wire, which it does when it first
// has something to send.
func (m *Master) attach(open func() wire) error {
	m.gate.Lock()
	defer m.gate.Unlock()
	if m.attached {
		return fmt.Errorf("master: a connection is attached already")
	}
	m.attached = true
	for _, l := range m.lanes {
		l.attach(open)
	}
	opened, _ := m.hold.set(func(h *hold) { h.connected = true })
	if opened {
		m.release()
	}
	return nil
}

// PrimaryChanged tells the master which member is the primary, "" when none is
// known. Without one, writes that are not on the wire are held.
func (m *Master) PrimaryChanged(host string) {
	m.gate.Lock()
	defer m.gate.Unlock()
	m.noBulk.Store(0)
	m.hurryLogin(host)
	opened, closed := m.hold.set(func(h *hold) { h.primary = host })
	switch {
	case opened, !closed && m.hold.open():
		m.release() // Also for another primary: what pauses need not wait any longer.
	case closed:
		held := 0
		for _, l := range m.lanes {
			held += l.holdAll()
		}
		m.hold.wait(held)
	}
}

// release sets the lanes going again. The caller must hold gate.
func (m *Master) release() {
	sent := 0
	for _, l := range m.lanes {
		sent += l.releaseAll()
	}
	m.hold.resume(sent)
}

// bulkPause is for how long no bulkWrite is tried on a primary that should know the
// command and has refused it. That is so in the middle of an upgrade, until the set's feature
// compatibility version is raised, of which nobody tells us.
const bulkPause = time.Minute

// limits are those of a batch that goes out now over w, but for its length, which is
// the lane's.
func (m *Master) limits(w wire) limits {
	most := limits{bytes: m.cfg.MaxBatchBytes, known: inserts | updates | deletes}
	if w.bulkWrites() && time.Now().UnixNano() >= m.noBulk.Load() {
		most.known |= bulk
	}
	return most
}

// Submit accepts a write as a Send to PID does. Deliver is called exactly once, by
// the deadline, from any goroutine, possibly before Submit returns; it must not
// block. Cancel gives up on the write: one that was not sent is NotApplied with
// the given error (context.Canceled for nil), one that was is Unknown. It does
// nothing once there is a reply.
func (m *Master) Submit(w *messages.Write, deliver func(*messages.WriteReply)) (cancel func(error)) {
	it, _ := m.accept(w, nil, deliver)
	if it == nil {
		return func(error) {}
	}
	return func(err error) {
		if err == nil {
			err = context.Canceled
		}
		it.lane.giveUp(it, err)
	}
}

// Ask accepts a write and waits for its reply. A ctx that ends gives the write up. Where
// the write's lane is idle the caller's goroutine sends it.
func (m *Master) Ask(ctx context.Context, w *messages.Write) *messages.WriteReply {
	asker := m.askers.Get()
	it, run := m.accept(w, ctx, asker.Deliver)
	if it == nil {
		return asker.Wait()
	}
	giveUp := func() {
		at, timed := ctx.Deadline()
		switch overdue := timed && !time.Now().Before(at) || errors.Is(ctx.Err(), context.DeadlineExceeded); {
		case !overdue:
			it.lane.giveUp(it, fmt.Errorf("evenkeel: the write was given up: %w", ctx.Err()))
		case it.untimed:
			it.lane.giveUp(it, nil)
		default: // Its own timer is earlier.
		}
	}
	if run != nil {
		stop := func() bool { return true }
		if ctx.Done() != nil {
			stop = context.AfterFunc(ctx, func() {
				giveUp()
				it.lane.callOff(it)
			})
		}
		run()
		stop()
	}
	select {
	case rep := <-asker.Replies:
		asker.Free()
		return rep
	case <-ctx.Done():
		giveUp()
		return asker.Wait()
	}
}

// receive accepts a write from an actor.
func (m *Master) receive(w *messages.Write, sender *actor.PID) {
	m.accept(w, nil, func(rep *messages.WriteReply) {
		if sender != nil {
			m.system.Root.Send(sender, rep)
			return
		}
		if rep.Err != nil && rep.Outcome != messages.Applied {
			m.counts.unheard.Add(1)
			m.quiet.Warn().Err(rep.Err).Stringer("outcome", rep.Outcome).Msg("a write without a sender failed")
		}
	})
}

// accept judges a write in the caller's goroutine. It returns nil when the write
// was answered at once. An asker, who waits for ctx, nil for none, may be returned what it must run
// at once.
func (m *Master) accept(w *messages.Write, ctx context.Context, deliver func(*messages.WriteReply)) (accepted *item, run func()) {
	refuse := func(err error) (*item, func()) {
		messages.SetRecent(err, m.cfg.Recent)
		rep := &messages.WriteReply{Outcome: messages.NotApplied, Err: err}
		if w != nil {
			rep.Correlation = w.Correlation
		}
		m.counts.refuse(err)
		m.safely("delivering a reply", func() { deliver(rep) })
		return nil, nil
	}
	switch {
	case w == nil:
		return refuse(&messages.InvalidError{Field: "Write", Err: fmt.Errorf("it is nil")})
	case m.stopping.Load():
		return refuse(messages.ErrStopped)
	case !w.WriteConcern.Acknowledged():
		return refuse(&messages.InvalidError{Field: "WriteConcern", Err: fmt.Errorf("it is unacknowledged, so that no outcome could be told; use w: 1 or more")})
	}
	now := time.Now()
	deadline := w.Deadline
	if deadline.IsZero() {
		deadline = now.Add(m.cfg.WriteTimeout)
	}
	if !deadline.After(now) {
		return refuse(&messages.DeadlineError{Phase: phaseQueued})
	}
	l := m.lane(w.Key)
	if err := m.admission.reserve(l.index); err != nil {
		return refuse(err)
	}
	cmd, err := m.encode(w)
	if err != nil {
		m.admission.release(l.index, 0)
		return refuse(err)
	}
	size := int64(cmd.Bytes)
	if err := m.admission.hold(l.index, size); err != nil {
		m.admission.release(l.index, 0)
		return refuse(err)
	}

	it := &item{lane: l, untimed: ctx != nil && request.EndsBy(ctx, deadline)}
	turnedAway := false
	it.Write = request.NewWrite(w, cmd, now, deadline, func() { m.admission.release(l.index, size) }, func(rep *messages.WriteReply) {
		messages.SetRecent(rep.Err, m.cfg.Recent)
		if turnedAway {
			m.counts.refuse(rep.Err)
		} else {
			m.counts.count(rep)
			m.noteUndone(rep)
		}
		m.safely("delivering a reply", func() { deliver(rep) })
	})
	run, ok := it.lane.accept(it, ctx != nil)
	if !ok {
		// A drain began after the look at stopping above. This write was never accepted,
		// and is none of those that the drain must answer for. Nobody else delivers it
		// now: the lane has marked it as done.
		turnedAway = true
		it.Reply(&messages.WriteReply{Outcome: messages.NotApplied, Err: messages.ErrStopped})
		return nil, nil
	}
	return it, run
}

// encode runs the encoder, whose marshalers are the game's own code.
func (m *Master) encode(w *messages.Write) (cmd *command.Write, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = asPanicError(r)
		}
	}()
	return m.cfg.Encoder.Write(w)
}

// lane chooses by hash, so that one key always finds the same lane.
func (m *Master) lane(key string) *lane {
	if len(m.lanes) == 1 {
		return m.lanes[0]
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // It never fails.
	return m.lanes[h.Sum32()%uint32(len(m.lanes))]
}

// safely runs the game's code, or an actor's, where a panic must not take
// a lane with it.
func (m *Master) safely(what string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			err := asPanicError(r)
			m.quiet.Error().Err(err).Bytes("stack", err.Stack).Msg("panic while " + what)
		}
	}()
	f()
}

// laneFailed logs a lane's panic and fails the actor with it, so that the
// supervisor sees it.
func (m *Master) laneFailed(err *messages.PanicError) {
	m.counts.panics.Add(1)
	m.cfg.Logger.Error().Err(err).Bytes("stack", err.Stack).Msg("panic in a lane")
	if self := m.self.Load(); self != nil {
		m.system.Root.Send(self, &laneFailed{err})
	}
}
