package repl

import (
	"crypto/rand"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// writer is the Writer of one Write: a draft, and the changes that made it.
type writer struct {
	d       *draft
	op      OpTime // of the state that the draft started from
	changes []change
}

func (w *writer) Databases() []string                    { return w.d.databases() }
func (w *writer) Collections(db string) []CollectionInfo { return w.d.infos(db) }
func (w *writer) OpTime() OpTime                         { return w.op }

func (w *writer) Collection(db, name string) Collection {
	if _, ok := w.d.colls.get(nsKey(db, name)); !ok {
		return nil
	}
	return liveCollection{w.d, db, name}
}

// liveCollection is a collection inside a Write: it shows what the Write has done
// so far. Each goes over the documents that are there when it starts, whatever is
// written meanwhile.
type liveCollection struct {
	d        *draft
	db, name string
}

func (l liveCollection) now() *collection {
	if c, ok := l.d.colls.get(nsKey(l.db, l.name)); ok {
		return c
	}
	return newCollection(l.d.edit, l.db, CollectionInfo{Name: l.name}) // dropped meanwhile
}

func (l liveCollection) Info() CollectionInfo                   { return l.now().Info() }
func (l liveCollection) Indexes() []IndexInfo                   { return l.now().Indexes() }
func (l liveCollection) Len() int                               { return l.now().Len() }
func (l liveCollection) ByID(id bson.RawValue) (bson.Raw, bool) { return l.now().ByID(id) }
func (l liveCollection) Each(yield func(bson.Raw) bool) {
	c := l.now()
	l.d.freeze()
	c.Each(yield)
}

func (w *writer) note(ch change) { w.changes = append(w.changes, ch) }

// coll returns a collection that may be changed; it is created when missing.
func (w *writer) coll(db, name string) (*collection, error) {
	if c := w.d.coll(db, name); c != nil {
		return c, nil
	}
	return w.create(db, name, emptyDocument)
}

func (w *writer) create(db, name string, opts bson.Raw) (*collection, error) {
	if err := w.checkCase(db); err != nil {
		return nil, err
	}
	info := CollectionInfo{Name: name, UUID: newUUID(), Options: opts}
	w.note(change{kind: createColl, db: db, coll: name, info: info})
	return w.d.create(db, info), nil
}

// checkCase refuses a database whose name is another's but for the case. Every member of
// a server's set has the three that are its own.
func (w *writer) checkCase(db string) error {
	for _, have := range append(w.d.databases(), "admin", "config", localDB) {
		if have != db && strings.Map(lower, have) == strings.Map(lower, db) {
			return refuse(codeDatabaseDifferCase, "db already exists with different case already have: [%s] trying to create [%s]", have, db)
		}
	}
	return nil
}

// lower is the lower case of ASCII alone, by which the server compares names.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

var emptyDocument = bson.Raw{5, 0, 0, 0, 0}

func newUUID() bson.Binary {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: id}
}

// errLocal refuses writes to what only shows something.
func errLocal(db string) error {
	if db != localDB {
		return nil
	}
	return refuse(codeNotImplemented, "writes to the database local are not supported")
}

func (w *writer) Insert(db, coll string, doc bson.Raw) error {
	if err := errLocal(db); err != nil {
		return err
	}
	c, err := w.coll(db, coll)
	if err == nil {
		err = c.insert(doc)
	}
	if err != nil {
		return err
	}
	w.note(change{kind: insertDoc, db: db, coll: coll, doc: doc})
	return nil
}

func (w *writer) Replace(db, coll string, id bson.RawValue, doc bson.Raw) error {
	c := w.d.coll(db, coll)
	if c == nil {
		return refuse(codeNoMatchingDocument, "no document with _id: %s in %s.%s", query.Text(id), db, coll)
	}
	if err := c.replace(id, doc); err != nil {
		return err
	}
	w.note(change{kind: replaceDoc, db: db, coll: coll, doc: doc})
	return nil
}

func (w *writer) Delete(db, coll string, id bson.RawValue) error {
	c := w.d.coll(db, coll)
	if c == nil || !c.delete(id) {
		return refuse(codeNoMatchingDocument, "no document with _id: %s in %s.%s", query.Text(id), db, coll)
	}
	// The id may be part of a request's buffer, and the change outlives it.
	id.Value = slices.Clone(id.Value)
	w.note(change{kind: deleteDoc, db: db, coll: coll, id: id})
	return nil
}

