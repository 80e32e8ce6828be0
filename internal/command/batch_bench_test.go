package command

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// BenchmarkBatch is what a batch costs here, without its round trip: its command (new),
// its reply (match), and for each read that waits, the look for company (shape). Alone is
// what the replies of as many single reads cost.
func BenchmarkBatch(b *testing.B) {
	opt := options.FindOne().SetProjection(bson.D{{Key: "name", Value: 1}, {Key: "gold", Value: 1}})
	for _, kind := range []struct {
		name string
		id   func(i int) any
	}{
		{"ObjectID", func(int) any { return bson.NewObjectID() }},
		{"String", func(i int) any { return fmt.Sprintf("player-%08d", i) }},
		{"Document", func(i int) any { return doc("player", i, "day", int64(i)) }},
	} {
		for _, n := range []int{16, 128} {
			var reads []*Read
			var docs []any
			for i := range n {
				id := kind.id(i)
				reads = append(reads, byID(b, id, opt))
				docs = append(docs, doc("_id", id, "name", "ann", "gold", 7))
			}
			reply := marshal(b, cursorReply("firstBatch", int64(0), docs...))
			var ones []bson.Raw
			for _, d := range docs {
				ones = append(ones, marshal(b, cursorReply("firstBatch", int64(0), d)))
			}
			run := func(name string, f func()) {
				b.Run(fmt.Sprintf("%s/%s/%d", name, kind.name, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						f()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/read")
				})
			}
			run("new", func() { NewBatch(reads) })
			batch := NewBatch(reads)
			run("match", func() {
				var rep messages.ReadReply
				if _, err := batch.Read.Parse(reply, &rep); err != nil {
					b.Fatal(err)
				}
				if found, strange, _ := batch.Match(rep.Documents); strange || found[n-1] == nil {
					b.Fatal("no match")
				}
			})
			run("shape", func() {
				for _, r := range reads {
					if _, ok := r.Shape(); !ok {
						b.Fatal("no shape")
					}
				}
			})
			run("alone", func() {
				for i, r := range reads {
					var rep messages.ReadReply
					if _, err := r.Parse(ones[i], &rep); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
