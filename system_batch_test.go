package evenkeel_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// ofAllTypes are _ids of all types that there may be, each one that no other equals.
func ofAllTypes(t testing.TB) []any {
	t.Helper()
	var deep any = "the end"
	for range 150 {
		deep = bson.D{{Key: "d", Value: deep}}
	}
	d := func(kv ...any) (d bson.D) {
		for i := 0; i < len(kv); i += 2 {
			d = append(d, bson.E{Key: kv[i].(string), Value: kv[i+1]})
		}
		return d
	}
	ids := []any{
		0, 1, -7, int64(1) << 53, int64(1)<<53 + 1, int64(math.MaxInt64), int64(math.MinInt64), 1.5, math.MaxFloat64, float64(math.MaxInt64),
		math.NaN(), math.Inf(1), math.Inf(-1), decimal(t, "2"), decimal(t, "0.1"), decimal(t, "1E300"),
		"", "ann", "ANN", "a\x00b", "Ärger", "A\u0308rger", strings.Repeat("x", 10_000), strings.Repeat("x", 10_001), bson.Symbol("sym"), bson.Symbol("sym2"),
		bson.NewObjectID(), bson.NewObjectID(), bson.Binary{Subtype: 4, Data: bytes.Repeat([]byte{1}, 16)}, bson.Binary{Subtype: 3, Data: bytes.Repeat([]byte{1}, 16)},
		[]byte{}, []byte("bytes"), bson.Binary{Subtype: 2, Data: []byte("old")}, bson.DateTime(0), bson.DateTime(-1), bson.DateTime(math.MaxInt32),
		bson.Timestamp{T: 5, I: 1}, bson.Timestamp{T: 5, I: 2}, true, false, bson.JavaScript("x"), bson.MinKey{}, bson.MaxKey{},
		d(), d("a", 1), d("a", 2), d("a", 1, "b", "x"), d("b", "x", "a", 1), d("a", bson.A{}), d("a", bson.A{1, "x", d()}), d("a", nil), d("a", math.NaN()),
		d("a", decimal(t, "3")), d("a", bson.Symbol("x")), deep,
	}
	for i := range 40 {
		ids = append(ids, 1000+i, fmt.Sprint("player-", i), d("player", i, "day", "mon"))
	}
	return ids
}

// alike returns an _id that is the same to the server, if there is another one.
func alike(t testing.TB, id any) any {
	switch v := id.(type) {
	case int:
		return []any{int64(v), float64(v), decimal(t, fmt.Sprint(v))}[rand.N(3)]
	case float64:
		if v == 0 {
			return math.Copysign(0, -1)
		}
	case string:
		if len(v) < 10 {
			return bson.Symbol(v)
		}
	case bson.Symbol:
		return string(v)
	case bson.Decimal128:
		if v.String() == "2" {
			return 2
		}
	case bson.D:
		if len(v) > 0 && v[0].Value == 1 {
			other := slices.Clone(v)
			other[0].Value = 1.0
			return other
		}
	}
	return id
}

