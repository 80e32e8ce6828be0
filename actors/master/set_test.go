package master

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// onSet is a master over a real driver and a replica set in this process.
type onSet struct {
	*rig
	set    *replset.Set
	client *mongo.Client // not the master's
	mends  []func()      // of faults that may still be there
}

func startSet(t *testing.T, opts replset.Options, cfg Config, changes ...func(*options.ClientOptions)) *onSet {
	t.Helper()
	set, err := replset.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	o := &onSet{rig: &rig{t: t}, set: set}
	cfg.Encoder = &command.Encoder{}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = patience
	}
	cfg.Emit = func(e messages.Event) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e)
	}
	if o.Master, err = New(newSystem(), cfg); err != nil {
		t.Fatal(err)
	}
	base := options.Client().ApplyURI(set.URI())
	for _, change := range changes {
		change(base)
	}
	conn, err := mongoconn.OpenSet(mongoconn.SetConfig{
		Base: base, Expect: mongoconn.Expect{SetName: set.Name(), AllowStandalone: opts.Standalone}, ConnectTimeout: patience,
		OnPrimary: func(host string, _ bson.ObjectID, _ uint32) { o.PrimaryChanged(host) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.Close()
		conn.Close()
		<-conn.Closed()
	})
	if err := o.Attach(conn); err != nil {
		t.Fatal(err)
	}
	o.client, err = mongo.Connect(options.Client().ApplyURI(set.URI()).SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.client.Disconnect(context.Background()) })
	return o
}

// failCommand makes the next times executions of a command on the primary fail.
func (o *onSet) failCommand(times int, data bson.D) {
	o.t.Helper()
	cmd := bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: bson.D{{Key: "times", Value: times}}},
		{Key: "data", Value: data},
	}
	if err := o.client.Database("admin").RunCommand(o.t.Context(), cmd).Err(); err != nil {
		o.t.Fatal(err)
	}
}

// patience is for what comes at once, but for a machine that is busy.
const patience = 20 * time.Second

func (o *onSet) write(coll string, op messages.WriteOperation) *messages.WriteReply {
	o.t.Helper()
	reply, _ := o.ask(&messages.Write{Database: "game", Collection: coll, Operation: op})
	return o.get(reply)
}

// majority counts the documents that a majority has.
func (o *onSet) majority(coll string, filter bson.D) int {
	o.t.Helper()
	c := o.client.Database("game").Collection(coll, options.Collection().SetReadConcern(readconcern.Majority()))
	n := 0
	cur, err := c.Find(o.t.Context(), filter)
	if err != nil {
		o.t.Fatal(err)
	}
	for cur.Next(o.t.Context()) {
		n++
	}
	if err := errors.Join(cur.Err(), cur.Close(o.t.Context())); err != nil {
		o.t.Fatal(err)
	}
	return n
}

func insertOf(id any) messages.InsertOne {
	return messages.InsertOne{Document: bson.D{{Key: "_id", Value: id}, {Key: "x", Value: 1}}}
}