func (w *writer) CreateCollection(db, coll string, opts bson.Raw) error {
	if err := errLocal(db); err != nil {
		return err
	}
	if _, there := w.d.colls.get(nsKey(db, coll)); there {
		return refuse(codeNamespaceExists, "Collection %s.%s already exists.", db, coll)
	}
	if len(opts) == 0 {
		opts = emptyDocument
	}
	_, err := w.create(db, coll, opts)
	return err
}

func (w *writer) DropCollection(db, coll string) error {
	if !w.d.drop(db, coll) {
		return refuse(codeNamespaceNotFound, "ns not found")
	}
	w.note(change{kind: dropColl, db: db, coll: coll})
	return nil
}

func (w *writer) DropDatabase(db string) error {
	for _, c := range w.d.of(db) {
		if err := w.DropCollection(db, c.info.Name); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) CreateIndex(db, coll string, spec bson.Raw) (created bool, err error) {
	ix, err := newIndex(spec)
	if err != nil {
		return false, err
	}
	c, err := w.coll(db, coll)
	if err != nil {
		return false, err
	}
	same := func(have *index) bool {
		return have.sameKey(ix) && (have == idIndex || have.info.Unique == ix.info.Unique && have.info.Sparse == ix.info.Sparse)
	}
	// By its name first, as in a server.
	if i := slices.IndexFunc(c.indexes, func(have *index) bool { return have.info.Name == ix.info.Name }); i >= 0 {
		have := c.indexes[i]
		if same(have) {
			return false, nil
		}
		return false, refuse(codeIndexKeySpecsConflict, "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: %s, existing index: %s", shown(ix.info.Spec), shown(have.info.Spec))
	}
	if i := slices.IndexFunc(c.indexes, same); i >= 0 {
		if have := c.indexes[i]; have != idIndex {
			return false, refuse(codeIndexOptionsConflict, "Index already exists with a different name: %s", have.info.Name)
		}
		return false, nil
	}
	if err := c.addIndex(ix, true); err != nil {
		return false, err
	}
	w.note(change{kind: createIndex, db: db, coll: coll, index: ix})
	return true, nil
}

func shown(doc bson.Raw) string {
	return query.Text(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc})
}

func (w *writer) DropIndex(db, coll, name string) error {
	c := w.d.coll(db, coll)
	if c == nil {
		return refuse(codeNamespaceNotFound, "ns not found %s.%s", db, coll)
	}
	if name == idIndex.info.Name {
		return refuse(codeInvalidOptions, "cannot drop _id index")
	}
	if !slices.ContainsFunc(c.indexes, func(ix *index) bool { return ix.info.Name == name }) {
		return refuse(codeIndexNotFound, "index not found with name [%s]", name)
	}
	c.dropIndex(name)
	w.note(change{kind: dropIndex, db: db, coll: coll, name: name})
	return nil
}

func (w *writer) BeginStatement(lsid string, txn int64, stmt int32) (*RetryRecord, error) {
	s, ok := w.d.sessions.get(lsid)
	switch {
	case ok && txn < s.txn:
		return nil, refuse(codeTransactionTooOld, "Retryable write with txnNumber %d is prohibited on session %s because a newer retryable write with txnNumber %d has already started on this session.", txn, lsid, s.txn)
	case ok && txn == s.txn:
		if r, done := s.done.get(uint64(uint32(stmt))); done {
			return &r, nil
		}
		return nil, nil
	}
	w.d.begin(lsid, txn)
	w.note(change{kind: beginTxn, name: lsid, txn: txn})
	return nil, nil
}

func (w *writer) Remember(lsid string, txn int64, r RetryRecord) error {
	if s, ok := w.d.sessions.get(lsid); ok && txn < s.txn {
		return refuse(codeTransactionTooOld, "Retryable write with txnNumber %d is prohibited on session %s because a newer retryable write with txnNumber %d has already started on this session.", txn, lsid, s.txn)
	}
	w.d.remember(lsid, txn, r)
	w.note(change{kind: rememberStmt, name: lsid, txn: txn, record: r})
	return nil
}
