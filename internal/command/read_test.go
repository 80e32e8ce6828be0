package command

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// doc is the document of keys and values.
func doc(keysAndValues ...any) bson.D {
	d := bson.D{}
	for i := 0; i < len(keysAndValues); i += 2 {
		d = append(d, bson.E{Key: keysAndValues[i].(string), Value: keysAndValues[i+1]})
	}
	return d
}

// setter is a Lister that is not the driver's.
type setter[T any] func(*T)

func (s setter[T]) List() []func(*T) error {
	return []func(*T) error{func(o *T) error { s(o); return nil }}
}

func list[T any](listers ...options.Lister[T]) []options.Lister[T] { return listers }

func encodeRead(t *testing.T, enc *Encoder, coll string, op messages.ReadOperation) *Read {
	t.Helper()
	r, err := enc.Read(&messages.Read{Database: "game", Collection: coll, Operation: op})
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return r
}

// ask runs a read with the driver.
func ask(client *mongo.Client, coll string, operation messages.ReadOperation) {
	ctx := context.Background()
	db := client.Database("game")
	c := db.Collection(coll)
	var cursor *mongo.Cursor
	switch op := operation.(type) {
	case messages.FindOne:
		c.FindOne(ctx, op.Filter, op.Options...)
	case messages.Find:
		cursor, _ = c.Find(ctx, op.Filter, op.Options...)
	case messages.Count:
		_, _ = c.CountDocuments(ctx, op.Filter, op.Options...)
	case messages.EstimatedCount:
		_, _ = c.EstimatedDocumentCount(ctx, op.Options...)
	case messages.Distinct:
		c.Distinct(ctx, op.Field, op.Filter, op.Options...)
	case messages.Aggregate:
		if coll == "" {
			cursor, _ = db.Aggregate(ctx, op.Pipeline, op.Options...)
		} else {
			cursor, _ = c.Aggregate(ctx, op.Pipeline, op.Options...)
		}
	case messages.Command:
		db.RunCommand(ctx, op.Document)
	}
	if cursor != nil {
		_ = cursor.Close(ctx)
	}
}

var everyCollation = &options.Collation{
	Locale: "de", CaseLevel: true, CaseFirst: "upper", Strength: 2, NumericOrdering: true,
	Alternate: "shifted", MaxVariable: "space", Normalization: true, Backwards: true,
}

// comments and hints are of any type.
var values = []any{"text", 7, int64(1) << 40, 1.5, true, bson.M{"a": 1}, doc("a", 1, "b", bson.A{1, "x"}), bson.A{1}, bson.NewObjectID(), struct{ A int }{1}, (*int)(nil)}

