package repl

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

func spec(name string, key bson.D, more ...bson.E) bson.Raw {
	return raw(append(bson.D{{Key: "v", Value: 2}, {Key: "key", Value: key}, {Key: "name", Value: name}}, more...))
}

var unique = bson.E{Key: "unique", Value: true}

// uniqueIn returns an empty collection with one unique index.
func uniqueIn(t *testing.T, key bson.D, more ...bson.E) *collection {
	t.Helper()
	ix, err := newIndex(spec("ix", key, append(more, unique)...))
	if err != nil {
		t.Fatal(err)
	}
	c := newCollection(new(edit), "game", CollectionInfo{Name: "players"})
	if err := c.addIndex(ix, true); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAUniqueIndexLetsNoTwoDocumentsShareAKey(t *testing.T) {
	type d = bson.D
	a := func(v any) d { return d{{Key: "a", Value: v}} }
	sparse := bson.E{Key: "sparse", Value: true}
	for _, tt := range []struct {
		name          string
		key           d
		first, second d
		more          []bson.E
		clash         bool
	}{
		{"equal values", a(1), a("x"), a("x"), nil, true},
		{"different values", a(1), a("x"), a("y"), nil, false},
		{"numbers of different types", a(1), a(int32(1)), a(1.0), nil, true},
		{"both without the field", a(1), d{}, d{}, nil, true},
		{"null and nothing", a(1), a(nil), d{}, nil, true},
		{"both without the field, sparse", a(1), d{}, d{}, []bson.E{sparse}, false},
		{"null and null, sparse", a(1), a(nil), a(nil), []bson.E{sparse}, true},
		{"one value in an array", a(1), a(bson.A{1, 2}), a(2), nil, true},
		{"arrays without a common value", a(1), a(bson.A{1, 2}), a(bson.A{3}), nil, false},
		{"a path into documents", d{{Key: "a.b", Value: 1}}, a(d{{Key: "b", Value: 1}}), a(d{{Key: "b", Value: 1}, {Key: "c", Value: 1}}), nil, true},
		{"a path into documents in an array", d{{Key: "a.b", Value: 1}}, a(bson.A{d{{Key: "b", Value: 1}}, d{{Key: "b", Value: 2}}}), a(d{{Key: "b", Value: 2}}), nil, true},
		{"a path to an item", d{{Key: "a.0", Value: 1}}, a(bson.A{1, 2}), a(bson.A{1, 3}), nil, true},
		{"a path to another item", d{{Key: "a.0", Value: 1}}, a(bson.A{1, 2}), a(bson.A{2, 1}), nil, false},
		{"two fields, one of them equal", d{{Key: "a", Value: 1}, {Key: "b", Value: -1}}, d{{Key: "a", Value: 1}, {Key: "b", Value: 1}}, d{{Key: "a", Value: 1}, {Key: "b", Value: 2}}, nil, false},
		{"two fields, both equal", d{{Key: "a", Value: 1}, {Key: "b", Value: -1}}, d{{Key: "a", Value: 1}, {Key: "b", Value: 1}}, d{{Key: "b", Value: 1}, {Key: "a", Value: 1}}, nil, true},
		{"values that only look alike together", d{{Key: "a", Value: 1}, {Key: "b", Value: 1}}, d{{Key: "a", Value: "xy"}, {Key: "b", Value: "z"}}, d{{Key: "a", Value: "x"}, {Key: "b", Value: "yz"}}, nil, false},
		{"an empty array and nothing", a(1), a(bson.A{}), d{}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := uniqueIn(t, tt.key, tt.more...)
			first := raw(append(d{{Key: "_id", Value: 1}}, tt.first...))
			second := raw(append(d{{Key: "_id", Value: 2}}, tt.second...))
			if err := c.insert(first); err != nil {
				t.Fatal(err)
			}
			err := c.insert(second)
			if (err != nil) != tt.clash {
				t.Fatalf("the second insert ended with %v", err)
			}
			if tt.clash && c.Len() != 1 {
				t.Error("a refused document was kept")
			}
			// What is built afterwards judges alike.
			late := newCollection(new(edit), "game", CollectionInfo{Name: "players"})
			_, _ = late.insert(first), late.insert(second)
			ix, _ := newIndex(spec("ix", tt.key, append(tt.more, unique)...))
			if err := late.addIndex(ix, true); (err != nil) != tt.clash {
				t.Errorf("building the index ended with %v", err)
			}
			// Taking the first away makes room.
			c.delete(idOf(1))
			if err := c.insert(second); err != nil && tt.clash {
				t.Errorf("after the delete: %v", err)
			}
		})
	}
}

