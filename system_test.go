// Package evenkeel_test holds the tests of the whole: an app on a replica set, seen
// through the public packages only.
//
// They run on replset. With EVENKEEL_URI they run on the real set of that
// connection string instead, each in a database of its own that it drops; those that
// need a fault which no command of a real set brings about are skipped, and say so.
// It must be a set for tests: its primary is stepped down, and its fail points are
// used where they are enabled.
//
// A test that fails prints all events of its apps, with EVENKEEL_TAPE=1 any does.
package evenkeel_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// realURI is asked for within the tests: go test would take what it knows of another set for an answer if it were
// a variable of the package, whose reading it does not see.
func realURI() string { return os.Getenv("EVENKEEL_URI") }

func TestMain(m *testing.M) {
	// Most of these tests wait for elections and backoffs, not for a processor. The
	// command line overrides this: it is parsed later.
	_ = flag.Set("test.parallel", "6")
	goleak.VerifyTestMain(m)
}

// patience is how long anything may take before a test calls it hung.
const patience = 30 * time.Second

// soon ends when something has gone wrong for good.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition that others bring about holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// cluster is the set that a test runs on.
type cluster struct {
	set *replset.Set // nil for a real one
	uri string
	db  string
	// pem is the directory of the set's certificates, "" where options hand them over.
	pem string
	// calm says that nothing is done to the set. Its apps have time-outs that no busy machine
	// reaches: that such a machine is taken for a host that hangs is not what their tests are about.
	calm bool
}

var clusters atomic.Int64

// anySet is for tests that need no fault: on a real set they use the real one.
func anySet(t testing.TB, opts replset.Options) *cluster {
	t.Helper()
	c := &cluster{uri: realURI(), db: fmt.Sprintf("evenkeel_test_%d_%d", os.Getpid(), clusters.Add(1))}
	if c.uri != "" {
		t.Cleanup(func() {
			if err := c.driver(t).Database(c.db).Drop(soon(t)); err != nil {
				t.Errorf("database %s is left behind: %v", c.db, err)
			}
		})
		return c
	}
	set, err := replset.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	c.set, c.uri, c.calm = set, set.URI(), true
	return c
}

// driver is a new client of the bare driver, for what is true whatever the app says.
// It is not kept: unlike the app, it may have been led astray by a test's faults. Its monitor polls: of a socket that
// breaks one that streams may tell twice, and an operation that finds the pool closed for the second time is not tried
// again; and with one that is just about to ask, Disconnect waits until the server has something to say, 10 s.
func (c *cluster) driver(t testing.TB, changes ...func(*options.ClientOptions)) *mongo.Client {
	t.Helper()
	o := options.Client().ApplyURI(c.uri).SetServerSelectionTimeout(patience).
		SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.Majority()).
		SetHeartbeatInterval(500 * time.Millisecond).SetServerMonitoringMode(options.ServerMonitoringModePoll)
	if c.set != nil && c.set.ClientTLS() != nil {
		o.SetTLSConfig(c.set.ClientTLS())
	}
	for _, change := range changes {
		change(o)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(soon(t)) })
	return client
}

// coll is a collection as the bare driver sees it.
func (c *cluster) coll(t testing.TB, name string) *mongo.Collection {
	t.Helper()
	return c.driver(t).Database(c.db).Collection(name)
}

// ownSet is for tests that need what no command of a real set brings about.
func ownSet(t testing.TB, fault string, opts replset.Options) *cluster {
	t.Helper()
	if realURI() != "" {
		t.Skipf("EVENKEEL_URI: a real set cannot be told to do this: %s", fault)
	}
	c := anySet(t, opts)
	c.calm = false
	return c
}

// awaitReal waits until a real set has one primary for all of its members, and each of the others follows it.
func (c *cluster) awaitReal(t testing.TB) {
	t.Helper()
	type hello struct {
		Hosts             []string
		Primary           string
		Secondary         bool
		IsWritablePrimary bool `bson:"isWritablePrimary"`
	}
	ask := func(client *mongo.Client) (h hello, err error) {
		err = client.Database("admin").RunCommand(soon(t), bson.D{{Key: "hello", Value: 1}}).Decode(&h)
		return h, err
	}
	client := c.driver(t)
	members := map[string]*mongo.Client{}
	eventually(t, "the real set is steady", func() bool {
		primary, err := ask(client)
		if err != nil || !primary.IsWritablePrimary {
			return false
		}
		for _, host := range primary.Hosts {
			if members[host] == nil {
				members[host] = c.driver(t, func(o *options.ClientOptions) { o.SetHosts([]string{host}).SetDirect(true) })
			}
			h, err := ask(members[host])
			if err != nil || h.Primary != primary.Primary || h.IsWritablePrimary == h.Secondary {
				return false
			}
		}
		return true
	})
}

