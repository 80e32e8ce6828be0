package command

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func encodeWrite(t *testing.T, enc *Encoder, op messages.WriteOperation) *Write {
	t.Helper()
	w, err := enc.Write(&messages.Write{Database: "game", Collection: "players", Operation: op})
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return w
}

// execute runs a write with the driver.
func execute(coll *mongo.Collection, operation messages.WriteOperation) (any, error) {
	ctx := context.Background()
	var single *mongo.SingleResult
	switch op := operation.(type) {
	case messages.InsertOne:
		return coll.InsertOne(ctx, op.Document, op.Options...)
	case messages.InsertMany:
		return coll.InsertMany(ctx, op.Documents, op.Options...)
	case messages.UpdateOne:
		return coll.UpdateOne(ctx, op.Filter, op.Update, op.Options...)
	case messages.UpdateMany:
		return coll.UpdateMany(ctx, op.Filter, op.Update, op.Options...)
	case messages.ReplaceOne:
		return coll.ReplaceOne(ctx, op.Filter, op.Replacement, op.Options...)
	case messages.DeleteOne:
		return coll.DeleteOne(ctx, op.Filter, op.Options...)
	case messages.DeleteMany:
		return coll.DeleteMany(ctx, op.Filter, op.Options...)
	case messages.FindOneAndUpdate:
		single = coll.FindOneAndUpdate(ctx, op.Filter, op.Update, op.Options...)
	case messages.FindOneAndReplace:
		single = coll.FindOneAndReplace(ctx, op.Filter, op.Replacement, op.Options...)
	case messages.FindOneAndDelete:
		single = coll.FindOneAndDelete(ctx, op.Filter, op.Options...)
	case messages.Command:
		single = coll.Database().RunCommand(ctx, op.Document)
		raw, err := single.Raw()
		return raw.Lookup("n"), err // The reply has times in it.
	}
	raw, err := single.Raw()
	return raw, err
}

