package app_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// collection are the methods that both the driver and the app have with the very
// same types.
type collection interface {
	Name() string
	CountDocuments(context.Context, any, ...options.Lister[options.CountOptions]) (int64, error)
	EstimatedDocumentCount(context.Context, ...options.Lister[options.EstimatedDocumentCountOptions]) (int64, error)
	InsertOne(context.Context, any, ...options.Lister[options.InsertOneOptions]) (*mongo.InsertOneResult, error)
	InsertMany(context.Context, any, ...options.Lister[options.InsertManyOptions]) (*mongo.InsertManyResult, error)
	UpdateOne(context.Context, any, any, ...options.Lister[options.UpdateOneOptions]) (*mongo.UpdateResult, error)
	UpdateByID(context.Context, any, any, ...options.Lister[options.UpdateOneOptions]) (*mongo.UpdateResult, error)
	UpdateMany(context.Context, any, any, ...options.Lister[options.UpdateManyOptions]) (*mongo.UpdateResult, error)
	ReplaceOne(context.Context, any, any, ...options.Lister[options.ReplaceOptions]) (*mongo.UpdateResult, error)
	DeleteOne(context.Context, any, ...options.Lister[options.DeleteOneOptions]) (*mongo.DeleteResult, error)
	DeleteMany(context.Context, any, ...options.Lister[options.DeleteManyOptions]) (*mongo.DeleteResult, error)
}

// cursor are the methods of both cursors.
type cursor interface {
	All(context.Context, any) error
	Close(context.Context) error
	Decode(any) error
	Err() error
	ID() int64
	Next(context.Context) bool
	RemainingBatchLength() int
	SetBatchSize(int32)
	SetComment(any)
	SetMaxAwaitTime(time.Duration)
	TryNext(context.Context) bool
}

// distinct are the methods of both results of Distinct.
type distinct interface {
	Decode(any) error
	Err() error
	Raw() (bson.RawArray, error)
}

// single are the methods of both results of one document.
type single interface {
	Decode(any) error
	Err() error
	Raw() (bson.Raw, error)
}

// whole are all methods of a collection, with the types of its results.
type whole[S single, C cursor, D distinct] interface {
	collection
	FindOne(context.Context, any, ...options.Lister[options.FindOneOptions]) S
	FindOneAndUpdate(context.Context, any, any, ...options.Lister[options.FindOneAndUpdateOptions]) S
	FindOneAndReplace(context.Context, any, any, ...options.Lister[options.FindOneAndReplaceOptions]) S
	FindOneAndDelete(context.Context, any, ...options.Lister[options.FindOneAndDeleteOptions]) S
	Find(context.Context, any, ...options.Lister[options.FindOptions]) (C, error)
	Aggregate(context.Context, any, ...options.Lister[options.AggregateOptions]) (C, error)
	Distinct(context.Context, string, any, ...options.Lister[options.DistinctOptions]) D
}

// both is a collection of either, whatever the types of its results.
type both struct {
	collection
	FindOne           func(context.Context, any, ...options.Lister[options.FindOneOptions]) single
	FindOneAndUpdate  func(context.Context, any, any, ...options.Lister[options.FindOneAndUpdateOptions]) single
	FindOneAndReplace func(context.Context, any, any, ...options.Lister[options.FindOneAndReplaceOptions]) single
	FindOneAndDelete  func(context.Context, any, ...options.Lister[options.FindOneAndDeleteOptions]) single
	find              func(context.Context, any, ...options.Lister[options.FindOptions]) (cursor, error)
	aggregate         func(context.Context, any, ...options.Lister[options.AggregateOptions]) (cursor, error)
	distinct          func(context.Context, string, any, ...options.Lister[options.DistinctOptions]) distinct
}

