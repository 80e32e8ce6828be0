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
	// maxLateBytes bounds the writes of one of them.
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
	b      *batch
	doubts map[int]*doubt // by their places in it
	passed bool           // the lane has sent others since
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

// doubts are those of a batch, by their places in it.
func (b *batch) doubts() []*doubt {
	ds := make([]*doubt, len(b.items))
	for i := range ds {
		ds[i] = b.verdicts[i].doubt
	}
	return ds
}

// remember keeps those of a batch that were answered Unknown and may be looked for again.
func (l *lane) remember(b *batch, doubts []*doubt) {
	x := &unsettled{b: b, doubts: map[int]*doubt{}, due: time.Now()}
	sent, bytes := b.attempts.all(), 0
	for i, it := range b.items {
		if d := doubts[i]; d != nil && b.verdicts[i].unseen && it.number.Load() != 0 && l.promising(it, d, sent) {
			x.doubts[i] = d
			bytes += it.Cmd.Bytes
		}
	}
	if len(x.doubts) == 0 || bytes > maxLateBytes {
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
	l.late, l.lateDue = append(l.late, x), true
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
		if len(x.doubts) > 0 && x.looks < lateLooks {
			left = append(left, x)
		}
	}
}

// lookFor looks for some. Why is what has kept it from it.
func (l *lane) lookFor(ctx context.Context, x *unsettled, why error) {
	b := &batch{items: x.b.items, attempts: x.b.attempts, verdicts: slices.Clone(x.b.verdicts)}
	var sought []int
	for i := range b.items {
		if d := x.doubts[i]; d != nil {
			b.verdicts[i] = verdict{doubt: d}
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
		case v.unseen:
			continue
		case v.reply != nil && v.reply.Outcome == messages.Applied:
			l.cleared(b.items[i], messages.Applied)
		case x.passed: // What there is nothing of may have been undone since.
		case v.again != nil || v.reply.Outcome == messages.NotApplied:
			l.cleared(b.items[i], messages.NotApplied)
		}
		delete(x.doubts, i)
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
