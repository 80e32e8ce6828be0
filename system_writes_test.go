package evenkeel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// Writes of 15 s each, so that an election must cost none of them.
func TestAStepdownLosesDoublesAndReordersNoWrite(t *testing.T) {
	alone(t)
	c := anySet(t, replset.Options{ElectionTimeout: 500 * time.Millisecond})
	t.Cleanup(func() { c.awaitSteady(t) }) // For those that come after it on the same set.
	g := c.play(t, app.Config{})
	eventually(t, "there is a primary", func() bool { return g.events.primary() != "" })
	ledger := g.ledger(t, 32)
	for range 2 {
		ledger.more(t, 200)
		mark := g.events.mark()
		c.awaitSteady(t)
		if c.set != nil {
			eventually(t, "the primary has stepped down", func() bool { return c.set.StepDown(soon(t)) == nil })
		} else {
			err := c.driver(t).Database("admin").RunCommand(soon(t),
				bson.D{{Key: "replSetStepDown", Value: 5}, {Key: "secondaryCatchUpPeriodSecs", Value: 5}}).Err()
			if err != nil && !mongo.IsNetworkError(err) {
				t.Skipf("EVENKEEL_URI: this set's primary cannot be stepped down: %v", err)
			}
		}
		await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" })
	}
	ledger.more(t, 200)
	ledger.mustBeApplied(t)
}

func TestAKilledPrimaryLosesDoublesAndReordersNoWrite(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "kill -9 of the primary", replset.Options{ElectionTimeout: 500 * time.Millisecond})
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	ledger := g.ledger(t, 32)
	for range 2 {
		ledger.more(t, 200)
		mark := g.events.mark()
		c.awaitSteady(t)
		old := c.primary(t)
		old.Kill()
		await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" && e.To != old.Host() })
		ledger.more(t, 100)
		if err := old.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	ledger.more(t, 200)
	ledger.mustBeTrue(t, 2) // kills
}

func TestAFrozenPrimaryLosesDoublesAndReordersNoWrite(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a process that is stopped and continued", replset.Options{ElectionTimeout: 500 * time.Millisecond})
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	ledger := g.ledger(t, 32)
	ledger.more(t, 200)
	mark := g.events.mark()
	old := c.primary(t)
	old.Freeze()
	await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" && e.To != old.Host() })
	ledger.more(t, 200)
	// It works off what it was sent as a primary.
	old.Unfreeze()
	ledger.more(t, 200)
	ledger.mustBeApplied(t)
}

func TestWritesAreHeldWhileThereIsNoMajority(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "killed members", primaryFirst(3))
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	mark := g.events.mark()
	in := g.inbox(t)
	send := func(n int, after time.Duration) {
		w := g.insert("log", bson.D{{Key: "_id", Value: n}})
		w.Deadline, w.Correlation = time.Now().Add(after), n
		in.send(g.Master(), w)
	}
	for _, m := range c.set.Members()[1:] {
		m.Kill()
	}
	// The primary takes it and cannot get it acknowledged; then it steps down.
	send(0, patience)
	eventually(t, "there is no primary", func() bool { return g.events.primary() == "" })
	for n := 1; n <= 5; n++ {
		send(n, 300*time.Millisecond)
	}
	for n := 6; n <= 10; n++ {
		send(n, patience)
	}
	await[messages.WritesHeld](t, g.events, mark, nil)
	in.await(t, 5)
	in.mu.Lock()
	for n := 1; n <= 5; n++ {
		if len(in.writes[n]) != 1 || in.writes[n][0].Outcome != messages.NotApplied || !errors.Is(in.writes[n][0].Err, messages.ErrDeadline) {
			t.Errorf("the write %d of 300 ms got %+v", n, in.writes[n])
		}
	}
	in.mu.Unlock()
	for _, m := range c.set.Members()[1:] {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	in.await(t, 11)
	for _, n := range []int{0, 6, 7, 8, 9, 10} {
		if rep := in.writes[n][0]; rep.Outcome != messages.Applied {
			t.Errorf("write %d is %v: %v", n, rep.Outcome, rep.Err)
		}
	}
	resumed := await[messages.WritesResumed](t, g.events, mark, nil)
	if resumed.Held < 5 || resumed.Sent < 5 {
		t.Errorf("the event says %+v", resumed)
	}
	c.mustHold(t, "log", 0, 6, 7, 8, 9, 10)
}

