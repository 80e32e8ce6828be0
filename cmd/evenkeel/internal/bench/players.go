package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

const (
	database = "evenkeel_bench"
	// population is how many players there are to be read and updated.
	population = 10_000
	// seats is how many documents a range is taken from, and rangeSize how many it
	// has. There are few, since the built-in set looks at all of them for each range.
	seats, rangeSize = 500, 100
	// seedBatch is how many documents are stored at one time.
	seedBatch = 1000
)

// player is a document of about 300 bytes, as a game has them.
type player struct {
	ID       string    `bson:"_id"`
	Seat     int32     `bson:"seat"`
	Name     string    `bson:"name"`
	Guild    string    `bson:"guild"`
	Level    int32     `bson:"level"`
	Gold     int64     `bson:"gold"`
	XP       int64     `bson:"xp"`
	X        float64   `bson:"x"`
	Y        float64   `bson:"y"`
	Saves    int64     `bson:"saves"`
	Items    []int32   `bson:"items"`
	LastSeen time.Time `bson:"last_seen"`
	Motto    string    `bson:"motto"`
}

// someItems are not changed.
var someItems = []int32{101, 205, 309, 412, 518, 620, 723, 829}

func newPlayer(id string, seat int32) *player {
	return &player{
		ID: id, Seat: seat, Name: "player " + id[:8], Guild: "the even keel", Level: 1 + rand.Int32N(80), Gold: rand.Int64N(1_000_000),
		XP: rand.Int64N(1_000_000_000), X: rand.Float64() * 4096, Y: rand.Float64() * 4096, Items: someItems,
		LastSeen: time.Now(), Motto: "who keeps the keel even keeps the crew",
	}
}

func newID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// place is where the documents are: collections that are nobody else's, since their
// names are new.
type place struct {
	players, seats, inserts string
	ids                     []string
}

func newPlace() *place {
	own := bson.NewObjectID().Hex()
	p := &place{players: "players_" + own, seats: "seats_" + own, inserts: "inserts_" + own}
	for range population {
		p.ids = append(p.ids, newID())
	}
	return p
}

// one is a player's id, any.
func (p *place) one() string { return p.ids[rand.IntN(len(p.ids))] }

// populate stores the documents, and waits until every member that can be read from has
// them.
func (j *judge) populate(ctx context.Context, p *place) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	db := j.set.Database(database)
	store := func(name string, ids []string) error {
		for from := 0; from < len(ids); from += seedBatch {
			part := ids[from:min(from+seedBatch, len(ids))]
			docs := make([]any, len(part))
			for i, id := range part {
				docs[i] = newPlayer(id, int32(from+i))
			}
			if _, err := db.Collection(name).InsertMany(ctx, docs); err != nil {
				return fmt.Errorf("storing the documents in %s.%s: %w", database, name, err)
			}
		}
		return nil
	}
	if err := store(p.players, p.ids); err != nil {
		return err
	}
	if _, err := db.Collection(p.seats).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "seat", Value: 1}}}); err != nil {
		return fmt.Errorf("making an index on %s.%s: %w", database, p.seats, err)
	}
	if err := store(p.seats, p.ids[:seats]); err != nil {
		return err
	}
	for _, m := range j.members {
		if err := m.await(ctx, p.seats, seats); err != nil { // It was stored last.
			return err
		}
	}
	return nil
}

// await waits until a member has so many documents, unless it cannot be read from.
func (m asked) await(ctx context.Context, name string, n int64) error {
	for {
		have, err := m.client.Database(database).Collection(name).EstimatedDocumentCount(ctx)
		if e := (mongo.CommandError{}); errors.As(err, &e) {
			return nil // A delayed or recovering member: nobody reads from it.
		}
		if err != nil {
			return fmt.Errorf("waiting for %s to have the documents: %w", m.host, err)
		}
		if have >= n {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for %s to have the documents: it has %d of %d: %w", m.host, have, n, err)
		}
	}
}

// drop takes the documents away again.
func (j *judge) drop(p *place) error {
	return j.insist(context.Background(), func(ctx context.Context) error {
		var errs []error
		for _, name := range []string{p.players, p.seats, p.inserts} {
			errs = append(errs, j.set.Database(database).Collection(name).Drop(ctx))
		}
		return errors.Join(errs...)
	})
}

// insist tries again what fails: the primary may be another one than the judge has heard of,
// and the driver does not retry what creates or drops.
func (j *judge) insist(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	for {
		if err := do(ctx); err == nil || pause(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// saves is how often all players were saved, by the primary's account.
func (j *judge) saves(ctx context.Context, p *place) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	pipeline := bson.A{bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: nil}, {Key: "n", Value: bson.D{{Key: "$sum", Value: "$saves"}}}}}}}
	cursor, err := j.primary(p.players).Aggregate(ctx, pipeline)
	if err != nil {
		return 0, fmt.Errorf("adding up the saves: %w", err)
	}
	var all []struct{ N int64 }
	if err := cursor.All(ctx, &all); err != nil {
		return 0, fmt.Errorf("adding up the saves: %w", err)
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("adding up the saves gave %d sums", len(all))
	}
	return all[0].N, nil
}

// empty replaces the collection of inserts by an empty one.
func (j *judge) empty(ctx context.Context, p *place) error {
	return j.insist(ctx, func(ctx context.Context) error {
		if err := j.primary(p.inserts).Drop(ctx); err != nil {
			return err
		}
		return j.set.Database(database).CreateCollection(ctx, p.inserts)
	})
}

// inserted is how many documents were inserted, by the primary's account.
func (j *judge) inserted(ctx context.Context, p *place) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	return j.primary(p.inserts).CountDocuments(ctx, bson.D{})
}

func (j *judge) primary(name string) *mongo.Collection {
	return j.set.Database(database).Collection(name, options.Collection().SetReadPreference(readpref.Primary()))
}

// pause waits; its error is that of a ctx that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// oneLine is the text of an error on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
