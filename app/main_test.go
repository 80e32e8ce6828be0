package app_test

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/replset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take before a test calls it hung.
const patience = 30 * time.Second

// soon ends with the test, or when something has gone wrong for good.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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

// steady starts a set of three, whose first member is the primary, and waits until
// it has settled.
func steady(t testing.TB) *replset.Set {
	t.Helper()
	set, err := replset.Start(replset.Options{Priority: map[int]float64{1: 0, 2: 0}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	settle(t, set)
	return set
}

// settle waits until every member has what the primary has.
func settle(t testing.TB, set *replset.Set) {
	t.Helper()
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// start starts an app on a set and waits until it serves from every host.
func start(t testing.TB, set *replset.Set, change ...func(*app.Config)) *app.App {
	t.Helper()
	cfg := app.Config{URI: set.URI(), ReadTimeout: patience, WriteTimeout: patience, ConnectTimeout: patience, HungAfter: patience}
	for _, f := range change {
		f(&cfg)
	}
	a, err := app.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.StopAndCancel() })
	eventually(t, "all hosts are live, and a primary is known", func() bool {
		st := a.Stat()
		for _, h := range st.Hosts {
			if h.State != slave.Live {
				return false
			}
		}
		return len(st.Hosts) == len(set.Members()) && st.Primary != ""
	})
	return a
}

// client sets options of the driver's client.
func client(f func(*options.ClientOptions)) func(*app.Config) {
	return func(c *app.Config) { c.ClientOptions = f }
}

// bare is a client of the bare driver for a member alone. Its monitor polls: with one that streams, Disconnect
// may have to wait until the server has something to say, 10 s.
func bare(t testing.TB, m *replset.Member) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + m.Host() + "/?directConnection=true&serverMonitoringMode=poll&heartbeatFrequencyMS=500"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

// failPoint makes a member fail the next times executions of a command.
func failPoint(t testing.TB, m *replset.Member, times int, data bson.D) {
	t.Helper()
	err := bare(t, m).Database("admin").RunCommand(soon(t), bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: bson.D{{Key: "times", Value: times}}},
		{Key: "data", Value: data},
	}).Err()
	if err != nil {
		t.Fatal(err)
	}
}

// kind is all of an error that a program can branch on.
func kind(err error) string {
	if err == nil {
		return "none"
	}
	var found []string
	for name, target := range map[string]error{
		"ErrNoDocuments": mongo.ErrNoDocuments, "ErrNilDocument": mongo.ErrNilDocument, "ErrNilValue": mongo.ErrNilValue,
		"ErrEmptySlice": mongo.ErrEmptySlice, "ErrNotSlice": mongo.ErrNotSlice,
		"Canceled": context.Canceled, "DeadlineExceeded": context.DeadlineExceeded,
	} {
		if errors.Is(err, target) {
			found = append(found, name)
		}
	}
	if e := (mongo.CommandError{}); errors.As(err, &e) {
		found = append(found, fmt.Sprintf("CommandError %d %s %q", e.Code, e.Name, e.Message))
	}
	if e := (mongo.WriteException{}); errors.As(err, &e) {
		found = append(found, fmt.Sprintf("WriteException %v %v", e.WriteErrors, e.WriteConcernError))
	}
	if e := (mongo.BulkWriteException{}); errors.As(err, &e) {
		s := "BulkWriteException"
		for _, w := range e.WriteErrors {
			s += fmt.Sprintf(" %d:%d", w.Index, w.Code)
		}
		found = append(found, s)
	}
	if e := (mongo.MarshalError{}); errors.As(err, &e) {
		found = append(found, "MarshalError")
	}
	if e := (mongo.ErrMapForOrderedArgument{}); errors.As(err, &e) {
		found = append(found, "ErrMapForOrderedArgument "+e.ParamName)
	}
	for name, is := range map[string]bool{
		"duplicate": mongo.IsDuplicateKeyError(err), "timeout": mongo.IsTimeout(err), "network": mongo.IsNetworkError(err),
	} {
		if is {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return "other"
	}
	sort.Strings(found)
	return strings.Join(found, ", ")
}

// doc makes a document of keys and values.
func doc(kv ...any) bson.D {
	d := bson.D{}
	for i := 0; i < len(kv); i += 2 {
		d = append(d, bson.E{Key: kv[i].(string), Value: kv[i+1]})
	}
	return d
}

// numbered is n documents {_id: i, n: i, group: i%3}.
func numbered(n int) []bson.D {
	docs := make([]bson.D, n)
	for i := range docs {
		docs[i] = doc("_id", i, "n", i, "group", i%3)
	}
	return docs
}

// seed writes documents and waits until every member has them.
func seed(t testing.TB, set *replset.Set, a *app.App, coll string, docs []bson.D) *app.Collection {
	t.Helper()
	c := a.Collection("game", coll)
	if len(docs) > 0 {
		if _, err := c.InsertMany(soon(t), docs); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, set)
	return c
}
