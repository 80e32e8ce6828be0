package app

import (
	"bytes"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
)

// codec turns documents into the game's values as a client of the driver's with
// the same registry and BSON options does.
type codec struct {
	registry *bson.Registry       // nil for the driver's default
	options  *options.BSONOptions // nil for none
	// whole is the registry that a mongo.SingleResult decodes with.
	whole *bson.Registry
}

// newCodec makes a codec. The driver's public way to make a SingleResult takes a
// registry and no BSON options. Where there are some that matter to decoding, the
// SingleResult is given a registry that sends the document as a whole, whatever it is
// decoded into, through a decoder which has them.
func newCodec(registry *bson.Registry, opts *options.BSONOptions) *codec {
	c := &codec{registry: registry, options: opts, whole: registry}
	if opts == nil || len(decoding(opts)) == 0 {
		return c
	}
	c.whole = bson.NewRegistry()
	all := bson.ValueDecoderFunc(c.decodeWhole)
	for kind := reflect.Bool; kind <= reflect.UnsafePointer; kind++ {
		c.whole.RegisterKindDecoder(kind, all)
	}
	// These have decoders of their own, which come before those of their kinds.
	c.whole.RegisterTypeDecoder(reflect.TypeFor[any](), all)
	c.whole.RegisterTypeDecoder(reflect.TypeFor[bson.D](), all)
	return c
}

// decoding are the setters of a decoder for the options that are on.
func decoding(o *options.BSONOptions) (set []func(*bson.Decoder)) {
	for _, f := range []struct {
		on  bool
		set func(*bson.Decoder)
	}{
		{o.AllowTruncatingDoubles, (*bson.Decoder).AllowTruncatingDoubles},
		{o.BinaryAsSlice, (*bson.Decoder).BinaryAsSlice},
		{o.DefaultDocumentM, (*bson.Decoder).DefaultDocumentM},
		{o.DefaultDocumentMap, (*bson.Decoder).DefaultDocumentMap},
		{o.ObjectIDAsHexString, (*bson.Decoder).ObjectIDAsHexString},
		{o.UseJSONStructTags, (*bson.Decoder).UseJSONStructTags},
		{o.UseLocalTimeZone, (*bson.Decoder).UseLocalTimeZone},
		{o.ZeroMaps, (*bson.Decoder).ZeroMaps},
		{o.ZeroStructs, (*bson.Decoder).ZeroStructs},
	} {
		if f.on {
			set = append(set, f.set)
		}
	}
	return set
}

// decode decodes a document into v.
func (c *codec) decode(doc bson.Raw, v any) error {
	dec := bson.NewDecoder(bson.NewDocumentReader(bytes.NewReader(doc)))
	if c != nil {
		if c.options != nil {
			for _, set := range decoding(c.options) {
				set(dec)
			}
		}
		if c.registry != nil {
			dec.SetRegistry(c.registry)
		}
	}
	return dec.Decode(v)
}

var rawDecoder = func() bson.ValueDecoder {
	dec, err := bson.NewRegistry().LookupDecoder(reflect.TypeFor[bson.Raw]())
	if err != nil {
		panic(err) // The driver has no decoder for its own type.
	}
	return dec
}()

func (c *codec) decodeWhole(dc bson.DecodeContext, vr bson.ValueReader, v reflect.Value) error {
	var doc bson.Raw
	if err := rawDecoder.DecodeValue(dc, vr, reflect.ValueOf(&doc).Elem()); err != nil {
		return err
	}
	if v.CanAddr() {
		v = v.Addr()
	}
	return c.decode(doc, v.Interface())
}

// single makes the driver's result of a document, or of an error.
func (c *codec) single(doc bson.Raw, err error) *mongo.SingleResult {
	if doc == nil {
		doc = emptyDocument
	}
	if c.registry == nil {
		return mongo.NewSingleResultFromDocument(command.Verbatim(doc), err, c.whole)
	}
	return mongo.NewSingleResultFromDocument(doc, err, c.whole)
}

var emptyDocument = bson.Raw{5, 0, 0, 0, 0}

// freeze encodes a value, so that it stays as it is whatever the caller does.
func (c *codec) freeze(v any) (any, error) {
	switch v.(type) {
	case nil, string:
		return v, nil
	}
	var buf bytes.Buffer
	enc := bson.NewEncoder(bson.NewDocumentWriter(&buf))
	if c.registry != nil {
		enc.SetRegistry(c.registry)
	}
	if err := enc.Encode(bson.D{{Key: "v", Value: v}}); err != nil {
		return nil, mongo.MarshalError{Value: v, Err: err}
	}
	return bson.Raw(buf.Bytes()).Lookup("v"), nil
}
