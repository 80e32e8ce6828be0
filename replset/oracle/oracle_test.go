package oracle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/replset"
)

var (
	rounds = flag.Int("oracle.n", 60, "how many collections are compared")
	seed   = flag.Uint64("oracle.seed", 1, "what they, and all questions, are made from")
)

// startFerret starts a FerretDB in this process, and returns its connection string.
func startFerret(t *testing.T) string {
	t.Helper()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	f, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"}, Handler: "sqlite", SQLiteURL: "file:" + filepath.ToSlash(t.TempDir()) + "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("FerretDB ended with %v", err)
		}
	})
	return f.MongoDBURI()
}

// side is a collection of one of the two servers.
type side struct {
	name string
	coll *mongo.Collection
}

func connect(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database("oracle")
}

// TestReplsetAnswersAsFerretDBDoes asks both the same questions.
func TestReplsetAnswersAsFerretDBDoes(t *testing.T) {
	ferret := connect(t, startFerret(t))
	set, err := replset.Start(replset.Options{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	ours := connect(t, set.URI())
	tally := map[string]int{} // questions, and known differences
	failures := 0
	differ := func(known, format string, args ...any) {
		t.Helper()
		if known != "" {
			tally[known]++
			return
		}
		failures++
		t.Errorf(format, args...)
	}
	for n := range *rounds {
		w := world{rand.New(rand.NewPCG(*seed, uint64(n)))}
		name := fmt.Sprintf("c%d", n)
		both := []side{{"replset", ours.Collection(name)}, {"FerretDB", ferret.Collection(name)}}
		var docs []bson.D
		for i := range 20 {
			docs = append(docs, w.document(i))
		}
		for _, s := range both {
			if _, err := s.coll.InsertMany(t.Context(), docs); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		for range 30 {
			filter := w.filter(2)
			a, refusedA := find(t, both[0], filter)
			b, refusedB := find(t, both[1], filter)
			tally["finds"]++
			if refusedA || refusedB {
				if refusedA != refusedB {
					differ(known(refused, filter, nil), "find %s: refused by replset: %v, by FerretDB: %v", text(filter), refusedA, refusedB)
				}
				continue
			}
			for i, d := range docs {
				if a[int32(i)] != b[int32(i)] {
					differ(known(inFinds, filter, d), "find %s in %s: replset says %v, FerretDB %v", text(filter), text(d), a[int32(i)], b[int32(i)])
				}
			}
		}
		for range 30 {
			id, update := int32(w.r.IntN(len(docs))), w.update()
			before := document(t, both[0], id)
			a, b := apply(t, both[0], id, update), apply(t, both[1], id, update)
			tally["updates"]++
			if a != b {
				differ(known(inUpdates, update, before), "update %s of %s: replset %s, FerretDB %s", text(update), text(before), a, b)
				// From here on with replset's.
				if _, err := both[1].coll.ReplaceOne(t.Context(), of("_id", id), document(t, both[0], id)); err != nil {
					_, _ = both[0].coll.ReplaceOne(t.Context(), of("_id", id), docs[id])
					_, _ = both[1].coll.ReplaceOne(t.Context(), of("_id", id), docs[id])
				}
			}
		}
		if failures > 60 {
			t.Fatal("too many")
		}
	}
	for _, what := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%6d × %s", tally[what], what)
	}
}

func text(v any) string {
	raw, err := bson.MarshalExtJSON(v, true, false)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// find returns the _ids of what a filter matches, or says that it is refused.
func find(t *testing.T, s side, filter bson.D) (ids map[int32]bool, refused bool) {
	t.Helper()
	cur, err := s.coll.Find(t.Context(), filter, options.Find().SetProjection(of("_id", 1)))
	var docs []struct {
		ID int32 `bson:"_id"`
	}
	if err == nil {
		err = cur.All(t.Context(), &docs)
	}
	if err != nil {
		mustBeTheServers(t, s, err)
		return nil, true
	}
	ids = map[int32]bool{}
	for _, d := range docs {
		ids[d.ID] = true
	}
	return ids, false
}

// mustBeTheServers fails the test for an error that no server gives. The two word, and number, theirs
// differently.
func mustBeTheServers(t *testing.T, s side, err error) {
	t.Helper()
	var server mongo.ServerError
	if !errors.As(err, &server) {
		t.Fatalf("%s: %v", s.name, err)
	}
}

func document(t *testing.T, s side, id int32) (d bson.D) {
	t.Helper()
	if err := s.coll.FindOne(t.Context(), of("_id", id)).Decode(&d); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	return d
}

// apply updates a document and returns what it is then.
func apply(t *testing.T, s side, id int32, update bson.D) string {
	t.Helper()
	res, err := s.coll.UpdateOne(t.Context(), of("_id", id), update)
	if err != nil {
		mustBeTheServers(t, s, err)
		return "refuses"
	}
	return fmt.Sprintf("changes %d: %s", res.ModifiedCount, text(document(t, s, id)))
}
