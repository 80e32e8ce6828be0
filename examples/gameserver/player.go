package main

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// state is a player as it is stored.
type state struct {
	ID      int      `bson:"_id"`
	Version int64    `bson:"version"`
	Gold    int64    `bson:"gold"`
	Items   []string `bson:"items"`
}

// What the world says to a player.
type (
	earn     struct{ gold int64 } // saved with the next save
	purchase struct {             // saved at once: gold and item go together
		item  string
		price int64
	}
	saveTick struct{}
	logout   struct{ done chan<- state } // save, answer with what is stored, stop
)

// saveEvery is how often a changed player is saved.
const saveEvery = 500 * time.Millisecond

// player is the actor of one player. Its state is its own; what goes to MongoDB is
// a message, and the answer comes back as one.
type player struct {
	w       *world
	st      state
	loaded  bool
	dirty   bool // st differs from what was last sent
	saving  bool // a save is on its way
	waiting []any
	leave   *logout
}

// Receive never blocks.
func (p *player) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		p.load(ctx)
	case *messages.ReadReply:
		p.onLoaded(ctx, msg)
	case *messages.WriteReply:
		p.onSaved(ctx, msg)
	case earn, purchase, saveTick, logout:
		if !p.loaded {
			p.waiting = append(p.waiting, msg) // The world sends a few, until the load is done.
			return
		}
		p.act(ctx, msg)
	}
}

func (p *player) load(ctx actor.Context) {
	ctx.Request(p.w.app.Router(), &messages.Read{
		Database: "game", Collection: "players",
		Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: p.st.ID}}},
		// A player who comes back must see its last save, and secondaries lag.
		After: p.w.token(),
	})
}

func (p *player) onLoaded(ctx actor.Context, rep *messages.ReadReply) {
	switch {
	case errors.Is(rep.Err, mongo.ErrNoDocuments):
		p.dirty = true // A new player.
	case rep.Err != nil:
		p.load(ctx) // Its deadline has passed already; nothing is lost by asking again.
		return
	default:
		if err := bson.Unmarshal(rep.Document, &p.st); err != nil {
			panic(err)
		}
	}
	p.loaded = true
	for _, msg := range p.waiting {
		p.act(ctx, msg)
	}
	p.waiting = nil
}

func (p *player) act(ctx actor.Context, msg any) {
	switch msg := msg.(type) {
	case earn:
		p.st.Gold += msg.gold
		p.dirty = true
	case purchase:
		if p.w.writesHeld.Load() {
			p.w.paused.Add(1) // The shop is closed while nothing can be saved.
			return
		}
		if p.st.Gold < msg.price {
			return
		}
		p.st.Gold -= msg.price
		p.st.Items = append(p.st.Items, msg.item)
		p.dirty = true
		p.w.bought.Add(1)
		p.save(ctx)
	case saveTick:
		p.save(ctx)
	case logout:
		p.leave = &msg
		p.save(ctx)
		p.leaveWhenSaved(ctx)
	}
}

// save sends the whole player, one save at a time. The version makes the write one
// that can be verified: should its outcome be unknown, a read tells.
func (p *player) save(ctx actor.Context) {
	if !p.dirty || p.saving {
		return
	}
	next := p.st
	next.Version++
	p.st.Version = next.Version
	p.dirty, p.saving = false, true
	id := bson.E{Key: "_id", Value: next.ID}
	ctx.Request(p.w.app.Master(), &messages.Write{
		Database: "game", Collection: "players",
		Operation: messages.ReplaceOne{
			Filter: bson.D{id}, Replacement: next,
			Options: []options.Lister[options.ReplaceOptions]{options.Replace().SetUpsert(true)},
		},
		Verify: bson.D{id, {Key: "version", Value: next.Version}},
	})
}

func (p *player) onSaved(ctx actor.Context, rep *messages.WriteReply) {
	p.saving = false
	switch rep.Outcome {
	case messages.Applied:
		p.w.saved(rep.Token)
	case messages.NotApplied, messages.Unknown:
		// The save holds the whole player, so that sending a newer one is right in
		// both cases. Only the acknowledgement clears the dirty flag.
		p.w.failed.Add(1)
		p.dirty = true
	}
	if p.dirty && (p.leave != nil || rep.Outcome != messages.Applied) {
		p.save(ctx)
	}
	p.leaveWhenSaved(ctx)
}

func (p *player) leaveWhenSaved(ctx actor.Context) {
	if p.leave != nil && !p.dirty && !p.saving {
		p.leave.done <- p.st
		p.leave = nil
		ctx.Stop(ctx.Self())
	}
}
