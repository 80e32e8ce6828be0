package app_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// cursors is how many cursors the app has open on all hosts.
func cursors(a *app.App) (n int) {
	for _, h := range a.Stat().Hosts {
		n += h.Cursors
	}
	return n
}

// answered is the member that has executed a command.
func answered(t testing.TB, set *replset.Set, command string) *replset.Member {
	t.Helper()
	for _, m := range set.Members() {
		if m.Counters().Commands[command] > 0 {
			return m
		}
	}
	t.Fatalf("no member has executed %s", command)
	return nil
}

func TestACursorIsLostWithItsHostAndSaysHowFarItCame(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	ctx := soon(t)
	cur, err := c.Find(ctx, doc(), options.Find().SetBatchSize(10))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if !cur.Next(ctx) {
			t.Fatalf("at %d: %v", i, cur.Err())
		}
	}
	host := answered(t, set, "getMore")
	host.Kill()
	if cur.Next(ctx) {
		t.Fatal("a document from a killed host")
	}
	var lost *messages.CursorLostError
	if err := cur.Err(); !errors.Is(err, messages.ErrCursorLost) || !errors.As(err, &lost) || lost.Returned != 30 || lost.Host != host.Host() {
		t.Errorf("got %v (%+v), want a cursor lost with %s after 30 documents", err, lost, host.Host())
	}
	if cur.Next(ctx) || cur.TryNext(ctx) || cur.ID() != 0 || cur.RemainingBatchLength() != 0 {
		t.Error("a lost cursor goes on")
	}
	var rest []bson.D
	if err := cur.All(ctx, &rest); !errors.Is(err, messages.ErrCursorLost) || rest != nil {
		t.Errorf("All: %v, %v", rest, err)
	}
	if err := cur.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestAllOnALostCursorLeavesTheSliceAlone(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	ctx := soon(t)
	cur, err := c.Find(ctx, doc(), options.Find().SetBatchSize(10))
	if err != nil {
		t.Fatal(err)
	}
	// A find that is slow to answer is sent to another host too: the host of the cursor is asked for.
	for i, h := range a.Stat().Hosts {
		if h.Cursors > 0 {
			set.Member(i).Kill()
		}
	}
	kept := []bson.D{doc("kept", true)}
	var lost *messages.CursorLostError
	if err := cur.All(ctx, &kept); !errors.As(err, &lost) || lost.Returned != 10 || len(kept) != 1 {
		t.Errorf("got %v and %v", err, kept)
	}
}

func TestCloseClosesTheCursorOnTheServerEvenWhenItsContextIsOver(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	over, cancel := context.WithCancel(soon(t))
	cancel()
	for name, ctx := range map[string]context.Context{"a context": soon(t), "one that is over": over, "none": nil} {
		cur, err := c.Find(soon(t), doc(), options.Find().SetBatchSize(10))
		if err != nil || !cur.Next(soon(t)) {
			t.Fatal(err, cur.Err())
		}
		id := cur.ID()
		if cursors(a) != 1 {
			t.Fatalf("%d cursors are open", cursors(a))
		}
		if err := cur.Close(ctx); err != nil && (ctx != over || !errors.Is(err, context.Canceled)) {
			t.Errorf("%s: %v", name, err)
		}
		eventually(t, "the app has no cursor open", func() bool { return cursors(a) == 0 })
		for _, m := range set.Members() {
			// Without a deadline, of which the driver would make a maxTimeMS.
			err := bare(t, m).Database("game").RunCommand(context.Background(), doc("getMore", id, "collection", "players")).Err()
			if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 43 {
				t.Errorf("%s: %v answers a getMore with %v, want CursorNotFound", name, m, err)
			}
		}
		if cur.Next(soon(t)) || cur.Err() != nil || cur.ID() != 0 || cur.RemainingBatchLength() != 0 {
			t.Errorf("%s: a closed cursor goes on, %v", name, cur.Err())
		}
		if err := cur.Close(ctx); err != nil {
			t.Errorf("%s: closed again: %v", name, err)
		}
	}
}

func TestAGetMoreThatIsCancelledEndsTheCursorAndLeavesNoneOpen(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	cur, err := c.Find(soon(t), doc(), options.Find().SetBatchSize(10))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		cur.Next(soon(t))
	}
	for _, m := range set.Members() {
		m.Slow("getMore", patience)
	}
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan bool, 1)
	go func() { done <- cur.Next(ctx) }()
	eventually(t, "the getMore is on the wire", func() bool {
		for _, h := range a.Stat().Hosts {
			if h.Active > 0 {
				return true
			}
		}
		return false
	})
	cancel()
	if <-done || !errors.Is(cur.Err(), context.Canceled) {
		t.Fatalf("got %v", cur.Err())
	}
	if cur.Next(soon(t)) {
		t.Error("a failed cursor goes on")
	}
	if err := cur.Close(soon(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
	eventually(t, "no cursor is open", func() bool { return cursors(a) == 0 })
	for _, m := range set.Members() {
		m.Slow("getMore", 0)
	}
}

func TestACursorReadToItsEndLeavesNoneOpen(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	for range 5 {
		cur, err := c.Aggregate(soon(t), bson.A{doc("$match", doc())}, options.Aggregate().SetBatchSize(7))
		if err != nil {
			t.Fatal(err)
		}
		var got []bson.D
		if err := cur.All(soon(t), &got); err != nil || len(got) != 100 {
			t.Fatalf("%d documents, %v", len(got), err)
		}
	}
	if n := cursors(a); n != 0 {
		t.Errorf("%d cursors are open", n)
	}
}

func TestAllRefusesWhatItCannotFill(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3))
	cur, err := c.Find(soon(t), doc())
	if err != nil {
		t.Fatal(err)
	}
	var number int
	for _, target := range []any{nil, number, &number, []bson.D{}, (*[]bson.D)(nil)} {
		if err := cur.All(soon(t), target); err == nil {
			t.Errorf("%T was filled", target)
		}
	}
	var misfit []struct {
		N []string `bson:"n"`
	}
	if err := cur.All(soon(t), &misfit); err == nil || misfit != nil {
		t.Errorf("misfit: %v, %v", misfit, err)
	}
}

func TestAZeroCursorIsAtItsEnd(t *testing.T) {
	var cur app.Cursor
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var docs []bson.D
	if cur.Next(ctx) || cur.TryNext(ctx) || cur.Err() != nil || cur.ID() != 0 || cur.RemainingBatchLength() != 0 ||
		cur.Close(ctx) != nil || cur.All(ctx, &docs) != nil || docs != nil {
		t.Errorf("it is not: %v", cur.Err())
	}
	if err := cur.Decode(&bson.D{}); err == nil {
		t.Error("nothing was decoded")
	}
}
