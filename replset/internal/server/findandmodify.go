package server

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// modifyRequest is a findAndModify as it was asked for.
type modifyRequest struct {
	coll         string
	filter       bson.Raw
	sort         bson.Raw
	fields       bson.Raw
	update       bson.RawValue
	remove       bool
	after        bool // return the document as it is afterwards
	upsert       bool
	arrayFilters []bson.Raw
	keepTimes    bool // leave a replacement's zero timestamps as they are
	hint         *hint
}

func parseModify(r *request, version wireVersion) (m modifyRequest, err error) {
	if m.coll, err = r.collection(); err != nil {
		return m, err
	}
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "query":
			m.filter = p.document()
		case "sort":
			m.sort = p.document()
		case "fields":
			m.fields = p.document()
		case "update":
			m.update = p.modification()
		case "remove":
			m.remove = p.flag()
		case "new":
			m.after = p.flag()
		case "upsert":
			m.upsert = p.flag()
		case "arrayFilters":
			m.arrayFilters = p.documents()
		case "hint":
			m.hint = p.hint()
		case "collation":
			p.simpleCollation()
		case "bypassDocumentValidation":
			p.flag()
		case "bypassEmptyTsReplacement":
			m.keepTimes = p.keepTimes(version)
		case "let":
			p.refuseVariables(version, refuse(51177, "BSON field 'let' is an unknown field."))
		default:
			p.unknown()
		}
	}
	switch hasUpdate := m.update.Type != 0; {
	case p.err != nil:
	case m.remove && hasUpdate:
		p.err = refuse(codeFailedToParse, "Cannot specify both an update and remove=true")
	case m.remove && m.upsert:
		p.err = refuse(codeFailedToParse, "Cannot specify both upsert=true and remove=true ")
	case m.remove && m.after:
		p.err = refuse(codeFailedToParse, "Cannot specify both new=true and remove=true; 'remove' always returns the deleted document")
	case m.remove && m.arrayFilters != nil:
		p.err = refuse(codeFailedToParse, "Cannot specify arrayFilters and remove=true")
	case !m.remove && !hasUpdate:
		p.err = refuse(codeFailedToParse, "Either an update or remove=true must be specified")
	}
	return m, p.err
}

// modifier is a findAndModify ready to run.
type modifier struct {
	modifyRequest
	match   *query.Filter
	order   *query.Sort
	change  *query.Update // nil to remove
	project *query.Projection
}

func (m modifyRequest) compile(version wireVersion) (*modifier, error) {
	x := &modifier{modifyRequest: m}
	var err error
	if x.match, err = compileFilter(m.filter); err != nil {
		return nil, err
	}
	if err := noExprInUpsert(x.match, m.upsert); err != nil {
		return nil, err
	}
	if len(m.sort) > 5 {
		if x.order, err = query.CompileSort(m.sort); err != nil {
			return nil, err
		}
	}
	if len(m.fields) > 5 {
		if x.project, err = query.CompileProjection(m.fields); err != nil {
			return nil, err
		}
	}
	if !m.remove {
		x.change, err = query.CompileUpdate(m.update, query.UpdateOptions{Upsert: m.upsert, ArrayFilters: m.arrayFilters, NoDollars: version < wire50, KeepTimes: m.keepTimes})
	}
	return x, err
}

func findAndModify(c *conn, r *request) error {
	m, err := parseModify(r, c.s.version.wire)
	if err != nil {
		return err
	}
	if err := checkWriteName(r.db, m.coll); err != nil {
		return err
	}
	x, err := m.compile(c.s.version.wire)
	if err != nil {
		return err
	}
	r.retain = true // a replacement document may lie in the request
	if m.remove {
		c.s.ops.delete.Add(1)
	} else {
		c.s.ops.update.Add(1)
	}
	c.tally.writes.Add(1)
	b := batch{c: c, r: r}
	var result bson.Raw
	err = b.write(func(w repl.Writer) error {
		b.retried = nil
		done, err := b.begin(w, 0)
		if err != nil {
			return err
		}
		if done != nil {
			result = done.Result
			return nil
		}
		var changed bool
		result, changed, err = x.run(&b, w)
		if err == nil && changed {
			err = b.remember(w, 0, result)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The result is a document of the reply's own fields.
	c.out.b = append(c.out.b, result[4:len(result)-1]...)
	if len(b.retried) > 0 {
		c.out.int32("retriedStmtId", 0)
	}
	return nil
}

// run executes it and returns the reply's fields as a document.
func (x *modifier) run(b *batch, w repl.Writer) (result bson.Raw, changed bool, err error) {
	db := b.r.db
	coll := w.Collection(db, x.coll)
	hinted, err := x.hint.index(db, x.coll, coll)
	if err != nil {
		return nil, false, err
	}
	order, backwards := x.order, false
	if order != nil {
		if direction, ok := order.Natural(); ok {
			order, backwards = nil, direction < 0
		}
	}
	docs, err := firstMatches(b.c.opCtx, coll, x.match, hinted, order, backwards, 0, 1)
	if err != nil {
		return nil, false, err
	}
	switch {
	case x.remove:
		if len(docs) == 0 {
			result, err := x.result(0, nil, nil, nil)
			return result, false, err
		}
		if err := w.Delete(db, x.coll, docID(docs[0])); err != nil {
			return nil, false, err
		}
		result, err := x.result(1, nil, nil, docs[0])
		return result, true, err
	case len(docs) > 0:
		existing := true
		next, changed, err := x.change.ApplyMatched(docs[0], x.match)
		if err == nil && changed {
			err = w.Replace(db, x.coll, docID(docs[0]), next)
		}
		if err != nil {
			return nil, false, duringModify(err)
		}
		if !x.after {
			next = docs[0]
		}
		result, err := x.result(1, &existing, nil, next)
		return result, changed, err
	}
	existing := false
	if !x.upsert {
		result, err := x.result(0, &existing, nil, nil)
		return result, false, err
	}
	id, doc, err := upsertDocument(w, db, x.coll, x.change, x.filter)
	if err != nil {
		return nil, false, duringModify(err)
	}
	if !x.after {
		doc = nil
	}
	result, err = x.result(1, &existing, &id, doc)
	return result, true, err
}

func (x *modifier) result(n int32, existing *bool, upserted *bson.RawValue, doc bson.Raw) (bson.Raw, error) {
	if doc != nil && x.project != nil {
		var err error
		if doc, err = x.project.Apply(doc); err != nil {
			return nil, duringModify(err)
		}
	}
	var w builder
	at := w.open()
	last := w.doc("lastErrorObject")
	w.int32("n", n)
	if existing != nil {
		w.bool("updatedExisting", *existing)
	}
	if upserted != nil {
		w.value("upserted", *upserted)
	}
	w.close(last)
	if doc == nil {
		w.null("value")
	} else {
		w.raw("value", doc)
	}
	w.close(at)
	return w.b, nil
}

// duringModify says, as the server does, where an update's error came up.
func duringModify(err error) error {
	if fatal(err) {
		return err
	}
	e := *asError(err)
	e.Message = "Plan executor error during findAndModify :: caused by :: " + e.Message
	return &e
}
