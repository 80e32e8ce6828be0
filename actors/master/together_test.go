package master

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// push is an update that shows, in one document, what was executed, how often and
// in which order.
func push(n int) *messages.Write {
	return &messages.Write{Database: "game", Collection: "seq", Operation: messages.UpdateOne{
		Filter: byID("seq"), Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seen", Value: n}}}},
		Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(true)},
	}}
}

// pushed is what the pushes have left, as a majority has it.
func (o *onSet) pushed() []int {
	o.t.Helper()
	var doc struct{ Seen []int }
	c := o.client.Database("game").Collection("seq", options.Collection().SetReadConcern(readconcern.Majority()))
	if err := c.FindOne(o.t.Context(), byID("seq")).Decode(&doc); err != nil {
		o.t.Fatal(err)
	}
	return doc.Seen
}

// together asks for the writes such that they wait together, and returns their
// replies.
func (o *onSet) together(writes ...*messages.Write) []*messages.WriteReply {
	o.t.Helper()
	asked := make([]chan *messages.WriteReply, len(writes))
	o.held(func() {
		for i, w := range writes {
			asked[i], _ = o.ask(w)
		}
	})
	got := make([]*messages.WriteReply, len(writes))
	for i := range asked {
		got[i] = o.get(asked[i])
	}
	return got
}

// commands are how many of each the members have executed.
func (o *onSet) commands(names ...string) string {
	counts := map[string]int64{}
	for _, m := range o.set.Members() {
		for _, name := range names {
			counts[name] += m.Counters().Commands[name]
		}
	}
	return fmt.Sprint(counts)
}

func hundredOfEachKind() (writes []*messages.Write) {
	for n := range 100 {
		writes = append(writes, push(n), op("insert", n), elsewhere(op("insert", n), "game", "log"),
			op("update", n), elsewhere(op("replace", n), "game", "log"), op("delete", n))
	}
	return writes
}

func TestWhatWaitsSharesACommit(t *testing.T) {
	for _, c := range []struct{ version, want string }{
		{"8.0", "map[bulkWrite:1 delete:0 insert:0 update:0]"},
		{"7.0", "map[bulkWrite:0 delete:100 insert:200 update:300]"},
	} {
		o := startSet(t, replset.Options{Version: c.version}, Config{})
		for i, rep := range o.together(hundredOfEachKind()...) {
			if rep.Outcome != messages.Applied || rep.Err != nil || rep.Attempts != 1 {
				t.Fatalf("%s: write %d: %+v", c.version, i, rep)
			}
		}
		if got := o.commands("bulkWrite", "insert", "update", "delete"); got != c.want {
			t.Errorf("%s: %s, want %s", c.version, got, c.want)
		}
		for i, n := range o.pushed() {
			if i != n {
				t.Fatalf("%s: the order is %v", c.version, o.pushed())
			}
		}
		if n := o.majority("log", bson.D{{Key: "v", Value: 1}}); n != 100 {
			t.Errorf("%s: %d documents", c.version, n)
		}
	}
}

func TestOnOlderServersWritesOfOneKindShareACommitWhereOnlyErrorsAreWanted(t *testing.T) {
	o := startSet(t, replset.Options{Version: "7.0"}, Config{})
	var writes []*messages.Write
	for _, kind := range []string{"insert", "update", "delete"} {
		for n := range 50 {
			writes = append(writes, bare(op(kind, n)))
		}
	}
	writes = append(writes, bare(op("insert", 7)), bare(op("insert", 7)), bare(op("insert", 8)))
	got := o.together(writes...)
	for i, rep := range got {
		if (i == 151) != (rep.Outcome == messages.NotApplied) || rep.Result != nil || mongo.IsDuplicateKeyError(rep.Err) != (i == 151) {
			t.Errorf("write %d: %+v", i, rep)
		}
	}
	if got := o.commands("insert", "update", "delete"); got != "map[delete:1 insert:3 update:1]" {
		t.Error(got)
	}
}

func TestOptionsAndTheWriteConcernGoAlongWithWritesThatShareACommit(t *testing.T) {
	for _, version := range []string{"8.0", "7.0"} {
		o := startSet(t, replset.Options{Version: version}, Config{})
		o.write("players", insertOf("first"))
		hinted := func(id int) *messages.Write {
			return bare(&messages.Write{Database: "game", Collection: "players", Operation: messages.DeleteOne{
				Filter: byID(id), Options: []options.Lister[options.DeleteOneOptions]{options.DeleteOne().SetHint("no such index")}}})
		}
		if got := o.together(bare(op("delete", 1)), hinted(2), bare(op("delete", 3))); outcomes(got) != "ANA" {
			t.Errorf("%s: %s, %v", version, outcomes(got), got[1].Err)
		}
		impossible := func(w *messages.Write) *messages.Write {
			w.WriteConcern = &writeconcern.WriteConcern{W: 5}
			return bare(w)
		}
		before := o.Stat().Batches
		if got := o.together(impossible(op("update", 1)), impossible(op("update", 2))); outcomes(got) != "UU" || o.Stat().Batches != before+1 {
			t.Errorf("%s: %s", version, outcomes(got))
		}
		if version == "7.0" {
			continue
		}
		if got := o.together(impossible(op("update", 1)), impossible(op("delete", 2))); outcomes(got) != "UU" {
			t.Errorf("%s: %s", version, outcomes(got))
		}
	}
}

