package master

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// errIdle is why a write is in doubt that was executed, as its reply says, and has
// changed nothing.
var errIdle = errors.New("evenkeel: a reply was lost, and the attempt after it had nothing to change")

// errUntried is why a write is in doubt that stands behind a refused one.
var errUntried = errors.New("evenkeel: a reply was lost, and the attempt after it did not get as far as this write")

// answer splits the reply to a batch into each write's own.
type answer struct {
	*batch
	res result
	ex  exception
	// doubtful says that an earlier attempt may still be under way (see ruling).
	doubtful bool
	token    messages.Token
	ids      Encoder
}

// read gives every item its verdict.
func (a *answer) read() {
	it := a.first()
	switch {
	case a.kind == bulk:
		a.bulk()
	case a.kind != 0 || it.Cmd.Class == command.Insert:
		a.ordered()
	case it.Cmd.Class == command.Multi:
		a.verdicts[0] = a.multi()
	case it.Cmd.Class == command.Other && len(a.ex.errors) > 0:
		a.verdicts[0] = a.command()
	case len(a.ex.errors) > 0:
		a.verdicts[0] = a.refused(a.res.err, a.ex.errors[0].Code)
	case a.res.err != nil && a.ex.concern == nil:
		a.verdicts[0] = verdict{doubt: &doubt{cause: a.res.err, executed: true}}
	default:
		rep := messages.WriteReply{Result: a.res.value, Document: a.res.document}
		if a.res.none {
			rep.Err = mongo.ErrNoDocuments
		}
		a.verdicts[0] = a.applied(it, rep)
	}
}

// applied is the verdict on a write that the server says it has executed.
func (a *answer) applied(it *item, rep messages.WriteReply) verdict {
	if a.ex.concern != nil {
		cause := a.res.err
		if len(a.items) > 1 {
			cause = mongo.WriteException{WriteConcernError: a.ex.concern, Labels: a.ex.labels}
		}
		return verdict{doubt: &doubt{cause: cause, executed: true}}
	}
	rep.Outcome, rep.Token = messages.Applied, a.token
	// What changes nothing leaves no trace in the session: should the lost attempt
	// still arrive, it is executed as if it were the first, and may find then what
	// this one has not found.
	if a.doubtful && !it.ErrorsOnly && idle(&rep) {
		return verdict{doubt: &doubt{cause: errIdle, idle: &rep}}
	}
	return verdict{reply: &rep}
}

// idle reports whether a write is known to have changed nothing.
func idle(rep *messages.WriteReply) bool {
	switch res := rep.Result.(type) {
	case *mongo.UpdateResult:
		return res.ModifiedCount == 0 && res.UpsertedCount == 0
	case *mongo.DeleteResult:
		return res.DeletedCount == 0
	}
	return errors.Is(rep.Err, mongo.ErrNoDocuments)
}

// refused is the verdict on a write that the server has refused, with that code.
func (a *answer) refused(err error, code int) verdict {
	switch down := notPrimary[int32(code)] || steppingDown[int32(code)]; {
	case down && !a.doubtful:
		// The server stepped down between two writes of the batch, before this one.
		return verdict{again: &again{err: err, pause: true}}
	case down:
		return verdict{doubt: &doubt{cause: err}}
	case a.doubtful:
		return verdict{doubt: &doubt{cause: err, refusal: err}}
	}
	return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: err, Token: a.token}}
}

// untried is the verdict on a write behind one at which the server has stopped.
func (a *answer) untried() verdict {
	if a.doubtful {
		return verdict{doubt: &doubt{cause: errUntried}}
	}
	return verdict{again: &again{}}
}

// ordered reads the reply to one insert, update or delete command of all items. The
// server stops at the first that it refuses: those before it are executed, those
// behind it were not tried.
func (a *answer) ordered() {
	stop := len(a.items)
	if len(a.ex.errors) > 0 {
		stop = a.ex.errors[0].Index
	}
	a.reached = stop
	for i, it := range a.items {
		switch {
		case i < stop:
			a.verdicts[i] = a.applied(it, messages.WriteReply{Result: insertedAt(a.res, i)})
		case i == stop && len(a.items) == 1:
			a.verdicts[i] = a.refused(a.res.err, a.ex.errors[0].Code)
		case i == stop:
			own := a.ex.errors[0]
			own.Index, own.Raw = 0, asOnly(own.Raw)
			a.verdicts[i] = a.refused(mongo.WriteException{WriteErrors: mongo.WriteErrors{own}, Labels: a.ex.labels}, own.Code)
		default:
			a.verdicts[i] = a.untried()
		}
	}
}

