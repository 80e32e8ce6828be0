package command

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// InsertedID is the _id as the driver's results give it: as a Go value.
func (e *Encoder) InsertedID(id bson.RawValue) any {
	d := newBody(len(id.Value) + 16)
	d.value("_id", id)
	dec := bson.NewDecoder(bson.NewDocumentReader(bytes.NewReader(d.end())))
	if e.Registry != nil {
		dec.SetRegistry(e.Registry)
	}
	// Of the options those that concern a value of no particular Go type.
	if o := e.BSON; o != nil {
		if o.BinaryAsSlice {
			dec.BinaryAsSlice()
		}
		if o.DefaultDocumentM {
			dec.DefaultDocumentM()
		}
		if o.DefaultDocumentMap {
			dec.DefaultDocumentMap()
		}
		if o.ObjectIDAsHexString {
			dec.ObjectIDAsHexString()
		}
		if o.UseLocalTimeZone {
			dec.UseLocalTimeZone()
		}
	}
	var doc struct {
		ID any `bson:"_id"`
	}
	if err := dec.Decode(&doc); err != nil {
		return id
	}
	return doc.ID
}
