package mongoconn

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// BenchmarkRun compares Run with the driver's own direct client, on a server that
// does next to nothing.
func BenchmarkRun(b *testing.B) {
	f := serve(b, nil)
	cmd := raw(b, bson.D{{Key: "find", Value: "players"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: 7}}}, {Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}})
	ctx, cancel := context.WithTimeout(context.Background(), patience*100)
	defer cancel()
	b.Run("driver", func(b *testing.B) {
		client, err := mongo.Connect(options.Client().SetHosts([]string{f.addr}).SetDirect(true))
		if err != nil {
			b.Fatal(err)
		}
		defer client.Disconnect(context.Background())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Database("game").RunCommand(ctx, cmd, options.RunCmd().SetReadPreference(readpref.PrimaryPreferred())).Raw(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("mongoconn", func(b *testing.B) {
		d, h := open(b, DirectConfig{Host: f.addr})
		next(b, h.hellos, "a hello")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Run(ctx, "game", cmd, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
