package app_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// show is a result and an error as a program sees them.
func show[T any](res *T, err error) string {
	if res == nil {
		return "nil " + kind(err)
	}
	return fmt.Sprintf("%+v %s", *res, kind(err))
}

func TestEveryWriteAnswersAndDoesAsTheDriverDoes(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	type broken struct{ C chan int }
	inc := func(n int) bson.D { return doc("$inc", doc("n", n)) }
	steps := []struct {
		name  string
		write func(context.Context, both) string
	}{
		{"insert one", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, doc("_id", 1, "n", 1))) }},
		{"insert one, a map", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, bson.M{"_id": "two"})) }},
		{"insert one, its _id last", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, doc("n", 3, "_id", 3.5))) }},
		{"insert one, twice", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, doc("_id", 1, "n", 2))) }},
		{"insert one, nil", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, nil)) }},
		{"insert one, broken", func(ctx context.Context, c both) string { return show(c.InsertOne(ctx, broken{make(chan int)})) }},
		{"insert many", func(ctx context.Context, c both) string {
			return show(c.InsertMany(ctx, []bson.D{doc("_id", 10, "n", 10), doc("_id", 11, "n", 11), doc("_id", 12, "n", 12)}))
		}},
		{"insert many, ordered, one twice", func(ctx context.Context, c both) string {
			return show(c.InsertMany(ctx, bson.A{doc("_id", 20), doc("_id", 10), doc("_id", 21)}))
		}},
		{"insert many, unordered, two twice", func(ctx context.Context, c both) string {
			return show(c.InsertMany(ctx, []any{doc("_id", 10), doc("_id", 22), doc("_id", 11), doc("_id", 23)}, options.InsertMany().SetOrdered(false)))
		}},
		{"insert many, the first twice", func(ctx context.Context, c both) string {
			return show(c.InsertMany(ctx, []bson.D{doc("_id", 10), doc("_id", 30)}))
		}},
		{"insert many, none", func(ctx context.Context, c both) string { return show(c.InsertMany(ctx, []bson.D{})) }},
		{"insert many, no slice", func(ctx context.Context, c both) string { return show(c.InsertMany(ctx, 5)) }},
		{"update one", func(ctx context.Context, c both) string { return show(c.UpdateOne(ctx, doc("_id", 1), inc(5))) }},
		{"update one, none", func(ctx context.Context, c both) string { return show(c.UpdateOne(ctx, doc("_id", -1), inc(5))) }},
		{"update one, upsert", func(ctx context.Context, c both) string {
			return show(c.UpdateOne(ctx, doc("_id", "up"), inc(5), options.UpdateOne().SetUpsert(true)))
		}},
		{"update one, no change", func(ctx context.Context, c both) string {
			return show(c.UpdateOne(ctx, doc("_id", 1), doc("$set", doc("n", 6))))
		}},
		{"update one, nil", func(ctx context.Context, c both) string { return show(c.UpdateOne(ctx, nil, inc(1))) }},
		{"update one, refused", func(ctx context.Context, c both) string {
			return show(c.UpdateOne(ctx, doc("_id", "two"), doc("$push", doc("_id", 1))))
		}},
		{"update by id", func(ctx context.Context, c both) string { return show(c.UpdateByID(ctx, 1, inc(1))) }},
		{"update by id, nil", func(ctx context.Context, c both) string { return show(c.UpdateByID(ctx, nil, inc(1))) }},
		{"update many", func(ctx context.Context, c both) string {
			return show(c.UpdateMany(ctx, doc("n", doc("$gte", 10)), inc(100)))
		}},
		{"replace one", func(ctx context.Context, c both) string {
			return show(c.ReplaceOne(ctx, doc("_id", "two"), doc("n", 2, "new", true)))
		}},
		{"replace one, upsert", func(ctx context.Context, c both) string {
			return show(c.ReplaceOne(ctx, doc("_id", "re"), doc("n", 0), options.Replace().SetUpsert(true)))
		}},
		{"find one and update", func(ctx context.Context, c both) string {
			return one(c.FindOneAndUpdate(ctx, doc("_id", 1), inc(1)))
		}},
		{"find one and update, after", func(ctx context.Context, c both) string {
			return one(c.FindOneAndUpdate(ctx, doc("_id", 1), inc(1), options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(doc("_id", 0))))
		}},
		{"find one and update, none", func(ctx context.Context, c both) string {
			return one(c.FindOneAndUpdate(ctx, doc("_id", -1), inc(1)))
		}},
		{"find one and update, upsert", func(ctx context.Context, c both) string {
			return one(c.FindOneAndUpdate(ctx, doc("_id", "fu"), inc(1), options.FindOneAndUpdate().SetUpsert(true)))
		}},
		{"find one and update, nil", func(ctx context.Context, c both) string { return one(c.FindOneAndUpdate(ctx, nil, inc(1))) }},
		{"find one and replace", func(ctx context.Context, c both) string {
			return one(c.FindOneAndReplace(ctx, doc("n", 111), doc("n", -111)))
		}},
		{"find one and delete", func(ctx context.Context, c both) string {
			return one(c.FindOneAndDelete(ctx, doc("n", doc("$gt", 5)), options.FindOneAndDelete().SetSort(doc("n", -1))))
		}},
		{"find one and delete, none", func(ctx context.Context, c both) string { return one(c.FindOneAndDelete(ctx, doc("_id", -1))) }},
		{"delete one", func(ctx context.Context, c both) string { return show(c.DeleteOne(ctx, doc("_id", 22))) }},
		{"delete one, none", func(ctx context.Context, c both) string { return show(c.DeleteOne(ctx, doc("_id", -1))) }},
		{"delete one, bad filter", func(ctx context.Context, c both) string { return show(c.DeleteOne(ctx, doc("$nope", 1))) }},
		{"delete many", func(ctx context.Context, c both) string {
			return show(c.DeleteMany(ctx, doc("_id", doc("$in", bson.A{"re", "fu", "none"}))))
		}},
		{"delete many, nil", func(ctx context.Context, c both) string { return show(c.DeleteMany(ctx, nil)) }},
		{"insert one, generated", func(ctx context.Context, c both) string {
			res, err := c.InsertOne(ctx, doc("n", 1000))
			if err != nil {
				return err.Error()
			}
			_, isObjectID := res.InsertedID.(bson.ObjectID)
			return fmt.Sprint(isObjectID, one(c.FindOneAndDelete(ctx, doc("_id", res.InsertedID), options.FindOneAndDelete().SetProjection(doc("_id", 0)))))
		}},
	}
	// One after the other on collections of one name, since the errors name it.
	driver := a.Client().Database("theirs").Collection("players")
	mine := a.Collection("ours", "players")
	for _, step := range steps {
		got, want := step.write(soon(t), ours(mine)), step.write(soon(t), theirs(driver))
		if got = normal(got); got != normal(want) {
			t.Errorf("%s\nthe app:    %s\nthe driver: %s", step.name, got, normal(want))
		}
	}
	sorted := options.Find().SetSort(doc("_id", 1))
	cur, err := mine.From(messages.FromPrimary).Find(soon(t), doc(), sorted)
	got := all(soon(t), cur, err)
	drivers, err := driver.Find(soon(t), doc(), sorted)
	if want := all(soon(t), drivers, err); got != want {
		t.Errorf("the collections differ\nthe app's:    %s\nthe driver's: %s", got, want)
	}
}

