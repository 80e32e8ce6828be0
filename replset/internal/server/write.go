package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// operations counts what serverStatus calls opcounters: statements as they are executed,
// not commands.
type operations struct{ insert, update, delete atomic.Int64 }

// namespace is a collection that is written to.
type namespace struct {
	db, coll string
	uuid     []byte // the collection must be the one with this UUID, if any is given
}

// batch is a write command's statements as they are executed.
type batch struct {
	c       *conn
	r       *request
	ordered bool
	// keepTimes leaves zero timestamps as they are.
	keepTimes bool
	numbers   statementNumbers
	into      ledger

	failures int
	retried  []int32
}

// ledger takes down what has become of a batch's statements: of each at most once, in
// their order.
type ledger interface {
	done(index int, o outcome)
	failed(index int, e *query.Error)
}

// outcome is what a statement did: n documents inserted, matched or deleted.
type outcome struct {
	n, modified int64
	upserted    *bson.RawValue
}

// fail notes a statement's failure, which leaves the rest of the command standing. It
// returns the errors that end the whole command instead: those that say that this member,
// or this session, cannot write.
func (b *batch) fail(index int, err error) error {
	if fatal(err) {
		return err
	}
	b.failures++
	b.into.failed(index, asError(err))
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
	return e.Code == codeTransactionTooOld || stateChange(e.Code, nil)
}

// stop says that no further statement is to be executed.
func (b *batch) stop() bool { return b.ordered && b.failures > 0 }

// write runs fn on the primary's state and notes how far the command has
// written.
func (b *batch) write(fn func(w repl.Writer) error) error {
	return b.c.write(b.r, fn)
}

func (c *conn) write(r *request, fn func(w repl.Writer) error) error {
	if err := checkWritable(r.db); err != nil {
		return err
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

// checkWritable refuses the database that is each member's own.
func checkWritable(db string) error {
	if db == "local" {
		return refuse(codeNotImplemented, "writes to the database local are not supported")
	}
	return nil
}

// begin starts a statement of a retryable write. When it was executed before, done is its
// record.
func (b *batch) begin(w repl.Writer, index int) (done *repl.RetryRecord, err error) {
	if !b.r.hasTxn {
		return nil, nil
	}
	number := b.numbers.of(index)
	done, err = w.BeginStatement(b.r.session, b.r.txnNumber, number)
	if done != nil {
		b.retried = append(b.retried, number)
	}
	return done, err
}

// remember notes a statement that has changed something, with its result. It is the last of its unit.
func (b *batch) remember(w repl.Writer, index int, result bson.Raw) error {
	if err := b.record(w, index, result); err != nil {
		return err
	}
	return b.commit()
}

// record is remember for one statement of a unit with several.
func (b *batch) record(w repl.Writer, index int, result bson.Raw) error {
	if !b.r.hasTxn {
		return nil
	}
	return w.Remember(b.r.session, b.r.txnNumber, repl.RetryRecord{StmtID: b.numbers.of(index), Result: result})
}

// errUncommitted is wrapped by the error of a unit that a fail point has kept from being committed.
var errUncommitted = errors.New("server: not committed")

// commit is called when a unit with statements that were recorded is about to be committed. With an
// error it must not be.
func (b *batch) commit() error {
	if !b.r.hasTxn {
		return nil
	}
	fail := b.c.s.transactionalFail.fire(func(*failure) bool { return true })
	if fail == nil {
		return nil
	}
	if fail.closeConnection {
		b.c.hangUp() // The rest of the command is executed all the same.
	}
	if fail.hasCode {
		return fmt.Errorf("%w: %w", errUncommitted,
			refuse(fail.code, "Failing write for %s:%d due to failpoint. The write must not be reflected.", b.r.session, b.r.txnNumber))
	}
	return nil
}

// check refuses a collection that is another one than the client wrote to before.
func (ns *namespace) check(w repl.Writer) error {
	if ns.uuid == nil {
		return nil
	}
	if have := w.Collection(ns.db, ns.coll); have != nil && bytes.Equal(have.Info().UUID.Data, ns.uuid) {
		return nil
	}
	var actual any
	for _, info := range w.Collections(ns.db) {
		if bytes.Equal(info.UUID.Data, ns.uuid) {
			actual = info.Name
		}
	}
	e := refuse(codeCollectionUUIDMismatch, "Collection UUID does not match that specified")
	e.Extra = bson.D{
		{Key: "db", Value: ns.db}, {Key: "collectionUUID", Value: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: ns.uuid}},
		{Key: "expectedCollection", Value: ns.coll}, {Key: "actualCollection", Value: actual},
	}
	return e
}

// parseBatch reads what insert, update and delete have in common. name is that of the array
// that holds the statements.
func (c *conn) parseBatch(r *request, name string) (b *batch, reply *batchReply, ns namespace, statements []bson.Raw, err error) {
	reply = &batchReply{}
	b = &batch{c: c, r: r, ordered: true, into: reply}
	ns.db = r.db
	if ns.coll, err = r.collection(); err != nil {
		return nil, nil, ns, nil, err
	}
	given := false
	p := r.fields()
	for p.next() {
		switch key := string(p.f.key); {
		case key == name:
			statements, given = p.documents(), p.given()
		case b.option(&p):
		case key == "let" && name != "documents":
			p.refuseVariables(b.c.s.version.wire, errUnknownField(r.name, "let"))
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return nil, nil, ns, nil, p.err
	}
	if docs, ok := r.sequence(name); ok {
		statements, given = docs, true
	}
	if !given {
		return nil, nil, ns, nil, errMissing(r.name, name)
	}
	if err := b.checkLength(len(statements)); err != nil {
		return nil, nil, ns, nil, err
	}
	return b, reply, ns, statements, checkWriteName(ns.db, ns.coll)
}

// option reads a field that every command with statements may have; it says whether the
// field is one.
func (b *batch) option(p *fieldReader) bool {
	switch string(p.f.key) {
	case "ordered":
		b.ordered = p.strictFlag() || !p.given()
	case "bypassDocumentValidation":
		p.flag() // there are no validators
	case "bypassEmptyTsReplacement":
		b.keepTimes = p.keepTimes(b.c.s.version.wire)
	case "stmtId":
		b.numbers.first, b.numbers.hasFirst = p.strictInt(), p.given()
	case "stmtIds":
		b.numbers.list = p.strictInts()
	default:
		return false
	}
	return true
}

// checkLength checks what hangs on how many statements there are.
func (b *batch) checkLength(n int) error {
	if n == 0 || n > maxBatch {
		return errBatchSize(n)
	}
	return b.numbers.check(b.r.name, n)
}

// statementNumbers are the numbers by which a session remembers a command's statements.
type statementNumbers struct {
	first    int32
	hasFirst bool
	list     []int32 // nil when they rise from the first one
}

func (s *statementNumbers) of(index int) int32 {
	if s.list != nil {
		return s.list[index]
	}
	return s.first + int32(index)
}

func (s *statementNumbers) check(command string, n int) error {
	switch {
	case s.hasFirst && s.list != nil:
		return refuse(codeInvalidOptions, "May not specify both stmtId and stmtIds in %s command", command)
	case s.list != nil && len(s.list) != n:
		return refuse(codeInvalidLength, "Number of statement ids must match the number of batch entries. Got %d statement ids but %d operations.", len(s.list), n)
	}
	return nil
}
