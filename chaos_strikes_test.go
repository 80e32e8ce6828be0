package evenkeel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/replset"
)

// kinds are all faults there are.
var kinds = []*kind{
	{"kill", 6, 3 * time.Second, process, ofOne(func(m *replset.Member) error { m.Kill(); return nil }, (*replset.Member).Restart)},
	{"restart", 3, 0, process, ofOne((*replset.Member).Restart, nil)},
	{"restart as a standalone", 3, 2 * time.Second, process, ofOne((*replset.Member).RestartStandalone, (*replset.Member).Restart)},
	{"freeze", 6, 3 * time.Second, process, ofOne(
		func(m *replset.Member) error { m.Freeze(); return nil }, func(m *replset.Member) error { m.Unfreeze(); return nil })},
	{"maintenance", 4, 2 * time.Second, process, ofOne(
		func(m *replset.Member) error { return m.SetMaintenance(true) }, func(m *replset.Member) error { return m.SetMaintenance(false) })},
	{"resync", 6, 1200 * time.Millisecond, func(int, int) []claim { return []claim{{replication.what, false}} }, resync},
	{"lag", 5, 3 * time.Second, func(m, _ int) []claim { return append(own("lag")(m, 0), replication) }, func(x *storm, s strike) (func() error, error) {
		m := x.c.set.Member(s.member)
		m.Lag(upTo(s.rand(), 2*time.Second))
		return func() error { m.Lag(0); return nil }, nil
	}},
	{"partition", 5, 2 * time.Second, whole("partition"), partition},
	{"step down", 4, 0, whole("config"), func(x *storm, _ strike) (func() error, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return nil, x.c.set.StepDown(ctx)
	}},
	{"priority", 2, 0, whole("config"), configure(func(x *storm, ctx context.Context, s strike) error {
		return x.c.set.Configure(ctx, s.member, func(mc *replset.MemberConfig) { mc.Priority = 0.5 + 2*s.rand().Float64() })
	}, nil)},
	{"hide", 3, 2 * time.Second, whole("config"), configure(
		func(x *storm, ctx context.Context, s strike) error { return x.c.set.Hide(ctx, s.member, true) },
		func(x *storm, ctx context.Context, s strike) error { return x.c.set.Hide(ctx, s.member, false) })},
	{"delay the member", 2, 2 * time.Second, whole("config"), configure(
		func(x *storm, ctx context.Context, s strike) error { return x.c.set.Delay(ctx, s.member, time.Second) },
		func(x *storm, ctx context.Context, s strike) error { return x.c.set.Delay(ctx, s.member, 0) })},
	{"remove", 3, 3 * time.Second, whole("config"), configure(
		func(x *storm, ctx context.Context, s strike) error { return x.c.set.Remove(ctx, s.member) },
		comeBack)},
	{"add", 1, 0, whole("config"), add},
	{"swap addresses", 3, 2 * time.Second, only("addresses"), elsewhere(func(x *storm, s strike) error { return x.c.set.SwapAddresses(s.member, s.other) })},
	{"alternate", 3, 2 * time.Second, only("addresses"), elsewhere(func(x *storm, s strike) error { return x.c.set.Alternate(s.member, s.member, s.other) })},
	{"impersonate", 3, 2 * time.Second, only("addresses"), elsewhere(func(x *storm, s strike) error { return x.c.set.Impersonate(s.member, x.stranger.Member(0)) })},
	{"link", 8, 3 * time.Second, own("link"), func(x *storm, s strike) (func() error, error) {
		m := x.c.set.Member(s.member)
		return func() error { return m.SetLink(replset.LinkWhole) }, m.SetLink(replset.LinkBlackHole + replset.Link(s.rand().IntN(3)))
	}},
	{"slow", 4, 2 * time.Second, own("slow"), func(x *storm, s strike) (func() error, error) {
		m, r := x.c.set.Member(s.member), s.rand()
		command := struckCommands[r.IntN(len(struckCommands))]
		m.Slow(command, upTo(r, time.Second))
		return func() error { m.Slow(command, 0); return nil }, nil
	}},
	{"latencies", 4, 3 * time.Second, nothing, commands(func(m *replset.Member, t replset.Target, r *rand.Rand) *replset.Fault {
		return m.Delay(t, replset.Quantiles(map[float64]time.Duration{0.5: upTo(r, 5*time.Millisecond), 0.95: 20 * time.Millisecond, 1: 20*time.Millisecond + upTo(r, time.Second)}))
	})},
	{"cut", 12, time.Second, nothing, commands(func(m *replset.Member, t replset.Target, r *rand.Rand) *replset.Fault {
		t.Times = 1 + r.IntN(20)
		return m.Cut(t, replset.Phase(r.IntN(3)))
	})},
	{"overload", 4, time.Second, nothing, commands(func(m *replset.Member, t replset.Target, _ *rand.Rand) *replset.Fault { return m.Overload(t) })},
	{"refuse connections", 4, 2 * time.Second, nothing, commands(func(m *replset.Member, t replset.Target, _ *rand.Rand) *replset.Fault {
		return m.RefuseConnections(replset.Target{Share: t.Share, Seed: t.Seed})
	})},
	{"fail point", 10, time.Second, own("fail point"), failCommand},
}

