package command

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// value encodes any value.
func value(t testing.TB, v any) bson.RawValue { return find(marshal(t, doc("v", v)), "v") }

// same is the server's equality of two _ids, written down straight from its manual. Text
// compares strings.
func same(a, b bson.RawValue, text func(a, b string) bool) bool {
	na, aIs := numberOf(a)
	nb, bIs := numberOf(b)
	if aIs || bIs {
		return aIs && bIs && na == nb
	}
	if sa, ok := textOf(a); ok {
		sb, ok := textOf(b)
		return ok && text(sa, sb)
	}
	if a.Type != b.Type {
		return false
	}
	if a.Type != bson.TypeEmbeddedDocument && a.Type != bson.TypeArray {
		return bytes.Equal(a.Value, b.Value)
	}
	va, vb := walk(a.Value), walk(b.Value)
	for {
		more := va.next()
		switch {
		case more != vb.next():
			return false
		case !more:
			return true
		case a.Type == bson.TypeEmbeddedDocument && !bytes.Equal(va.key, vb.key), !same(va.raw(), vb.raw(), text):
			return false
		}
	}
}

// exactly compares strings where there is no collation.
func exactly(a, b string) bool { return a == b }

// textOf is the text of a string or a symbol, which are one to the server.
func textOf(v bson.RawValue) (string, bool) {
	if v.Type != bson.TypeString && v.Type != bson.TypeSymbol {
		return "", false
	}
	return string(v.Value[4 : len(v.Value)-1]), true
}

// numberOf is a number of any type as a fraction, or what it is instead.
func numberOf(v bson.RawValue) (string, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return fmt.Sprint(v.Int32(), "/1"), true
	case bson.TypeInt64:
		return fmt.Sprint(v.Int64(), "/1"), true
	case bson.TypeDouble:
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprint(f), true
		}
		return new(big.Rat).SetFloat64(f).String(), true
	case bson.TypeDecimal128:
		d := v.Decimal128()
		if d.IsNaN() {
			return fmt.Sprint(math.NaN()), true
		}
		if inf := d.IsInf(); inf != 0 {
			return fmt.Sprint(math.Inf(inf)), true
		}
		n, exp, err := d.BigInt()
		if err != nil {
			return "0/1", true // Its digits are too many: to the server too, that is 0.
		}
		ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
		if exp < 0 {
			return new(big.Rat).SetFrac(n, ten).String(), true
		}
		return new(big.Rat).SetInt(n.Mul(n, ten)).String(), true
	}
	return "", false
}

func decimal(s string) bson.Decimal128 {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		panic(err)
	}
	return d
}

// odd is an array of a 7, whose index is "x".
var odd = []byte{12, 0, 0, 0, byte(bson.TypeInt32), 'x', 0, 7, 0, 0, 0, 0}

