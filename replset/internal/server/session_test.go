package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestARetriedInsertReturnsTheFirstResult(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	first := w.ok("test", retryable(insertOf(1, 2), 5))
	again := w.ok("test", retryable(insertOf(1, 2, 3), 5))
	if first.Lookup("n").Int32() != 2 || again.Lookup("n").Int32() != 3 {
		t.Errorf("%v, then %v", first, again)
	}
	var ids []int32
	if err := again.Lookup("retriedStmtIds").Unmarshal(&ids); err != nil || !slices.Equal(ids, []int32{0, 1}) {
		t.Error(again)
	}
	w.refused("test", retryable(insertOf(4), 4), codeTransactionTooOld)
}

func TestANewerCommandOfASessionWaitsForTheOneInFlight(t *testing.T) {
	s := start(t, "rs0")
	one := s.dial()
	release, err := s.srv.sessions.checkOut(t.Context(), sessionName([16]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	one.refused("test", append(retryable(insertOf(1), 1), bson.E{Key: "maxTimeMS", Value: 20}), codeMaxTimeMSExpired)
	one.ok("test", insertOf("without a transaction number it does not wait"))
	one.send(0, append(retryable(insertOf(1), 1), bson.E{Key: "$db", Value: "test"}))
	release()
	if _, reply := one.receive(); reply.Lookup("n").Int32() != 1 {
		t.Error(reply)
	}
}

func TestTransactionNumbersAreRefusedWhereTheyDoNotBelong(t *testing.T) {
	w := start(t, "rs0").dial()
	w.refused("test", retryable(bson.D{{Key: "find", Value: "c"}}, 1), codeNotARetryableWrite)
	w.refused("test", append(insertOf(1), bson.E{Key: "txnNumber", Value: int64(1)}), codeInvalidOptions)
	w.refused("test", append(retryable(insertOf(1), 1), bson.E{Key: "autocommit", Value: false}, bson.E{Key: "startTransaction", Value: true}), 263)
	start(t, "").dial().refused("test", retryable(insertOf(1), 1), codeIllegalOperation)
}

func TestACursorBelongsToItsSessionAndEndsWithIt(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(1, 2, 3))
	lsid := func(b byte) bson.E {
		return bson.E{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: append(make([]byte, 15), b)}}}}
	}
	open := func(extra ...bson.E) int64 {
		t.Helper()
		reply := w.ok("test", append(bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 1}}, extra...))
		id, ok := reply.Lookup("cursor", "id").Int64OK()
		if !ok || id == 0 {
			t.Fatal(reply)
		}
		return id
	}
	more := func(id int64, extra ...bson.E) bson.D {
		return append(bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "batchSize", Value: 1}}, extra...)
	}
	id := open(lsid(1))
	w.refused("test", more(id), 50737)
	w.refused("test", more(id, lsid(2)), 50738)
	w.refused("test", bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "d"}, lsid(1)}, codeUnauthorized)
	w.ok("test", more(id, lsid(1)))
	w.ok("admin", bson.D{{Key: "endSessions", Value: bson.A{lsid(1).Value}}})
	w.refused("test", more(id, lsid(1)), codeCursorNotFound)
	w.refused("test", more(open(), lsid(1)), 50736)
	id = open()
	reply := w.ok("test", bson.D{{Key: "killCursors", Value: "c"}, {Key: "cursors", Value: bson.A{id, int64(5)}}})
	if got := reply.Lookup("cursorsKilled", "0").Int64(); got != id {
		t.Error(reply)
	}
	if got := reply.Lookup("cursorsNotFound", "0").Int64(); got != 5 {
		t.Error(reply)
	}
}

