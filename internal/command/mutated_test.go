package command

import (
	"bytes"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// mutable are values that a game may go on using, and change, after it has asked.
type mutable struct {
	raw       bson.Raw
	bytes     []byte
	m         bson.M
	d         bson.D
	list      []any
	stages    []bson.M
	array     bson.RawArray
	collation *options.Collation
	yes       *bool
	cursor    *messages.Cursor
}

func newMutable(t *testing.T) *mutable {
	raw, err := bson.Marshal(doc("$set", doc("a", 1)))
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	_, array, err := bson.MarshalValue(bson.A{doc("$match", doc("a", 1))})
	if err != nil {
		t.Fatal(err)
	}
	return &mutable{
		raw: raw, bytes: bytes.Clone(raw), m: bson.M{"$set": bson.M{"a": 1}}, d: doc("$set", bson.Raw(bytes.Clone(raw))),
		list: []any{doc("a", 1), bson.M{"a": 1}}, stages: []bson.M{{"$set": doc("a", 1)}}, array: array,
		collation: &options.Collation{Locale: "en", Strength: 1}, yes: &yes,
		cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "players"},
	}
}

func (v *mutable) change() {
	clear(v.raw)
	clear(v.bytes)
	clear(v.array)
	clear(v.d[0].Value.(bson.Raw))
	v.m["$set"].(bson.M)["a"] = 2
	v.m["b"] = 2
	v.d[0].Key = "$unset"
	v.list[0].(bson.D)[0].Value = 2
	v.list[1] = nil
	v.stages[0]["$set"] = doc("a", 2)
	*v.collation = options.Collation{Locale: "de"}
	*v.yes = false
	*v.cursor = messages.Cursor{}
}

func TestWhatIsChangedAfterEncodingStaysAsItWas(t *testing.T) {
	var enc Encoder
	for i, op := range []func(*mutable) messages.ReadOperation{
		func(v *mutable) messages.ReadOperation {
			return messages.FindOne{Filter: v.raw, Options: list[options.FindOneOptions](options.FindOne().SetCollation(v.collation).SetComment(v.m).SetHint(v.raw))}
		},
		func(v *mutable) messages.ReadOperation { return messages.FindOne{Filter: v.bytes} },
		func(v *mutable) messages.ReadOperation {
			return messages.FindOne{Filter: bson.M{"_id": v.raw}, Options: list[options.FindOneOptions](options.FindOne().SetProjection(v.bytes))}
		},
		func(v *mutable) messages.ReadOperation {
			return messages.Find{Filter: v.d, Options: list[options.FindOptions](options.Find().SetSort(v.raw).SetLet(v.bytes).SetMax(v.d).SetMin(v.raw).SetComment(v.list))}
		},
		func(v *mutable) messages.ReadOperation { return messages.Count{Filter: v.m} },
		func(v *mutable) messages.ReadOperation { return messages.Count{Filter: v.raw} },
		func(v *mutable) messages.ReadOperation { return messages.Distinct{Field: "a", Filter: v.raw} },
		func(v *mutable) messages.ReadOperation { return messages.Aggregate{Pipeline: v.array} },
		func(v *mutable) messages.ReadOperation { return messages.Aggregate{Pipeline: v.stages} },
		func(v *mutable) messages.ReadOperation { return messages.Aggregate{Pipeline: []bson.Raw{v.raw}} },
		func(v *mutable) messages.ReadOperation { return messages.Aggregate{Pipeline: ownValue(v.array)} },
		func(v *mutable) messages.ReadOperation { return messages.Command{Document: doc("ping", v.raw)} },
		func(v *mutable) messages.ReadOperation {
			return messages.Command{Document: doc("explain", doc("find", v.bytes))}
		},
		func(v *mutable) messages.ReadOperation { return messages.GetMore{Cursor: v.cursor, Comment: v.raw} },
		func(v *mutable) messages.ReadOperation { return messages.CloseCursor{Cursor: v.cursor} },
	} {
		v := newMutable(t)
		r := encodeRead(t, &enc, "players", op(v))
		before, cursor := bytes.Clone(r.Body), fmt.Sprint(r.Cursor)
		id := fmt.Sprint(r.ID)
		v.change()
		if !bytes.Equal(r.Body, before) || fmt.Sprint(r.Cursor) != cursor || fmt.Sprint(r.ID) != id {
			t.Errorf("%d: %T was changed to %v %v %v", i, op(newMutable(t)), r.Body, r.Cursor, r.ID)
		}
	}
}

// ownValue is an array that gives out its own bytes.
type ownValue []byte

func (v ownValue) MarshalBSONValue() (byte, []byte, error) { return byte(bson.TypeArray), v, nil }