func everyRead() []messages.ReadOperation {
	filter := doc("level", doc("$gt", 10), "name", "ann")
	keys := doc("level", 1, "name", -1)
	pipeline := mongo.Pipeline{doc("$match", filter), doc("$limit", 3)}
	ops := []messages.ReadOperation{
		messages.FindOne{Filter: filter},
		messages.FindOne{Filter: doc()},
		messages.FindOne{Filter: bson.M{}},
		messages.FindOne{Filter: bson.M(nil)},
		messages.Find{Filter: filter},
		messages.Count{Filter: filter},
		messages.EstimatedCount{},
		messages.Distinct{Field: "level", Filter: doc()},
		messages.Aggregate{Pipeline: mongo.Pipeline{}},
		messages.Aggregate{Pipeline: pipeline},
		messages.Aggregate{Pipeline: bson.A{doc("$match", filter), bson.M{"$limit": 3}, struct {
			Skip int `bson:"$skip"`
		}{1}}},
		messages.Aggregate{Pipeline: []bson.M{{"$limit": 3}}},
		messages.Aggregate{Pipeline: [1]bson.D{doc("$limit", 3)}},
		messages.Aggregate{Pipeline: doc()},
		messages.Aggregate{Pipeline: []bson.D(nil)},
		messages.Aggregate{Pipeline: valueOf{pipeline}},
		messages.Command{Document: doc("find", "players", "filter", filter, "comment", bson.A{1})},
		messages.Command{Document: bson.M{"dbStats": 1}},
	}
	// Filters that do without the driver's encoder, and their likes that do not.
	for _, v := range []any{
		"ann", "", "a\x00b", 7, -7, math.MaxInt32, math.MaxInt32 + 1, math.MinInt32 - 1, int32(7), int64(7), bson.NewObjectID(),
		int8(7), uint64(7), 7.0, nil, true, []byte("x"), time.Unix(7, 0), bson.Regex{Pattern: "^a"}, doc("$in", bson.A{1, 2}), bson.A{1},
	} {
		for _, key := range []string{"_id", "name", "", "a.b"} {
			ops = append(ops, messages.FindOne{Filter: doc(key, v)}, messages.Find{Filter: bson.M{key: v}})
		}
	}

	one := func(o ...*options.FindOneOptionsBuilder) {
		op := messages.FindOne{Filter: filter}
		for _, o := range o {
			op.Options = append(op.Options, o)
		}
		ops = append(ops, op)
	}
	one(options.FindOne().SetAllowPartialResults(true))
	one(options.FindOne().SetAllowPartialResults(false))
	one(options.FindOne().SetCollation(everyCollation))
	one(options.FindOne().SetCollation(&options.Collation{Locale: "en", Strength: 1}))
	one(options.FindOne().SetCollation(&options.Collation{}))
	one(options.FindOne().SetMax(keys))
	one(options.FindOne().SetMin(keys))
	yes := true
	ops = append(ops,
		messages.FindOne{Filter: filter, Options: list[options.FindOneOptions](setter[options.FindOneOptions](func(o *options.FindOneOptions) { o.OplogReplay = &yes }))},
		messages.Find{Filter: filter, Options: list[options.FindOptions](setter[options.FindOptions](func(o *options.FindOptions) { o.OplogReplay = &yes }))})
	one(options.FindOne().SetProjection(bson.M{"name": 1}))
	one(options.FindOne().SetReturnKey(true))
	one(options.FindOne().SetShowRecordID(true))
	one(options.FindOne().SetSkip(7))
	one(options.FindOne().SetSkip(0))
	one(options.FindOne().SetSort(keys))
	one(options.FindOne().SetSort(bson.M{"level": 1}))
	one(options.FindOne().SetComment("first").SetSkip(1), nil, options.FindOne().SetComment("last"))

	find := func(o *options.FindOptionsBuilder) {
		ops = append(ops, messages.Find{Filter: filter, Options: list(options.Lister[options.FindOptions](o))})
	}
	find(options.Find().SetAllowDiskUse(true))
	find(options.Find().SetAllowDiskUse(false))
	find(options.Find().SetAllowPartialResults(true))
	find(options.Find().SetBatchSize(0))
	find(options.Find().SetBatchSize(7).SetLimit(8))
	find(options.Find().SetBatchSize(7).SetLimit(-7))
	find(options.Find().SetCollation(everyCollation))
	find(options.Find().SetCursorType(options.NonTailable))
	find(options.Find().SetCursorType(options.Tailable))
	find(options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(time.Second))
	find(options.Find().SetLet(bson.M{"x": 1}))
	find(options.Find().SetLimit(0))
	find(options.Find().SetLimit(7))
	find(options.Find().SetLimit(-7))
	find(options.Find().SetLimit(math.MinInt64))
	find(options.Find().SetMax(keys).SetMin(keys))
	find(options.Find().SetNoCursorTimeout(true))
	find(options.Find().SetProjection(doc("name", 1, "_id", 0)))
	find(options.Find().SetReturnKey(true))
	find(options.Find().SetShowRecordID(true))
	find(options.Find().SetSkip(7))
	find(options.Find().SetSort(keys))

	ops = append(ops,
		messages.Count{Filter: filter, Options: list[options.CountOptions](options.Count().SetCollation(everyCollation))},
		messages.Count{Filter: doc("_id", 7), Options: list[options.CountOptions](options.Count().SetSkip(1))},
		messages.Count{Filter: filter, Options: list[options.CountOptions](options.Count().SetLimit(2))},
		messages.Count{Filter: filter, Options: list[options.CountOptions](options.Count().SetSkip(1).SetLimit(2))},
		messages.Distinct{Field: "a", Filter: filter, Options: list[options.DistinctOptions](options.Distinct().SetCollation(everyCollation))},
	)
	aggregate := func(o *options.AggregateOptionsBuilder) {
		ops = append(ops, messages.Aggregate{Pipeline: pipeline, Options: list(options.Lister[options.AggregateOptions](o))})
	}
	aggregate(options.Aggregate().SetAllowDiskUse(true))
	aggregate(options.Aggregate().SetBatchSize(0))
	aggregate(options.Aggregate().SetBatchSize(7))
	aggregate(options.Aggregate().SetBypassDocumentValidation(true))
	aggregate(options.Aggregate().SetBypassDocumentValidation(false))
	aggregate(options.Aggregate().SetCollation(everyCollation))
	aggregate(options.Aggregate().SetMaxAwaitTime(time.Second))
	aggregate(options.Aggregate().SetLet(bson.M{"x": 1}))
	for _, v := range values {
		one(options.FindOne().SetComment(v))
		find(options.Find().SetComment(v))
		aggregate(options.Aggregate().SetComment(v))
		ops = append(ops,
			messages.Count{Filter: doc(), Options: list[options.CountOptions](options.Count().SetComment(v))},
			messages.EstimatedCount{Options: list[options.EstimatedDocumentCountOptions](options.EstimatedDocumentCount().SetComment(v))},
			messages.Distinct{Field: "a", Filter: doc(), Options: list[options.DistinctOptions](options.Distinct().SetComment(v))})
	}
	for _, v := range []any{"level_1", keys, bson.M{"level": 1}} {
		one(options.FindOne().SetHint(v))
		find(options.Find().SetHint(v))
		aggregate(options.Aggregate().SetHint(v))
		ops = append(ops,
			messages.Count{Filter: doc(), Options: list[options.CountOptions](options.Count().SetHint(v))},
			messages.Distinct{Field: "a", Filter: doc(), Options: list[options.DistinctOptions](options.Distinct().SetHint(v))})
	}
	return ops
}

