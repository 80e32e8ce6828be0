package replset

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// listed is which members a hello tells clients of: its hosts, passives and arbiters.
func listed(h bson.Raw) (n [3]int) {
	for i, key := range []string{"hosts", "passives", "arbiters"} {
		if list, ok := h.Lookup(key).ArrayOK(); ok {
			values, _ := list.Values()
			n[i] = len(values)
		}
	}
	return n
}

func TestAnArbiterVotesAndHasNoData(t *testing.T) {
	set := steady(t, Options{Arbiters: map[int]bool{2: true}, Priority: map[int]float64{1: 0.5}, ElectionTimeout: 300 * time.Millisecond})
	arbiter := direct(t, set.Member(2))
	h := hello(t, arbiter)
	if listed(h) != [3]int{2, 0, 1} || !h.Lookup("arbiterOnly").Boolean() || h.Lookup("secondary").Boolean() || set.Member(2).State() != "ARBITER" {
		t.Errorf("the arbiter is %s and says %v", set.Member(2).State(), h)
	}
	client := connect(t, set.URI(), func(*options.ClientOptions) {})
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := arbiter.Database("game").RunCommand(soon(t), bson.D{{Key: "find", Value: "players"}}).Err(); code(err) != 13436 {
		t.Errorf("a read from the arbiter: %v", err)
	}
	three := players(client).Database().Collection("players", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 3}))
	if _, err := three.InsertOne(soon(t), bson.D{{Key: "_id", Value: 2}}); err == nil {
		t.Error("a write is acknowledged by three of two members with data")
	}
	// With the arbiter's vote one of two makes a majority, of which it alone has data.
	set.Member(0).Kill()
	eventually(t, "the other member is primary", func() bool { return set.Primary() == set.Member(1) })
	ctx, cancel := context.WithTimeout(soon(t), 300*time.Millisecond)
	defer cancel()
	majority := players(client).Database().Collection("players", options.Collection().SetWriteConcern(writeconcern.Majority()))
	if _, err := majority.InsertOne(ctx, bson.D{{Key: "_id", Value: 3}}); err == nil {
		t.Error("a majority write is acknowledged by one of two members with data")
	}
	if err := set.Member(0).Restart(); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 4}}); err != nil {
		t.Error(err)
	}
	if err := set.Hide(soon(t), 2, true); err == nil {
		t.Error("the arbiter was hidden")
	}
}

func TestAMajorityOfWhomTooFewHaveDataIsAllWhoHave(t *testing.T) {
	set := steady(t, Options{Members: 4, Arbiters: map[int]bool{2: true, 3: true}})
	client := connect(t, set.URI(), func(*options.ClientOptions) {})
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Error(err)
	}
	if err := set.StepDown(soon(t)); err != nil {
		t.Error(err)
	}
}

func TestADelayedMemberStaysBehindAndIsNotListed(t *testing.T) {
	set := steady(t, Options{Delay: map[int]time.Duration{2: time.Hour}})
	h := hello(t, direct(t, set.Member(2)))
	if listed(h) != [3]int{2, 0, 0} || h.Lookup("secondaryDelaySecs").AsInt64() != 3600 || !h.Lookup("passive").Boolean() || !h.Lookup("secondary").Boolean() {
		t.Errorf("the delayed member says %v", h)
	}
	client := connect(t, set.URI(), func(*options.ClientOptions) {})
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(direct(t, set.Member(2))), bson.D{}); n != 0 {
		t.Errorf("an hour early it has %d documents", n)
	}
	if err := set.Delay(soon(t), 2, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has caught up", func() bool { return number(t, players(direct(t, set.Member(2))), bson.D{}) == 1 })
}

func TestMembersAreHiddenAndDelayedWhileTheSetRuns(t *testing.T) {
	set := steady(t, Options{})
	primary := primaryOf(t, set)
	version := func(client *mongo.Client) int32 { return hello(t, client).Lookup("setVersion").Int32() }
	before := version(direct(t, set.Member(0)))
	for name, change := range map[string]func(on bool) error{
		"hidden": func(on bool) error { return set.Hide(soon(t), primary.Index(), on) },
		"delayed": func(on bool) error {
			return set.Delay(soon(t), primary.Index(), map[bool]time.Duration{true: time.Second}[on])
		},
	} {
		if err := change(true); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if set.Primary() == primary {
			t.Errorf("%s: it is the primary", name)
		}
		now := direct(t, primaryOf(t, set))
		if h := hello(t, now); listed(h) != [3]int{2, 0, 0} || version(now) <= before {
			t.Errorf("%s: the primary says %v", name, h)
		}
		if got := connectionHosts(set.URI()); got != 2 {
			t.Errorf("%s: the URI names %d hosts", name, got)
		}
		if err := change(false); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h := hello(t, now); listed(h) != [3]int{3, 0, 0} {
			t.Errorf("no longer %s: the primary says %v", name, h)
		}
		if got := connectionHosts(set.URI()); got != 3 {
			t.Errorf("no longer %s: the URI names %d hosts", name, got)
		}
	}
}

func connectionHosts(uri string) int { return len(options.Client().ApplyURI(uri).Hosts) }
