package master

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// How long a lane waits before it sends again what could not be sent.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// lane is one ordered queue of writes with one driver session.
//
// Its work is done by one goroutine, which exists only while there is something
// to send and the gate is open. That goroutine alone touches the wire, and what it
// learns it applies itself, under mu: a result needs no way back through a
// mailbox, no incarnation number and no check for staleness, because the lane and
// its one wire live as long as the master does. Deadlines, cancellations and the
// stop come from other goroutines and only ever do what mu allows: take an item
// out of the queue, or answer one that is on the wire.
//
// Nothing is delivered with mu held, since the receiver may send the next write
// at once.
type lane struct {
	m     *Master
	index int

	mu       sync.Mutex
	queue    *list.List // of *item
	running  bool       // the goroutine exists
	paused   *time.Timer
	pauseFor time.Duration
	refusing bool  // draining: takes no new write
	aborted  error // stopped: sends nothing any more
	batch    *batch
	openWire func() wire

	late      []*unsettled // whose outcome was not known when they were answered
	lateDue   bool         // they are to be looked for, before anything else is sent
	lateTimer *time.Timer
	lateOff   context.CancelFunc // ends the look that is under way; nil while there is none

	// wire, room and straggler belong to the goroutine; one goroutine hands them to
	// the next through mu.
	wire wire
	// room is how many writes the next batch may have.
	room int
	// straggler says that an attempt with a transaction number may still be on its
	// way to the server, and that no later number was executed since.
	straggler *namespace
}

type namespace struct{ database, collection string }

func newLane(m *Master, index int) *lane {
	return &lane{m: m, index: index, queue: list.New(), room: m.cfg.MaxBatch}
}

func (l *lane) attach(open func() wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.openWire = open
}

// accept puts a new write at the end of the queue. It reports false, and leaves the
// write to be answered by the caller alone, once the lane takes none any more.
//
// With inline set, and the lane idle, it may return a function that the caller must call
// at once: that sends the write in the caller's goroutine. A goroutine of the lane's own would
// take the write up, and hand its reply back, later than the rest of the way costs. Only a
// write with a fence goes so: its asker may call it off in the middle (callOff).
func (l *lane) accept(it *item, inline bool) (run func(), ok bool) {
	// The timer may fire before the item is queued: expire then finds it arriving.
	if !it.untimed {
		it.OnDeadline(func() { l.giveUp(it, nil) })
	}
	l.mu.Lock()
	if it.phase == done {
		l.mu.Unlock()
		l.m.counts.accepted.Add(1)
		return nil, true
	}
	if l.refusing {
		it.phase = done
		l.mu.Unlock()
		return nil, false
	}
	l.m.counts.accepted.Add(1)
	it.phase = queued
	it.elem = l.queue.PushBack(it)
	it.held = !l.m.hold.open()
	held := it.held
	if inline && !l.running && l.ready() && !l.lateDue && l.queue.Len() == 1 && it.fenceable() {
		l.running = true
		run = func() { l.runOne(it) }
	} else {
		l.start()
	}
	l.mu.Unlock()
	if held {
		l.m.hold.wait(1)
	}
	return run, true
}

// ready reports whether there is something to send and a way. The caller must hold mu.
func (l *lane) ready() bool {
	return l.paused == nil && l.aborted == nil && (l.queue.Len() > 0 || l.lateDue) && l.m.hold.open()
}

// start makes sure that somebody works. The caller must hold mu.
func (l *lane) start() {
	if !l.running && l.ready() {
		l.running = true
		go l.run()
	}
}

// run sends batches until there is nothing to send, or no way.
//
// It may stop at a gate that opens at this moment: it looks at the gate and
// clears running under mu, and whoever opens the gate takes mu afterwards to
// start the lane, so one of the two sees the other.
func (l *lane) run() {
	for {
		l.mu.Lock()
		if !l.ready() {
			l.running = false
			l.mu.Unlock()
			l.m.noteQuiet()
			return
		}
		if l.lateDue {
			l.mu.Unlock()
			l.lookLate()
			continue
		}
		b := l.take(l.room)
		l.mu.Unlock()
		l.send(b)
	}
}

// runOne sends one write in the goroutine of whoever waits for it, which is not to be
// kept longer than its own write takes: whatever else there is, is the lane's
// goroutine's.
func (l *lane) runOne(it *item) {
	l.mu.Lock()
	var b *batch
	if it.elem != nil && l.ready() && l.queue.Front() == it.elem { // It may have been given up in the meantime.
		b = l.take(1)
	}
	l.mu.Unlock()
	if b != nil {
		l.send(b)
	}
	l.mu.Lock()
	more := l.ready()
	l.running = more
	l.mu.Unlock()
	if more {
		go l.run()
	} else {
		l.m.noteQuiet()
	}
}

