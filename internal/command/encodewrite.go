package command

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

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
	if !m.WriteConcern.Acknowledged() {
		return nil, invalid("WriteConcern", errors.New("it is unacknowledged, so that no outcome could be told; use w: 1 or more"))
	}
	_, isCommand := m.Operation.(messages.Command)
	if err := namespace(m.Database, m.Collection, !isCommand); err != nil {
		return nil, err
	}
	w := &Write{Database: m.Database, Collection: m.Collection, Bytes: overheadBytes}
	f := &freezer{Encoder: e, w: w}
	w.Operation = f.freeze(m.Operation)
	if m.Verify != nil {
		w.Verify = f.doc("Verify", m.Verify)
	}
	if f.err != nil {
		return nil, f.err
	}
	return w, nil
}

// freezer encodes every value of a write's operation. The first error stays.
type freezer struct {
	*Encoder
	w   *Write
	err error
}

func (f *freezer) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *freezer) doc(field string, v any) bson.Raw {
	if f.err != nil {
		return nil
	}
	raw, err := f.document(field, v)
	if err != nil {
		f.fail(err)
		return nil
	}
	f.w.Bytes += len(raw)
	return raw
}

// opt encodes an option that is a document; nil stays nil.
func (f *freezer) opt(field string, v *any, inOrder bool) {
	if *v == nil || f.err != nil {
		return
	}
	if inOrder && unordered(*v) {
		_, err := f.ordered(field, *v)
		f.fail(err)
		return
	}
	*v = f.doc(field, *v)
}

// optValue encodes an option that is any value.
func (f *freezer) optValue(field string, v *any) {
	if *v == nil || f.err != nil {
		return
	}
	if s, ok := (*v).(string); ok {
		*v = s
		return
	}
	if unordered(*v) && field == "Hint" {
		_, err := f.ordered(field, *v)
		f.fail(err)
		return
	}
	raw, err := f.value(field, *v)
	if err != nil {
		f.fail(err)
		return
	}
	f.w.Bytes += len(raw.Value)
	*v = raw
}

func (f *freezer) filters(v []any) []any {
	if v == nil {
		return nil
	}
	out := make([]any, len(v))
	for i := range v {
		out[i] = f.doc(fmt.Sprintf("ArrayFilters[%d]", i), v[i])
	}
	return out
}

func freezeOptions[T any](f *freezer, listers []options.Lister[T], each func(*T)) []options.Lister[T] {
	o, err := resolve(listers)
	if err != nil {
		f.fail(err)
		return nil
	}
	each(o)
	return frozen(o)
}