// contents are a collection's documents, in the order of their _id.
func contents(t *testing.T, coll *mongo.Collection) []string {
	t.Helper()
	cursor, err := coll.Find(context.Background(), doc(), options.Find().SetSort(doc("_id", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := cursor.All(context.Background(), &docs); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(docs))
	for i, d := range docs {
		out[i] = d.String()
	}
	return out
}

func everyWrite() []messages.WriteOperation {
	ann, all := doc("_id", 1), doc()
	inc := doc("$inc", doc("gold", 1))
	collation := &options.Collation{Locale: "en", Strength: 2}
	filters := []any{doc("i.n", doc("$gt", 1)), bson.M{"j.n": 2}}
	ops := []messages.WriteOperation{
		messages.InsertOne{Document: doc("_id", 10, "name", "eve")},
		messages.InsertOne{Document: ann}, // A duplicate.
		messages.InsertOne{Document: bson.M{"_id": "m"}},
		messages.InsertOne{Document: struct {
			ID   bson.ObjectID `bson:"_id"`
			Name string
		}{bson.ObjectID{7}, "eve"}},
		messages.InsertOne{Document: doc("_id", doc("a", bson.A{1}))},
		messages.InsertOne{Document: doc("_id", bson.Binary{Subtype: 0, Data: []byte{1}})},
		messages.InsertOne{Document: doc("_id", nil)},
		messages.InsertOne{Document: doc("a", 1, "_id", 11)},
		messages.InsertOne{Document: doc("_id", 12), Options: list[options.InsertOneOptions](options.InsertOne().SetBypassDocumentValidation(true))},
		messages.InsertMany{Documents: bson.A{doc("_id", 10), bson.M{"_id": 11}}},
		messages.InsertMany{Documents: []bson.D{doc("_id", 10), ann, doc("_id", 12)}},
		messages.InsertMany{Documents: []bson.M{{"_id": 10}, {"_id": 1}, {"_id": 12}}, Options: list[options.InsertManyOptions](options.InsertMany().SetOrdered(false))},
		messages.InsertMany{Documents: []any{doc("_id", 10)}, Options: list[options.InsertManyOptions](options.InsertMany().SetBypassDocumentValidation(true))},

		messages.UpdateOne{Filter: ann, Update: inc},
		messages.UpdateOne{Filter: bson.M{"_id": 77}, Update: bson.M{"$set": bson.M{"a": 1}}},
		messages.UpdateOne{Filter: doc("_id", 77), Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetUpsert(true))},
		messages.UpdateOne{Filter: ann, Update: struct {
			Set struct{ A int } `bson:"$set"`
		}{}},
		messages.UpdateOne{Filter: ann, Update: mongo.Pipeline{doc("$set", doc("a", 1)), doc("$unset", "gold")}},
		messages.UpdateOne{Filter: ann, Update: bson.A{bson.M{"$set": doc("a", 1)}}},
		messages.UpdateOne{Filter: ann, Update: []bson.D{}},
		messages.UpdateOne{Filter: ann, Update: valueOf{bson.A{doc("$set", doc("a", 1))}}},
		messages.UpdateOne{Filter: ann, Update: valueOf{inc}},
		messages.UpdateOne{Filter: ann, Update: marshaled{inc}},
		messages.UpdateOne{Filter: ann, Update: increments{"gold", "gems"}},
		messages.UpdateOne{Filter: ann, Update: doc("$set", doc("items.$[i].n", 9, "items.$[j].n", 8)), Options: list[options.UpdateOneOptions](options.UpdateOne().SetArrayFilters(filters))},
		messages.UpdateOne{Filter: ann, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetArrayFilters([]any{}))},
		messages.UpdateOne{Filter: ann, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetBypassDocumentValidation(true), options.UpdateOne().SetCollation(collation))},
		messages.UpdateOne{Filter: ann, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetLet(bson.M{"x": 1}))},
		messages.UpdateOne{Filter: all, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetSort(doc("gold", -1)))},
		messages.UpdateMany{Filter: all, Update: inc},
		messages.UpdateMany{Filter: doc("x", 1), Update: inc, Options: list[options.UpdateManyOptions](options.UpdateMany().SetUpsert(true).SetCollation(collation).SetBypassDocumentValidation(true).SetLet(doc("x", 1)))},
		messages.UpdateMany{Filter: all, Update: doc("$set", doc("items.$[i].n", 9)), Options: list[options.UpdateManyOptions](options.UpdateMany().SetArrayFilters(filters[:1]))},
		messages.UpdateMany{Filter: all, Update: mongo.Pipeline{doc("$set", doc("a", "$gold"))}},
		messages.ReplaceOne{Filter: ann, Replacement: doc("name", "ann", "gold", 0)},
		messages.ReplaceOne{Filter: ann, Replacement: doc()},
		messages.ReplaceOne{Filter: bson.M{"_id": 77}, Replacement: bson.M{"a": 1}, Options: list[options.ReplaceOptions](options.Replace().SetUpsert(true))},
		messages.ReplaceOne{Filter: all, Replacement: doc("a", 1), Options: list[options.ReplaceOptions](
			options.Replace().SetBypassDocumentValidation(true).SetCollation(collation).SetLet(doc("x", 1)).SetSort(doc("gold", -1)))},
		messages.DeleteOne{Filter: ann},
		messages.DeleteOne{Filter: doc("_id", 77)},
		messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetCollation(collation).SetLet(doc("x", 1)))},
		messages.DeleteMany{Filter: bson.M{"gold": doc("$gt", 5)}},
		messages.DeleteMany{Filter: all, Options: list[options.DeleteManyOptions](options.DeleteMany().SetCollation(collation).SetLet(doc("x", 1)))},

		messages.FindOneAndUpdate{Filter: ann, Update: inc},
		messages.FindOneAndUpdate{Filter: doc("_id", 77), Update: inc},
		messages.FindOneAndUpdate{Filter: doc("_id", 77), Update: inc, Options: list[options.FindOneAndUpdateOptions](options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After))},
		messages.FindOneAndUpdate{Filter: all, Update: inc, Options: list[options.FindOneAndUpdateOptions](
			options.FindOneAndUpdate().SetSort(doc("gold", -1)).SetProjection(doc("gold", 1)).SetReturnDocument(options.Before).SetBypassDocumentValidation(true))},
		messages.FindOneAndUpdate{Filter: ann, Update: doc("$set", doc("items.$[i].n", 9)), Options: list[options.FindOneAndUpdateOptions](
			options.FindOneAndUpdate().SetArrayFilters(filters[:1]).SetCollation(collation).SetLet(doc("x", 1)))},
		messages.FindOneAndUpdate{Filter: ann, Update: mongo.Pipeline{doc("$set", doc("a", 1))}},
		messages.FindOneAndReplace{Filter: ann, Replacement: doc("a", 1)},
		messages.FindOneAndReplace{Filter: all, Replacement: bson.M{"a": 1}, Options: list[options.FindOneAndReplaceOptions](
			options.FindOneAndReplace().SetSort(doc("gold", -1)).SetProjection(doc("a", 1)).SetReturnDocument(options.After).SetUpsert(true).
				SetCollation(collation).SetLet(doc("x", 1)).SetBypassDocumentValidation(true))},
		messages.FindOneAndDelete{Filter: ann},
		messages.FindOneAndDelete{Filter: all, Options: list[options.FindOneAndDeleteOptions](
			options.FindOneAndDelete().SetSort(doc("gold", -1)).SetProjection(doc("gold", 1)).SetCollation(collation).SetLet(doc("x", 1)))},
		messages.Command{Document: doc("ping", 1)},
		messages.Command{Document: bson.M{"noSuchCommand": 1}},
	}
	for _, v := range values {
		ops = append(ops,
			messages.InsertOne{Document: doc("_id", 10), Options: list[options.InsertOneOptions](options.InsertOne().SetComment(v))},
			messages.InsertMany{Documents: bson.A{doc("_id", 10)}, Options: list[options.InsertManyOptions](options.InsertMany().SetComment(v))},
			messages.UpdateOne{Filter: ann, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetComment(v))},
			messages.UpdateMany{Filter: ann, Update: inc, Options: list[options.UpdateManyOptions](options.UpdateMany().SetComment(v))},
			messages.ReplaceOne{Filter: ann, Replacement: doc("a", 1), Options: list[options.ReplaceOptions](options.Replace().SetComment(v))},
			messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetComment(v))},
			messages.DeleteMany{Filter: ann, Options: list[options.DeleteManyOptions](options.DeleteMany().SetComment(v))},
			messages.FindOneAndUpdate{Filter: ann, Update: inc, Options: list[options.FindOneAndUpdateOptions](options.FindOneAndUpdate().SetComment(v))},
			messages.FindOneAndReplace{Filter: ann, Replacement: doc("a", 1), Options: list[options.FindOneAndReplaceOptions](options.FindOneAndReplace().SetComment(v))},
			messages.FindOneAndDelete{Filter: ann, Options: list[options.FindOneAndDeleteOptions](options.FindOneAndDelete().SetComment(v))})
	}
	for _, v := range []any{"_id_", ann, bson.M{"_id": 1}, "no such index"} {
		ops = append(ops,
			messages.UpdateOne{Filter: ann, Update: inc, Options: list[options.UpdateOneOptions](options.UpdateOne().SetHint(v))},
			messages.UpdateMany{Filter: ann, Update: inc, Options: list[options.UpdateManyOptions](options.UpdateMany().SetHint(v))},
			messages.ReplaceOne{Filter: ann, Replacement: doc("a", 1), Options: list[options.ReplaceOptions](options.Replace().SetHint(v))},
			messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetHint(v))},
			messages.DeleteMany{Filter: ann, Options: list[options.DeleteManyOptions](options.DeleteMany().SetHint(v))},
			messages.FindOneAndUpdate{Filter: ann, Update: inc, Options: list[options.FindOneAndUpdateOptions](options.FindOneAndUpdate().SetHint(v))},
			messages.FindOneAndReplace{Filter: ann, Replacement: doc("a", 1), Options: list[options.FindOneAndReplaceOptions](options.FindOneAndReplace().SetHint(v))},
			messages.FindOneAndDelete{Filter: ann, Options: list[options.FindOneAndDeleteOptions](options.FindOneAndDelete().SetHint(v))})
	}
	return ops
}

