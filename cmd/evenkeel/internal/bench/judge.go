package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

const (
	judgeName = "evenkeel-bench-judge"
	// judgeTimeout bounds each of its questions.
	judgeTimeout = 10 * time.Second
)

// judge is who stores the documents, and asks the members themselves what there is to
// know, with plain clients of its own that are idle while anything is measured.
type judge struct {
	set     *mongo.Client
	members []asked
	hello   hello
	// blind says that the members do not let it see their serverStatus.
	blind bool
}

// hello is what a member says of itself and its set.
type hello struct {
	Hosts, Passives []string
	SetName         string `bson:"setName"`
	MaxWire         int    `bson:"maxWireVersion"`
	Secondary       bool
}

func askHello(ctx context.Context, c *mongo.Client) (h hello, err error) {
	for _, name := range []string{"hello", "isMaster"} { // The first since MongoDB 4.4.2.
		err = c.Database("admin").RunCommand(ctx, bson.D{{Key: name, Value: 1}}).Decode(&h)
		if e := (mongo.CommandError{}); !errors.As(err, &e) || !e.HasErrorCode(codeCommandNotFound) {
			break
		}
	}
	return h, err
}

const codeCommandNotFound = 59

// asked is a member with a direct client.
type asked struct {
	host   string
	client *mongo.Client
}

func openJudge(ctx context.Context, uri string) (*judge, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	j := &judge{}
	var err error
	if j.set, err = mongo.Connect(judgeOptions(uri)); err != nil {
		return nil, err
	}
	if j.hello, err = askHello(ctx, j.set); err != nil {
		j.close()
		return nil, fmt.Errorf("asking the set for its members: %w", err)
	}
	if j.hello.SetName == "" {
		j.close()
		return nil, errors.New("it is no replica set that answers; reads are spread over the members of one")
	}
	for _, host := range append(j.hello.Hosts, j.hello.Passives...) {
		o := judgeOptions(uri).SetHosts([]string{host}).SetDirect(true)
		o.ReplicaSet = nil
		client, err := mongo.Connect(o)
		if err != nil {
			j.close()
			return nil, err
		}
		j.members = append(j.members, asked{host, client})
	}
	_, err = j.connections(ctx)
	j.blind = errors.As(err, new(mongo.CommandError))
	return j, nil
}

func judgeOptions(uri string) *options.ClientOptions {
	// Heartbeats that the server may not hold: one that begins while the driver
	// disconnects is not called off, and would be waited for until the server answers it.
	return options.Client().ApplyURI(uri).SetAppName(judgeName).SetServerMonitoringMode(options.ServerMonitoringModePoll).
		SetReadPreference(readpref.PrimaryPreferred()).SetReadConcern(readconcern.Local()).SetWriteConcern(writeconcern.Majority())
}

func (j *judge) close() {
	disconnect(j.set)
	for _, m := range j.members {
		disconnect(m.client)
	}
}

// disconnect closes a client, within a second.
func disconnect(c *mongo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Disconnect(ctx) // Only its own sockets.
}

// status asks every member for numbers of its serverStatus, each a path of keys, and
// calls seen with their sum. A judge that may not see them sees nothing.
func (j *judge) status(ctx context.Context, paths []string, seen func(host string, sum int64)) error {
	if j.blind {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	for _, m := range j.members {
		raw, err := m.client.Database("admin").RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Raw()
		if err != nil {
			return fmt.Errorf("serverStatus of %s: %w", m.host, err)
		}
		sum := int64(0)
		for _, path := range paths {
			if v, err := raw.LookupErr(strings.Split(path, ".")...); err == nil {
				n, _ := v.AsInt64OK()
				sum += n
			}
		}
		seen(m.host, sum)
	}
	return nil
}

// executed is how many commands the members have executed so far.
func (j *judge) executed(ctx context.Context, names []string) (n int64, err error) {
	paths := make([]string, len(names))
	for i, name := range names {
		if paths[i] = "metrics.commands." + name + ".total"; name == "find" {
			// One of these is counted for each find; those of writes count statements.
			paths[i] = "opcounters.query"
		}
	}
	err = j.status(ctx, paths, func(_ string, sum int64) { n += sum })
	return n, err
}

// connections are how many are open to each member.
func (j *judge) connections(ctx context.Context) (map[string]int, error) {
	open := map[string]int{}
	err := j.status(ctx, []string{"connections.current"}, func(host string, n int64) { open[host] = int(n) })
	return open, err
}

// quiet is connections once those that were closed just now are gone: the servers take a
// moment to notice.
func (j *judge) quiet(ctx context.Context) (map[string]int, error) {
	last, err := j.connections(ctx)
	for range 20 {
		if err == nil {
			err = pause(ctx, 50*time.Millisecond)
		}
		if err != nil {
			return nil, err
		}
		var now map[string]int
		if now, err = j.connections(ctx); maps.Equal(last, now) {
			break
		}
		last = now
	}
	return last, err
}

// more is how many connections the member has more that has the most of them.
func more(before, after map[string]int) (most int) {
	for host, n := range after {
		most = max(most, n-before[host])
	}
	return most
}

// canFail says whether a member has the fail point failCommand.
func (j *judge) canFail(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	var reply struct {
		Enabled any `bson:"enableTestCommands"`
	}
	err := j.set.Database("admin").RunCommand(ctx, bson.D{{Key: "getParameter", Value: 1}, {Key: "enableTestCommands", Value: 1}}).Decode(&reply)
	return err == nil && (reply.Enabled == true || reply.Enabled == int32(1))
}

// version is the server's.
func (j *judge) version(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	var reply struct{ Version string }
	if j.set.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&reply) != nil {
		return ""
	}
	return reply.Version
}

// secondary is a member that says it is one.
func (j *judge) secondary(ctx context.Context) (asked, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	for _, m := range j.members {
		if h, err := askHello(ctx, m.client); err == nil && h.Secondary {
			return m, nil
		}
	}
	return asked{}, errors.New("no member is a secondary")
}

// stepDown makes the primary give up its role for a few seconds.
func (j *judge) stepDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	return j.set.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetStepDown", Value: 10}, {Key: "secondaryCatchUpPeriodSecs", Value: 5}},
		options.RunCmd().SetReadPreference(readpref.Primary())).Err()
}
