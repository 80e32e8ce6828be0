package command

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/xoptions"

	"github.com/evenkeel/evenkeel/messages"
)

// stubborn cannot be encoded.
type stubborn struct{}

var errStubborn = errors.New("no")

func (stubborn) MarshalBSON() ([]byte, error)            { return nil, errStubborn }
func (stubborn) MarshalBSONValue() (byte, []byte, error) { return 0, nil, errStubborn }

func TestWhatCannotBeReadIsRefusedByItsField(t *testing.T) {
	two := bson.M{"a": 1, "b": 1}
	large := strings.Repeat("x", maxCommand)
	broken := bson.Raw{5, 0, 0, 0, 7}
	find := func(o *options.FindOptionsBuilder) messages.ReadOperation {
		return messages.Find{Filter: doc(), Options: list(options.Lister[options.FindOptions](o))}
	}
	internal := options.Find()
	if err := xoptions.SetInternalFindOptions(internal, "rawData", true); err != nil {
		t.Fatal(err)
	}
	unordered := mongo.ErrMapForOrderedArgument{ParamName: "sort"}
	marshal := mongo.MarshalError{}
	var enc Encoder
	for i, c := range []struct {
		op    messages.ReadOperation
		field string
		is    error
		as    any
	}{
		{nil, "Operation", nil, nil},
		{&messages.FindOne{Filter: doc()}, "Operation", nil, nil},
		{messages.FindOne{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.FindOne{Filter: bson.Raw(nil)}, "Filter", mongo.ErrNilDocument, nil},
		{messages.FindOne{Filter: []byte{}}, "Filter", mongo.ErrNilDocument, nil},
		{messages.Find{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.Count{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.Distinct{Field: "a"}, "Filter", mongo.ErrNilDocument, nil},
		{messages.Distinct{Filter: doc()}, "Field", nil, nil},
		{messages.Aggregate{}, "Pipeline", nil, nil},
		{messages.Command{}, "Document", mongo.ErrNilDocument, nil},
		{messages.GetMore{}, "Cursor", nil, nil},
		{messages.GetMore{Cursor: &messages.Cursor{}}, "Cursor", nil, nil},
		{messages.GetMore{Cursor: &messages.Cursor{ID: 7}}, "Database", nil, nil},
		{messages.GetMore{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "a"}, BatchSize: -1}, "BatchSize", nil, nil},
		{messages.GetMore{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "a"}, MaxAwaitTime: -1}, "MaxAwaitTime", nil, nil},
		{messages.GetMore{Cursor: &messages.Cursor{ID: 7, Database: "game", Collection: "a"}, Comment: stubborn{}}, "Comment", errStubborn, &marshal},
		{messages.CloseCursor{}, "Cursor", nil, nil},

		{messages.FindOne{Filter: 7}, "Filter", nil, &marshal},
		{messages.FindOne{Filter: make(chan int)}, "Filter", nil, &marshal},
		{messages.FindOne{Filter: doc("f", func() {})}, "Filter", nil, &marshal},
		{messages.FindOne{Filter: stubborn{}}, "Filter", errStubborn, &marshal},
		{messages.FindOne{Filter: doc("a\x00b", 1)}, "Filter", nil, &marshal},
		{messages.FindOne{Filter: bson.M{"a\x00b": "x"}}, "Filter", nil, &marshal},
		{messages.Count{Filter: stubborn{}}, "Filter", errStubborn, &marshal},
		{messages.FindOne{Filter: broken}, "Filter", nil, nil},
		{messages.FindOne{Filter: []byte(broken)}, "Filter", nil, nil},
		{messages.FindOne{Filter: doc("a", broken)}, "Filter", nil, nil},
		{messages.FindOne{Filter: deep(maxDepth + 1)}, "Filter", errTooDeep, nil},
		{messages.FindOne{Filter: doc("a", doc("b", deep(maxDepth)))}, "Filter", errTooDeep, nil},
		{messages.FindOne{Filter: doc("a", large)}, "Operation", nil, nil},
		{messages.FindOne{Filter: doc("a", "x", "b", large)}, "Operation", nil, nil},
		{messages.Aggregate{Pipeline: mongo.Pipeline{doc("$match", doc("a", large))}}, "Operation", nil, nil},
		{messages.Command{Document: doc("find", "a", "x", large)}, "Operation", nil, nil},

		{find(options.Find().SetSort(two)), "Sort", nil, &unordered},
		{find(options.Find().SetHint(two)), "Hint", nil, &unordered},
		{find(options.Find().SetMax(two)), "Max", nil, &unordered},
		{find(options.Find().SetMin(two)), "Min", nil, &unordered},
		{find(options.Find().SetSort(stubborn{})), "Sort", errStubborn, &marshal},
		{find(options.Find().SetHint(stubborn{})), "Hint", errStubborn, &marshal},
		{find(options.Find().SetComment(stubborn{})), "Comment", errStubborn, &marshal},
		{find(options.Find().SetLet(stubborn{})), "Let", errStubborn, &marshal},
		{find(options.Find().SetProjection(stubborn{})), "Projection", errStubborn, &marshal},
		{find(internal), "Options", nil, nil},
		{messages.FindOne{Filter: doc(), Options: list[options.FindOneOptions](lister[options.FindOneOptions]{errStubborn})}, "Options", errStubborn, nil},
		{messages.Count{Filter: doc(), Options: list[options.CountOptions](options.Count().SetHint(two))}, "Hint", nil, &unordered},
		{messages.Distinct{Field: "a", Filter: doc(), Options: list[options.DistinctOptions](options.Distinct().SetHint(two))}, "Hint", nil, &unordered},
		{messages.Aggregate{Pipeline: bson.A{}, Options: list[options.AggregateOptions](options.Aggregate().SetHint(two))}, "Hint", nil, &unordered},
		{messages.Command{Document: bson.M{"ping": 1, "comment": "x"}}, "Document", nil, &unordered},

		{messages.Aggregate{Pipeline: doc("$match", doc())}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: bson.Raw{5, 0, 0, 0, 0}}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: []byte{5, 0, 0, 0, 0}}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: bson.M{"$match": doc()}}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: bson.RawArray(broken)}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: bson.A{doc(), 7}}, "Pipeline[1]", nil, &marshal},
		{messages.Aggregate{Pipeline: bson.A{doc(), nil}}, "Pipeline[1]", mongo.ErrNilDocument, nil},
		{messages.Aggregate{Pipeline: valueOf{bson.A{doc(), 7}}}, "Pipeline[1]", nil, nil},
		{messages.Aggregate{Pipeline: valueOf{doc()}}, "Pipeline", nil, nil},
		{messages.Aggregate{Pipeline: stubborn{}}, "Pipeline", errStubborn, nil},
		{messages.Aggregate{Pipeline: bson.A{}, Options: list[options.AggregateOptions](setter[options.AggregateOptions](func(o *options.AggregateOptions) {
			reflect.ValueOf(o).Elem().FieldByName("Custom").Set(reflect.ValueOf(bson.M{"pipeline": bson.A{}}))
		}))}, "Options", nil, nil},
	} {
		r, err := enc.Read(&messages.Read{Database: "game", Collection: "players", Operation: c.op})
		var invalid *messages.InvalidError
		switch {
		case r != nil:
			t.Errorf("%d: a read comes with the error %v", i, err)
		case !errors.As(err, &invalid) || !errors.Is(err, messages.ErrInvalid):
			t.Errorf("%d: got %v, want an InvalidError", i, err)
		case invalid.Field != c.field:
			t.Errorf("%d: field %q is named, want %q: %v", i, invalid.Field, c.field, err)
		case c.is != nil && !errors.Is(err, c.is):
			t.Errorf("%d: %v is not %v", i, err, c.is)
		case c.as != nil && !errors.As(err, c.as):
			t.Errorf("%d: %v is no %T", i, err, c.as)
		}
	}
}