func either[S single, C cursor, D distinct](c whole[S, C, D]) both {
	return both{
		c,
		func(ctx context.Context, f any, o ...options.Lister[options.FindOneOptions]) single {
			return c.FindOne(ctx, f, o...)
		},
		func(ctx context.Context, f, u any, o ...options.Lister[options.FindOneAndUpdateOptions]) single {
			return c.FindOneAndUpdate(ctx, f, u, o...)
		},
		func(ctx context.Context, f, r any, o ...options.Lister[options.FindOneAndReplaceOptions]) single {
			return c.FindOneAndReplace(ctx, f, r, o...)
		},
		func(ctx context.Context, f any, o ...options.Lister[options.FindOneAndDeleteOptions]) single {
			return c.FindOneAndDelete(ctx, f, o...)
		},
		func(ctx context.Context, f any, o ...options.Lister[options.FindOptions]) (cursor, error) {
			return c.Find(ctx, f, o...)
		},
		func(ctx context.Context, p any, o ...options.Lister[options.AggregateOptions]) (cursor, error) {
			return c.Aggregate(ctx, p, o...)
		},
		func(ctx context.Context, k string, f any, o ...options.Lister[options.DistinctOptions]) distinct {
			return c.Distinct(ctx, k, f, o...)
		},
	}
}

func ours(c *app.Collection) both { return either(c) }

func theirs(c *mongo.Collection) both { return either(c) }

// one is what a program gets from a SingleResult.
func one(r single) string {
	var v bson.D
	decoded := r.Decode(&v)
	raw, err := r.Raw()
	if kind(decoded) != kind(err) || kind(r.Err()) != kind(err) {
		return fmt.Sprintf("Decode %v, Raw %v, Err %v", decoded, err, r.Err())
	}
	acknowledged := reflect.ValueOf(r).Elem().FieldByName("Acknowledged").Bool()
	return fmt.Sprint(v, raw, kind(err), acknowledged)
}

// all is what a program gets from a cursor: each document, with what is known of the
// cursor behind it.
func all(ctx context.Context, c cursor, err error) string {
	if err != nil {
		return "cursor: " + kind(err)
	}
	defer func() { _ = c.Close(ctx) }()
	out := fmt.Sprint("start ", c.RemainingBatchLength(), c.ID() == 0)
	for c.Next(ctx) {
		var v bson.D
		if err := c.Decode(&v); err != nil {
			return err.Error()
		}
		out += fmt.Sprint("; ", v, c.RemainingBatchLength(), c.ID() == 0)
	}
	return fmt.Sprint(out, "; end ", kind(c.Err()), c.ID() == 0, c.Next(ctx), c.TryNext(ctx))
}

