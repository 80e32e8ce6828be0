package replset

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

func bulkInsert(coll string, id any) mongo.ClientBulkWrite {
	return mongo.ClientBulkWrite{Database: "game", Collection: coll, Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: id}})}
}

func bulkInc(coll string, id any) mongo.ClientBulkWrite {
	return mongo.ClientBulkWrite{Database: "game", Collection: coll, Model: mongo.NewClientUpdateOneModel().
		SetFilter(bson.D{{Key: "_id", Value: id}}).SetUpdate(bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}).SetUpsert(true)}
}

// sent counts the commands that a client sends.
func sent(counts *sync.Map) func(*options.ClientOptions) {
	return func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			n, _ := counts.LoadOrStore(e.CommandName, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}})
	}
}

func countOf(counts *sync.Map, command string) int64 {
	if n, ok := counts.Load(command); ok {
		return n.(*atomic.Int64).Load()
	}
	return 0
}

func TestTheDriverWritesToManyCollectionsInOneCommand(t *testing.T) {
	set := steady(t, Options{})
	var counts sync.Map
	client := connect(t, set.URI(), sent(&counts))
	result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{
		bulkInsert("players", "ann"), bulkInsert("players", "bob"), bulkInsert("items", 1),
		bulkInc("scores", "ann"), bulkInc("scores", "ann"),
		{Database: "game", Collection: "players", Model: mongo.NewClientUpdateManyModel().SetFilter(bson.D{}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "gold", Value: 7}}}})},
		{Database: "game", Collection: "players", Model: mongo.NewClientReplaceOneModel().SetFilter(bson.D{{Key: "gold", Value: 7}}).SetSort(bson.D{{Key: "_id", Value: -1}}).SetReplacement(bson.D{{Key: "gold", Value: 1}})},
		{Database: "log", Collection: "writes", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "x", Value: 1}})},
		{Database: "game", Collection: "items", Model: mongo.NewClientDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: 1}})},
		{Database: "game", Collection: "items", Model: mongo.NewClientDeleteManyModel().SetFilter(bson.D{})},
	}, options.ClientBulkWrite().SetVerboseResults(true).SetComment("c"))
	if err != nil {
		t.Fatal(err)
	}
	if result.InsertedCount != 4 || result.UpsertedCount != 1 || result.MatchedCount != 4 || result.ModifiedCount != 4 || result.DeletedCount != 1 || !result.HasVerboseResults {
		t.Errorf("%+v", result)
	}
	if result.InsertResults[1].InsertedID != "bob" || result.UpdateResults[3].UpsertedID != "ann" || result.UpdateResults[4].ModifiedCount != 1 || result.UpdateResults[5].MatchedCount != 2 || result.DeleteResults[8].DeletedCount != 1 || result.DeleteResults[9].DeletedCount != 0 {
		t.Errorf("%+v", result)
	}
	var bob struct{ Gold int }
	if err := client.Database("game").Collection("players").FindOne(soon(t), bson.D{{Key: "_id", Value: "bob"}}).Decode(&bob); err != nil || bob.Gold != 1 {
		t.Errorf("%+v, %v", bob, err)
	}
	if n := countOf(&counts, "bulkWrite"); n != 1 {
		t.Errorf("%d commands", n)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Members() {
		if n := number(t, direct(t, m).Database("log").Collection("writes"), bson.D{}); n != 1 {
			t.Errorf("%v has %d documents", m, n)
		}
	}
	if got := primaryOf(t, set).Counters(); got.Commands["bulkWrite"] != 1 || got.Writes != 10 {
		t.Errorf("%+v", got)
	}
}

