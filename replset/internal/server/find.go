package server

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var readCommands = []*command{
	{name: "find", run: runFind, where: optIn, readable: true, kind: readKind, inV1: true, leaves: true},
	{name: "aggregate", run: runAggregate, where: optIn, readable: true, kind: readKind, inV1: true, leaves: true},
	{name: "count", run: runCount, where: optIn, readable: true, kind: readKind, inV1: true},
	{name: "distinct", run: runDistinct, where: optIn, readable: true, kind: readKind},
}

// findRequest is a find as it was asked for.
type findRequest struct {
	coll        string
	filter      bson.Raw
	sort        bson.Raw
	projection  bson.Raw
	hint        *hint
	skip, limit int64
	batch       int64 // -1: the default
	single      bool
	noTimeout   bool
	tailable    bool
}

func parseFind(r *request, version wireVersion) (q findRequest, err error) {
	if q.coll, err = r.collection(); err != nil {
		return q, err
	}
	q.batch = -1
	p := r.fields()
	p.where = "FindCommandRequest"
	awaits := false
	for p.next() {
		switch key := string(p.f.key); key {
		case "filter":
			q.filter = p.document()
		case "sort":
			q.sort = p.document()
		case "projection":
			q.projection = p.document()
		case "hint":
			q.hint = p.hint()
		case "skip":
			q.skip = p.count()
		case "limit":
			q.limit = p.count()
		case "batchSize":
			q.batch = p.countOr(-1)
		case "singleBatch":
			q.single = p.optionalFlag()
		case "noCursorTimeout":
			q.noTimeout = p.optionalFlag()
		case "allowDiskUse", "allowPartialResults", "oplogReplay":
			p.optionalFlag() // they change nothing on one member
		case "collation":
			p.simpleCollation()
		case "let":
			p.refuseVariables(version, refuse(codeFailedToParse, "Failed to parse: Unrecognized field 'let'."))
		case "min", "max":
			if doc := p.document(); len(doc) > 5 {
				p.fail(refuse(codeNotImplemented, "find with %s is not supported", key))
			}
		case "tailable":
			q.tailable = p.optionalFlag()
		case "awaitData":
			awaits = p.optionalFlag()
		case "returnKey", "showRecordId":
			if p.optionalFlag() {
				p.fail(refuse(codeNotImplemented, "find with %s is not supported", key))
			}
		default:
			p.unknown()
		}
	}
	if p.err == nil && awaits && !q.tailable {
		p.err = refuse(codeFailedToParse, "Cannot set 'awaitData' without also setting 'tailable'")
	}
	return q, p.err
}

// optionalFlag reads a boolean of those that the server words differently.
func (p *fieldReader) optionalFlag() bool {
	if p.f.value.Type != bson.TypeBoolean {
		p.fail(refuse(codeTypeMismatch, "Field '%s' should be a boolean value, but found: %s", p.f.key, query.TypeName(p.f.value.Type)))
		return false
	}
	return p.f.value.Boolean()
}

// keepTimes reads bypassEmptyTsReplacement, which servers have from the last releases of 5.0 on.
func (p *fieldReader) keepTimes(version wireVersion) bool {
	if version < wire50 {
		p.unknown()
		return false
	}
	return p.optionalFlag()
}

// refuseVariables accepts a let without variables. To a server before 5.0 it is the unknown field of which
// old says so.
func (p *fieldReader) refuseVariables(version wireVersion, old error) {
	if version < wire50 {
		p.fail(old)
		return
	}
	if doc := p.document(); len(doc) > 5 {
		p.fail(refuse(codeNotImplemented, "%s with variables in 'let' is not supported", p.where))
	}
}

// compileFilter makes a filter; nil is one that all documents match.
func compileFilter(doc bson.Raw) (*query.Filter, error) {
	if len(doc) <= 5 {
		return nil, nil
	}
	return query.CompileFilter(doc)
}