func TestEveryReadAnswersAsTheDriverDoes(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	docs := numbered(30)
	docs = append(docs, doc("_id", "x", "tags", bson.A{"a", "b"}, "deep", doc("er", 1.5)))
	seed(t, set, a, "players", docs)
	app, driver := ours(a.Collection("game", "players")), theirs(a.Client().Database("game").Collection("players"))
	type badMarshaler struct{ C chan int }
	broken := badMarshaler{make(chan int)}
	for name, read := range map[string]func(context.Context, both) any{
		"find one by _id":         func(ctx context.Context, c both) any { return one(c.FindOne(ctx, doc("_id", 7))) },
		"find one, none":          func(ctx context.Context, c both) any { return one(c.FindOne(ctx, doc("_id", -1))) },
		"find one, nil filter":    func(ctx context.Context, c both) any { return one(c.FindOne(ctx, nil)) },
		"find one, broken filter": func(ctx context.Context, c both) any { return one(c.FindOne(ctx, broken)) },
		"find one, bad operator":  func(ctx context.Context, c both) any { return one(c.FindOne(ctx, doc("n", doc("$nope", 1)))) },
		"find one, unordered sort": func(ctx context.Context, c both) any {
			return one(c.FindOne(ctx, doc(), options.FindOne().SetSort(bson.M{"a": 1, "b": 1})))
		},
		"find one, sorted, skipped": func(ctx context.Context, c both) any {
			return one(c.FindOne(ctx, doc("group", 1), options.FindOne().SetSort(doc("n", -1)).SetSkip(2).SetProjection(doc("n", 1, "_id", 0))))
		},
		"find one, a map": func(ctx context.Context, c both) any { return one(c.FindOne(ctx, map[string]any{"_id": "x"})) },
		"find one, a failing option": func(ctx context.Context, c both) any {
			return one(c.FindOne(ctx, doc(), &options.FindOneOptionsBuilder{Opts: []func(*options.FindOneOptions) error{
				func(*options.FindOneOptions) error { return mongo.ErrNilValue }}}))
		},
		"count": func(ctx context.Context, c both) any {
			n, err := c.CountDocuments(ctx, doc("group", 2))
			return fmt.Sprint(n, kind(err))
		},
		"count, bounded": func(ctx context.Context, c both) any {
			n, err := c.CountDocuments(ctx, doc(), options.Count().SetSkip(3).SetLimit(5))
			return fmt.Sprint(n, kind(err))
		},
		"count, none": func(ctx context.Context, c both) any {
			n, err := c.CountDocuments(ctx, doc("n", -5))
			return fmt.Sprint(n, kind(err))
		},
		"count, nil": func(ctx context.Context, c both) any {
			n, err := c.CountDocuments(ctx, nil)
			return fmt.Sprint(n, kind(err))
		},
		"estimated": func(ctx context.Context, c both) any {
			n, err := c.EstimatedDocumentCount(ctx)
			return fmt.Sprint(n, kind(err))
		},
		"distinct": func(ctx context.Context, c both) any { return values[int](c.distinct(ctx, "group", doc())) },
		"distinct, mixed": func(ctx context.Context, c both) any {
			return values[any](c.distinct(ctx, "_id", doc("n", doc("$not", doc("$gt", 2)))))
		},
		"distinct, none":   func(ctx context.Context, c both) any { return values[int](c.distinct(ctx, "n", doc("n", -5))) },
		"distinct, misfit": func(ctx context.Context, c both) any { return values[bool](c.distinct(ctx, "n", doc())) },
		"aggregate": func(ctx context.Context, c both) any {
			cur, err := c.aggregate(ctx, mongo.Pipeline{doc("$match", doc("n", doc("$gte", 20))), doc("$sort", doc("n", -1)), doc("$project", doc("n", 1))}, options.Aggregate().SetBatchSize(4))
			return all(ctx, cur, err)
		},
		"aggregate, nothing": func(ctx context.Context, c both) any {
			cur, err := c.aggregate(ctx, bson.A{doc("$match", doc("n", -5))})
			return all(ctx, cur, err)
		},
		"aggregate, bad stage": func(ctx context.Context, c both) any {
			cur, err := c.aggregate(ctx, bson.A{doc("$nope", 1)})
			return all(ctx, cur, err)
		},
		"find, nil filter": func(ctx context.Context, c both) any { cur, err := c.find(ctx, nil); return all(ctx, cur, err) },
		"find, a struct": func(ctx context.Context, c both) any {
			cur, err := c.find(ctx, struct{ Group int }{2}, options.Find().SetSort(doc("_id", 1)))
			return all(ctx, cur, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := read(soon(t), app), read(soon(t), driver)
			if got != want {
				t.Errorf("the app:    %v\nthe driver: %v", got, want)
			}
		})
	}
}

func values[T any](r distinct) string {
	var v []T
	err := r.Decode(&v)
	raw, rawErr := r.Raw()
	return fmt.Sprint(v, err != nil, raw, kind(rawErr), kind(r.Err()))
}

func TestAFailedDistinctFailsInEveryMethod(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	r := a.Collection("game", "players").Distinct(soon(t), "n", doc("n", doc("$nope", 1)))
	var v []int
	_, rawErr := r.Raw()
	for _, err := range []error{r.Err(), r.Decode(&v), rawErr} {
		if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 2 {
			t.Errorf("got %v, want BadValue", err)
		}
	}
}

