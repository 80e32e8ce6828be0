package main

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/evenkeel/evenkeel/replset"
)

const (
	members = 4
	setName = "rs0"
	// appName is what evenkeel's connections say they belong to; the members count
	// by it.
	appName = "evenkeel-demo"
	// judgeName is what the demo's own connections say.
	judgeName = "evenkeel-demo-judge"

	database   = "evenkeel_demo"
	collection = "players"
	ownRealm   = "ours"
	otherRealm = "a stranger's"
)

// stage is the built-in set, and beside it a stranger: a set of one member that has
// the same name and the same players, as a restored backup would, but each of its
// documents says where it belongs.
type stage struct {
	set      *replset.Set
	stranger *replset.Set
}

// openStage starts both sets and waits until they are in their steady state.
func openStage(ctx context.Context) (*stage, error) {
	s := &stage{}
	var err error
	if s.set, err = replset.Start(replset.Options{Members: members, Name: setName}); err != nil {
		return nil, err
	}
	if s.stranger, err = replset.Start(replset.Options{Members: 1, Name: setName}); err != nil {
		s.close()
		return nil, err
	}
	for _, set := range []*replset.Set{s.set, s.stranger} {
		if err := set.AwaitSecondaries(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *stage) close() {
	s.set.Stop()
	if s.stranger != nil {
		s.stranger.Stop()
	}
}

// populate gives the stranger the same players, which say that they are its.
func (s *stage) populate(ctx context.Context, players []string) error {
	docs := make([]player, len(players))
	for i, id := range players {
		docs[i] = player{ID: id, Realm: otherRealm, Saves: []int64{}}
	}
	return asJudge(ctx, s.stranger.URI(), func(c *mongo.Client) error {
		_, err := c.Database(database).Collection(collection).InsertMany(ctx, docs)
		return err
	})
}

// executed is what the members have executed for evenkeel over connections to another
// member's address.
type executed struct{ reads, writes int64 }

// astray asks every member, the stranger included, what it has executed for
// evenkeel's connections that had dialled the address of another. The members know:
// they belong to the addresses' owners, and SwapAddresses and Impersonate lead
// connections elsewhere. So each read at a wrong host is counted once, where it was
// executed, whatever evenkeel believes.
func (s *stage) astray() executed {
	var sum executed
	for _, set := range []*replset.Set{s.set, s.stranger} {
		for _, m := range set.Members() {
			t := m.Counters().Astray[appName]
			sum.reads += t.Reads
			sum.writes += t.Writes
		}
	}
	return sum
}

// asJudge runs f with a plain driver client of its own: what evenkeel did is not
// judged by what evenkeel says.
func asJudge(ctx context.Context, uri string, f func(*mongo.Client) error) error {
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetAppName(judgeName).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()))
	if err != nil {
		return err
	}
	defer func() {
		over, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = client.Disconnect(over) // Only its own sockets.
	}()
	return f(client)
}

// stored reads the players from the primary, as the majority has them.
func stored(ctx context.Context, uri, database, collection string) (map[string]player, error) {
	found := map[string]player{}
	err := asJudge(ctx, uri, func(c *mongo.Client) error {
		cursor, err := c.Database(database).Collection(collection).Find(ctx, bson.D{})
		if err != nil {
			return err
		}
		var all []player
		if err := cursor.All(ctx, &all); err != nil {
			return err
		}
		for _, p := range all {
			found[p.ID] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the players back: %w", err)
	}
	return found, nil
}
