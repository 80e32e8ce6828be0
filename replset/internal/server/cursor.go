package server

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

const (
	// cursorTimeout is how long a cursor may lie idle.
	cursorTimeout = 10 * time.Minute
	// firstBatch is how many documents a first batch has when none is asked for.
	firstBatch = 101
	// batchBytes is how large a batch gets.
	batchBytes = 16 << 20
)

// results are the documents a query has yet to return. They are the state of one
// moment: what is written later does not show in them.
type results struct {
	docs []bson.Raw
	// project makes what is returned of a document; nil returns it whole.
	project func(bson.Raw) (bson.Raw, error)
	// openEnd says that a server would learn only by looking further that there is
	// nothing more, so that a batch that is exactly full leaves a cursor open.
	openEnd bool
	// of is the UUID of the collection that they are read from; empty for what a command
	// makes up.
	of []byte
}

// check refuses to go on once the collection is gone, though one of its name may be there
// again: a server reads from the collection until the last document. It may return the rest
// of an aggregate that it has at hand already; how much that is hangs on its batches.
func (res *results) check(s repl.Snapshot, db, coll string) error {
	if len(res.of) == 0 {
		return nil
	}
	if have := s.Collection(db, coll); have != nil && bytes.Equal(have.Info().UUID.Data, res.of) {
		return nil
	}
	return refuse(codeQueryPlanKilled, "collection dropped. UUID %s", sessionName([16]byte(res.of)))
}

// cursor is results kept for getMore.
type cursor struct {
	id      int64
	db      string
	coll    string
	session string
	user    string
	level   repl.ReadLevel
	results
	noTimeout bool
	limited   bool // it has a time limit, of which left is what its getMores may still take

	// Owned by cursors.mu.
	busy bool
	used time.Time
	left time.Duration
}

type cursors struct {
	mu     sync.Mutex
	open   map[int64]*cursor
	reaper *time.Timer
}

func (s *cursors) init() { s.open = map[int64]*cursor{} }

// add stores a new cursor, which is not in use.
func (s *cursors) add(cur *cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cur.id == 0 || s.open[cur.id] != nil {
		cur.id = rand.Int64()
	}
	cur.used = time.Now()
	s.open[cur.id] = cur
	if s.reaper == nil {
		s.reaper = time.AfterFunc(time.Minute, s.reap)
	}
}

// reap closes the cursors that have been idle too long, each minute while there
// are any.
func (s *cursors) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reaper == nil {
		return
	}
	now := time.Now()
	for id, cur := range s.open {
		idle := now.Sub(cur.used)
		if !cur.busy && (!cur.noTimeout && idle > cursorTimeout || cur.session != "" && idle > sessionTimeout) {
			delete(s.open, id)
		}
	}
	if len(s.open) == 0 {
		s.reaper = nil
		return
	}
	s.reaper.Reset(time.Minute)
}

// take hands a cursor to one getMore.
func (s *cursors) take(id int64) (*cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.open[id]
	if cur == nil {
		return nil, refuse(codeCursorNotFound, "cursor id %d not found", id)
	}
	if cur.busy {
		return nil, refuse(codeCursorInUse, "cursor id %d is already in use", id)
	}
	cur.busy = true
	return cur, nil
}

// give takes it back, after a getMore that took so long; done closes it.
func (s *cursors) give(cur *cursor, done bool, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur.busy = false
	cur.left -= took
	cur.used = time.Now()
	if done {
		delete(s.open, cur.id)
	}
}

// kill closes a cursor; it says whether there was one.
func (s *cursors) kill(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.open[id]
	delete(s.open, id)
	return ok
}

func (s *cursors) closeOfSession(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, cur := range s.open {
		if cur.session == session {
			delete(s.open, id)
		}
	}
}

func (s *cursors) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.open)
	if s.reaper != nil {
		s.reaper.Stop()
		s.reaper = nil
	}
}

func (s *cursors) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// appendBatch appends up to n documents to the array under key, and as much as
// fits into one reply: always one. more is false when nothing is left.
func (res *results) appendBatch(w *builder, key string, n int) (more bool, err error) {
	at := w.array(key)
	count := 0
	for ; count < n && len(res.docs) > 0; count++ {
		doc := res.docs[0]
		if res.project != nil {
			if doc, err = res.project(doc); err != nil {
				return false, err
			}
		}
		if count > 0 && len(w.b)-at+len(doc) > batchBytes {
			break
		}
		w.rawAt(count, doc)
		res.docs[0] = nil
		res.docs = res.docs[1:]
	}
	w.close(at)
	if len(res.docs) > 0 {
		return true, nil
	}
	return res.openEnd && count == n, nil
}

// appendCursor answers a query with its first batch, and keeps a cursor when
// there is more. n < 0 is the default size.
func (c *conn) appendCursor(r *request, coll string, res results, n int64, single, noTimeout bool) error {
	w := &c.out
	size := firstBatch
	if n >= 0 {
		size = int(min(n, maxMessageSize))
	}
	at := w.doc("cursor")
	more, err := res.appendBatch(w, "firstBatch", size)
	if err != nil {
		return err
	}
	var id int64
	if more && !single {
		id = c.openCursor(r, coll, res, noTimeout)
		r.retain = true // the projection lies in the request
	}
	w.int64("id", id)
	w.string("ns", r.db+"."+coll)
	w.close(at)
	return nil
}

// openCursor keeps what is left of a command's results for getMore.
func (c *conn) openCursor(r *request, coll string, res results, noTimeout bool) (id int64) {
	cur := &cursor{db: r.db, coll: coll, session: r.session, user: c.user, level: r.readLevel, results: res, noTimeout: noTimeout}
	cur.leave(r)
	c.s.cursors.add(cur)
	return cur.id
}