func TestCursorsOverManyBatchesGoAsTheDriversDo(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	seed(t, set, a, "players", numbered(250))
	app, driver := ours(a.Collection("game", "players")), theirs(a.Client().Database("game").Collection("players"))
	sorted := func() *options.FindOptionsBuilder { return options.Find().SetSort(doc("_id", 1)) }
	for name, opts := range map[string]*options.FindOptionsBuilder{
		"default":                  sorted(),
		"batches of 1":             sorted().SetBatchSize(1).SetLimit(5),
		"batches of 7":             sorted().SetBatchSize(7),
		"an empty first batch":     sorted().SetBatchSize(0),
		"limit below a batch":      sorted().SetLimit(5),
		"limit across batches":     sorted().SetLimit(25).SetBatchSize(10),
		"limit of whole batches":   sorted().SetLimit(20).SetBatchSize(10),
		"limit of one batch":       sorted().SetLimit(10).SetBatchSize(10),
		"limit behind the end":     sorted().SetLimit(1000).SetBatchSize(100),
		"negative limit":           sorted().SetLimit(-12).SetBatchSize(10),
		"skip and limit":           sorted().SetSkip(240).SetLimit(30).SetBatchSize(4),
		"a comment for each batch": sorted().SetBatchSize(100).SetComment(bson.M{"why": "test"}),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := soon(t)
			cur, err := app.find(ctx, doc(), opts)
			got := all(ctx, cur, err)
			cur, err = driver.find(ctx, doc(), opts)
			if want := all(ctx, cur, err); got != want {
				t.Errorf("the app:    %v\nthe driver: %v", got, want)
			}
		})
		t.Run(name+", All", func(t *testing.T) {
			ctx := soon(t)
			fill := func(find func(context.Context, any, ...options.Lister[options.FindOptions]) (cursor, error)) string {
				cur, err := find(ctx, doc(), opts)
				if err != nil {
					return err.Error()
				}
				cur.SetBatchSize(3)
				docs := []struct{ N, Group, Other int }{{1, 1, 1}}
				err = cur.All(ctx, &docs)
				var again []bson.D
				err2 := cur.All(ctx, &again)
				if len(docs) > 0 {
					docs[0].Other = 0 // The driver leaves what the document does not have.
				}
				return fmt.Sprint(docs, kind(err), again == nil, kind(err2), cur.ID(), cur.Err())
			}
			if name == "an empty first batch" {
				opts = sorted() // After an empty batch the driver's All takes the rest for nothing.
			}
			if got, want := fill(app.find), fill(driver.find); got != want {
				t.Errorf("the app:    %v\nthe driver: %v", got, want)
			}
		})
		t.Run(name+", TryNext", func(t *testing.T) {
			ctx := soon(t)
			try := func(find func(context.Context, any, ...options.Lister[options.FindOptions]) (cursor, error)) string {
				cur, err := find(ctx, doc(), opts)
				if err != nil {
					return err.Error()
				}
				defer func() { _ = cur.Close(ctx) }()
				var out strings.Builder
				for range 30 {
					fmt.Fprint(&out, cur.TryNext(ctx), cur.RemainingBatchLength(), " ")
				}
				return out.String()
			}
			if got, want := try(app.find), try(driver.find); got != want {
				t.Errorf("the app:    %v\nthe driver: %v", got, want)
			}
		})
	}
}

func TestAllGoesOnAfterAnEmptyBatch(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(10))
	cur, err := c.Find(soon(t), doc(), options.Find().SetBatchSize(0))
	if err != nil || cur.ID() == 0 || cur.RemainingBatchLength() != 0 {
		t.Fatal(err, cur.RemainingBatchLength())
	}
	var got []bson.D
	if err := cur.All(soon(t), &got); err != nil || len(got) != 10 {
		t.Errorf("got %d documents, %v", len(got), err)
	}
}

// The driver documents this, and v2.10 returns those of the batch again.
func TestAllReturnsOnlyWhatNextHasNotComeTo(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(10))
	cur, err := c.Find(soon(t), doc(), options.Find().SetSort(doc("_id", 1)).SetBatchSize(4))
	if err != nil || !cur.Next(soon(t)) {
		t.Fatal(err, cur.Err())
	}
	got := []struct{ N int }{{7}}
	if err := cur.All(soon(t), &got); err != nil || len(got) != 9 || got[0].N != 1 || got[8].N != 9 {
		t.Errorf("got %v, %v, want 1 to 9", got, err)
	}
}

