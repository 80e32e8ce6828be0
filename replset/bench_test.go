package replset

import (
	"context"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// BenchmarkInsert inserts from many goroutines, acknowledged by the primary or by
// a majority.
func BenchmarkInsert(b *testing.B) {
	for name, wc := range map[string]*writeconcern.WriteConcern{"w1": writeconcern.W1(), "majority": writeconcern.Majority()} {
		b.Run(name, func(b *testing.B) {
			set := steady(b, Options{})
			coll := connect(b, set.URI()).Database("game").Collection("players", options.Collection().SetWriteConcern(wc))
			var id atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := coll.InsertOne(context.Background(), bson.D{{Key: "_id", Value: id.Add(1)}}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkFindOne reads one document by its _id from collections of two sizes,
// which must cost the same.
func BenchmarkFindOne(b *testing.B) {
	for name, size := range map[string]int{"of10": 10, "of100000": 100_000} {
		b.Run(name, func(b *testing.B) {
			set := steady(b, Options{Members: 1})
			coll := players(connect(b, set.URI()))
			fill(b, coll, size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := coll.FindOne(context.Background(), bson.D{{Key: "_id", Value: i % size}}).Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func fill(b *testing.B, coll *mongo.Collection, size int) {
	b.Helper()
	for at := 0; at < size; at += 10_000 {
		var docs []any
		for i := at; i < min(at+10_000, size); i++ {
			docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "gold", Value: i}})
		}
		if _, err := coll.InsertMany(b.Context(), docs); err != nil {
			b.Fatal(err)
		}
	}
}