// increments is a slice, and no pipeline.
type increments []string

func (v increments) MarshalBSON() ([]byte, error) {
	fields := bson.D{}
	for _, f := range v {
		fields = append(fields, bson.E{Key: f, Value: 1})
	}
	return bson.Marshal(bson.D{{Key: "$inc", Value: fields}})
}

// marshaled is a document that encodes itself.
type marshaled struct{ v any }

func (m marshaled) MarshalBSON() ([]byte, error) { return bson.Marshal(m.v) }

func TestFrozenWritesDoWhatTheUnfrozenOnesDo(t *testing.T) {
	client := connect(t, options.Client())
	coll := client.Database("game").Collection("players")
	seed := bson.A{
		doc("_id", 1, "name", "ann", "gold", 5, "items", bson.A{doc("n", 1), doc("n", 2)}),
		doc("_id", 2, "name", "bob", "gold", 7, "items", bson.A{doc("n", 3)}),
		doc("_id", 3, "name", "cid", "gold", 6, "items", bson.A{}),
	}
	run := func(op messages.WriteOperation) (cmd bson.Raw, result string, after []string, err error) {
		if _, err := coll.DeleteMany(context.Background(), doc()); err != nil {
			t.Fatal(err)
		}
		if _, err := coll.InsertMany(context.Background(), seed); err != nil {
			t.Fatal(err)
		}
		var res any
		cmd = client.sends(t, func() { res, err = execute(coll, op) })
		return cmd, fmt.Sprintf("%T %+v", res, deref(res)), contents(t, coll), err
	}
	var enc Encoder
	executed := 0
	for i, op := range everyWrite() {
		t.Run(fmt.Sprintf("%d %T", i, op), func(t *testing.T) {
			cmd, result, after, err := run(op)
			frozenCmd, frozenResult, frozenAfter, frozenErr := run(encodeWrite(t, &enc, op).Operation)
			sameCommand(t, frozenCmd, cmd)
			if result != frozenResult || fmt.Sprint(err) != fmt.Sprint(frozenErr) {
				t.Errorf("got %v and %v, want %v and %v", frozenResult, frozenErr, result, err)
			}
			if !reflect.DeepEqual(after, frozenAfter) {
				t.Errorf("afterwards %v, want %v", frozenAfter, after)
			}
			if err == nil {
				executed++
			}
			if t.Failed() {
				t.Logf("%+v", op)
			}
		})
	}
	// What the set refuses is compared as well, but is not all there should be.
	if executed < 60 {
		t.Errorf("only %d writes were executed", executed)
	}
}