// A member of an older version may become primary between two batches, and the
// driver, too, may send a batch to it again.
func TestAPrimaryThatTurnsOutToBeOlderIsWrittenToTheOldWay(t *testing.T) {
	o := startSet(t, replset.Options{Version: "7.0"}, Config{})
	client := o.lanes[0].openWire().(*sessionWire).client
	o.lanes[0].openWire = func() wire { return newSessionWire(client, func() int32 { return bulkWireVersion }) }
	for i, rep := range o.together(hundredOfEachKind()...) {
		if rep.Outcome != messages.Applied || rep.Attempts != 2 {
			t.Fatalf("write %d: %+v", i, rep)
		}
	}
	if got := o.commands("update"); got != "map[update:300]" {
		t.Error(got)
	}
	if !slices.IsSorted(o.pushed()) || len(o.pushed()) != 100 {
		t.Errorf("the order is %v", o.pushed())
	}
}

// Before it has executed anything a server may refuse a bulkWrite for the name of one
// collection, and not say so: such a name keeps its write alone.
func TestACollectionThatTakesNoWritesDoesNotSpoilABatch(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	got := o.together(push(0), elsewhere(op("insert", 1), "game", "a$b"), push(1), push(2))
	if outcomes(got) != "ANAA" {
		t.Errorf("%s: %v", outcomes(got), got[1].Err)
	}
	if !slices.Equal(o.pushed(), []int{0, 1, 2}) {
		t.Errorf("executed %v", o.pushed())
	}
}

// What does not reach a reply's 16 MiB with the writes that go together here may
// still do so with what the server adds.
func TestAReplyInPartsOfARealServerIsReadToItsEnd(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{})
	long := string(make([]byte, 5<<20))
	var writes []*messages.Write
	for n := range 4 {
		writes = append(writes, &messages.Write{Database: "game", Collection: "long", Operation: messages.UpdateOne{
			Filter: byID(fmt.Sprint(n) + long), Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 1}}}},
			Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(true)},
		}})
	}
	most := limits{writes: 10, bytes: 47 << 20, known: bulk}
	b := &batch{kind: bulk}
	for _, w := range writes {
		b.items = append(b.items, itemOf(t, w))
	}
	if split := batches(t, most, b.items...); !slices.Equal(split, []string{"2 bulkWrite", "2 bulkWrite"}) {
		t.Errorf("%v: a reply to it has more than 16 MiB", split)
	}
	// All in one, as no lane would send them.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b.attempts = &attempts{shape: mixed, cancel: cancel, keep: true}
	b.verdicts = make([]verdict, len(b.items))
	w := o.lanes[0].openWire()
	defer w.end()
	b.judge(w.run(mongoconn.WithRecorder(ctx, b.attempts), b), w.token(), o.cfg.Encoder)
	if len(b.attempts.replies()) < 2 || b.attempts.sent() != 1 {
		t.Fatalf("%d replies to %d attempts", len(b.attempts.replies()), b.attempts.sent())
	}
	for i, v := range b.verdicts {
		want := &mongo.UpdateResult{UpsertedCount: 1, UpsertedID: fmt.Sprint(i) + long, Acknowledged: true}
		if v.reply == nil || !reflect.DeepEqual(v.reply.Result, any(want)) {
			t.Errorf("write %d has another result", i)
		}
	}
}

func TestAStuckWriteDelaysNoOtherLane(t *testing.T) {
	o := startSet(t, replset.Options{Members: 1}, Config{WriteLanes: 4})
	stuck := "stuck"
	others := []string{}
	for n := 0; len(others) < 3; n++ {
		if key := fmt.Sprint(n); o.lane(key) != o.lane(stuck) {
			others = append(others, key)
		}
	}
	o.write("players", insertOf(1))
	hang := o.primary().Delay(replset.Target{Commands: []string{"findAndModify"}}, func(*rand.Rand) time.Duration { return 10 * time.Second })
	defer hang.End()
	w := op("find", 1)
	w.Key = stuck
	pending, _ := o.ask(until(w, 3*time.Second))
	behind := push(0)
	behind.Key = stuck
	waits, _ := o.ask(behind)
	eventually(t, func() bool { return hang.Struck() == 1 })
	// How many go by in these three seconds is the machine's doing; behind the stuck one none would. Three are of
	// each other lane.
	const some = 9
	for n := 0; n < 300 && len(pending) == 0; n++ {
		w := elsewhere(op("update", n), "game", "others")
		w.Key = others[n%len(others)]
		reply, _ := o.ask(w)
		if rep := o.get(reply); rep.Outcome != messages.Applied {
			t.Fatalf("write %d: %+v", n, rep)
		}
		if len(pending) > 0 && n < some {
			t.Fatalf("the stuck one is answered, after %d others", n)
		}
	}
	if rep := o.get(pending); rep.Outcome != messages.Unknown {
		t.Errorf("the stuck one: %+v", rep)
	}
	hang.End()
	if rep := o.get(waits); rep.Outcome != messages.Applied {
		t.Errorf("the one behind it: %+v", rep)
	}
}
