package evenkeel_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/internal/leaktest"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// gameSystem is an actor system of the game's own, which logs nothing.
func gameSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

func TestTwoAppsInOneProcessDoNotNoticeEachOther(t *testing.T) {
	for _, tt := range []struct {
		name                string
		oneSet, oneSystem   bool
		faultOnTheFirstOnly bool
	}{
		{"two sets, two actor systems", false, false, true},
		{"two sets, one actor system", false, true, true},
		{"one set, one actor system", true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first := ownSet(t, "a killed member", primaryFirst(3))
			first.seed(t, "us")
			second := first
			if !tt.oneSet {
				second = ownSet(t, "a killed member", primaryFirst(3))
				second.seed(t, "us")
			}
			cfg := app.Config{HungAfter: patience, ConnectTimeout: patience} // A busy machine is no event.
			if tt.oneSystem {
				cfg.System = gameSystem()
				t.Cleanup(cfg.System.Shutdown)
			}
			one, two := first.play(t, cfg), second.play(t, cfg)
			one.steady(t, 3)
			two.steady(t, 3)
			a, b := one.crowd(t, 4, unhurried, nil), two.crowd(t, 4, unhurried, nil)
			a.more(t, 100)
			b.more(t, 100)
			if rep := one.write(t, one.insert("log", bson.D{{Key: "_id", Value: 1}})); rep.Outcome != messages.Applied {
				t.Errorf("a write of the first app is %v: %v", rep.Outcome, rep.Err)
			}
			mark := two.events.mark()
			if tt.faultOnTheFirstOnly {
				first.set.Member(2).Kill()
				eventually(t, "the host is out", func() bool { return !one.events.isLive(first.host(2)) })
			}
			a.mustBeFine(t)
			one.stop(t)
			b.more(t, 300)
			if rep := two.write(t, two.insert("log", bson.D{{Key: "_id", Value: 2}})); rep.Outcome != messages.Applied {
				t.Errorf("after the first app has stopped, a write of the second is %v: %v", rep.Outcome, rep.Err)
			}
			b.mustBeFine(t)
			if n := two.events.mark() - mark; n != 0 {
				t.Errorf("the second app has published %d events over what happened to the first", n)
			}
			select {
			case <-two.Stopped():
				t.Error("the second app has stopped with the first")
			default:
			}
		})
	}
}

// Not parallel with others: it counts goroutines.
func TestStoppingABusyAppAnswersEverybodyAndLeavesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*cluster)
		stop  func(*game) error
		all   bool // every accepted write is applied
	}{
		{"gracefully", nil, func(g *game) error { return g.Stop(soon(t)) }, true},
		{"at once", nil, func(g *game) error { return g.StopAndCancel() }, false},
		{"while the primary hangs", func(c *cluster) { c.primary(t).Freeze() }, func(g *game) error {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			return g.Stop(ctx)
		}, false},
		{"while all hosts are down", func(c *cluster) {
			for _, m := range c.set.Members() {
				m.Kill()
			}
		}, func(g *game) error {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			return g.Stop(ctx)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c *cluster
			if tt.fault == nil {
				c = anySet(t, replset.Options{})
			} else {
				c = ownSet(t, "members that hang or are killed", replset.Options{ElectionTimeout: 5 * time.Second})
			}
			c.seed(t, "us")
			before := goleak.IgnoreCurrent()
			system := gameSystem() // Its actors are there after the app.
			// Whatever waits for these does so longer than goroutines are waited for.
			g := c.play(t, app.Config{System: system, ConnectTimeout: time.Hour, HungAfter: time.Hour})
			g.ready(t)
			in := g.inbox(t)
			if tt.fault != nil {
				tt.fault(c)
			}

			var wg sync.WaitGroup
			var mu sync.Mutex
			n := 0
			for range 16 {
				wg.Go(func() {
					coll := g.Collection(c.db, "players")
					for {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						err := coll.FindOne(ctx, bson.D{{Key: "_id", Value: 3}}).Err()
						cancel()
						if errors.Is(err, messages.ErrStopped) {
							return
						}
						if err != nil && tt.all {
							t.Errorf("a read that was accepted got %v", err)
						}
					}
				})
				wg.Go(func() {
					for {
						mu.Lock()
						k := n
						n++
						mu.Unlock()
						r, w := g.point(k%players), g.insert("log", bson.D{{Key: "_id", Value: k}})
						r.Correlation, w.Correlation = k, k
						in.send(g.Router(), r)
						in.send(g.Master(), w)
						in.await(t, 2*(k-500)) // No more than some hundred at a time.
						select {
						case <-g.Stopped():
							return
						default:
							if g.Stat().Stopping {
								return
							}
						}
					}
				})
			}
			eventually(t, "it is busy", func() bool { mu.Lock(); defer mu.Unlock(); return n > 200 })
			began := time.Now()
			err := tt.stop(g)
			took := time.Since(began)
			wg.Wait()
			in.await(t, 2*n)
			t.Logf("Stop took %v and returned %v", took, err)
			if took >= app.DefaultWriteTimeout {
				t.Errorf("Stop took %v, in which a write that hangs ends by itself", took)
			}
			var undone *app.StopError
			if err != nil && !errors.As(err, &undone) || err != nil && tt.all {
				t.Errorf("Stop returned %v", err)
			}
			var applied []int
			notApplied := 0
			for k := range n {
				if len(in.reads[k]) != 1 || len(in.writes[k]) != 1 {
					t.Fatalf("request %d got %d and %d replies", k, len(in.reads[k]), len(in.writes[k]))
				}
				switch rep := in.writes[k][0]; {
				case rep.Outcome == messages.Applied:
					applied = append(applied, k)
				case rep.Outcome == messages.NotApplied && errors.Is(rep.Err, messages.ErrStopped):
					notApplied++
				case tt.all || rep.Outcome != messages.Unknown && rep.Outcome != messages.NotApplied:
					t.Errorf("write %d is %v: %v", k, rep.Outcome, rep.Err)
				}
			}
			if err := g.Stop(context.Background()); !sameError(err, undone) {
				t.Errorf("the second Stop returned %v", err)
			}
			if rep := g.read(t, g.point(1)); !errors.Is(rep.Err, messages.ErrStopped) {
				t.Errorf("after Stop, a read got %v", rep.Err)
			}
			g.events.end()
			system.Shutdown()
			if c.set != nil { // A process that is stopped does not notice that its clients have gone.
				for _, m := range c.set.Members() {
					m.Unfreeze()
				}
			}
			if err := leaktest.Find(before); err != nil {
				t.Errorf("after Stop: %v", err)
			}
			if tt.all {
				c.mustHold(t, "log", applied...)
			}
		})
	}
}