func nothing(int, int) []claim { return nil }

// struckCommands are those that faults of commands are about.
var struckCommands = []string{"find", "getMore", "aggregate", "insert", "update", "delete", "findAndModify", "bulkWrite", "ping"}

// someCommands draws some of them, or, with nil, all that there are.
func someCommands(r *rand.Rand) []string {
	if r.IntN(4) == 0 {
		return nil
	}
	var some []string
	for _, c := range struckCommands {
		if r.IntN(2) == 0 {
			some = append(some, c)
		}
	}
	return some
}

// strikeAll lets the schedule run its course, and returns when every fault is over.
func (x *storm) strikeAll() {
	var all sync.WaitGroup
	for i, s := range x.schedule {
		x.await(s.at-x.since(), nil)
		all.Go(func() {
			if slices.Contains(s.kind.claims(s.member, s.other), replication) {
				// The claims are for when it was to strike; this is for when it does.
				x.quiet.RLock()
				defer x.quiet.RUnlock()
			}
			heal, err := s.kind.strike(x, s)
			if err != nil {
				x.log.add(x.since(), "%4d  %s did not come about: %v", i, s.kind.name, err)
			} else {
				x.log.add(x.since(), "%4d  %s, member %d (%d)", i, s.kind.name, s.member, s.other)
			}
			if heal == nil {
				return
			}
			x.await(s.at+s.lasts-x.since(), x.over)
			if err := heal(); err != nil {
				x.log.add(x.since(), "%4d  %s, its end: %v", i, s.kind.name, err)
				return
			}
			x.log.add(x.since(), "%4d  %s, member %d, is over", i, s.kind.name, s.member)
		})
	}
	x.await(x.lasts-x.since(), nil)
	close(x.over)
	if !within(2*patience, all.Wait) {
		x.t.Fatal("the faults do not end")
	}
	for _, m := range x.c.set.Members() {
		if !m.Running() {
			continue // One that was not to be added.
		}
		eventually(x.t, fmt.Sprintf("%v has no fail point", m), func() bool { return x.setFailPoint(m, patience, "off", nil) == nil })
	}
}

// strokes counts the schedule's faults by their kind.
func (x *storm) strokes() string {
	n := map[string]int{}
	for _, s := range x.schedule {
		n[s.kind.name]++
	}
	var out []string
	for _, k := range kinds {
		if n[k.name] > 0 {
			out = append(out, fmt.Sprintf("%d × %s", n[k.name], k.name))
		}
	}
	return strings.Join(out, ", ")
}

// ofOne is a fault of one member.
func ofOne(hit, heal func(*replset.Member) error) func(*storm, strike) (func() error, error) {
	return func(x *storm, s strike) (func() error, error) {
		m := x.c.set.Member(s.member)
		err := hit(m)
		if heal == nil || err != nil {
			return nil, err
		}
		return func() error { return heal(m) }, nil
	}
}

// commands is a fault of some commands of one member.
func commands(hit func(m *replset.Member, t replset.Target, r *rand.Rand) *replset.Fault) func(*storm, strike) (func() error, error) {
	return func(x *storm, s strike) (func() error, error) {
		r := s.rand()
		t := replset.Target{Commands: someCommands(r), Share: 0.05 + 0.95*r.Float64(), Seed: r.Uint64()}
		f := hit(x.c.set.Member(s.member), t, r)
		return func() error { f.End(); return nil }, nil
	}
}

// change is one of the set's config.
type change func(x *storm, ctx context.Context, s strike) error

