package command

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// everyType has a value of each of BSON's types, empty and not.
var everyType = doc(
	"double", 1.5, "string", "x", "empty string", "", "document", doc("a", doc()), "array", bson.A{1, bson.A{}, doc()},
	"binary", bson.Binary{Subtype: 2, Data: []byte("x")}, "empty binary", []byte{}, "undefined", bson.Undefined{}, "id", bson.NewObjectID(),
	"true", true, "false", false, "date", time.Unix(7, 0), "null", nil, "regex", bson.Regex{Pattern: "^a", Options: "i"}, "empty regex", bson.Regex{},
	"pointer", bson.DBPointer{DB: "a.b"}, "code", bson.JavaScript("x"), "symbol", bson.Symbol("x"),
	"scope", bson.CodeWithScope{Code: "x", Scope: doc("a", doc("b", 1))}, "empty scope", bson.CodeWithScope{Scope: doc()},
	"int32", int32(7), "timestamp", bson.Timestamp{T: 7, I: 1}, "int64", int64(7), "decimal", bson.Decimal128{}, "min", bson.MinKey{}, "max", bson.MaxKey{}, "", "no key",
)

func marshal(t testing.TB, v any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAWalkFindsEveryElement(t *testing.T) {
	raw := marshal(t, everyType)
	if err := valid(raw); err != nil {
		t.Fatal(err)
	}
	want, err := raw.Elements()
	if err != nil {
		t.Fatal(err)
	}
	w := walk(append(slices.Clone(raw), "and more"...))
	for i, el := range want {
		if !w.next() || string(w.key) != el.Key() || !w.raw().Equal(el.Value()) || !bytes.Equal(w.elem, el) {
			t.Fatalf("%d: found %q: %v, want %v", i, w.key, w.raw(), el)
		}
		if first := find(raw, el.Key()); !first.Equal(el.Value()) {
			t.Errorf("%q is found as %v", el.Key(), first)
		}
	}
	if w.next() || w.broken || w.next() {
		t.Errorf("there is more: %q, broken %v", w.key, w.broken)
	}
	if v := find(raw, "not there"); !v.IsZero() {
		t.Errorf("found %v", v)
	}
}

func TestADocumentThatIsCutOrChangedIsFoundBroken(t *testing.T) {
	raw := marshal(t, everyType)
	for n := range raw {
		if valid(raw[:n]) == nil {
			t.Errorf("cut to %d bytes it is valid", n)
		}
		if w := walk(raw[:n]); w.next() || !w.broken {
			t.Errorf("cut to %d bytes it is walked", n)
		}
	}
	if valid(append(slices.Clone(raw), 0)) == nil {
		t.Error("with a byte more it is valid")
	}
	for _, el := range []bson.Raw{
		{0x00, 'a', 0}, {0x14, 'a', 0}, {0x7e, 'a', 0}, // No such types.
		{0x10, 'a'}, {0x10, 'a', 0, 1, 2, 3}, // No end of a key, and of a value.
		{0x08, 'a', 0, 2}, // Neither true nor false.
		{0x02, 'a', 0, 0, 0, 0, 0, 0}, {0x02, 'a', 0, 1, 0, 0, 0, 'x'}, {0x02, 'a', 0, 9, 0, 0, 0, 0}, {0x02, 'a', 0, 0xff, 0xff, 0xff, 0xff, 0},
		{0x05, 'a', 0, 1, 0, 0, 0, 0}, {0x05, 'a', 0, 0xff, 0xff, 0xff, 0xff, 0}, {0x05, 'a', 0, 1},
		{0x03, 'a', 0, 4, 0, 0, 0, 0}, {0x03, 'a', 0, 6, 0, 0, 0, 0}, {0x03, 'a', 0, 6, 0, 0, 0, 1, 0}, {0x04, 'a', 0, 5, 0, 0, 0, 1},
		{0x0b, 'a', 0, 'x'}, {0x0b, 'a', 0, 'x', 0, 'y'},
		{0x0c, 'a', 0, 1, 0, 0, 0, 0, 1, 2, 3}, {0x0c, 'a', 0, 1},
		{0x0f, 'a', 0, 1}, {0x0f, 'a', 0, 14, 0, 0, 0, 1, 0, 0, 0, 1, 5, 0, 0, 0, 0}, {0x0f, 'a', 0, 15, 0, 0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0},
		{0x0f, 'a', 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0, 1}, {0x0f, 'a', 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 1, 'a', 0},
	} {
		for _, around := range []string{"", "document", "array", "scope"} {
			inner := &body{b: append(make([]byte, 4), el...)}
			broken := inner.end()
			if around != "" {
				outer := newBody(64)
				switch around {
				case "document":
					outer.doc("d", broken)
				case "array":
					outer.array("d", broken)
				case "scope":
					code := []byte{byte(9 + len(broken)), 0, 0, 0, 1, 0, 0, 0, 0}
					outer.value("d", bson.RawValue{Type: bson.TypeCodeWithScope, Value: append(code, broken...)})
				}
				broken = outer.end()
			}
			if valid(broken) == nil {
				t.Errorf("% x is valid in %q", []byte(el), around)
			}
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	if err := valid(deep(maxDepth)); err != nil {
		t.Error(err)
	}
	// Two million levels, as 16 MiB can have: a walk that recursed would end the process.
	const levels = maxDocument / 7
	doc := bytes.Repeat([]byte{0, 0, 0, 0, 3, 0}, levels)
	doc = append(doc, 5, 0, 0, 0, 0)
	doc = append(doc, make([]byte, levels)...)
	for i := range levels {
		n := uint32(len(doc) - 7*i)
		copy(doc[6*i:], []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	}
	if err := valid(doc); !errors.Is(err, errTooDeep) {
		t.Errorf("got %v", err)
	}
	scope := []byte{14, 0, 0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0}
	for range 300 {
		inner := newBody(len(scope) + 8)
		inner.value("", bson.RawValue{Type: bson.TypeCodeWithScope, Value: scope})
		raw := inner.end()
		n := 9 + len(raw)
		scope = append([]byte{byte(n), byte(n >> 8), 0, 0, 1, 0, 0, 0, 0}, raw...)
	}
	outer := newBody(len(scope) + 8)
	outer.value("", bson.RawValue{Type: bson.TypeCodeWithScope, Value: scope})
	if err := valid(outer.end()); !errors.Is(err, errTooDeep) {
		t.Errorf("scopes: got %v", err)
	}
}

// wrapped is a document of elements: random bytes alone almost never have the right
// length in front.
func wrapped(elements []byte) []byte {
	d := newBody(len(elements) + 5)
	d.b = append(d.b, elements...)
	return d.end()
}

func FuzzValid(f *testing.F) {
	f.Add([]byte(marshal(f, everyType)))
	f.Add([]byte(deep(5)))
	f.Add([]byte{5, 0, 0, 0, 0})
	raw := marshal(f, everyType)
	f.Add([]byte(raw[4 : len(raw)-1]))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, raw := range [][]byte{data, wrapped(data)} {
			checkValid(t, raw)
		}
	})
}

func checkValid(t *testing.T, raw []byte) {
	find(raw, "a")
	firstKey(raw)
	exactID(raw)
	showsID(raw)
	if valid(raw) != nil {
		return
	}
	// What is valid is so in every depth, to this package and to the driver.
	var walked func(doc []byte)
	walked = func(doc []byte) {
		w := walk(doc)
		for w.next() {
			if w.typ == bson.TypeEmbeddedDocument || w.typ == bson.TypeArray {
				walked(w.value)
			}
		}
		if w.broken {
			t.Fatalf("% x is valid, and breaks at % x", raw, w.rest)
		}
	}
	walked(raw)
	if err := bson.Raw(raw).Validate(); err != nil {
		t.Fatalf("% x: the driver says %v", raw, err)
	}
}

// FuzzRead hands raw bytes over wherever a read takes a document.
func FuzzRead(f *testing.F) {
	for _, v := range []bson.D{doc(), doc("_id", 7), doc("_id", doc("$gt", 7)), doc("$out", "x"), doc("find", "a", "maxTimeMS", 5), doc("explain", doc("aggregate", "a", "pipeline", bson.A{doc("$merge", 1)})), everyType} {
		raw := marshal(f, v)
		f.Add([]byte(raw))
		f.Add([]byte(raw[4 : len(raw)-1]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, raw := range [][]byte{data, wrapped(data)} {
			checkRead(t, raw)
		}
	})
}

func checkRead(t *testing.T, raw []byte) {
	var enc Encoder
	for _, filter := range []any{bson.Raw(raw), raw, bson.M{"_id": bson.Raw(raw)}, bson.D{{Key: "x", Value: bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw}}}} {
		for _, op := range []messages.ReadOperation{
			messages.FindOne{Filter: filter}, messages.Find{Filter: filter}, messages.Count{Filter: filter}, messages.Distinct{Field: "a", Filter: filter},
			messages.Aggregate{Pipeline: []any{filter}}, messages.Aggregate{Pipeline: bson.RawArray(raw)}, messages.Command{Document: filter},
		} {
			r, err := enc.Read(&messages.Read{Database: "game", Collection: "a", Operation: op})
			if err != nil {
				if r != nil || !errors.Is(err, messages.ErrInvalid) && !errors.Is(err, messages.ErrNotARead) {
					t.Fatalf("%T: %v", op, err)
				}
				continue
			}
			if err := valid(r.Body); err != nil {
				t.Fatalf("%T was encoded to % x: %v", op, []byte(r.Body), err)
			}
			if err := valid(r.Wire(Concern{Level: "majority", After: bson.Timestamp{T: 1}}, time.Second)); err != nil {
				t.Fatalf("%T on the wire: %v", op, err)
			}
			for w := walk(find(r.Body, "pipeline").Value); r.Name == "aggregate" && w.next(); {
				if key, _ := firstKey(w.value); key == "$out" || key == "$merge" {
					t.Fatalf("%v is a read", r.Body)
				}
			}
		}
	}
}
