package evenkeel_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// heap is the memory in use, goroutines' stacks included, and their number.
func heap() (bytes float64, goroutines float64) {
	runtime.GC()
	runtime.GC() // The first one empties pools only into their victims.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())
}

// BenchmarkScaleHosts reports what one read costs on sets of up to 50 members, the
// protocol's limit, with up to 1,000 callers. The members run in this process.
func BenchmarkScaleHosts(b *testing.B) {
	for _, members := range []int{3, 10, 50} {
		opts := replset.Options{Members: members, NonVoting: map[int]bool{}, ElectionTimeout: 20 * time.Second}
		for i := replset.MaxVoters; i < members; i++ {
			opts.NonVoting[i] = true
		}
		set, client := benchSetOf(b, opts)
		var players []any
		for i := range 1000 {
			players = append(players, bson.D{{Key: "_id", Value: 1000 + i}, {Key: "gold", Value: 100}})
		}
		if _, err := client.Database("bench").Collection("players").InsertMany(b.Context(), players); err != nil {
			b.Fatal(err)
		}
		_ = client.Disconnect(b.Context())
		a := benchApp(b, set)
		c := a.Collection("bench", "players")
		for _, callers := range []int{1, 64, 1000} {
			b.Run(fmt.Sprintf("hosts=%d/callers=%d", members, callers), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for n := left.Add(-1); n >= 0; n = left.Add(-1) {
							if err := c.FindOne(b.Context(), bson.D{{Key: "_id", Value: 1000 + n%1000}}).Err(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
		_ = a.StopAndCancel()
		set.Stop()
	}
}

// BenchmarkScaleQueues reports what each of 100,000 messages of an actor costs while it
// waits: reads for a host, and writes for a primary. No member is there.
func BenchmarkScaleQueues(b *testing.B) {
	const n = 100_000
	set, client := benchSet(b, 3)
	_ = client.Disconnect(b.Context())
	for _, m := range set.Members() {
		m.Kill()
	}
	for _, queue := range []string{"reads", "writes"} {
		b.Run(queue, func(b *testing.B) {
			var bytes, goroutines []float64
			for b.Loop() {
				a, err := app.Start(b.Context(), app.Config{
					URI: set.URI(), ReadQueue: n, WriteQueue: n, WriteQueueBytes: 1 << 30, ReadTimeout: time.Hour, WriteTimeout: time.Hour,
				})
				if err != nil {
					b.Fatal(err)
				}
				bytes0, goroutines0 := heap()
				var replies sync.WaitGroup
				replies.Add(n)
				asked := make(chan struct{})
				ask := func(ctx actor.Context) {
					for i := range n {
						filter := bson.D{{Key: "_id", Value: i}}
						if queue == "reads" {
							ctx.Request(a.Router(), &messages.Read{Database: "bench", Collection: "players", Operation: messages.FindOne{Filter: filter}})
						} else {
							ctx.Request(a.Master(), &messages.Write{
								Database: "bench", Collection: "players",
								Operation: messages.UpdateOne{Filter: filter, Update: bson.D{{Key: "$inc", Value: bson.D{{Key: "gold", Value: 1}}}}},
							})
						}
					}
					close(asked)
				}
				asker := a.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
					switch ctx.Message().(type) {
					case *actor.Started:
						ask(ctx)
					case *messages.ReadReply, *messages.WriteReply:
						replies.Done()
					}
				}))
				<-asked
				if st := a.Stat(); st.Reads.Pending+int64(st.Writes.Queued) < n {
					b.Fatalf("%d reads and %d writes wait", st.Reads.Pending, st.Writes.Queued)
				}
				bytes1, goroutines1 := heap()
				bytes = append(bytes, (bytes1-bytes0)/n)
				goroutines = append(goroutines, (goroutines1-goroutines0)/n)
				_ = a.StopAndCancel()
				replies.Wait()
				_ = a.System().Root.StopFuture(asker).Wait()
			}
			slices.Sort(bytes)
			slices.Sort(goroutines)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(bytes[len(bytes)/2], "B/request")
			b.ReportMetric(goroutines[len(goroutines)/2], "goroutines/request")
		})
	}
}
