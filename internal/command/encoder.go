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

// maxDocument is the server's limit of a document that is stored.
const maxDocument = 16 << 20

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

// ordered is document for values whose order matters: a map of several keys has
// none.
func (e *Encoder) ordered(field string, v any) (bson.Raw, error) {
	if unordered(v) {
		return nil, invalid(field, mongo.ErrMapForOrderedArgument{ParamName: strings.ToLower(field)})
	}
	return e.document(field, v)
}

// marshal always copies: what the caller holds may change at once.
func (e *Encoder) marshal(v any) (bson.Raw, error) {
	switch t := v.(type) {
	case nil:
		return nil, mongo.ErrNilDocument
	case bson.Raw:
		return checked(t)
	case []byte:
		return checked(t)
	}
	var buf bytes.Buffer
	enc := bson.NewEncoder(bson.NewDocumentWriter(&buf))
	e.configure(enc)
	if err := enc.Encode(v); err != nil {
		return nil, mongo.MarshalError{Value: v, Err: err}
	}
	return buf.Bytes(), nil
}

// checked copies raw BSON after a look whether it is a document at all: broken
// bytes would be refused by the server, or cut the connection that others use too.
func checked(raw bson.Raw) (bson.Raw, error) {
	if len(raw) == 0 {
		return nil, mongo.ErrNilDocument
	}
	if err := raw.Validate(); err != nil {
		return nil, err
	}
	n, _, _ := readLength(raw)
	return bytes.Clone(raw[:n]), nil
}

func (e *Encoder) configure(enc *bson.Encoder) {
	if o := e.BSON; o != nil {
		for _, f := range []struct {
			on  bool
			set func()
		}{
			{o.ErrorOnInlineDuplicates, enc.ErrorOnInlineDuplicates},
			{o.IntMinSize, enc.IntMinSize},
			{o.NilByteSliceAsEmpty, enc.NilByteSliceAsEmpty},
			{o.NilMapAsEmpty, enc.NilMapAsEmpty},
			{o.NilSliceAsEmpty, enc.NilSliceAsEmpty},
			{o.OmitZeroStruct, enc.OmitZeroStruct},
			{o.OmitEmpty, enc.OmitEmpty},
			{o.StringifyMapKeysWithFmt, enc.StringifyMapKeysWithFmt},
			{o.UseJSONStructTags, enc.UseJSONStructTags},
		} {
			if f.on {
				f.set()
			}
		}
	}
	if e.Registry != nil {
		enc.SetRegistry(e.Registry)
	}
}

// value encodes any value, such as a comment or a hint.
func (e *Encoder) value(field string, v any) (bson.RawValue, error) {
	doc, err := e.marshal(bson.D{{Key: "v", Value: v}})
	if err != nil {
		return bson.RawValue{}, invalid(field, err)
	}
	return doc.Lookup("v"), nil
}

// pipeline encodes an aggregation pipeline of any type that the driver takes.
func (e *Encoder) pipeline(field string, p any) (stages []bson.Raw, err error) {
	switch t := p.(type) {
	case nil:
		return nil, invalid(field, errors.New("it is nil; use an empty mongo.Pipeline to match all"))
	case bson.D, bson.Raw, []byte:
		if reflect.ValueOf(t).Len() > 0 {
			return nil, invalid(field, fmt.Errorf("%T is one document; use mongo.Pipeline or bson.A", t))
		}
		return nil, nil
	case bson.RawArray:
		values, err := t.Values()
		if err != nil {
			return nil, invalid(field, err)
		}
		for i, v := range values {
			doc, ok := v.DocumentOK()
			if !ok {
				return nil, invalid(field, fmt.Errorf("stage %d is no document", i))
			}
			if doc, err = checked(doc); err != nil {
				return nil, invalid(field, err)
			}
			stages = append(stages, doc)
		}
		return stages, nil
	case bson.ValueMarshaler:
		typ, data, err := t.MarshalBSONValue()
		if err != nil {
			return nil, invalid(field, err)
		}
		if bson.Type(typ) != bson.TypeArray {
			return nil, invalid(field, fmt.Errorf("%T encodes to %v, not to an array", t, bson.Type(typ)))
		}
		return e.pipeline(field, bson.RawArray(data))
	}
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return nil, invalid(field, fmt.Errorf("%T is no slice of stages; use mongo.Pipeline or bson.A", p))
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

// resolve applies all setters of all listers, the later over the earlier.
func resolve[T any](listers []options.Lister[T]) (*T, error) {
	o := new(T)
	for _, l := range listers {
		if l == nil || reflect.ValueOf(l).Kind() == reflect.Pointer && reflect.ValueOf(l).IsNil() {
			continue
		}
		for _, set := range l.List() {
			if set == nil {
				continue
			}
			if err := set(o); err != nil {
				return nil, invalid("Options", err)
			}
		}
	}
	return o, nil
}

// resolved is a lister that sets everything at once. Only its pointer is one: the
// driver asks each lister whether it is nil.
type resolved[T any] struct{ to *T }

// List implements options.Lister.
func (r *resolved[T]) List() []func(*T) error {
	return []func(*T) error{func(o *T) error { *o = *r.to; return nil }}
}

func frozen[T any](o *T) []options.Lister[T] { return []options.Lister[T]{&resolved[T]{o}} }

// unordered reports whether v is a map of several keys.
func unordered(v any) bool {
	if v == nil {
		return false
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Map && r.Len() > 1
}

func invalid(field string, err error) error {
	var already *messages.InvalidError
	if errors.As(err, &already) {
		return err
	}
	return &messages.InvalidError{Field: field, Err: err}
}

// namespace checks what a command goes to.
func namespace(db, coll string, needsCollection bool) error {
	switch {
	case db == "":
		return invalid("Database", errors.New("it is empty"))
	case strings.ContainsAny(db, "/\\. \"$\x00"):
		return invalid("Database", fmt.Errorf("%q has a character that names of databases must not have", db))
	case needsCollection && coll == "":
		return invalid("Collection", errors.New("it is empty"))
	case strings.Contains(coll, "\x00"):
		return invalid("Collection", errors.New("it has a null byte"))
	case strings.HasPrefix(coll, ".") || strings.HasSuffix(coll, "."):
		return invalid("Collection", fmt.Errorf("%q starts or ends with a dot", coll))
	}
	return nil
}
