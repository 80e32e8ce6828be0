package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// playersEach is how many players each writer saves.
const playersEach = 8

// game is the load: players as actors of the app's own system, who send Read and
// Write messages as a game server's would.
type game struct {
	system         *actor.ActorSystem
	router, master *actor.PID

	database, collection string
	realm                string // what every document says of itself
	players              []string
	// complete says that every member has all players: one that is not found is a
	// failed read.
	complete bool

	meter  *meter
	ledger *ledger

	over                 atomic.Bool
	openReads, openSaves atomic.Int64 // sent and not yet answered
	reads                atomic.Int64 // answered
	wrongDocuments       atomic.Int64 // reads answered with somebody else's document
	strayReplies         atomic.Int64 // replies to nothing, or second ones

	actors []*actor.PID
}

func newGame(a *app.App, database, collection, realm string, writers int) *game {
	g := &game{
		system: a.System(), router: a.Router(), master: a.Master(),
		database: database, collection: collection, realm: realm, meter: newMeter(), ledger: newLedger(),
	}
	for w := range max(writers, 1) {
		for n := range playersEach {
			g.players = append(g.players, playerID(w, n))
		}
	}
	return g
}

// seed stores the players.
func (g *game) seed(ctx context.Context) error {
	docs := make([]any, len(g.players))
	for i, id := range g.players {
		docs[i] = player{ID: id, Realm: g.realm, Saves: []int64{}}
	}
	err := g.write(ctx, &messages.Write{Database: g.database, Collection: g.collection, Operation: messages.InsertMany{Documents: docs}})
	if err != nil {
		return fmt.Errorf("storing the players in %s.%s: %w", g.database, g.collection, err)
	}
	return nil
}

// drop removes the players' collection.
func (g *game) drop(ctx context.Context) error {
	err := g.write(ctx, &messages.Write{Database: g.database, Operation: messages.Command{Document: bson.D{{Key: "drop", Value: g.collection}}}})
	if err != nil {
		return fmt.Errorf("dropping %s.%s: %w", g.database, g.collection, err)
	}
	return nil
}

// write sends a write through the master and waits for its outcome.
func (g *game) write(ctx context.Context, m *messages.Write) error {
	m.Deadline, _ = ctx.Deadline()
	reply, err := g.system.Root.RequestFuture(g.master, m, endTimeout).Result()
	if err != nil {
		return err
	}
	return reply.(*messages.WriteReply).Err
}

// play starts the players.
func (g *game) play(readers, writers int) {
	for range readers {
		g.actors = append(g.actors, g.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &reader{game: g} })))
	}
	for w := range writers {
		mine := g.players[w*playersEach : (w+1)*playersEach]
		g.actors = append(g.actors, g.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &writer{game: g, players: mine} })))
	}
}

// ask counts a request that is about to be sent. It reports false when the game is
// over. Counting comes first: whoever ends the game and then sees no open request
// knows that none will come.
func (g *game) ask(open *atomic.Int64) bool {
	open.Add(1)
	if g.over.Load() {
		open.Add(-1)
		return false
	}
	return true
}

// end lets no player ask any more, and waits until all have their answers or ctx
// ends.
func (g *game) end(ctx context.Context) {
	g.over.Store(true)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for g.openReads.Load() > 0 || g.openSaves.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leave stops the players' actors.
func (g *game) leave() {
	stopping := make([]*actor.Future, len(g.actors))
	for i, pid := range g.actors {
		stopping[i] = g.system.Root.StopFuture(pid)
	}
	for _, f := range stopping {
		_ = f.Wait() // One that hangs would be found by the app's Stop.
	}
}
