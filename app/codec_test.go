package app_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// rank is a number that the game stores as a word.
type rank int

var ranks = []string{"recruit", "sailor", "captain"}

// ranked is a registry that knows rank.
func ranked() *bson.Registry {
	reg := bson.NewRegistry()
	reg.RegisterTypeEncoder(reflect.TypeFor[rank](), bson.ValueEncoderFunc(func(_ bson.EncodeContext, w bson.ValueWriter, v reflect.Value) error {
		return w.WriteString(ranks[v.Int()])
	}))
	reg.RegisterTypeDecoder(reflect.TypeFor[rank](), bson.ValueDecoderFunc(func(_ bson.DecodeContext, r bson.ValueReader, v reflect.Value) error {
		s, err := r.ReadString()
		if err != nil {
			return err
		}
		for i, name := range ranks {
			if s == name {
				v.SetInt(int64(i))
				return nil
			}
		}
		return fmt.Errorf("no rank %q", s)
	}))
	return reg
}

type sailor struct {
	ID   int    `bson:"_id" json:"id"`
	Name string `json:"nick_name"`
	Rank rank
}

func TestTheAppsRegistryEncodesAndDecodesEverywhere(t *testing.T) {
	set := steady(t)
	a := start(t, set, client(func(o *options.ClientOptions) { o.SetRegistry(ranked()) }))
	c := seed(t, set, a, "crew", nil)
	ctx := soon(t)
	ann, bob := sailor{1, "Ann", 2}, sailor{2, "Bob", 1}
	if _, err := c.InsertMany(ctx, []sailor{ann, bob}); err != nil {
		t.Fatal(err)
	}
	settle(t, set)
	var raw struct{ Rank string }
	if err := a.Client().Database("game").Collection("crew").FindOne(ctx, doc("_id", 1)).Decode(&raw); err != nil || raw.Rank != "captain" {
		t.Fatalf("stored as %v, %v", raw, err)
	}
	var got sailor
	if err := c.FindOne(ctx, doc("rank", rank(2))).Decode(&got); err != nil || got != ann {
		t.Errorf("FindOne: %v, %v", got, err)
	}
	if err := c.FindOneAndUpdate(ctx, doc("_id", 2), doc("$set", doc("rank", rank(0)))).Decode(&got); err != nil || got != bob {
		t.Errorf("FindOneAndUpdate: %v, %v", got, err)
	}
	settle(t, set)
	cur, err := c.Find(ctx, doc("_id", 2))
	if err != nil || !cur.Next(ctx) || cur.Decode(&got) != nil || got.Rank != 0 {
		t.Errorf("Find: %v, %v", got, err)
	}
	var crew []sailor
	if cur, err = c.Find(ctx, doc(), options.Find().SetSort(doc("_id", 1))); err != nil || cur.All(ctx, &crew) != nil || len(crew) != 2 || crew[0] != ann {
		t.Errorf("All: %v, %v", crew, err)
	}
	var all []rank
	if err := c.Distinct(ctx, "rank", doc()).Decode(&all); err != nil || len(all) != 2 {
		t.Errorf("Distinct: %v, %v", all, err)
	}
	if err := a.RunCommand(ctx, "game", doc("count", "crew", "query", doc("rank", rank(2)))).Err(); err != nil {
		t.Errorf("RunCommand: %v", err)
	}
}

func TestBSONOptionsDecodeAsTheDriverDoes(t *testing.T) {
	set := steady(t)
	seeder := start(t, set)
	id := bson.NewObjectID()
	seed(t, set, seeder, "crew", []bson.D{doc("_id", id, "nick_name", "Ann", "name", "other", "pay", 2.5, "rank", "sailor",
		"at", time.UnixMilli(1e12), "sub", doc("a", 1), "list", bson.A{doc("b", 2)}, "data", bson.Binary{Data: []byte("x")})})
	type named struct {
		Nick string `json:"nick_name"`
		Rank rank
		At   time.Time
		Data any
		Sub  any
	}
	type hex struct {
		ID  string `bson:"_id"`
		Pay int
	}
	for name, o := range map[string]options.BSONOptions{
		"none":     {},
		"tags":     {UseJSONStructTags: true},
		"M":        {DefaultDocumentM: true, UseLocalTimeZone: true},
		"map":      {DefaultDocumentMap: true, BinaryAsSlice: true},
		"hex":      {ObjectIDAsHexString: true, AllowTruncatingDoubles: true},
		"zero":     {ZeroMaps: true, ZeroStructs: true},
		"encoding": {OmitEmpty: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, set, client(func(c *options.ClientOptions) { c.SetRegistry(ranked()).SetBSONOptions(&o) }))
			app, driver := ours(a.Collection("game", "crew")), theirs(a.Client().Database("game").Collection("crew"))
			for what, decode := range map[string]func(both) string{
				"a struct": func(c both) string { return into[named](t, c) },
				"hex":      func(c both) string { return into[hex](t, c) },
				"any":      func(c both) string { return into[any](t, c) },
				"D":        func(c both) string { return into[bson.D](t, c) },
				"M":        func(c both) string { return into[bson.M](t, c) },
				"a map":    func(c both) string { return into[map[string]any](t, c) },
				"raw":      func(c both) string { return into[bson.Raw](t, c) },
				"a pointer": func(c both) string {
					v := new(named)
					err := c.FindOne(soon(t), doc()).Decode(&v)
					return fmt.Sprintf("%+v %v", *v, err)
				},
				"a filled struct": func(c both) string {
					v := struct{ Stale, Name string }{"stale", "stale"}
					err := c.FindOne(soon(t), doc()).Decode(&v)
					return fmt.Sprintf("%+v %v", v, err)
				},
				"a filled map": func(c both) string {
					v := map[string]any{"stale": 1}
					err := c.FindOne(soon(t), doc()).Decode(v)
					return fmt.Sprintf("%v %v", v, err)
				},
				"distinct": func(c both) string {
					var v []any
					err := c.distinct(soon(t), "sub", doc()).Decode(&v)
					return fmt.Sprintf("%#v %v", v, err)
				},
			} {
				if got, want := decode(app), decode(driver); got != want {
					t.Errorf("into %s\nthe app:    %s\nthe driver: %s", what, got, want)
				}
			}
		})
	}
}

// into decodes with a SingleResult and with a cursor.
func into[T any](t *testing.T, c both) string {
	var a, b T
	err := c.FindOne(soon(t), doc()).Decode(&a)
	cur, err2 := c.find(soon(t), doc())
	if err2 == nil && cur.Next(soon(t)) {
		err2 = cur.Decode(&b)
	}
	return fmt.Sprintf("%#v %v %#v %v", a, err, b, err2)
}