// insertedAt is what the driver's InsertOne returns, for the i-th document of an
// insert, and nothing for another command.
func insertedAt(res result, i int) any {
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

// asOnly is the server's document about a refused write as it is when the write is
// the only one of its command.
func asOnly(raw bson.Raw) bson.Raw {
	elems, err := raw.Elements()
	if err != nil {
		return raw
	}
	doc := bson.D{{Key: "index", Value: int32(0)}}
	var message []bson.E
	for _, e := range elems {
		switch e.Key() {
		case "index", "idx", "ok", "n", "nModified": // The last four are a bulkWrite's.
		case "errmsg": // Last, but in a bulkWrite's.
			message = []bson.E{{Key: "errmsg", Value: e.Value()}}
		default:
			doc = append(doc, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	if own, err := bson.Marshal(append(doc, message...)); err == nil {
		return own
	}
	return raw
}

// multi reads the reply to an InsertMany, UpdateMany or DeleteMany.
func (a *answer) multi() verdict {
	if len(a.ex.errors) == 0 && a.ex.concern == nil {
		return verdict{reply: &messages.WriteReply{Outcome: messages.Applied, Result: a.res.value, Token: a.token}}
	}
	if a.doubtful {
		return verdict{doubt: &doubt{cause: a.res.err}}
	}
	if a.ex.concern != nil {
		return verdict{doubt: &doubt{cause: a.res.err, executed: true, result: a.res.value}}
	}
	docs, isInsert := documentsOf(a.first().Cmd.Operation)
	switch {
	case isInsert:
		ids := 0
		if many, ok := a.res.value.(*mongo.InsertManyResult); ok && many != nil {
			ids = len(many.InsertedIDs)
		}
		outcome := messages.Partial
		if ids == 0 || len(a.ex.errors) == len(docs) {
			outcome = messages.NotApplied
		}
		return verdict{reply: &messages.WriteReply{Outcome: outcome, Err: a.res.err, Result: a.res.value, Token: a.token}}
	case atOnce(int32(a.ex.errors[0].Code)):
		return verdict{reply: &messages.WriteReply{Outcome: messages.NotApplied, Err: a.res.err, Result: a.res.value, Token: a.token}}
	}
	// The server stops an update or a delete of many at the first document that
	// fails, and does not count those before it.
	return verdict{doubt: &doubt{cause: a.res.err, executed: true, result: a.res.value}}
}

// command reads the reply to a command of the game's own whose statements were refused, some or all. What it
// was, evenkeel does not know: of those before one that was refused, and of a statement that was stopped in the
// middle, only the numbers in the reply tell.
func (a *answer) command() verdict {
	some := false
	for _, field := range []string{"n", "nModified", "nInserted", "nMatched", "nUpserted", "nDeleted"} {
		n, _ := a.res.document.Lookup(field).AsInt64OK()
		some = some || n > 0
	}
	name := ""
	if op, ok := a.first().Cmd.Operation.(messages.Command); ok {
		name = nameOf(op)
	}
	outcome := messages.Partial
	switch {
	case some && a.ex.concern == nil && !a.doubtful:
	case name == "insert" && a.ex.concern == nil && !a.doubtful: // It counts each document, and a document is written or not.
		outcome = messages.NotApplied
	default:
		return verdict{doubt: &doubt{cause: a.res.err, executed: !a.doubtful}}
	}
	return verdict{reply: &messages.WriteReply{Outcome: outcome, Err: a.res.err, Document: a.res.document, Token: a.token}}
}

// nameOf is the name of a command.
func nameOf(op messages.Command) string {
	doc, _ := op.Document.(bson.Raw)
	elem, err := doc.IndexErr(0)
	if err != nil {
		return ""
	}
	return elem.Key()
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