func TestAnAggregateThatWritesIsNoRead(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	_, err := a.Collection("game", "players").Aggregate(soon(t), bson.A{doc("$out", "elsewhere")})
	if !errors.Is(err, messages.ErrNotARead) {
		t.Errorf("got %v, want ErrNotARead", err)
	}
}

func TestAHandleRefusesTheDriversOptionsThatItCannotKeep(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	for field, opt := range map[string]*options.CollectionOptionsBuilder{
		"CollectionOptions.ReadConcern":    options.Collection().SetReadConcern(readconcern.Local()),
		"CollectionOptions.Registry":       options.Collection().SetRegistry(bson.NewRegistry()),
		"CollectionOptions.BSONOptions":    options.Collection().SetBSONOptions(&options.BSONOptions{}),
		"CollectionOptions.ReadPreference": options.Collection().SetReadPreference(readpref.Secondary(readpref.WithMaxStaleness(2 * time.Minute))),
	} {
		c := a.Collection("game", "players", opt)
		_, err := c.CountDocuments(soon(t), doc())
		_, err2 := c.InsertOne(soon(t), doc())
		for _, err := range []error{err, err2} {
			if e := (*messages.InvalidError)(nil); !errors.As(err, &e) || e.Field != field {
				t.Errorf("got %v, want an InvalidError about %s", err, field)
			}
		}
		if app.OutcomeOf(err2) != messages.NotApplied {
			t.Errorf("the outcome is %v", app.OutcomeOf(err2))
		}
	}
}