func TestWhatIsChangedAfterFreezingStaysAsItWas(t *testing.T) {
	client := connect(t, options.Client())
	coll := client.Database("game").Collection("players")
	var enc Encoder
	for i, op := range []func(*mutable) messages.WriteOperation{
		func(v *mutable) messages.WriteOperation {
			return messages.InsertOne{Document: doc("_id", 1, "a", v.raw), Options: list[options.InsertOneOptions](options.InsertOne().SetComment(v.m))}
		},
		func(v *mutable) messages.WriteOperation { return messages.InsertOne{Document: v.raw} },
		func(v *mutable) messages.WriteOperation {
			return messages.InsertMany{Documents: v.list, Options: list[options.InsertManyOptions](options.InsertMany().SetComment(v.raw))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.UpdateOne{Filter: v.raw, Update: v.m, Options: list[options.UpdateOneOptions](
				options.UpdateOne().SetArrayFilters(v.list).SetCollation(v.collation).SetComment(v.list).SetHint(v.raw).SetLet(v.m).SetSort(v.bytes),
				setter[options.UpdateOneOptions](func(o *options.UpdateOneOptions) { o.Upsert = v.yes }))}
		},
		func(v *mutable) messages.WriteOperation { return messages.UpdateOne{Filter: v.bytes, Update: v.raw} },
		func(v *mutable) messages.WriteOperation { return messages.UpdateOne{Filter: doc(), Update: v.bytes} },
		func(v *mutable) messages.WriteOperation { return messages.UpdateOne{Filter: doc(), Update: v.d} },
		func(v *mutable) messages.WriteOperation { return messages.UpdateOne{Filter: doc(), Update: v.stages} },
		func(v *mutable) messages.WriteOperation { return messages.UpdateOne{Filter: doc(), Update: v.array} },
		func(v *mutable) messages.WriteOperation {
			return messages.UpdateOne{Filter: doc(), Update: ownValue(v.array)}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.UpdateOne{Filter: doc(), Update: mongo.Pipeline{v.d}}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.UpdateMany{Filter: v.m, Update: v.m, Options: list[options.UpdateManyOptions](
				options.UpdateMany().SetArrayFilters(v.list).SetCollation(v.collation).SetComment(v.raw).SetHint(v.d).SetLet(v.raw))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.ReplaceOne{Filter: v.d, Replacement: doc("a", v.raw), Options: list[options.ReplaceOptions](
				options.Replace().SetCollation(v.collation).SetComment(v.m).SetHint(v.d).SetLet(v.m).SetSort(v.d))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.DeleteOne{Filter: v.raw, Options: list[options.DeleteOneOptions](options.DeleteOne().SetCollation(v.collation).SetComment(v.m).SetHint(v.raw).SetLet(v.m))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.DeleteMany{Filter: v.m, Options: list[options.DeleteManyOptions](options.DeleteMany().SetCollation(v.collation).SetComment(v.m).SetHint(v.raw).SetLet(v.m))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.FindOneAndUpdate{Filter: v.raw, Update: v.raw, Options: list[options.FindOneAndUpdateOptions](
				options.FindOneAndUpdate().SetArrayFilters(v.list).SetCollation(v.collation).SetComment(v.m).SetHint(v.raw).SetLet(v.m).SetSort(v.raw).SetProjection(v.m))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.FindOneAndReplace{Filter: v.raw, Replacement: doc("a", v.bytes), Options: list[options.FindOneAndReplaceOptions](
				options.FindOneAndReplace().SetCollation(v.collation).SetComment(v.m).SetHint(v.raw).SetLet(v.m).SetSort(v.raw).SetProjection(v.m),
				setter[options.FindOneAndReplaceOptions](func(o *options.FindOneAndReplaceOptions) { o.Upsert = v.yes }))}
		},
		func(v *mutable) messages.WriteOperation {
			return messages.FindOneAndDelete{Filter: v.raw, Options: list[options.FindOneAndDeleteOptions](
				options.FindOneAndDelete().SetCollation(v.collation).SetComment(v.m).SetHint(v.raw).SetLet(v.m).SetSort(v.raw).SetProjection(v.m))}
		},
		func(v *mutable) messages.WriteOperation { return messages.Command{Document: doc("ping", v.raw)} },
	} {
		v := newMutable(t)
		t.Run(fmt.Sprintf("%d %T", i, op(v)), func(t *testing.T) {
			w, err := enc.Write(&messages.Write{Database: "game", Collection: "players", Operation: op(v), Verify: v.raw})
			if err != nil {
				t.Fatal(err)
			}
			id, verify := fmt.Sprint(w.ID), w.Verify.String()
			send := func() bson.Raw {
				return client.sends(t, func() { _, _ = execute(coll, w.Operation) })
			}
			before := send()
			v.change()
			sameCommand(t, send(), before)
			if fmt.Sprint(w.ID) != id || w.Verify.String() != verify {
				t.Errorf("the ID is now %v and Verify %v", w.ID, w.Verify)
			}
		})
	}
}
