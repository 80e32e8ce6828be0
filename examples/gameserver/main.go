// Command gameserver is a small game server that embeds evenkeel: one actor per
// player, in the server's own actor system, which loads and saves its player with
// Read and Write messages.
//
//	go run ./examples/gameserver                       # on a built-in replica set
//	go run ./examples/gameserver -uri mongodb://…      # on a real one
//
// Bots play for some seconds, or until SIGTERM; then the server stops in the order
// that loses nothing: no new actions, players save, evenkeel drains. At the end it
// reads every player back and compares. On the built-in set the primary is killed
// half-way, so that purchases can be seen to pause and to go on.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/replset"
)

func main() {
	uri := flag.String("uri", "", "connection string; empty for a built-in replica set")
	players := flag.Int("players", 50, "how many players are online")
	seconds := flag.Int("seconds", 10, "how long the bots play")
	verbose := flag.Bool("v", false, "log evenkeel's events")
	flag.Parse()
	if *players < 1 || *seconds < 1 {
		fmt.Fprintln(os.Stderr, "gameserver: -players and -seconds must be at least 1")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *uri, *players, time.Duration(*seconds)*time.Second, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "gameserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, uri string, players int, d time.Duration, verbose bool) error {
	var set *replset.Set
	if uri == "" {
		var err error
		if set, err = replset.Start(replset.Options{Members: 3}); err != nil {
			return err
		}
		defer set.Stop()
		uri = set.URI()
	}
	log := zerolog.Nop()
	if verbose {
		log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr}).With().Timestamp().Logger()
	}

	// The game's own actor system; evenkeel moves in.
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	defer system.Shutdown()
	// Not with ctx, which ends with SIGTERM: the app would stop before the players
	// have saved. It is stopped last, in close.
	a, err := app.Start(context.Background(), app.Config{URI: uri, System: system, Logger: log})
	if err != nil {
		return err
	}
	w, err := openWorld(system, a, players)
	if err != nil {
		return err
	}
	var revival *time.Timer
	w.play(ctx, d, func() {
		if set != nil {
			fmt.Println("the primary is killed")
			primary := set.Primary()
			if primary == nil {
				return
			}
			primary.Kill()
			revival = time.AfterFunc(2*time.Second, func() {
				if err := primary.Restart(); err != nil {
					fmt.Fprintln(os.Stderr, "gameserver:", err)
				}
			})
		}
	})
	if revival != nil {
		defer revival.Stop()
	}
	return w.close()
}
