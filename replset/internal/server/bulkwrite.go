package server

import (
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var bulkWriteCommand = &command{
	name: "bulkWrite", run: runBulkWrite, sequences: []string{"ops", "nsInfo"}, since: wire80,
	admin: true, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true,
}

// bulkRequest is a bulkWrite as it was asked for.
type bulkRequest struct {
	ops        []bulkOp
	spaces     []bulkSpace
	errorsOnly bool
	batch      int64 // the size of the first batch of results
}

func runBulkWrite(c *conn, r *request) error {
	b := &batch{c: c, r: r, ordered: true}
	q, err := parseBulk(b)
	if err != nil {
		return err
	}
	r.retain = true // a replacement document may lie in the request
	c.tally.writes.Add(int64(len(q.ops)))
	results := &bulkReply{ops: q.ops, errorsOnly: q.errorsOnly}
	b.into = results
	if err := b.bulk(q, results); err != nil {
		return err
	}
	c.appendBulk(b, results, q.batch)
	return nil
}

// bulk executes the operations. Inserts into one collection that follow each other go
// together, as in an insert.
func (b *batch) bulk(q *bulkRequest, results *bulkReply) error {
	for i := 0; i < len(q.ops) && !b.stop(); {
		if results.full() {
			return b.fail(i, refuse(codeExceededMemoryLimit, "BulkWrite response size exceeded limit (%d bytes)", maxBulkResults))
		}
		op := &q.ops[i]
		space := &q.spaces[op.space]
		if op.kind == bulkInsert {
			// One that cannot be written to ends the command here, and only the operation below,
			// as in the server.
			if space.err != nil {
				return space.err
			}
			docs := insertsFrom(q.ops[i:])
			if err := b.insert(space.namespace, i, docs); err != nil {
				return err
			}
			i += len(docs)
			continue
		}
		if err := b.bulkChange(i, op, space); err != nil {
			return err
		}
		i++
	}
	return nil
}

// insertsFrom returns the documents of the inserts that ops begins with, as far as they are
// into one collection.
func insertsFrom(ops []bulkOp) (docs []bson.Raw) {
	for i := range ops {
		if ops[i].kind != bulkInsert || ops[i].space != ops[0].space {
			break
		}
		docs = append(docs, ops[i].document)
	}
	return docs
}

// bulkChange executes an update or a delete.
func (b *batch) bulkChange(i int, op *bulkOp, space *bulkSpace) error {
	switch {
	case b.r.hasTxn && op.multi():
		return b.fail(i, refuse(codeInvalidOptions, "Cannot use retryable writes with multi=true"))
	case space.err != nil:
		return b.fail(i, space.err)
	case op.kind == bulkDelete:
		return b.delete(space.namespace, i, op.delete)
	case op.update.multi && op.update.sort != nil:
		return b.fail(i, errSortedMulti)
	}
	return b.update(space.namespace, i, op.update)
}

// appendBulk answers with the results' first batch, and keeps a cursor for the others. A
// client that does not want to know gets the sums alone.
func (c *conn) appendBulk(b *batch, results *bulkReply, size int64) {
	w := &c.out
	res := resultsOf(results)
	if b.r.unacknowledged {
		res.docs = nil
	}
	told := len(res.docs) > 0
	at := w.doc("cursor")
	w.int64("id", 0)
	id := len(w.b) - 8
	if more, _ := res.appendBatch(w, "firstBatch", int(size)); more { // it fails only by a projection
		binary.LittleEndian.PutUint64(w.b[id:], uint64(c.openCursor(b.r, bulkCollection, res, false)))
	}
	w.string("ns", b.r.db+"."+bulkCollection)
	w.close(at)
	results.appendSums(w)
	if st := c.s.node.Status(); told && st.Role != repl.Standalone {
		w.objectID("electionId", st.ElectionID)
		appendOpTime(w, "opTime", b.r.wroteUpTo)
		b.appendRetried()
	}
}

// bulkCollection is what the server calls the collection that the cursor of a bulkWrite's
// results is of.
const bulkCollection = "$cmd.bulkWrite"

func resultsOf(a *bulkReply) results {
	res := results{docs: make([]bson.Raw, 0, len(a.ends))}
	from := 0
	for _, end := range a.ends {
		res.docs = append(res.docs, a.results.b[from:end:end])
		from = end
	}
	return res
}
