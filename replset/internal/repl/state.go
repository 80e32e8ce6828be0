package repl

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// state is all of a member's data: its collections and the retry history of its
// sessions. It never changes; a draft makes the next one from it.
type state struct {
	colls    hashMap[*collection] // by nsKey
	sessions hashMap[*session]    // by lsid
}

// nsKey keys a collection: a database's name cannot hold the separator.
func nsKey(db, coll string) string { return db + "\x00" + coll }

// databases returns the names of those that have a collection.
func (s *state) databases() []string {
	var names []string
	for key := range s.colls.all() {
		db, _, _ := strings.Cut(key, "\x00")
		names = append(names, db)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// of returns a database's collections by name.
func (s *state) of(db string) []*collection {
	var colls []*collection
	for _, c := range s.colls.all() {
		if c.db == db {
			colls = append(colls, c)
		}
	}
	slices.SortFunc(colls, func(a, b *collection) int { return strings.Compare(a.info.Name, b.info.Name) })
	return colls
}

func (s *state) infos(db string) []CollectionInfo {
	var infos []CollectionInfo
	for _, c := range s.of(db) {
		infos = append(infos, c.info)
	}
	return infos
}

// session is the retry history of one logical session: the newest transaction
// number and the statements executed under it.
type session struct {
	edit *edit
	txn  int64
	done sequence[RetryRecord] // by statement
}

// draft is a state being changed. It owns its edit, until the state is
// published.
type draft struct {
	state
	edit *edit
}

func (s *state) draft() *draft { return &draft{state: *s, edit: new(edit)} }

// freeze makes what the draft holds now a state that later changes to the draft
// leave alone.
func (d *draft) freeze() *state {
	d.edit = new(edit)
	frozen := d.state
	return &frozen
}

// coll returns a collection that the draft may change, or nil.
func (d *draft) coll(db, name string) *collection {
	key := nsKey(db, name)
	c, ok := d.colls.get(key)
	if !ok {
		return nil
	}
	mine := c.own(d.edit)
	if mine != c {
		d.colls.set(d.edit, key, mine)
	}
	return mine
}

func (d *draft) create(db string, info CollectionInfo) *collection {
	c := newCollection(d.edit, db, info)
	d.colls.set(d.edit, nsKey(db, info.Name), c)
	return c
}

func (d *draft) drop(db, name string) bool { return d.colls.delete(d.edit, nsKey(db, name)) }

// begin makes txn a session's newest transaction number.
func (d *draft) begin(lsid string, txn int64) *session {
	s, ok := d.sessions.get(lsid)
	if ok && s.txn == txn {
		if s.edit != d.edit {
			mine := *s
			mine.edit = d.edit
			s = &mine
			d.sessions.set(d.edit, lsid, s)
		}
		return s
	}
	s = &session{edit: d.edit, txn: txn}
	d.sessions.set(d.edit, lsid, s)
	return s
}

func (d *draft) remember(lsid string, txn int64, r RetryRecord) {
	d.begin(lsid, txn).done.set(d.edit, uint64(uint32(r.StmtID)), r)
}

// changeKind says what a change does.
type changeKind uint8

const (
	noop changeKind = iota
	insertDoc
	replaceDoc
	deleteDoc
	createColl
	dropColl
	createIndex
	dropIndex
	beginTxn
	rememberStmt
)

// change is one thing that an oplog entry does. It names results, not
// operations, so that applying it twice does what applying it once does.
type change struct {
	kind     changeKind
	db, coll string
	id       bson.RawValue  // delete
	doc      bson.Raw       // insert, replace: the document
	info     CollectionInfo // create
	index    *index         // createIndex
	name     string         // dropIndex: of the index; beginTxn, remember: the lsid
	txn      int64
	record   RetryRecord
}

// apply does what a primary has done, without judging it again.
func (d *draft) apply(ch *change) {
	switch ch.kind {
	case insertDoc, replaceDoc:
		c := d.coll(ch.db, ch.coll)
		if c == nil {
			c = d.create(ch.db, CollectionInfo{Name: ch.coll, UUID: newUUID()})
		}
		c.put(ch.doc)
	case deleteDoc:
		if c := d.coll(ch.db, ch.coll); c != nil {
			c.delete(ch.id)
		}
	case createColl:
		if d.coll(ch.db, ch.coll) == nil {
			d.create(ch.db, ch.info)
		}
	case dropColl:
		d.drop(ch.db, ch.coll)
	case createIndex:
		c := d.coll(ch.db, ch.coll)
		if c != nil && !slices.ContainsFunc(c.indexes, func(ix *index) bool { return ix.info.Name == ch.index.info.Name }) {
			_ = c.addIndex(ch.index, false) // fails only where the primary has failed
		}
	case dropIndex:
		if c := d.coll(ch.db, ch.coll); c != nil {
			c.dropIndex(ch.name)
		}
	case beginTxn:
		d.begin(ch.name, ch.txn)
	case rememberStmt:
		d.remember(ch.name, ch.txn, ch.record)
	}
}
