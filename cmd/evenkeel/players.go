package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

const (
	// thinkTime is how long a reader waits after each read, on the average.
	thinkTime = 30 * time.Millisecond
	// saveEvery is how often a writer saves.
	saveEvery = 50 * time.Millisecond
	// saveWindow is how many saves of one writer may be unanswered: it does not wait
	// for one before it sends the next, so that their order is the master's to keep.
	saveWindow = 8
)

// player is a document as the demo stores it.
type player struct {
	ID string `bson:"_id"`
	// Realm is the set that the document belongs to.
	Realm string `bson:"realm"`
	// Saves are the numbers of all saves, in the order in which they took effect.
	Saves []int64 `bson:"saves"`
	Level int64   `bson:"level"`
}

// tick wakes a player.
type tick struct{}

// IgnoreDeadLetterLogging keeps what comes after the end of the game out of the log.
func (tick) IgnoreDeadLetterLogging() {}

// wake sends a tick later.
func wake(ctx actor.Context, after time.Duration) {
	self, root := ctx.Self(), ctx.ActorSystem().Root
	time.AfterFunc(after, func() { root.Send(self, tick{}) })
}

// reader is the actor of a player who looks at players: one at a time, with
// pauses.
type reader struct {
	game  *game
	asked int64 // the number of the latest read
	sent  time.Time
	open  bool // it is not answered
}

// Receive never blocks.
func (r *reader) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		wake(ctx, rand.N(thinkTime))
	case tick:
		if !r.game.ask(&r.game.openReads) {
			return
		}
		r.asked++
		r.sent, r.open = time.Now(), true
		ctx.Request(r.game.router, &messages.Read{
			Database: r.game.database, Collection: r.game.collection, Correlation: r.asked,
			Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: r.game.players[rand.N(len(r.game.players))]}}},
		})
	case *messages.ReadReply:
		if msg.Correlation != r.asked || !r.open {
			r.game.strayReplies.Add(1)
			return
		}
		r.open = false
		r.game.readAnswered(msg, time.Since(r.sent))
		r.game.openReads.Add(-1)
		wake(ctx, thinkTime/2+rand.N(thinkTime))
	}
}

// writer is the actor of a player who saves some players, which are its alone.
type writer struct {
	game    *game
	players []string
	turn    int
	open    int
}

// saving is what a writer finds again in the reply.
type saving struct {
	player string
	number int64
	sent   time.Time
}

// Receive never blocks.
func (w *writer) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		wake(ctx, rand.N(saveEvery))
	case tick:
		if w.open < saveWindow {
			if !w.game.ask(&w.game.openSaves) {
				return
			}
			w.save(ctx)
		}
		wake(ctx, saveEvery)
	case *messages.WriteReply:
		s, ok := msg.Correlation.(saving)
		if !ok || !w.game.ledger.answered(s.player, s.number, msg.Outcome) {
			w.game.strayReplies.Add(1)
			return
		}
		w.open--
		w.game.saveAnswered(msg, time.Since(s.sent))
		w.game.openSaves.Add(-1)
	}
}

func (w *writer) save(ctx actor.Context) {
	who := w.players[w.turn%len(w.players)]
	w.turn++
	w.open++
	n := w.game.ledger.sent(who)
	ctx.Request(w.game.master, &messages.Write{
		Database: w.game.database, Collection: w.game.collection,
		Correlation: saving{player: who, number: n, sent: time.Now()},
		Operation: messages.UpdateOne{
			Filter: bson.D{{Key: "_id", Value: who}},
			Update: bson.D{
				{Key: "$push", Value: bson.D{{Key: "saves", Value: n}}},
				{Key: "$set", Value: bson.D{{Key: "level", Value: n}}},
			},
		},
		// True once this save has happened, and for ever after.
		Verify: bson.D{{Key: "_id", Value: who}, {Key: "saves", Value: n}},
	})
}

// readAnswered checks and counts the answer to a read.
func (g *game) readAnswered(rep *messages.ReadReply, took time.Duration) {
	err := rep.Err
	missing := errors.Is(err, mongo.ErrNoDocuments)
	if missing && !g.complete {
		err = nil
	}
	g.reads.Add(1)
	if err != nil {
		g.meter.readFailed(err)
		return
	}
	g.meter.read(rep.Host, took)
	if missing {
		return
	}
	if realm, ok := rep.Document.Lookup("realm").StringValueOK(); !ok || realm != g.realm {
		g.wrongDocuments.Add(1)
	}
}

// saveAnswered counts the answer to a save.
func (g *game) saveAnswered(rep *messages.WriteReply, took time.Duration) {
	if rep.Outcome == messages.Applied {
		g.meter.save(took)
	}
}

// playerID names a writer's player.
func playerID(writer, n int) string { return fmt.Sprintf("player-%d-%d", writer, n) }