func TestEveryOperationGivesTheDriversOwnResult(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	byID := bson.D{{Key: "_id", Value: 1}}
	set := func(v int) bson.D { return bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: v}}}} }
	for _, c := range []struct {
		op   messages.WriteOperation
		want string
	}{
		{insertOf(1), "{InsertedID:1 Acknowledged:true}"},
		{messages.InsertMany{Documents: []bson.D{{{Key: "_id", Value: 2}}, {{Key: "_id", Value: 3}}}}, "{InsertedIDs:[2 3] Acknowledged:true}"},
		{messages.UpdateOne{Filter: byID, Update: set(2)}, "{MatchedCount:1 ModifiedCount:1 UpsertedCount:0 UpsertedID:<nil> Acknowledged:true}"},
		{messages.UpdateMany{Filter: bson.D{}, Update: set(3)}, "{MatchedCount:3 ModifiedCount:3 UpsertedCount:0 UpsertedID:<nil> Acknowledged:true}"},
		{messages.ReplaceOne{Filter: byID, Replacement: bson.D{{Key: "x", Value: 4}}}, "{MatchedCount:1 ModifiedCount:1 UpsertedCount:0 UpsertedID:<nil> Acknowledged:true}"},
		{messages.DeleteOne{Filter: bson.D{{Key: "_id", Value: 3}}}, "{DeletedCount:1 Acknowledged:true}"},
		{messages.FindOneAndUpdate{Filter: byID, Update: set(5)}, `{"_id": {"$numberInt":"1"},"x": {"$numberInt":"4"}}`},
		{messages.FindOneAndReplace{Filter: byID, Replacement: bson.D{{Key: "x", Value: 6}}}, `{"_id": {"$numberInt":"1"},"x": {"$numberInt":"5"}}`},
		{messages.FindOneAndDelete{Filter: byID}, `{"_id": {"$numberInt":"1"},"x": {"$numberInt":"6"}}`},
		{messages.DeleteMany{Filter: bson.D{}}, "{DeletedCount:1 Acknowledged:true}"},
	} {
		rep := o.write("every", c.op)
		got := fmt.Sprintf("%+v", rep.Result)
		if rep.Document != nil {
			got = rep.Document.String()
		}
		if rep.Outcome != messages.Applied || rep.Err != nil || strings.TrimPrefix(got, "&") != c.want {
			t.Errorf("%T: %v %v: %s, want %s", c.op, rep.Outcome, rep.Err, got, c.want)
		}
		if rep.Token.IsZero() || rep.Token.ClusterTime == nil || rep.Attempts != 1 {
			t.Errorf("%T: token %v, %d attempts", c.op, rep.Token, rep.Attempts)
		}
	}
	none := o.write("every", messages.FindOneAndDelete{Filter: byID})
	if none.Outcome != messages.Applied || !errors.Is(none.Err, mongo.ErrNoDocuments) {
		t.Errorf("a find-and-modify that matches nothing: %+v", none)
	}
	cmd := o.write("", messages.Command{Document: bson.D{{Key: "create", Value: "made"}, {Key: "maxTimeMS", Value: 5000}}})
	if cmd.Outcome != messages.Applied || cmd.Document.Lookup("ok").AsInt64() != 1 {
		t.Errorf("a command: %+v", cmd)
	}
	again := o.write("", messages.Command{Document: bson.D{{Key: "create", Value: "made"}, {Key: "capped", Value: true}, {Key: "size", Value: 1000}}})
	if again.Outcome != messages.NotApplied || again.Err == nil {
		t.Errorf("a command that is refused: %+v", again)
	}
}

func TestAGroupsRefusalIsTheOneThatTheDriverGives(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	if rep := o.write("taken", insertOf(3)); rep.Outcome != messages.Applied {
		t.Fatalf("%+v", rep)
	}
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"update"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 300}})
	// While the update takes its time, the inserts queue behind it.
	first, _ := o.ask(&messages.Write{Database: "game", Collection: "other", Operation: messages.UpdateOne{
		Filter: bson.D{}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}}}})
	var replies []chan *messages.WriteReply
	for n := range 6 {
		reply, _ := o.ask(&messages.Write{Database: "game", Collection: "taken", Operation: insertOf(n)})
		replies = append(replies, reply)
	}
	o.get(first)
	_, want := o.client.Database("game").Collection("taken").InsertOne(t.Context(), insertOf(3).Document)
	for n, reply := range replies {
		rep := o.get(reply)
		if n != 3 {
			if rep.Outcome != messages.Applied || rep.Result.(*mongo.InsertOneResult).InsertedID != int32(n) {
				t.Errorf("insert %d: %+v", n, rep)
			}
			continue
		}
		if rep.Outcome != messages.NotApplied || rep.Err == nil || rep.Err.Error() != want.Error() || !mongo.IsDuplicateKeyError(rep.Err) {
			t.Errorf("insert 3: %v\nwant     %v", rep.Err, want)
		}
	}
	if s := o.Stat(); s.Batches >= s.Batched {
		t.Errorf("%d writes in %d batches: nothing went together", s.Batched, s.Batches)
	}
}

func TestALostReplyIsRetriedAndTheWriteHappensOnce(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("lost", messages.InsertOne{Document: bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 0}}})
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"update"}}, {Key: "closeConnection", Value: true}})
	rep := o.write("lost", messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: 1}}, Update: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}})
	if rep.Outcome != messages.Applied || rep.Attempts != 2 {
		t.Errorf("%+v", rep)
	}
	if o.majority("lost", bson.D{{Key: "n", Value: 1}}) != 1 {
		t.Error("it did not happen once")
	}
}

func TestALostCommandIsUnknownAndNotSentAgain(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("any", insertOf(1))
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"create"}}, {Key: "closeConnection", Value: true}})
	rep := o.write("", messages.Command{Document: bson.D{{Key: "create", Value: "never"}}})
	if rep.Outcome != messages.Unknown || !rep.OrderOpen || rep.Attempts != 1 || !errors.Is(rep.Err, messages.ErrUnknownOutcome) {
		t.Errorf("%+v", rep)
	}
	names, err := o.client.Database("game").ListCollectionNames(t.Context(), bson.D{{Key: "name", Value: "never"}})
	if err != nil || len(names) != 0 {
		t.Errorf("collections %v, %v", names, err)
	}
}

