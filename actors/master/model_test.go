package master

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

var modelSeed = flag.Uint64("model.seed", 1, "seed of the writes in TestWritesThatGoTogetherDoWhatTheyWouldDoOneAtATime")

// drawn makes writes that meet: few documents, few collections, many that are refused.
type drawn struct{ *rand.Rand }

func (d drawn) id() any {
	switch d.IntN(12) {
	case 0:
		return nil
	case 1:
		return bson.D{{Key: "a", Value: d.IntN(2)}}
	}
	return d.IntN(30)
}

func (d drawn) filter() bson.D {
	switch d.IntN(12) {
	case 0, 3, 4:
		return bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: d.IntN(6)}}}}
	case 1:
		return bson.D{{Key: "_id", Value: d.id()}, {Key: "n", Value: d.IntN(4)}}
	case 2:
		if d.one(3) {
			return bson.D{{Key: "_id", Value: bson.D{{Key: "$nosuch", Value: 1}}}} // Refused.
		}
	}
	return byID(d.id())
}

func (d drawn) update() any {
	set := func(op, field string, v any) bson.D {
		return bson.D{{Key: op, Value: bson.D{{Key: field, Value: v}}}}
	}
	switch d.IntN(24) {
	case 0, 7, 8:
		return set("$set", "n", d.IntN(4)) // Often changes nothing.
	case 1:
		return set("$set", "name", "x")
	case 2:
		return set("$inc", "name", 1) // Refused where the name is one.
	case 3:
		return set("$set", "key", d.IntN(40)) // Refused where the key is taken.
	case 4:
		return set("$set", "_id", d.IntN(30)) // Refused where it is another.
	case 5:
		return mongo.Pipeline{set("$set", "n", "$_id")}
	case 6:
		return set("$set", "list.$[i].v", 7) // Refused without arrayFilters.
	}
	return set("$inc", "n", 1)
}

func (d drawn) document() bson.D {
	id := d.id()
	if d.IntN(4) > 0 {
		id = d.IntN(1000)
	}
	doc := bson.D{{Key: "_id", Value: id}, {Key: "n", Value: d.IntN(4)}, {Key: "key", Value: d.IntN(200)}}
	if d.IntN(3) == 0 {
		doc = append(doc, bson.E{Key: "list", Value: bson.A{bson.D{{Key: "v", Value: 1}}, bson.D{{Key: "v", Value: 2}}}})
	}
	return doc
}

// one in n.
func (d drawn) one(n int) bool { return d.IntN(n) == 0 }

func (d drawn) write(version string) *messages.Write {
	w := &messages.Write{Database: "game", Collection: "players", ErrorsOnly: !d.one(3)}
	if d.one(4) {
		w.Database = "shop"
	}
	if d.one(4) {
		w.Collection = "log"
	}
	switch d.IntN(14) {
	case 0, 1, 2, 3:
		w.Operation = messages.InsertOne{Document: d.document()}
	case 4, 5, 6, 7, 8:
		o, filter := options.UpdateOne(), d.filter()
		if d.one(3) {
			o.SetUpsert(true)
			filter = byID(d.id()) // Or the server makes an _id, another one each time.
		}
		if d.one(4) {
			o.SetArrayFilters([]any{bson.D{{Key: "i.v", Value: 1}}})
		}
		if d.one(8) {
			o.SetHint("_id_")
		}
		if d.one(8) {
			o.SetComment("mine")
		}
		if version == "8.0" && d.one(8) {
			o.SetSort(bson.D{{Key: "n", Value: -1}, {Key: "_id", Value: 1}})
		}
		w.Operation = messages.UpdateOne{Filter: filter, Update: d.update(), Options: []options.Lister[options.UpdateOneOptions]{o}}
	case 9, 10:
		o, filter := options.Replace(), d.filter()
		if d.one(2) {
			o.SetUpsert(true)
			filter = byID(d.id())
		}
		w.Operation = messages.ReplaceOne{Filter: filter, Replacement: bson.D{{Key: "n", Value: d.IntN(4)}}, Options: []options.Lister[options.ReplaceOptions]{o}}
	case 11, 12:
		w.Operation = messages.DeleteOne{Filter: d.filter()}
		if d.one(8) {
			w.Operation = messages.DeleteOne{Filter: d.filter(), Options: []options.Lister[options.DeleteOneOptions]{options.DeleteOne().SetHint("no such index")}} // Refused.
		}
	default:
		// One that cannot fail in the middle, which would leave it open.
		w.Operation = messages.UpdateMany{Filter: bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: d.IntN(6)}}}}, Update: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}}
		if d.one(2) {
			w.Operation = messages.FindOneAndUpdate{Filter: d.filter(), Update: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}}
		}
	}
	return w
}