func (f *freezer) freeze(op messages.WriteOperation) messages.WriteOperation {
	w := f.w
	switch op := op.(type) {
	case messages.InsertOne:
		w.Class = Insert
		doc := f.inserted("Document", op.Document)
		w.ID = lookupID(doc)
		op.Document = doc
		op.Options = freezeOptions(f, op.Options, func(o *options.InsertOneOptions) {
			f.optValue("Comment", &o.Comment)
			w.Plain = o.Comment == nil && o.BypassDocumentValidation == nil && optionsEmpty(o)
		})
		return op
	case messages.InsertMany:
		w.Class = Multi
		op.Documents = f.insertedMany(op.Documents)
		op.Options = freezeOptions(f, op.Options, func(o *options.InsertManyOptions) { f.optValue("Comment", &o.Comment) })
		return op
	case messages.UpdateOne:
		w.Class = Single
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter, op.Update = filter, f.update(op.Update)
		op.Options = freezeOptions(f, op.Options, func(o *options.UpdateOneOptions) {
			o.ArrayFilters = f.filters(o.ArrayFilters)
			f.optValue("Comment", &o.Comment)
			f.optValue("Hint", &o.Hint)
			f.opt("Let", &o.Let, false)
			f.opt("Sort", &o.Sort, true)
		})
		return op
	case messages.UpdateMany:
		w.Class = Multi
		op.Filter, op.Update = f.doc("Filter", op.Filter), f.update(op.Update)
		op.Options = freezeOptions(f, op.Options, func(o *options.UpdateManyOptions) {
			o.ArrayFilters = f.filters(o.ArrayFilters)
			f.optValue("Comment", &o.Comment)
			f.optValue("Hint", &o.Hint)
			f.opt("Let", &o.Let, false)
		})
		return op
	case messages.ReplaceOne:
		w.Class = Single
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter, op.Replacement = filter, f.replacement(op.Replacement)
		op.Options = freezeOptions(f, op.Options, func(o *options.ReplaceOptions) {
			f.optValue("Comment", &o.Comment)
			f.optValue("Hint", &o.Hint)
			f.opt("Let", &o.Let, false)
			f.opt("Sort", &o.Sort, true)
		})
		return op
	case messages.DeleteOne:
		w.Class = Single
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter = filter
		op.Options = freezeOptions(f, op.Options, func(o *options.DeleteOneOptions) {
			f.optValue("Comment", &o.Comment)
			f.optValue("Hint", &o.Hint)
			f.opt("Let", &o.Let, false)
		})
		return op
	case messages.DeleteMany:
		w.Class = Multi
		op.Filter = f.doc("Filter", op.Filter)
		op.Options = freezeOptions(f, op.Options, func(o *options.DeleteManyOptions) {
			f.optValue("Comment", &o.Comment)
			f.optValue("Hint", &o.Hint)
			f.opt("Let", &o.Let, false)
		})
		return op
	}
	return f.freezeFindAnd(op)
}

