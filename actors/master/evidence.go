package master

import (
	"bytes"
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// trace is what was found of a write.
type trace uint8

const (
	// unseen: nothing was looked for, or not in time.
	unseen trace = iota
	// gone: there is nothing of it.
	gone
	// ours: it is there, and only this write can have left it.
	ours
	// anyones: something is there that somebody else may have left as well. Another
	// document with the _id that the caller chose is such, and so is the very same one:
	// who inserts {_id: "the daily job"} to learn whether he is the first must not be told that
	// he is because somebody else was.
	anyones
)

// evidence is what a majority read behind the fence has found of a batch's writes.
type evidence struct {
	b      *batch
	sought []int // in the order of the batch
	traces []trace

	// confirms reports whether what a majority has satisfies an item's write concern.
	confirms func(*item) bool
	// late says that nobody waits for it any more.
	late  bool
	token messages.Token
	ids   Encoder
}

func newEvidence(b *batch, sought []int, confirms func(*item) bool) *evidence {
	return &evidence{b: b, sought: sought, traces: make([]trace, len(b.items)), confirms: confirms}
}

// byVerify reports whether a write's Verify tells of it. A generated _id tells as
// much by itself; one that the caller chose does not.
func (it *item) byVerify() bool {
	switch it.Cmd.Class {
	case command.Insert:
		return len(it.Cmd.Verify) > 0 && !it.Cmd.IDGenerated
	case command.Single, command.FindAndModify:
		return true
	}
	return false
}

// idsOf are the _ids of the documents that a write inserts.
func (it *item) idsOf() (ids []bson.RawValue) {
	if it.Cmd.Class == command.Insert {
		return []bson.RawValue{it.Cmd.ID}
	}
	docs, _ := documentsOf(it.Cmd.Operation)
	for _, d := range docs {
		ids = append(ids, d.Lookup("_id"))
	}
	return ids
}

// look reads what tells whether the writes have happened: the documents of all
// inserts to one collection at once, then the others one by one. What it has found
// stands, also with an error.
func (e *evidence) look(ctx context.Context, w wire) error {
	ids := map[namespace]bson.A{}
	var order []namespace
	for _, i := range e.sought {
		it := e.b.items[i]
		if it.byVerify() {
			continue
		}
		ns := namespace{it.Cmd.Database, it.Cmd.Collection}
		if ids[ns] == nil {
			order = append(order, ns)
		}
		for _, id := range it.idsOf() {
			ids[ns] = append(ids[ns], id)
		}
	}
	for _, ns := range order {
		found := map[string]bool{}
		filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids[ns]}}}}
		err := w.find(ctx, ns, filter, wantIDs, func(doc bson.Raw) {
			found[idKey(doc.Lookup("_id"))] = true
		})
		if err != nil {
			return err
		}
		for _, i := range e.sought {
			if it := e.b.items[i]; !it.byVerify() && ns == (namespace{it.Cmd.Database, it.Cmd.Collection}) {
				e.traces[i] = e.traceOf(i, found)
			}
		}
	}
	for _, i := range e.sought {
		it := e.b.items[i]
		if !it.byVerify() || it.Done() && !e.late {
			continue
		}
		t := gone
		err := w.find(ctx, namespace{it.Cmd.Database, it.Cmd.Collection}, it.Cmd.Verify, wantOne, func(bson.Raw) { t = ours })
		if err != nil {
			return err
		}
		e.traces[i] = t
	}
	return nil
}

func idKey(id bson.RawValue) string { return string(rune(id.Type)) + string(id.Value) }

// traceOf reads an insert's trace off the documents that were found.
func (e *evidence) traceOf(i int, found map[string]bool) trace {
	it := e.b.items[i]
	ids, there := it.idsOf(), 0
	for _, id := range ids {
		if found[idKey(id)] {
			there++
		}
	}
	switch {
	case there == 0:
		return gone
	case it.Cmd.IDGenerated && there == len(ids):
		return ours
	}
	return anyones
}

// hides reports whether a later write of the batch may have taken away what an
// earlier one has left.
func hides(later, earlier *item) bool {
	if later.Cmd.Database != earlier.Cmd.Database || later.Cmd.Collection != earlier.Cmd.Collection {
		return false
	}
	if earlier.byVerify() {
		return true
	}
	_, deletes := later.Cmd.Operation.(messages.DeleteOne)
	return deletes && !surelyOther(later.Cmd.ID, earlier.Cmd.ID)
}

