package main

import (
	"context"
	"errors"
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

// stage is the built-in set, and beside it strangers: a set that has the same name
// and the same players, as a restored backup would, but each of its documents says
// where it belongs.
type stage struct {
	set       *replset.Set
	strangers *replset.Set
}

// openStage starts both sets and waits until they are in their steady state.
func openStage(ctx context.Context) (*stage, error) {
	s := &stage{}
	var err error
	if s.set, err = replset.Start(replset.Options{Members: members, Name: setName}); err != nil {
		return nil, err
	}
	if s.strangers, err = replset.Start(replset.Options{Members: 2, Name: setName}); err != nil {
		s.close()
		return nil, err
	}
	for _, set := range []*replset.Set{s.set, s.strangers} {
		if err := set.AwaitSecondaries(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *stage) close() {
	s.set.Stop()
	if s.strangers != nil {
		s.strangers.Stop()
	}
}

// populate gives the strangers the same players, which say that they are theirs.
func (s *stage) populate(ctx context.Context, players []string) error {
	docs := make([]player, len(players))
	for i, id := range players {
		docs[i] = player{ID: id, Realm: otherRealm, Saves: []int64{}}
	}
	err := asJudge(ctx, s.strangers.URI(), func(c *mongo.Client) error {
		_, err := c.Database(database).Collection(collection).InsertMany(ctx, docs)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing the strangers' players: %w", err)
	}
	return s.strangers.AwaitSecondaries(ctx)
}

// stranger is the one who answers at another's address: a secondary, so that reads
// would take it for one of theirs.
func (s *stage) stranger() (*replset.Member, error) {
	for _, m := range s.strangers.Members() {
		if m.IsSecondary() {
			return m, nil
		}
	}
	return nil, errors.New("the strangers have no secondary")
}

// executed is what was executed for evenkeel where it should not have been.
type executed struct{ reads, writes int64 }

// astray asks the servers what they have executed for evenkeel at a wrong host,
// whatever evenkeel believes: the members of the set, what came to them over connections
// to another one's address, which they know; and the strangers, anything at all, since
// a client that believes one of them learns the addresses of the others.
func (s *stage) astray() executed {
	var sum executed
	add := func(t replset.Tally) {
		sum.reads += t.Reads
		sum.writes += t.Writes
	}
	for _, m := range s.set.Members() {
		add(m.Counters().Astray[appName])
	}
	for _, m := range s.strangers.Members() {
		add(m.Counters().ByApp[appName])
	}
	return sum
}

// asJudge runs f with a plain driver client of its own: what evenkeel did is not
// judged by what evenkeel says.
func asJudge(ctx context.Context, uri string, f func(*mongo.Client) error) error {
	// Heartbeats that the server may not hold: one that begins while the driver
	// disconnects is not called off, and would be waited for until the server answers it.
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetAppName(judgeName).
		SetServerMonitoringMode(options.ServerMonitoringModePoll).
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
