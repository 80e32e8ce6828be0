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

// freezer encodes the values of one write's operation, and counts their bytes.
// The first error stays, and nothing is done after it.
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

// kept takes over what was encoded.
func (f *freezer) kept(raw bson.Raw, err error) bson.Raw {
	if err != nil {
		f.fail(err)
		return nil
	}
	f.w.Bytes += len(raw)
	return raw
}

func (f *freezer) doc(field string, v any) bson.Raw {
	if f.err != nil {
		return nil
	}
	return f.kept(f.document(field, v))
}

// filter encodes the filter of a write to one document, and notes whether it names
// that one.
func (f *freezer) filter(v any) bson.Raw {
	filter := f.doc("Filter", v)
	f.w.ID = exactID(filter)
	return filter
}

// collation is told of a write's collation: under one, {_id: "ann"} may be another
// player's name, too.
func (f *freezer) collation(c *options.Collation) {
	if c != nil {
		f.w.ID = bson.RawValue{}
	}
}

// opt encodes an option that is a document; nil stays nil.
func (f *freezer) opt(field string, v *any) {
	if *v != nil && f.err == nil {
		*v = f.kept(f.document(field, *v))
	}
}

func (f *freezer) sort(v *any) {
	if *v != nil && f.err == nil {
		*v = f.kept(f.ordered("Sort", *v))
	}
}

// optValue encodes an option that is any value.
func (f *freezer) optValue(field string, v *any) {
	if *v == nil || f.err != nil {
		return
	}
	raw, err := f.Value(field, *v)
	if err != nil {
		f.fail(err)
		return
	}
	f.w.Bytes += len(raw.Value)
	*v = raw
}

func (f *freezer) comment(v *any) { f.optValue("Comment", v) }

func (f *freezer) hint(v *any) {
	if unordered(*v) {
		f.fail(notOrdered("Hint"))
		return
	}
	f.optValue("Hint", v)
}

func (f *freezer) arrayFilters(v []any, to *[]any) {
	if v == nil {
		return
	}
	frozen := make([]any, len(v))
	for i := range v {
		frozen[i] = f.doc(fmt.Sprintf("ArrayFilters[%d]", i), v[i])
	}
	*to = frozen
}

func freezeOptions[T any](f *freezer, listers []options.Lister[T], each func(*T)) []options.Lister[T] {
	if len(listers) == 0 || f.err != nil {
		return nil
	}
	o, err := resolve(listers)
	if err != nil {
		f.fail(err)
		return nil
	}
	detach(&o)
	each(&o)
	return frozen(o)
}

// inserted encodes a document to insert and gives it an _id when it has none. Where the
// document is made, so is its _id: an insert whose outcome is unknown is found
// again by it.
func (f *freezer) inserted(field string, v any) bson.Raw {
	doc := f.doc(field, v)
	if f.err != nil {
		return nil
	}
	switch id := find(doc, "_id"); id.Type {
	case 0: // There is none.
		d := newBody(len(doc) + 17)
		d.objectID("_id", bson.NewObjectID())
		d.b = append(d.b, doc[4:len(doc)-1]...)
		f.w.Bytes += len(d.b) + 1 - len(doc)
		f.w.IDGenerated = true
		doc = d.end()
	case bson.TypeArray, bson.TypeRegex, bson.TypeUndefined:
		f.fail(invalid(field, fmt.Errorf("its _id is of type %v, which the server does not take", id.Type)))
	}
	f.small(field, doc)
	return doc
}

// small refuses a document that is too large to be stored.
func (f *freezer) small(field string, doc bson.Raw) {
	if len(doc) > maxDocument {
		f.fail(invalid(field, fmt.Errorf("it has %d bytes; the server takes %d", len(doc), maxDocument)))
	}
}

func (f *freezer) insertedMany(v any) []any {
	docs := reflect.ValueOf(v)
	if _, isDoc := v.(bson.D); isDoc || docs.Kind() != reflect.Slice || docs.Type().Elem().Kind() == reflect.Uint8 {
		f.fail(invalid("Documents", fmt.Errorf("%T: %w", v, mongo.ErrNotSlice)))
		return nil
	}
	if docs.Len() == 0 {
		f.fail(invalid("Documents", mongo.ErrEmptySlice))
		return nil
	}
	out := make([]any, docs.Len())
	generated := true
	for i := range out {
		f.w.IDGenerated = false
		out[i] = f.inserted(fmt.Sprintf("Documents[%d]", i), docs.Index(i).Interface())
		if f.err != nil {
			return nil
		}
		generated = generated && f.w.IDGenerated
	}
	f.w.IDGenerated = generated
	return out
}

// update encodes an update document, which must be of operators, or a pipeline of
// stages. What is which is decided as the driver does.
func (f *freezer) update(v any) any {
	if f.err != nil {
		return nil
	}
	switch t := v.(type) {
	case nil, bson.D, bson.Raw, []byte, bson.Marshaler:
		return f.operators("Update", f.doc("Update", v))
	case bson.RawArray:
		return f.updatePipeline(t)
	case bson.ValueMarshaler:
		typ, data, err := t.MarshalBSONValue()
		switch {
		case err != nil:
			f.fail(invalid("Update", mongo.MarshalError{Value: v, Err: err}))
			return nil
		case bson.Type(typ) == bson.TypeArray:
			return f.updatePipeline(bson.RawArray(data))
		case bson.Type(typ) == bson.TypeEmbeddedDocument:
			return f.operators("Update", f.doc("Update", data))
		}
		f.fail(invalid("Update", fmt.Errorf("%T encodes to %v, and is neither a document nor a pipeline", v, bson.Type(typ))))
		return nil
	}
	typ := reflect.TypeOf(v)
	if k := typ.Kind(); (k == reflect.Slice || k == reflect.Array) && typ.Elem().Kind() != reflect.Uint8 {
		return f.updatePipeline(v)
	}
	return f.operators("Update", f.doc("Update", v))
}

func (f *freezer) updatePipeline(v any) []bson.Raw {
	stages, err := f.pipeline("Update", v)
	if err != nil {
		f.fail(err)
		return nil
	}
	for i, s := range stages {
		f.w.Bytes += len(s)
		f.operators(fmt.Sprintf("Update[%d]", i), s)
	}
	return stages
}

// operators checks that a document does not replace another one.
func (f *freezer) operators(field string, doc bson.Raw) bson.Raw {
	if f.err != nil {
		return nil
	}
	first, ok := firstKey(doc)
	switch {
	case !ok:
		f.fail(invalid(field, errors.New("it is empty; it must have at least one operator such as $set")))
	case !strings.HasPrefix(first, "$"):
		f.fail(invalid(field, fmt.Errorf("its key %q is no operator; use {$set: …}, or ReplaceOne", first)))
	}
	return doc
}

func (f *freezer) replacement(v any) bson.Raw {
	doc := f.doc("Replacement", v)
	f.small("Replacement", doc)
	if first, ok := firstKey(doc); ok && strings.HasPrefix(first, "$") {
		f.fail(invalid("Replacement", fmt.Errorf("its key %q is an operator; use UpdateOne", first)))
	}
	return doc
}

// writeCommand encodes a Command, which must leave an outcome to tell.
func (f *freezer) writeCommand(op messages.Command) bson.Raw {
	doc, _, err := f.command(op)
	if err == nil {
		err = acknowledged(doc)
	}
	return f.kept(doc, err)
}
