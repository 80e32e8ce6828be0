package app

import (
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// DistinctResult is what Collection.Distinct returns, with the methods of
// mongo.DistinctResult, which only the driver can make.
type DistinctResult struct {
	values bson.RawArray
	err    error
	codec  *codec
}

// Err is the error of the operation.
func (r *DistinctResult) Err() error { return r.err }

// Raw returns the values as they came.
func (r *DistinctResult) Raw() (bson.RawArray, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.values, nil
}

// Decode decodes the values into v, a pointer to a slice. It returns the
// operation's error, if there was one.
func (r *DistinctResult) Decode(v any) error {
	if r.err != nil {
		return r.err
	}
	// A decoder reads documents: the array goes in as the field of one.
	const key = "arr"
	doc := make([]byte, 0, len(r.values)+len(key)+7)
	doc = binary.LittleEndian.AppendUint32(doc, uint32(cap(doc)))
	doc = append(doc, byte(bson.TypeArray))
	doc = append(doc, key...)
	doc = append(doc, 0)
	doc = append(doc, r.values...)
	doc = append(doc, 0)
	return r.codec.decode(doc, &struct {
		Arr any `bson:"arr" json:"arr"`
	}{v})
}
