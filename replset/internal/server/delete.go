package server

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// deleteStatement is one statement of a delete.
type deleteStatement struct {
	filter bson.Raw
	many   bool
	hint   *hint
}

func runDelete(c *conn, r *request) error {
	b, reply, ns, statements, err := c.parseBatch(r, "deletes")
	if err != nil {
		return err
	}
	parsed := make([]deleteStatement, len(statements))
	for i, doc := range statements {
		if parsed[i], err = parseDelete(doc); err != nil {
			return err
		}
	}
	c.tally.writes.Add(int64(len(parsed)))
	for i := range parsed {
		if b.stop() {
			break
		}
		if r.hasTxn && parsed[i].many {
			err = b.fail(i, refuse(codeInvalidOptions, "Cannot use (or request) retryable writes with limit=0"))
		} else {
			err = b.delete(ns, i, &parsed[i])
		}
		if err != nil {
			return err
		}
	}
	reply.append(b, false)
	return nil
}

func parseDelete(doc bson.Raw) (d deleteStatement, err error) {
	limited := false
	p := read("delete.deletes", doc)
	for p.next() {
		switch string(p.f.key) {
		case "q":
			d.filter = p.document()
		case "limit":
			limited = true
			x, ok := number(p.f.value)
			if !ok {
				p.fail(errType(p.where, "limit", p.f.value.Type, "long", "int", "decimal", "double"))
			} else if x != 0 && x != 1 {
				p.fail(refuse(codeFailedToParse, "The limit field in delete objects must be 0 or 1. Got %v", x))
			}
			d.many = x == 0
		case "collation":
			p.simpleCollation()
		case "hint":
			d.hint = p.hint()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
	case d.filter == nil:
		p.err = errMissing(p.where, "q")
	case !limited:
		p.err = errMissing(p.where, "limit")
	}
	return d, p.err
}

// delete executes a statement, whose deletes are one atomic unit.
func (b *batch) delete(ns namespace, index int, st *deleteStatement) error {
	f, err := compileFilter(st.filter)
	if err != nil {
		b.c.s.ops.delete.Add(1)
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
			o.n = 1
			return nil
		}
		b.c.s.ops.delete.Add(1)
		if o.n, failure = b.applyDelete(w, ns, f, st); failure != nil {
			if fatal(failure) {
				return failure
			}
			return nil // what the statement deleted before stays, as in the server
		}
		if o.n > 0 {
			return b.remember(w, index, nothingMore)
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

func (b *batch) applyDelete(w repl.Writer, ns namespace, f *query.Filter, st *deleteStatement) (n int64, err error) {
	if err := ns.check(w); err != nil {
		return 0, err
	}
	have := w.Collection(ns.db, ns.coll)
	hinted, err := st.hint.index(ns.db, ns.coll, have)
	if err != nil {
		return 0, err
	}
	limit := int64(1)
	if st.many {
		limit = 0
	}
	docs, err := firstMatches(b.c.opCtx, have, f, hinted, nil, false, 0, limit)
	if err != nil {
		return 0, err
	}
	for _, doc := range docs {
		if err := w.Delete(ns.db, ns.coll, docID(doc)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
