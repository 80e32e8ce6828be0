package command

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// overheadBytes is what a write holds beside its documents.
const overheadBytes = 512

// Write encodes a write. Its error is a *messages.InvalidError that names the field
// that is wrong.
func (e *Encoder) Write(m *messages.Write) (*Write, error) {
	if m.Operation == nil {
		return nil, invalid("Operation", errors.New("it is nil; use messages.InsertOne, UpdateOne and so on"))
	}
	if err := checkConcern(m.WriteConcern); err != nil {
		return nil, err
	}
	_, isCommand := m.Operation.(messages.Command)
	if err := namespace(m.Database, m.Collection, !isCommand); err != nil {
		return nil, err
	}
	w := &Write{Database: m.Database, Collection: m.Collection, Bytes: overheadBytes}
	f := &freezer{Encoder: e, w: w}
	w.Operation = f.freeze(m.Operation)
	if f.err == nil && !inserts(w.Operation) {
		f.fail(fits(w.Bytes - overheadBytes))
	}
	if m.Verify != nil {
		w.Verify = f.doc("Verify", m.Verify)
	}
	if f.err != nil {
		return nil, f.err
	}
	return w, nil
}

func checkConcern(wc *writeconcern.WriteConcern) error {
	switch {
	case !wc.Acknowledged():
		return invalid("WriteConcern", errors.New("it is unacknowledged, so that no outcome could be told; use w: 1 or more"))
	case !wc.IsValid():
		return invalid("WriteConcern", fmt.Errorf("w: %v (%T) is no write concern; use an int of 1 or more, or a string", wc.W, wc.W))
	}
	return nil
}

// inserts reports whether the driver sends the documents of op one by one, and so
// splits what is too large for one command.
func inserts(op messages.WriteOperation) bool {
	switch op.(type) {
	case messages.InsertOne, messages.InsertMany:
		return true
	}
	return false
}

// freeze returns op with everything encoded or copied, and classifies the write.
func (f *freezer) freeze(op messages.WriteOperation) messages.WriteOperation {
	w := f.w
	switch op := op.(type) {
	case messages.InsertOne:
		w.Class = Insert
		doc := f.inserted("Document", op.Document)
		w.ID, op.Document = find(doc, "_id"), doc
		w.Plain = true
		op.Options = freezeOptions(f, op.Options, func(o *options.InsertOneOptions) {
			w.Plain = isZero(o)
			f.comment(&o.Comment)
		})
		return op
	case messages.InsertMany:
		w.Class = Multi
		op.Documents = f.insertedMany(op.Documents)
		op.Options = freezeOptions(f, op.Options, func(o *options.InsertManyOptions) { f.comment(&o.Comment) })
		return op
	case messages.UpdateOne:
		w.Class = Single
		op.Filter, op.Update = f.filter(op.Filter), f.update(op.Update)
		w.Plain = true
		op.Options = freezeOptions(f, op.Options, func(o *options.UpdateOneOptions) {
			f.arrayFilters(o.ArrayFilters, &o.ArrayFilters)
			f.collation(o.Collation)
			f.comment(&o.Comment)
			f.hint(&o.Hint)
			f.opt("Let", &o.Let)
			f.sort(&o.Sort)
			of := *o
			of.ArrayFilters, of.Collation, of.Hint, of.Upsert, of.Sort = nil, nil, nil, nil, nil
			w.Plain = isZero(&of) && hints(o.Hint)
		})
		return op
	case messages.UpdateMany:
		w.Class = Multi
		op.Filter, op.Update = f.doc("Filter", op.Filter), f.update(op.Update)
		op.Options = freezeOptions(f, op.Options, func(o *options.UpdateManyOptions) {
			f.arrayFilters(o.ArrayFilters, &o.ArrayFilters)
			f.comment(&o.Comment)
			f.hint(&o.Hint)
			f.opt("Let", &o.Let)
		})
		return op
	case messages.ReplaceOne:
		w.Class = Single
		op.Filter, op.Replacement = f.filter(op.Filter), f.replacement(op.Replacement)
		w.Plain = true
		op.Options = freezeOptions(f, op.Options, func(o *options.ReplaceOptions) {
			f.collation(o.Collation)
			f.comment(&o.Comment)
			f.hint(&o.Hint)
			f.opt("Let", &o.Let)
			f.sort(&o.Sort)
			of := *o
			of.Collation, of.Hint, of.Upsert, of.Sort = nil, nil, nil, nil
			w.Plain = isZero(&of) && hints(o.Hint)
		})
		return op
	case messages.DeleteOne:
		w.Class = Single
		op.Filter = f.filter(op.Filter)
		w.Plain = true
		op.Options = freezeOptions(f, op.Options, func(o *options.DeleteOneOptions) {
			f.collation(o.Collation)
			f.comment(&o.Comment)
			f.hint(&o.Hint)
			f.opt("Let", &o.Let)
			of := *o
			of.Collation, of.Hint = nil, nil
			w.Plain = isZero(&of) && hints(o.Hint)
		})
		return op
	case messages.DeleteMany:
		w.Class = Multi
		op.Filter = f.doc("Filter", op.Filter)
		op.Options = freezeOptions(f, op.Options, func(o *options.DeleteManyOptions) {
			f.comment(&o.Comment)
			f.hint(&o.Hint)
			f.opt("Let", &o.Let)
		})
		return op
	case messages.Command:
		w.Class = Other
		op.Document = f.writeCommand(op)
		return op
	}
	return f.freezeFindAnd(op)
}

// hints reports whether an encoded hint is none, or one that the server takes: it
// refuses a whole command for any other.
func hints(hint any) bool {
	v, given := hint.(bson.RawValue)
	return !given || v.Type == bson.TypeString || v.Type == bson.TypeEmbeddedDocument
}

func (f *freezer) freezeFindAnd(op messages.WriteOperation) messages.WriteOperation {
	f.w.Class = FindAndModify
	switch op := op.(type) {
	case messages.FindOneAndUpdate:
		op.Filter, op.Update = f.filter(op.Filter), f.update(op.Update)
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndUpdateOptions) {
			f.arrayFilters(o.ArrayFilters, &o.ArrayFilters)
			f.findAnd(o.Collation, &o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	case messages.FindOneAndReplace:
		op.Filter, op.Replacement = f.filter(op.Filter), f.replacement(op.Replacement)
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndReplaceOptions) {
			f.findAnd(o.Collation, &o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	case messages.FindOneAndDelete:
		op.Filter = f.filter(op.Filter)
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndDeleteOptions) {
			f.findAnd(o.Collation, &o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	}
	f.fail(invalid("Operation", fmt.Errorf("%T is passed by pointer or is unknown; pass the operation by value", op)))
	return nil
}

func (f *freezer) findAnd(collation *options.Collation, comment, hint, projection, sort, let *any) {
	f.collation(collation)
	f.comment(comment)
	f.hint(hint)
	f.opt("Projection", projection)
	f.sort(sort)
	f.opt("Let", let)
}
