package server

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// deleteStatement is one statement of a delete.
type deleteStatement struct {
	filter bson.Raw
	many   bool
	hint   *hint
}

func runDelete(c *conn, r *request) error {
	b, coll, statements, err := c.parseBatch(r, "deletes")
	if err != nil {
		return err
	}
	parsed := make([]deleteStatement, len(statements))
	for i, doc := range statements {
		if parsed[i], err = parseDelete(doc); err != nil {
			return err
		}
	}
	c.s.ops.delete.Add(int64(len(parsed)))
	c.tally.writes.Add(int64(len(parsed)))
	for i := range parsed {
		if b.stop() {
			break
		}
		if err := b.delete(coll, i, &parsed[i]); err != nil {
			return err
		}
	}
	b.appendReply(false)
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

func (b *batch) delete(coll string, index int, st *deleteStatement) error {
	if b.r.hasTxn && st.many {
		return b.fail(index, refuse(codeInvalidOptions, "Cannot use (or request) retryable writes with limit=0"))
	}
	f, err := compileFilter(st.filter)
	if err != nil {
		return b.fail(index, err)
	}
	n := int64(0)
	err = b.write(func(w repl.Writer) error {
		n = 0
		done, err := b.begin(w, int32(index))
		if err != nil {
			return err
		}
		if done != nil {
			n = 1
			return nil
		}
		have := w.Collection(b.r.db, coll)
		if err := st.hint.check(b.r.db, coll, have); err != nil {
			return b.fail(index, err)
		}
		limit := int64(1)
		if st.many {
			limit = 0
		}
		docs, err := firstMatches(b.c.opCtx, have, f, nil, false, 0, limit)
		if err != nil {
			return err
		}
		for _, doc := range docs {
			if err := w.Delete(b.r.db, coll, docID(doc)); err != nil {
				return b.fail(index, err)
			}
			n++
		}
		if n > 0 {
			return b.remember(w, int32(index), nothingMore)
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.n += n
	return nil
}
