package query

import (
	"math/rand/v2"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// inOrder lists values from the least to the greatest; the values on a line are
// equal.
var inOrder = [][]string{
	{`MinKey`},
	{`undefined`},
	{`null`},
	{`NaN`, `Dec("NaN")`},
	{`-Inf`, `Dec("-Infinity")`},
	{`Dec("-1E+6000")`},
	{`-1.7976931348623157e308`},
	{`Dec("-9223372036854775808.5")`},
	{`Long("-9223372036854775808")`, `-9223372036854775808.0`, `Dec("-9223372036854775808")`},
	{`Long("-9223372036854775807")`},
	{`-1.5`, `Dec("-1.5")`},
	{`-1`, `-1.0`, `Long(-1)`, `Dec("-1.000")`},
	{`Dec("-1E-6000")`},
	{`0`, `0.0`, `-0.0`, `Long(0)`, `Dec("0")`, `Dec("-0E+3")`, `Dec("0E-6000")`},
	{`Dec("1E-6176")`},
	{`5e-324`},
	{`Dec("0.1")`},
	{`Dec("0.1000000000000000055511151231257827")`},
	{`0.1`},
	{`Dec("0.1000000000000000055511151231257828")`},
	{`0.5`, `Dec("0.5")`, `Dec("0.50")`},
	{`1`, `1.0`, `Long(1)`, `Dec("1.0")`, `Dec("1")`, `Dec("10E-1")`},
	{`Dec("1.000000000000000000000000000000001")`},
	{`100`, `Dec("1E+2")`, `100.0`},
	{`Long("9007199254740992")`, `9007199254740992.0`},
	{`Long("9007199254740993")`},
	{`Long("9007199254740994")`, `9007199254740994.0`},
	{`Long("9223372036854775806")`},
	{`Long("9223372036854775807")`, `Dec("9223372036854775807")`},
	{`9223372036854775808.0`, `Dec("9223372036854775808")`},
	{`1e300`},
	{`Dec("1E+6000")`},
	{`Inf`, `Dec("Infinity")`},
	{`""`, `Sym("")`},
	{`"A"`},
	{`"a"`, `Sym("a")`},
	{`"a\x00"`},
	{`"aa"`},
	{`"b"`},
	{`"é"`},
	{`{}`},
	{`{a: null}`},
	{`{b: null}`},
	{`{a: 1}`, `{a: 1.0}`},
	{`{a: 1, b: 1}`},
	{`{a: 1, c: 0}`},
	{`{a: 2}`},
	{`{b: 1}`},
	{`{a: "x"}`},
	{`{a: {a: 1}}`},
	{`[]`},
	{`[null]`},
	{`[1]`, `[1.0]`},
	{`[1, 2]`},
	{`[2]`},
	{`["a"]`},
	{`[[]]`},
	{`Bin(0, "")`},
	{`Bin(0, "ff")`},
	{`Bin(5, "00")`},
	{`Bin(0, "0000")`},
	{`OID("00")`},
	{`OID("ff")`},
	{`false`},
	{`true`},
	{`Date(-5)`},
	{`Date(5)`},
	{`TS(0, 1)`},
	{`TS(1, 0)`},
	{`TS(4294967295, 0)`},
	{`/a/`},
	{`/a/i`},
	{`/b/`},
	{`Code("a")`},
	{`Code("b")`},
	{`Scoped("a", {})`},
	{`Scoped("a", {x: 1})`},
	{`Scoped("b", {})`},
	{`MaxKey`},
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestValuesOfAllTypesSortAsTheServerSortsThem(t *testing.T) {
	for i, low := range inOrder {
		for j, high := range inOrder {
			for _, a := range low {
				for _, b := range high {
					want := sign(i - j)
					if got := sign(Compare(val(a), val(b))); got != want {
						t.Errorf("Compare(%s, %s) = %d, want %d", a, b, got, want)
					}
					if same := IDKey(val(a)) == IDKey(val(b)); same != (want == 0) {
						t.Errorf("IDKey(%s) == IDKey(%s) is %v", a, b, same)
					}
				}
			}
		}
	}
}

func TestTruncatedValuesAreComparedWithoutReadingBeyondThem(t *testing.T) {
	for typ := range 256 {
		for n := range 20 {
			v := bson.RawValue{Type: bson.Type(typ), Value: make([]byte, n)}
			if Compare(v, v) != 0 {
				t.Errorf("type %#x with %d bytes does not equal itself", typ, n)
			}
			IDKey(v)
		}
	}
}

func TestDecimalArithmeticRoundsHalfToEven(t *testing.T) {
	for _, c := range []struct{ op, a, b, want string }{
		{"+", `Dec("1.5")`, `1`, `Dec("2.5")`},
		{"+", `Dec("9999999999999999999999999999999999")`, `Dec("0.5")`, `Dec("1.000000000000000000000000000000000E+34")`},
		{"+", `Dec("1000000000000000000000000000000000")`, `Dec("0.5")`, `Dec("1000000000000000000000000000000000")`},
		{"+", `Dec("1000000000000000000000000000000001")`, `Dec("0.5")`, `Dec("1000000000000000000000000000000002")`},
		{"+", `Dec("1E+6000")`, `Dec("1E-6000")`, `Dec("1E+6000")`},
		{"+", `Dec("Infinity")`, `Dec("-Infinity")`, `Dec("NaN")`},
		{"+", `Dec("1")`, `Inf`, `Dec("Infinity")`},
		{"*", `Dec("1.5")`, `Long(3)`, `Dec("4.5")`},
		{"*", `Dec("9E+6111")`, `Dec("10")`, `Dec("9.0E+6112")`},
		{"*", `Dec("9E+6144")`, `Dec("10")`, `Dec("Infinity")`},
		{"*", `Dec("1E-6176")`, `Dec("0.1")`, `Dec("0E-6176")`},
		{"*", `Dec("Infinity")`, `0`, `Dec("NaN")`},
		{"+", `2147483647`, `1`, `Long("2147483648")`},
		{"+", `Long(1)`, `1`, `Long(2)`},
		{"+", `1`, `1.5`, `2.5`},
		{"*", `2147483647`, `2`, `Long("4294967294")`},
		{"*", `Long("-9223372036854775808")`, `1`, `Long("-9223372036854775808")`},
		{"+", `Long("9223372036854775807")`, `1`, ``},
		{"+", `Long("-9223372036854775808")`, `-1`, ``},
		{"*", `Long("9223372036854775807")`, `2`, ``},
		{"*", `Long("-9223372036854775808")`, `-1`, ``},
	} {
		f := addNumbers
		if c.op == "*" {
			f = mulNumbers
		}
		got, ok := f(val(c.a), val(c.b))
		if ok != (c.want != "") {
			t.Errorf("%s %s %s: ok is %v", c.a, c.op, c.b, ok)
			continue
		}
		if !ok {
			continue
		}
		want := val(c.want)
		if got.Type != want.Type || Compare(got, want) != 0 {
			t.Errorf("%s %s %s = %s, want %s", c.a, c.op, c.b, got, want)
		}
	}
}

// randomValue makes small values in which equal ones of different types are
// common.
func randomValue(r *rand.Rand, depth int) bson.RawValue {
	pool := inOrder[r.IntN(len(inOrder))]
	v := val(pool[r.IntN(len(pool))])
	if depth > 0 && r.IntN(4) == 0 {
		dst, start := openDocument(nil)
		for i := range r.IntN(3) {
			dst = appendElement(dst, []string{"a", "b", "0", "1"}[r.IntN(4)], randomValue(r, depth-1))
			_ = i
		}
		v = bson.RawValue{Type: []bson.Type{bson.TypeEmbeddedDocument, bson.TypeArray}[r.IntN(2)], Value: closeDocument(dst, start)}
	}
	return v
}

func checkOrder(t *testing.T, a, b, c bson.RawValue) {
	t.Helper()
	ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
	if sign(Compare(b, a)) != -sign(ab) {
		t.Errorf("%v and %v are not antisymmetric", a, b)
	}
	if ab <= 0 && bc <= 0 && ac > 0 {
		t.Errorf("%v ≤ %v ≤ %v but not %v ≤ %v", a, b, c, a, c)
	}
	if (ab == 0) != (IDKey(a) == IDKey(b)) {
		t.Errorf("%v and %v: Compare says %d, keys %q and %q", a, b, ab, IDKey(a), IDKey(b))
	}
}

func TestNestedValuesAreInTotalOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		checkOrder(t, randomValue(r, 2), randomValue(r, 2), randomValue(r, 2))
	}
}

func FuzzCompare(f *testing.F) {
	for i := range inOrder {
		a, b := val(inOrder[i][0]), val(inOrder[(i+1)%len(inOrder)][0])
		f.Add(byte(a.Type), a.Value, byte(b.Type), b.Value, byte(a.Type), b.Value)
	}
	f.Fuzz(func(t *testing.T, at byte, a []byte, bt byte, b []byte, ct byte, c []byte) {
		checkOrder(t, bson.RawValue{Type: bson.Type(at), Value: a}, bson.RawValue{Type: bson.Type(bt), Value: b}, bson.RawValue{Type: bson.Type(ct), Value: c})
	})
}
