package command

import (
	"bytes"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// MaxBatch is how many Point reads share a round trip at most.
	MaxBatch = 128
	// MaxBatchBytes bounds the _ids that one round trip asks for.
	MaxBatchBytes = 1 << 20
	// maxRest bounds what is compared for each read that waits. A longer comment goes alone.
	maxRest = 16 << 10
)

// Shape is what Point reads must have in common to share a round trip: all but the
// _id. Two with equal shapes are asked for with one command.
type Shape struct {
	Database, Collection string
	// Rest is what the command says after its filter and limit: projection and comment.
	Rest string
}

// Shape returns a Point read's shape. Ok is false for a read that must go alone.
func (r *Read) Shape() (s Shape, ok bool) {
	if r.Class != Point || r.tail == 0 || !matchable(r.ID) {
		return Shape{}, false
	}
	rest := r.Body[r.tail : len(r.Body)-1]
	if len(rest) > maxRest {
		return Shape{}, false
	}
	return Shape{Database: r.Database, Collection: r.Collection, Rest: string(rest)}, true
}

// Batch is one command for several Point reads of one shape.
type Batch struct {
	// Read is the command.
	Read  *Read
	reads []*Read
	// slot says for each read which of the distinct _ids it asks for.
	slot []int
	ids  map[idKey]int
}

// NewBatch makes the command for two or more reads whose shapes are equal. Reads of the
// same _id, as the server compares them, share its answer.
func NewBatch(reads []*Read) *Batch {
	b := &Batch{reads: reads, slot: make([]int, len(reads)), ids: make(map[idKey]int, len(reads))}
	first := reads[0]
	size := len(first.Collection) + len(first.Body) + 96
	for _, r := range reads {
		size += len(r.ID.Value) + 6
	}
	d := newBody(size)
	d.str("find", first.Collection)
	filter := d.open(bson.TypeEmbeddedDocument, "filter")
	id := d.open(bson.TypeEmbeddedDocument, "_id")
	in := d.open(bson.TypeArray, "$in")
	for i, r := range reads {
		key := keyOf(r.ID)
		n, again := b.ids[key]
		if !again {
			n = len(b.ids)
			b.ids[key] = n
			d.b = append(d.b, byte(r.ID.Type))
			d.b = append(strconv.AppendInt(d.b, int64(n), 10), 0)
			d.b = append(d.b, r.ID.Value...)
		}
		b.slot[i] = n
	}
	d.close(in)
	d.close(id)
	d.close(filter)
	// One more than there can be: a server that has found as many as it was asked for keeps
	// the cursor open, not knowing that it is at its end.
	d.int32("batchSize", int32(len(b.ids)+1))
	d.b = append(d.b, first.Body[first.tail:len(first.Body)-1]...)
	b.Read = &Read{
		Database: first.Database, Collection: first.Collection, Name: "find", Class: Point, Kind: KindBatch,
		Body: d.end(), TakesReadConcern: true,
	}
	return b
}

// Match finds each read's document among those of the reply, nil for none; each is a
// copy of its own. Strange says that the reply has a document which nobody is known to
// have asked for: the server takes more values for equal than is known here. The reads
// without a document have no answer then, and must be asked alone. Text says that a
// document was found by an _id with text in it: see HasText.
func (b *Batch) Match(docs []bson.Raw) (found []bson.Raw, strange, text bool) {
	bySlot := make([]bson.Raw, len(b.ids))
	for _, doc := range docs {
		id := find(doc, "_id")
		n, asked := b.slotOf(id)
		if !asked || bySlot[n] != nil {
			strange = true
			continue
		}
		bySlot[n] = doc
		text = text || hasText(id)
	}
	found = make([]bson.Raw, len(b.slot))
	for i, n := range b.slot {
		// A copy: one document that is kept must not keep the reply of all.
		found[i] = bytes.Clone(bySlot[n])
	}
	return found, strange, text
}

// slotOf returns the slot of an _id. The form of a string's key is written out for the
// compiler, which then looks it up without a copy.
func (b *Batch) slotOf(id bson.RawValue) (slot int, asked bool) {
	if id.Type == bson.TypeString {
		slot, asked = b.ids[idKey{kind: idBytes, a: uint64(bson.TypeString), string: string(id.Value)}]
		return slot, asked
	}
	slot, asked = b.ids[keyOf(id)]
	return slot, asked
}

// HasText reports whether there is text in the _id that a read asks for. The collation
// of its collection may take that for another text: "ann" and "ANN" are one _id then, and
// the document of the one, which is that of both, comes once and is known by one of
// them. Where Match has found a text, a read of a text without a document has no answer.
// Asked again without those that were found it gets none, or a strange one.
func (b *Batch) HasText(i int) bool { return hasText(b.reads[i].ID) }
