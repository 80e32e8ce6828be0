package evenkeel_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

func TestAFloodOfSendsIsRefusedAtTheLimitAndEachIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{})
	c.seed(t, "us")
	const limit, flood = 20, 3000
	g := c.play(t, app.Config{ReadQueue: limit, WriteQueue: limit})
	g.ready(t)
	in := g.inbox(t)
	if c.set != nil { // However slow the flood is, it is faster.
		for _, m := range c.set.Members() {
			m.Slow("", 20*time.Millisecond)
			t.Cleanup(func() { m.Slow("", 0) })
		}
	}
	for n := range flood {
		r := g.point(n % players)
		r.Correlation = n
		in.send(g.Router(), r)
		w := g.insert("log", bson.D{{Key: "_id", Value: n}})
		w.Correlation = n
		in.send(g.Master(), w)
		if st := g.Stat(); st.Reads.Pending > limit || st.Writes.Queued+st.Writes.OnWire > limit {
			t.Fatalf("%d reads and %d writes are pending, with a limit of %d", st.Reads.Pending, st.Writes.Queued+st.Writes.OnWire, limit)
		}
	}
	in.await(t, 2*flood)
	await(t, g.events, 0, func(e messages.Overloaded) bool { return e.Limit == "ReadQueue" && e.Max == limit })
	await(t, g.events, 0, func(e messages.Overloaded) bool { return e.Limit == "WriteQueue" && e.Max == limit })
	g.stop(t)

	if n := in.len(); n != 2*flood {
		t.Errorf("%d requests got %d replies", 2*flood, n)
	}
	var applied []int
	reads, writes := 0, 0
	for n := range flood {
		if len(in.reads[n]) != 1 || len(in.writes[n]) != 1 {
			t.Fatalf("request %d got %d and %d replies", n, len(in.reads[n]), len(in.writes[n]))
		}
		r, w := in.reads[n][0], in.writes[n][0]
		var over *messages.OverloadedError
		switch {
		case r.Err == nil:
		case errors.As(r.Err, &over) && over.Limit == "ReadQueue" && over.Max == limit:
			reads++
		default:
			t.Errorf("read %d got %v", n, r.Err)
		}
		switch {
		case w.Outcome == messages.Applied:
			applied = append(applied, n)
		case w.Outcome == messages.NotApplied && errors.As(w.Err, &over) && over.Limit == "WriteQueue":
			writes++
		default:
			t.Errorf("write %d is %v: %v", n, w.Outcome, w.Err)
		}
	}
	if reads == 0 || writes == 0 {
		t.Errorf("%d reads and %d writes were refused: the flood was none", reads, writes)
	}
	c.mustHold(t, "log", applied...)
}

func TestCallersBeyondAHostsQueueAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member that is slow", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{PointWorkers: 1, HostQueue: 4, NoPrimaryFallback: true, HungAfter: patience, ConnectTimeout: patience})
	g.steady(t, 3)
	for _, m := range c.set.Members() {
		m.Freeze()
	}
	players := g.Collection(c.db, "players")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ok, refused int
	for range 100 {
		wg.Go(func() {
			err := players.FindOne(soon(t), bson.D{{Key: "_id", Value: 3}}).Err()
			mu.Lock()
			defer mu.Unlock()
			var over *messages.OverloadedError
			switch {
			case err == nil:
				ok++
			case errors.As(err, &over) && over.Limit == "HostQueue" && messages.Retryable(err):
				refused++
			default:
				t.Errorf("a read got %v", err)
			}
		})
	}
	// None waits for those that have room.
	eventually(t, "90 are refused; two hosts have room for 5 each", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return refused == 90
	})
	for _, m := range c.set.Members() {
		m.Unfreeze()
	}
	wg.Wait()
	if ok != 10 {
		t.Errorf("%d reads were served", ok)
	}
	await(t, g.events, 0, func(e messages.Overloaded) bool { return e.Limit == "HostQueue" && e.Host != "" })
}