func (f *freezer) freezeFindAnd(op messages.WriteOperation) messages.WriteOperation {
	w := f.w
	w.Class = FindAndModify
	switch op := op.(type) {
	case messages.FindOneAndUpdate:
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter, op.Update = filter, f.update(op.Update)
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndUpdateOptions) {
			o.ArrayFilters = f.filters(o.ArrayFilters)
			f.findAnd(&o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	case messages.FindOneAndReplace:
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter, op.Replacement = filter, f.replacement(op.Replacement)
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndReplaceOptions) {
			f.findAnd(&o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	case messages.FindOneAndDelete:
		filter := f.doc("Filter", op.Filter)
		w.ID = exactID(filter)
		op.Filter = filter
		op.Options = freezeOptions(f, op.Options, func(o *options.FindOneAndDeleteOptions) {
			f.findAnd(&o.Comment, &o.Hint, &o.Projection, &o.Sort, &o.Let)
		})
		return op
	case messages.Command:
		w.Class = Other
		doc, _, err := f.command(op)
		if err != nil {
			f.fail(err)
			return nil
		}
		if wc, ok := doc.Lookup("writeConcern").DocumentOK(); ok {
			if n, ok := wc.Lookup("w").AsInt64OK(); ok && n == 0 {
				f.fail(invalid("Document", errors.New("writeConcern: {w: 0} would leave no outcome to tell; use w: 1 or more")))
			}
		}
		w.Bytes += len(doc)
		op.Document = doc
		return op
	}
	f.fail(invalid("Operation", fmt.Errorf("%T is passed by pointer or is unknown; pass the operation by value", op)))
	return nil
}

func (f *freezer) findAnd(comment, hint, projection, sort, let *any) {
	f.optValue("Comment", comment)
	f.optValue("Hint", hint)
	f.opt("Projection", projection, false)
	f.opt("Sort", sort, true)
	f.opt("Let", let, false)
}

// inserted encodes a document to insert and gives it an _id when it has none. Where the
// document is made, so is its _id: an insert whose outcome is unknown is found
// again by it.
func (f *freezer) inserted(field string, v any) bson.Raw {
	doc := f.doc(field, v)
	if f.err != nil {
		return nil
	}
	if len(doc) > maxDocument {
		f.fail(invalid(field, fmt.Errorf("it has %d bytes; the server takes %d", len(doc), maxDocument)))
		return nil
	}
	id, err := doc.LookupErr("_id")
	if err == nil {
		if id.Type == bson.TypeArray || id.Type == bson.TypeRegex || id.Type == bson.TypeUndefined {
			f.fail(invalid(field, fmt.Errorf("its _id is of type %v, which the server does not take", id.Type)))
		}
		return doc
	}
	d := newBody(len(doc) + 20)
	d.key(bson.TypeObjectID, "_id")
	oid := bson.NewObjectID()
	d.b = append(d.b, oid[:]...)
	d.b = append(d.b, doc[4:len(doc)-1]...)
	f.w.IDGenerated = true
	return d.end()
}

func (f *freezer) insertedMany(v any) []any {
	s := reflect.ValueOf(v)
	if v == nil || s.Kind() != reflect.Slice || s.Type() == reflect.TypeFor[bson.D]() || s.Type() == reflect.TypeFor[bson.Raw]() {
		f.fail(invalid("Documents", fmt.Errorf("%T is no slice of documents", v)))
		return nil
	}
	if s.Len() == 0 {
		f.fail(invalid("Documents", mongo.ErrEmptySlice))
		return nil
	}
	out := make([]any, s.Len())
	for i := range out {
		out[i] = f.inserted(fmt.Sprintf("Documents[%d]", i), s.Index(i).Interface())
	}
	f.w.IDGenerated = false
	return out
}

// update encodes an update document, which must be of operators, or a pipeline.
func (f *freezer) update(v any) any {
	if f.err != nil {
		return nil
	}
	if isPipeline(v) {
		stages, err := f.pipeline("Update", v)
		if err != nil {
			f.fail(err)
			return nil
		}
		if len(stages) == 0 {
			f.fail(invalid("Update", errors.New("it is an empty pipeline")))
		}
		for _, s := range stages {
			f.w.Bytes += len(s)
		}
		return stages
	}
	doc := f.doc("Update", v)
	if f.err != nil {
		return nil
	}
	first, err := doc.IndexErr(0)
	if err != nil {
		f.fail(invalid("Update", errors.New("it is empty; it must have at least one operator such as $set")))
		return nil
	}
	if !strings.HasPrefix(first.Key(), "$") {
		f.fail(invalid("Update", fmt.Errorf("its key %q is no operator; use {$set: …}, or ReplaceOne", first.Key())))
		return nil
	}
	return doc
}

func isPipeline(v any) bool {
	switch v.(type) {
	case nil, bson.D, bson.Raw, []byte:
		return false
	case bson.RawArray:
		return true
	}
	k := reflect.ValueOf(v).Kind()
	return k == reflect.Slice || k == reflect.Array
}

func (f *freezer) replacement(v any) bson.Raw {
	doc := f.doc("Replacement", v)
	if f.err != nil {
		return nil
	}
	if len(doc) > maxDocument {
		f.fail(invalid("Replacement", fmt.Errorf("it has %d bytes; the server takes %d", len(doc), maxDocument)))
	}
	if first, err := doc.IndexErr(0); err == nil && strings.HasPrefix(first.Key(), "$") {
		f.fail(invalid("Replacement", fmt.Errorf("its key %q is an operator; use UpdateOne", first.Key())))
	}
	return doc
}

func lookupID(doc bson.Raw) bson.RawValue {
	if len(doc) == 0 {
		return bson.RawValue{}
	}
	id, err := doc.LookupErr("_id")
	if err != nil {
		return bson.RawValue{}
	}
	return id
}

// optionsEmpty reports whether nothing is set, in fields that this package does
// not know either.
func optionsEmpty[T any](o *T) bool { return reflect.ValueOf(o).Elem().IsZero() }

// InsertedID is the _id as the driver's results give it: as a Go value.
func (e *Encoder) InsertedID(id bson.RawValue) any {
	var v any
	reg := e.Registry
	if reg != nil {
		if err := id.UnmarshalWithRegistry(reg, &v); err == nil {
			return v
		}
	}
	if err := id.Unmarshal(&v); err != nil {
		return id
	}
	return v
}
