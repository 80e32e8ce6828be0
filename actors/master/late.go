package master

import (
	"context"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// A write that was answered Unknown has its asker's answer, and no other. What became of it may still
// be found out, which is told as an event: the server's reply comes after all, or a later look is
// in time.
//
// The first look comes before the lane sends anything else, so that nothing of the lane's can have hidden
// what the write has left behind: it says as much as one in time would have. Those that follow can
// only say that the write has happened.
const (
	// maxLate is how many batches a lane remembers; the oldest is forgotten for another.
	maxLate = 8
	// maxLateBytes bounds the writes of one of them, also those of which all is known.
	maxLateBytes = 4 << 20
	// lateLook is for how long a look may keep the lane from sending what waits.
	lateLook = time.Second
	// lateLooks is how many there are. The second comes firstLate after the first, and each after it four
	// times later than the one before.
	lateLooks = 5
	firstLate = time.Second
)

// unsettled are writes of a batch that were answered Unknown.
type unsettled struct {
	b      *batch // whose verdicts say which, and why
	open   int    // how many they are
	passed bool   // the lane has sent others since
	looks  int
	due    time.Time // for the next one
}

// name gives a write that is answered Unknown the number that it is told by.
func (it *item) name() uint64 {
	if n := it.number.Load(); n != 0 {
		return n
	}
	it.number.CompareAndSwap(0, it.lane.m.unknowns.Add(1))
	return it.number.Load()
}

// cleared tells what became of a write that was answered Unknown, once. It does nothing for others.
func (l *lane) cleared(it *item, o messages.Outcome) {
	if o == messages.Unknown {
		return
	}
	if n := it.number.Swap(0); n != 0 {
		l.m.cfg.Emit(messages.WriteSettled{Lane: l.index, Write: n, Outcome: o, After: time.Since(it.Asked)})
	}
}

// remember keeps those of a batch that were answered Unknown and may be looked for again.
func (l *lane) remember(b *batch) {
	sent, open, bytes := b.attempts.all(), 0, 0
	for i, it := range b.items {
		v := &b.verdicts[i]
		if v.unseen == nil {
			continue
		}
		if it.number.Load() == 0 || !l.promising(it, v.unseen, sent) {
			v.unseen = nil
			continue
		}
		open++
	}
	for _, it := range b.items { // All of the batch is kept.
		bytes += it.Cmd.Bytes
	}
	if open == 0 || bytes > maxLateBytes {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusing {
		return
	}
	if len(l.late) == maxLate {
		l.late = slices.Delete(l.late, 0, 1)
	}
	l.late, l.lateDue = append(l.late, &unsettled{b: b, open: open, due: time.Now()}), true
}

// lookLate looks once for those that are due.
func (l *lane) lookLate() {
	ctx, cancel := context.WithTimeout(context.Background(), lateLook)
	defer cancel()
	l.mu.Lock()
	l.lateDue, l.lateOff = false, cancel
	list, left := l.late, []*unsettled(nil)
	if l.aborted != nil {
		cancel()
	}
	l.mu.Unlock()

	defer func() {
		if r := recover(); r != nil {
			left = nil
			l.m.laneFailed(asPanicError(r))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.late, l.lateOff = left, nil
		l.lateLater()
	}()
	began := time.Now()
	isDue := func(x *unsettled) bool { return !x.due.After(began) }
	var err error
	if i := slices.IndexFunc(list, func(x *unsettled) bool { return isDue(x) && !x.passed }); i >= 0 {
		it := list[i].b.first()
		if err = l.noteLogin(l.wire.fence(ctx, namespace{it.Cmd.Database, it.Cmd.Collection})); err == nil {
			l.straggler = nil
		}
	}
	for _, x := range list {
		if isDue(x) {
			l.lookFor(ctx, x, err)
			x.due = time.Now().Add(firstLate << (2 * x.looks))
			x.looks++
		}
		if x.open > 0 && x.looks < lateLooks {
			left = append(left, x)
		}
	}
}

// lookFor looks for some. Why is what has kept it from it.
func (l *lane) lookFor(ctx context.Context, x *unsettled, why error) {
	b := &batch{items: x.b.items, attempts: x.b.attempts, verdicts: slices.Clone(x.b.verdicts)}
	var sought []int
	for i, v := range b.verdicts {
		if v.unseen != nil {
			b.verdicts[i] = verdict{doubt: v.unseen}
			sought = append(sought, i)
		}
	}
	e := newEvidence(b, sought, l.m.confirms)
	e.late = true
	if why == nil {
		why = e.look(ctx, l.wire)
	}
	e.ids = l.m.cfg.Encoder
	e.conclude(x.b.attempts.all(), why)
	for _, i := range sought {
		v := b.verdicts[i]
		switch {
		case v.unseen != nil:
			continue
		case v.reply != nil && v.reply.Outcome == messages.Applied:
			l.cleared(b.items[i], messages.Applied)
		case x.passed: // What there is nothing of may have been undone since.
		case v.again != nil || v.reply.Outcome == messages.NotApplied:
			l.cleared(b.items[i], messages.NotApplied)
		}
		x.b.verdicts[i].unseen = nil
		x.open--
	}
}

// lateLater has the next look come. The caller must hold mu.
func (l *lane) lateLater() {
	if len(l.late) == 0 || l.lateDue || l.refusing {
		return
	}
	next := slices.MinFunc(l.late, func(x, y *unsettled) int { return x.due.Compare(y.due) }).due
	if l.lateTimer != nil {
		l.lateTimer.Stop()
	}
	l.lateTimer = time.AfterFunc(time.Until(next), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.refusing && len(l.late) > 0 {
			l.lateDue = true
			l.start()
		}
	})
}
