package server

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var writeCommands = []*command{
	{name: "insert", run: runInsert, sequence: "documents", where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "update", run: runUpdate, sequence: "updates", where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "delete", run: runDelete, sequence: "deletes", where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
	{name: "findAndModify", aliases: []string{"findandmodify"}, run: findAndModify, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
}

// updateStatement is one statement of an update.
type updateStatement struct {
	filter       bson.Raw
	update       bson.RawValue
	multi        bool
	upsert       bool
	arrayFilters []bson.Raw
	hint         *hint
}

func runUpdate(c *conn, r *request) error {
	b, coll, statements, err := c.parseBatch(r, "updates")
	if err != nil {
		return err
	}
	parsed := make([]updateStatement, len(statements))
	for i, doc := range statements {
		if parsed[i], err = parseUpdate(doc); err != nil {
			return err
		}
	}
	r.retain = true // a replacement document may lie in the request
	c.s.ops.update.Add(int64(len(parsed)))
	c.tally.writes.Add(int64(len(parsed)))
	for i := range parsed {
		if b.stop() {
			break
		}
		if err := b.update(coll, i, &parsed[i]); err != nil {
			return err
		}
	}
	b.appendReply(true)
	return nil
}

// parseBatch reads what update and delete have in common.
func (c *conn) parseBatch(r *request, name string) (b *batch, coll string, statements []bson.Raw, err error) {
	if coll, err = r.collection(); err != nil {
		return nil, "", nil, err
	}
	b = &batch{c: c, r: r, ordered: true}
	given := false
	p := r.fields()
	for p.next() {
		switch key := string(p.f.key); key {
		case name:
			statements, given = p.documents(), p.given()
		case "ordered":
			b.ordered = p.strictFlag() || !p.given()
		case "bypassDocumentValidation":
			p.flag()
		case "let":
			p.refuseVariables()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return nil, "", nil, p.err
	}
	statements, err = r.statements(statements, given, name)
	return b, coll, statements, err
}

func parseUpdate(doc bson.Raw) (u updateStatement, err error) {
	p := read("update.updates", doc)
	for p.next() {
		switch string(p.f.key) {
		case "q":
			u.filter = p.document()
		case "u":
			u.update = p.f.value
			switch u.update.Type {
			case bson.TypeEmbeddedDocument, bson.TypeArray:
			default:
				p.fail(refuse(codeFailedToParse, "Update argument must be either an object or an array"))
			}
		case "multi":
			u.multi = p.flag()
		case "upsert":
			u.upsert = p.flag()
		case "arrayFilters":
			u.arrayFilters = p.documents()
		case "collation":
			p.simpleCollation()
		case "hint":
			u.hint = p.hint()
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

func (b *batch) update(coll string, index int, st *updateStatement) error {
	if b.r.hasTxn && st.multi {
		return b.fail(index, refuse(codeInvalidOptions, "Cannot use (or request) retryable writes with multi=true"))
	}
	f, err := compileFilter(st.filter)
	if err != nil {
		return b.fail(index, err)
	}
	u, err := query.CompileUpdate(st.update, query.UpdateOptions{Multi: st.multi, Upsert: st.upsert, ArrayFilters: st.arrayFilters})
	if err != nil {
		return b.fail(index, err)
	}
	var n, modified int64
	var inserted *bson.RawValue
	err = b.write(func(w repl.Writer) error {
		n, modified, inserted = 0, 0, nil
		done, err := b.begin(w, int32(index))
		if err != nil {
			return err
		}
		if done != nil {
			n, modified, inserted = updateRecorded(done.Result)
			return nil
		}
		n, modified, inserted, err = b.applyUpdate(w, coll, f, u, st)
		if err != nil && fatal(err) {
			return err
		}
		if err != nil {
			// What the statement changed before stays, as in the server.
			return b.fail(index, err)
		}
		if modified > 0 || inserted != nil {
			return b.remember(w, int32(index), updateRecord(n, modified, inserted))
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.n += n
	b.modified += modified
	if inserted != nil {
		b.upserted = append(b.upserted, upsert{index, *inserted})
	}
	return nil
}

func (b *batch) applyUpdate(w repl.Writer, coll string, f *query.Filter, u *query.Update, st *updateStatement) (n, modified int64, inserted *bson.RawValue, err error) {
	have := w.Collection(b.r.db, coll)
	if err := st.hint.check(b.r.db, coll, have); err != nil {
		return 0, 0, nil, err
	}
	limit := int64(1)
	if st.multi {
		limit = 0
	}
	docs, err := firstMatches(b.c.opCtx, have, f, nil, false, 0, limit)
	if err != nil {
		return 0, 0, nil, err
	}
	for _, doc := range docs {
		next, changed, err := u.ApplyMatched(doc, f)
		if err == nil && changed {
			err = w.Replace(b.r.db, coll, docID(doc), next)
		}
		if err != nil {
			return 0, 0, nil, err
		}
		n++
		if changed {
			modified++
		}
	}
	if n > 0 || !st.upsert {
		return n, modified, nil, nil
	}
	id, _, err := upsertDocument(w, b.r.db, coll, u, st.filter)
	if err != nil {
		return 0, 0, nil, err
	}
	return 1, 0, &id, nil
}

// upsertDocument inserts what an upsert makes of its filter.
func upsertDocument(w repl.Writer, db, coll string, u *query.Update, filter bson.Raw) (id bson.RawValue, doc bson.Raw, err error) {
	if filter == nil {
		filter = nothingMore
	}
	if doc, err = u.Upsert(filter); err != nil {
		return id, nil, err
	}
	if doc, err = insertable(doc); err != nil {
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
func updateRecord(n, modified int64, inserted *bson.RawValue) bson.Raw {
	var w builder
	at := w.open()
	w.int64("n", n)
	w.int64("m", modified)
	if inserted != nil {
		w.value("u", *inserted)
	}
	w.close(at)
	return w.b
}

func updateRecorded(doc bson.Raw) (n, modified int64, inserted *bson.RawValue) {
	if v, ok := lookup(doc, "n"); ok {
		n, _ = integral(v)
	}
	if v, ok := lookup(doc, "m"); ok {
		modified, _ = integral(v)
	}
	if v, ok := lookup(doc, "u"); ok {
		inserted = &v
	}
	return n, modified, inserted
}