// lister fails.
type lister[T any] struct{ err error }

func (l lister[T]) List() []func(*T) error { return []func(*T) error{func(*T) error { return l.err }} }

// deep is a document of that many levels.
func deep(levels int) bson.Raw {
	doc := bson.Raw{5, 0, 0, 0, 0}
	for range levels - 1 {
		outer := newBody(len(doc) + 8)
		outer.doc("", doc)
		doc = outer.end()
	}
	return doc
}

func TestNamesThatCannotBeAreRefused(t *testing.T) {
	var enc Encoder
	for _, c := range []struct{ db, coll, field string }{
		{"", "a", "Database"}, {"a.b", "a", "Database"}, {"a b", "a", "Database"}, {"a/b", "a", "Database"}, {`a\b`, "a", "Database"},
		{`a"b`, "a", "Database"}, {"a$b", "a", "Database"}, {"a\x00", "a", "Database"},
		{"a", "", "Collection"}, {"a", "a\x00", "Collection"}, {"a", ".a", "Collection"},
		{"a", "a.b", ""}, {"a", "system.$x", ""}, {"$external", "a", ""}, {"Ä", "ß 1", ""},
	} {
		for _, op := range []messages.ReadOperation{messages.FindOne{Filter: doc()}, messages.Find{Filter: doc()}, messages.Count{Filter: doc()}, messages.EstimatedCount{}, messages.Distinct{Field: "a", Filter: doc()}} {
			_, err := enc.Read(&messages.Read{Database: c.db, Collection: c.coll, Operation: op})
			var invalid *messages.InvalidError
			if errors.As(err, &invalid) != (c.field != "") || invalid != nil && invalid.Field != c.field {
				t.Errorf("%T on %q.%q: got %v, want %q refused", op, c.db, c.coll, err, c.field)
			}
		}
	}
}