// normal takes the databases' names out.
func normal(s string) string {
	for _, db := range []string{"ours", "theirs"} {
		s = strings.ReplaceAll(s, db+".players", "DB.players")
	}
	return s
}

func TestOutcomesAreInTheErrors(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3))
	ctx := soon(t)

	_, err := c.InsertOne(ctx, doc("_id", 1))
	if _, bare := err.(mongo.WriteException); !bare || app.OutcomeOf(err) != messages.NotApplied || !mongo.IsDuplicateKeyError(err) {
		t.Errorf("a duplicate: %T, %v", err, app.OutcomeOf(err))
	}
	for _, test := range []struct {
		name    string
		ids     []int
		ordered bool
		want    messages.Outcome
	}{
		{"ordered, the second is there", []int{10, 1, 11}, true, messages.Partial},
		{"ordered, the first is there", []int{1, 12}, true, messages.NotApplied},
		{"unordered, the first is there", []int{1, 13}, false, messages.Partial},
		{"unordered, all are there", []int{1, 2}, false, messages.NotApplied},
	} {
		var docs []bson.D
		for _, id := range test.ids {
			docs = append(docs, doc("_id", id))
		}
		_, err = c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(test.ordered))
		if _, bare := err.(mongo.BulkWriteException); !bare || app.OutcomeOf(fmt.Errorf("saving: %w", err)) != test.want {
			t.Errorf("%s: %T, %v", test.name, err, app.OutcomeOf(err))
		}
	}
	if err := c.FindOneAndDelete(ctx, doc("_id", -1)).Err(); err != mongo.ErrNoDocuments || app.OutcomeOf(err) != messages.Applied {
		t.Errorf("nothing to delete: %v, %v", err, app.OutcomeOf(err))
	}
	if _, err := c.UpdateOne(ctx, doc(), doc("n", 1)); !errors.Is(err, messages.ErrInvalid) || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("an invalid update: %v, %v", err, app.OutcomeOf(err))
	}
	var misfit struct{ N []string }
	res := c.FindOneAndUpdate(ctx, doc("_id", 1), doc("$inc", doc("n", 1)))
	if err := res.Decode(&misfit); err == nil || app.OutcomeOf(err) == messages.NotApplied || app.OutcomeOf(res.Err()) != messages.Applied {
		t.Errorf("an update that does not decode: %v, Decode %v, Err %v", err, app.OutcomeOf(err), app.OutcomeOf(res.Err()))
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.InsertOne(over, doc("_id", 50)); !errors.Is(err, context.Canceled) || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("with a context that was over: %v, %v", err, app.OutcomeOf(err))
	}
}

