package server

import (
	"bytes"
	"encoding/binary"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// insertsAtOnce is how many documents are inserted as one atomic unit; other
// writers come in between.
const insertsAtOnce = 500

func runInsert(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	b := batch{c: c, r: r, ordered: true}
	var docs []bson.Raw
	given := false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "documents":
			docs, given = p.documents(), p.given()
		case "ordered":
			b.ordered = p.strictFlag() || !p.given()
		case "bypassDocumentValidation":
			p.flag() // there are no validators
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if docs, err = r.statements(docs, given, "documents"); err != nil {
		return err
	}
	c.s.ops.insert.Add(int64(len(docs)))
	c.tally.writes.Add(int64(len(docs)))
	for at := 0; at < len(docs) && !b.stop(); at += insertsAtOnce {
		part := docs[at:min(at+insertsAtOnce, len(docs))]
		if err := b.write(func(w repl.Writer) error { return b.insert(w, coll, part, at) }); err != nil {
			return err
		}
	}
	b.appendReply(false)
	return nil
}

func (b *batch) insert(w repl.Writer, coll string, docs []bson.Raw, at int) error {
	for i, doc := range docs {
		index := at + i
		done, err := b.begin(w, int32(index))
		if err != nil {
			return err
		}
		if done != nil {
			b.n++
			continue
		}
		if doc, err = insertable(doc); err == nil {
			err = w.Insert(b.r.db, coll, doc)
		}
		if err != nil {
			if err := b.fail(index, err); err != nil {
				return err
			}
			if b.stop() {
				return nil
			}
			continue
		}
		if err := b.remember(w, int32(index), nothingMore); err != nil {
			return err
		}
		b.n++
	}
	return nil
}

// nothingMore is the record of a statement of which there is nothing to say but
// that it was executed.
var nothingMore = bson.Raw{5, 0, 0, 0, 0}

// insertable returns a copy of a document as the server stores it: with an _id,
// and that first.
func insertable(doc bson.Raw) (bson.Raw, error) {
	if len(doc) > maxDocument {
		return nil, refuse(codeBadValue, "object to insert too large. size in bytes: %d, max size: %d", len(doc), maxDocument)
	}
	if err := query.ValidateDocument(doc, true); err != nil {
		return nil, err
	}
	whole := query.WithID(doc)
	if &whole[0] == &doc[0] {
		whole = bytes.Clone(doc)
	}
	return stampTimes(whole), nil
}

// stampTimes sets the zero timestamps among a new document's own fields to the
// present, as the server does. It changes doc.
func stampTimes(doc []byte) bson.Raw {
	for s := scan(doc); ; {
		f, ok := s.next()
		if !ok {
			return doc
		}
		if f.value.Type == bson.TypeTimestamp && string(f.key) != "_id" && binary.LittleEndian.Uint64(f.value.Value) == 0 {
			// The value aliases the document.
			binary.LittleEndian.PutUint32(f.value.Value, 1)
			binary.LittleEndian.PutUint32(f.value.Value[4:], uint32(time.Now().Unix()))
		}
	}
}
