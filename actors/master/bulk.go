package master

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// errTorn is why a write is in doubt that the reply to its bulkWrite does not tell of.
var errTorn = errors.New("evenkeel: the reply to a bulkWrite does not tell of every write")

// bulk reads the reply to a bulkWrite: the server's own one, as the attempts have
// kept it. What the driver makes of it cannot tell an upserted _id of null from no upsert, counts
// an upsert as a match, and lets go of all of it where the driver reports an
// earlier attempt's error.
func (a *answer) bulk() {
	said, failed, complete := a.said()
	a.reached = failed
	var refusal mongo.WriteException
	if failed < len(a.items) {
		refusal = refusalOf(said[failed])
		refusal.Labels = a.ex.labels
	}
	for i, it := range a.items {
		switch {
		case i == failed:
			a.verdicts[i] = a.refused(refusal, refusal.WriteErrors[0].Code)
		case i > failed:
			a.verdicts[i] = a.untried()
		case said[i] == nil && !(it.ErrorsOnly && complete):
			a.verdicts[i] = verdict{doubt: &doubt{cause: errTorn}}
		default:
			a.verdicts[i] = a.applied(it, messages.WriteReply{Result: a.resultOf(it, said[i])})
		}
	}
}

// said returns what the reply says of each write, nil for nothing; which one it
// failed at, len(items) for none; and whether all before that one were executed,
// whatever is said of them.
func (a *answer) said() (said []bson.Raw, failed int, complete bool) {
	said, failed = make([]bson.Raw, len(a.items)), len(a.items)
	replies := a.attempts.replies()
	for _, reply := range replies {
		for _, batch := range []string{"firstBatch", "nextBatch"} {
			list, _ := reply.Lookup("cursor", batch).ArrayOK()
			values, _ := list.Values()
			for _, v := range values {
				doc, _ := v.DocumentOK()
				i, ok := doc.Lookup("idx").AsInt64OK()
				if !ok || i < 0 || i >= int64(len(said)) {
					continue
				}
				said[i] = doc
				if ok, _ := doc.Lookup("ok").AsInt64OK(); ok == 0 {
					failed = min(failed, int(i))
				}
			}
		}
	}
	if len(replies) == 0 {
		return said, failed, false
	}
	// The driver does not see a write concern error where it reports an earlier
	// attempt's failure.
	a.ex = exception{concern: concernOf(replies[0]), labels: labelsOf(replies[0])}
	errs, ok := replies[0].Lookup("nErrors").AsInt64OK()
	return said, failed, failed < len(a.items) || ok && errs == 0
}

// resultOf is what the driver's own method for the write would have returned.
func (a *answer) resultOf(it *item, said bson.Raw) any {
	n, _ := said.Lookup("n").AsInt64OK()
	switch it.Cmd.Operation.(type) {
	case messages.InsertOne:
		return &mongo.InsertOneResult{InsertedID: a.ids.InsertedID(it.Cmd.ID), Acknowledged: true}
	case messages.DeleteOne:
		return &mongo.DeleteResult{DeletedCount: n, Acknowledged: true}
	}
	res := &mongo.UpdateResult{MatchedCount: n, Acknowledged: true}
	res.ModifiedCount, _ = said.Lookup("nModified").AsInt64OK()
	if upserted, ok := said.Lookup("upserted").DocumentOK(); ok {
		var doc struct {
			ID any `bson:"_id"`
		}
		_ = bson.Unmarshal(upserted, &doc) // As the driver reads it: without the client's own registry.
		res.MatchedCount, res.UpsertedCount, res.UpsertedID = n-1, 1, doc.ID
	}
	return res
}

// refusalOf is the error that the driver's own method for the write would have
// returned.
func refusalOf(said bson.Raw) mongo.WriteException {
	own := mongo.WriteError{Raw: asOnly(said)}
	code, _ := said.Lookup("code").AsInt64OK()
	own.Code = int(code)
	own.Message, _ = said.Lookup("errmsg").StringValueOK()
	own.Details, _ = said.Lookup("errInfo").DocumentOK()
	return mongo.WriteException{WriteErrors: mongo.WriteErrors{own}}
}

