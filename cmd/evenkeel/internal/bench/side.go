package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// operationTimeout is the deadline of each request, on both sides. It is longer than any
// fault here lasts, so that it is seen how long a request takes and not how soon
// it is given up.
const operationTimeout = 10 * time.Second

// side is one of the two that are compared. All of its methods check the answer, are
// safe for concurrent use, and give the request its deadline.
type side interface {
	name() string
	// read gets one player.
	read(ctx context.Context, id string) error
	// readRange gets rangeSize documents, from a seat on.
	readRange(ctx context.Context, from int32) error
	// insert stores a player.
	insert(ctx context.Context, p *player) error
	// update adds one to a player's saves.
	update(ctx context.Context, id string) error
	// settled waits until the side has found every member.
	settled(ctx context.Context) error
	close()
}

// sideConfig is what the two sides have in common.
type sideConfig struct {
	uri     string
	place   *place
	concern string // the write concern: "1" or "majority"
	// errorsOnly says that evenkeel's updates want no counts back: without the command
	// bulkWrite that is what lets several share a round trip (app.Collection.ErrorsOnly). What
	// they have done is counted by the judge.
	errorsOnly bool
	// monitor is told of every command; nil, as a rule, since it costs.
	monitor *event.CommandMonitor
}

// What both sides ask for.

func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

func bySeat(from int32) bson.D {
	return bson.D{{Key: "seat", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: from + rangeSize}}}}
}

var oneMoreSave = bson.D{{Key: "$inc", Value: bson.D{{Key: "saves", Value: int64(1)}}}}

// And what they look at in the answers.

func checkPlayer(res interface{ Raw() (bson.Raw, error) }, id string) error {
	doc, err := res.Raw()
	if err != nil {
		return err
	}
	if got, ok := doc.Lookup("_id").StringValueOK(); !ok || got != id {
		return fmt.Errorf("asked for the player %s, it is %s that was answered", id, doc.Lookup("_id"))
	}
	return nil
}

// documents is what a cursor of either side can do.
type documents interface {
	Next(context.Context) bool
	Err() error
	Close(context.Context) error
}

func checkRange(ctx context.Context, from int32, c documents, current func() bson.Raw) error {
	n, wrong := 0, false
	for c.Next(ctx) {
		seat, ok := current().Lookup("seat").Int32OK()
		wrong = wrong || !ok || seat < from || seat >= from+rangeSize
		n++
	}
	switch err := errors.Join(c.Err(), c.Close(ctx)); {
	case err != nil:
		return err
	case n != rangeSize || wrong:
		return fmt.Errorf("asked for %d documents from seat %d on, got %d, or others", rangeSize, from, n)
	}
	return nil
}

func checkUpdate(res *mongo.UpdateResult, err error, matched int64) error {
	if err != nil {
		return err
	}
	if res.MatchedCount != matched {
		return fmt.Errorf("an update of one player has matched %d, not %d", res.MatchedCount, matched)
	}
	return nil
}