// primaryFirst is a set whose member 0 is the primary, and is so again soon after
// it was away.
func primaryFirst(members int) replset.Options {
	o := replset.Options{Members: members, ElectionTimeout: 500 * time.Millisecond, Priority: map[int]float64{}}
	for i := 1; i < members; i++ {
		o.Priority[i] = 0
	}
	return o
}

// players is how many documents seed makes: {_id: 0…players-1, owner, level: _id}.
const players = 100

// seed fills the players collection, and waits until every member has it.
func (c *cluster) seed(t testing.TB, owner string) {
	t.Helper()
	if c.set != nil {
		c.seedOn(t, owner, len(c.set.Members()))
		return
	}
	var hello struct{ Hosts []string }
	if err := c.driver(t).Database("admin").RunCommand(soon(t), bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		t.Fatal(err)
	}
	c.seedOn(t, owner, len(hello.Hosts))
}

// seedOn is seed, and waits until that many members have it.
func (c *cluster) seedOn(t testing.TB, owner string, members int) {
	t.Helper()
	docs := make([]any, players)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "owner", Value: owner}, {Key: "level", Value: i}}
	}
	client := c.driver(t)
	all := options.Database().SetWriteConcern(&writeconcern.WriteConcern{W: max(members, 1)})
	if _, err := client.Database(c.db, all).Collection("players").InsertMany(soon(t), docs); err != nil {
		t.Fatal(err)
	}
	_ = client.Disconnect(soon(t)) // Now: some tests count goroutines.
}

// only is the URI that names those members alone, and in that order.
func (c *cluster) only(members ...int) string {
	hosts := make([]string, len(members))
	for i, m := range members {
		hosts[i] = c.set.Member(m).Host()
	}
	rest := strings.TrimPrefix(c.uri, "mongodb://")
	login, rest, found := strings.Cut(rest, "@")
	if found {
		login += "@"
	} else {
		login, rest = "", login
	}
	_, query, _ := strings.Cut(rest, "/")
	return "mongodb://" + login + strings.Join(hosts, ",") + "/" + query
}

// host is a member's address.
func (c *cluster) host(member int) string { return c.set.Member(member).Host() }

// alone is t.Parallel for a test that disturbs the set: the real one is everybody's.
func alone(t *testing.T) {
	if realURI() == "" {
		t.Parallel()
	}
}

// unsupported skips the test where a server refuses to do what it takes, as replset does when it is the one in EVENKEEL_URI.
func unsupported(t testing.TB, err error) {
	t.Helper()
	if refused := (mongo.CommandError{}); realURI() != "" && errors.As(err, &refused) && strings.Contains(refused.Message, "not supported") {
		t.Skipf("EVENKEEL_URI: %v", err)
	}
}

// primary is the set's, once there is one.
func (c *cluster) primary(t testing.TB) *replset.Member {
	t.Helper()
	m, err := c.set.AwaitPrimary(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// awaitSteady waits until the set has settled.
func (c *cluster) awaitSteady(t testing.TB) {
	t.Helper()
	if c.set == nil {
		c.awaitReal(t)
		return
	}
	if err := c.set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// game is an app, with what a test wants to know of it.
type game struct {
	*app.App
	c      *cluster
	name   string // its appName, by which the servers count
	events *tape

	failing sync.Once // takes the fail point of a real set

	mu      sync.Mutex
	started map[string]int64 // mu; commands that the driver has put on the wire
	cleared map[string]int   // mu; by address, how often it got no socket since it had just cleared a pool
}

// sent is how many commands of that name the driver has put on the wire.
func (g *game) sent(command string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.started[command]
}

// refusals is how often the driver had no socket to a host for an operation, since it had cleared the pool
// between choosing the host and asking for the socket.
func (g *game) refusals(host string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cleared[host]
}

// play starts an app on the set. The zero Config is that of all members.
func (c *cluster) play(t testing.TB, cfg app.Config) *game {
	t.Helper()
	g := &game{c: c, name: fmt.Sprintf("%s %d", t.Name(), clusters.Add(1)), started: map[string]int64{}, cleared: map[string]int{}}
	if cfg.URI == "" {
		cfg.URI = c.uri
	}
	before := cfg.ClientOptions
	cfg.ClientOptions = func(o *options.ClientOptions) {
		o.SetAppName(g.name)
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			g.mu.Lock()
			g.started[e.CommandName]++
			g.mu.Unlock()
		}})
		o.SetPoolMonitor(&event.PoolMonitor{Event: func(e *event.PoolEvent) {
			if e.Type == event.ConnectionCheckOutFailed && e.Error != nil && strings.Contains(e.Error.Error(), "was cleared") {
				g.mu.Lock()
				g.cleared[e.Address]++
				g.mu.Unlock()
			}
		}})
		if c.set != nil && c.set.ClientTLS() != nil && o.TLSConfig != nil && c.pem == "" {
			o.SetTLSConfig(c.set.ClientTLS())
		}
		if before != nil {
			before(o)
		}
	}
	if cfg.EventBuffer == 0 {
		cfg.EventBuffer = 10_000
	}
	if c.calm && cfg.HungAfter == 0 {
		cfg.HungAfter = patience
	}
	if c.calm && cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = patience
	}
	a, err := app.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.App, g.events = a, record(t, a)
	t.Cleanup(func() { g.stop(t) })
	return g
}