func concernOf(reply bson.Raw) *mongo.WriteConcernError {
	doc, ok := reply.Lookup("writeConcernError").DocumentOK()
	if !ok {
		return nil
	}
	err := &mongo.WriteConcernError{Raw: doc}
	code, _ := doc.Lookup("code").AsInt64OK()
	err.Code = int(code)
	err.Name, _ = doc.Lookup("codeName").StringValueOK()
	err.Message, _ = doc.Lookup("errmsg").StringValueOK()
	err.Details, _ = doc.Lookup("errInfo").DocumentOK()
	return err
}

func labelsOf(reply bson.Raw) (labels []string) {
	list, _ := reply.Lookup("errorLabels").ArrayOK()
	values, _ := list.Values()
	for _, v := range values {
		if label, ok := v.StringValueOK(); ok {
			labels = append(labels, label)
		}
	}
	return labels
}

// unknownCommand reports whether the server refused a command because it does not
// know it: CommandNotFound, or CommandNotSupported of a MongoDB 8.0 whose feature
// compatibility version is still that of an older one.
func unknownCommand(failure error) bool {
	err := mongo.CommandError{}
	return errors.As(public(failure), &err) && (err.Code == 59 || err.Code == 115)
}

// errorsOnly reports whether nobody asks for results.
func (b *batch) errorsOnly() bool {
	for _, it := range b.items {
		if !it.ErrorsOnly {
			return false
		}
	}
	return true
}

// bulkWrites are the items' writes for a bulkWrite command.
func (b *batch) bulkWrites() []mongo.ClientBulkWrite {
	writes := make([]mongo.ClientBulkWrite, len(b.items))
	for i, it := range b.items {
		writes[i] = mongo.ClientBulkWrite{Database: it.Cmd.Database, Collection: it.Cmd.Collection, Model: clientModel(it.Cmd)}
	}
	return writes
}

func clientModel(cmd *command.Write) mongo.ClientWriteModel {
	switch op := cmd.Operation.(type) {
	case messages.InsertOne:
		return &mongo.ClientInsertOneModel{Document: op.Document}
	case messages.UpdateOne:
		o := resolved(op.Options)
		return &mongo.ClientUpdateOneModel{
			Filter: op.Filter, Update: op.Update, Upsert: o.Upsert, ArrayFilters: o.ArrayFilters,
			Collation: o.Collation, Hint: o.Hint, Sort: o.Sort,
		}
	case messages.ReplaceOne:
		o := resolved(op.Options)
		return &mongo.ClientReplaceOneModel{
			Filter: op.Filter, Replacement: op.Replacement, Upsert: o.Upsert,
			Collation: o.Collation, Hint: o.Hint, Sort: o.Sort,
		}
	case messages.DeleteOne:
		o := resolved(op.Options)
		return &mongo.ClientDeleteOneModel{Filter: op.Filter, Collation: o.Collation, Hint: o.Hint}
	}
	return nil
}

// models are the items' writes for one update or delete command.
func (b *batch) models() []mongo.WriteModel {
	models := make([]mongo.WriteModel, len(b.items))
	for i, it := range b.items {
		switch op := it.Cmd.Operation.(type) {
		case messages.UpdateOne:
			o := resolved(op.Options)
			models[i] = &mongo.UpdateOneModel{
				Filter: op.Filter, Update: op.Update, Upsert: o.Upsert, ArrayFilters: o.ArrayFilters,
				Collation: o.Collation, Hint: o.Hint, Sort: o.Sort,
			}
		case messages.ReplaceOne:
			o := resolved(op.Options)
			models[i] = &mongo.ReplaceOneModel{
				Filter: op.Filter, Replacement: op.Replacement, Upsert: o.Upsert,
				Collation: o.Collation, Hint: o.Hint, Sort: o.Sort,
			}
		case messages.DeleteOne:
			o := resolved(op.Options)
			models[i] = &mongo.DeleteOneModel{Filter: op.Filter, Collation: o.Collation, Hint: o.Hint}
		}
	}
	return models
}

// resolved applies the options that the encoder has resolved, and cannot fail.
func resolved[T any](listers []options.Lister[T]) T {
	var o T
	for _, l := range listers {
		for _, set := range l.List() {
			_ = set(&o)
		}
	}
	return o
}
