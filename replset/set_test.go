package replset

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// soon ends with the test, or when something has gone wrong for good.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// steady starts a set and waits until it has settled.
func steady(t testing.TB, opts Options) *Set {
	t.Helper()
	set, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	return set
}

// primaryOf waits for the primary: also of a set that has settled there may be none just now.
func primaryOf(t testing.TB, set *Set) *Member {
	t.Helper()
	p, err := set.AwaitPrimary(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lag makes all members lag but those named.
func lag(set *Set, d time.Duration, but ...*Member) {
	for _, m := range set.Members() {
		if !slices.Contains(but, m) {
			m.Lag(d)
		}
	}
}

// connect makes a client of the set, or of one address of it. Its monitor polls. Of a
// socket that breaks, one that streams may tell twice: the end of the hello that waits
// clears the pool once more, which the reply to the hello before has just opened, and the
// driver does not try again an operation that finds the pool closed. And between two
// hellos that stream, a client that disconnects waits for the second.
func connect(t testing.TB, uri string, change ...func(*options.ClientOptions)) *mongo.Client {
	t.Helper()
	opts := options.Client().ApplyURI(uri).SetServerSelectionTimeout(20 * time.Second).
		SetHeartbeatInterval(500 * time.Millisecond).SetServerMonitoringMode(options.ServerMonitoringModePoll)
	for _, fn := range change {
		fn(opts)
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

// direct connects to a member alone.
func direct(t testing.TB, m *Member) *mongo.Client {
	t.Helper()
	return connect(t, "mongodb://"+m.Host()+"/?directConnection=true&connectTimeoutMS=500")
}

// eventually waits until a condition that others bring about holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func number(t testing.TB, coll *mongo.Collection, filter any) int64 {
	t.Helper()
	n, err := coll.CountDocuments(soon(t), filter)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASetElectsAPrimaryAtOnceAndReplicates(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute}) // longer than is waited for it
	client := connect(t, set.URI())
	coll := client.Database("game").Collection("players")
	if _, err := coll.InsertMany(soon(t), []any{bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}}); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Members() {
		if n := number(t, direct(t, m).Database("game").Collection("players"), bson.D{}); n != 2 {
			t.Errorf("%v has %d documents, not 2", m, n)
		}
	}
}

func TestAKilledPrimaryIsReplacedAndComesBackAsASecondary(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	coll := connect(t, set.URI()).Database("game").Collection("players")
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	old := primaryOf(t, set)
	old.Kill()
	next, err := set.AwaitPrimary(soon(t))
	if err != nil || next == old {
		t.Fatalf("after the kill of %v, the primary is %v: %v", old, next, err)
	}
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 2}}); err != nil {
		t.Fatal(err)
	}
	if err := old.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if !old.IsSecondary() {
		t.Errorf("%v is no secondary after its return", old)
	}
	if n := number(t, direct(t, old).Database("game").Collection("players"), bson.D{}); n != 2 {
		t.Errorf("the returned member has %d documents, not 2", n)
	}
}

func TestAFrozenPrimaryIsReplaced(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	old := primaryOf(t, set)
	old.Freeze()
	eventually(t, "another primary", func() bool { p := set.Primary(); return p != nil && p != old })
	old.Unfreeze()
	eventually(t, "the thawed one is a secondary", old.IsSecondary)
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestSwappedAddressesReachTheOtherMember(t *testing.T) {
	set := steady(t, Options{})
	a, b := set.Member(0), set.Member(1)
	client := direct(t, a)
	me := func() string {
		var hello struct{ Me string }
		err := client.Database("admin").RunCommand(soon(t), bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
		if err != nil {
			return err.Error()
		}
		return hello.Me
	}
	if got := me(); got != a.Host() {
		t.Fatalf("%v says it is %s", a, got)
	}
	if err := set.SwapAddresses(0, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address reaches the other", func() bool { return me() == b.Host() })
	if err := set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address reaches its own member again", func() bool { return me() == a.Host() })
}

func TestWithoutAMajorityThereIsNoPrimary(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 100 * time.Millisecond})
	primary := primaryOf(t, set)
	for _, m := range set.Members() {
		if m != primary {
			m.Kill()
		}
	}
	eventually(t, "the primary steps down", func() bool { return !primary.IsPrimary() })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if p, err := set.AwaitPrimary(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a lone member of three became primary: %v, %v", p, err)
	}
}
