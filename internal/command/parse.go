package command

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

// Parse reads a server's reply into rep, without copying: what rep then holds are
// parts of reply. It returns the cursor's number, 0 when there is none or it is at its
// end. An error means that the reply is not what the protocol says.
func (r *Read) Parse(reply bson.Raw, rep *messages.ReadReply) (cursorID int64, err error) {
	var main bson.RawValue
	var clusterTime []byte // the whole element
	want := r.Kind.field()
	w := walk(reply)
	for w.next() {
		if want != "" && string(w.key) == want {
			if !main.IsZero() {
				return 0, fmt.Errorf("evenkeel: malformed reply to %s: %s: %w", r.Name, want, errTwice)
			}
			main = w.raw()
			continue
		}
		switch string(w.key) {
		case "operationTime":
			if w.typ == bson.TypeTimestamp {
				rep.Token.OperationTime = bson.Timestamp{I: binary.LittleEndian.Uint32(w.value), T: binary.LittleEndian.Uint32(w.value[4:])}
			}
		case "$clusterTime":
			if w.typ == bson.TypeEmbeddedDocument {
				clusterTime = w.elem
			}
		}
	}
	if w.broken {
		return 0, fmt.Errorf("evenkeel: malformed reply to %s: it is no document", r.Name)
	}
	if rep.Token.OperationTime.IsZero() {
		rep.Token = messages.Token{} // A standalone has neither.
	} else if clusterTime != nil {
		rep.Token.ClusterTime = document(clusterTime)
	}
	switch r.Kind {
	case KindCommand:
		rep.Document = reply
		return 0, nil
	case KindDone:
		return 0, nil
	case KindCount:
		n, ok := main.AsInt64OK()
		if !ok {
			return 0, r.malformed("n")
		}
		rep.Count = n
		return 0, nil
	case KindDistinct:
		if main.Type != bson.TypeArray {
			return 0, r.malformed("values")
		}
		rep.Values = bson.RawArray(main.Value)
		return 0, nil
	}
	if main.Type != bson.TypeEmbeddedDocument {
		return 0, r.malformed("cursor")
	}
	return r.cursor(main.Value, rep)
}

// field is the field of the reply that holds what was asked for.
func (k Kind) field() string {
	switch k {
	case KindOne, KindBatch, KindAggCount:
		return "cursor"
	case KindCount:
		return "n"
	case KindDistinct:
		return "values"
	}
	return ""
}

// document wraps an element as a document. A session of the driver takes a cluster
// time only together with its name.
func document(elem []byte) bson.Raw {
	d := newBody(len(elem) + 5)
	d.b = append(d.b, elem...)
	return d.end()
}

// cursor reads the cursor document of a reply.
func (r *Read) cursor(cursor bson.Raw, rep *messages.ReadReply) (id int64, err error) {
	var batch []byte
	w := walk(cursor)
	for w.next() {
		switch string(w.key) {
		case "id":
			if w.typ != bson.TypeInt64 {
				return 0, r.malformed("cursor.id")
			}
			id = int64(binary.LittleEndian.Uint64(w.value))
		case "firstBatch", "nextBatch":
			if w.typ != bson.TypeArray {
				return 0, r.malformed("cursor.firstBatch")
			}
			if batch != nil {
				return 0, fmt.Errorf("evenkeel: malformed reply to %s: cursor.firstBatch: %w", r.Name, errTwice)
			}
			batch = w.value
		}
	}
	if w.broken || batch == nil {
		return 0, r.malformed("cursor")
	}
	n := 0
	for w = walk(batch); w.next(); n++ {
		if w.typ != bson.TypeEmbeddedDocument {
			return 0, r.malformed("cursor.firstBatch")
		}
		if n > 0 {
			continue
		}
		switch r.Kind {
		case KindOne:
			if !r.mayBe(w.value) {
				return 0, fmt.Errorf("evenkeel: malformed reply to %s: %w", r.Name, errOther)
			}
			rep.Document = w.value
		case KindAggCount:
			var ok bool
			if rep.Count, ok = find(w.value, "n").AsInt64OK(); !ok {
				return 0, r.malformed("n")
			}
		}
	}
	if w.broken {
		return 0, r.malformed("cursor.firstBatch")
	}
	switch {
	case r.Kind == KindOne && n > 1:
		return 0, fmt.Errorf("evenkeel: malformed reply to %s: %w", r.Name, errMany)
	case r.Kind == KindBatch:
		rep.Documents = make([]bson.Raw, 0, n)
		for w = walk(batch); w.next(); {
			rep.Documents = append(rep.Documents, w.value)
		}
		return id, nil
	case r.Kind == KindOne && n == 0:
		rep.Err = mongo.ErrNoDocuments
	}
	return 0, nil
}

var (
	errMalformed = errors.New("it is missing or of the wrong type")
	errOther     = errors.New("the document is not the one with that _id")
	errTwice     = errors.New("it is there twice")
	errMany      = errors.New("there is more than one document")
)

// mayBe reports whether a document may be the one that a Point read asks for. Where the
// server may take more values for equal than is known here (see Batch.Match), it may. So it may
// where the _id is an array, as only a view's can be: that matches by each of its elements.
func (r *Read) mayBe(doc bson.Raw) bool {
	if r.Class != Point || r.tail == 0 || !matchable(r.ID) || hasText(r.ID) {
		return true
	}
	id := find(doc, "_id")
	return !id.IsZero() && (id.Type == bson.TypeArray || !matchable(id) || keyOf(id) == keyOf(r.ID))
}

func (r *Read) malformed(field string) error {
	return fmt.Errorf("evenkeel: malformed reply to %s: %s: %w", r.Name, field, errMalformed)
}