func deref(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		return r.Elem().Interface()
	}
	return v
}

func TestAWriteIsDescribed(t *testing.T) {
	var enc Encoder
	oid := bson.NewObjectID()
	ann := doc("_id", oid)
	set := doc("$set", doc("a", 1))
	none := bson.RawValue{}
	id := bson.RawValue{Type: bson.TypeObjectID, Value: oid[:]}
	for i, c := range []struct {
		op    messages.WriteOperation
		class WriteClass
		id    bson.RawValue
		plain bool
	}{
		{messages.InsertOne{Document: ann}, Insert, id, true},
		{messages.InsertOne{Document: ann, Options: list[options.InsertOneOptions](options.InsertOne(), nil)}, Insert, id, true},
		{messages.InsertOne{Document: ann, Options: list[options.InsertOneOptions](options.InsertOne().SetComment("c"))}, Insert, id, false},
		{messages.InsertOne{Document: ann, Options: list[options.InsertOneOptions](options.InsertOne().SetBypassDocumentValidation(true))}, Insert, id, false},
		{messages.InsertMany{Documents: bson.A{ann}}, Multi, none, false},
		{messages.UpdateOne{Filter: ann, Update: set}, Single, id, true},
		{messages.UpdateOne{Filter: doc("_id", oid, "a", 1), Update: set}, Single, none, true},
		{messages.UpdateOne{Filter: doc("_id", doc("$gt", oid)), Update: set}, Single, none, true},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetCollation(&options.Collation{Locale: "en"}))}, Single, none, true},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](
			options.UpdateOne().SetUpsert(true).SetArrayFilters([]any{doc("i", 1)}).SetHint("_id_").SetSort(doc("a", 1)))}, Single, id, true},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetHint(doc("_id", 1)))}, Single, id, true},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetHint(5))}, Single, id, false},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetUpsert(true).SetComment("c"))}, Single, id, false},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetLet(doc("x", 1)))}, Single, id, false},
		{messages.UpdateOne{Filter: ann, Update: set, Options: list[options.UpdateOneOptions](options.UpdateOne().SetBypassDocumentValidation(false))}, Single, id, false},
		{messages.UpdateMany{Filter: ann, Update: set}, Multi, none, false},
		{messages.ReplaceOne{Filter: ann, Replacement: doc()}, Single, id, true},
		{messages.ReplaceOne{Filter: ann, Replacement: doc(), Options: list[options.ReplaceOptions](options.Replace().SetCollation(&options.Collation{}))}, Single, none, true},
		{messages.ReplaceOne{Filter: ann, Replacement: doc(), Options: list[options.ReplaceOptions](options.Replace().SetUpsert(true).SetHint("_id_").SetSort(doc("a", 1)))}, Single, id, true},
		{messages.ReplaceOne{Filter: ann, Replacement: doc(), Options: list[options.ReplaceOptions](options.Replace().SetComment(1))}, Single, id, false},
		{messages.ReplaceOne{Filter: ann, Replacement: doc(), Options: list[options.ReplaceOptions](options.Replace().SetHint(true))}, Single, id, false},
		{messages.DeleteOne{Filter: ann}, Single, id, true},
		{messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetCollation(&options.Collation{}))}, Single, none, true},
		{messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetHint("_id_"))}, Single, id, true},
		{messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetHint(bson.A{}))}, Single, id, false},
		{messages.DeleteOne{Filter: ann, Options: list[options.DeleteOneOptions](options.DeleteOne().SetLet(doc()))}, Single, id, false},
		{messages.DeleteMany{Filter: ann}, Multi, none, false},
		{messages.FindOneAndUpdate{Filter: ann, Update: set}, FindAndModify, id, false},
		{messages.FindOneAndReplace{Filter: ann, Replacement: doc()}, FindAndModify, id, false},
		{messages.FindOneAndDelete{Filter: ann}, FindAndModify, id, false},
		{messages.FindOneAndDelete{Filter: ann, Options: list[options.FindOneAndDeleteOptions](options.FindOneAndDelete().SetCollation(&options.Collation{}))}, FindAndModify, none, false},
		{messages.Command{Document: doc("ping", 1)}, Other, none, false},
	} {
		w := encodeWrite(t, &enc, c.op)
		if w.Class != c.class || w.Plain != c.plain || !w.ID.Equal(c.id) || w.IDGenerated {
			t.Errorf("%d: %T: class %d, plain %v, ID %v, generated %v; want %d, %v, %v", i, c.op, w.Class, w.Plain, w.ID, w.IDGenerated, c.class, c.plain, c.id)
		}
	}
}

