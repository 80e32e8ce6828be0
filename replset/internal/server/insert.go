package server

import (
	"bytes"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// insertsAtOnce is how many documents are inserted as one atomic unit; other
// writers come in between.
const insertsAtOnce = 500

func runInsert(c *conn, r *request) error {
	b, reply, ns, docs, err := c.parseBatch(r, "documents")
	if err != nil {
		return err
	}
	c.tally.writes.Add(int64(len(docs)))
	if err := b.insert(ns, 0, docs); err != nil {
		return err
	}
	reply.append(b, false)
	return nil
}

// insert executes statements that insert a document each; the first one's index is from.
func (b *batch) insert(ns namespace, from int, docs []bson.Raw) error {
	for at := 0; at < len(docs) && !b.stop(); at += insertsAtOnce {
		part := docs[at:min(at+insertsAtOnce, len(docs))]
		err := b.insertUnit(ns, from+at, part)
		if errors.Is(err, errUncommitted) {
			err = b.insertSingly(ns, from+at, part, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// insertSingly tries one by one, as the server does, what could not be committed together. One that was alone has been
// tried by itself.
func (b *batch) insertSingly(ns namespace, from int, docs []bson.Raw, err error) error {
	if len(docs) == 1 {
		return b.fail(from, err)
	}
	for i := range docs {
		if b.stop() {
			break
		}
		err := b.insertUnit(ns, from+i, docs[i:i+1])
		if errors.Is(err, errUncommitted) {
			err = b.fail(from+i, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) insertUnit(ns namespace, from int, docs []bson.Raw) error {
	if !b.r.hasTxn || !b.c.s.transactionalFail.active.Load() {
		return b.write(func(w repl.Writer) error { return b.insertAll(w, ns, from, docs) })
	}
	// It may not be committed, and must not be told of before it is.
	into, failures, retried := b.into, b.failures, len(b.retried)
	var told heldLedger
	b.into = &told
	err := b.write(func(w repl.Writer) error {
		err := b.insertAll(w, ns, from, docs)
		if err == nil && told.inserted > len(b.retried)-retried {
			err = b.commit()
		}
		return err
	})
	b.into = into
	if err != nil {
		b.failures, b.retried = failures, b.retried[:retried]
		return err
	}
	for _, tell := range told.tell {
		tell(into)
	}
	return nil
}

// heldLedger holds what it is told for another one.
type heldLedger struct {
	tell     []func(ledger)
	inserted int
}

func (h *heldLedger) done(index int, o outcome) {
	h.inserted++
	h.tell = append(h.tell, func(l ledger) { l.done(index, o) })
}

func (h *heldLedger) failed(index int, e *query.Error) {
	h.tell = append(h.tell, func(l ledger) { l.failed(index, e) })
}

func (b *batch) insertAll(w repl.Writer, ns namespace, from int, docs []bson.Raw) error {
	for i, doc := range docs {
		index := from + i
		done, err := b.begin(w, index)
		if err != nil {
			return err
		}
		if done == nil {
			b.c.s.ops.insert.Add(1)
			if doc, err = insertable(doc, b.c.s.version.wire, b.keepTimes); err == nil {
				err = ns.check(w)
			}
			if err == nil {
				err = w.Insert(ns.db, ns.coll, doc)
			}
			if err == nil {
				err = b.record(w, index, nothingMore)
			}
		}
		if err == nil {
			b.into.done(index, outcome{n: 1})
			continue
		}
		if err := b.fail(index, err); err != nil {
			return err
		}
		if b.stop() {
			return nil
		}
	}
	return nil
}

// nothingMore is the record of a statement of which there is nothing to say but
// that it was executed.
var nothingMore = bson.Raw{5, 0, 0, 0, 0}

// insertable returns a copy of a document as the server stores it: with an _id,
// and that first.
func insertable(doc bson.Raw, version wireVersion, keepTimes bool) (bson.Raw, error) {
	if len(doc) > maxDocument {
		return nil, refuse(codeBadValue, "object to insert too large. size in bytes: %d, max size: %d", len(doc), maxDocument)
	}
	if err := query.ValidateDocument(doc, true); err != nil {
		return nil, err
	}
	if version < wire50 {
		if err := noDollars(doc); err != nil {
			return nil, err
		}
	}
	whole := query.WithID(doc)
	if &whole[0] == &doc[0] {
		whole = bytes.Clone(doc)
	}
	if !keepTimes {
		query.StampTimes(whole, time.Now())
	}
	return whole, nil
}

// noDollars refuses a document's own names that begin with a dollar sign; those of documents
// inside it could be inserted also before 5.0.
func noDollars(doc bson.Raw) error {
	for s := scan(doc); ; {
		f, ok := s.next()
		if !ok {
			return nil
		}
		if len(f.key) > 0 && f.key[0] == '$' {
			return refuse(codeBadValue, "Document can't have $ prefixed field names: %s", f.key)
		}
	}
}
