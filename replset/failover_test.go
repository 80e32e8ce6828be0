package replset

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// w1 is a collection whose writes the primary alone acknowledges.
func w1(client *mongo.Client) *mongo.Collection {
	return client.Database("game").Collection("players", options.Collection().SetWriteConcern(writeconcern.W1()))
}

func players(client *mongo.Client) *mongo.Collection {
	return client.Database("game").Collection("players")
}

// cutOff parts a primary from the others, who lag and so lack what it has, and waits until
// they have committed something without it: it, whose log ends with what they do not have, is not elected then.
func cutOff(t *testing.T, set *Set, old *Member) {
	t.Helper()
	set.Partition([]int{old.Index()})
	eventually(t, "the old primary steps down, and there is another", func() bool {
		p := set.Primary()
		return !old.IsPrimary() && p != nil && p != old
	})
	lag(set, 0)
	eventually(t, "the others go on", func() bool {
		p := set.Primary()
		return p != nil && p.status().MajorityCommitted.Term == p.status().Term
	})
}

func TestAPartitionedPrimaryStepsDownAndItsWritesRollBack(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	old := primaryOf(t, set)
	alone := direct(t, old)
	if _, err := players(alone).InsertOne(soon(t), bson.D{{Key: "_id", Value: "majority"}}); err != nil {
		t.Fatal(err)
	}
	lag(set, time.Hour, old)
	if _, err := w1(alone).InsertOne(soon(t), bson.D{{Key: "_id", Value: "alone"}}); err != nil {
		t.Fatal(err)
	}
	cutOff(t, set, old)
	if n := number(t, players(alone), bson.D{{Key: "_id", Value: "alone"}}); n != 1 {
		t.Error("it rolled back before it heard of the others")
	}
	set.Heal()
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Members() {
		coll := players(direct(t, m))
		if number(t, coll, bson.D{{Key: "_id", Value: "alone"}}) != 0 || number(t, coll, bson.D{{Key: "_id", Value: "majority"}}) != 1 {
			t.Errorf("%v kept a write of the partitioned primary, or lost one of the majority", m)
		}
	}
}

func TestAMajorityWriteToACutOffPrimaryFailsWithAWriteConcernError(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	old := primaryOf(t, set)
	client := connect(t, "mongodb://"+old.Host()+"/?directConnection=true&retryWrites=false")
	lag(set, time.Hour, old)
	done := make(chan error, 1)
	go func() {
		_, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}})
		done <- err
	}()
	eventually(t, "the write is executed", func() bool { return number(t, players(client), bson.D{}) == 1 })
	set.Partition([]int{old.Index()})
	err := <-done
	var failed mongo.WriteException
	if !errors.As(err, &failed) || failed.WriteConcernError == nil || failed.WriteConcernError.Code != 11602 {
		t.Fatalf("the insert ended with %v", err)
	}
}

// TestAWriteThatIsRetriedOnTheNextPrimaryIsNotAppliedTwice lets the primary die
// after its write has reached one member, but no majority and not the client.
func TestAWriteThatIsRetriedOnTheNextPrimaryIsNotAppliedTwice(t *testing.T) {
	set := steady(t, Options{Members: 5, ElectionTimeout: 200 * time.Millisecond})
	old := primaryOf(t, set)
	client := connect(t, set.URI())
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: "ann"}, {Key: "gold", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	heir := set.Member((old.Index() + 1) % 5)
	lag(set, time.Hour, old, heir)
	done := make(chan error, 1)
	go func() {
		_, err := players(client).UpdateOne(soon(t), bson.D{{Key: "_id", Value: "ann"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "gold", Value: 1}}}})
		done <- err
	}()
	has := direct(t, heir)
	eventually(t, "one member has the write", func() bool {
		return number(t, players(has), bson.D{{Key: "gold", Value: 1}}) == 1
	})
	old.Kill()
	eventually(t, "it is the next primary", heir.IsPrimary)
	lag(set, 0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var ann struct{ Gold int }
	if err := players(client).FindOne(soon(t), bson.D{{Key: "_id", Value: "ann"}}).Decode(&ann); err != nil {
		t.Fatal(err)
	}
	if ann.Gold != 1 {
		t.Errorf("one $inc made %d", ann.Gold)
	}
}

func TestAReadAfterAWriteWaitsForALaggingSecondary(t *testing.T) {
	set := steady(t, Options{})
	lag(set, time.Hour)
	client := connect(t, set.URI())
	secondary := client.Database("game").Collection("players", options.Collection().SetReadPreference(readpref.Secondary()))
	session, err := client.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	ctx := mongo.NewSessionContext(soon(t), session)
	if _, err := w1(client).InsertOne(ctx, bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := secondary.FindOne(soon(t), bson.D{}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("a secondary that lags has the write already: %v", err)
	}
	lag(set, 150*time.Millisecond)
	if err := secondary.FindOne(ctx, bson.D{}).Err(); err != nil {
		t.Errorf("the session does not read its own write: %v", err)
	}
}

func TestStepDownHandsOverWithoutAnElectionTimeOut(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute})
	client := connect(t, set.URI())
	// A third time would have to wait until the first one may stand again.
	for i := range 2 {
		if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
		if err := set.StepDown(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: "last"}}); err != nil {
		t.Fatal(err)
	}
}

func TestTheHandlesOfOneSetDoNotTouchAnother(t *testing.T) {
	a, b := steady(t, Options{}), steady(t, Options{})
	client := connect(t, a.URI())
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	_ = client.Disconnect(soon(t))
	for _, m := range a.Members() {
		m.Kill()
	}
	coll := players(connect(t, b.URI()))
	if n := number(t, coll, bson.D{}); n != 0 {
		t.Errorf("the other set has %d documents", n)
	}
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
}
