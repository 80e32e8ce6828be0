package master

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// errNoFence is returned by a fence that the server executed without a transaction
// number: a standalone server, or one whose storage knows no retryable writes.
var errNoFence = errors.New("evenkeel: this server has no retryable writes to fence with")

// settle finds out, within the batch's time, what became of the items that are in
// doubt, and reports whether any were.
//
// An attempt without a reply may have been executed, may never have arrived, or
// may still be under way. The fence ends the last of these: it is a write of the
// same session, so that its transaction number is higher, and once the server has
// executed it, it refuses whatever arrives with a lower one. The fence waits until a
// majority has everything that was there before it, the write included; a majority read behind it therefore
// sees the write if it was executed on a history that lasts, and if it does not see it, it never will. (Where there was
// nothing, a primary that was cut off answers as well, for as long as it takes itself for one; the driver asks none that
// is older than the one it knows.)
//
// Of a batch each write is settled by itself, by what only it can have left behind.
// What the others of its batch may have done to that is taken into account: see
// evidence.go.
//
// Two things stay beyond it. Somebody else may have deleted, between the write and
// the read, the document that an insert made: then it is reported as not applied.
// And the fence itself leaves no trace in the data, so that a member that was
// frozen with the straggler unread in its socket, is passed over by an election,
// thaws, and is elected again before it reads that socket, would have to
// execute it: its sockets are read within milliseconds of the thaw, and an
// election takes a round of votes.
//
// The lane's own next write would be as good a fence as the no-op one that is
// used here, but then its reply would have to wait for the read, and its write
// concern may be weaker. A no-op costs one round trip, on a rare occasion.
func (l *lane) settle(b *batch) (doubtful bool) {
	sent := b.attempts.all()
	stopped := l.stopped()
	// Fewer and fewer are left open, and each that is decided got a reply verdict.
	var promising []int
	for i, it := range b.items {
		d := b.verdicts[i].doubt
		if d == nil {
			continue
		}
		doubtful = true
		if stopped == nil && l.promising(it, d, sent) {
			promising = append(promising, i)
		}
	}
	if !doubtful {
		return false
	}
	defer l.decide(b)
	look := false
	for _, i := range promising {
		look = look || !b.items[i].Done()
	}
	if !look { // Nobody waits for what could be found out.
		promising = nil
	}
	e := newEvidence(b, promising, l.m.confirms)
	if len(promising) == 0 {
		e.conclude(sent, stopped)
		return true
	}
	e.dismiss(sent)
	l.decide(b) // Those need not wait for the others.

	first := b.first()
	ctx, cancel := context.WithDeadline(b.life, b.latest)
	defer cancel()
	err := l.throughLogins(ctx, func() error {
		if err := l.wire.fence(ctx, namespace{first.Cmd.Database, first.Cmd.Collection}); err != nil {
			return err
		}
		l.straggler = nil
		return e.look(ctx, l.wire)
	})
	e.token, e.ids = l.wire.token(), l.m.cfg.Encoder
	e.conclude(sent, err)
	return true
}

// promising reports whether a look at what a majority has may tell what became of a write.
func (l *lane) promising(it *item, d *doubt, sent []attempt) bool {
	return it.settleable() && it.fenceable() && fenced(sent) && (!d.executed || l.m.madeGood(it, d.cause))
}

// confirms reports whether a document that a majority has satisfies the item's
// write concern. One that neither the write nor the client names is the server's
// default: a majority, unless an administrator has chosen another, which the server
// then says in its write concern errors.
func (m *Master) confirms(it *item) bool {
	wc := it.WriteConcern
	if wc == nil {
		wc = m.cfg.WriteConcern
	}
	return wc == nil || wc.W == nil || wc.W == writeconcern.WCMajority || wc.W == 1
}

// madeGood reports whether finding the write on a majority makes up for a write
// concern error. It does for a time-out, a step-down and the like; it does not for
// a concern that asks for more than a majority, nor for one that the set does not
// know or cannot satisfy: that is a mistake of who wrote it, and he must be told.
func (m *Master) madeGood(it *item, cause error) bool {
	ce := exceptionOf(cause).concern
	if ce == nil {
		return m.confirms(it)
	}
	switch ce.Code {
	case 79, 100: // UnknownReplWriteConcern, CannotSatisfyWriteConcern
		return false
	}
	used := ce.Details.Lookup("writeConcern", "w")
	if n, ok := used.AsInt64OK(); ok {
		return n <= 1
	}
	if name, ok := used.StringValueOK(); ok {
		return name == writeconcern.WCMajority
	}
	return m.confirms(it)
}

// neverApplied is the verdict on a write of which there is nothing, and never will be: it is refused, with
// the server's reason where it gave one. It is not sent again, which is its asker's to decide: another process may
// have taken away what it had left, and would be given it a second time. Only what stands behind a refused write goes
// again: that reply says that it had not been executed by then.
func (it *item) neverApplied(d *doubt, sent []attempt) verdict {
	if errors.Is(d.cause, errUntried) {
		return verdict{again: &again{err: d.cause, pause: true}}
	}
	err := d.refusal
	if err == nil {
		err = d.cause
	}
	if d.ofOthers { // A code in it would say that this write is wrong.
		err = fmt.Errorf("evenkeel: a reply was lost, and the attempt after it was refused for one of the writes of its batch: %v", err)
	}
	return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: err, Settled: true, Attempts: it.tried + len(sent)}}
}
