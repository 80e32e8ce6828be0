package server

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var getMoreCommand = &command{name: "getMore", run: getMore, readable: true, kind: readKind, inV1: true}

var cursorCommands = []*command{
	getMoreCommand,
	{name: "killCursors", run: killCursors, inV1: true},
}

func getMore(c *conn, r *request) error {
	if r.first.Type != bson.TypeInt64 {
		return errType(r.name, r.name, r.first.Type, "long")
	}
	id, _ := integral(r.first)
	coll, hasColl := "", false
	size := int64(-1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "collection":
			coll, hasColl = p.text(), p.given()
		case "batchSize":
			size = p.countOr(-1)
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return p.err
	case !hasColl:
		return errMissing(r.name, "collection")
	case r.hasMaxTime:
		return refuse(codeBadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor")
	}
	if err := checkCursorCollection(r.db, coll); err != nil {
		return err
	}
	cur, err := c.s.cursors.take(id)
	if err != nil {
		return err
	}
	if err := cur.belongs(r, coll, c.user); err != nil {
		c.s.cursors.give(cur, false, 0)
		return err
	}
	r.readLevel = cur.level
	if err := c.s.node.View(cur.level, func(s repl.Snapshot) error { return cur.check(s, cur.db, cur.coll) }); err != nil {
		c.s.cursors.give(cur, true, 0)
		return err
	}
	if size <= 0 {
		size = maxMessageSize
	}
	w := &c.out
	at := w.doc("cursor")
	more, err := cur.appendBatch(w, "nextBatch", int(min(size, maxMessageSize)))
	if err == nil {
		err = c.opCtx.Err()
	}
	c.s.cursors.give(cur, err != nil || !more, time.Since(r.received))
	if err != nil {
		return err
	}
	if !more {
		id = 0
	}
	w.int64("id", id)
	w.string("ns", cur.db+"."+cur.coll)
	w.close(at)
	r.more = more
	return nil
}

// belongs refuses a getMore by another than the one who opened the cursor.
func (cur *cursor) belongs(r *request, coll, user string) error {
	switch {
	case cur.db != r.db || cur.coll != coll:
		return refuse(codeUnauthorized, "Requested getMore on namespace '%s.%s', but cursor belongs to a different namespace %s.%s", r.db, coll, cur.db, cur.coll)
	case cur.user != user:
		return refuse(codeUnauthorized, "cursor id %d was not created by the authenticated user", cur.id)
	case cur.session == r.session:
		return nil
	case cur.session == "":
		return refuse(50736, "Cannot run getMore on cursor %d, which was not created in a session, in session %s", cur.id, r.session)
	case r.session == "":
		return refuse(50737, "Cannot run getMore on cursor %d, which was created in session %s, without an lsid", cur.id, cur.session)
	}
	return refuse(50738, "Cannot run getMore on cursor %d, which was created in session %s, in session %s", cur.id, cur.session, r.session)
}

// checkCursorCollection accepts also the names that the server makes up for the
// cursors of commands: "$cmd.listCollections", "$cmd.aggregate".
func checkCursorCollection(db, coll string) error {
	switch coll {
	case "$cmd.listCollections", "$cmd.aggregate", bulkCollection:
		return nil
	}
	return checkCollectionName(db, []byte(coll))
}

func killCursors(c *conn, r *request) error {
	if r.first.Type != bson.TypeString {
		return refuse(codeInvalidNamespace, "collection name has invalid type %s", query.TypeName(r.first.Type))
	}
	coll := string(text(r.first))
	if err := checkCursorCollection(r.db, coll); err != nil {
		return err
	}
	var ids []int64
	given := false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "cursors":
			given = true
			ids = p.longs()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return p.err
	case !given:
		return errMissing(r.name, "cursors")
	case len(ids) == 0:
		return refuse(codeBadValue, "Must specify at least one cursor id in: { killCursors: \"%s\", cursors: [] }", coll)
	}
	var killed, missing []int64
	for _, id := range ids {
		if c.s.cursors.kill(id) {
			killed = append(killed, id)
		} else {
			missing = append(missing, id)
		}
	}
	c.out.longs("cursorsKilled", killed)
	c.out.longs("cursorsNotFound", missing)
	c.out.longs("cursorsAlive", nil)
	c.out.longs("cursorsUnknown", nil)
	return nil
}

func (p *fieldReader) longs() []int64 {
	if p.f.value.Type != bson.TypeArray {
		p.wrongType("array")
		return nil
	}
	var list []int64
	for s := scan(p.f.value.Value); ; {
		e, ok := s.next()
		if !ok {
			return list
		}
		if e.value.Type != bson.TypeInt64 {
			p.fail(errType(p.where+"."+string(p.f.key), string(e.key), e.value.Type, "long"))
			return nil
		}
		n, _ := integral(e.value)
		list = append(list, n)
	}
}

func (w *builder) longs(key string, list []int64) {
	at := w.array(key)
	for i, n := range list {
		w.int64At(i, n)
	}
	w.close(at)
}