func TestADocumentWithoutAnIDIsGivenOne(t *testing.T) {
	var enc Encoder
	w := encodeWrite(t, &enc, messages.InsertOne{Document: doc("name", "ann", "a", doc("_id", 7))})
	got := w.Operation.(messages.InsertOne).Document.(bson.Raw)
	first := got.Index(0)
	if first.Key() != "_id" || !w.IDGenerated || !w.ID.Equal(first.Value()) || w.ID.ObjectID().IsZero() || got.Lookup("name").StringValue() != "ann" || valid(got) != nil {
		t.Errorf("inserted %v with the ID %v, generated %v", got, w.ID, w.IDGenerated)
	}
	if w.Bytes != overheadBytes+len(got) {
		t.Errorf("%d bytes count as %d", len(got), w.Bytes)
	}
	if id := enc.InsertedID(w.ID); id != any(w.ID.ObjectID()) {
		t.Errorf("its ID as a Go value is %v", id)
	}
	if other := encodeWrite(t, &enc, messages.InsertOne{Document: doc("name", "ann")}); other.ID.Equal(w.ID) {
		t.Error("two documents have one _id")
	}
	some := encodeWrite(t, &enc, messages.InsertMany{Documents: []bson.D{doc("_id", 7), doc()}})
	if some.IDGenerated || encodeWrite(t, &enc, messages.InsertMany{Documents: []bson.D{doc(), doc("_id", 7)}}).IDGenerated {
		t.Error("an _id of the caller's own is said to be generated")
	}
	if !encodeWrite(t, &enc, messages.InsertMany{Documents: []bson.D{doc(), doc()}}).IDGenerated {
		t.Error("every _id was generated, and it is not said")
	}
	many := some.Operation.(messages.InsertMany).Documents.([]any)
	if id := many[0].(bson.Raw).Lookup("_id"); id.Int32() != 7 {
		t.Errorf("the first has the _id %v", id)
	}
	if id := many[1].(bson.Raw).Lookup("_id"); id.Type != bson.TypeObjectID {
		t.Errorf("the second has the _id %v", id)
	}
}

