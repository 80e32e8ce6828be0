package command

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func BenchmarkEncode(b *testing.B) {
	id := bson.NewObjectID()
	for _, c := range []struct {
		name string
		op   messages.ReadOperation
	}{
		{"FindOneByObjectID", messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}}},
		{"FindOneByStringInMap", messages.FindOne{Filter: bson.M{"_id": "player-1"}}},
		{"FindOneByStruct", messages.FindOne{Filter: struct {
			ID bson.ObjectID `bson:"_id"`
		}{id}}},
		{"FindOneProjected", messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}, Options: []options.Lister[options.FindOneOptions]{
			options.FindOne().SetProjection(bson.D{{Key: "gold", Value: 1}})}}},
		{"Find", messages.Find{Filter: bson.D{{Key: "level", Value: bson.D{{Key: "$gt", Value: 10}}}}, Options: []options.Lister[options.FindOptions]{
			options.Find().SetSort(bson.D{{Key: "level", Value: -1}}).SetLimit(10)}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var e Encoder
			m := &messages.Read{Database: "game", Collection: "players", Operation: c.op}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Read(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("InsertOne", func(b *testing.B) {
		var e Encoder
		doc := bson.D{{Key: "name", Value: "ann"}, {Key: "gold", Value: 7}, {Key: "items", Value: bson.A{"axe", "bow"}}}
		m := &messages.Write{Database: "game", Collection: "players", Operation: messages.InsertOne{Document: doc}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Write(m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	batch := func(n int) bson.Raw {
		docs := make(bson.A, n)
		for i := range docs {
			docs[i] = bson.D{{Key: "_id", Value: int64(i)}, {Key: "name", Value: "ann"}, {Key: "gold", Value: 7}}
		}
		raw, err := bson.Marshal(bson.D{
			{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: docs}, {Key: "id", Value: int64(0)}, {Key: "ns", Value: "game.players"}}},
			{Key: "ok", Value: 1.0},
			{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: bson.Timestamp{T: 7, I: 1}},
				{Key: "signature", Value: bson.D{{Key: "hash", Value: bson.Binary{Data: make([]byte, 20)}}, {Key: "keyId", Value: int64(7)}}}}},
			{Key: "operationTime", Value: bson.Timestamp{T: 7, I: 1}},
		})
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	for _, c := range []struct {
		name  string
		read  Read
		reply bson.Raw
	}{
		{"FindOne", Read{Name: "find", Kind: KindOne}, batch(1)},
		{"FindOf100", Read{Name: "find", Kind: KindBatch}, batch(100)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.reply)))
			for b.Loop() {
				var rep messages.ReadReply
				if _, err := c.read.Parse(c.reply, &rep); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