func decimal(t testing.TB, s string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shared is how many round trips several reads have shared, and how many reads.
func (g *game) shared() (batches, reads int64) {
	for _, h := range g.Stat().Hosts {
		batches, reads = batches+h.Batches, reads+h.Batched
	}
	return batches, reads
}

// finds is how many finds the members have executed for the app.
func (g *game) finds() (n int64) {
	for _, t := range g.tally() {
		n += t.Commands["find"]
	}
	return n
}

// alone waits until the primary serves.
func (g *game) alone(t testing.TB) {
	t.Helper()
	eventually(t, "the primary is live", func() bool { return g.events.isLive(g.events.primary()) })
}

// crowded runs f in so many goroutines at once.
func crowded(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestReadsOfAllSortsOfIDsThatShareRoundTripsAreAnsweredAsIfAlone(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{Members: 1}) // Which is never ejected, however slow it is.
	bare := c.coll(t, "things")
	ids := ofAllTypes(t)
	projection := options.FindOne().SetProjection(bson.D{{Key: "n", Value: 1}, {Key: "big", Value: 1}})
	for i, id := range ids {
		if i%5 == 4 {
			continue // Missing.
		}
		doc := bson.D{{Key: "_id", Value: id}, {Key: "n", Value: i}, {Key: "rest", Value: strings.Repeat("r", i)}}
		if _, err := bare.InsertOne(soon(t), doc); err != nil {
			t.Fatalf("%T %v: %v", id, id, err)
		}
	}
	// What a read alone gives, of the bare driver.
	alone := func(id any, opts ...options.Lister[options.FindOneOptions]) string {
		got, err := bare.FindOne(soon(t), bson.D{{Key: "_id", Value: id}}, opts...).Raw()
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			t.Errorf("%T %v: %v", id, id, err)
		}
		return fmt.Sprint([]byte(got), err)
	}
	want, short := make([]string, len(ids)), make([]string, len(ids))
	for i, id := range ids {
		want[i], short[i] = alone(id), alone(id, projection)
		if other := alone(alike(t, id)); other != want[i] {
			t.Fatalf("%T %v: the server takes its like for another one", id, id)
		}
	}

	g := c.play(t, app.Config{PointWorkers: 1, From: messages.FromPrimary})
	g.alone(t)
	things := g.Collection(c.db, "things")
	before := g.finds0()
	const callers, each = 32, 150
	var wrong atomic.Int64
	crowded(callers, func(caller int) {
		for n := range each {
			i := rand.N(len(ids))
			id, expect := ids[i], want[i]
			if n%3 == 0 {
				id = alike(t, id)
			}
			from := things
			if n%10 == 9 {
				from = things.NoBatch()
			}
			var opts []options.Lister[options.FindOneOptions]
			if n%4 == 0 {
				opts, expect = append(opts, projection), short[i]
			}
			got, err := from.FindOne(soon(t), bson.D{{Key: "_id", Value: id}}, opts...).Raw()
			if s := fmt.Sprint([]byte(got), err); s != expect && wrong.Add(1) < 10 {
				t.Errorf("%T %.50v: got %.100v, %v, and not what it gets alone", id, id, got, err)
			}
		}
	})
	batches, reads := g.shared()
	if batches == 0 || reads < 2*batches {
		t.Errorf("%d reads in %d batches", reads, batches)
	}
	if c.set != nil {
		if finds := g.finds() - before; finds >= callers*each {
			t.Errorf("%d finds for %d reads", finds, callers*each)
		}
	}
	t.Logf("%d of %d reads in %d batches, %d finds were sent", reads, callers*each, batches, g.sent("find"))
}

// finds0 is finds on a set that can tell.
func (g *game) finds0() int64 {
	if g.c.set == nil {
		return 0
	}
	return g.finds()
}

func TestAReadThatSharesARoundTripSeesWhatWasAcknowledgedBeforeIt(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{Members: 1})
	c.seed(t, "us")
	g := c.play(t, app.Config{PointWorkers: 1, From: messages.FromPrimary})
	g.alone(t)
	coll := g.Collection(c.db, "players")
	const keys = 10
	var started, acked [keys]atomic.Int64
	for i := range keys {
		started[i].Store(int64(i))
		acked[i].Store(int64(i))
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for n := int64(keys); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			i := rand.N(keys)
			started[i].Store(n)
			if _, err := coll.UpdateByID(soon(t), i, bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: n}}}}); err != nil {
				t.Errorf("a write: %v", err)
				return
			}
			acked[i].Store(n)
		}
	})
	var late atomic.Int64
	crowded(32, func(caller int) {
		players := coll
		if caller%8 == 7 {
			players = coll.NoBatch()
		}
		for range 200 {
			i := rand.N(keys)
			from := acked[i].Load()
			var got struct{ Level int64 }
			err := players.FindOne(soon(t), bson.D{{Key: "_id", Value: i}}).Decode(&got)
			if to := started[i].Load(); err != nil || got.Level < from || got.Level > to {
				if late.Add(1) < 10 {
					t.Errorf("it has seen %d, and what was written was %d to %d (%v)", got.Level, from, to, err)
				}
			}
		}
	})
	close(stop)
	writers.Wait()
	if batches, reads := g.shared(); batches == 0 {
		t.Errorf("%d reads in %d batches", reads, batches)
	}
}