func TestTheDriverLearnsWhichWritesOfABulkFailed(t *testing.T) {
	set := steady(t, Options{Members: 1})
	client := connect(t, set.URI())
	writes := []mongo.ClientBulkWrite{
		bulkInsert("a", 1), bulkInsert("a", 1), bulkInsert("b", 1),
		{Database: "game", Collection: "b", Model: mongo.NewClientUpdateOneModel().SetFilter(bson.D{}).SetUpdate(bson.D{{Key: "$bad", Value: 1}})},
	}
	for _, c := range []struct {
		ordered  bool
		failed   []int
		inserted int64
	}{{true, []int{1}, 1}, {false, []int{1, 3}, 2}} {
		for _, coll := range []string{"a", "b"} {
			if _, err := client.Database("game").Collection(coll).DeleteMany(soon(t), bson.D{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := client.BulkWrite(soon(t), writes, options.ClientBulkWrite().SetOrdered(c.ordered))
		var failure mongo.ClientBulkWriteException
		if !errors.As(err, &failure) {
			t.Fatalf("ordered %v: %v", c.ordered, err)
		}
		var failed []int
		for i := range failure.WriteErrors {
			failed = append(failed, i)
		}
		slices.Sort(failed)
		if !slices.Equal(failed, c.failed) || failure.WriteErrors[1].Code != 11000 || failure.PartialResult.InsertedCount != c.inserted {
			t.Errorf("ordered %v: %+v", c.ordered, failure)
		}
	}
}

func TestABulkWriteLargerThanACommandIsSplitByTheDriver(t *testing.T) {
	set := steady(t, Options{Members: 1})
	var counts sync.Map
	client := connect(t, set.URI(), sent(&counts))
	many := slices.Repeat([]mongo.ClientBulkWrite{{Database: "game", Collection: "many", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{})}}, 100_001)
	result, err := client.BulkWrite(soon(t), many)
	if err != nil || result.InsertedCount != 100_001 || countOf(&counts, "bulkWrite") != 2 {
		t.Fatalf("%+v, %v in %d commands", result, err, countOf(&counts, "bulkWrite"))
	}
	counts.Clear()
	large := bson.D{{Key: "x", Value: string(bytes.Repeat([]byte{'x'}, 15_000_000))}}
	few := slices.Repeat([]mongo.ClientBulkWrite{{Database: "game", Collection: "large", Model: mongo.NewClientInsertOneModel().SetDocument(large)}}, 4)
	result, err = client.BulkWrite(soon(t), few)
	if err != nil || result.InsertedCount != 4 || countOf(&counts, "bulkWrite") != 2 {
		t.Fatalf("%+v, %v in %d commands", result, err, countOf(&counts, "bulkWrite"))
	}
}

func TestTheDriverFetchesResultsThatDoNotFitOneReply(t *testing.T) {
	set := steady(t, Options{Members: 1})
	var counts sync.Map
	client := connect(t, set.URI(), sent(&counts))
	ids := []any{string(bytes.Repeat([]byte{'a'}, 8<<20)), string(bytes.Repeat([]byte{'b'}, 8<<20))}
	result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInc("c", ids[0]), bulkInc("c", ids[1])}, options.ClientBulkWrite().SetVerboseResults(true))
	if err != nil {
		t.Fatal(err)
	}
	if result.UpdateResults[0].UpsertedID != ids[0] || result.UpdateResults[1].UpsertedID != ids[1] || result.UpsertedCount != 2 {
		t.Errorf("%d upserted", result.UpsertedCount)
	}
	if n := countOf(&counts, "getMore"); n != 1 {
		t.Errorf("%d getMores", n)
	}
}

func TestAnUnacknowledgedBulkWriteIsExecuted(t *testing.T) {
	set := steady(t, Options{Members: 1})
	client := connect(t, set.URI())
	result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInsert("a", 1), bulkInsert("a", 1), bulkInsert("a", 2)},
		options.ClientBulkWrite().SetOrdered(false).SetWriteConcern(writeconcern.Unacknowledged()))
	if err != nil || result.Acknowledged {
		t.Fatalf("%+v, %v", result, err)
	}
	coll := client.Database("game").Collection("a")
	eventually(t, "both documents are there", func() bool { return number(t, coll, bson.D{}) == 2 })
}