// take takes what goes next. The caller must hold mu, and the lane is ready.
func (l *lane) take(writes int) *batch {
	if l.wire == nil {
		l.wire = l.openWire()
	}
	most := l.m.limits(l.wire)
	most.writes = writes
	l.batch = take(l.queue, most)
	for _, x := range l.late {
		x.passed = true
	}
	l.watch(l.batch)
	return l.batch
}

// callOff ends a write on the wire that was given up, so that who sends it is free.
func (l *lane) callOff(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.batch; b != nil && len(b.items) == 1 && b.items[0] == it {
		b.cancel()
	}
}

// send puts a batch on the wire and answers for every item in it.
func (l *lane) send(b *batch) {
	defer b.cancel()
	defer l.putBack(b)
	defer func() {
		if r := recover(); r != nil {
			l.panicked(b, asPanicError(r))
		}
	}()
	first := b.first()
	if !first.fenceable() && l.straggler != nil {
		// An operation without a transaction number does not stop what was sent
		// before it: without this fence the straggler could take effect after it.
		ns := *l.straggler
		if first.Cmd.Collection != "" {
			ns = namespace{first.Cmd.Database, first.Cmd.Collection}
		}
		err := l.wire.fence(b.wire, ns)
		if ns != *l.straggler && refusedForGood(err) {
			err = l.wire.fence(b.wire, *l.straggler) // Such as where that is a view, or a time series.
		}
		if err = l.noteLogin(err); refusedForGood(err) {
			b.each(func(*item) verdict {
				return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: fmt.Errorf(
					"evenkeel: it was not sent, since a write before it may still be on its way, and what would end that was refused: %w", err)}}
			})
			l.decide(b)
			return
		}
		if err != nil {
			b.each(func(*item) verdict { return verdict{again: &again{err: err, pause: true}} })
			return
		}
		l.straggler = nil
	}
	l.m.counts.batches.Add(1)
	l.m.counts.batched.Add(int64(len(b.items)))
	res := l.wire.run(b.wire, b)
	res.err = l.noteLogin(res.err)
	l.noteStraggler(b)
	if b.judge(res, l.wire.token(), l.m.cfg.Encoder) && !slices.ContainsFunc(b.verdicts, verdict.open) {
		l.endStraggler(b)
	}
	l.makeRoom(b)
	if b.foreign {
		l.m.noBulk.Store(time.Now().Add(bulkPause).UnixNano())
	}
	l.decide(b)
	if l.settle(b) {
		l.remember(b)
	}
}

// endStraggler ends, if it can at once, an attempt that may still be under way although a later one was answered. Were
// that to have changed nothing, and to have left no trace therefore, the earlier one might still be executed, long after
// the reply.
func (l *lane) endStraggler(b *batch) {
	if l.straggler == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.wire, lateLook)
	defer cancel()
	if l.noteLogin(l.wire.fence(ctx, *l.straggler)) == nil {
		l.straggler = nil
	}
}

// makeRoom lets the next batch be half as long after a refusal, and twice as long
// after a batch without one. What stands behind a refused write goes out again: where
// many are refused, as inserts are that ask whether they are the first, long
// batches would go out a write shorter each time.
func (l *lane) makeRoom(b *batch) {
	switch n := len(b.items); {
	case b.reached == n:
		l.room = max(l.room, min(2*n, l.m.cfg.MaxBatch))
	case n > 1:
		l.room = max(b.reached, n/2)
	}
}

// noteStraggler remembers whether an attempt may still be under way.
func (l *lane) noteStraggler(b *batch) {
	sent := b.attempts.all()
	for _, at := range sent {
		switch {
		case at.fenced && at.state.open():
			l.straggler = &namespace{b.first().Cmd.Database, b.first().Cmd.Collection}
		case at.fenced && at.state == replied && fenced(sent) && !anyOpen(sent):
			l.straggler = nil
		}
	}
}

func anyOpen(list []attempt) bool {
	for _, at := range list {
		if at.state.open() {
			return true
		}
	}
	return false
}

// decide answers the items whose verdict is a reply.
func (l *lane) decide(b *batch) {
	attempts := b.attempts.sent()
	for i, it := range b.items {
		if rep := b.verdicts[i].reply; rep != nil {
			l.finish(b, it, rep, attempts)
		}
	}
}