// valueOf is a pipeline that encodes itself.
type valueOf struct{ v any }

func (v valueOf) MarshalBSONValue() (byte, []byte, error) {
	t, data, err := bson.MarshalValue(v.v)
	return byte(t), data, err
}

func TestReadsAreEncodedAsTheDriverSendsThem(t *testing.T) {
	client := connect(t, options.Client())
	var enc Encoder
	for i, op := range everyRead() {
		colls := []string{"players"}
		if _, ok := op.(messages.Aggregate); ok {
			colls = append(colls, "")
		}
		for _, coll := range colls {
			t.Run(fmt.Sprintf("%d %T %q", i, op, coll), func(t *testing.T) {
				want := client.sends(t, func() { ask(client.Client, coll, op) })
				r := encodeRead(t, &enc, coll, op)
				if sameCommand(t, r.Body, want); t.Failed() {
					t.Logf("%+v", op)
				}
				if name := r.Body.Index(0).Key(); r.Name != name {
					t.Errorf("its name is %q, and its command is %q", r.Name, name)
				}
			})
		}
	}
}

// shouted is encoded by the registry of TestRegistryAndBSONOptionsAreTheDrivers.
type shouted string

func TestRegistryAndBSONOptionsAreTheDrivers(t *testing.T) {
	registry := bson.NewRegistry()
	registry.RegisterTypeEncoder(reflect.TypeFor[shouted](), bson.ValueEncoderFunc(func(_ bson.EncodeContext, w bson.ValueWriter, v reflect.Value) error {
		return w.WriteString(strings.ToUpper(v.String()))
	}))
	registry.RegisterTypeEncoder(reflect.TypeFor[string](), bson.ValueEncoderFunc(func(_ bson.EncodeContext, w bson.ValueWriter, v reflect.Value) error {
		return w.WriteString("<" + v.String() + ">")
	}))
	type document struct {
		Name   shouted `json:"n"`
		Plain  string
		Slice  []int
		Bytes  []byte
		Map    map[int]string
		Number int64
		Inner  struct{ A int }
	}
	filters := []any{document{Name: "ann"}, doc("_id", int64(7)), doc("_id", "ann"), doc("_id", shouted("ann")), bson.M{"_id": 7}, bson.M{"x": map[int]string{7: "x"}}}
	for _, c := range []struct {
		name     string
		registry *bson.Registry
		bson     *options.BSONOptions
	}{
		{"registry", registry, nil},
		{"JSON tags", nil, &options.BSONOptions{UseJSONStructTags: true}},
		{"least ints", nil, &options.BSONOptions{IntMinSize: true}},
		{"empty for nil", nil, &options.BSONOptions{NilByteSliceAsEmpty: true, NilMapAsEmpty: true, NilSliceAsEmpty: true}},
		{"omit empty", nil, &options.BSONOptions{OmitEmpty: true, OmitZeroStruct: true}},
		{"map keys", nil, &options.BSONOptions{StringifyMapKeysWithFmt: true}},
		{"registry and options", registry, &options.BSONOptions{IntMinSize: true, OmitEmpty: true, ErrorOnInlineDuplicates: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := options.Client().SetRegistry(c.registry)
			if c.bson != nil {
				opts.SetBSONOptions(c.bson)
			}
			client := connect(t, opts)
			enc := &Encoder{Registry: c.registry, BSON: c.bson}
			for _, filter := range filters {
				for _, op := range []messages.ReadOperation{
					messages.FindOne{Filter: filter, Options: list[options.FindOneOptions](
						options.FindOne().SetComment(shouted("x")).SetProjection(filter).SetHint(doc("a", int64(1))))},
					messages.Find{Filter: filter, Options: list[options.FindOptions](options.Find().SetLet(filter).SetComment(filter))},
					messages.Aggregate{Pipeline: bson.A{doc("$match", filter)}},
					messages.Count{Filter: filter},
					messages.Command{Document: doc("find", "players", "filter", filter)},
				} {
					want := client.sends(t, func() { ask(client.Client, "players", op) })
					sameCommand(t, encodeRead(t, enc, "players", op).Body, want)
				}
			}
		})
	}
}

