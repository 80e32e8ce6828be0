package bench

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// manyLanes is how many lanes evenkeel has in the rows with many.
const manyLanes = 16

const oursName = "evenkeel-bench"

// ours is evenkeel, embedded as in a game, with the defaults but for what a row says.
type ours struct {
	app                     *app.App
	players, seats, inserts *app.Collection
	updates                 *app.Collection // the players, as updates see them
	matched                 int64           // what an update says that it has matched
	keys                    bool            // each document has its lane
}

func openOurs(c sideConfig, lanes int) (*ours, error) {
	a, err := app.Start(context.Background(), app.Config{
		URI: c.uri, From: messages.FromSecondaries, WriteLanes: lanes,
		ClientOptions: func(o *options.ClientOptions) {
			o.SetAppName(oursName).SetWriteConcern(concernOf(c.concern))
			if c.monitor != nil {
				o.SetMonitor(c.monitor)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	o := &ours{
		app: a, keys: lanes > 1,
		players: a.Collection(database, c.place.players), seats: a.Collection(database, c.place.seats), inserts: a.Collection(database, c.place.inserts),
	}
	if o.updates, o.matched = o.players, 1; c.errorsOnly {
		o.updates, o.matched = o.players.ErrorsOnly(), 0
	}
	return o, nil
}

func concernOf(w string) *writeconcern.WriteConcern {
	if w == "majority" {
		return writeconcern.Majority()
	}
	return writeconcern.W1()
}

func (o *ours) name() string { return "evenkeel" }

func (o *ours) read(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return checkPlayer(o.players.FindOne(ctx, byID(id)), id)
}

func (o *ours) readRange(ctx context.Context, from int32) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	cur, err := o.seats.Find(ctx, bySeat(from))
	if err != nil {
		return err
	}
	return checkRange(ctx, from, cur, func() bson.Raw { return cur.Current })
}

func (o *ours) insert(ctx context.Context, p *player) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	c := o.inserts
	if o.keys {
		c = c.Key(p.ID)
	}
	_, err := c.InsertOne(ctx, p)
	return err
}

func (o *ours) update(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	c := o.updates
	if o.keys {
		c = c.Key(id)
	}
	res, err := c.UpdateOne(ctx, byID(id), oneMoreSave)
	return checkUpdate(res, err, o.matched)
}

func (o *ours) settled(ctx context.Context) error {
	for {
		st := o.app.Stat()
		out := ""
		for _, h := range st.Hosts {
			if h.State != slave.Live {
				out = fmt.Sprintf("%s is %s: %s", h.Host, h.State, h.Reason)
			}
		}
		if out == "" && len(st.Hosts) > 0 && st.Primary != "" {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("evenkeel does not reach every member: %s: %w", out, err)
		}
	}
}

func (o *ours) close() { _ = o.app.StopAndCancel() }
