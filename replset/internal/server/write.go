package server

import (
	"context"
	"errors"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// operations counts what serverStatus calls opcounters: statements, not commands.
type operations struct{ insert, update, delete atomic.Int64 }

// batch is a write command's statements as they are executed.
type batch struct {
	c       *conn
	r       *request
	ordered bool

	n        int64
	modified int64
	upserted []upsert
	failed   []writeError
	retried  []int32
}

type upsert struct {
	index int
	id    bson.RawValue
}

// writeError is a statement's failure, which leaves the rest of the command
// standing.
type writeError struct {
	index int
	err   *query.Error
}

// fail notes a statement's failure. It returns the errors that end the whole
// command instead: those that say that this member, or this session, cannot write.
func (b *batch) fail(index int, err error) error {
	if fatal(err) {
		return err
	}
	b.failed = append(b.failed, writeError{index, asError(err)})
	return nil
}

// fatal says that an error is about more than one statement.
func fatal(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var e *query.Error
	if !errors.As(err, &e) {
		return true
	}
	return e.Code == codeTransactionTooOld || stateChange(e.Code)
}

// stop says that no further statement is to be executed.
func (b *batch) stop() bool { return b.ordered && len(b.failed) > 0 }

// write runs fn on the primary's state and notes how far the command has
// written.
func (b *batch) write(fn func(w repl.Writer) error) error {
	return b.c.write(b.r, fn)
}

func (c *conn) write(r *request, fn func(w repl.Writer) error) error {
	if r.db == "local" {
		return refuse(codeNotImplemented, "writes to the database local are not supported")
	}
	r.wrote = true
	op, err := c.s.node.Write(c.opCtx, fn)
	if err != nil {
		// Nothing of this unit was done; what came before it still was.
		r.wrote = r.wroteUpTo != (repl.OpTime{})
		return err
	}
	r.wroteUpTo = op
	c.wroteBefore = true
	return nil
}

// begin starts a statement of a retryable write. When it was executed before, done is its
// record.
func (b *batch) begin(w repl.Writer, stmt int32) (done *repl.RetryRecord, err error) {
	if !b.r.hasTxn {
		return nil, nil
	}
	done, err = w.BeginStatement(b.r.session, b.r.txnNumber, stmt)
	if done != nil {
		b.retried = append(b.retried, stmt)
	}
	return done, err
}

// remember notes a statement that has changed something, with its result.
func (b *batch) remember(w repl.Writer, stmt int32, result bson.Raw) error {
	if !b.r.hasTxn {
		return nil
	}
	return w.Remember(b.r.session, b.r.txnNumber, repl.RetryRecord{StmtID: stmt, Result: result})
}

// appendReply appends what all write commands answer; update says that it was
// one, which tells more.
func (b *batch) appendReply(update bool) {
	w := &b.c.out
	w.int32("n", int32(b.n))
	if len(b.failed) > 0 {
		at := w.array("writeErrors")
		for i, f := range b.failed {
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
		if len(b.upserted) > 0 {
			at := w.array("upserted")
			for i, u := range b.upserted {
				one := w.docAt(i)
				w.int32("index", int32(u.index))
				w.value("_id", u.id)
				w.close(one)
			}
			w.close(at)
		}
		w.int32("nModified", int32(b.modified))
	}
	st := b.c.s.node.Status()
	if st.Role != repl.Standalone {
		appendOpTime(w, "opTime", b.r.wroteUpTo)
		w.objectID("electionId", st.ElectionID)
		if len(b.retried) > 0 {
			at := w.array("retriedStmtIds")
			for i, id := range b.retried {
				w.int32At(i, id)
			}
			w.close(at)
		}
	}
}

// statements returns a write command's array, from its body or from a document
// sequence, and checks its size.
func (r *request) statements(fromBody []bson.Raw, given bool, name string) ([]bson.Raw, error) {
	for i := range r.msg.seqs {
		fromBody, given = r.msg.seqs[i].docs, true // dispatch has checked the name
	}
	if !given {
		return nil, errMissing(r.name, name)
	}
	if n := len(fromBody); n == 0 || n > maxBatch {
		return nil, errBatchSize(n)
	}
	return fromBody, nil
}