// surelyOther reports whether two _ids are known, and different by any collation
// and across the types of numbers.
func surelyOther(a, b bson.RawValue) bool {
	if a.Type != b.Type || bytes.Equal(a.Value, b.Value) {
		return false
	}
	switch a.Type {
	case bson.TypeObjectID, bson.TypeBinary, bson.TypeInt32, bson.TypeInt64, bson.TypeDateTime:
		return true
	}
	return false
}

// dismiss answers those that no evidence can help: nobody else has to wait for it.
func (e *evidence) dismiss(sent []attempt) {
	last := e.sought[len(e.sought)-1]
	next := 0
	for i, it := range e.b.items {
		if next < len(e.sought) && e.sought[next] == i {
			next++
			continue
		}
		if e.b.verdicts[i].doubt != nil && !(it.ErrorsOnly && i < last) {
			e.unknown(i, sent, nil)
		}
	}
}

func (e *evidence) unknown(i int, sent []attempt, why error) {
	d := e.b.verdicts[i].doubt
	rep := e.b.items[i].unknown(errors.Join(d.cause, why), sent, !d.executed)
	rep.Result = d.result
	e.b.verdicts[i] = verdict{reply: rep}
}

// conclude turns every doubt into a reply, or into another try. Why is what kept
// it from finding out more.
//
// The server has executed a batch from its beginning up to some write and none
// behind it, so that a write that was executed shows that all before it were. Only an insert shows that,
// by an _id that was generated for it: a Verify is its own asker's word, and no proof of what others have asked.
// The opposite is not concluded: an insert of which nothing is there may have been deleted by
// somebody else, and an update whose Verify does not hold may have found nothing to
// change.
func (e *evidence) conclude(sent []attempt, why error) {
	ran := -1
	for i, t := range e.traces {
		if t == ours && !e.b.items[i].byVerify() {
			ran = i
		}
	}
	var behind []*item // those behind the one looked at that may have been executed
	for i := len(e.b.items) - 1; i >= 0; i-- {
		it, v := e.b.items[i], e.b.verdicts[i]
		if v.doubt == nil {
			if v.reply != nil && v.reply.Outcome != messages.NotApplied {
				behind = append(behind, it)
			}
			continue
		}
		hidden := false
		for _, later := range behind {
			hidden = hidden || hides(later, it)
		}
		happened := e.traces[i] == ours || i < ran && (it.Cmd.Class == command.Insert || it.ErrorsOnly)
		switch t := e.traces[i]; {
		case happened && !e.confirms(it):
			e.unknown(i, sent, errors.New("evenkeel: it has happened and a majority has it, but its write concern asks for more, and nobody has confirmed that"))
		case happened:
			e.b.verdicts[i] = verdict{reply: &messages.WriteReply{
				Outcome: messages.Applied, Result: e.resultOf(it), Token: e.token, Settled: true,
			}}
		case t == unseen:
			e.unknown(i, sent, why)
			e.b.verdicts[i].unseen = v.doubt
		case t == anyones:
			e.unknown(i, sent, errors.New("evenkeel: a document with its _id is there, and whether this write or another has inserted it cannot be told"))
		case hidden:
			e.unknown(i, sent, errors.New("evenkeel: nothing of it is there, which a later write of its batch may have brought about"))
		case v.doubt.idle != nil:
			v.doubt.idle.Settled = true
			e.b.verdicts[i] = verdict{reply: v.doubt.idle}
			continue
		default:
			e.b.verdicts[i] = it.neverApplied(v.doubt, sent)
			if again := e.b.verdicts[i].again; again != nil && it.byVerify() && len(behind) > 0 {
				// It may have been executed and have found nothing to change; what it
				// would find now, behind the others, is not what it was to find.
				e.b.verdicts[i] = verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: again.err, Settled: true}}
			}
			continue
		}
		behind = append(behind, it)
	}
}

// resultOf is the result of a write that has happened, as far as it is known.
func (e *evidence) resultOf(it *item) any {
	switch it.Cmd.Class {
	case command.Insert:
		return &mongo.InsertOneResult{InsertedID: e.ids.InsertedID(it.Cmd.ID), Acknowledged: true}
	case command.Multi:
		res := &mongo.InsertManyResult{Acknowledged: true}
		for _, id := range it.idsOf() {
			res.InsertedIDs = append(res.InsertedIDs, e.ids.InsertedID(id))
		}
		return res
	}
	return nil
}
