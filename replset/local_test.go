package replset

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestTheOplogIsReadLikeACollectionAndNotWritten(t *testing.T) {
	set := steady(t, Options{})
	client := connect(t, set.URI())
	if _, err := client.Database("game").Collection("players").InsertOne(soon(t), bson.D{{Key: "_id", Value: "ann"}}); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	newest := options.FindOne().SetSort(bson.D{{Key: "$natural", Value: -1}})
	for _, m := range set.Members() {
		var entry struct {
			Op string
			O  struct {
				ApplyOps []struct{ Op, NS string }
			}
		}
		local := direct(t, m).Database("local")
		if err := local.Collection("oplog.rs").FindOne(soon(t), bson.D{}, newest).Decode(&entry); err != nil {
			t.Fatal(err)
		}
		if ops := entry.O.ApplyOps; entry.Op != "c" || len(ops) != 2 || ops[1].Op != "i" || ops[1].NS != "game.players" {
			t.Errorf("the newest entry of %v is %+v", m, entry)
		}
		capped, err := local.ListCollectionSpecifications(soon(t), bson.D{{Key: "options.capped", Value: true}})
		if err != nil || len(capped) != 1 || capped[0].Name != "oplog.rs" {
			t.Errorf("capped collections of %v: %v, %v", m, capped, err)
		}
		var stats struct {
			Capped  bool
			MaxSize int64
		}
		if err := local.RunCommand(soon(t), bson.D{{Key: "collStats", Value: "oplog.rs"}}).Decode(&stats); err != nil || !stats.Capped || stats.MaxSize == 0 {
			t.Errorf("collStats of %v: %+v, %v", m, stats, err)
		}
	}
	oplog := client.Database("local").Collection("oplog.rs")
	if _, err := oplog.DeleteMany(soon(t), bson.D{}); err == nil {
		t.Error("the oplog can be emptied")
	}
	if err := oplog.Drop(soon(t)); err == nil {
		t.Error("the oplog can be dropped")
	}
	_, err := oplog.Find(soon(t), bson.D{}, options.Find().SetCursorType(options.Tailable))
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Name != "NotImplemented" || !strings.Contains(e.Message, "tailable") {
		t.Errorf("the oplog is followed: %v", err)
	}
}
