package master

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// batch is what goes over the wire as one operation.
//
// This file is the seam for more kinds of batches: joins says what may go together,
// and answers splits the one reply into each write's own. A kind that joins must
// keep both exact.
type batch struct {
	items    []*item
	began    time.Time
	attempts *attempts
	// life ends when the lane is told to give up; wire also ends a little before
	// the longest deadline.
	life, wire context.Context
	cancel     context.CancelFunc
	// waiting is how many of the items were not answered; the lane's mutex guards it.
	waiting int
	// verdicts has one for each item once the operation has come back.
	verdicts []verdict
}

// first is any of the items, for what they all have in common.
func (b *batch) first() *item { return b.items[0] }

// joins reports whether next may go in one ordered insert with first.
func joins(first, next *item) bool {
	a, b := first.Cmd, next.Cmd
	return a.Class == command.Insert && b.Class == command.Insert && a.Plain && b.Plain &&
		!first.alone && !next.alone &&
		a.Database == b.Database && a.Collection == b.Collection &&
		sameConcern(first.WriteConcern, next.WriteConcern)
}

func sameConcern(a, b *writeconcern.WriteConcern) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.W != b.W || (a.Journal == nil) != (b.Journal == nil) {
		return false
	}
	return a.Journal == nil || *a.Journal == *b.Journal
}

// take removes from the front of the queue what goes next. The caller must hold
// the lane's mutex, and the queue is not empty.
func take(queue *list.List, maxDocs, maxBytes int) *batch {
	first := queue.Front().Value.(*item)
	b := &batch{began: time.Now()}
	size := 0
	for e := queue.Front(); e != nil && len(b.items) < maxDocs; e = queue.Front() {
		it := e.Value.(*item)
		if len(b.items) > 0 && (!joins(first, it) || size+it.Cmd.Bytes > maxBytes) {
			break
		}
		queue.Remove(e)
		it.elem, it.phase, it.held = nil, onWire, false
		size += it.Cmd.Bytes
		b.items = append(b.items, it)
	}
	b.waiting = len(b.items)
	b.verdicts = make([]verdict, len(b.items))

	var latest time.Time
	for _, it := range b.items {
		if it.Deadline.After(latest) {
			latest = it.Deadline
		}
	}
	var endLife, endWire context.CancelFunc
	b.life, endLife = context.WithDeadline(context.Background(), latest)
	b.wire, endWire = context.WithDeadline(b.life, latest.Add(-reserve(latest.Sub(b.began), first.settleable())))
	b.cancel = func() { endWire(); endLife() }
	b.attempts = &attempts{shape: b.shape(), cancel: endWire, single: first.Cmd.Class == command.Other}
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
	case b.first().Cmd.Class == command.Other:
		return custom
	case len(b.items) > 1 || b.first().Cmd.Class == command.Multi:
		return several
	}
	return one
}

// verdict is what was found out about one item of a batch: exactly one of the
// fields is set.
type verdict struct {
	// reply is final.
	reply *messages.WriteReply
	// again sends the write once more: it is proven not to have been executed.
	again *again
	// doubt is to be settled.
	doubt *doubt
}

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
}

// judge turns the end of an operation into a verdict for each item.
func (b *batch) judge(res result, token messages.Token) {
	sent := b.attempts.all()
	r := classify(b.shape(), sent, res.err)
	switch r.conclusion {
	case answered:
		b.answers(res, r.doubtful, len(sent), token)
	case unexecuted:
		b.each(func(*item) verdict { return verdict{again: &again{err: r.err, pause: true}} })
	case rejected:
		if len(b.items) > 1 {
			b.each(func(*item) verdict { return verdict{again: &again{err: r.err, alone: true}} })
			return
		}
		b.each(func(*item) verdict {
			return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: r.err}}
		})
	case open:
		d := &doubt{cause: r.err}
		if n := len(sent); n > 0 && sent[n-1].state == refused && !transientRefusal(sent[n-1].err) {
			d.refusal = public(sent[n-1].err)
		}
		b.each(func(*item) verdict { return verdict{doubt: d} })
	}
}

func (b *batch) each(f func(*item) verdict) {
	for i, it := range b.items {
		b.verdicts[i] = f(it)
	}
}

// answers reads a reply.
func (b *batch) answers(res result, doubtful bool, attempts int, token messages.Token) {
	ex := exceptionOf(res.err)
	refusal := func(err error) verdict {
		if doubtful {
			return verdict{doubt: &doubt{cause: err, refusal: err}}
		}
		return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: err, Token: token}}
	}
	applied := func(rep messages.WriteReply) verdict {
		if ex.concern != nil {
			return verdict{doubt: &doubt{cause: res.err, executed: true}}
		}
		rep.Outcome, rep.Token = messages.Applied, token
		return verdict{reply: &rep}
	}
	it := b.first()
	switch it.Cmd.Class {
	case command.Insert:
		b.inserts(res, ex, doubtful, applied, refusal)
	case command.Single:
		if len(ex.errors) > 0 {
			b.verdicts[0] = refusal(res.err)
			return
		}
		b.verdicts[0] = applied(messages.WriteReply{Result: res.value})
	case command.FindAndModify:
		rep := messages.WriteReply{Document: res.document}
		if res.none {
			rep.Err = mongo.ErrNoDocuments
		}
		b.verdicts[0] = applied(rep)
	case command.Multi:
		b.verdicts[0] = b.multi(res, ex, doubtful, token)
	default:
		if res.err != nil {
			b.verdicts[0] = verdict{doubt: &doubt{cause: res.err, executed: true}}
			return
		}
		b.verdicts[0] = applied(messages.WriteReply{Document: res.document})
	}
}