// oneID are _ids that are equal within a line and different between two.
var oneID = [][]any{
	{int32(1), int64(1), 1.0, decimal("1"), decimal("1.0"), decimal("10E-1")},
	{int32(0), int64(0), 0.0, math.Copysign(0, -1), decimal("0"), decimal("-0"), decimal("0E+5")},
	{int32(-1), int64(-1), -1.0}, {2, 2.0}, {1.5, decimal("1.5")}, {0.1}, {decimal("0.1")}, // 0.1 is a little more than that.
	{math.NaN(), math.Float64frombits(math.Float64bits(math.NaN()) ^ 1<<63 | 7), decimal("NaN")},
	{math.Inf(1), decimal("Infinity")}, {math.Inf(-1), decimal("-Infinity")},
	{int64(math.MaxInt64), decimal("9223372036854775807")}, {float64(math.MaxInt64), decimal("9223372036854775808")}, // 2^63
	{int64(math.MinInt64), float64(math.MinInt64)}, {math.Nextafter(math.MinInt64, math.Inf(-1))},
	{int64(1 << 53), float64(1 << 53)}, {int64(1<<53 + 1)}, {int64(1<<53 + 2), float64(1<<53 + 2)},
	{math.MaxFloat64}, {math.SmallestNonzeroFloat64}, {1e300}, {decimal("1E300")},
	{"", bson.Symbol("")}, {"1"}, {"a", bson.Symbol("a")}, {"a\x00"}, {"a\x00b"}, {"A"}, {"é"}, {"e\u0301"}, {strings.Repeat("x", 1<<20)}, {strings.Repeat("x", 1<<20) + "y"},
	{bson.ObjectID{}}, {bson.ObjectID{11: 1}}, {bson.ObjectID{0: 1}}, {bson.ObjectID{8: 1}},
	{bson.DateTime(1)}, {bson.DateTime(-1)}, {bson.Timestamp{I: 1}}, {bson.Timestamp{T: 1}},
	{true}, {false},
	{bson.Binary{Data: make([]byte, 16)}}, {bson.Binary{Subtype: 4, Data: make([]byte, 16)}}, {bson.Binary{Subtype: 3, Data: make([]byte, 16)}},
	{bson.Binary{Subtype: 4, Data: append(make([]byte, 15), 1)}}, {bson.Binary{Subtype: 4, Data: append([]byte{1}, make([]byte, 15)...)}},
	{bson.Binary{Subtype: 4, Data: make([]byte, 15)}}, {bson.Binary{Subtype: 5, Data: make([]byte, 16)}}, {bson.Binary{Subtype: 2, Data: make([]byte, 16)}},
	{bson.Binary{Subtype: 2, Data: make([]byte, 12)}}, {[]byte{}}, {[]byte("a")},
	{doc()}, {doc("a", 1), doc("a", 1.0), doc("a", int64(1)), doc("a", decimal("1"))}, {doc("b", 1)}, {doc("a", 1, "b", 2)}, {doc("b", 2, "a", 1)},
	{doc("a", "1")}, {doc("a", doc())}, {doc("a", bson.A{})}, {doc("a", bson.A{doc()})}, {doc("a", bson.A{1}), doc("a", bson.A{1.0})}, {doc("a", doc("0", 1))},
	{doc("a", bson.A{1, 2})}, {doc("a", bson.A{bson.A{1, 2}})}, {doc("a", bson.A{1, bson.A{2}})}, {doc("a", bson.A{bson.A{1}, 2})},
	{doc("a", 1.5)}, {doc("a", int64(math.Float64bits(1.5)))}, {int64(math.Float64bits(1.5))}, // Of one pattern of bits.
	{doc("a", bson.A{7}), doc("a", bson.RawValue{Type: bson.TypeArray, Value: odd})}, // Whatever the indexes in an array are called.
	{doc("a", nil)}, {doc("a", bson.Undefined{})}, {doc("a", "x", "b", ""), doc("a", bson.Symbol("x"), "b", "")}, {doc("a", "x\x00b")}, {doc("", 1)}, {doc("a", math.NaN())},
	{doc("a", doc("b", 1), "c", 2)}, {doc("a", doc("b", 1, "c", 2))}, {doc("a", 0.0), doc("a", 0), doc("a", math.Copysign(0, -1))},
	{doc("a", bson.JavaScript("x"))}, {doc("a", bson.Regex{Pattern: "x"})}, {bson.JavaScript("x")}, {bson.CodeWithScope{Code: "x", Scope: doc()}}, {bson.MinKey{}}, {bson.MaxKey{}},
	{bson.DBPointer{DB: "a"}},
}

func TestKeysAreEqualWhereTheServerTakesTheIDsForOne(t *testing.T) {
	type id struct {
		group int
		v     any
		raw   bson.RawValue
	}
	var all []id
	for i, group := range oneID {
		for _, v := range group {
			all = append(all, id{i, v, value(t, v)})
		}
	}
	for _, a := range all {
		for _, b := range all {
			if got := same(a.raw, b.raw, exactly); got != (a.group == b.group) {
				t.Fatalf("%T %.40v and %T %.40v: the model of this test says that they are equal: %v", a.v, a.v, b.v, b.v, got)
			}
			equal := keyOf(a.raw) == keyOf(b.raw)
			switch {
			case matchable(a.raw) && matchable(b.raw) && equal != (a.group == b.group):
				t.Errorf("%T %.40v and %T %.40v: their keys are equal: %v", a.v, a.v, b.v, b.v, equal)
			case equal && a.group != b.group:
				t.Errorf("%T %.40v and %T %.40v have one key", a.v, a.v, b.v, b.v)
			}
		}
	}
}