func TestADuplicateKeySaysWhichIndexAndWhichValues(t *testing.T) {
	c := uniqueIn(t, bson.D{{Key: "name", Value: 1}})
	if err := c.insert(raw(bson.D{{Key: "_id", Value: 1}, {Key: "name", Value: "ann"}})); err != nil {
		t.Fatal(err)
	}
	err := c.insert(raw(bson.D{{Key: "_id", Value: 2}, {Key: "name", Value: "ann"}}))
	var e *query.Error
	if !errors.As(err, &e) || e.Code != codeDuplicateKey || e.Name != "DuplicateKey" {
		t.Fatalf("the error is %v", err)
	}
	if want := `E11000 duplicate key error collection: game.players index: ix dup key: { name: "ann" }`; e.Message != want {
		t.Errorf("the message is\n%s\nnot\n%s", e.Message, want)
	}
	extra := raw(e.Extra)
	if p := extra.Lookup("keyPattern", "name"); p.AsInt64() != 1 {
		t.Errorf("keyPattern is %v", extra)
	}
	if v := extra.Lookup("keyValue", "name"); v.StringValue() != "ann" {
		t.Errorf("keyValue is %v", extra)
	}
	err = c.insert(raw(bson.D{{Key: "_id", Value: int64(1)}}))
	if err == nil || !strings.Contains(err.Error(), "index: _id_ dup key: { _id: 1 }") {
		t.Errorf("a second _id of 1 is refused with %v", err)
	}
}

func TestReplacingMovesADocumentsKeys(t *testing.T) {
	c := uniqueIn(t, bson.D{{Key: "name", Value: 1}})
	doc := func(id int, name string) bson.Raw {
		return raw(bson.D{{Key: "_id", Value: id}, {Key: "name", Value: name}})
	}
	for i, name := range []string{"ann", "bob"} {
		if err := c.insert(doc(i, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.replace(idOf(0), doc(0, "bob")); err == nil {
		t.Error("a replacement took another document's key")
	}
	if err := c.replace(idOf(0), doc(0, "ann")); err != nil {
		t.Errorf("a document is in its own way: %v", err)
	}
	if err := c.replace(idOf(0), doc(0, "cid")); err != nil {
		t.Fatal(err)
	}
	if err := c.replace(idOf(1), doc(1, "ann")); err != nil {
		t.Errorf("the key that was given up is not free: %v", err)
	}
	if err := c.replace(idOf(0), doc(5, "dan")); err == nil {
		t.Error("a replacement changed the _id")
	}
}

func TestArraysInParallelAreNotIndexed(t *testing.T) {
	c := uniqueIn(t, bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 1}})
	err := c.insert(raw(bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: bson.A{1}}, {Key: "b", Value: bson.A{1}}}))
	var e *query.Error
	if !errors.As(err, &e) || e.Code != codeCannotIndexParallelArrays {
		t.Errorf("the insert ended with %v", err)
	}
	if c.Len() != 0 {
		t.Error("the document was kept")
	}
}

func TestIndexesThatClashAreRefused(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		a, b := bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "b", Value: 1}}
		write := func(fn func(w Writer) error) {
			t.Helper()
			if _, err := c.node(0).Write(c.ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		write(func(w Writer) error {
			for i, want := range []bool{true, false} {
				if created, err := w.CreateIndex("game", "players", spec("a_1", a)); created != want || err != nil {
					t.Errorf("creation %d: %v, %v", i, created, err)
				}
			}
			_, err := w.CreateIndex("game", "players", spec("a_1", b))
			c.wantCode(err, codeIndexKeySpecsConflict)
			_, err = w.CreateIndex("game", "players", spec("other", a))
			c.wantCode(err, codeIndexOptionsConflict)
			c.wantCode(w.DropIndex("game", "players", "_id_"), codeInvalidOptions)
			c.wantCode(w.DropIndex("game", "players", "none"), codeIndexNotFound)
			c.wantCode(w.DropIndex("game", "none", "none"), codeNamespaceNotFound)
			c.wantCode(w.CreateCollection("game", "players", nil), codeNamespaceExists)
			c.wantCode(w.DropCollection("game", "none"), codeNamespaceNotFound)
			return w.DropIndex("game", "players", "a_1")
		})
		if n := len(c.node(0).seen.Load().now.data.of("game")[0].Indexes()); n != 1 {
			t.Errorf("%d indexes are left, not that of _id alone", n)
		}
	})
}