func TestAWriteThatIsGivenUpOnTheWireIsUnknownAndKeepsWhatItWasGiven(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(10))
	// The update waits in the server for a third of a second, in which a busy machine may not give it up.
	for id := range 10 {
		if isGivenUp(t, set, c, id) {
			return
		}
	}
	t.Fatal("no update is given up in time")
}

// isGivenUp gives an update up that the server has, and is false when it was applied before.
func isGivenUp(t *testing.T, set *replset.Set, c *app.Collection, id int) bool {
	t.Helper()
	slow := set.Primary().Delay(replset.Target{Commands: []string{"update"}, Times: 1}, replset.Quantiles(map[float64]time.Duration{1: 300 * time.Millisecond, 0: 300 * time.Millisecond}))
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	set1 := map[string]any{"n": "as given"}
	done := make(chan error, 1)
	go func() {
		_, err := c.UpdateOne(ctx, doc("_id", id), map[string]any{"$set": set1})
		set1["n"] = "changed since"
		done <- err
	}()
	eventually(t, "the server has the update", func() bool { return slow.Struck() == 1 })
	cancel()
	err := <-done
	if err == nil {
		return false
	}
	if app.OutcomeOf(err) != messages.Unknown || !errors.Is(err, messages.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, %v", err, app.OutcomeOf(err))
	}
	eventually(t, "the update has taken effect, or another has overtaken it", func() bool {
		var got struct{ N any }
		if err := c.From(messages.FromPrimary).FindOne(soon(t), doc("_id", id)).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.N == "changed since" {
			t.Fatal("the write has what the map had later")
		}
		return got.N == "as given"
	})
	return true
}