// The server holds an insert for longer than its asker waits, and the next write is
// executed before it: without the lane's session the first would be executed after
// it.
func TestAStragglerIsRefusedByTheServerAndTheLanesNextWriteIsNotOvertaken(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("straggler", insertOf(0))
	// It has to be sent in its time and looked for in the last tenth of that, which a busy machine may not manage.
	id, settled := 0, false
	for try := 1; !settled && try <= 5; try++ {
		id += 2
		start := time.Now()
		o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"insert"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 1500}})
		late := &messages.Write{Database: "game", Collection: "straggler", Operation: insertOf(id)}
		reply, _ := o.ask(until(late, 500*time.Millisecond))
		rep := o.get(reply)
		held := time.Since(start) < 1500*time.Millisecond
		settled = held && rep.Outcome == messages.NotApplied && rep.Settled && rep.Attempts == 1
		if rep.Outcome == messages.Applied || held && rep.Attempts > 1 {
			t.Errorf("the straggler: %+v", rep)
		}
		if next := o.write("straggler", insertOf(id+1)); next.Outcome != messages.Applied {
			t.Errorf("the next write: %+v", next)
		}
	}
	if !settled {
		t.Fatal("none is settled")
	}
	// The server's own time for the straggler is over when it wakes up; give it that
	// time, by a command that waits as long.
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"ping"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 1500}})
	if err := o.client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
		t.Fatal(err)
	}
	if o.majority("straggler", bson.D{{Key: "_id", Value: id}}) != 0 {
		t.Error("it was executed after it had been reported as not applied")
	}
}

// The driver sends a command again that the server was too busy for, unless it is
// kept from it.
func TestACommandTheServerWasTooBusyForIsNotSentAgain(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("any", insertOf(1))
	o.failCommand(1, bson.D{
		{Key: "failCommands", Value: bson.A{"create"}}, {Key: "errorCode", Value: 462},
		{Key: "errorLabels", Value: bson.A{"SystemOverloadedError", "RetryableError"}},
	})
	rep := o.write("", messages.Command{Document: bson.D{{Key: "create", Value: "busy"}}})
	var cmd mongo.CommandError
	if rep.Outcome != messages.NotApplied || rep.Attempts != 1 || !errors.As(rep.Err, &cmd) || cmd.Code != 462 {
		t.Errorf("%+v", rep)
	}
}

// The server has a write in its hands that its asker has given up, and executes the
// lane's next one first. There is no deadline here, so that the server has no
// maxTimeMS to stop it by: only the session's numbers do.
func TestTheLanesSessionFencesWhatIsStillOnItsWay(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("fenced", insertOf(0))
	// The next one has to be there before the straggler is executed, which a busy machine may not manage.
	for try := 1; !o.overtakes(try); try++ {
		if try == 10 {
			t.Fatal("the next one was never in time")
		}
	}
}

// overtakes makes an insert a straggler and sends another one, and says whether that came in time
// to be executed first.
func (o *onSet) overtakes(try int) bool {
	o.t.Helper()
	const held = 700 * time.Millisecond
	start := time.Now()
	straggler := o.primary().Delay(replset.Target{Commands: []string{"insert"}, Times: 1}, func(*rand.Rand) time.Duration { return held })
	w := newSessionWire(o.lanes[0].wire.(*sessionWire).client, func() int32 { return 0 })
	defer w.end()
	send := func(id int, meanwhile func(giveUp func())) (result, *attempts) {
		cmd, err := o.cfg.Encoder.Write(&messages.Write{Database: "game", Collection: "fenced", Operation: insertOf(id)})
		if err != nil {
			o.t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(o.t.Context())
		defer cancel()
		record := &attempts{cancel: cancel}
		go meanwhile(cancel)
		b := &batch{items: []*item{{Write: newWrite(&messages.Write{}, cmd)}}}
		return w.run(mongoconn.WithRecorder(ctx, record), b), record
	}
	ids := bson.A{2*try - 1, 2 * try}
	res, record := send(2*try-1, func(giveUp func()) {
		for straggler.Struck() == 0 && o.t.Context().Err() == nil {
			runtime.Gosched()
		}
		giveUp()
	})
	if time.Since(start) >= held { // It was not given up in time.
		return false
	}
	if sent := record.all(); len(sent) != 1 || sent[0].state != lost || !sent[0].fenced {
		o.t.Fatalf("attempts %+v, %v", sent, res.err)
	}
	if res, _ := send(2*try, func(func()) {}); res.err != nil {
		o.t.Fatal(res.err)
	}
	inTime := time.Since(start) < held
	// A command that the server holds for as long outlasts the straggler.
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"ping"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 800}})
	if err := o.client.Database("admin").RunCommand(o.t.Context(), bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
		o.t.Fatal(err)
	}
	if n := o.majority("fenced", bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}); inTime && n != 1 {
		o.t.Errorf("%d of the two are there, want the later one only", n)
	}
	return inTime
}

