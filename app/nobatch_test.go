package app_test

import (
	"sync"
	"testing"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

func TestReadsOfAHandleWithNoBatchGoAlone(t *testing.T) {
	const n, secondaries = 20, 2
	for name, c := range map[string]struct {
		handle  func(*app.Collection) *app.Collection
		least   int64 // finds that the secondaries have to serve
		most    int64
		batched bool
	}{
		"batches": {func(c *app.Collection) *app.Collection { return c }, 2, 2 * secondaries, true},
		"NoBatch": {(*app.Collection).NoBatch, n, n, false},
	} {
		t.Run(name, func(t *testing.T) {
			set := steady(t)
			a := start(t, set, func(c *app.Config) { c.AfterWorkers, c.From = 1, messages.FromSecondariesOnly })
			seed(t, set, a, "players", numbered(n))
			// The first reads wait for a write that the secondaries do not have yet, and the
			// others for the one worker that a host has.
			lag(set, long)
			s := a.Session()
			players := s.Collection("game", "players", w1)
			if _, err := players.UpdateByID(soon(t), 0, doc("$set", doc("new", true))); err != nil {
				t.Fatal(err)
			}
			before := finds(set)
			players = c.handle(players)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					var got struct{ N int }
					if err := players.FindOne(soon(t), doc("_id", i)).Decode(&got); err != nil || got.N != i {
						t.Errorf("the read of %d got %d, %v", i, got.N, err)
					}
				})
			}
			eventually(t, "all but the first wait", func() bool {
				queued := 0
				for _, h := range a.Stat().Hosts {
					queued += h.Queued
				}
				return queued == n-secondaries
			})
			lag(set, 0)
			wg.Wait()
			if got := finds(set) - before; got < c.least || got > c.most {
				t.Errorf("%d finds for %d reads, want %d to %d", got, n, c.least, c.most)
			}
			var batches, batched int64
			for _, h := range a.Stat().Hosts {
				batches, batched = batches+h.Batches, batched+h.Batched
			}
			if c.batched && (batches == 0 || batched < n-2*secondaries) || !c.batched && (batches != 0 || batched != 0) {
				t.Errorf("%d batches of %d reads", batches, batched)
			}
		})
	}
}

// finds is how many finds the members have executed.
func finds(set *replset.Set) (n int64) {
	for _, m := range set.Members() {
		n += m.Counters().Commands["find"]
	}
	return n
}
