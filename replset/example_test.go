package replset_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/replset"
)

func Example() {
	ctx := context.Background()
	set, err := replset.Start(replset.Options{Members: 3, ElectionTimeout: 200 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Stop()
	client, err := mongo.Connect(options.Client().ApplyURI(set.URI()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(ctx)
	players := client.Database("game").Collection("players")
	if _, err := players.InsertOne(ctx, bson.D{{Key: "_id", Value: "ann"}, {Key: "gold", Value: 7}}); err != nil {
		log.Fatal(err)
	}

	primary, err := set.AwaitPrimary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	primary.Kill() // the others elect a new one

	// The driver tries a read again once, and the client may learn of the kill in between.
	soon, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var player struct{ Gold int }
	for err = errors.New("not read yet"); err != nil && soon.Err() == nil; {
		err = players.FindOne(soon, bson.D{{Key: "_id", Value: "ann"}}).Decode(&player)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ann has", player.Gold)
	// Output: ann has 7
}

func ExampleSet_SwapAddresses() {
	set, err := replset.Start(replset.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Stop()
	if err := set.SwapAddresses(1, 2); err != nil {
		log.Fatal(err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + set.Member(1).Host() + "/?directConnection=true&serverMonitoringMode=poll"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	var hello struct{ Me string }
	if err := client.Database("admin").RunCommand(context.Background(), bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		log.Fatal(err)
	}
	fmt.Println("who answers at member 1's address is member 2:", hello.Me == set.Member(2).Host())
	// Output: who answers at member 1's address is member 2: true
}

// A reply that is lost leaves a client without knowledge of its write. The driver sends
// it again, and the server does not do it twice. (The monitor polls, since one that
// streams may close the driver's pool once more after it has been opened for the retry,
// which then ends with the first error.)
func ExampleMember_Cut() {
	ctx := context.Background()
	set, err := replset.Start(replset.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Stop()
	client, err := mongo.Connect(options.Client().ApplyURI(set.URI()).SetAppName("game").SetServerMonitoringMode(options.ServerMonitoringModePoll))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(ctx)
	primary, err := set.AwaitPrimary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	cut := primary.Cut(replset.Target{Commands: []string{"insert"}, AppName: "game", Times: 1}, replset.BeforeReply)
	players := client.Database("game").Collection("players")
	if _, err := players.InsertOne(ctx, bson.D{{Key: "name", Value: "ann"}}); err != nil {
		log.Fatal(err)
	}
	n, err := players.CountDocuments(ctx, bson.D{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("cut", cut.Struck(), "time, and there is", n, "player")
	// Output: cut 1 time, and there is 1 player
}

// A member in a black hole takes part in the set as before, but no client hears of
// it.
func ExampleMember_SetLink() {
	set, err := replset.Start(replset.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := set.Member(1).SetLink(replset.LinkBlackHole); err != nil {
		log.Fatal(err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + set.Member(1).Host() + "/?directConnection=true"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	fmt.Println("it answers:", client.Ping(ctx, nil) == nil)
	// Output: it answers: false
}
