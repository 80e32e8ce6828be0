package command

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// Encoder encodes messages as the driver would with the same registry and BSON
// options. The zero value uses the driver's defaults. It is safe for concurrent use.
type Encoder struct {
	Registry *bson.Registry
	BSON     *options.BSONOptions
}

// document encodes a value that must be a document. Nil is mongo.ErrNilDocument.
func (e *Encoder) document(field string, v any) (bson.Raw, error) {
	raw, err := e.marshal(v)
	if err != nil {
		return nil, invalid(field, err)
	}
	return raw, nil
}

// ordered is document for values whose order matters.
func (e *Encoder) ordered(field string, v any) (bson.Raw, error) {
	if unordered(v) {
		return nil, notOrdered(field)
	}
	return e.document(field, v)
}

// unordered reports whether v is a map of several keys, which come in another order
// each time.
func unordered(v any) bool {
	if v == nil {
		return false
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Map && r.Len() > 1
}

func notOrdered(field string) error {
	return invalid(field, mongo.ErrMapForOrderedArgument{ParamName: strings.ToLower(field)})
}

// marshal always copies: what the caller holds may change at once.
func (e *Encoder) marshal(v any) (bson.Raw, error) {
	var raw []byte
	switch t := v.(type) {
	case nil:
		return nil, mongo.ErrNilDocument
	case bson.Raw:
		raw = t
	case []byte:
		raw = t
	default:
		raw, err := e.encode(v)
		if err != nil {
			return nil, mongo.MarshalError{Value: v, Err: err}
		}
		// What is inside may have been raw, or made by a method of the caller's.
		return raw, valid(raw)
	}
	if len(raw) == 0 {
		return nil, mongo.ErrNilDocument
	}
	if n := documentSize(raw); n > 0 {
		raw = raw[:n]
	}
	// Copied first: it may change while it is looked through.
	raw = bytes.Clone(raw)
	return raw, valid(raw)
}

func (e *Encoder) encode(v any) ([]byte, error) {
	if e.Registry == nil && e.BSON == nil {
		return bson.Marshal(v) // The same, with the driver's own pool of encoders.
	}
	var buf bytes.Buffer
	enc := bson.NewEncoder(bson.NewDocumentWriter(&buf))
	e.configure(enc)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (e *Encoder) configure(enc *bson.Encoder) {
	if e.Registry != nil {
		enc.SetRegistry(e.Registry)
	}
	o := e.BSON
	if o == nil {
		return
	}
	if o.ErrorOnInlineDuplicates {
		enc.ErrorOnInlineDuplicates()
	}
	if o.IntMinSize {
		enc.IntMinSize()
	}
	if o.NilByteSliceAsEmpty {
		enc.NilByteSliceAsEmpty()
	}
	if o.NilMapAsEmpty {
		enc.NilMapAsEmpty()
	}
	if o.NilSliceAsEmpty {
		enc.NilSliceAsEmpty()
	}
	if o.OmitZeroStruct {
		enc.OmitZeroStruct()
	}
	if o.OmitEmpty {
		enc.OmitEmpty()
	}
	if o.StringifyMapKeysWithFmt {
		enc.StringifyMapKeysWithFmt()
	}
	if o.UseJSONStructTags {
		enc.UseJSONStructTags()
	}
}

// Value encodes any value, such as a comment or a hint.
func (e *Encoder) Value(field string, v any) (bson.RawValue, error) {
	doc, err := e.marshal(bson.D{{Key: "v", Value: v}})
	if err != nil {
		return bson.RawValue{}, invalid(field, err)
	}
	value := find(doc, "v")
	if value.IsZero() {
		return value, invalid(field, fmt.Errorf("%T encodes to nothing", v))
	}
	return value, nil
}

// pipeline encodes an aggregation pipeline of any type that the driver takes.
func (e *Encoder) pipeline(field string, p any) (stages []bson.Raw, err error) {
	switch t := p.(type) {
	case nil:
		return nil, invalid(field, errors.New("it is nil; use an empty mongo.Pipeline to match all"))
	case bson.RawArray:
		return e.stages(field, t)
	case bson.ValueMarshaler:
		typ, data, err := t.MarshalBSONValue()
		if err != nil {
			return nil, invalid(field, err)
		}
		if bson.Type(typ) != bson.TypeArray {
			return nil, invalid(field, fmt.Errorf("%T encodes to %v, not to an array", t, bson.Type(typ)))
		}
		return e.stages(field, data)
	}
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return nil, invalid(field, fmt.Errorf("%T is no slice of stages; use mongo.Pipeline or bson.A", p))
	}
	if _, isDoc := p.(bson.D); isDoc || v.Type().Elem().Kind() == reflect.Uint8 {
		if v.Len() > 0 {
			return nil, invalid(field, fmt.Errorf("%T is no pipeline; use mongo.Pipeline, bson.A or bson.RawArray", p))
		}
		return nil, nil
	}
	for i := range v.Len() {
		stage, err := e.marshal(v.Index(i).Interface())
		if err != nil {
			return nil, invalid(fmt.Sprintf("%s[%d]", field, i), err)
		}
		stages = append(stages, stage)
	}
	return stages, nil
}

// stages reads a pipeline that is encoded already.
func (e *Encoder) stages(field string, array []byte) (stages []bson.Raw, err error) {
	if len(array) == 0 {
		return nil, nil
	}
	raw, err := e.document(field, array)
	if err != nil {
		return nil, err
	}
	for w := walk(raw); w.next(); {
		if w.typ != bson.TypeEmbeddedDocument {
			return nil, invalid(fmt.Sprintf("%s[%d]", field, len(stages)), fmt.Errorf("it is a %v, and stages are documents", w.typ))
		}
		stages = append(stages, w.value)
	}
	return stages, nil
}

func invalid(field string, err error) error {
	var already *messages.InvalidError
	if errors.As(err, &already) {
		return err
	}
	return &messages.InvalidError{Field: field, Err: err}
}

// external is the one database with a $ in its name: users that other systems know
// are kept there.
const external = "$external"

// namespace checks what a command goes to. Names that only some servers refuse are
// left to the server.
func namespace(db, coll string, needsCollection bool) error {
	switch {
	case db == "":
		return invalid("Database", errors.New("it is empty"))
	case db != external && strings.ContainsAny(db, "/\\. \"$\x00"):
		return invalid("Database", fmt.Errorf("%q has a character that names of databases must not have", db))
	case needsCollection && coll == "":
		return invalid("Collection", errors.New("it is empty"))
	case strings.Contains(coll, "\x00"):
		return invalid("Collection", errors.New("it has a null byte"))
	case strings.HasPrefix(coll, "."):
		return invalid("Collection", fmt.Errorf("%q starts with a dot", coll))
	}
	return nil
}
