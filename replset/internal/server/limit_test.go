package server

import (
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestACursorWhoseMaxTimeIsUpIsClosed(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(1, 2, 3))
	open := func(cmd bson.D) int64 {
		t.Helper()
		id, ok := w.ok("test", cmd).Lookup("cursor", "id").AsInt64OK()
		if !ok || id == 0 {
			t.Fatalf("%v leaves no cursor open", cmd)
		}
		return id
	}
	more := func(id int64, coll string) bson.D {
		return bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: coll}, {Key: "batchSize", Value: 1}}
	}
	const limit = 500 // ms
	cursor := bson.D{{Key: "batchSize", Value: 0}}
	find := bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 1}}
	aggregate := bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{}}, {Key: "cursor", Value: cursor}}
	limited := bson.E{Key: "maxTimeMS", Value: limit}

	free := open(find)
	indexes := open(bson.D{{Key: "listIndexes", Value: "c"}, {Key: "cursor", Value: cursor}, limited})
	for _, cmd := range []bson.D{append(find, limited), append(aggregate, limited)} {
		id := open(cmd)
		w.ok("test", more(id, "c"))
		s.srv.Slow("getMore", time.Hour)
		w.refused("test", more(id, "c"), codeMaxTimeMSExpired)
		s.srv.Slow("getMore", 0)
		w.refused("test", more(id, "c"), codeCursorNotFound)
	}
	s.srv.Slow("getMore", (limit+1)*time.Millisecond)
	w.ok("test", more(free, "c"))
	w.ok("test", more(indexes, "c"))
}

func TestGetMoresTogetherHaveWhatTheFindHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s cursors
		s.init()
		defer s.closeAll()
		find := &request{cmd: commandsByName["find"], db: "d", received: time.Now(), generic: generic{session: "a", maxTime: 5 * time.Second}}
		time.Sleep(2 * time.Second)
		cur := &cursor{id: 7, db: "d", session: "a"}
		cur.leave(find)
		s.add(cur)
		time.Sleep(time.Minute) // Nobody asks meanwhile.
		_, id, _ := bson.MarshalValue(int64(7))
		more := &request{cmd: getMoreCommand, db: "d", first: bson.RawValue{Type: bson.TypeInt64, Value: id}, generic: generic{session: "a"}}
		for _, want := range []time.Duration{3 * time.Second, 2 * time.Second, time.Second} {
			if left, limited := s.left(more); left != want || !limited {
				t.Fatalf("%v is left, want %v", left, want)
			}
			cur, err := s.take(7)
			if err != nil {
				t.Fatal(err)
			}
			s.give(cur, false, time.Second)
		}
		other := *more
		other.session = "b"
		if _, limited := s.left(&other); limited {
			t.Error("another session's getMore is limited by it")
		}
		if s.expire(&other); s.len() != 1 {
			t.Error("another session's getMore has closed it")
		}
		if s.expire(more); s.len() != 0 {
			t.Error("it is still open")
		}
	})
}