// finish answers an item that is on the wire, unless it was answered before: then
// the reply may be the asker's already, and is not touched.
func (l *lane) finish(b *batch, it *item, rep *messages.WriteReply, attempts int) {
	l.mu.Lock()
	if it.phase == done {
		l.mu.Unlock()
		l.cleared(it, rep.Outcome)
		return
	}
	it.phase = done
	b.waiting--
	l.mu.Unlock()
	rep.Attempts = it.tried + attempts
	if it.ErrorsOnly && (it.Cmd.Class == command.Insert || it.Cmd.Class == command.Single) {
		rep.Result = nil
	}
	it.Reply(rep)
}

// putBack ends a batch: what is to be sent again goes back to the front, in
// order. Every other item was answered.
func (l *lane) putBack(b *batch) {
	attempts := b.attempts.sent()
	held, pause, progress := 0, false, false
	var stopped, never []*item
	l.mu.Lock()
	l.batch = nil
	l.unwatch(b)
	for i := len(b.items) - 1; i >= 0; i-- {
		it, v := b.items[i], b.verdicts[i]
		progress = progress || v.reply != nil
		if v.again == nil {
			continue
		}
		if it.phase == done {
			never = append(never, it)
			continue
		}
		it.tried += attempts
		it.lastErr, it.alone = v.again.err, it.alone || v.again.alone
		pause = pause || v.again.pause
		if l.aborted != nil {
			it.phase = done
			stopped = append(stopped, it)
			continue
		}
		it.phase = queued
		it.elem = l.queue.PushFront(it)
		if it.held = !l.m.hold.open(); it.held {
			held++
		}
	}
	if progress {
		l.pauseFor = 0
	}
	if pause && l.aborted == nil {
		l.pause()
	}
	err := l.aborted
	l.mu.Unlock()
	for _, it := range never {
		l.cleared(it, messages.NotApplied)
	}
	for i := len(stopped) - 1; i >= 0; i-- {
		stopped[i].Reply(stopped[i].tooLate(err, false))
	}
	l.m.hold.wait(held)
}

// pause keeps the lane from trying again at once. The caller must hold mu.
func (l *lane) pause() {
	if l.paused != nil {
		return
	}
	l.pauseFor = min(max(2*l.pauseFor, firstPause), longPause)
	l.paused = time.AfterFunc(l.pauseFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.paused = nil
		l.start()
	})
}

// giveUp answers an item for which nobody waits any longer: its deadline passed
// (cause is nil), or its asker gave up.
func (l *lane) giveUp(it *item, cause error) {
	l.mu.Lock()
	switch it.phase {
	case arriving, queued:
		if it.elem != nil {
			l.queue.Remove(it.elem)
			it.elem = nil
		}
		it.phase = done
		held := it.held
		l.mu.Unlock()
		if held && cause == nil {
			l.m.hold.expire()
		}
		it.Reply(it.tooLate(cause, held))
		l.m.noteQuiet()
	case onWire:
		it.phase = done
		b := l.batch
		b.waiting--
		// As long as nothing of the batch was sent it is kept from the wire, and the
		// truth is known of this one. The others go back into the queue.
		revoked := b.attempts.revoke()
		if !revoked {
			it.name()
		}
		l.mu.Unlock()
		if revoked {
			b.cancel() // The lane need not wait for the driver to find no server.
			it.Reply(it.tooLate(cause, true))
			return
		}
		if cause == nil {
			cause = &messages.DeadlineError{Phase: phaseSent, After: time.Since(it.Asked)}
		}
		it.Reply(it.unknown(cause, b.attempts.all(), true))
	default:
		l.mu.Unlock()
	}
}

// panicked answers for the items of a batch whose goroutine panicked. The lane
// goes on with the next ones, in order; the actor fails, so that the supervisor
// sees it.
func (l *lane) panicked(b *batch, err *messages.PanicError) {
	l.noteStraggler(b)
	sent := b.attempts.all()
	for i, it := range b.items {
		if b.verdicts[i].reply != nil {
			continue
		}
		rep := it.unknown(err, sent, true)
		if len(sent) == 0 {
			rep = &messages.WriteReply{Outcome: messages.NotApplied, Err: err, Attempts: it.tried}
		}
		b.verdicts[i] = verdict{reply: rep}
	}
	l.decide(b)
	l.m.laneFailed(err)
}