func TestWhatCannotBeWrittenIsRefusedByItsField(t *testing.T) {
	two := bson.M{"a": 1, "b": 1}
	set := doc("$set", doc("a", 1))
	update := func(o *options.UpdateOneOptionsBuilder) messages.WriteOperation {
		return messages.UpdateOne{Filter: doc(), Update: set, Options: list(options.Lister[options.UpdateOneOptions](o))}
	}
	internal := options.InsertOne()
	if err := xoptions.SetInternalInsertOneOptions(internal, "addCommandFields", doc("a", 1)); err != nil {
		t.Fatal(err)
	}
	unordered := mongo.ErrMapForOrderedArgument{}
	var enc Encoder
	for i, c := range []struct {
		op    messages.WriteOperation
		field string
		is    error
		as    any
	}{
		{nil, "Operation", nil, nil},
		{&messages.InsertOne{Document: doc()}, "Operation", nil, nil},
		{messages.InsertOne{}, "Document", mongo.ErrNilDocument, nil},
		{messages.InsertOne{Document: stubborn{}}, "Document", errStubborn, nil},
		{messages.InsertOne{Document: bson.Raw{5, 0, 0, 0, 1}}, "Document", nil, nil},
		{messages.InsertOne{Document: deep(maxDepth + 1)}, "Document", errTooDeep, nil},
		{messages.InsertOne{Document: doc("_id", bson.A{1})}, "Document", nil, nil},
		{messages.InsertOne{Document: doc("_id", bson.Regex{})}, "Document", nil, nil},
		{messages.InsertOne{Document: doc("_id", bson.Undefined{})}, "Document", nil, nil},
		{messages.InsertOne{Document: doc(), Options: list[options.InsertOneOptions](options.InsertOne().SetComment(stubborn{}))}, "Comment", errStubborn, nil},
		{messages.InsertOne{Document: doc(), Options: list[options.InsertOneOptions](internal)}, "Options", nil, nil},
		{messages.InsertOne{Document: doc(), Options: list[options.InsertOneOptions](lister[options.InsertOneOptions]{errStubborn})}, "Options", errStubborn, nil},
		{messages.InsertMany{}, "Documents", mongo.ErrNotSlice, nil},
		{messages.InsertMany{Documents: 7}, "Documents", mongo.ErrNotSlice, nil},
		{messages.InsertMany{Documents: doc("a", 1)}, "Documents", mongo.ErrNotSlice, nil},
		{messages.InsertMany{Documents: bson.Raw{5, 0, 0, 0, 0}}, "Documents", mongo.ErrNotSlice, nil},
		{messages.InsertMany{Documents: [1]bson.D{{}}}, "Documents", mongo.ErrNotSlice, nil},
		{messages.InsertMany{Documents: bson.A{}}, "Documents", mongo.ErrEmptySlice, nil},
		{messages.InsertMany{Documents: bson.A{doc(), nil}}, "Documents[1]", mongo.ErrNilDocument, nil},
		{messages.InsertMany{Documents: bson.A{doc(), 7}}, "Documents[1]", nil, &mongo.MarshalError{}},
		{messages.UpdateOne{Update: set}, "Filter", mongo.ErrNilDocument, nil},
		{messages.UpdateOne{Filter: doc()}, "Update", mongo.ErrNilDocument, nil},
		{messages.UpdateOne{Filter: doc(), Update: doc()}, "Update", nil, nil},
		{messages.UpdateOne{Filter: doc(), Update: doc("a", 1)}, "Update", nil, nil},
		{messages.UpdateOne{Filter: doc(), Update: bson.A{set, doc("a", 1)}}, "Update[1]", nil, nil},
		{messages.UpdateOne{Filter: doc(), Update: bson.A{set, nil}}, "Update[1]", mongo.ErrNilDocument, nil},
		{messages.UpdateOne{Filter: doc(), Update: valueOf{doc("a", 1)}}, "Update", nil, nil},
		{messages.UpdateOne{Filter: doc(), Update: valueOf{7}}, "Update", nil, nil},
		{messages.UpdateOne{Filter: doc(), Update: stubborn{}}, "Update", errStubborn, nil},
		{messages.UpdateOne{Filter: doc(), Update: 7}, "Update", nil, &mongo.MarshalError{}},
		{update(options.UpdateOne().SetHint(two)), "Hint", nil, &unordered},
		{update(options.UpdateOne().SetSort(two)), "Sort", nil, &unordered},
		{update(options.UpdateOne().SetLet(7)), "Let", nil, &mongo.MarshalError{}},
		{update(options.UpdateOne().SetArrayFilters([]any{doc(), 7})), "ArrayFilters[1]", nil, &mongo.MarshalError{}},
		{messages.UpdateMany{Filter: doc(), Update: doc("a", 1)}, "Update", nil, nil},
		{messages.ReplaceOne{Filter: doc()}, "Replacement", mongo.ErrNilDocument, nil},
		{messages.ReplaceOne{Filter: doc(), Replacement: set}, "Replacement", nil, nil},
		{messages.DeleteOne{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.DeleteMany{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.FindOneAndUpdate{Filter: doc(), Update: doc()}, "Update", nil, nil},
		{messages.FindOneAndReplace{Filter: doc(), Replacement: set}, "Replacement", nil, nil},
		{messages.FindOneAndDelete{}, "Filter", mongo.ErrNilDocument, nil},
		{messages.FindOneAndDelete{Filter: doc(), Options: list[options.FindOneAndDeleteOptions](options.FindOneAndDelete().SetSort(two))}, "Sort", nil, &unordered},
		{messages.FindOneAndDelete{Filter: doc(), Options: list[options.FindOneAndDeleteOptions](options.FindOneAndDelete().SetProjection(7))}, "Projection", nil, &mongo.MarshalError{}},
	} {
		w, err := enc.Write(&messages.Write{Database: "game", Collection: "players", Operation: c.op})
		var invalid *messages.InvalidError
		switch {
		case w != nil:
			t.Errorf("%d: a write comes with the error %v", i, err)
		case !errors.As(err, &invalid):
			t.Errorf("%d: got %v, want an InvalidError", i, err)
		case invalid.Field != c.field:
			t.Errorf("%d: field %q is named, want %q: %v", i, invalid.Field, c.field, err)
		case c.is != nil && !errors.Is(err, c.is):
			t.Errorf("%d: %v is not %v", i, err, c.is)
		case c.as != nil && !errors.As(err, c.as):
			t.Errorf("%d: %v is no %T", i, err, c.as)
		}
	}
	if _, err := enc.Write(&messages.Write{Database: "game", Collection: "a", Operation: messages.DeleteOne{Filter: doc()}, Verify: stubborn{}}); !errors.Is(err, errStubborn) {
		t.Errorf("Verify: got %v", err)
	}
	for _, m := range []messages.Write{{Collection: "a"}, {Database: "game"}} {
		m.Operation = messages.DeleteOne{Filter: doc()}
		if _, err := enc.Write(&m); !errors.Is(err, messages.ErrInvalid) {
			t.Errorf("to %q.%q: got %v", m.Database, m.Collection, err)
		}
	}
}