func TestAMessagesMapMayChangeAfterSend(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", nil)
	given := map[string]any{"_id": 1, "n": 0}
	for i := range 100 {
		given["_id"], given["n"] = i, i
		a.System().Root.Send(a.Master(), &messages.Write{Database: "game", Collection: "players", Operation: messages.InsertOne{Document: given}})
		given["n"] = -1
	}
	// The last in the queue.
	if _, err := c.InsertOne(soon(t), doc("_id", 100, "n", 100)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.From(messages.FromPrimary).CountDocuments(soon(t), doc("n", doc("$gte", 0))); n != 101 || err != nil {
		t.Errorf("%d of 101 documents are as they were given, %v", n, err)
	}
}

func TestWritesWithoutAPrimaryAreNotApplied(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3))
	set.Primary().Kill() // The others may not replace it.
	eventually(t, "the primary is gone", func() bool { return a.Stat().Primary == "" })
	short, cancel := context.WithTimeout(soon(t), 100*time.Millisecond)
	defer cancel()
	_, err := c.InsertOne(short, doc("_id", 10))
	if app.OutcomeOf(err) != messages.NotApplied || !errors.Is(err, context.DeadlineExceeded) || !mongo.IsTimeout(err) {
		t.Errorf("past its deadline: %v, %v", err, app.OutcomeOf(err))
	}
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan error, 1)
	go func() {
		done <- c.FindOneAndUpdate(ctx, doc("_id", 1), doc("$inc", doc("n", 1))).Err()
	}()
	eventually(t, "the write is held", func() bool { return a.Stat().Writes.Queued == 1 })
	cancel()
	if err := <-done; app.OutcomeOf(err) != messages.NotApplied || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", err, app.OutcomeOf(err))
	}
}

func TestAVerifiedWriteWhoseReplyLeavesItOpenIsSettled(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3))
	open := func(command string) {
		failPoint(t, set.Primary(), 1, doc("failCommands", bson.A{command},
			"writeConcernError", doc("code", 64, "errmsg", "waiting for replication timed out")))
	}
	ctx := soon(t)

	open("update")
	_, err := c.UpdateOne(ctx, doc("_id", 0), doc("$set", doc("v", 1)))
	if e := (*messages.UnknownOutcomeError)(nil); app.OutcomeOf(err) != messages.Unknown || !errors.As(err, &e) || e.OrderOpen {
		t.Errorf("without Verify: %v, %v", err, app.OutcomeOf(err))
	}
	open("update")
	updated, err := c.Verify(doc("_id", 1, "v", 1)).UpdateOne(ctx, doc("_id", 1), doc("$set", doc("v", 1)))
	if err != nil || updated == nil || updated.MatchedCount != 1 || updated.ModifiedCount != 1 {
		t.Errorf("an update: %+v, %v", updated, err)
	}
	open("delete")
	deleted, err := c.Verify(doc("_id", 1)).DeleteOne(ctx, doc("_id", 2))
	if err != nil || deleted == nil || deleted.DeletedCount != 1 {
		t.Errorf("a delete: %+v, %v", deleted, err)
	}
	open("findAndModify")
	res := c.Verify(doc("_id", 1, "v", 2)).FindOneAndUpdate(ctx, doc("_id", 1), doc("$set", doc("v", 2)))
	if err := res.Err(); err == nil || app.OutcomeOf(err) != messages.Applied {
		t.Errorf("a find and update: %v, %v", err, app.OutcomeOf(err))
	}
}

func TestWhatAWriteOfManyHasDoneIsThereWithItsError(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3))
	ctx := soon(t)
	open := func(command string) {
		failPoint(t, set.Primary(), 1, doc("failCommands", bson.A{command},
			"writeConcernError", doc("code", 64, "errmsg", "waiting for replication timed out")))
	}
	open("update")
	updated, err := c.UpdateMany(ctx, doc(), doc("$set", doc("v", 1)))
	if app.OutcomeOf(err) != messages.Unknown || updated == nil || updated.MatchedCount != 3 || updated.ModifiedCount != 3 {
		t.Errorf("an update that may be rolled back: %+v, %v", updated, err)
	}
	open("delete")
	deleted, err := c.DeleteMany(ctx, doc("n", doc("$gt", 0)))
	if app.OutcomeOf(err) != messages.Unknown || deleted == nil || deleted.DeletedCount != 2 {
		t.Errorf("a delete that may be rolled back: %+v, %v", deleted, err)
	}
	updated, err = c.UpdateMany(ctx, doc(), doc("$inc", doc("_id", 1)))
	if err == nil || updated == nil || updated.ModifiedCount != 0 {
		t.Errorf("an update that stops: %+v, %v", updated, err)
	}
}

