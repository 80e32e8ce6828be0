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
	v := &verbatim{tail: tail{w.typ, doc[start : len(doc)-1]}}
	key := "_id" // Most documents': it needs no copy.
	if string(w.key) != key {
		key = string(w.key)
	}
	v.doc[0] = bson.E{Key: key, Value: &v.tail}
	return v.doc[:]
}

// verbatim is what Verbatim returns and what that points to, in one piece of memory.
type verbatim struct {
	doc  [1]bson.E
	tail tail
}

type tail struct {
	typ   bson.Type
	bytes []byte
}

// MarshalBSONValue is called by the driver.
func (t *tail) MarshalBSONValue() (byte, []byte, error) { return byte(t.typ), t.bytes, nil }
