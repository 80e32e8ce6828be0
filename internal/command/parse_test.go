package command

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func cursorReply(batch string, id any, docs ...any) bson.D {
	return doc("cursor", doc(batch, append(bson.A{}, docs...), "id", id, "ns", "game.players"), "ok", 1.0)
}

func TestRepliesAreRead(t *testing.T) {
	one, two := marshal(t, doc("_id", 1)), marshal(t, doc("_id", 2))
	for i, c := range []struct {
		kind  Kind
		reply bson.D
		id    int64
		want  messages.ReadReply
	}{
		{KindOne, cursorReply("firstBatch", int64(0), one), 0, messages.ReadReply{Document: one}},
		{KindOne, cursorReply("firstBatch", int64(0)), 0, messages.ReadReply{Err: mongo.ErrNoDocuments}},
		{KindBatch, cursorReply("firstBatch", int64(0)), 0, messages.ReadReply{Documents: []bson.Raw{}}},
		{KindBatch, cursorReply("firstBatch", int64(7), one, two), 7, messages.ReadReply{Documents: []bson.Raw{one, two}}},
		{KindBatch, cursorReply("nextBatch", int64(-7), two), -7, messages.ReadReply{Documents: []bson.Raw{two}}},
		{KindBatch, doc("cursor", doc("id", int64(7), "partialResultsReturned", false, "firstBatch", bson.A{one})), 7, messages.ReadReply{Documents: []bson.Raw{one}}},
		{KindAggCount, cursorReply("firstBatch", int64(0), doc("_id", 1, "n", 7)), 0, messages.ReadReply{Count: 7}},
		{KindAggCount, cursorReply("firstBatch", int64(0), doc("n", int64(1)<<40)), 0, messages.ReadReply{Count: 1 << 40}},
		{KindAggCount, cursorReply("firstBatch", int64(0)), 0, messages.ReadReply{}},
		{KindCount, doc("n", 7, "ok", 1.0), 0, messages.ReadReply{Count: 7}},
		{KindCount, doc("n", 7.0, "ok", 1.0), 0, messages.ReadReply{Count: 7}},
		{KindDistinct, doc("values", bson.A{1, "x"}, "ok", 1.0), 0, messages.ReadReply{Values: bson.RawArray(marshal(t, doc("0", 1, "1", "x")))}},
		{KindCommand, doc("n", 7, "cursor", 1), 0, messages.ReadReply{Document: marshal(t, doc("n", 7, "cursor", 1))}},
		{KindDone, doc("cursorsKilled", bson.A{}, "ok", 1.0), 0, messages.ReadReply{}},
	} {
		r := &Read{Name: "find", Kind: c.kind}
		got := messages.ReadReply{}
		id, err := r.Parse(marshal(t, c.reply), &got)
		if err != nil || id != c.id || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d: got %+v, cursor %d, error %v; want %+v, cursor %d", i, got, id, err, c.want, c.id)
		}
	}
}