func TestOnlyIDsOfWhichAllEqualsAreKnownAreMatchable(t *testing.T) {
	for v, want := range map[any]bool{
		int32(1): true, int64(1): true, 1.5: true, "a": true, bson.ObjectID{}: true, bson.DateTime(1): true, bson.Timestamp{}: true, true: true,
		decimal("1"): false, bson.Symbol("a"): false, bson.JavaScript("a"): false, bson.Regex{}: false, bson.MinKey{}: false, bson.MaxKey{}: false,
		bson.Undefined{}: false, bson.DBPointer{}: false,
	} {
		for _, v := range []any{v, doc("a", v), doc("a", bson.A{1, v}), doc("a", 1, "b", doc("c", v)), bson.A{doc("a", v)}} {
			if got := matchable(value(t, v)); got != want {
				t.Errorf("%T %v: %v", v, v, got)
			}
		}
	}
	for v, want := range map[string]bool{"": true, strings.Repeat("x", 1<<21): true} {
		if got := matchable(value(t, []byte(v))); got != want {
			t.Errorf("%d bytes: %v", len(v), got)
		}
	}
	if matchable(value(t, bson.CodeWithScope{Code: "x", Scope: doc()})) || !matchable(value(t, doc("a", nil))) {
		t.Error("code with a scope is, or null in a document is not")
	}
	if matchable(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: []byte{6, 0, 0, 0, 99, 0}}) {
		t.Error("a broken document is")
	}
}

// someID is a value that may well be equal to another one.
func someID(r *rand.Rand, depth int) any {
	n := 16
	if depth == 0 {
		n = 13
	}
	small := r.IntN(3)
	switch r.IntN(n) {
	case 0:
		return int32(small)
	case 1:
		return int64(small)
	case 2:
		return float64(small) * []float64{1, -1, 0.5}[r.IntN(3)]
	case 3:
		return []any{math.NaN(), math.Inf(1), math.MaxFloat64, float64(1 << 53), int64(1<<53 + 1), int64(math.MaxInt64), float64(math.MaxInt64)}[r.IntN(7)]
	case 4:
		return decimal([]string{"0", "1", "1.0", "0.5", "-1", "NaN", "9223372036854775807", "9007199254740993"}[r.IntN(8)])
	case 5, 6:
		return []string{"", "a", "A", "b", "1"}[r.IntN(5)]
	case 7:
		return bson.ObjectID{11: byte(small)}
	case 8:
		return []any{bson.DateTime(small), bson.Timestamp{I: uint32(small)}}[r.IntN(2)]
	case 9:
		return small == 1
	case 10:
		return bson.Binary{Subtype: byte(2 + r.IntN(3)), Data: make([]byte, 15+r.IntN(2))}
	case 11:
		return bson.Symbol([]string{"", "a", "A"}[small])
	case 12:
		return []any{time.UnixMilli(int64(small)), []byte{byte(small)}, bson.JavaScript("a")}[r.IntN(3)]
	case 13:
		a := bson.A{}
		for range r.IntN(3) {
			a = append(a, someID(r, depth-1))
		}
		return doc("a", a)
	}
	d := bson.D{}
	for range r.IntN(3) {
		d = append(d, bson.E{Key: []string{"a", "b", ""}[r.IntN(3)], Value: someID(r, depth-1)})
	}
	return d
}

func TestKeysOfRandomIDsAreEqualWhereTheServerTakesThemForOne(t *testing.T) {
	equals := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		ids := make([]bson.RawValue, 100)
		for i := range ids {
			ids[i] = value(t, someID(r, 3))
		}
		for _, a := range ids {
			for _, b := range ids {
				want := same(a, b, exactly)
				equal := keyOf(a) == keyOf(b)
				if matchable(a) && matchable(b) && equal != want || equal && !want {
					t.Fatalf("seed %d: %v and %v: their keys are equal: %v", seed, a, b, equal)
				}
				if want && !bytes.Equal(a.Value, b.Value) {
					equals++
				}
			}
		}
	}
	if equals < 1000 {
		t.Errorf("only %d pairs were equal and not the same: the values are too different", equals)
	}
}

func TestAnIDAsDeepAsDocumentsMayBeHasAKey(t *testing.T) {
	id := bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: deep(maxDepth - 1)}
	if again := (bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: deep(maxDepth - 1)}); !matchable(id) || keyOf(id) != keyOf(again) {
		t.Error("it has none")
	}
	if other := (bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: deep(maxDepth - 2)}); keyOf(id) == keyOf(other) {
		t.Error("it has that of another one")
	}
}