// failOnce makes one bulkWrite fail.
func failOnce(t testing.TB, m *Member, data ...bson.E) {
	t.Helper()
	cmd := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: bson.D{{Key: "times", Value: 1}}},
		{Key: "data", Value: append(bson.D{{Key: "failCommands", Value: bson.A{"bulkWrite"}}}, data...)}}
	if err := direct(t, m).Database("admin").RunCommand(soon(t), cmd).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestARetriedBulkWriteIsExecutedOnce(t *testing.T) {
	set := steady(t, Options{})
	for _, fault := range []struct {
		name string
		data []bson.E
	}{
		{"the connection is cut", []bson.E{{Key: "closeConnection", Value: true}}},
		{"the primary steps down", []bson.E{{Key: "errorCode", Value: 189}}},
		{"executed, and then shut down", []bson.E{{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 91}, {Key: "errmsg", Value: "shutting down"}}}}},
	} {
		var counts sync.Map
		client := connect(t, set.URI(), sent(&counts))
		if err := client.Database("game").Drop(soon(t)); err != nil {
			t.Fatal(err)
		}
		failOnce(t, primaryOf(t, set), fault.data...)
		result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInc("a", 1), bulkInc("a", 1), bulkInsert("b", 1)})
		if err != nil || result.UpsertedCount != 1 || result.ModifiedCount != 1 || result.InsertedCount != 1 {
			t.Errorf("%s: %+v, %v", fault.name, result, err)
		}
		if n := countOf(&counts, "bulkWrite"); n != 2 {
			t.Errorf("%s: %d attempts", fault.name, n)
		}
		if n := number(t, client.Database("game").Collection("a"), bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 2}}); n != 1 {
			t.Errorf("%s: executed more than once, or not at all", fault.name)
		}
	}
	// A multi operation is not retried.
	client := connect(t, set.URI())
	failOnce(t, primaryOf(t, set), bson.E{Key: "closeConnection", Value: true})
	_, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{{Database: "game", Collection: "a", Model: mongo.NewClientDeleteManyModel().SetFilter(bson.D{})}})
	if !mongo.IsNetworkError(err) {
		t.Error(err)
	}
}

// deafDialer loses the first reply to a bulkWrite: the server has executed it by then.
type deafDialer struct{ lost atomic.Bool }

type deafConn struct {
	net.Conn
	dialer *deafDialer
	bulk   atomic.Bool // the last message that was sent is a bulkWrite
}

func (d *deafDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &deafConn{Conn: nc, dialer: d}, nil
}

func (c *deafConn) Write(b []byte) (int, error) {
	c.bulk.Store(bytes.Contains(b, []byte("bulkWrite\x00")))
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.bulk.Load() && c.dialer.lost.CompareAndSwap(false, true) {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestABulkWriteWhoseReplyIsLostIsNotExecutedAgain(t *testing.T) {
	set := steady(t, Options{})
	dialer := &deafDialer{}
	var counts sync.Map
	client := connect(t, set.URI(), sent(&counts), func(o *options.ClientOptions) { o.SetDialer(dialer) })
	result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInc("a", 1), bulkInc("a", 1), bulkInsert("b", 1)}, options.ClientBulkWrite().SetVerboseResults(true))
	if err != nil || result.UpsertedCount != 1 || result.ModifiedCount != 1 || result.InsertedCount != 1 || result.UpdateResults[0].UpsertedID != int32(1) {
		t.Fatalf("%+v, %v", result, err)
	}
	if n := countOf(&counts, "bulkWrite"); n != 2 || !dialer.lost.Load() {
		t.Errorf("%d attempts", n)
	}
	if n := number(t, client.Database("game").Collection("a"), bson.D{{Key: "n", Value: 2}}); n != 1 {
		t.Error("executed more than once")
	}
	if got := primaryOf(t, set).Counters().Commands["bulkWrite"]; got != 2 {
		t.Errorf("the primary has had %d bulkWrites", got)
	}
}

func TestABulkWriteGoesOnAtTheNextPrimary(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	// With a Timeout the driver tries again for as long as that lasts. Its single retry may
	// be spent before it has noticed that the primary is gone: the pool of the old one is
	// cleared under the first attempt, and still the only one to choose for the second.
	client := connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTimeout(20 * time.Second) })
	if _, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInc("a", 1)}); err != nil {
		t.Fatal(err)
	}
	primaryOf(t, set).Kill()
	result, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInc("a", 1), bulkInc("b", 1)})
	if err != nil || result.ModifiedCount != 1 || result.UpsertedCount != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
}