func TestACursorEndsWithItsCollection(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	drop, dropAll := d("drop", "c"), d("dropDatabase", 1)
	for _, c := range []struct {
		open  bson.D
		then  []bson.D
		stays bool
	}{
		{d("find", "c", "batchSize", 1), []bson.D{drop}, false},
		{d("find", "c", "batchSize", 1), []bson.D{drop, insertOf(1, 2, 3)}, false},
		{d("find", "c", "batchSize", 1, "sort", d("_id", -1)), []bson.D{dropAll, d("create", "c")}, false},
		{d("aggregate", "c", "pipeline", bson.A{}, "cursor", d("batchSize", 1)), []bson.D{dropAll}, false},
		{d("find", "c", "batchSize", 1), []bson.D{d("dropIndexes", "c", "index", "a_1"), d("delete", "c", "deletes", bson.A{d("q", bson.D{}, "limit", 0)})}, true},
		{d("listIndexes", "c", "cursor", d("batchSize", 1)), []bson.D{drop}, true},
	} {
		w.ok("test", drop)
		w.ok("test", insertOf(1, 2, 3))
		w.ok("test", d("createIndexes", "c", "indexes", bson.A{d("key", d("a", 1), "name", "a_1")}))
		id := w.ok("test", c.open).Lookup("cursor", "id").Int64()
		for _, cmd := range c.then {
			w.ok("test", cmd)
		}
		more := d("getMore", id, "collection", "c")
		if c.stays {
			w.ok("test", more)
			continue
		}
		if says := w.refused("test", more, codeQueryPlanKilled).Lookup("errmsg").StringValue(); !strings.HasPrefix(says, "collection dropped. UUID ") || len(says) != 61 {
			t.Errorf("%v: %s", c.then, says)
		}
		w.refused("test", more, codeCursorNotFound)
	}
}

func TestACursorEndsWhenItsLastDocumentIsKnownToBeTheLast(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(1, 2, 3))
	for _, c := range []struct {
		batch, limit, first int
		open                bool
	}{{3, 0, 3, true}, {4, 0, 3, false}, {3, 3, 3, false}, {2, 3, 2, true}, {0, 0, 0, true}} {
		reply := w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: c.batch}, {Key: "limit", Value: c.limit}})
		batch, err := reply.Lookup("cursor", "firstBatch").Array().Values()
		if err != nil {
			t.Fatal(err)
		}
		if id := reply.Lookup("cursor", "id").Int64(); len(batch) != c.first || (id != 0) != c.open {
			t.Errorf("%+v: %v", c, reply)
		}
	}
}

func TestIdleCursorsAreClosed(t *testing.T) {
	s := start(t, "rs0")
	cur := &cursor{}
	kept := &cursor{noTimeout: true}
	s.srv.cursors.add(cur)
	s.srv.cursors.add(kept)
	s.srv.cursors.mu.Lock()
	cur.used = time.Now().Add(-cursorTimeout - time.Second)
	kept.used = cur.used
	s.srv.cursors.mu.Unlock()
	s.srv.cursors.reap()
	if s.srv.cursors.kill(cur.id) || !s.srv.cursors.kill(kept.id) {
		t.Error("the wrong cursors are left")
	}
}

func TestAnExhaustGetMoreStreamsTheBatches(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(1, 2, 3, 4, 5))
	reply := w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 1}})
	w.send(flagExhaust, bson.D{{Key: "getMore", Value: reply.Lookup("cursor", "id").Int64()}, {Key: "collection", Value: "c"}, {Key: "batchSize", Value: 2}, {Key: "$db", Value: "test"}})
	seen := 0
	for {
		m, reply := w.receive()
		batch, err := reply.Lookup("cursor", "nextBatch").Array().Values()
		if err != nil {
			t.Fatal(reply)
		}
		seen += len(batch)
		if m.flags&flagMoreToCome == 0 {
			if id := reply.Lookup("cursor", "id").Int64(); id != 0 {
				t.Error("the stream ended before its cursor")
			}
			break
		}
	}
	if seen != 4 {
		t.Errorf("%d documents", seen)
	}
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
}