func TestReadsOfSessionsThatShareARoundTripSeeTheirWrites(t *testing.T) {
	t.Parallel()
	c := anySet(t, primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{AfterWorkers: 1, From: messages.FromSecondariesOnly})
	g.ready(t)
	c.laggard(20 * time.Millisecond)
	// Reads that wait for an earlier write, which is there, keep the worker busy: those of the others find it so,
	// and are the first to come to a member after the write.
	early := g.Session()
	if _, err := early.Collection(c.db, "players").UpdateByID(soon(t), 99, bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: -1}}}}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var plain sync.WaitGroup
	for range 6 {
		plain.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := g.Session()
				s.Advance(early.Token())
				if err := s.Collection(c.db, "players").NoBatch().FindOne(soon(t), bson.D{{Key: "_id", Value: 99}}).Err(); err != nil {
					t.Errorf("a read of an earlier session: %v", err)
				}
			}
		})
	}
	defer plain.Wait()
	defer close(stop)
	const readers, rounds = 24, 40
	for n := 1; n <= rounds; n++ {
		writer := g.Session()
		if _, err := writer.Collection(c.db, "players").UpdateMany(soon(t), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: n}}}}); err != nil {
			t.Fatal(err)
		}
		crowded(readers, func(i int) {
			s := g.Session()
			s.Advance(writer.Token()) // All of them wait for the same.
			var got struct{ Level int }
			err := s.Collection(c.db, "players").FindOne(soon(t), bson.D{{Key: "_id", Value: i}}).Decode(&got)
			if err != nil || got.Level != n {
				t.Errorf("round %d: reader %d has seen %d, %v", n, i, got.Level, err)
			}
			if s.Token().Before(writer.Token()) {
				t.Errorf("round %d: reader %d has gone back", n, i)
			}
		})
	}
	if batches, reads := g.shared(); batches == 0 {
		t.Errorf("%d reads in %d batches", reads, batches)
	}
}

func TestDocumentsTooLargeForOneReplyAreAllDelivered(t *testing.T) {
	if testing.Short() {
		t.Skip("with the race detector it is long, and shows nothing more")
	}
	t.Parallel()
	c := anySet(t, replset.Options{Members: 1})
	const n, size = 9, 5 << 20 // Three fill a reply.
	bare := c.coll(t, "maps")
	for i := range n {
		if _, err := bare.InsertOne(soon(t), bson.D{{Key: "_id", Value: i}, {Key: "map", Value: bytes.Repeat([]byte{byte(i)}, size)}}); err != nil {
			t.Fatal(err)
		}
	}
	g := c.play(t, app.Config{PointWorkers: 1, From: messages.FromPrimary, ReadTimeout: patience})
	g.alone(t)
	maps := g.Collection(c.db, "maps")
	for range 3 {
		crowded(n+3, func(i int) {
			var got struct{ Map []byte }
			err := maps.FindOne(soon(t), bson.D{{Key: "_id", Value: i}}).Decode(&got)
			if i >= n {
				if !errors.Is(err, mongo.ErrNoDocuments) {
					t.Errorf("%d is missing: %v", i, err)
				}
				return
			}
			if err != nil || len(got.Map) != size || got.Map[0] != byte(i) || got.Map[size-1] != byte(i) {
				t.Errorf("%d: got %d bytes, %v", i, len(got.Map), err)
			}
		})
	}
	if batches, _ := g.shared(); batches == 0 || g.sent("killCursors") == 0 || g.sent("getMore") != 0 {
		t.Errorf("%d batches, %d cursors closed, %d getMores", batches, g.sent("killCursors"), g.sent("getMore"))
	}
}

func TestNoReadFailsWhenAHostIsLostWithFullBatchesOnTheWire(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member that is slow, and then killed", primaryFirst(3))
	c.seed(t, "us")
	// The host is to be lost, not ejected before for its slowness.
	g := c.play(t, app.Config{From: messages.FromSecondariesOnly, ReadTimeout: patience, HungAfter: time.Minute})
	g.steady(t, 3)
	for _, m := range c.set.Members() {
		m.Slow("find", 300*time.Millisecond)
	}
	victim := c.set.Member(1)
	coll := g.Collection(c.db, "players")
	var failed atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		crowded(1600, func(i int) {
			var got struct{ Level int }
			err := coll.FindOne(soon(t), bson.D{{Key: "_id", Value: i % players}}).Decode(&got)
			if (err != nil || got.Level != i%players) && failed.Add(1) < 5 {
				t.Errorf("a read got %d, %v", got.Level, err)
			}
		})
	}()
	eventually(t, "four batches are on the wire to one host", func() bool {
		for _, h := range g.Stat().Hosts {
			if h.Host == victim.Host() {
				return h.Batches >= 4
			}
		}
		return false
	})
	victim.Kill()
	<-done
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 1600 reads failed", n)
	}
}
