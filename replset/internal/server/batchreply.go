package server

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// batchReply is the ledger of insert, update and delete: they answer with sums, and name
// only the statements that failed or upserted.
type batchReply struct {
	n, modified int64
	upserts     []upsert
	errors      []writeError
}

type upsert struct {
	index int
	id    bson.RawValue
}

type writeError struct {
	index int
	err   *query.Error
}

func (a *batchReply) done(index int, o outcome) {
	a.n += o.n
	a.modified += o.modified
	if o.upserted != nil {
		a.upserts = append(a.upserts, upsert{index, *o.upserted})
	}
}

func (a *batchReply) failed(index int, e *query.Error) {
	a.errors = append(a.errors, writeError{index, e})
}

// append appends the reply's fields; update says that it was one, which tells more.
func (a *batchReply) append(b *batch, update bool) {
	w := &b.c.out
	w.int32("n", int32(a.n))
	if len(a.errors) > 0 {
		at := w.array("writeErrors")
		for i, f := range a.errors {
			one := w.docAt(i)
			w.int32("index", int32(f.index))
			w.int32("code", f.err.Code)
			w.fields(f.err.Extra)
			w.string("errmsg", f.err.Message)
			w.close(one)
		}
		w.close(at)
	}
	if update {
		if len(a.upserts) > 0 {
			at := w.array("upserted")
			for i, u := range a.upserts {
				one := w.docAt(i)
				w.int32("index", int32(u.index))
				w.value("_id", u.id)
				w.close(one)
			}
			w.close(at)
		}
		w.int32("nModified", int32(a.modified))
	}
	if st := b.c.s.node.Status(); st.Role != repl.Standalone {
		appendOpTime(w, "opTime", b.r.wroteUpTo)
		w.objectID("electionId", st.ElectionID)
		b.appendRetried()
	}
}

// appendRetried names the statements that had been executed before.
func (b *batch) appendRetried() {
	if len(b.retried) == 0 {
		return
	}
	w := &b.c.out
	at := w.array("retriedStmtIds")
	for i, id := range b.retried {
		w.int32At(i, id)
	}
	w.close(at)
}
