package replset

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// writers push numbers onto a document each, one after the other, and note which were
// acknowledged.
type writers struct {
	client   *mongo.Client
	stop     context.CancelFunc
	wg       sync.WaitGroup
	acked    [4][]int32
	progress [4]atomic.Int32
}

func startWriters(t *testing.T, set *Set) *writers {
	t.Helper()
	w := &writers{client: connect(t, set.URI(), func(o *options.ClientOptions) {
		o.SetTimeout(5 * time.Second).SetServerMonitoringMode(options.ServerMonitoringModeAuto)
	})}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	t.Cleanup(func() { stop(); w.wg.Wait() })
	for i := range w.acked {
		w.wg.Go(func() {
			for n := int32(1); ctx.Err() == nil; n++ {
				_, err := players(w.client).UpdateOne(ctx, bson.D{{Key: "_id", Value: i}}, bson.D{{Key: "$push", Value: bson.D{{Key: "seen", Value: n}}}}, options.UpdateOne().SetUpsert(true))
				if err == nil {
					w.acked[i] = append(w.acked[i], n)
					w.progress[i].Add(1)
				}
			}
		})
	}
	return w
}

// await waits until every writer has had so many writes acknowledged.
func (w *writers) await(t *testing.T, n int32) {
	t.Helper()
	eventually(t, "every writer has gone on", func() bool {
		for i := range w.progress {
			if w.progress[i].Load() < n {
				return false
			}
		}
		return true
	})
}

// least is how many writes each writer has had acknowledged, at least.
func (w *writers) least() int32 {
	least := w.progress[0].Load()
	for i := range w.progress {
		least = min(least, w.progress[i].Load())
	}
	return least
}

// check ends the writers and says whether each number that was acknowledged is there, and
// each that is there is once, and in order.
func (w *writers) check(t *testing.T, set *Set) {
	t.Helper()
	w.stop()
	w.wg.Wait()
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	for i := range w.acked {
		var doc struct{ Seen []int32 }
		if err := players(w.client).FindOne(soon(t), bson.D{{Key: "_id", Value: i}}).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		found := map[int32]bool{}
		last := int32(0)
		for _, n := range doc.Seen {
			if n <= last {
				t.Errorf("writer %d: %d came after %d", i, n, last)
			}
			last, found[n] = n, true
		}
		for _, n := range w.acked[i] {
			if !found[n] {
				t.Errorf("writer %d: %d was acknowledged and is lost", i, n)
			}
		}
		t.Logf("writer %d: %d acknowledged of %d", i, len(w.acked[i]), last)
	}
}

// TestNumberedWritesSurviveKillsFreezesAndStepDowns has writers push numbers,
// retried by hand until they are acknowledged, while primaries go.
func TestNumberedWritesSurviveKillsFreezesAndStepDowns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	set := steady(t, Options{ElectionTimeout: 100 * time.Millisecond})
	w := startWriters(t, set)
	for round := range int32(8) {
		w.await(t, 10*round)
		p, err := set.AwaitPrimary(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		switch r.IntN(3) {
		case 0:
			p.Kill()
			eventually(t, "another primary", func() bool { return set.Primary() != nil })
			if err := p.Restart(); err != nil {
				t.Fatal(err)
			}
		case 1:
			p.Freeze()
			eventually(t, "another primary", func() bool { q := set.Primary(); return q != nil && q != p })
			p.Unfreeze()
		case 2:
			_ = set.StepDown(soon(t)) // another election may be under way
		}
		if err := set.AwaitSecondaries(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	w.check(t, set)
}

// TestNumberedWritesSurviveWhatHappensToTheirConnections has the driver retry: what is cut
// off, swallowed or turned away must not be done twice.
func TestNumberedWritesSurviveWhatHappensToTheirConnections(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond, TakeoverDelay: 50 * time.Millisecond})
	w := startWriters(t, set)
	for range 12 {
		w.await(t, w.least()+5)
		p, err := set.AwaitPrimary(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		updates := Target{Commands: []string{"update"}, Share: 0.5, Times: 1 + r.IntN(8), Seed: r.Uint64()}
		var struck *Fault
		switch r.IntN(7) {
		case 0, 1, 2:
			struck = p.Cut(updates, Phase(r.IntN(3)))
		case 3:
			struck = p.Overload(updates)
		case 4:
			struck = p.Delay(updates, Quantiles(map[float64]time.Duration{1: 20 * time.Millisecond}))
		case 5:
			link := LinkBlackHole + Link(r.IntN(3))
			setLink(t, p, link)
			time.AfterFunc(30*time.Millisecond, func() { _ = p.SetLink(LinkWhole) })
		case 6:
			m := set.Member((p.Index() + 1) % 3)
			if err := set.Configure(soon(t), m.Index(), func(mc *MemberConfig) { mc.Priority = 1 + r.Float64() }); err != nil {
				t.Logf("a change of priority: %v", err) // an election may be under way
			}
		}
		if struck != nil {
			eventually(t, "the fault is over", func() bool { return struck.Struck() == int64(updates.Times) || set.Primary() != p })
			struck.End()
		}
	}
	w.check(t, set)
}