func TestRepliesThatAreNotWhatTheProtocolSaysAreErrors(t *testing.T) {
	for i, c := range []struct {
		kind  Kind
		reply bson.Raw
	}{
		{KindDone, nil}, {KindDone, bson.Raw{5, 0, 0, 0, 1}}, {KindDone, bson.Raw{8, 0, 0, 0, 0x10, 'a', 0, 0}}, {KindCommand, bson.Raw{}},
		{KindOne, marshal(t, doc("ok", 1.0))}, {KindOne, marshal(t, doc("cursor", 1))}, {KindOne, marshal(t, doc("cursor", doc("id", int64(0))))},
		{KindOne, marshal(t, cursorReply("firstBatch", 0))}, {KindOne, marshal(t, doc("cursor", doc("firstBatch", doc(), "id", int64(0))))},
		{KindOne, marshal(t, cursorReply("firstBatch", int64(0), 7))}, {KindBatch, marshal(t, cursorReply("firstBatch", int64(0), doc(), 7))},
		{KindBatch, marshal(t, cursorReply("firstBatch", int64(0), 7, doc()))},
		{KindAggCount, marshal(t, cursorReply("firstBatch", int64(0), doc("n", "7")))}, {KindAggCount, marshal(t, cursorReply("firstBatch", int64(0), doc()))},
		{KindOne, marshal(t, cursorReply("firstBatch", int64(0), doc(), doc()))},
		{KindOne, marshal(t, append(cursorReply("firstBatch", int64(0)), cursorReply("firstBatch", int64(0), doc())...))},
		{KindBatch, marshal(t, doc("cursor", doc("id", int64(0), "firstBatch", bson.A{}, "nextBatch", bson.A{doc()})))},
		{KindCount, marshal(t, doc("n", 7, "n", 8))},
		{KindCount, marshal(t, doc("ok", 1.0))}, {KindCount, marshal(t, doc("n", "7"))},
		{KindDistinct, marshal(t, doc("ok", 1.0))}, {KindDistinct, marshal(t, doc("values", doc()))},
		{KindBatch, marshal(t, doc("cursor", doc("id", int64(0), "firstBatch", bson.RawValue{Type: bson.TypeArray, Value: []byte{8, 0, 0, 0, 0x10, 'a', 0, 0}})))},
	} {
		r := &Read{Name: "find", Kind: c.kind}
		if id, err := r.Parse(c.reply, &messages.ReadReply{}); err == nil || id != 0 {
			t.Errorf("%d: % x was read", i, []byte(c.reply))
		}
	}
}

func TestADocumentThatAPointReadHasNotAskedForIsAnError(t *testing.T) {
	var enc Encoder
	decimal, _ := bson.ParseDecimal128("7")
	id := bson.NewObjectID()
	for i, c := range []struct {
		asked, got any
		fine       bool
	}{
		{7, doc("_id", 7), true}, {7, doc("_id", 7.0), true}, {int64(7), doc("_id", 8), false}, {7, doc("_id", "7"), false},
		{id, doc("_id", id), true}, {id, doc("_id", bson.NewObjectID()), false}, {7, doc("x", 7), false},
		// What the server may take for equal is not known here.
		{7, doc("_id", decimal), true}, {decimal, doc("_id", 8), true}, {"ann", doc("_id", "ANN"), true},
		// In a view.
		{7, doc("_id", bson.A{"x", 7}), true},
	} {
		r := encodeRead(t, &enc, "players", messages.FindOne{Filter: doc("_id", c.asked)})
		var rep messages.ReadReply
		_, err := r.Parse(marshal(t, cursorReply("firstBatch", int64(0), c.got)), &rep)
		if (err == nil) != c.fine || (rep.Document != nil) != c.fine {
			t.Errorf("%d: got %v, %v", i, rep.Document, err)
		}
	}
	for _, op := range []messages.FindOne{
		{Filter: doc("_id", 7), Options: []options.Lister[options.FindOneOptions]{options.FindOne().SetProjection(doc("_id", 0))}},
		{Filter: doc("level", 7)},
	} {
		r := encodeRead(t, &enc, "players", op)
		if _, err := r.Parse(marshal(t, cursorReply("firstBatch", int64(0), doc("x", 1))), &messages.ReadReply{}); err != nil {
			t.Errorf("%+v: %v", op, err)
		}
	}
}

