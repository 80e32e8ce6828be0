package evenkeel_test

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

type player struct {
	ID    int `bson:"_id"`
	Owner string
	Level int
}

// laggard makes the last member of the set lag, where that can be done. A majority is
// as fast as ever.
func (c *cluster) laggard(d time.Duration) {
	if c.set != nil {
		members := c.set.Members()
		members[len(members)-1].Lag(d)
	}
}

func TestASessionReadsItsOwnWritesFromAnyHost(t *testing.T) {
	t.Parallel()
	c := anySet(t, primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{Policy: app.RoundRobin})
	g.ready(t)
	c.laggard(150 * time.Millisecond)

	session, plain := g.Session(), g.Collection(c.db, "players")
	own := session.Collection(c.db, "players")
	stale := 0
	within := soon(t)
	for n := 1; n <= 12 || c.set != nil && stale == 0 && within.Err() == nil; n++ {
		if _, err := own.UpdateOne(soon(t), bson.D{{Key: "_id", Value: 5}}, bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: 1000 + n}}}}); err != nil {
			t.Fatal(err)
		}
		var other, mine player
		if err := plain.FindOne(soon(t), bson.D{{Key: "_id", Value: 5}}).Decode(&other); err != nil {
			t.Fatal(err)
		}
		if other.Level != 1000+n {
			stale++
		}
		for range 2 { // One for each secondary.
			if err := own.FindOne(soon(t), bson.D{{Key: "_id", Value: 5}}).Decode(&mine); err != nil {
				t.Fatal(err)
			}
			if mine.Level != 1000+n {
				t.Errorf("the session read %d after it had written %d", mine.Level, 1000+n)
			}
		}
	}
	if c.set != nil && stale == 0 {
		t.Error("without a session every read was fresh: the test shows nothing")
	}
}

func TestASessionNeverReadsBackwards(t *testing.T) {
	t.Parallel()
	c := anySet(t, primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{Policy: app.RoundRobin})
	g.ready(t)
	c.laggard(100 * time.Millisecond)

	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan error, 1)
	go func() {
		players := g.Collection(c.db, "players")
		for ctx.Err() == nil {
			if _, err := players.UpdateByID(context.WithoutCancel(ctx), 5, bson.D{{Key: "$inc", Value: bson.D{{Key: "level", Value: 1}}}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	level := func(players *app.Collection) int {
		var p player
		if err := players.FindOne(soon(t), bson.D{{Key: "_id", Value: 5}}).Decode(&p); err != nil {
			t.Error(err)
		}
		return p.Level
	}
	inSession, outside := g.Session().Collection(c.db, "players"), g.Collection(c.db, "players")
	last, lastOutside, backwards := 0, 0, 0
	// The laggard has something to be behind with once some updates have been applied.
	for round := 0; round < 30 || c.set != nil && backwards == 0 && ctx.Err() == nil; round++ {
		if n := level(inSession); n < last {
			t.Errorf("the session read %d after %d", n, last)
		} else {
			last = n
		}
		for range 2 { // Three reads a round: the two secondaries are not always the same one's.
			if n := level(outside); n < lastOutside {
				backwards++
			} else {
				lastOutside = n
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the writer failed: %v", err)
	}
	if c.set != nil && backwards == 0 {
		t.Error("without a session no read went backwards: the test shows nothing")
	}
}

// What another process has seen is passed on as a token.
func TestATokenTakesWhatWasSeenToAnotherApp(t *testing.T) {
	t.Parallel()
	c := anySet(t, primaryFirst(3))
	c.seed(t, "us")
	one, two := c.play(t, app.Config{}), c.play(t, app.Config{})
	one.ready(t)
	two.ready(t)
	c.laggard(150 * time.Millisecond)
	for n := range 6 {
		w := &messages.Write{
			Database: c.db, Collection: "players", WriteConcern: writeconcern.Majority(),
			Operation: messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: 9}}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: 500 + n}}}}},
		}
		rep := one.write(t, w)
		if rep.Outcome != messages.Applied || rep.Token.IsZero() {
			t.Fatalf("%v %v: %v", rep.Outcome, rep.Token, rep.Err)
		}
		raw, err := bson.Marshal(rep.Token)
		if err != nil {
			t.Fatal(err)
		}
		var token messages.Token
		if err := bson.Unmarshal(raw, &token); err != nil {
			t.Fatal(err)
		}
		read := two.point(9)
		read.After = token
		got := two.read(t, read)
		var p player
		if got.Err != nil || bson.Unmarshal(got.Document, &p) != nil || p.Level != 500+n {
			t.Errorf("after the token, the other app read %v (%v)", got.Document, got.Err)
		}
	}
}
