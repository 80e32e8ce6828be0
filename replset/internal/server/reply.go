package server

import (
	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// labelRetryable tells a driver that it may send a retryable write again.
const (
	labelRetryable = "RetryableWriteError"
	labelNoWrites  = "NoWritesPerformed"
	labelTransient = "TransientTransactionError"
)

// retriable are the codes that the server labels as worth a second try.
func retriable(code int32) bool {
	switch code {
	case 6, 7, 89, codeShutdownInProgress, 134, codePrimarySteppedDown, 262, 9001,
		codeNotWritablePrimary, codeInterruptedAtShutdown, codeInterruptedReplStateChange,
		codeNotPrimaryNoSecondaryOk, codeNotPrimaryOrSecondary:
		return true
	}
	return false
}

// transient reports whether a transaction that failed with a code may be tried again as a whole.
func transient(code int32, end bool) bool {
	switch code {
	case 24, 112, 246, 251, 267: // LockTimeout, WriteConflict, SnapshotUnavailable, NoSuchTransaction, PreparedTransactionInProgress
		return true
	}
	return !end && retriable(code)
}

// stateChange are the codes whose replies carry the topology version, so that a
// driver can tell old news from new. Those of a shutdown do while the member waits for its clients to
// notice it, which it does not for a fail point's sake.
func stateChange(code int32, fail *failure) bool {
	switch code {
	case codePrimarySteppedDown, codeNotWritablePrimary,
		codeInterruptedReplStateChange, codeNotPrimaryNoSecondaryOk, codeNotPrimaryOrSecondary:
		return true
	case codeShutdownInProgress, codeInterruptedAtShutdown:
		return fail == nil
	}
	return false
}

func (c *conn) appendSuccess(r *request, fail *failure, st *repl.Status) {
	w := &c.out
	var code int32
	if doc := fail.concernError(r); doc != nil {
		w.raw("writeConcernError", doc)
		if v, ok := lookup(doc, "code"); ok {
			n, _ := integral(v)
			code = int32(n)
		}
	} else if r.writeError != nil {
		e := asError(r.writeError)
		code = e.Code
		appendWriteConcernError(w, e)
	}
	w.double("ok", 1)
	c.appendLabels(r, nil, code, fail)
	if stateChange(code, fail) {
		appendTopologyVersion(w, st)
	}
}

func appendWriteConcernError(w *builder, e *query.Error) {
	at := w.doc("writeConcernError")
	w.int32("code", e.Code)
	w.string("codeName", e.Name)
	w.string("errmsg", e.Message)
	w.fields(e.Extra)
	w.close(at)
}

func (c *conn) appendError(r *request, e *query.Error, fail *failure, st *repl.Status) {
	w := &c.out
	name := e.Name
	if name == "" {
		name = codeName(e.Code)
	}
	w.double("ok", 0)
	w.string("errmsg", e.Message)
	w.int32("code", e.Code)
	w.string("codeName", name)
	w.fields(e.Extra)
	if doc := fail.concernError(r); doc != nil {
		w.raw("writeConcernError", doc)
	} else if r.writeError != nil {
		appendWriteConcernError(w, asError(r.writeError))
	}
	c.appendLabels(r, e, e.Code, fail)
	if stateChange(e.Code, fail) && st.SetName != "" {
		appendTopologyVersion(w, st)
	}
}

// appendLabels adds errorLabels: those of the fail point that is at work, else
// what the server would say of a retryable write that failed with code.
func (c *conn) appendLabels(r *request, e *query.Error, code int32, fail *failure) {
	if code == 0 {
		return
	}
	var labels []string
	switch {
	case fail != nil && fail.labels != nil:
		labels = fail.labels
	case r.inTxn && r.cmd != nil && (fail != nil || r.cmd.endsTxn):
		if transient(code, r.cmd.endsTxn) && (e != nil || code != 251) { // Of that one a write concern error says that it was committed.
			labels = append(labels, labelTransient)
		}
		if r.cmd.endsTxn && retriable(code) {
			labels = append(labels, labelRetryable)
		}
	case r.hasTxn && r.cmd != nil && r.cmd.retryable && retriable(code):
		labels = append(labels, labelRetryable)
		if e != nil && !r.wrote && c.wroteBefore && c.s.version.wire >= wire60 {
			labels = append(labels, labelNoWrites)
		}
	}
	if e != nil {
		labels = append(labels[:len(labels):len(labels)], e.Labels...)
	}
	if len(labels) > 0 {
		c.out.strings("errorLabels", labels)
	}
}

func appendTopologyVersion(w *builder, st *repl.Status) {
	at := w.doc("topologyVersion")
	w.objectID("processId", st.ProcessID)
	w.int64("counter", st.TopologyCounter)
	w.close(at)
}

// appendTimes ends a set member's reply with the cluster time it knows and the
// operation time that this command leaves its client with.
func (c *conn) appendTimes(r *request, st *repl.Status) {
	// A member without data has no operation time, and tells no cluster time either.
	if st.Role == repl.Standalone || st.LastApplied == (repl.OpTime{}) {
		return
	}
	w := &c.out
	if ct := c.s.node.ClusterTime(); ct != (bson.Timestamp{}) {
		at := w.doc("$clusterTime")
		w.timestamp("clusterTime", ct)
		sig := w.doc("signature")
		// Zeros, as from a member without keys to sign with. Nobody here checks a
		// signature: those who may log in may also advance the clock.
		var zero [20]byte
		w.binary("hash", bson.TypeBinaryGeneric, zero[:])
		w.int64("keyId", 0)
		w.close(sig)
		w.close(at)
	}
	op := st.LastApplied.TS
	switch {
	case r.wrote && r.wroteUpTo.TS != (bson.Timestamp{}):
		op = r.wroteUpTo.TS
	case r.readLevel == repl.Majority:
		op = st.MajorityCommitted.TS
	}
	if op != (bson.Timestamp{}) {
		w.timestamp("operationTime", op)
	}
}
