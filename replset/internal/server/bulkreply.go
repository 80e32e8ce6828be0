package server

import "github.com/evenkeel/evenkeel/replset/internal/query"

// maxBulkResults is how large the results of a bulkWrite get before it ends.
const maxBulkResults = 30 << 20

// bulkReply is the ledger of bulkWrite, which answers with a document for each operation,
// or for each that failed, and with sums.
type bulkReply struct {
	ops        []bulkOp
	errorsOnly bool

	results builder // all documents, one after the other
	ends    []int   // where each of them ends

	errors, inserted, matched, modified, upserted, deleted int64
}

func (a *bulkReply) full() bool { return len(a.results.b) >= maxBulkResults }

func (a *bulkReply) done(index int, o outcome) {
	kind := a.ops[index].kind
	switch {
	case kind == bulkInsert:
		a.inserted += o.n
	case kind == bulkDelete:
		a.deleted += o.n
	case o.upserted != nil:
		a.upserted++
	default:
		a.matched += o.n
		a.modified += o.modified
	}
	if a.errorsOnly {
		return
	}
	w := &a.results
	at := w.open()
	w.double("ok", 1)
	w.int32("idx", int32(index))
	w.int32("n", int32(o.n))
	if kind == bulkUpdate {
		w.int32("nModified", int32(o.modified))
	}
	if o.upserted != nil {
		in := w.doc("upserted")
		w.value("_id", *o.upserted)
		w.close(in)
	}
	w.close(at)
	a.ends = append(a.ends, len(w.b))
}

func (a *bulkReply) failed(index int, e *query.Error) {
	a.errors++
	w := &a.results
	at := w.open()
	w.double("ok", 0)
	w.int32("idx", int32(index))
	w.int32("code", e.Code)
	w.string("errmsg", e.Message)
	w.fields(e.Extra)
	w.int32("n", 0)
	if a.ops[index].kind == bulkUpdate {
		w.int32("nModified", 0)
	}
	w.close(at)
	a.ends = append(a.ends, len(w.b))
}

func (a *bulkReply) appendSums(w *builder) {
	w.int32("nErrors", int32(a.errors))
	w.int32("nInserted", int32(a.inserted))
	w.int32("nMatched", int32(a.matched))
	w.int32("nModified", int32(a.modified))
	w.int32("nUpserted", int32(a.upserted))
	w.int32("nDeleted", int32(a.deleted))
}