func sameError(err error, undone *app.StopError) bool {
	var again *app.StopError
	return undone == nil && err == nil || errors.As(err, &again) && again == undone
}

func TestTheEndOfStartsContextStopsTheApp(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Start(ctx, app.Config{URI: c.uri})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-a.Stopped():
	case <-time.After(patience):
		t.Fatal("the app runs on")
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Errorf("Stop returned %v", err)
	}
}

// Nobody has to have been there.
func TestASubscriptionStartsWithThePresentState(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "maintenance mode", primaryFirst(4))
	g := c.play(t, app.Config{})
	g.steady(t, 4)
	if err := c.set.Member(3).SetMaintenance(true); err != nil {
		t.Fatal(err)
	}
	await(t, g.events, 0, of[messages.HostStandby](c.host(3)))

	all := record(t, g.App)
	eventually(t, "the new subscription knows the state", func() bool { return all.mark() >= 5 })
	if live := all.live(); len(live) != 3 || contains(live, c.host(3)) {
		t.Errorf("by the snapshot, live are %v", live)
	}
	if got := all.primary(); got != c.host(0) {
		t.Errorf("by the snapshot, the primary is %q", got)
	}
	if _, ok := find(all, 0, of[messages.HostStandby](c.host(3))); !ok {
		t.Error("the snapshot does not tell of the host that stands by")
	}
	seen := map[uint64]bool{}
	for _, e := range all.all() {
		if e.Head().Seq == 0 || seen[e.Head().Seq] || e.Head().Time.IsZero() {
			t.Errorf("the snapshot has %+v", e)
		}
		seen[e.Head().Seq] = true
	}

	roles := g.Events(messages.KindPrimaryChanged, messages.KindStopped)
	if e := <-roles.Events(); e.Kind() != messages.KindPrimaryChanged {
		t.Errorf("a subscription to the primary's changes starts with %v", e)
	}
	g.stop(t)
	var last messages.Event
	for e := range roles.Events() { // Closed after the last one.
		last = e
	}
	if last == nil || last.Kind() != messages.KindStopped {
		t.Errorf("the last event is %v", last)
	}
	late := g.Events()
	if _, open := <-late.Events(); !open {
		t.Error("after the end there is no snapshot")
	}
}

func TestASubscriberThatDoesNotReadBlocksNobody(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "maintenance mode", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{EventBuffer: 2})
	slow := g.Events()
	live := func() (n int) {
		for _, h := range g.Stat().Hosts {
			if h.State == slave.Live {
				n++
			}
		}
		return n
	}
	eventually(t, "all hosts are live", func() bool { return live() == 3 })
	eventually(t, "events are dropped, and counted", func() bool {
		must(t, c.set.Member(2).SetMaintenance(true))
		eventually(t, "one is not", func() bool { return live() == 2 })
		must(t, c.set.Member(2).SetMaintenance(false))
		eventually(t, "all are again", func() bool { return live() == 3 })
		if rep := g.read(t, g.point(1)); rep.Err != nil {
			t.Fatal(rep.Err)
		}
		return slow.Dropped() > 0 && g.Stat().Events.Dropped > 0
	})
	g.events.lossy = true
}