// A session that is made anew, or lent to another lane in between, fences nothing: the driver also forgets one
// whose connection broke as soon as it is given back.
func TestALaneKeepsItsSessionWhateverBecomesOfItsWrites(t *testing.T) {
	var mu sync.Mutex
	sessions, numbers := map[string][]string{}, map[string][]int64{}
	o := startSet(t, replset.Options{Members: 1}, Config{WriteLanes: 2}, func(c *options.ClientOptions) {
		c.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName != "insert" {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			coll := e.Command.Lookup("insert").StringValue()
			sessions[coll] = append(sessions[coll], e.Command.Lookup("lsid").String())
			numbers[coll] = append(numbers[coll], e.Command.Lookup("txnNumber").AsInt64())
		}})
	})
	key := map[string]string{"left": "a", "right": "b"}
	for n := 0; o.lane(key["left"]) == o.lane(key["right"]); n++ {
		key["right"] = fmt.Sprint("b", n)
	}
	for n := range 6 {
		for coll, key := range key {
			if n%2 == 1 {
				o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"insert"}}, {Key: "closeConnection", Value: true}})
			}
			reply, _ := o.ask(&messages.Write{Database: "game", Collection: coll, Key: key, Operation: insertOf(n)})
			if rep := o.get(reply); rep.Outcome != messages.Applied {
				t.Fatalf("%+v", rep)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for coll := range key {
		if all := slices.Compact(slices.Clone(sessions[coll])); len(all) != 1 || len(sessions[coll]) != 9 {
			t.Errorf("%s: %d inserts over the sessions %v", coll, len(sessions[coll]), all)
		}
		if !slices.IsSorted(numbers[coll]) {
			t.Errorf("%s: the transaction numbers are %v", coll, numbers[coll])
		}
	}
	if sessions["left"][0] == sessions["right"][0] {
		t.Error("two lanes have one session")
	}
}

// What only the old primary has executed fences nothing on the next one, and proves nothing.
func TestTheFenceAndTheEvidenceAreAMajoritys(t *testing.T) {
	o := startSet(t, replset.Options{Members: 3, Priority: map[int]float64{1: 0, 2: 0}}, Config{})
	o.write("fenced", insertOf(0))
	for _, m := range o.set.Members()[1:] {
		m.Lag(time.Hour)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	// So that there is something that a majority has not got.
	c := o.client.Database("game").Collection("fenced", options.Collection().SetWriteConcern(writeconcern.W1()))
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := o.lanes[0].wire.fence(ctx, namespace{"game", "fenced"}); err == nil {
		t.Error("it returned before any other member had what was before it")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	seen := 0
	_ = o.lanes[0].wire.find(ctx, namespace{"game", "fenced"}, bson.D{{Key: "_id", Value: 1}}, wantOne, func(bson.Raw) { seen++ })
	if seen != 0 {
		t.Error("what one member has is taken for evidence")
	}
}

func TestOnAStandaloneALostReplyIsUnknownWithTheOrderOpen(t *testing.T) {
	o := startSet(t, replset.Options{Standalone: true}, Config{})
	if rep := o.write("alone", insertOf(1)); rep.Outcome != messages.Applied {
		t.Fatalf("%+v", rep)
	}
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"insert"}}, {Key: "closeConnection", Value: true}})
	rep := o.write("alone", insertOf(2))
	if rep.Outcome != messages.Unknown || !rep.OrderOpen || rep.Settled {
		t.Errorf("%+v", rep)
	}
	if err := o.lanes[0].wire.fence(t.Context(), namespace{"game", "alone"}); !errors.Is(err, errNoFence) {
		t.Errorf("a fence on a standalone: %v", err)
	}
	if rep := o.write("alone", insertOf(1)); rep.Outcome != messages.NotApplied || !mongo.IsDuplicateKeyError(rep.Err) {
		t.Errorf("a duplicate: %+v", rep)
	}
}

// eventually waits for an observable condition.
func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}