func runFind(c *conn, r *request) error {
	q, err := parseFind(r, c.s.version.wire)
	if err != nil {
		return err
	}
	f, err := compileFilter(q.filter)
	if err != nil {
		return err
	}
	res := results{}
	var sort *query.Sort
	backwards := false
	if direction, ok := q.hint.natural(); ok {
		backwards = direction < 0
	}
	if len(q.sort) > 5 {
		if sort, err = query.CompileSort(q.sort); err != nil {
			return err
		}
		if direction, ok := sort.Natural(); ok {
			sort, backwards = nil, direction < 0
		}
	}
	if len(q.projection) > 5 {
		projection, err := query.CompileProjection(q.projection)
		if err != nil {
			return err
		}
		res.project = func(doc bson.Raw) (bson.Raw, error) { return projection.Apply(doc) }
	}
	there := false
	err = c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		coll := s.Collection(r.db, q.coll)
		if there = coll != nil; there {
			res.of = coll.Info().UUID.Data
		}
		if q.tailable && there {
			if capped(coll) {
				return refuse(codeNotImplemented, "tailable cursors are not supported")
			}
			return refuse(codeBadValue, "error processing query: ns=%s.%s tailable cursor requested on non capped collection", r.db, q.coll)
		}
		hinted, err := q.hint.index(r.db, q.coll, coll)
		if err != nil {
			return err
		}
		if sort == nil && len(q.sort) > 5 { // By $natural.
			hinted = naturally
		}
		res.docs, err = firstMatches(c.opCtx, coll, f, hinted, sort, backwards, q.skip, q.limit)
		return err
	})
	if err != nil {
		return err
	}
	// A scan of a collection finds its end only by going on; a look-up by _id, a
	// sorted result and a limit that is reached know it.
	pinned := false
	if f != nil {
		ids, ok := f.IDs()
		pinned = ok && len(ids) <= 1
	}
	res.openEnd = there && sort == nil && !pinned && (q.limit == 0 || int64(len(res.docs)) < q.limit)
	return c.appendCursor(r, q.coll, res, q.batch, q.single, q.noTimeout)
}

func runCount(c *conn, r *request) error {
	name, err := r.collection()
	if err != nil {
		return err
	}
	var filter bson.Raw
	var h *hint
	var skip, limit int64
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "query":
			if p.f.value.Type != bson.TypeNull {
				filter = p.document()
			}
		case "skip":
			skip = p.count()
		case "limit":
			n, ok := integral(p.f.value)
			if !ok {
				p.count() // says what is wrong with it
			}
			limit = max(n, -n)
		case "hint":
			h = p.hint()
		case "collation":
			p.simpleCollation()
		case "fields":
			p.document() // of no effect, as in the server
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	f, err := compileFilter(filter)
	if err != nil {
		return err
	}
	n := int64(0)
	err = c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		coll := s.Collection(r.db, name)
		hinted, err := h.index(r.db, name, coll)
		if err != nil {
			return err
		}
		if f == nil && hinted == nil && coll != nil {
			n = int64(coll.Len())
			return nil
		}
		return eachMatch(c.opCtx, coll, f, hinted, func(bson.Raw) bool {
			n++
			return true
		})
	})
	if err != nil {
		return err
	}
	n = max(n-skip, 0)
	if limit > 0 {
		n = min(n, limit)
	}
	c.out.int32("n", int32(n))
	return nil
}

func runDistinct(c *conn, r *request) error {
	name, err := r.collection()
	if err != nil {
		return err
	}
	var filter bson.Raw
	var h *hint
	key, hasKey := "", false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "key":
			key, hasKey = p.text(), p.given()
		case "query":
			if p.f.value.Type != bson.TypeNull {
				filter = p.document()
			}
		case "collation":
			p.simpleCollation()
		case "hint":
			if c.s.version.wire < wire71 {
				p.unknown()
				break
			}
			h = p.hint()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return p.err
	case !hasKey:
		return errMissing(r.name, "key")
	}
	f, err := compileFilter(filter)
	if err != nil {
		return err
	}
	var values []bson.RawValue
	err = c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		coll := s.Collection(r.db, name)
		hinted, err := h.index(r.db, name, coll)
		if err != nil {
			return err
		}
		values = query.DistinctValues(key, func(yield func(bson.Raw) bool) {
			err = eachMatch(c.opCtx, coll, f, hinted, yield)
		})
		return err
	})
	if err != nil {
		return err
	}
	at := c.out.array("values")
	for i, v := range values {
		c.out.valueAt(i, v)
		if len(c.out.b)-at > maxDocument {
			return refuse(17217, "distinct too big, 16mb cap")
		}
	}
	c.out.close(at)
	return nil
}
