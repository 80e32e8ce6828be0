package command

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestADocumentIsEncodedVerbatim(t *testing.T) {
	for _, doc := range []bson.D{
		{},
		{{Key: "", Value: nil}},
		{{Key: "_id", Value: 7}},
		{{Key: "find", Value: "players"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: 7}}}, {Key: "limit", Value: int64(1)}},
		{{Key: "a", Value: bson.A{1, bson.D{}, "x"}}, {Key: "a", Value: 1.5}, {Key: "b", Value: bson.D{{Key: "c", Value: bson.A{}}}}},
		{{Key: "d", Value: bson.D{{Key: "x", Value: 1}}}},
		{{Key: "s", Value: ""}, {Key: "r", Value: bson.Regex{Pattern: "x"}}},
	} {
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := bson.Marshal(Verbatim(raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%v became %v, %v", bson.Raw(raw), bson.Raw(got), err)
		}
		// Bytes behind the document are none of it.
		if got, err = bson.Marshal(Verbatim(append(raw, 1, 2, 3))); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%v with bytes behind it became %v, %v", bson.Raw(raw), bson.Raw(got), err)
		}
	}
}

func BenchmarkVerbatim(b *testing.B) {
	raw, err := bson.Marshal(bson.D{
		{Key: "_id", Value: 7}, {Key: "name", Value: "ann"}, {Key: "gold", Value: 100}, {Key: "level", Value: 3},
		{Key: "guild", Value: "the guild"}, {Key: "x", Value: 1.5}, {Key: "y", Value: 2.5}, {Key: "items", Value: bson.A{"axe", "bow"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, doc := range map[string]any{"Raw": bson.Raw(raw), "Verbatim": Verbatim(raw)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bson.Marshal(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
