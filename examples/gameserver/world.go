package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// world is all players online.
type world struct {
	system  *actor.ActorSystem
	app     *app.App
	players []*actor.PID
	watched chan struct{} // closed when the app's last event was seen

	writesHeld                           atomic.Bool
	saves, failed, bought, paused, holds atomic.Int64

	mu     sync.Mutex
	newest messages.Token // mu; of all saves
}

func openWorld(system *actor.ActorSystem, a *app.App, players int) (*world, error) {
	w := &world{system: system, app: a, watched: make(chan struct{})}
	w.watch()
	for id := range players {
		props := actor.PropsFromProducer(func() actor.Actor { return &player{w: w, st: state{ID: id}} })
		pid, err := system.Root.SpawnNamed(props, fmt.Sprintf("player-%d", id))
		if err != nil {
			return nil, err
		}
		w.players = append(w.players, pid)
	}
	return w, nil
}

// watch follows what happens to the replica set: the shop closes while writes are
// held.
func (w *world) watch() {
	events := w.app.Events()
	go func() {
		defer close(w.watched)
		for e := range events.Events() {
			switch e := e.(type) {
			case messages.WritesHeld:
				w.writesHeld.Store(true)
				w.holds.Add(1)
			case messages.WritesResumed:
				w.writesHeld.Store(false)
			case messages.HostLive, messages.HostLost, messages.WrongHost, messages.PrimaryChanged, messages.ReadsDegraded:
				fmt.Println("event:", e)
			}
		}
	}()
}

// saved notes a save that was acknowledged.
func (w *world) saved(t messages.Token) {
	w.saves.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.newest.Before(t) {
		w.newest = t
	}
}

// token stands for every save up to now.
func (w *world) token() messages.Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// play lets bots act for all players, for d or until ctx ends. Halfway is called
// once.
func (w *world) play(ctx context.Context, d time.Duration, halfway func()) {
	act := time.NewTicker(5 * time.Millisecond)
	defer act.Stop()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	half, end := time.After(d/2), time.After(d)
	items := []string{"sword", "shield", "potion", "map"}
	for {
		select {
		case <-ctx.Done():
			fmt.Println("stopping on a signal")
			return
		case <-end:
			return
		case <-half:
			halfway()
		case <-save.C:
			for _, p := range w.players {
				w.system.Root.Send(p, saveTick{})
			}
		case <-act.C:
			p := w.players[rand.IntN(len(w.players))]
			w.system.Root.Send(p, earn{gold: 5 + rand.Int64N(20)})
			if rand.IntN(4) == 0 {
				w.system.Root.Send(p, purchase{item: items[rand.IntN(len(items))], price: 10})
			}
		}
	}
}

// logoutTimeout is how long the players may take to save at the end; longer than
// an election.
const logoutTimeout = 30 * time.Second

// close stops in the order that loses nothing, and compares what the players had
// with what is stored.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	done := make(chan state, len(w.players))
	for _, p := range w.players {
		w.system.Root.Send(p, logout{done: done})
	}
	last := map[int]state{}
	for range w.players {
		select {
		case st := <-done:
			last[st.ID] = st
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d of %d players could not save in time", len(w.players)-len(last), len(w.players)), w.app.StopAndCancel())
		}
	}
	wrong, err := w.compare(last)
	if err := errors.Join(err, w.app.Stop(ctx)); err != nil {
		return err
	}
	<-w.watched
	fmt.Printf("%d players, %d saves acknowledged, %d sent again, %d purchases; writes held %d time(s), %d purchases turned away meanwhile\n",
		len(w.players), w.saves.Load(), w.failed.Load(), w.bought.Load(), w.holds.Load(), w.paused.Load())
	if wrong > 0 {
		return fmt.Errorf("%d players are not stored as they were", wrong)
	}
	fmt.Println("every player is stored as it was")
	return nil
}

// compare reads every player back.
func (w *world) compare(last map[int]state) (wrong int, err error) {
	replies := make(chan *messages.ReadReply, len(last))
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		if rep, ok := ctx.Message().(*messages.ReadReply); ok {
			replies <- rep
		}
	})
	reader := w.system.Root.Spawn(props)
	defer w.system.Root.Stop(reader)
	for id := range last {
		w.system.Root.RequestWithCustomSender(w.app.Router(), &messages.Read{
			Database: "game", Collection: "players",
			Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}},
			After:     w.token(),
		}, reader)
	}
	for range last {
		rep := <-replies // One for each, by its deadline.
		if rep.Err != nil {
			return wrong, rep.Err
		}
		var st state
		if err := bson.Unmarshal(rep.Document, &st); err != nil {
			return wrong, err
		}
		if want := last[st.ID]; st.Version != want.Version || st.Gold != want.Gold || !slices.Equal(st.Items, want.Items) {
			wrong++
		}
	}
	return wrong, nil
}