// comparable is an error without what differs between any two executions: the
// whole reply, with its times.
func comparable(err error) error {
	var ex mongo.WriteException
	if errors.As(err, &ex) {
		ex.Raw = nil
		return ex
	}
	var cmd mongo.CommandError
	if errors.As(err, &cmd) {
		return fmt.Errorf("%d: %s %v", cmd.Code, cmd.Message, cmd.Labels)
	}
	return err
}

// told is all that an error says.
func told(err error) any {
	var ex mongo.WriteException
	if !errors.As(err, &ex) {
		return err
	}
	all := []any{ex.Labels, ex.WriteConcernError}
	for _, e := range ex.WriteErrors {
		all = append(all, e.Index, e.Code, e.Message, e.Details, e.Raw)
	}
	return all
}

var namespaces = []namespace{{"game", "players"}, {"game", "log"}, {"shop", "players"}, {"shop", "log"}}

// contents are all documents, in the order of their _id.
func contents(t *testing.T, client *mongo.Client) (all []string) {
	t.Helper()
	for _, ns := range namespaces {
		var docs []bson.Raw
		cursor, err := client.Database(ns.database).Collection(ns.collection).Find(t.Context(), bson.D{}, options.Find().SetSort(byID(1)))
		if err == nil {
			err = cursor.All(t.Context(), &docs)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			all = append(all, fmt.Sprintf("%v %v", ns, doc))
		}
	}
	return all
}

// primary waits for the set's primary.
func (o *onSet) primary() *replset.Member {
	o.t.Helper()
	m, err := o.set.AwaitPrimary(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	return m
}

// held makes what is asked in f wait, and go out when f is done.
func (o *onSet) held(f func()) {
	o.t.Helper()
	primary := o.primary()
	eventually(o.t, o.hold.open)
	o.PrimaryChanged("")
	f()
	o.PrimaryChanged(primary.Host())
}

func TestWritesThatGoTogetherDoWhatTheyWouldDoOneAtATime(t *testing.T) {
	for _, version := range []string{"8.0", "7.0", "4.4"} {
		t.Run(version, func(t *testing.T) {
			t.Logf("seed %d", *modelSeed)
			d := drawn{rand.New(rand.NewPCG(*modelSeed, uint64(len(version))))}
			o := startSet(t, replset.Options{Members: 1, Version: version}, Config{})
			single := startSet(t, replset.Options{Members: 1, Version: version}, Config{})
			for _, client := range []*mongo.Client{o.client, single.client} {
				for _, ns := range namespaces {
					index := mongo.IndexModel{Keys: bson.D{{Key: "key", Value: 1}}, Options: options.Index().SetUnique(true).SetSparse(true)}
					if _, err := client.Database(ns.database).Collection(ns.collection).Indexes().CreateOne(t.Context(), index); err != nil {
						t.Fatal(err)
					}
				}
			}
			refusals, written := 0, 0
			for range 40 {
				writes := make([]*messages.Write, 1+d.IntN(40))
				replies := make([]chan *messages.WriteReply, len(writes))
				o.held(func() {
					for i := range writes {
						writes[i] = d.write(version)
						replies[i], _ = o.ask(writes[i])
					}
				})
				for i, w := range writes {
					written++
					want := new(sessionWire).runOne(t.Context(), single.client.Database(w.Database).Collection(w.Collection), w.Operation)
					outcome := messages.Applied
					if want.err != nil {
						outcome, want.value = messages.NotApplied, nil
						refusals++
					}
					if want.none {
						want.err = mongo.ErrNoDocuments
					}
					switch w.Operation.(type) {
					case messages.InsertOne, messages.UpdateOne, messages.ReplaceOne, messages.DeleteOne:
						if w.ErrorsOnly {
							want.value = nil
						}
					}
					rep := o.get(replies[i])
					if rep.Outcome != outcome || !reflect.DeepEqual(comparable(rep.Err), comparable(want.err)) {
						t.Fatalf("%T %+v: %v with %+v, want %v with %+v", w.Operation, w.Operation, rep.Outcome, told(rep.Err), outcome, told(want.err))
					}
					if !reflect.DeepEqual(rep.Result, want.value) || rep.Document.String() != want.document.String() {
						t.Fatalf("%T %+v: result %+v, want %+v", w.Operation, w.Operation, rep.Result, want.value)
					}
				}
				got, want := contents(t, o.client), contents(t, single.client)
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("the data differ:\n%v\n%v", got, want)
				}
			}
			s := o.Stat()
			t.Logf("%d writes, %d of them refused, in %d batches; commands %v", written, refusals, s.Batches, o.set.Primary().Counters().Commands)
			if sent := o.set.Primary().Counters().Commands["bulkWrite"]; (sent > 0) != (version == "8.0") {
				t.Errorf("%d bulkWrites", sent)
			}
		})
	}
}