func TestReadsGoToTheMembersThatTheHandleNames(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(1))
	primary := set.Primary()
	reads := func() int64 { return primary.Counters().Commands["distinct"] }
	for name, coll := range map[string]*app.Collection{
		"From":           c.From(messages.FromPrimary),
		"ReadPreference": a.Collection("game", "players", options.Collection().SetReadPreference(readpref.Primary())),
	} {
		before := reads()
		for range 10 {
			if err := coll.Distinct(soon(t), "n", doc()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := reads() - before; got != 10 {
			t.Errorf("%s: the primary has served %d of 10", name, got)
		}
	}
	before := reads()
	if err := c.From(messages.FromSecondariesOnly).Distinct(soon(t), "n", doc()).Err(); err != nil || reads() != before {
		t.Errorf("%v, and the primary has served %d", err, reads()-before)
	}
	if c.Name() != "players" || c.Database().Name() != "game" || c.From(messages.FromAll).Key("k").NoBatch().Verify(doc()).Name() != "players" {
		t.Error("a handle has lost its names")
	}
}

func TestAHandlesReadPreferenceIsInPlaceOfTheApps(t *testing.T) {
	set := steady(t)
	a := start(t, set, func(c *app.Config) { c.Tags = []messages.TagSet{{"dc": "nowhere"}} })
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Collection("game", "players").From(messages.FromSecondariesOnly).CountDocuments(short, doc()); !errors.Is(err, messages.ErrNoLiveHost) {
		t.Errorf("with the app's tags, which no member has: %v", err)
	}
	if _, err := a.Collection("game", "players", options.Collection().SetReadPreference(readpref.Nearest())).CountDocuments(soon(t), doc()); err != nil {
		t.Errorf("with a preference that has no tags: %v", err)
	}
}

func TestACollectionsDatabaseIsTheOneThatItWasMadeFrom(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	seed(t, set, a, "players", numbered(1))
	primary := set.Primary()
	before := primary.Counters().Commands["distinct"]
	c := a.Collection("game", "other", options.Collection().SetReadPreference(readpref.Primary())).NoBatch()
	for range 10 {
		if err := c.Database().Collection("players").Distinct(soon(t), "n", doc()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := primary.Counters().Commands["distinct"] - before; n != 0 {
		t.Errorf("the primary has served %d reads of another collection's handle", n)
	}
}

func TestASessionOfTheDriversIsRefused(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(1))
	session, err := a.Client().StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(soon(t))
	ctx := mongo.NewSessionContext(soon(t), session)
	_, inserted := c.InsertOne(ctx, doc("_id", 9))
	for what, err := range map[string]error{
		"a read": c.FindOne(ctx, doc("_id", 0)).Err(), "a write": inserted, "a command": a.RunCommand(ctx, "game", doc("ping", 1)).Err(),
	} {
		if e := (*messages.InvalidError)(nil); !errors.As(err, &e) || e.Field != "Context" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if app.OutcomeOf(inserted) != messages.NotApplied {
		t.Errorf("the outcome is %v", app.OutcomeOf(inserted))
	}
}

func TestCommandsReadAndWrite(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	seed(t, set, a, "players", numbered(5))
	ctx := soon(t)
	var reply struct{ N int }
	if err := a.RunCommand(ctx, "game", doc("count", "players")).Decode(&reply); err != nil || reply.N != 5 {
		t.Errorf("count: %v, %v", reply.N, err)
	}
	var hello struct{ Me string }
	res := a.Database("game").RunCommand(ctx, doc("hello", 1), options.RunCmd().SetReadPreference(readpref.Primary()))
	if err := res.Decode(&hello); err != nil || !res.Acknowledged || hello.Me != set.Primary().Host() {
		t.Errorf("the primary is %s, and %s has answered, %v", set.Primary().Host(), hello.Me, err)
	}
	if err := a.RunCommand(ctx, "game", doc("drop", "players")).Err(); !errors.Is(err, messages.ErrNotARead) {
		t.Errorf("a drop sent as a read: %v", err)
	}
	err := a.RunCommand(ctx, "game", doc("count", "players", "query", doc("$nope", 1))).Err()
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 2 {
		t.Errorf("a bad count: %v", err)
	}
	if err := a.RunWriteCommand(ctx, "game", doc("drop", "players")).Err(); err != nil || app.OutcomeOf(err) != messages.Applied {
		t.Errorf("drop: %v", err)
	}
	err = a.RunWriteCommand(ctx, "game", doc("nonsense", 1)).Err()
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 59 || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("nonsense: %v, %v", err, app.OutcomeOf(err))
	}
	res = a.RunWriteCommand(ctx, "game", doc("insert", "raw", "documents", bson.A{doc("_id", 1), doc("_id", 1), doc("_id", 2)}))
	answer, err := res.Raw()
	if !mongo.IsDuplicateKeyError(err) || !res.Acknowledged || app.OutcomeOf(err) != messages.Partial || answer.Lookup("n").AsInt64() != 1 {
		t.Errorf("an insert of which one is refused: %v, %v, %v", app.OutcomeOf(err), err, answer)
	}
	if n, err := a.Collection("game", "players").From(messages.FromPrimary).CountDocuments(ctx, doc()); n != 0 || err != nil {
		t.Errorf("%d documents after the drop, %v", n, err)
	}
}

func TestAReadEndsWithItsContext(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(5))
	over, cancel := context.WithCancel(soon(t))
	cancel()
	if err := c.FindOne(over, doc()).Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("before it began: %v", err)
	}
	for _, m := range set.Members() {
		m.Slow("find", patience)
	}
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan error, 1)
	go func() { done <- c.FindOne(ctx, doc("_id", 1)).Err() }()
	eventually(t, "the read is at a host", func() bool {
		st := a.Stat()
		return slices.ContainsFunc(st.Hosts, func(h slave.Stat) bool { return h.Active > 0 })
	})
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	case <-soon(t).Done():
		t.Fatal("a cancelled read does not come back")
	}
	short, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	if err := c.FindOne(short, doc("_id", 1)).Err(); !errors.Is(err, context.DeadlineExceeded) || !mongo.IsTimeout(err) {
		t.Errorf("past its deadline: %v", err)
	}
	var none context.Context
	for _, m := range set.Members() {
		m.Slow("find", 0)
	}
	if err := c.FindOne(none, doc("_id", 1)).Err(); err != nil {
		t.Errorf("with a nil context: %v", err)
	}
}
