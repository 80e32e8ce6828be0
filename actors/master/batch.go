package master

import (
	"container/list"
	"context"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// batch is what goes over the wire as one operation: see group.go for what goes
// together, and answers.go for how its reply becomes each write's own.
type batch struct {
	items []*item
	// kind is the command that carries several writes, 0 for a write that goes alone.
	kind     kinds
	began    time.Time
	attempts *attempts
	// life ends when the lane is told to give up; wire also ends a little before latest,
	// the longest deadline.
	life, wire context.Context
	latest     time.Time
	cancel     context.CancelFunc
	// waiting is how many of the items were not answered; the lane's mutex guards it.
	waiting int
	// verdicts has one for each item once the operation has come back.
	verdicts []verdict
	// watch tells that others wait behind it, and blocks that it was told; the lane's mutex
	// guards both.
	watch  *time.Timer
	blocks bool
	// foreign says that the server does not know the command.
	foreign bool
	// reached is how many of the items the server has executed before it refused one;
	// all of them when it has refused none.
	reached int
}

// first is any of the items, for what they all have in common: the write concern,
// and whether the driver numbers them. One that goes alone is the first.
func (b *batch) first() *item { return b.items[0] }

// take removes from the front of the queue what goes next. The caller must hold
// the lane's mutex, and the queue is not empty.
func take(queue *list.List, most limits) *batch {
	b := &batch{began: time.Now()}
	var g group
	for e := queue.Front(); e != nil; e = queue.Front() {
		it := e.Value.(*item)
		if !g.admit(it, most) {
			break
		}
		queue.Remove(e)
		it.elem, it.phase, it.held = nil, onWire, false
		b.items = append(b.items, it)
	}
	b.kind = g.kind()
	b.waiting = len(b.items)
	b.verdicts = make([]verdict, len(b.items))

	settleable := false
	for _, it := range b.items {
		if it.Deadline.After(b.latest) {
			b.latest = it.Deadline
		}
		settleable = settleable || it.settleable()
	}
	var endLife, endWire context.CancelFunc
	b.life, endLife = context.WithCancel(context.Background())
	b.wire, endWire = context.WithDeadline(b.life, b.latest.Add(-reserve(b.latest.Sub(b.began), settleable)))
	b.cancel = func() { endWire(); endLife() }
	b.attempts = &attempts{
		shape: b.shape(), cancel: endWire,
		single: b.first().Cmd.Class == command.Other, keep: b.kind == bulk,
	}
	b.wire = mongoconn.WithRecorder(b.wire, b.attempts)
	return b
}

// reserve is how much of a batch's time is kept for what comes after the wire:
// for a write that can be settled, the fence and the read; for any other, the
// few milliseconds in which the driver says whether it had sent anything.
func reserve(budget time.Duration, settleable bool) time.Duration {
	if settleable {
		return min(budget/10, 500*time.Millisecond)
	}
	return min(budget/50, 10*time.Millisecond)
}

func (b *batch) shape() shape {
	switch {
	case b.kind == bulk:
		return mixed
	case b.first().Cmd.Class == command.Other:
		if op, ok := b.first().Cmd.Operation.(messages.Command); ok && partly[nameOf(op)] {
			return customParts
		}
		return custom
	case len(b.items) > 1 || b.first().Cmd.Class == command.Multi:
		return several
	}
	return one
}

// verdict is what was found out about one item of a batch: exactly one of the first
// three fields is set.
type verdict struct {
	// reply is final.
	reply *messages.WriteReply
	// again sends the write once more: it is proven not to have been executed.
	again *again
	// doubt is to be settled.
	doubt *doubt
	// unseen is the doubt that a reply of Unknown leaves, where what could tell more was not looked
	// at.
	unseen *doubt
}

// open says that it is no verdict yet.
func (v verdict) open() bool { return v.doubt != nil }

type again struct {
	err error
	// alone keeps it out of batches: the batch was refused, and only this way
	// each of its writes gets its own error.
	alone bool
	// pause asks for some time first.
	pause bool
}

type doubt struct {
	// cause is what left it open.
	cause error
	// refusal is the server's answer to a later attempt, nil for none.
	refusal error
	// executed says that the server did execute it, and cannot say whether that
	// will last (a write concern error).
	executed bool
	// result is the driver's, of which the cause is the error; nil for none.
	result any
	// idle is the reply to a later attempt, which has changed nothing. It is the
	// truth unless an earlier attempt has changed something after it.
	idle *messages.WriteReply
	// ofOthers says that cause may be the refusal of another write of the batch.
	ofOthers bool
}

// judge turns the end of an operation into a verdict for each item. Doubtful says that it was answered, and that an
// earlier attempt may still be under way.
func (b *batch) judge(res result, token messages.Token, ids Encoder) (doubtful bool) {
	sent := b.attempts.all()
	r := classify(b.shape(), sent, res.err)
	last := attempt{}
	if n := len(sent); n > 0 {
		last = sent[n-1]
	}
	b.reached = len(b.items)
	b.foreign = b.kind == bulk && last.state == refused && unknownCommand(last.err)
	together := len(b.items) > 1
	switch r.conclusion {
	case answered:
		a := answer{batch: b, res: res, ex: exceptionOf(res.err), doubtful: r.doubtful, token: token, ids: ids}
		a.read()
	case unexecuted:
		err := r.err
		if b.attempts.isRevoked() {
			err = nil // Kept from the wire for the sake of one whose time was up.
		}
		b.each(func(*item) verdict { return verdict{again: &again{err: err, pause: true}} })
	case rejected:
		b.each(func(*item) verdict {
			if together {
				return verdict{again: &again{err: r.err, alone: !b.foreign}}
			}
			return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: r.err}}
		})
	case open:
		d := &doubt{cause: r.err}
		switch {
		case last.state != refused || transientRefusal(last.err) || b.foreign:
		case together:
			// It was refused for one of the writes, and does not say for which.
			d.ofOthers = true
		default:
			d.refusal = public(last.err)
		}
		b.each(func(*item) verdict { return verdict{doubt: d} })
	}
	return r.conclusion == answered && r.doubtful
}

func (b *batch) each(f func(*item) verdict) {
	for i, it := range b.items {
		b.verdicts[i] = f(it)
	}
}
