package master

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// errNoFence is returned by a fence that the server executed without a transaction
// number: a standalone server, or one whose storage knows no retryable writes.
var errNoFence = errors.New("evenkeel: this server has no retryable writes to fence with")

// settle finds out, within the batch's time, what became of the items that are in
// doubt.
//
// An attempt without a reply may have been executed, may never have arrived, or
// may still be under way. The fence ends the last of these: it is a write of the
// same session, so that its transaction number is higher, and once the server has
// executed it, it refuses whatever arrives with a lower one. The fence waits for a
// majority, so it was executed by the real primary, and everything before it there
// is committed; a majority read behind it therefore sees the write if it was
// executed on a history that lasts, and if it does not see it, it never will.
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
func (l *lane) settle(b *batch) {
	var open []int
	for i, it := range b.items {
		if b.verdicts[i].doubt != nil && !it.Done() {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	sent := b.attempts.all()
	unknown := func(i int, why error) {
		d := b.verdicts[i].doubt
		b.verdicts[i] = verdict{reply: b.items[i].unknown(errors.Join(d.cause, why), sent, !d.executed)}
	}
	defer l.decide(b)

	// Fewer and fewer are left open, and each that is decided got a reply verdict.
	var promising []int
	for _, i := range open {
		if b.items[i].settleable() && b.items[i].fenceable() && fenced(sent) && l.stopped() == nil &&
			(!b.verdicts[i].doubt.executed || majorityAtMost(b.items[i].WriteConcern)) {
			promising = append(promising, i)
		} else {
			unknown(i, l.stopped())
		}
	}
	if len(promising) == 0 {
		return
	}
	l.decide(b) // Those need not wait for the others.

	first := b.first()
	ns := namespace{first.Cmd.Database, first.Cmd.Collection}
	err := l.wire.fence(b.life, ns)
	var found evidence
	if err == nil {
		l.straggler = nil
		found, err = l.look(b.life, b, promising)
	}
	for _, i := range promising {
		if err != nil {
			unknown(i, err)
			continue
		}
		b.verdicts[i] = l.conclude(b, i, found, sent)
	}
}

// majorityAtMost reports whether a document that a majority has satisfies the
// write concern: then a write concern error is made good by finding it there.
func majorityAtMost(wc *writeconcern.WriteConcern) bool {
	return wc == nil || wc.W == nil || wc.W == writeconcern.WCMajority || wc.W == 1
}

// evidence is what the majority read has found.
type evidence struct {
	// documents by the bytes of their _id, for inserts.
	documents map[string]bson.Raw
	// verified says that a document matched the write's Verify.
	verified bool
}

// look reads what tells whether the writes have happened.
func (l *lane) look(ctx context.Context, b *batch, which []int) (evidence, error) {
	found := evidence{documents: map[string]bson.Raw{}}
	first := b.first()
	ns := namespace{first.Cmd.Database, first.Cmd.Collection}
	var ids bson.A
	switch first.Cmd.Class {
	case command.Insert:
		for _, i := range which {
			ids = append(ids, b.items[i].Cmd.ID)
		}
	case command.Multi:
		docs, _ := documentsOf(first.Cmd.Operation)
		for _, d := range docs {
			ids = append(ids, d.Lookup("_id"))
		}
	default:
		err := l.wire.find(ctx, ns, first.Cmd.Verify, 1, func(bson.Raw) { found.verified = true })
		return found, err
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
	err := l.wire.find(ctx, ns, filter, 0, func(doc bson.Raw) {
		found.documents[idKey(doc.Lookup("_id"))] = append(bson.Raw(nil), doc...)
	})
	return found, err
}

func idKey(id bson.RawValue) string { return string(rune(id.Type)) + string(id.Value) }

// presence is what was found of an insert's document.
type presence uint8

const (
	absent presence = iota
	present
	// similar: a document with that _id is there, and nothing says whose it is.
	similar
)

func (e evidence) of(id bson.RawValue, own bool, doc bson.Raw) presence {
	got, ok := e.documents[idKey(id)]
	switch {
	case !ok:
		return absent
	case own || doc != nil && sameDocument(got, doc):
		return present
	}
	return similar
}

// conclude decides one item by the evidence.
func (l *lane) conclude(b *batch, i int, found evidence, sent []attempt) verdict {
	it, d := b.items[i], b.verdicts[i].doubt
	applied := func(result any) verdict {
		return verdict{reply: &messages.WriteReply{Outcome: messages.Applied, Result: result, Token: l.wire.token(), Settled: true}}
	}
	unknown := func(why string) verdict {
		return verdict{reply: it.unknown(errors.Join(d.cause, errors.New(why)), sent, false)}
	}
	switch it.Cmd.Class {
	case command.Insert:
		doc, _ := documentOf(it.Cmd.Operation)
		switch p := found.of(it.Cmd.ID, it.Cmd.IDGenerated, doc); {
		case p == absent:
			return it.neverApplied(d, sent)
		case p == similar:
			return unknown("evenkeel: a document with this _id is there, and differs from the one written")
		case d.refusal != nil && !it.Cmd.IDGenerated:
			// The server refused a later attempt, most likely because of this very
			// document. Had an earlier attempt written it, the later one would have been
			// told so, not refused; but it may have been deleted and written again since.
			return unknown("evenkeel: the same document is there, and the server had refused to insert it")
		}
		return applied(&mongo.InsertOneResult{InsertedID: l.m.cfg.Encoder.InsertedID(it.Cmd.ID), Acknowledged: true})
	case command.Multi:
		docs, _ := documentsOf(it.Cmd.Operation)
		n, result := 0, &mongo.InsertManyResult{Acknowledged: true}
		for _, doc := range docs {
			id := doc.Lookup("_id")
			result.InsertedIDs = append(result.InsertedIDs, l.m.cfg.Encoder.InsertedID(id))
			switch found.of(id, false, doc) {
			case present:
				n++
			case similar:
				return unknown("evenkeel: a document with the _id of one of these is there, and differs from it")
			}
		}
		switch {
		case n == len(docs) && d.refusal == nil:
			return applied(result)
		case n == 0:
			return it.neverApplied(d, sent)
		}
		return unknown("evenkeel: some of the documents are there, and others are not")
	}
	if found.verified {
		return applied(nil)
	}
	return it.neverApplied(d, sent)
}

// neverApplied is the verdict on a write that is proven not to have been
// executed, and never will be: it is refused with the server's reason where it
// gave one, and sent again where there is none and time is left.
func (it *item) neverApplied(d *doubt, sent []attempt) verdict {
	err := d.refusal
	if err == nil && !d.executed && !timeIsUp(d.cause) {
		return verdict{again: &again{err: d.cause, pause: true}}
	}
	if err == nil {
		err = d.cause
	}
	return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: err, Settled: true, Attempts: it.tried + len(sent)}}
}

func timeIsUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// documentOf returns an InsertOne's document.
func documentOf(op messages.WriteOperation) (bson.Raw, bool) {
	one, ok := op.(messages.InsertOne)
	if !ok {
		return nil, false
	}
	doc, ok := one.Document.(bson.Raw)
	return doc, ok
}