// configure makes a change, and in the end the one back. The first may not be acknowledged
// before other faults are over, and have come about all the same, so that the one back
// is made in any case.
func configure(there, back change) func(*storm, strike) (func() error, error) {
	return func(x *storm, s strike) (func() error, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := there(x, ctx, s)
		if back == nil {
			return nil, err
		}
		return persist(x, func(ctx context.Context) error { return back(x, ctx, s) }), err
	}
}

// add adds a member. It may be one of the set also when that was not acknowledged, and is
// made so.
func add(x *storm, s strike) (func() error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	m, err := x.c.set.Add(ctx)
	if err == nil || m == nil {
		return nil, err
	}
	return persist(x, func(ctx context.Context) error { return x.c.set.Return(ctx, m.Index()) }), err
}

// persist is an end of a fault that is tried until it succeeds.
func persist(x *storm, end func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for {
			err := end(ctx)
			if err == nil || ctx.Err() != nil {
				return err
			}
			x.await(20*time.Millisecond, nil)
		}
	}
}

// comeBack makes a member that was removed, or is perhaps, one of the set again.
func comeBack(x *storm, ctx context.Context, s strike) error {
	if err := x.c.set.Remove(ctx, s.member); err != nil && !strings.Contains(err.Error(), "has been removed already") {
		return err
	}
	return x.c.set.Return(ctx, s.member)
}

func elsewhere(lead func(*storm, strike) error) func(*storm, strike) (func() error, error) {
	return func(x *storm, s strike) (func() error, error) { return x.c.set.RestoreAddresses, lead(x, s) }
}

// partition cuts the members into two groups, of which neither is empty.
func partition(x *storm, s strike) (func() error, error) {
	r := s.rand()
	cut := []int{s.member}
	for _, m := range x.c.set.Members() {
		if m.Index() != s.member && m.Index() != s.other && r.IntN(3) == 0 {
			cut = append(cut, m.Index())
		}
	}
	x.c.set.Partition(cut)
	return func() error { x.c.set.Heal(); return nil }, nil
}

// resync empties a member once all others have what it has, and while nothing keeps them
// from one another.
func resync(x *storm, s strike) (func() error, error) {
	if !x.quiet.TryLock() {
		return nil, errors.New("others are not over yet")
	}
	defer x.quiet.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := x.c.set.AwaitSecondaries(ctx); err != nil {
		return nil, err
	}
	m := x.c.set.Member(s.member)
	if m == x.c.set.Primary() {
		// Its vote would count for one that lacks what a majority has.
		return nil, errors.New("it is the primary")
	}
	if err := m.Resync(upTo(s.rand(), time.Second)); err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	return nil, x.c.set.AwaitSecondaries(ctx)
}

// The codes that the fail point gives: those of servers that go, stumble or are in
// another role, and some that no retry mends.
var failCodes = []int32{
	6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, // retryable
	2, 50, 112, 11601,
}

// failCommand has a member's fail point strike some commands.
func failCommand(x *storm, s strike) (func() error, error) {
	r := s.rand()
	names := someCommands(r)
	if names == nil {
		names = struckCommands
	}
	if r.IntN(4) == 0 {
		names = append(slices.Clone(names), "hello", "isMaster")
	}
	data := bson.D{{Key: "failCommands", Value: names}}
	code := failCodes[r.IntN(len(failCodes))]
	switch r.IntN(4) {
	case 0:
		data = append(data, bson.E{Key: "closeConnection", Value: true})
	case 1:
		data = append(data, bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 1 + r.IntN(1000)})
	case 2:
		data = append(data, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: code}, {Key: "errmsg", Value: "chaos"}}})
	default:
		data = append(data, bson.E{Key: "errorCode", Value: code})
	}
	m := x.c.set.Member(s.member)
	err := x.setFailPoint(m, time.Second, bson.D{{Key: "times", Value: 1 + r.IntN(30)}}, data)
	return func() error { return x.setFailPoint(m, time.Second, "off", nil) }, err
}

// setFailPoint sets the fail point of a member, if it can be reached in that time.
func (x *storm) setFailPoint(m *replset.Member, timeout time.Duration, mode any, data bson.D) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	o := options.Client().ApplyURI(x.c.uri).SetHosts([]string{m.Host()}).SetDirect(true).SetServerSelectionTimeout(timeout)
	o.ReplicaSet = nil
	o.SetServerMonitoringMode(options.ServerMonitoringModePoll)
	client, err := mongo.Connect(o)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	}()
	cmd := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}}
	if data != nil {
		cmd = append(cmd, bson.E{Key: "data", Value: data})
	}
	return client.Database("admin").RunCommand(ctx, cmd).Err()
}