func TestATokenIsWhatASessionOfTheDriverTakes(t *testing.T) {
	at := bson.Timestamp{T: 7, I: 3}
	clusterTime := doc("clusterTime", bson.Timestamp{T: 9, I: 1}, "signature", doc("hash", []byte("x"), "keyId", int64(7)))
	reply := marshal(t, append(cursorReply("firstBatch", int64(0)), doc("operationTime", at, "$clusterTime", clusterTime)...))
	var rep messages.ReadReply
	if _, err := (&Read{Kind: KindBatch}).Parse(reply, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Token.OperationTime != at {
		t.Errorf("its operation time is %v", rep.Token.OperationTime)
	}
	client := connect(t, options.Client())
	session, err := client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	if err := session.AdvanceClusterTime(rep.Token.ClusterTime); err != nil {
		t.Fatal(err)
	}
	if got := session.ClusterTime().Lookup("$clusterTime", "clusterTime"); !got.Equal(bson.RawValue{Type: bson.TypeTimestamp, Value: []byte{1, 0, 0, 0, 9, 0, 0, 0}}) {
		t.Errorf("the session's cluster time is %v", session.ClusterTime())
	}
	if _, err := (&Encoder{}).Read(&messages.Read{Database: "game", Collection: "a", After: rep.Token, Operation: messages.EstimatedCount{}}); err != nil {
		t.Errorf("it is not taken back: %v", err)
	}
	own := messages.Token{OperationTime: at, ClusterTime: session.ClusterTime()}
	if _, err := (&Encoder{}).Read(&messages.Read{Database: "game", Collection: "a", After: own, Operation: messages.EstimatedCount{}}); err != nil {
		t.Errorf("a session's own is not taken: %v", err)
	}

	var none messages.ReadReply
	if _, err := (&Read{Kind: KindBatch}).Parse(marshal(t, append(cursorReply("firstBatch", int64(0)), doc("$clusterTime", clusterTime)...)), &none); err != nil || !none.Token.IsZero() || none.Token.ClusterTime != nil {
		t.Errorf("without an operation time the token is %+v, error %v", none.Token, err)
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	var enc Encoder
	at := bson.Timestamp{T: 7}
	broken := marshal(t, doc("$clusterTime", doc("clusterTime", at, "signature", true)))
	broken[len(broken)-3] = 7 // Neither true nor false.
	for i, token := range []messages.Token{
		{ClusterTime: marshal(t, doc("$clusterTime", doc("clusterTime", at)))},
		{OperationTime: at, ClusterTime: bson.Raw{1, 2, 3}},
		{OperationTime: at, ClusterTime: broken},
		{OperationTime: at, ClusterTime: marshal(t, doc("clusterTime", at))},
		{OperationTime: at, ClusterTime: marshal(t, doc("$clusterTime", at))},
		{OperationTime: at, ClusterTime: marshal(t, doc("$clusterTime", doc("clusterTime", 7)))},
	} {
		_, err := enc.Read(&messages.Read{Database: "game", Collection: "a", After: token, Operation: messages.EstimatedCount{}})
		var invalid *messages.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "After" {
			t.Errorf("%d: got %v", i, err)
		}
	}
}

func TestOnTheWireAReadHasItsConcernAndItsTime(t *testing.T) {
	var enc Encoder
	after := bson.Timestamp{T: 7, I: 3}
	find := encodeRead(t, &enc, "players", messages.Find{Filter: doc()})
	more := encodeRead(t, &enc, "players", messages.GetMore{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "players"}, MaxAwaitTime: time.Microsecond})
	ping := encodeRead(t, &enc, "", messages.Command{Document: doc("ping", 1)})
	limited := encodeRead(t, &enc, "", messages.Command{Document: doc("ping", 1, "maxTimeMS", 5)})
	unlimited := encodeRead(t, &enc, "", messages.Command{Document: doc("ping", 1, "maxTimeMS", 0)})
	for i, c := range []struct {
		read    *Read
		concern Concern
		max     time.Duration
		want    bson.D
	}{
		{find, Concern{}, 0, doc("find", "players", "filter", doc())},
		{find, Concern{Level: "majority"}, 0, doc("find", "players", "filter", doc(), "readConcern", doc("level", "majority"))},
		{find, Concern{After: after}, 0, doc("find", "players", "filter", doc(), "readConcern", doc("afterClusterTime", after))},
		{find, Concern{"local", after}, 1500 * time.Microsecond, doc("find", "players", "filter", doc(), "readConcern", doc("level", "local", "afterClusterTime", after), "maxTimeMS", int64(2))},
		{find, Concern{}, time.Nanosecond, doc("find", "players", "filter", doc(), "maxTimeMS", int64(1))},
		{find, Concern{}, 1<<63 - 1, doc("find", "players", "filter", doc(), "maxTimeMS", int64(9223372036855))},
		{more, Concern{"majority", after}, time.Second, doc("getMore", int64(7), "collection", "players", "maxTimeMS", int64(1))},
		{ping, Concern{"majority", after}, time.Second, doc("ping", 1, "maxTimeMS", int64(1000))},
		{limited, Concern{}, time.Second, doc("ping", 1, "maxTimeMS", 5)},
		{unlimited, Concern{}, time.Second, doc("ping", 1, "maxTimeMS", 0)},
	} {
		before := string(c.read.Body)
		if got := c.read.Wire(c.concern, c.max); string(got) != string(marshal(t, c.want)) {
			t.Errorf("%d: got %v, want %v", i, got, marshal(t, c.want))
		}
		if string(c.read.Body) != before {
			t.Errorf("%d: the read itself was changed", i)
		}
	}
	if limited.MaxTimeMS != 5 || unlimited.MaxTimeMS != 0 {
		t.Errorf("the callers' limits are %d and %d", limited.MaxTimeMS, unlimited.MaxTimeMS)
	}
}

func TestTheCursorOfADatabasesAggregateIsContinued(t *testing.T) {
	var enc Encoder
	r := encodeRead(t, &enc, "", messages.Aggregate{Pipeline: bson.A{}})
	cursor := &messages.Cursor{ID: 7, Database: r.Database, Collection: r.Collection}
	more := encodeRead(t, &enc, "", messages.GetMore{Cursor: cursor, BatchSize: 3, Comment: "c"})
	if want := marshal(t, doc("getMore", int64(7), "collection", "$cmd.aggregate", "batchSize", 3, "comment", "c")); string(more.Body) != string(want) {
		t.Errorf("got %v, want %v", more.Body, want)
	}
	kill := encodeRead(t, &enc, "", messages.CloseCursor{Cursor: cursor})
	if want := marshal(t, doc("killCursors", "$cmd.aggregate", "cursors", bson.A{int64(7)})); string(kill.Body) != string(want) {
		t.Errorf("got %v, want %v", kill.Body, want)
	}
}

func FuzzParse(f *testing.F) {
	at := bson.Timestamp{T: 7}
	for _, reply := range []bson.D{
		cursorReply("firstBatch", int64(7), doc("_id", 1), doc("n", 7)), cursorReply("nextBatch", int64(0)), doc("n", 7), doc("values", bson.A{1}),
		doc("operationTime", at, "$clusterTime", doc("clusterTime", at)), everyType,
	} {
		raw := marshal(f, reply)
		f.Add([]byte(raw))
		f.Add([]byte(raw[4 : len(raw)-1]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		elements := wrapped(data)
		cursor, batch := newBody(64), newBody(64)
		cursor.doc("cursor", elements)
		batch.doc("cursor", wrapped(append([]byte("\x04firstBatch\x00"), elements...)))
		for _, reply := range [][]byte{data, elements, cursor.end(), batch.end()} {
			for kind := KindOne; kind <= KindDone; kind++ {
				checkParse(t, kind, reply)
			}
		}
	})
}

func checkParse(t *testing.T, kind Kind, reply []byte) {
	var rep messages.ReadReply
	if _, err := (&Read{Name: "find", Kind: kind}).Parse(reply, &rep); err != nil {
		return
	}
	for _, d := range append(rep.Documents, rep.Document) {
		if d != nil && documentSize(d) < 0 {
			t.Fatalf("% x holds the document % x", reply, []byte(d))
		}
	}
	if ct := rep.Token.ClusterTime; ct != nil && documentSize(ct) != len(ct) {
		t.Fatalf("% x has the cluster time % x", reply, []byte(ct))
	}
	if rep.Values != nil && documentSize(rep.Values) != len(rep.Values) {
		t.Fatalf("% x has the values % x", reply, []byte(rep.Values))
	}
}
