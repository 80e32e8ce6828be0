package app_test

import (
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

// long is a lag that no test waits out.
const long = time.Hour

var w1 = options.Collection().SetWriteConcern(writeconcern.W1())

func lag(set *replset.Set, d time.Duration) {
	for _, m := range set.Members() {
		if !m.IsPrimary() {
			m.Lag(d)
		}
	}
}

// waits runs read, which must not come back before the secondaries have caught up.
func waits(t *testing.T, set *replset.Set, a *app.App, read func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- read() }()
	eventually(t, "the read waits at a secondary", func() bool {
		for _, h := range a.Stat().Hosts {
			if h.Active > 0 {
				return true
			}
		}
		return len(done) > 0
	})
	select {
	case err := <-done:
		t.Fatalf("the read has not waited: %v", err)
	default:
	}
	lag(set, 0)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the read: %v", err)
		}
	case <-soon(t).Done():
		t.Fatal("the read still waits")
	}
}

func TestASessionReadsItsOwnWritesFromMembersThatLag(t *testing.T) {
	set := steady(t)
	a := start(t, set, func(c *app.Config) { c.From = messages.FromSecondariesOnly })
	seed(t, set, a, "players", numbered(1))
	lag(set, long)
	s := a.Session()
	players := s.Collection("game", "players", w1)
	if _, err := players.InsertOne(soon(t), doc("_id", "new")); err != nil {
		t.Fatal(err)
	}
	if err := a.Collection("game", "players").FindOne(soon(t), doc("_id", "new")).Err(); err != mongo.ErrNoDocuments {
		t.Fatalf("a read outside of the session: %v; the secondaries do not lag", err)
	}
	waits(t, set, a, func() error { return players.FindOne(soon(t), doc("_id", "new")).Err() })
}

func TestEveryKindOfReadInASessionSeesItsWrite(t *testing.T) {
	set := steady(t)
	a := start(t, set, func(c *app.Config) { c.From = messages.FromSecondariesOnly })
	seed(t, set, a, "players", numbered(1))
	type result struct {
		n   int
		err error
	}
	for name, read := range map[string]func(*app.Collection) result{
		"find": func(c *app.Collection) result {
			cur, err := c.Find(soon(t), doc())
			if err != nil {
				return result{0, err}
			}
			var docs []bson.D
			err = cur.All(soon(t), &docs)
			return result{len(docs), err}
		},
		"count": func(c *app.Collection) result {
			n, err := c.CountDocuments(soon(t), doc())
			return result{int(n), err}
		},
		"estimated": func(c *app.Collection) result {
			n, err := c.EstimatedDocumentCount(soon(t))
			return result{int(n), err}
		},
		"distinct": func(c *app.Collection) result {
			var ids []any
			err := c.Distinct(soon(t), "_id", doc()).Decode(&ids)
			return result{len(ids), err}
		},
		"aggregate": func(c *app.Collection) result {
			cur, err := c.Aggregate(soon(t), bson.A{})
			if err != nil {
				return result{0, err}
			}
			var docs []bson.D
			err = cur.All(soon(t), &docs)
			return result{len(docs), err}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := a.Session().Collection("game", "players-"+name, w1)
			if _, err := c.InsertOne(soon(t), doc("_id", 0)); err != nil {
				t.Fatal(err)
			}
			settle(t, set)
			lag(set, long)
			if _, err := c.InsertOne(soon(t), doc("_id", 1)); err != nil {
				t.Fatal(err)
			}
			var got result
			waits(t, set, a, func() error { got = read(c); return got.err })
			if got.n != 2 {
				t.Errorf("it has seen %d of 2", got.n)
			}
			settle(t, set)
		})
	}
}

func TestReadsOfASessionNeverGoBackAsTheyMoveBetweenMembers(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	outside := seed(t, set, a, "players", numbered(1))
	lag(set, long)
	if _, err := a.Collection("game", "players", w1).UpdateByID(soon(t), 0, doc("$set", doc("n", 1))); err != nil {
		t.Fatal(err)
	}
	s := a.Session()
	players := s.Collection("game", "players")
	var got struct{ N int }
	if err := players.From(messages.FromPrimary).FindOne(soon(t), doc("_id", 0)).Decode(&got); err != nil || got.N != 1 {
		t.Fatalf("from the primary: %v, %v", got, err)
	}
	if err := outside.From(messages.FromSecondariesOnly).FindOne(soon(t), doc("_id", 0)).Decode(&got); err != nil || got.N != 0 {
		t.Fatalf("outside of the session: %v, %v; the secondaries do not lag", got, err)
	}
	waits(t, set, a, func() error {
		return players.From(messages.FromSecondariesOnly).FindOne(soon(t), doc("_id", 0)).Decode(&got)
	})
	if got.N != 1 {
		t.Errorf("the session has gone back to %d", got.N)
	}
}

func TestATokenCarriesWhatOneSessionHasSeenToAnother(t *testing.T) {
	set := steady(t)
	a := start(t, set, func(c *app.Config) { c.From = messages.FromSecondariesOnly })
	b := start(t, set, func(c *app.Config) { c.From = messages.FromSecondariesOnly })
	seed(t, set, a, "players", numbered(1))
	lag(set, long)
	s := a.Session()
	if !s.Token().IsZero() {
		t.Error("a new session has a token")
	}
	if _, err := s.Collection("game", "players", w1).InsertOne(soon(t), doc("_id", "new")); err != nil {
		t.Fatal(err)
	}
	// As it would go to another process.
	stored, err := bson.Marshal(s.Token())
	if err != nil {
		t.Fatal(err)
	}
	var token messages.Token
	if err := bson.Unmarshal(stored, &token); err != nil {
		t.Fatal(err)
	}
	other := b.Session()
	other.Advance(token)
	waits(t, set, b, func() error { return other.Collection("game", "players").FindOne(soon(t), doc("_id", "new")).Err() })
}

func TestASessionAdvancesOnly(t *testing.T) {
	at := func(n uint32) messages.Token { return messages.Token{OperationTime: bson.Timestamp{T: n}} }
	set := steady(t)
	s := start(t, set).Session()
	var wg sync.WaitGroup
	for i := range uint32(100) {
		wg.Go(func() { s.Advance(at(i)) })
	}
	wg.Wait()
	s.Advance(messages.Token{})
	s.Advance(at(50))
	if got := s.Token().OperationTime.T; got != 99 {
		t.Errorf("it is at %d, want 99", got)
	}
}
