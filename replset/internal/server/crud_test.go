package server

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
)

func TestTheGoDriversOperations(t *testing.T) {
	s := start(t, "rs0")
	ctx := context.Background()
	db := s.driver().Database("test")
	coll := db.Collection("c")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := coll.InsertMany(ctx, []any{bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 1}}, bson.D{{Key: "_id", Value: 2}, {Key: "a", Value: 2}}, bson.D{{Key: "_id", Value: 3}, {Key: "a", Value: 2}}})
	must(err)
	up, err := coll.UpdateMany(ctx, bson.D{{Key: "a", Value: 2}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "a", Value: 5}}}})
	must(err)
	if up.MatchedCount != 2 || up.ModifiedCount != 2 {
		t.Errorf("%+v", up)
	}
	up, err = coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}})
	must(err)
	if up.MatchedCount != 1 || up.ModifiedCount != 0 {
		t.Errorf("%+v", up)
	}
	up, err = coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: "new"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}, options.UpdateOne().SetUpsert(true))
	must(err)
	if up.UpsertedID != "new" || up.UpsertedCount != 1 || up.MatchedCount != 0 {
		t.Errorf("%+v", up)
	}
	_, err = coll.ReplaceOne(ctx, bson.D{{Key: "_id", Value: "new"}}, bson.D{{Key: "b", Value: 1}})
	must(err)
	var got bson.D
	must(coll.FindOne(ctx, bson.D{{Key: "_id", Value: "new"}}).Decode(&got))
	if len(got) != 2 || got[1].Key != "b" {
		t.Error(got)
	}
	must(coll.FindOneAndUpdate(ctx, bson.D{{Key: "a", Value: 7}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "a", Value: 1}}}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&got))
	if got[1].Value != int32(8) {
		t.Error(got)
	}
	if err := coll.FindOneAndDelete(ctx, bson.D{{Key: "_id", Value: "none"}}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Error(err)
	}
	must(coll.FindOneAndReplace(ctx, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "a", Value: 100}}).Err())
	must(coll.FindOneAndDelete(ctx, bson.D{{Key: "_id", Value: 2}}).Decode(&got))
	if got[1].Value != int32(100) {
		t.Error(got)
	}
	del, err := coll.DeleteMany(ctx, bson.D{{Key: "a", Value: bson.D{{Key: "$exists", Value: true}}}})
	must(err)
	if del.DeletedCount != 2 {
		t.Errorf("%+v", del)
	}
	n, err := coll.EstimatedDocumentCount(ctx)
	must(err)
	if n != 1 {
		t.Error(n)
	}
	_, err = db.Collection("c", options.Collection().SetReadConcern(readconcern.Majority())).Find(ctx, bson.D{})
	must(err)
	names, err := db.ListCollectionNames(ctx, bson.D{})
	must(err)
	if len(names) != 1 || names[0] != "c" {
		t.Error(names)
	}
	dbs, err := db.Client().ListDatabaseNames(ctx, bson.D{{Key: "name", Value: "test"}})
	must(err)
	if len(dbs) != 1 {
		t.Error(dbs)
	}
	name, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "b", Value: 1}}, Options: options.Index().SetUnique(true)})
	must(err)
	specs, err := coll.Indexes().ListSpecifications(ctx)
	must(err)
	if name != "b_1" || len(specs) != 2 || specs[1].Unique == nil || !*specs[1].Unique {
		t.Errorf("%s: %+v", name, specs)
	}
	must(coll.Indexes().DropOne(ctx, name))
	must(coll.Drop(ctx))
	must(db.Drop(ctx))
}

func TestUnorderedInsertsGoOnPastAnError(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(2))
	for _, c := range []struct {
		ordered bool
		n       int32
		errors  []int32
	}{{true, 1, []int32{1}}, {false, 2, []int32{0, 1}}} {
		reply := w.ok("test", append(insertOf(1, 2, 3), bson.E{Key: "ordered", Value: c.ordered}))
		if reply.Lookup("n").Int32() != c.n && c.ordered {
			t.Error(reply)
		}
		first := reply.Lookup("writeErrors", "0").Document()
		if first.Lookup("index").Int32() != c.errors[0] || first.Lookup("code").Int32() != codeDuplicateKey || first.Lookup("keyValue", "_id").Type == 0 {
			t.Error(reply)
		}
		errs, err := reply.Lookup("writeErrors").Array().Values()
		if err != nil || len(errs) != len(c.errors) {
			t.Error(reply)
		}
	}
}

func TestAModifyThatRemovesTakesNoArrayFilters(t *testing.T) {
	w := start(t, "rs0").dial()
	for _, filters := range []bson.A{{}, {d("e", 1)}} {
		w.refused("test", d("findAndModify", "c", "remove", true, "arrayFilters", filters), codeFailedToParse)
	}
}

func TestARetriedUpdateDeleteOrModifyReturnsTheFirstResult(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", insertOf(1, 2))
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	update := bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{
		bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "u", Value: inc}},
		bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 9}}}, {Key: "u", Value: inc}, {Key: "upsert", Value: true}},
	}}}
	first, again := w.ok("test", retryable(update, 1)), w.ok("test", retryable(update, 1))
	for _, reply := range []bson.Raw{first, again} {
		if reply.Lookup("n").Int32() != 2 || reply.Lookup("nModified").Int32() != 1 || reply.Lookup("upserted", "0", "_id").Int32() != 9 || reply.Lookup("upserted", "0", "index").Int32() != 1 {
			t.Error(reply)
		}
	}
	modify := bson.D{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "update", Value: inc}, {Key: "new", Value: true}}
	first, again = w.ok("test", retryable(modify, 2)), w.ok("test", retryable(modify, 2))
	if first.Lookup("value", "n").Int32() != 2 || first.Lookup("value").String() != again.Lookup("value").String() || again.Lookup("retriedStmtId").Type != bson.TypeInt32 {
		t.Errorf("%v, then %v", first, again)
	}
	del := bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "limit", Value: 1}}}}}
	first, again = w.ok("test", retryable(del, 3)), w.ok("test", retryable(del, 3))
	if first.Lookup("n").Int32() != 1 || again.Lookup("n").Int32() != 1 {
		t.Errorf("%v, then %v", first, again)
	}
	many := bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "limit", Value: 0}}}}}
	if reply := w.ok("test", retryable(many, 4)); reply.Lookup("writeErrors", "0", "code").Int32() != codeInvalidOptions {
		t.Error(reply)
	}
}
