package bench

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/evenkeel/evenkeel/app"
)

const driverName = "evenkeel-bench-driver"

const (
	// EqualPool is the driver's pool with which it has as many connections to a member as
	// evenkeel may open: a direct client with a socket for each worker and one more, and
	// the monitoring ones of that client and of the master's. The driver has its pool and
	// its own monitoring ones.
	EqualPool   = app.DefaultPointWorkers + app.DefaultAfterWorkers + app.DefaultOtherWorkers + 1 + oursMonitors - driverMonitors
	defaultPool = 100 // the driver's own

	oursMonitors, driverMonitors = 4, 2
)

// driver is the official driver as one would use it who has read its manual:
//
//   - one client for all members, with secondaryPreferred;
//   - maxPoolSize such that there are as many connections as evenkeel is allowed, and
//     in the rows of throughput with more than one caller whichever does best of: as many
//     as evenkeel has really open under that load, as many as it is allowed, the
//     driver's default of 100 (see choosePool);
//   - heartbeats every 500 ms, the least it takes and what evenkeel uses, or a member
//     that comes back would have to wait for up to 10 s (--driver-heartbeat);
//   - retryable reads and writes, which are its default;
//   - results that are not decoded.
type driver struct {
	client                  *mongo.Client
	players, seats, inserts *mongo.Collection
}

func openDriver(c sideConfig, pool int, heartbeat time.Duration) (*driver, error) {
	o := options.Client().ApplyURI(c.uri).SetAppName(driverName).SetWriteConcern(concernOf(c.concern)).
		SetMaxPoolSize(uint64(pool)).SetHeartbeatInterval(heartbeat)
	o.SetReadPreference(secondaryPreferred(o.ReadPreference))
	if c.monitor != nil {
		o.SetMonitor(c.monitor)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, err
	}
	db := client.Database(database)
	return &driver{client, db.Collection(c.place.players), db.Collection(c.place.seats), db.Collection(c.place.inserts)}, nil
}

// secondaryPreferred is that with the tags and the staleness that the connection string asks
// for, if any: evenkeel obeys those too.
func secondaryPreferred(asked *readpref.ReadPref) *readpref.ReadPref {
	var more []readpref.Option
	if asked != nil {
		if sets := asked.TagSets(); len(sets) > 0 {
			more = append(more, readpref.WithTagSets(sets...))
		}
		if d, ok := asked.MaxStaleness(); ok {
			more = append(more, readpref.WithMaxStaleness(d))
		}
	}
	return readpref.SecondaryPreferred(more...)
}

func (d *driver) name() string { return "driver" }

func (d *driver) read(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return checkPlayer(d.players.FindOne(ctx, byID(id)), id)
}

func (d *driver) readRange(ctx context.Context, from int32) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	cur, err := d.seats.Find(ctx, bySeat(from))
	if err != nil {
		return err
	}
	return checkRange(ctx, from, cur, func() bson.Raw { return cur.Current })
}

func (d *driver) insert(ctx context.Context, p *player) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	_, err := d.inserts.InsertOne(ctx, p)
	return err
}

func (d *driver) update(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	res, err := d.players.UpdateOne(ctx, byID(id), oneMoreSave)
	return checkUpdate(res, err, 1)
}

// settled waits until the driver has a primary and a secondary. Nothing tells whether it
// has found the others: the warming up sees to that.
func (d *driver) settled(ctx context.Context) error {
	for _, pref := range []*readpref.ReadPref{readpref.Primary(), readpref.SecondaryPreferred()} {
		if err := d.client.Ping(ctx, pref); err != nil {
			return fmt.Errorf("the driver does not reach the set: %w", err)
		}
	}
	return nil
}

func (d *driver) close() { disconnect(d.client) }