func TestACancelledReadComesBackAtOnce(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member that is slow", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{NoPrimaryFallback: true})
	g.steady(t, 3)
	players := g.Collection(c.db, "players")

	dead, cancel := context.WithCancel(context.Background())
	cancel()
	if err := players.FindOne(dead, bson.D{{Key: "_id", Value: 3}}).Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context, a read got %v", err)
	}
	if n := g.sent("find"); n != 0 {
		t.Errorf("%d reads were sent for a context that had ended", n)
	}

	for _, tt := range []struct {
		name  string
		fault func()
		await func()
	}{
		{"on the wire", func() {
			for _, m := range c.set.Members() {
				m.Slow("find", time.Hour)
			}
		}, func() { eventually(t, "the read is on the wire", func() bool { return g.sent("find") > 0 }) }},
		{"waiting for a host", func() {
			for _, m := range c.set.Members()[1:] {
				if err := m.SetMaintenance(true); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "no secondary is live", func() bool { return len(g.events.live()) == 1 })
		}, func() { eventually(t, "the read waits", func() bool { return g.Stat().Reads.Parked == 1 }) }},
	} {
		tt.fault()
		ctx, cancel := context.WithCancel(soon(t))
		got := make(chan error, 1)
		go func() { got <- players.FindOne(ctx, bson.D{{Key: "_id", Value: 3}}).Err() }()
		tt.await()
		cancel()
		select {
		case err := <-got:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: a cancelled read got %v", tt.name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: a cancelled read waits for what it has asked", tt.name)
		}
		eventually(t, "nothing is pending", func() bool { return g.Stat().Reads.Pending == 0 })
	}
}

func TestACancelledWriteSaysWhetherItMayHaveHappened(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a process that is stopped and continued", replset.Options{ElectionTimeout: 5 * time.Second})
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	log := g.Collection(c.db, "log")
	if _, err := log.InsertOne(soon(t), bson.D{{Key: "_id", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := log.InsertOne(dead, bson.D{{Key: "_id", Value: 1}}); !errors.Is(err, context.Canceled) || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("with a cancelled context, a write is %v: %v", app.OutcomeOf(err), err)
	}

	primary := c.primary(t)
	primary.Freeze()
	sent := g.sent("insert")
	insert := func(id int) (cancel func(), got chan error) {
		ctx, cancel := context.WithCancel(soon(t))
		got = make(chan error, 1)
		go func() {
			_, err := log.InsertOne(ctx, bson.D{{Key: "_id", Value: id}})
			got <- err
		}()
		return cancel, got
	}
	cancelSent, gotSent := insert(2)
	eventually(t, "the write is on the wire", func() bool { return g.sent("insert") > sent })
	cancelQueued, gotQueued := insert(3)
	eventually(t, "the next write is queued", func() bool { return g.Stat().Writes.Queued == 1 })
	cancelQueued()
	if err := <-gotQueued; !errors.Is(err, context.Canceled) || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("a write that was cancelled in the queue is %v: %v", app.OutcomeOf(err), err)
	}
	cancelSent()
	if err := <-gotSent; !errors.Is(err, context.Canceled) || app.OutcomeOf(err) != messages.Unknown {
		t.Errorf("a write that was cancelled on the wire is %v: %v", app.OutcomeOf(err), err)
	}
	primary.Unfreeze()
	if _, err := log.InsertOne(soon(t), bson.D{{Key: "_id", Value: 4}}); err != nil {
		t.Fatal(err)
	}
	var docs []player
	cur, err := c.coll(t, "log").Find(soon(t), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{0, 1, 3, 4}}}}})
	if err == nil {
		err = cur.All(soon(t), &docs)
	}
	if err != nil || len(docs) != 2 {
		t.Errorf("there are %v (%v); 0 and 4 must be there, 1 and 3 must not, and 2 may", docs, err)
	}
}