// mustHold fails the test unless a collection has exactly the documents with these
// _ids.
func (c *cluster) mustHold(t testing.TB, coll string, want ...int) {
	t.Helper()
	var docs []struct {
		ID int `bson:"_id"`
	}
	cur, err := c.coll(t, coll).Find(soon(t), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err == nil {
		err = cur.All(soon(t), &docs)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := []int{}
	for _, d := range docs {
		got = append(got, d.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %v, not %v", coll, got, want)
	}
}

// failPoints is held by the one test that uses the fail point of a real set: a server
// has one failCommand, and setting it anew ends what it was set to.
var failPoints sync.Mutex

// failPoint sets failCommand for the app's own connections to the primary. It skips the
// test on a set that has no fail points.
func (g *game) failPoint(t testing.TB, mode any, data bson.D) {
	t.Helper()
	if g.c.set == nil {
		g.failing.Do(func() {
			failPoints.Lock()
			t.Cleanup(failPoints.Unlock)
		})
	}
	data = append(data, bson.E{Key: "appName", Value: g.name})
	cmd := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data}}
	admin := g.c.driver(t).Database("admin")
	if err := admin.RunCommand(soon(t), cmd).Err(); err != nil {
		if g.c.set == nil {
			t.Skipf("EVENKEEL_URI: this set has no fail points: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = admin.RunCommand(soon(t), bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"}}).Err()
	})
}

// A is given up while the server has not executed it yet; B follows. A may be refused,
// or take effect before B, but never after it. The driver alone executes B and then A,
// though it has reported A as failed.
func TestAStragglerNeverTakesEffectAfterALaterWrite(t *testing.T) {
	push := func(n int) messages.WriteOperation {
		return messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: "list"}}, Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seq", Value: n}}}}}
	}
	insert := func(n int) messages.WriteOperation {
		return messages.InsertOne{Document: bson.D{{Key: "_id", Value: n}}}
	}
	for _, tt := range []struct {
		name string
		a, b func(n int) messages.WriteOperation
	}{
		{"an update before an update", push, push},
		{"an insert before an insert", insert, insert},
		{"an update before an insert", push, insert},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := anySet(t, replset.Options{ElectionTimeout: 5 * time.Second})
			log := c.coll(t, "log")
			if _, err := log.InsertOne(soon(t), bson.D{{Key: "_id", Value: "list"}, {Key: "seq", Value: bson.A{}}}); err != nil {
				t.Fatal(err)
			}
			g := c.play(t, app.Config{})
			eventually(t, "there is a primary", func() bool { return g.events.primary() != "" })
			write := func(n int, op messages.WriteOperation, deadline time.Duration) *messages.Write {
				return &messages.Write{Database: c.db, Collection: "log", Operation: op, Correlation: n, Deadline: time.Now().Add(deadline)}
			}
			warm := g.write(t, write(0, messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: "list"}}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "warm", Value: true}}}}}, patience))
			if warm.Outcome != messages.Applied {
				t.Fatalf("%v: %v", warm.Outcome, warm.Err)
			}
			in := g.inbox(t)
			for round := range 3 {
				na, nb := 2*round+1, 2*round+2
				release := g.hold(t)
				began := time.Now()
				in.send(g.Master(), write(na, tt.a(na), 300*time.Millisecond))
				in.send(g.Master(), write(nb, tt.b(nb), patience))
				in.await(t, na)
				in.mu.Lock()
				a := in.writes[na]
				in.mu.Unlock()
				if len(a) != 1 {
					t.Fatalf("after %v, A got %d replies", time.Since(began), len(a))
				}
				// On a set of its own what A and B are held by is still there.
				if a[0].Outcome == messages.Applied || c.set == nil && time.Since(began) > 1500*time.Millisecond {
					t.Errorf("after %v, A is %v: %v", time.Since(began), a[0].Outcome, a[0].Err)
				}
				release()
				in.await(t, nb)
				if b := in.writes[nb][0]; b.Outcome != messages.Applied {
					t.Fatalf("B is %v: %v", b.Outcome, b.Err)
				}
				g.awaitQuiet(t)

				var list struct{ Seq []int }
				if err := log.FindOne(soon(t), bson.D{{Key: "_id", Value: "list"}}).Decode(&list); err != nil {
					t.Fatal(err)
				}
				there := func(n int) int64 {
					k, err := log.CountDocuments(soon(t), bson.D{{Key: "$or", Value: bson.A{
						bson.D{{Key: "_id", Value: n}}, bson.D{{Key: "_id", Value: "list"}, {Key: "seq", Value: n}},
					}}})
					if err != nil {
						t.Fatal(err)
					}
					return k
				}
				switch {
				case !slices.IsSorted(list.Seq):
					t.Errorf("the list is %v: B took effect before A", list.Seq)
				case there(nb) != 1:
					t.Errorf("B, which was acknowledged, is there %d times", there(nb))
				case there(na) > 0 && a[0].Outcome == messages.NotApplied:
					t.Errorf("A was reported as not applied, and is there")
				}
				t.Logf("A is %v, and there %d times", a[0].Outcome, there(na))
			}
		})
	}
}

