package app_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// exampleSet stands for the game's own replica set.
func exampleSet() *replset.Set {
	set, err := replset.Start(replset.Options{Members: 3})
	if err != nil {
		log.Fatal(err)
	}
	return set
}

// The line that makes the client is the one that changes.
func ExampleStart() {
	set := exampleSet()
	defer set.Stop()
	ctx := context.Background()

	a, err := app.Start(ctx, app.Config{URI: set.URI()})
	if err != nil {
		log.Fatal(err) // What can never work; hosts that are down are no error.
	}
	defer a.Stop(ctx)

	players := a.Database("game").Collection("players")
	if _, err := players.InsertOne(ctx, bson.D{{Key: "_id", Value: 7}, {Key: "name", Value: "Ann"}}); err != nil {
		log.Fatal(err)
	}
	n, err := players.From(messages.FromPrimary).CountDocuments(ctx, bson.D{})
	fmt.Println(n, err)

	_, err = app.Start(ctx, app.Config{URI: set.URI(), WriteLanes: -1})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// evenkeel: Config.WriteLanes: -1 is negative; leave it at 0 for the default
}

// A Collection has the driver's methods, options and results.
func ExampleCollection() {
	set := exampleSet()
	defer set.Stop()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{URI: set.URI()})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Stop(ctx)

	type Player struct {
		ID    int `bson:"_id"`
		Name  string
		Level int
	}
	// Reads of a session see its writes, whichever member answers.
	players := a.Session().Collection("game", "players")
	_, err = players.InsertMany(ctx, []Player{{1, "Ann", 3}, {2, "Bob", 5}, {3, "Eve", 9}})
	if err != nil {
		log.Fatal(err)
	}

	var ann Player
	fmt.Println(players.FindOne(ctx, bson.D{{Key: "_id", Value: 1}}).Decode(&ann), ann.Name)

	err = players.FindOne(ctx, bson.D{{Key: "_id", Value: 99}}).Err()
	fmt.Println(errors.Is(err, mongo.ErrNoDocuments))

	cursor, err := players.Find(ctx, bson.D{{Key: "level", Value: bson.D{{Key: "$gt", Value: 4}}}},
		options.Find().SetSort(bson.D{{Key: "level", Value: -1}}))
	if err != nil {
		log.Fatal(err)
	}
	var strong []Player
	fmt.Println(cursor.All(ctx, &strong), strong)

	res, err := players.UpdateByID(ctx, 2, bson.D{{Key: "$inc", Value: bson.D{{Key: "level", Value: 1}}}})
	fmt.Println(res.ModifiedCount, err)
	// Output:
	// <nil> Ann
	// true
	// <nil> [{3 Eve 9} {2 Bob 5}]
	// 1 <nil>
}

// What became of a write is in its error.
func ExampleOutcomeOf() {
	set := exampleSet()
	defer set.Stop()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{URI: set.URI()})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Stop(ctx)

	purchases := a.Collection("game", "purchases")
	for range 2 {
		_, err := purchases.InsertOne(ctx, bson.D{{Key: "_id", Value: "receipt-1"}, {Key: "gold", Value: 100}})
		switch app.OutcomeOf(err) {
		case messages.Applied:
			fmt.Println("the gold is theirs")
		case messages.NotApplied:
			fmt.Println("no gold; bought before:", mongo.IsDuplicateKeyError(err))
		case messages.Unknown:
			fmt.Println("do not sell again before it is known:", err)
		}
	}
	// Output:
	// the gold is theirs
	// no gold; bought before: true
}

// A subscription starts with the present state, so that no one has to have been
// there.
func ExampleApp_Events() {
	set := exampleSet()
	defer set.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := set.AwaitSecondaries(ctx); err != nil {
		log.Fatal(err)
	}
	a, err := app.Start(ctx, app.Config{URI: set.URI()})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Stop(ctx)

	primary := a.Events(messages.KindPrimaryChanged)
	defer primary.Cancel()
	known := (<-primary.Events()).(messages.PrimaryChanged)
	fmt.Println("the primary is known:", known.To == set.Primary().Host())

	if err := set.StepDown(ctx); err != nil {
		log.Fatal(err)
	}
	for e := range primary.Events() {
		if changed := e.(messages.PrimaryChanged); changed.To != "" && changed.To != known.To {
			fmt.Println("another member has taken over")
			break
		}
	}
	// Output:
	// the primary is known: true
	// another member has taken over
}

// A token carries what one session has seen to another: to the process that the
// player is handed over to, for one.
func ExampleSession() {
	set := exampleSet()
	defer set.Stop()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{URI: set.URI()})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Stop(ctx)

	lobby := a.Session()
	_, err = lobby.Collection("game", "players").InsertOne(ctx, bson.D{{Key: "_id", Value: 7}, {Key: "name", Value: "Ann"}})
	if err != nil {
		log.Fatal(err)
	}
	handover, err := bson.Marshal(lobby.Token())
	if err != nil {
		log.Fatal(err)
	}

	var token messages.Token
	if err := bson.Unmarshal(handover, &token); err != nil {
		log.Fatal(err)
	}
	arena := a.Session()
	arena.Advance(token)
	var ann struct{ Name string }
	err = arena.Collection("game", "players").FindOne(ctx, bson.D{{Key: "_id", Value: 7}}).Decode(&ann)
	fmt.Println(ann.Name, err)
	// Output:
	// Ann <nil>
}

// player is an actor of the game. It never blocks: it asks by message, and is
// answered by message.
type player struct {
	app   *app.App
	saved messages.Token
	done  chan<- string
}

// save is sent to a player.
type save struct{ level int }

func (p *player) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *save:
		ctx.Request(p.app.Master(), &messages.Write{
			Database: "game", Collection: "players",
			Operation: messages.InsertOne{Document: bson.D{{Key: "_id", Value: 7}, {Key: "level", Value: msg.level}}},
		})
	case *messages.WriteReply:
		p.saved = msg.Token
		ctx.Request(p.app.Router(), &messages.Read{
			Database: "game", Collection: "players", After: p.saved,
			Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: 7}}},
		})
	case *messages.ReadReply:
		p.done <- fmt.Sprint(msg.Document, " ", msg.Err)
	}
}

// Actors of the game send messages, from inside their own actor system.
func ExampleApp_Router() {
	set := exampleSet()
	defer set.Stop()
	ctx := context.Background()
	system := actor.NewActorSystem()
	defer system.Shutdown()

	a, err := app.Start(ctx, app.Config{URI: set.URI(), System: system})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Stop(ctx)

	done := make(chan string, 1)
	pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &player{app: a, done: done} }))
	system.Root.Send(pid, &save{level: 3})
	fmt.Println(<-done)
	// Output:
	// {"_id": {"$numberInt":"7"},"level": {"$numberInt":"3"}} <nil>
}