// What is sent was encoded before Send returned.
func TestAMapMayBeChangedAfterTheCall(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{})
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	g.ready(t)
	in := g.inbox(t)
	const n = 200
	filter, doc, bag := bson.M{}, bson.M{}, bson.A{0, bson.M{"gold": 0}}
	for i := range n {
		filter["_id"] = i % players
		in.send(g.Router(), &messages.Read{Database: c.db, Collection: "players", Operation: messages.FindOne{Filter: filter}, Correlation: i})
		doc["_id"], doc["bag"] = i, bag
		bag[0], bag[1].(bson.M)["gold"] = i, i
		in.send(g.Master(), &messages.Write{Database: c.db, Collection: "log", Operation: messages.InsertOne{Document: doc}, Correlation: i})
		bag[0], bag[1].(bson.M)["gold"], doc["more"] = -1, -1, true
		delete(doc, "more")
	}
	in.await(t, 2*n)
	for i := range n {
		var p player
		if rep := in.reads[i][0]; rep.Err != nil || bson.Unmarshal(rep.Document, &p) != nil || p.ID != i%players {
			t.Errorf("a read of %d got %v (%v)", i%players, rep.Document, rep.Err)
		}
		if rep := in.writes[i][0]; rep.Outcome != messages.Applied {
			t.Errorf("write %d is %v: %v", i, rep.Outcome, rep.Err)
		}
	}
	var docs []struct {
		ID   int `bson:"_id"`
		Bag  bson.A
		More bool
	}
	cur, err := c.coll(t, "log").Find(soon(t), bson.D{})
	if err == nil {
		err = cur.All(soon(t), &docs)
	}
	if err != nil || len(docs) != n {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	for _, d := range docs {
		in, ok := d.Bag[1].(bson.D)
		if !ok || d.Bag[0] != int32(d.ID) || in[0].Value != int32(d.ID) || d.More {
			t.Errorf("document %d holds %+v", d.ID, d)
		}
	}
}

// What can never work is refused before it is sent, and says what to write.
func TestWhatCanNeverWorkIsRefusedByName(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{})
	g := c.play(t, app.Config{})
	g.ready(t)
	for _, tt := range []struct {
		m    *messages.Read
		want error
	}{
		{&messages.Read{}, messages.ErrInvalid},
		{&messages.Read{Database: c.db, Collection: "players", Operation: messages.FindOne{Filter: make(chan int)}}, messages.ErrInvalid},
		{&messages.Read{Database: c.db, Collection: "players", Operation: messages.Aggregate{Pipeline: mongo.Pipeline{{{Key: "$out", Value: "x"}}}}}, messages.ErrNotARead},
		{&messages.Read{Database: c.db, Operation: messages.Command{Document: bson.D{{Key: "insert", Value: "x"}}}}, messages.ErrNotARead},
		{&messages.Read{Database: c.db, Collection: "players", Operation: messages.FindOne{}, Deadline: time.Now().Add(-time.Second)}, messages.ErrDeadline},
	} {
		if rep := g.read(t, tt.m); !errors.Is(rep.Err, tt.want) {
			t.Errorf("%+v got %v", tt.m.Operation, rep.Err)
		}
	}
	if rep := g.write(t, &messages.Write{Database: c.db, Collection: "log"}); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrInvalid) {
		t.Errorf("a write without an operation is %v: %v", rep.Outcome, rep.Err)
	}
	var config *app.ConfigError
	for field, cfg := range map[string]app.Config{
		"URI": {}, "ReadQueue": {URI: c.uri, ReadQueue: -1}, "Policy": {URI: c.uri, Policy: 99},
	} {
		if a, err := app.Start(context.Background(), cfg); !errors.As(err, &config) || config.Field != field {
			t.Errorf("Start with a wrong %s returned %v", field, err)
			if a != nil {
				_ = a.StopAndCancel()
			}
		}
	}
}
