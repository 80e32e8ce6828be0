package command

import "go.mongodb.org/mongo-driver/v2/bson"

// Verbatim is a document that the driver's encoders copy as it is. They take a bson.Raw
// apart and append it element by element, with several allocations for each; of
// what this returns they append the first element's name, and then all that follows it in
// one piece, taking that for the value. What they have then written is the document, byte
// for byte.
//
// It depends on the driver copying what a bson.ValueMarshaler returns without a look; a test
// holds it to that. The document must not be changed while the result is in use.
func Verbatim(doc bson.Raw) bson.D {
	if n := documentSize(doc); n > 0 {
		doc = doc[:n]
	}
	w := walk(doc)
	if !w.next() {
		return bson.D{}
	}
	start := len(doc) - len(w.rest) - len(w.value)
	d := &verbatim{tail: tail{w.typ, doc[start : len(doc)-1]}}
	if d.d[0].Key = "_id"; string(w.key) != "_id" {
		d.d[0].Key = string(w.key)
	}
	d.d[0].Value = &d.tail
	return d.d[:]
}

// verbatim is a document and what is in it, in one piece of memory.
type verbatim struct {
	d    [1]bson.E
	tail tail
}

type tail struct {
	typ   bson.Type
	bytes []byte
}

// MarshalBSONValue is called by the driver.
func (t *tail) MarshalBSONValue() (byte, []byte, error) { return byte(t.typ), t.bytes, nil }