func TestAWriteOfWhichOnlyErrorsAreWantedSaysThatItWasAcknowledgedAndNoMore(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(3)).ErrorsOnly()
	ctx := soon(t)
	inserted, err := c.InsertOne(ctx, doc("_id", 10))
	if err != nil || *inserted != (mongo.InsertOneResult{Acknowledged: true}) {
		t.Errorf("an insert: %+v, %v", inserted, err)
	}
	bare := mongo.UpdateResult{Acknowledged: true}
	updated, err := c.UpdateByID(ctx, 10, doc("$set", doc("v", 1)))
	if err != nil || *updated != bare {
		t.Errorf("an update: %+v, %v", updated, err)
	}
	updated, err = c.ReplaceOne(ctx, doc("_id", 11), doc("v", 1), options.Replace().SetUpsert(true))
	if err != nil || *updated != bare {
		t.Errorf("an upsert: %+v, %v", updated, err)
	}
	deleted, err := c.DeleteOne(ctx, doc("_id", 11))
	if err != nil || *deleted != (mongo.DeleteResult{Acknowledged: true}) {
		t.Errorf("a delete: %+v, %v", deleted, err)
	}
	if _, err := c.InsertOne(ctx, doc("_id", 10)); !mongo.IsDuplicateKeyError(err) || app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("a duplicate: %v", err)
	}
	many, err := c.UpdateMany(ctx, doc(), doc("$set", doc("w", 1)))
	if err != nil || many.MatchedCount != 4 {
		t.Errorf("an update of many has its result: %+v, %v", many, err)
	}
}

func TestWritesOfOneKeyKeepTheirOrderInTheirLane(t *testing.T) {
	set := steady(t)
	a := start(t, set, func(c *app.Config) { c.WriteLanes = 4 })
	c := seed(t, set, a, "players", numbered(3))
	const saves = 20
	failed := make(chan error, 3)
	for id := range 3 {
		go func() {
			var err error
			for i := 0; i < saves && err == nil; i++ {
				_, err = c.Key(fmt.Sprint(id)).UpdateByID(soon(t), id, doc("$push", doc("saves", i)))
			}
			failed <- err
		}()
	}
	for range 3 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	for id := range 3 {
		var got struct{ Saves []int }
		if err := c.From(messages.FromPrimary).FindOne(soon(t), doc("_id", id)).Decode(&got); err != nil || len(got.Saves) != saves {
			t.Fatalf("%v, %v", got, err)
		}
		for i, n := range got.Saves {
			if i != n {
				t.Fatalf("%d has %v", id, got.Saves)
			}
		}
	}
}

func TestASecondStopHurriesTheFirst(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(1))
	set.Primary().Kill() // The others may not replace it.
	eventually(t, "the primary is gone", func() bool { return a.Stat().Primary == "" })
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	written, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.UpdateOne(ctx, doc("_id", 0), doc("$inc", doc("n", 1)))
		written <- err
	}()
	eventually(t, "the write is held", func() bool { return a.Stat().Writes.Queued == 1 })
	go func() { stopped <- a.Stop(context.Background()) }()
	eventually(t, "it is stopping", func() bool { return errors.Is(c.FindOne(soon(t), doc("_id", 0)).Err(), messages.ErrStopped) })
	var undone *app.StopError
	if err := a.StopAndCancel(); !errors.As(err, &undone) || len(undone.NotApplied) != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	if err := <-stopped; !errors.As(err, &undone) {
		t.Errorf("the first: %v", err)
	}
	if err := <-written; app.OutcomeOf(err) != messages.NotApplied {
		t.Errorf("the write: %v", err)
	}
}