// inserts splits the reply to one ordered insert of all items. The server stops
// at the first document that it refuses: those before it are in, those behind it
// were not tried.
func (b *batch) inserts(res result, ex exception, doubtful bool, applied func(messages.WriteReply) verdict, refusal func(error) verdict) {
	stop := len(b.items)
	if len(ex.errors) > 0 {
		stop = ex.errors[0].Index
	}
	for i := range b.items {
		switch {
		case i < stop:
			b.verdicts[i] = applied(messages.WriteReply{Result: insertedAt(res, i)})
		case i == stop && len(b.items) == 1:
			b.verdicts[i] = refusal(res.err)
		case i == stop:
			own := ex.errors[0]
			own.Index = 0
			b.verdicts[i] = refusal(mongo.WriteException{WriteErrors: mongo.WriteErrors{own}, Labels: ex.labels})
		case doubtful:
			b.verdicts[i] = verdict{doubt: &doubt{cause: res.err}}
		default:
			b.verdicts[i] = verdict{again: &again{err: nil}}
		}
	}
}

// insertedAt is what the driver's InsertOne returns, for the i-th document of an
// operation.
func insertedAt(res result, i int) *mongo.InsertOneResult {
	switch r := res.value.(type) {
	case *mongo.InsertOneResult:
		return r
	case *mongo.InsertManyResult:
		if r != nil && i < len(r.InsertedIDs) {
			return &mongo.InsertOneResult{InsertedID: r.InsertedIDs[i], Acknowledged: r.Acknowledged}
		}
	}
	return nil
}

// multi reads the reply to an InsertMany, UpdateMany or DeleteMany.
func (b *batch) multi(res result, ex exception, doubtful bool, token messages.Token) verdict {
	if len(ex.errors) == 0 && ex.concern == nil {
		return verdict{reply: &messages.WriteReply{Outcome: messages.Applied, Result: res.value, Token: token}}
	}
	if len(ex.errors) == 0 || doubtful || ex.concern != nil {
		return verdict{doubt: &doubt{cause: res.err, executed: !doubtful}}
	}
	docs, isInsert := documentsOf(b.first().Cmd.Operation)
	switch {
	case isInsert:
		ids := 0
		if many, ok := res.value.(*mongo.InsertManyResult); ok && many != nil {
			ids = len(many.InsertedIDs)
		}
		outcome := messages.Partial
		if ids == 0 || len(ex.errors) == len(docs) {
			outcome = messages.NotApplied
		}
		return verdict{reply: &messages.WriteReply{Outcome: outcome, Err: res.err, Result: res.value, Token: token}}
	case early[int32(ex.errors[0].Code)]:
		return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: res.err, Token: token}}
	}
	// The server stops an update or a delete of many at the first document that
	// fails, and does not count those before it.
	return verdict{doubt: &doubt{cause: res.err, executed: true}}
}

// exception is what a write's error reply holds, whichever type it has.
type exception struct {
	errors  []mongo.WriteError
	concern *mongo.WriteConcernError
	labels  []string
}

func exceptionOf(err error) exception {
	var one mongo.WriteException
	if errors.As(err, &one) {
		return exception{one.WriteErrors, one.WriteConcernError, one.Labels}
	}
	var many mongo.BulkWriteException
	if errors.As(err, &many) {
		ex := exception{concern: many.WriteConcernError, labels: many.Labels}
		for _, e := range many.WriteErrors {
			ex.errors = append(ex.errors, e.WriteError)
		}
		return ex
	}
	return exception{}
}

// documentsOf returns an InsertMany's documents; false for anything else.
func documentsOf(op messages.WriteOperation) ([]bson.Raw, bool) {
	many, ok := op.(messages.InsertMany)
	if !ok {
		return nil, false
	}
	switch docs := many.Documents.(type) {
	case []bson.Raw:
		return docs, true
	case []any:
		return rawsOf(docs), true
	case bson.A:
		return rawsOf(docs), true
	}
	return nil, true
}

// rawsOf returns nil unless every document is encoded.
func rawsOf(docs []any) []bson.Raw {
	raws := make([]bson.Raw, len(docs))
	for i, d := range docs {
		raw, ok := d.(bson.Raw)
		if !ok {
			return nil
		}
		raws[i] = raw
	}
	return raws
}

// sameDocument compares bytes, except that the server stores _id first wherever
// it was.
func sameDocument(a, b bson.Raw) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	x, errX := idFirst(a)
	y, errY := idFirst(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func idFirst(doc bson.Raw) ([]byte, error) {
	elems, err := doc.Elements()
	if err != nil {
		return nil, err
	}
	var id, rest []byte
	for _, e := range elems {
		if e.Key() == "_id" && id == nil {
			id = e
			continue
		}
		rest = append(rest, e...)
	}
	return append(id[:len(id):len(id)], rest...), nil
}
