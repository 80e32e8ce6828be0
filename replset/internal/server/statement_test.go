package server

import (
	"context"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestAnUpdateWithASortChangesTheFirstInItsOrder(t *testing.T) {
	s := start(t, "rs0")
	ctx := context.Background()
	coll := s.driver().Database("test").Collection("c")
	if _, err := coll.InsertMany(ctx, []any{bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 5}}, bson.D{{Key: "_id", Value: 2}, {Key: "a", Value: 7}}, bson.D{{Key: "_id", Value: 3}, {Key: "a", Value: 6}}}); err != nil {
		t.Fatal(err)
	}
	mark := bson.D{{Key: "$set", Value: bson.D{{Key: "m", Value: 1}}}}
	if _, err := coll.UpdateOne(ctx, bson.D{}, mark, options.UpdateOne().SetSort(bson.D{{Key: "a", Value: -1}})); err != nil {
		t.Fatal(err)
	}
	if _, err := coll.ReplaceOne(ctx, bson.D{}, bson.D{{Key: "m", Value: 2}}, options.Replace().SetSort(bson.D{{Key: "$natural", Value: -1}})); err != nil {
		t.Fatal(err)
	}
	for m, want := range map[int]int32{1: 2, 2: 3} {
		var got bson.Raw
		if err := coll.FindOne(ctx, bson.D{{Key: "m", Value: m}}).Decode(&got); err != nil || got.Lookup("_id").Int32() != want {
			t.Errorf("%d: %v, %v", m, got, err)
		}
	}
	w := s.dial()
	update := func(more ...bson.E) bson.D {
		return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{append(bson.D{{Key: "q", Value: bson.D{}}, {Key: "u", Value: mark}}, more...)}}}
	}
	sort := bson.E{Key: "sort", Value: bson.D{{Key: "a", Value: 1}}}
	w.refused("test", update(sort, bson.E{Key: "multi", Value: true}), codeFailedToParse)
	for _, c := range []struct {
		more bson.E
		code int32
	}{
		{bson.E{Key: "sort", Value: bson.D{{Key: "a", Value: 3}}}, 15975},
		{bson.E{Key: "c", Value: bson.D{{Key: "x", Value: 1}}}, 51198},
		{bson.E{Key: "upsertSupplied", Value: true}, codeFailedToParse},
	} {
		if reply := w.ok("test", update(c.more)); reply.Lookup("writeErrors", "0", "code").Int32() != c.code {
			t.Errorf("%v: %v", c.more, reply)
		}
	}
}

func TestStatementsHaveTheNumbersThatTheClientGivesThem(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	numbered := func(key string, value any, ids ...any) bson.D {
		return retryable(append(insertOf(ids...), bson.E{Key: key, Value: value}), 1)
	}
	w.ok("test", numbered("stmtIds", bson.A{7, 3}, 1, 2))
	reply := w.ok("test", numbered("stmtId", 2, 11, 1, 13)) // 2, 3, 4: the second one is done
	var done []int32
	if err := reply.Lookup("retriedStmtIds").Unmarshal(&done); err != nil || !slices.Equal(done, []int32{3}) || reply.Lookup("n").Int32() != 3 {
		t.Errorf("%v: %v", reply, err)
	}
	w.refused("test", numbered("stmtIds", bson.A{1}, 21, 22), codeInvalidLength)
	w.refused("test", append(numbered("stmtIds", bson.A{1}, 21), bson.E{Key: "stmtId", Value: 1}), codeInvalidOptions)
	w.refused("test", numbered("stmtId", int64(1), 21), codeTypeMismatch)
	w.refused("test", numbered("stmtIds", bson.A{"1"}, 21), codeTypeMismatch)
}

func TestOpcountersCountWhatIsExecuted(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", retryable(insertOf(1, 2), 1))
	w.ok("test", retryable(insertOf(1, 2), 1)) // again: nothing is executed
	w.ok("test", insertOf(1, 3, 4))            // ends at its first one
	inc := bson.D{{Key: "q", Value: bson.D{}}, {Key: "u", Value: bson.D{{Key: "$bad", Value: 1}}}}
	w.ok("test", bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{inc, inc}}})
	w.ok("test", bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "limit", Value: 0}}}}})
	status := w.ok("admin", bson.D{{Key: "serverStatus", Value: 1}})
	for name, want := range map[string]int64{"insert": 3, "update": 1, "delete": 1} {
		if got := status.Lookup("opcounters", name).Int64(); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := s.srv.Counters().Writes; got != 2+2+3+2+1 {
		t.Errorf("%d writes were given", got)
	}
}
