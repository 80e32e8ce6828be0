package server

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var writeCommands = []*command{
	{name: "insert", run: runInsert, sequences: []string{"documents"}, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "update", run: runUpdate, sequences: []string{"updates"}, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "delete", run: runDelete, sequences: []string{"deletes"}, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "findAndModify", aliases: []string{"findandmodify"}, run: findAndModify, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	bulkWriteCommand,
}

// updateStatement is one statement of an update.
type updateStatement struct {
	filter       bson.Raw
	update       bson.RawValue
	multi        bool
	upsert       bool
	supplied     bool     // upsert the document in constants
	constants    bson.Raw // for a pipeline
	sort         bson.Raw
	arrayFilters []bson.Raw
	hint         *hint
}

func runUpdate(c *conn, r *request) error {
	b, reply, ns, statements, err := c.parseBatch(r, "updates")
	if err != nil {
		return err
	}
	parsed := make([]updateStatement, len(statements))
	for i, doc := range statements {
		if parsed[i], err = parseUpdate(doc, c.s.version.wire); err != nil {
			return err
		}
	}
	r.retain = true // a replacement document may lie in the request
	c.tally.writes.Add(int64(len(parsed)))
	for i := range parsed {
		if b.stop() {
			break
		}
		switch st := &parsed[i]; {
		case st.multi && st.sort != nil:
			return errSortedMulti // of the whole command, as in the server
		case r.hasTxn && st.multi:
			err = b.fail(i, refuse(codeInvalidOptions, "Cannot use (or request) retryable writes with multi=true"))
		default:
			err = b.update(ns, i, st)
		}
		if err != nil {
			return err
		}
	}
	// When it is done, the server reads the pipelines once more, for its counters. A stage that there is none of
	// fails the whole command then, with what its statements have done.
	for i := range parsed {
		if u := parsed[i].update; u.Type == bson.TypeArray {
			if err := query.CheckStageNames(u.Value, c.s.version.series); err != nil {
				return err
			}
		}
	}
	reply.append(b, true)
	return nil
}

var errSortedMulti = refuse(codeFailedToParse, "Cannot specify sort with multi=true")

func parseUpdate(doc bson.Raw, version wireVersion) (u updateStatement, err error) {
	p := read("update.updates", doc)
	for p.next() {
		switch string(p.f.key) {
		case "q":
			u.filter = p.document()
		case "u":
			u.update = p.modification()
		case "c":
			u.constants = p.document()
		case "multi":
			u.multi = p.flag()
		case "upsert":
			u.upsert = p.flag()
		case "upsertSupplied":
			u.supplied = p.flag()
		case "arrayFilters":
			u.arrayFilters = p.documents()
		case "collation":
			p.simpleCollation()
		case "hint":
			u.hint = p.hint()
		case "sort":
			if version < wire80 {
				p.unknown()
				break
			}
			u.sort = p.document()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
	case u.filter == nil:
		p.err = errMissing(p.where, "q")
	case u.update.Type == 0:
		p.err = errMissing(p.where, "u")
	}
	return u, p.err
}

// modification reads an update: operators, a replacement, or a pipeline.
func (p *fieldReader) modification() bson.RawValue {
	switch p.f.value.Type {
	case bson.TypeEmbeddedDocument, bson.TypeArray:
	default:
		p.fail(refuse(codeFailedToParse, "Update argument must be either an object or an array"))
	}
	return p.f.value
}

// updater is an update statement ready to run.
type updater struct {
	*updateStatement
	match     *query.Filter
	order     *query.Sort
	backwards bool // the natural order, from its end
	change    *query.Update
}

func (st *updateStatement) compile(version wireVersion, keepTimes bool) (*updater, error) {
	x := &updater{updateStatement: st}
	var err error
	if x.match, err = compileFilter(st.filter); err != nil {
		return nil, err
	}
	if err := noExprInUpsert(x.match, st.upsert); err != nil {
		return nil, err
	}
	if len(st.sort) > 5 {
		if x.order, err = query.CompileSort(st.sort); err != nil {
			return nil, err
		}
		if direction, ok := x.order.Natural(); ok {
			x.order, x.backwards = nil, direction < 0
		}
	}
	if st.update.Type == bson.TypeArray {
		switch {
		case st.constants != nil:
			return nil, refuse(codeNotImplemented, "constants for an update by pipeline are not supported")
		case st.supplied:
			return nil, refuse(codeNotImplemented, "upsertSupplied is not supported")
		}
	} else {
		switch {
		case st.constants != nil:
			return nil, refuse(51198, "Constant values may only be specified for pipeline updates")
		case st.supplied:
			return nil, refuse(codeFailedToParse, "the parameter 'upsertSupplied' is set to 'true', but no document was supplied")
		}
	}
	x.change, err = query.CompileUpdate(st.update, query.UpdateOptions{Multi: st.multi, Upsert: st.upsert, ArrayFilters: st.arrayFilters, NoDollars: version < wire50, KeepTimes: keepTimes})
	return x, err
}

// update executes a statement, whose changes are one atomic unit.
func (b *batch) update(ns namespace, index int, st *updateStatement) error {
	x, err := st.compile(b.c.s.version.wire, b.keepTimes)
	if err != nil {
		b.c.s.ops.update.Add(1)
		return b.fail(index, err)
	}
	var o outcome
	var failure error
	err = b.write(func(w repl.Writer) error {
		o, failure = outcome{}, nil
		done, err := b.begin(w, index)
		if err != nil {
			return err
		}
		if done != nil {
			o = updateRecorded(done.Result)
			return nil
		}
		b.c.s.ops.update.Add(1)
		if o, failure = b.applyUpdate(w, ns, x); failure != nil {
			if fatal(failure) {
				return failure
			}
			return nil // what the statement changed before stays, as in the server
		}
		if o.modified > 0 || o.upserted != nil {
			return b.remember(w, index, updateRecord(o))
		}
		return nil
	})
	switch {
	case errors.Is(err, errUncommitted):
		return b.fail(index, err)
	case err != nil:
		return err
	case failure != nil:
		return b.fail(index, failure)
	}
	b.into.done(index, o)
	return nil
}

func (b *batch) applyUpdate(w repl.Writer, ns namespace, x *updater) (o outcome, err error) {
	if err := ns.check(w); err != nil {
		return o, err
	}
	have := w.Collection(ns.db, ns.coll)
	hinted, err := x.hint.index(ns.db, ns.coll, have)
	if err != nil {
		return o, err
	}
	limit := int64(1)
	if x.multi {
		limit = 0
	}
	docs, err := firstMatches(b.c.opCtx, have, x.match, hinted, x.order, x.backwards, 0, limit)
	if err != nil {
		return o, err
	}
	for _, doc := range docs {
		next, changed, err := x.change.ApplyMatched(doc, x.match)
		if err == nil && changed {
			err = w.Replace(ns.db, ns.coll, docID(doc), next)
		}
		if err != nil {
			return o, err
		}
		o.n++
		if changed {
			o.modified++
		}
	}
	if o.n > 0 || !x.upsert {
		return o, nil
	}
	id, _, err := upsertDocument(w, ns.db, ns.coll, x.change, x.filter)
	if err != nil {
		return o, err
	}
	return outcome{n: 1, upserted: &id}, nil
}

// noExprInUpsert refuses $expr where a filter may have to make a document.
func noExprInUpsert(f *query.Filter, upsert bool) error {
	if upsert && f != nil && f.UsesExpr() {
		return refuse(codeQueryFeatureNotAllowed, "$expr is not allowed in the query predicate for an upsert")
	}
	return nil
}

// upsertDocument inserts what an upsert makes of its filter.
func upsertDocument(w repl.Writer, db, coll string, u *query.Update, filter bson.Raw) (id bson.RawValue, doc bson.Raw, err error) {
	if filter == nil {
		filter = nothingMore
	}
	if doc, err = u.Upsert(filter); err != nil {
		return id, nil, err
	}
	if err = query.ValidateDocument(doc, true); err != nil {
		return id, nil, err
	}
	return docID(doc), doc, w.Insert(db, coll, doc)
}

// docID is a stored document's _id.
func docID(doc bson.Raw) bson.RawValue {
	id, _ := lookup(doc, "_id")
	return id
}

// updateRecord is an executed update as the session remembers it.
func updateRecord(o outcome) bson.Raw {
	var w builder
	at := w.open()
	w.int64("n", o.n)
	w.int64("m", o.modified)
	if o.upserted != nil {
		w.value("u", *o.upserted)
	}
	w.close(at)
	return w.b
}

func updateRecorded(doc bson.Raw) (o outcome) {
	if v, ok := lookup(doc, "n"); ok {
		o.n, _ = integral(v)
	}
	if v, ok := lookup(doc, "m"); ok {
		o.modified, _ = integral(v)
	}
	if v, ok := lookup(doc, "u"); ok {
		o.upserted = &v
	}
	return o
}