// hold keeps the primary from executing what the app writes, until it is released.
func (g *game) hold(t testing.TB) (release func()) {
	t.Helper()
	if g.c.set != nil {
		primary := g.c.primary(t)
		primary.Freeze()
		return primary.Unfreeze
	}
	g.failPoint(t, bson.D{{Key: "times", Value: 1}}, bson.D{
		{Key: "failCommands", Value: bson.A{"insert", "update", "bulkWrite"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 700},
	})
	return func() {}
}

// awaitQuiet waits until the set works on nothing that the app has sent.
func (g *game) awaitQuiet(t testing.TB) {
	t.Helper()
	if g.c.set != nil {
		eventually(t, "the servers have executed, or refused, every write that was sent", func() bool {
			for _, command := range []string{"insert", "update", "bulkWrite"} {
				var n int64
				for _, tally := range g.tally() {
					n += tally.Commands[command]
				}
				if n < g.sent(command) {
					return false
				}
			}
			return true
		})
		return
	}
	admin := g.c.driver(t).Database("admin")
	eventually(t, "the server has worked off what was sent", func() bool {
		cur, err := admin.Aggregate(soon(t), bson.A{
			bson.D{{Key: "$currentOp", Value: bson.D{}}},
			bson.D{{Key: "$match", Value: bson.D{{Key: "appName", Value: g.name}, {Key: "active", Value: true}, {Key: "command.hello", Value: bson.D{{Key: "$exists", Value: false}}}}}},
		})
		var ops []bson.Raw
		if err == nil {
			err = cur.All(soon(t), &ops)
		}
		unsupported(t, err)
		if err != nil {
			t.Fatal(err)
		}
		return len(ops) == 0
	})
}

// What w:1 promises is less than what a game wants to save with, and the reply of such
// a write is true for no more: the write is gone after a rollback. One with w:majority is
// there or was not acknowledged.
func TestARollbackTakesWritesOfW1AndNoneOfTheMajority(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a partition between the members", replset.Options{ElectionTimeout: time.Second})
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	old := c.primary(t)
	rest := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == old.Index() })
	write := func(id string, wc *writeconcern.WriteConcern, deadline time.Duration) *messages.Write {
		w := g.insert("log", bson.D{{Key: "_id", Value: id}})
		w.WriteConcern, w.Deadline = wc, time.Now().Add(deadline)
		return w
	}
	if rep := g.write(t, write("before", nil, patience)); rep.Outcome != messages.Applied {
		t.Fatalf("%v: %v", rep.Outcome, rep.Err)
	}

	// Nobody gets it before the partition, however long that takes.
	for _, i := range rest {
		c.set.Member(i).Lag(time.Hour)
	}
	if rep := g.write(t, write("w1", writeconcern.W1(), patience)); rep.Outcome != messages.Applied {
		t.Fatalf("with w:1, and alone, the write is %v: %v", rep.Outcome, rep.Err)
	}
	c.set.Partition([]int{old.Index()}, rest)
	for _, i := range rest {
		c.set.Member(i).Lag(0)
	}
	// This one is on the wire to the primary that is none any more, or is sent to the
	// next one.
	if rep := g.write(t, write("majority", nil, patience)); rep.Outcome != messages.Applied {
		t.Errorf("with w:majority, the write is %v: %v", rep.Outcome, rep.Err)
	}
	c.set.Heal()
	eventually(t, "the old primary is a secondary", old.IsSecondary)
	c.awaitSteady(t)
	for _, m := range c.set.Members() {
		client, err := mongo.Connect(options.Client().ApplyURI(fmt.Sprintf("mongodb://%s/?directConnection=true&serverMonitoringMode=poll&heartbeatFrequencyMS=500", m.Host())))
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]int64{"before": 1, "w1": 0, "majority": 1} {
			n, err := client.Database(c.db).Collection("log").CountDocuments(soon(t), bson.D{{Key: "_id", Value: id}})
			if err != nil || n != want {
				t.Errorf("%v has %q %d times, not %d (%v)", m, id, n, want, err)
			}
		}
		_ = client.Disconnect(context.Background())
	}
}

