package replset_test

import (
	"context"
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

	var player struct{ Gold int }
	if err := players.FindOne(ctx, bson.D{{Key: "_id", Value: "ann"}}).Decode(&player); err != nil {
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