// stop stops the app, which must not take long whatever state the set is in.
func (g *game) stop(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := time.Now()
	_ = g.Stop(ctx)
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("Stop took %v", took)
	}
}

// ready waits until the app can do all it is for: two hosts at least, and a primary. A
// real set may have members that never serve.
func (g *game) ready(t testing.TB) {
	t.Helper()
	eventually(t, "two hosts are live and writes are not held", func() bool {
		return len(g.events.live()) >= 2 && g.events.primary() != ""
	})
	if g.c.set != nil {
		g.steady(t, len(g.c.set.Members()))
	}
}

// steady waits until n hosts are live and there is a primary to write to.
func (g *game) steady(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d hosts are live and writes are not held", n), func() bool {
		return len(g.events.live()) == n && g.events.primary() != ""
	})
}

// tally is what the members have executed for the app, by member.
func (g *game) tally() []replset.Tally {
	members := g.c.set.Members()
	out := make([]replset.Tally, len(members))
	for i, m := range members {
		out[i] = m.Counters().ByApp[g.name]
	}
	return out
}

// reads is how many reads each member has executed for the app.
func (g *game) reads() []int64 {
	var out []int64
	for _, t := range g.tally() {
		out = append(out, t.Reads)
	}
	return out
}

// writes is how many writes each member has executed for the app.
func (g *game) writes() []int64 {
	var out []int64
	for _, t := range g.tally() {
		out = append(out, t.Writes)
	}
	return out
}

// tape records an app's events from its start.
type tape struct {
	end   func() // waits until the last event is on it
	lossy bool   // events may have been dropped

	mu     sync.Mutex
	events []messages.Event
}

func record(t testing.TB, a *app.App) *tape {
	tp := &tape{}
	sub := a.Events()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range sub.Events() {
			tp.mu.Lock()
			tp.events = append(tp.events, e)
			tp.mu.Unlock()
		}
	}()
	tp.end = func() {
		sub.Cancel()
		<-done
	}
	t.Cleanup(func() {
		tp.end()
		if n := sub.Dropped(); n > 0 && !tp.lossy {
			t.Errorf("%d events were dropped", n)
		}
		if t.Failed() || os.Getenv("EVENKEEL_TAPE") != "" {
			for _, e := range tp.all() {
				t.Logf("event %3d %s %-14s %s", e.Head().Seq, e.Head().Time.Format("05.000"), e.Kind(), e)
			}
		}
	})
	return tp
}

// all returns a copy of what was recorded.
func (tp *tape) all() []messages.Event {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return slices.Clone(tp.events)
}

// mark is the place on the tape that it is at now.
func (tp *tape) mark() int {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return len(tp.events)
}

// live lists the hosts that serve, as the events tell it.
func (tp *tape) live() []string {
	live := map[string]bool{}
	for _, e := range tp.all() {
		switch e := e.(type) {
		case messages.HostLive, messages.HostRestored:
			live[e.Head().Host] = true
		case messages.HostEjected:
			if !e.Floor {
				delete(live, e.Host)
			}
		case messages.HostStandby, messages.HostLost, messages.WrongHost, messages.DuplicateHost, messages.HostRestarting,
			messages.MemberRemoved:
			delete(live, e.Head().Host)
		}
	}
	hosts := make([]string, 0, len(live))
	for h := range live {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	return hosts
}

// primary is the host that writes go to, as the events tell it.
func (tp *tape) primary() string {
	host := ""
	for _, e := range tp.all() {
		if e, ok := e.(messages.PrimaryChanged); ok {
			host = e.To
		}
	}
	return host
}

// isLive reports whether a host serves, as the events tell it.
func (tp *tape) isLive(host string) bool { return slices.Contains(tp.live(), host) }

// find returns the first event of a kind from a mark on.
func find[E messages.Event](tp *tape, from int, match func(E) bool) (found E, ok bool) {
	for _, e := range tp.all()[from:] {
		if e, is := e.(E); is && (match == nil || match(e)) {
			return e, true
		}
	}
	return found, false
}

// await waits for an event of a kind, from a mark on.
func await[E messages.Event](t testing.TB, tp *tape, from int, match func(E) bool) E {
	t.Helper()
	var e E
	eventually(t, fmt.Sprintf("event %T", e), func() (ok bool) {
		e, ok = find(tp, from, match)
		return ok
	})
	return e
}

// of matches the events of a host.
func of[E messages.Event](host string) func(E) bool {
	return func(e E) bool { return e.Head().Host == host }
}