// The asker has his answer, Unknown. When the primary can be reached again it is found out what became
// of the write, before the next one of its lane is sent, and told as an event.
func TestWhatBecameOfAnUnknownWriteIsToldWhenThePrimaryIsBack(t *testing.T) {
	for _, test := range []struct {
		name string
		link replset.Link
	}{
		{"its reply was lost", replset.LinkMute},
		{"it is on its way", replset.LinkBlackHole}, // And may get there, or not: the fence is as far.
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "a link that loses replies", primaryFirst(3))
			g := c.play(t, app.Config{})
			g.steady(t, 3)
			// The lane has its socket.
			if rep := g.write(t, g.insert("before", bson.D{{Key: "n", Value: 0}})); rep.Outcome != messages.Applied {
				t.Fatal(rep.Err)
			}
			mark := g.events.mark()
			must(t, c.primary(t).SetLink(test.link))
			var unknown *messages.UnknownOutcomeError
			n, give := 1, 500*time.Millisecond
			for ; unknown == nil; n, give = n+1, 2*give { // Until it has been sent.
				w := g.insert("log", bson.D{{Key: "n", Value: n}})
				w.Deadline = time.Now().Add(give)
				rep := g.write(t, w)
				if !errors.As(rep.Err, &unknown) && (rep.Outcome != messages.NotApplied || rep.Settled || give > patience) {
					t.Fatalf("%v: %v", rep.Outcome, rep.Err)
				}
			}
			must(t, c.primary(t).SetLink(replset.LinkWhole))
			e := await(t, g.events, mark, func(e messages.WriteSettled) bool { return e.Write == unknown.Write })
			want := messages.NotApplied
			if there, err := c.driver(t).Database(c.db).Collection("log").CountDocuments(soon(t), bson.D{{Key: "n", Value: n - 1}}); err != nil {
				t.Error(err)
			} else if there == 1 {
				want = messages.Applied
			}
			if e.Outcome != want {
				t.Errorf("told is %v, and it is %v", e.Outcome, want)
			}
		})
	}
}
