package master

import (
	"container/list"
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// What it costs to find out what goes together, and to make a batch of it.
func BenchmarkTake(b *testing.B) {
	mixed := func(n int) *messages.Write {
		kinds := []string{"insert", "update", "replace", "delete"}
		return elsewhere(op(kinds[n%4], n), "game", fmt.Sprint("c", n%3))
	}
	for _, c := range []struct {
		name  string
		n     int
		most  limits
		write func(int) *messages.Write
	}{
		{"one", 1, young, mixed},
		{"one of its kind, on 7.0", 100, limits{writes: 1, bytes: 16 << 20, known: old.known}, mixed},
		{"inserts", 100, young, func(n int) *messages.Write { return op("insert", n) }},
		{"mixed", 100, young, mixed},
		{"mixed", 1000, young, mixed},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.name, c.n), func(b *testing.B) {
			items := make([]*item, c.n)
			for i := range items {
				items[i] = itemOf(b, c.write(i))
			}
			queue := list.New()
			b.ReportAllocs()
			for b.Loop() {
				for _, it := range items {
					it.elem = queue.PushBack(it)
				}
				for queue.Len() > 0 {
					take(queue, c.most).cancel()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.n), "ns/write")
		})
	}
}

// What it costs to make a batch's writes into a bulkWrite, and its reply into
// theirs.
func BenchmarkBulkWrite(b *testing.B) {
	for _, n := range []int{10, 1000} {
		batch := &batch{kind: bulk, verdicts: make([]verdict, n), attempts: &attempts{keep: true, cancel: func() {}}}
		var said []bson.D
		for i := range n {
			batch.items = append(batch.items, itemOf(b, op([]string{"insert", "update", "delete"}[i%3], i)))
			said = append(said, did(i, 1, modified(1)))
		}
		b.Run(fmt.Sprint("models/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				batch.bulkWrites()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/write")
		})
		sends(batch.attempts, "bulkWrite", 1, 1)
		replies(batch.attempts, "bulkWrite", 1, bulkReply(said))
		b.Run(fmt.Sprint("reply/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a := &answer{batch: batch, ids: plainEncoder{}}
				a.read()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/write")
		})
	}
}

// A write that finds an idle lane, all of its way but the wire.
func BenchmarkAWriteAlone(b *testing.B) {
	m, err := New(newSystem(), Config{Encoder: plainEncoder{}})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	w := &fakeWire{}
	w.serve = func(ctx context.Context, batch *batch, a *attempts) result {
		w.ran = w.ran[:0]
		return succeed(ctx, batch, a)
	}
	_ = m.attach(opener(w))
	m.PrimaryChanged("a:1")
	done := make(chan struct{})
	write := update(nil)
	b.ReportAllocs()
	for b.Loop() {
		m.Submit(write, func(*messages.WriteReply) { done <- struct{}{} })
		<-done
	}
}