func TestABatchAsLargeAsTheLimitLeavesNoCursorOpen(t *testing.T) {
	var enc Encoder
	for _, c := range []struct {
		limit int64
		batch int32
		want  int32
	}{{7, 7, 8}, {7, 6, 6}, {-7, 7, 7}, {math.MaxInt32, math.MaxInt32, math.MaxInt32}, {0, 0, 1}} {
		r := encodeRead(t, &enc, "players", messages.Find{Filter: doc(), Options: list[options.FindOptions](options.Find().SetLimit(c.limit).SetBatchSize(c.batch))})
		if got := r.Body.Lookup("batchSize").Int32(); got != c.want {
			t.Errorf("limit %d, batchSize %d: sent %d, want %d", c.limit, c.batch, got, c.want)
		}
	}
}

func TestClassAndKindSayWhatAReadIs(t *testing.T) {
	var enc Encoder
	id := doc("_id", 7)
	for i, c := range []struct {
		op    messages.ReadOperation
		class Class
		kind  Kind
	}{
		{messages.FindOne{Filter: id}, Point, KindOne},
		{messages.FindOne{Filter: bson.M{"_id": "ann"}}, Point, KindOne},
		{messages.FindOne{Filter: struct {
			ID bson.ObjectID `bson:"_id"`
		}{}}, Point, KindOne},
		{messages.FindOne{Filter: doc("_id", doc("a", 1, "$b", 2))}, Point, KindOne},
		{messages.FindOne{Filter: doc("_id", doc())}, Point, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetComment("c").SetProjection(doc("name", 1)))}, Point, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetProjection(doc("name", 1, "_id", true)))}, Point, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne())}, Point, KindOne},

		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetProjection(doc("name", 1, "_id", 0)))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetProjection(doc("_id", false)))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetProjection(doc("_id", "$name")))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetProjection(doc("_id.a", 1)))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetCollation(&options.Collation{Locale: "en"}))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetSkip(1))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetSort(doc("a", 1)))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetHint("_id_"))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetMax(id))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetMin(id))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetReturnKey(true))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetShowRecordID(true))}, Range, KindOne},
		{messages.FindOne{Filter: id, Options: list[options.FindOneOptions](options.FindOne().SetAllowPartialResults(true))}, Range, KindOne},
		{messages.FindOne{Filter: doc()}, Range, KindOne},
		{messages.FindOne{Filter: doc("name", "ann")}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", 7, "name", "ann")}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", 7, "_id", 8)}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", doc("$gt", 7))}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", nil)}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", bson.A{7})}, Range, KindOne},
		{messages.FindOne{Filter: doc("_id", bson.Regex{Pattern: "^a"})}, Range, KindOne},

		{messages.Find{Filter: id}, Range, KindBatch},
		{messages.Count{Filter: id}, Range, KindAggCount},
		{messages.EstimatedCount{}, Range, KindCount},
		{messages.Distinct{Field: "a", Filter: id}, Range, KindDistinct},
		{messages.Aggregate{Pipeline: bson.A{}}, Heavy, KindBatch},
		{messages.Command{Document: doc("ping", 1)}, Heavy, KindCommand},
		{messages.GetMore{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "players"}}, Pinned, KindBatch},
		{messages.CloseCursor{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "players"}}, Pinned, KindDone},
	} {
		r := encodeRead(t, &enc, "players", c.op)
		if r.Class != c.class || r.Kind != c.kind {
			t.Errorf("%d: %+v is of class %d and kind %d, want %d and %d", i, c.op, r.Class, r.Kind, c.class, c.kind)
		}
		if r.Class == Point != !r.ID.IsZero() {
			t.Errorf("%d: class %d has the ID %v", i, r.Class, r.ID)
		}
		if r.Class == Point && !r.ID.Equal(r.Body.Lookup("filter", "_id")) {
			t.Errorf("%d: the ID is %v, and it asks for %v", i, r.ID, r.Body.Lookup("filter", "_id"))
		}
		if pinned := r.Class == Pinned; pinned != (r.Cursor != nil) || r.TakesReadConcern != (!pinned && r.Name != "ping") {
			t.Errorf("%d: %T has the cursor %v and takes a read concern: %v", i, c.op, r.Cursor, r.TakesReadConcern)
		}
	}
}