func TestBytesAreThoseOfAllThatIsHeld(t *testing.T) {
	var enc Encoder
	const n = 1 << 20
	big := doc("x", make([]byte, n))
	hint := options.UpdateOne().SetHint(big)
	for i, c := range []struct {
		write messages.Write
		want  int
	}{
		{messages.Write{Operation: messages.InsertOne{Document: big}}, 1},
		{messages.Write{Operation: messages.InsertMany{Documents: bson.A{big, big}}}, 2},
		{messages.Write{Operation: messages.UpdateOne{Filter: big, Update: doc("$set", big), Options: list[options.UpdateOneOptions](hint.SetComment(big).SetLet(big).SetSort(big).SetArrayFilters([]any{big}))}}, 7},
		{messages.Write{Operation: messages.UpdateMany{Filter: doc(), Update: mongo.Pipeline{doc("$set", big), doc("$set", big)}}}, 2},
		{messages.Write{Operation: messages.ReplaceOne{Filter: big, Replacement: big}, Verify: big}, 3},
		{messages.Write{Operation: messages.DeleteMany{Filter: big}}, 1},
		{messages.Write{Operation: messages.FindOneAndUpdate{Filter: big, Update: doc("$set", big), Options: list[options.FindOneAndUpdateOptions](options.FindOneAndUpdate().SetProjection(big))}}, 3},
		{messages.Write{Operation: messages.Command{Document: doc("insert", "players", "documents", bson.A{big})}}, 1},
	} {
		c.write.Database, c.write.Collection = "game", "players"
		w, err := enc.Write(&c.write)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if slack := w.Bytes - c.want*n; slack < overheadBytes || slack > overheadBytes+c.want*64 {
			t.Errorf("%d: %T of %d MiB counts as %d bytes", i, c.write.Operation, c.want, w.Bytes)
		}
	}
}

func TestInsertedIDsAreAsTheDriverGivesThem(t *testing.T) {
	for _, opts := range []options.BSONOptions{
		{}, {BinaryAsSlice: true}, {DefaultDocumentM: true}, {DefaultDocumentMap: true}, {ObjectIDAsHexString: true}, {UseLocalTimeZone: true},
	} {
		client := connect(t, options.Client().SetBSONOptions(&opts))
		enc := &Encoder{BSON: &opts}
		for i, id := range []any{7, int64(7), "ann", 1.5, true, bson.NewObjectID(), bson.DateTime(7), bson.Binary{Data: []byte{1}}, doc("a", doc("b", 1)), nil} {
			res, err := client.Database("game").Collection(fmt.Sprint("c", i)).InsertOne(context.Background(), doc("_id", id))
			if err != nil {
				t.Fatal(err)
			}
			if got := enc.InsertedID(encodeWrite(t, enc, messages.InsertOne{Document: doc("_id", id)}).ID); !reflect.DeepEqual(got, res.InsertedID) {
				t.Errorf("%+v: got %#v, want %#v", opts, got, res.InsertedID)
			}
		}
	}
}
