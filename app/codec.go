package app

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
)

// codec turns documents into the game's values as a client of the driver's with
// the same registry and BSON options does.
type codec struct {
	registry *bson.Registry       // nil for the driver's default
	options  *options.BSONOptions // nil for none
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

// freeze encodes a value, so that it stays as it is whatever the caller does.
func (c *codec) freeze(v any) (any, error) {
	switch v.(type) {
	case nil, string:
		return v, nil
	}
	enc := command.Encoder{Registry: c.registry, BSON: c.options}
	return enc.Value("Comment", v)
}
