package query

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// filterCases: a filter, documents that match it, and documents that do not.
var filterCases = []struct {
	name, filter string
	yes, no      []string
}{
	{"everything", `{}`, []string{`{}`, `{a: 1}`}, nil},
	{"equality across number types", `{a: 1}`,
		[]string{`{a: 1}`, `{a: 1.0}`, `{a: Long(1)}`, `{a: Dec("1.0")}`, `{a: [0, 1]}`},
		[]string{`{}`, `{a: 2}`, `{a: "1"}`, `{a: [[1]]}`, `{a: true}`}},
	{"NaN equals itself", `{a: NaN}`, []string{`{a: NaN}`, `{a: Dec("NaN")}`}, []string{`{a: 0}`}},
	{"a string and a symbol", `{a: "x"}`, []string{`{a: "x"}`, `{a: Sym("x")}`}, []string{`{a: "X"}`, `{a: "xx"}`}},
	{"null matches what is missing", `{a: null}`, []string{`{}`, `{a: null}`, `{a: [1, null]}`}, []string{`{a: 0}`, `{a: []}`, `{a: undefined}`}},
	{"null below a path", `{"a.b": null}`,
		[]string{`{}`, `{a: null}`, `{a: 5}`, `{a: {}}`, `{a: {b: null}}`, `{a: [{b: 1}, {}]}`},
		[]string{`{a: {b: 1}}`, `{a: []}`, `{a: [1, 2]}`, `{a: [{b: 1}]}`}},
	{"a whole document, in its order", `{a: {x: 1, y: 2}}`,
		[]string{`{a: {x: 1, y: 2}}`, `{a: {x: 1.0, y: Long(2)}}`, `{a: [{x: 1, y: 2}]}`},
		[]string{`{a: {y: 2, x: 1}}`, `{a: {x: 1}}`, `{a: {x: 1, y: 2, z: 3}}`}},
	{"an empty document", `{a: {}}`, []string{`{a: {}}`}, []string{`{a: {b: 1}}`, `{}`}},
	{"a whole array, or one inside", `{a: [1, 2]}`, []string{`{a: [1, 2]}`, `{a: [[1, 2], 3]}`}, []string{`{a: [2, 1]}`, `{a: [1, 2, 3]}`, `{a: 1}`}},
	{"a path through documents", `{"a.b.c": 1}`, []string{`{a: {b: {c: 1}}}`, `{a: {b: {c: [1]}}}`}, []string{`{a: {b: 1}}`, `{"a.b.c": 1}`}},
	{"a path through arrays", `{"a.b": 1}`, []string{`{a: [{b: 2}, {b: 1}]}`, `{a: [{b: [1]}]}`}, []string{`{a: [[{b: 1}]]}`, `{a: [1]}`}},
	{"a number in a path", `{"a.1": 5}`, []string{`{a: [4, 5]}`, `{a: {"1": 5}}`, `{a: [{"1": 5}]}`}, []string{`{a: [5, 4]}`, `{a: [4, [5]]}`, `{a: [5]}`}},
	{"a number in the middle of a path", `{"a.0.b": 1}`,
		[]string{`{a: [{b: 1}]}`, `{a: {"0": {b: 1}}}`, `{a: [[{b: 1}]]}`, `{a: [{"0": {b: 1}}]}`},
		[]string{`{a: [{b: 2}, {b: 1}]}`, `{a: [1]}`}},
	{"numbers with leading zeros are names", `{"a.01": 1}`, []string{`{a: {"01": 1}}`}, []string{`{a: [0, 1]}`}},
	{"the empty name", `{"": 1}`, []string{`{"": 1}`}, []string{`{a: 1}`}},

	{"$eq with a regular expression compares it", `{a: {$eq: /x/}}`, []string{`{a: /x/}`}, []string{`{a: "x"}`, `{a: /x/i}`}},
	{"$ne", `{a: {$ne: 1}}`, []string{`{}`, `{a: 2}`, `{a: []}`, `{a: "1"}`}, []string{`{a: 1.0}`, `{a: [2, 1]}`}},
	{"$ne null", `{a: {$ne: null}}`, []string{`{a: 1}`, `{a: []}`}, []string{`{}`, `{a: null}`, `{a: [null]}`}},
	{"$gt within a kind", `{a: {$gt: 1}}`, []string{`{a: 2}`, `{a: 1.5}`, `{a: [0, 9]}`, `{a: Inf}`}, []string{`{a: 1}`, `{a: "x"}`, `{}`, `{a: null}`, `{a: NaN}`, `{a: Date(5)}`}},
	{"$gte and NaN", `{a: {$gte: NaN}}`, []string{`{a: NaN}`}, []string{`{a: 1}`, `{a: Inf}`}},
	{"$lt NaN matches nothing", `{a: {$lt: NaN}}`, nil, []string{`{a: NaN}`, `{a: 1}`}},
	{"$gte null is null or missing", `{a: {$gte: null}}`, []string{`{}`, `{a: null}`}, []string{`{a: 1}`}},
	{"$gt null is nothing", `{a: {$gt: null}}`, nil, []string{`{}`, `{a: null}`, `{a: 1}`}},
	{"$gt MinKey is everything else", `{a: {$gt: MinKey}}`, []string{`{a: 1}`, `{}`, `{a: "x"}`}, []string{`{a: MinKey}`}},
	{"$lt MaxKey is everything else", `{a: {$lt: MaxKey}}`, []string{`{a: 1}`, `{a: {}}`}, []string{`{a: MaxKey}`}},
	{"$lt and $gt need not be met by one item", `{a: {$gt: 5, $lt: 3}}`, []string{`{a: [1, 9]}`}, []string{`{a: 4}`}},
	{"$gt of arrays", `{a: {$gt: [1]}}`, []string{`{a: [1, 0]}`, `{a: [[2]]}`}, []string{`{a: [1]}`, `{a: 5}`}},
	{"$lte of documents", `{a: {$lte: {x: 1}}}`, []string{`{a: {x: 1}}`, `{a: {}}`}, []string{`{a: {x: 2}}`, `{a: 1}`}},
	{"$gt of a long beside doubles", `{a: {$gt: Long("9007199254740993")}}`, []string{`{a: 9007199254740994.0}`}, []string{`{a: 9007199254740992.0}`}},
	{"$gt of dates", `{a: {$gt: Date(0)}}`, []string{`{a: Date(1)}`}, []string{`{a: TS(1, 1)}`, `{a: 1}`}},

	{"$in", `{a: {$in: [1, "x", null]}}`, []string{`{a: 1.0}`, `{a: ["x"]}`, `{}`}, []string{`{a: 2}`, `{a: []}`}},
	{"$in of many", `{a: {$in: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "x", {b: 1}, [5]]}}`, []string{`{a: 10.0}`, `{a: {b: 1}}`, `{a: [5]}`, `{a: ["x"]}`}, []string{`{}`, `{a: 11}`, `{a: {b: 2}}`}},
	{"$in with a regular expression", `{a: {$in: [/^x/, 5]}}`, []string{`{a: "xyz"}`, `{a: 5}`}, []string{`{a: "ax"}`}},
	{"$in of nothing", `{a: {$in: []}}`, nil, []string{`{}`, `{a: 1}`}},
	{"$nin", `{a: {$nin: [1, null]}}`, []string{`{a: 2}`, `{a: []}`}, []string{`{}`, `{a: [1, 2]}`}},
	{"$exists", `{a: {$exists: true}}`, []string{`{a: null}`, `{a: []}`, `{a: undefined}`}, []string{`{}`}},
	{"$exists below an array", `{"a.b": {$exists: true}}`, []string{`{a: [{}, {b: null}]}`}, []string{`{a: []}`, `{a: [1]}`, `{a: {}}`}},
	{"$exists false", `{"a.b": {$exists: 0}}`, []string{`{}`, `{a: []}`, `{a: [{}]}`}, []string{`{a: [{b: 1}, {}]}`}},
	{"$exists takes any true value", `{a: {$exists: "yes"}}`, []string{`{a: 1}`}, []string{`{}`}},

	{"$and", `{$and: [{a: 1}, {b: 2}]}`, []string{`{a: 1, b: 2}`}, []string{`{a: 1}`, `{b: 2}`}},
	{"$or", `{$or: [{a: 1}, {b: 2}]}`, []string{`{a: 1}`, `{b: 2}`}, []string{`{a: 2, b: 1}`}},
	{"$nor", `{$nor: [{a: 1}, {b: 2}]}`, []string{`{}`, `{a: 2}`}, []string{`{a: 1}`, `{b: 2}`}},
	{"$not", `{a: {$not: {$gt: 1}}}`, []string{`{}`, `{a: 1}`, `{a: "x"}`}, []string{`{a: 2}`, `{a: [0, 2]}`}},
	{"$not of a regular expression", `{a: {$not: /x/}}`, []string{`{}`, `{a: "y"}`}, []string{`{a: "xy"}`}},
	{"$not of two operators", `{a: {$not: {$gt: 1, $lt: 5}}}`, []string{`{a: 7}`, `{}`}, []string{`{a: 3}`}},
	{"$comment is let through", `{$comment: "why", a: 1}`, []string{`{a: 1}`}, []string{`{}`}},
	{"$alwaysFalse", `{$alwaysFalse: 1}`, nil, []string{`{}`}},

	{"$type by name", `{a: {$type: "string"}}`, []string{`{a: "x"}`, `{a: [1, "x"]}`}, []string{`{a: 1}`, `{}`}},
	{"$type by number", `{a: {$type: [16, 18.0]}}`, []string{`{a: 1}`, `{a: Long(1)}`}, []string{`{a: 1.0}`}},
	{"$type number", `{a: {$type: "number"}}`, []string{`{a: 1}`, `{a: Dec("1")}`}, []string{`{a: "1"}`}},
	{"$type array is the array itself", `{a: {$type: "array"}}`, []string{`{a: []}`, `{a: [1]}`}, []string{`{a: 1}`}},
	{"$type minKey", `{a: {$type: -1}}`, []string{`{a: MinKey}`}, []string{`{a: MaxKey}`}},
	{"$size", `{a: {$size: 2}}`, []string{`{a: [1, 2]}`, `{a: [[], 1]}`}, []string{`{a: [1]}`, `{a: 2}`, `{a: [[1, 2]]}`}},
	{"$size below an array", `{"a.b": {$size: 1}}`, []string{`{a: [{b: [1, 2]}, {b: [1]}]}`}, []string{`{a: [{b: 1}]}`}},
	{"$all", `{a: {$all: [1, 2]}}`, []string{`{a: [2, 3, 1]}`}, []string{`{a: [1]}`, `{a: 1}`}},
	{"$all of one matches a scalar", `{a: {$all: [1]}}`, []string{`{a: 1}`, `{a: [1]}`}, []string{`{a: 2}`}},
	{"$all of nothing", `{a: {$all: []}}`, nil, []string{`{a: []}`, `{}`}},
	{"$all of an array", `{a: {$all: [[1]]}}`, []string{`{a: [1]}`, `{a: [[1]]}`}, []string{`{a: [2]}`}},
	{"$all with $elemMatch", `{a: {$all: [{$elemMatch: {x: 1}}, {$elemMatch: {x: 2}}]}}`, []string{`{a: [{x: 1}, {x: 2}]}`}, []string{`{a: [{x: 1}]}`}},
	{"$elemMatch of documents", `{a: {$elemMatch: {x: 1, y: 2}}}`, []string{`{a: [{x: 1}, {x: 1, y: 2}]}`}, []string{`{a: [{x: 1}, {y: 2}]}`, `{a: {x: 1, y: 2}}`}},
	{"$elemMatch of values", `{a: {$elemMatch: {$gt: 1, $lt: 5}}}`, []string{`{a: [9, 3]}`}, []string{`{a: [0, 9]}`, `{a: 3}`, `{a: [[3]]}`}},
	{"$elemMatch with $or", `{a: {$elemMatch: {$or: [{x: 1}, {y: 1}]}}}`, []string{`{a: [{y: 1}]}`}, []string{`{a: [{x: 2}]}`}},
	{"$elemMatch in $elemMatch", `{a: {$elemMatch: {$elemMatch: {$gt: 1}}}}`, []string{`{a: [[0, 2]]}`}, []string{`{a: [2]}`}},
	{"$elemMatch with $not", `{a: {$elemMatch: {$not: {$gt: 1}}}}`, []string{`{a: [5, 0]}`}, []string{`{a: [5]}`, `{}`}},
	{"$elemMatch of an array by number", `{a: {$elemMatch: {"0": 1}}}`, []string{`{a: [[1]]}`}, []string{`{a: [1]}`}},
	{"$mod", `{a: {$mod: [4, 1]}}`, []string{`{a: 5}`, `{a: 5.9}`, `{a: Long(-3)}`}[:2], []string{`{a: 4}`, `{a: -3}`, `{a: "5"}`, `{a: NaN}`, `{a: Inf}`}},
	{"$mod of negatives", `{a: {$mod: [4, -3]}}`, []string{`{a: -3}`, `{a: Dec("-7.5")}`}, []string{`{a: 1}`}},
	{"$bitsAllSet", `{a: {$bitsAllSet: [0, 2]}}`, []string{`{a: 5}`, `{a: 7.0}`, `{a: Bin(0, "05")}`, `{a: -1}`}, []string{`{a: 4}`, `{a: 5.5}`, `{a: "5"}`}},
	{"$bitsAnySet by binary", `{a: {$bitsAnySet: Bin(0, "0001")}}`, []string{`{a: 256}`, `{a: Bin(0, "ff01")}`}, []string{`{a: 1}`, `{a: Bin(0, "ff")}`}},
	{"$bitsAllClear", `{a: {$bitsAllClear: [1, 70]}}`, []string{`{a: 5}`, `{a: Bin(0, "")}`}, []string{`{a: 2}`, `{a: -4}`}},
	{"$bitsAnyClear", `{a: {$bitsAnyClear: 6}}`, []string{`{a: 2}`, `{a: 0}`}, []string{`{a: 6}`, `{a: 7}`}},

	{"a regular expression", `{a: /^ab/}`, []string{`{a: "abc"}`, `{a: ["x", "ab"]}`, `{a: /^ab/}`}, []string{`{a: "xab"}`, `{a: 1}`, `{a: /^ab/i}`}},
	{"$regex with $options", `{a: {$options: "i", $regex: "B"}}`, []string{`{a: "abc"}`}, []string{`{a: "x"}`}},
	{"the dollar stands before a last newline", `{a: /b$/}`, []string{`{a: "ab"}`, "{a: \"ab\\n\"}"}, []string{"{a: \"ab\\nc\"}"}},
	{"multi-line", `{a: /^b$/m}`, []string{"{a: \"a\\nb\\nc\"}"}, []string{`{a: "abc"}`}},
	{"the dot and newlines", `{a: {$regex: "a.b", $options: "s"}}`, []string{"{a: \"a\\nb\"}"}, []string{`{a: "ab"}`}},
	{"extended patterns", `{a: {$regex: "a b # c\n[ ]d", $options: "x"}}`, []string{`{a: "ab d"}`}, []string{`{a: "a b d"}`}},
	{"a reference is a value", `{a: {$ref: "c", $id: 1}}`, []string{`{a: {$ref: "c", $id: 1}}`}, []string{`{a: {$ref: "c", $id: 2}}`}},
	{"a name with a dollar sign not in front", `{a: {b: 1, $gt: 2}}`, []string{`{a: {b: 1, $gt: 2}}`}, []string{`{a: 3}`}},
}

func TestFiltersMatchAsOnTheServer(t *testing.T) {
	for _, c := range filterCases {
		f, err := CompileFilter(doc(c.filter))
		if err != nil {
			t.Errorf("%s: %s: %v", c.name, c.filter, err)
			continue
		}
		for _, s := range c.yes {
			if !f.Match(doc(s)) {
				t.Errorf("%s: %s does not match %s", c.name, c.filter, s)
			}
		}
		for _, s := range c.no {
			if f.Match(doc(s)) {
				t.Errorf("%s: %s matches %s", c.name, c.filter, s)
			}
		}
	}
}

func TestWhatAFilterCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		filter string
		code   int32
		part   string
	}{
		{`{$foo: 1}`, 2, "unknown top level operator: $foo. If you have"},
		{`{$eq: 1}`, 2, "unknown top level operator: $eq"},
		{`{a: {$foo: 1}}`, 2, "unknown operator: $foo"},
		{`{a: {$gt: 1, b: 2}}`, 2, "unknown operator: b"},
		{`{a: {$and: [{b: 1}]}}`, 2, "unknown operator: $and"},
		{`{a: {$comment: "x"}}`, 2, "unknown operator: $comment"},
		{`{$expr: {$tan: 1}}`, 168, "The expression $tan is not supported by this server"},
		{`{a: {$elemMatch: {$expr: true}}}`, 2, "$expr can only be applied to the top-level document"},
		{`{$where: "true"}`, 238, "$where"},
		{`{a: {$near: [0, 0]}}`, 238, "$near"},
		{`{a: {$where: "x"}}`, 2, "$where cannot be applied to a field"},
		{`{$or: 1}`, 2, "$or must be an array"},
		{`{$and: []}`, 2, "must be a nonempty array"},
		{`{$nor: [1]}`, 2, "entries need to be full objects"},
		{`{a: {$in: 1}}`, 2, "$in needs an array"},
		{`{a: {$nin: 1}}`, 2, "$nin needs an array"},
		{`{a: {$in: [{$gt: 1}]}}`, 2, "cannot nest $ under $in"},
		{`{a: {$not: 1}}`, 2, "$not needs a regex or a document"},
		{`{a: {$not: {}}}`, 2, "$not cannot be empty"},
		{`{a: {$ne: /x/}}`, 2, "Can't have regex as arg to $ne."},
		{`{a: {$gt: /x/}}`, 2, "Can't have RegEx as arg to predicate over field 'a'."},
		{`{a: undefined}`, 2, "cannot compare to undefined"},
		{`{a: {$type: "foo"}}`, 2, "Unknown type name alias: foo"},
		{`{a: {$type: 99}}`, 2, "Invalid numerical type code: 99"},
		{`{a: {$type: {}}}`, 14, "type must be represented as a number or a string"},
		{`{a: {$type: []}}`, 9, "must match at least one type"},
		{`{a: {$size: "x"}}`, 2, "Expected a number in: $size"},
		{`{a: {$size: -1}}`, 2, "non-negative"},
		{`{a: {$size: 1.5}}`, 2, "Expected an integer"},
		{`{a: {$all: 1}}`, 2, "$all needs an array"},
		{`{a: {$all: [{$elemMatch: {b: 1}}, 2]}}`, 2, "$all/$elemMatch has to be consistent"},
		{`{a: {$all: [{$gt: 1}]}}`, 2, "no $ expressions in $all"},
		{`{a: {$elemMatch: 1}}`, 2, "$elemMatch needs an Object"},
		{`{a: {$mod: 1}}`, 2, "needs to be an array"},
		{`{a: {$mod: [1]}}`, 2, "not enough elements"},
		{`{a: {$mod: [1, 2, 3]}}`, 2, "too many elements"},
		{`{a: {$mod: [0, 1]}}`, 2, "divisor cannot be 0"},
		{`{a: {$mod: ["x", 1]}}`, 2, "divisor not a number"},
		{`{a: {$regex: 1}}`, 2, "$regex has to be a string"},
		{`{a: {$regex: "a", $options: 1}}`, 2, "$options has to be a string"},
		{`{a: {$options: "i"}}`, 2, "$options needs a $regex"},
		{`{a: {$regex: /a/i, $options: "m"}}`, 51075, "options set in both"},
		{`{a: {$regex: "a", $options: "q"}}`, 51108, "invalid flag in regex options: q"},
		{`{a: {$regex: "("}}`, 51091, "Regular expression is invalid"},
		{`{a: /(?=x)/}`, 51091, "Regular expression is invalid"},
		{`{a: /(x)\1/}`, 51091, "Regular expression is invalid"},
		{`{a: /x++/}`, 51091, "Regular expression is invalid"},
		{`{$alwaysTrue: 2}`, 9, "must be an integer value of 1"},
		{`{a: {$bitsAllSet: "x"}}`, 2, "takes an Array, a number, or a BinData"},
		{`{a: {$bitsAllSet: [1.5]}}`, 2, "bit positions must be an integer"},
		{`{a: {$bitsAllSet: [3e10]}}`, 2, "32-bit"},
		{`{a: {$bitsAllSet: -1}}`, 9, "non-negative"},
		{`{a: {$mod: [1, "x"]}}`, 2, "remainder not a number"},
		{`{a: {$mod: [Inf, 1]}}`, 2, "divisor value is invalid"},
		{`{a: {$size: NaN}}`, 2, "found NaN"},
		{`{a: {$size: 1e300}}`, 2, "64-bit"},
		{`{a: {$type: 0}}`, 2, "Instead use {$exists:false}"},
		{`{a: {$bitsAllSet: [-1]}}`, 2, "bit positions must be >= 0"},
	} {
		_, err := CompileFilter(doc(c.filter))
		t.Run(c.filter, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
	if _, err := CompileFilter(bson.Raw{1, 2, 3}); err == nil {
		t.Error("a filter that is no BSON is taken")
	}
	deep := strings.Repeat("{a: ", 300) + "1" + strings.Repeat("}", 300)
	_, err := CompileFilter(doc(deep))
	refused(t, err, 15, "nested")
}

func TestAFilterTellsWhichIDsItCanMatch(t *testing.T) {
	for _, c := range []struct{ filter, ids string }{
		{`{_id: 1}`, `[1]`},
		{`{_id: {$eq: "x"}}`, `["x"]`},
		{`{_id: {x: 1}}`, `[{x: 1}]`},
		{`{_id: {$in: [3, 1, 3.0, 2]}}`, `[1, 2, 3]`},
		{`{_id: {$in: []}}`, `[]`},
		{`{a: 1, _id: 5}`, `[5]`},
		{`{$and: [{a: 1}, {_id: 5}]}`, `[5]`},
		{`{_id: {$in: [1, 2]}, $and: [{_id: 2}]}`, `[2]`},
		{`{_id: {$gt: 0, $eq: 7}}`, `[7]`},
		{`{_id: null}`, `[null]`},
		{`{$or: [{_id: 2}, {_id: 1, a: 1}]}`, `[1, 2]`},
	} {
		f, err := CompileFilter(doc(c.filter))
		if err != nil {
			t.Fatal(err)
		}
		ids, ok := f.IDs()
		if !ok || Compare(arrayValue(ids), val(c.ids)) != 0 {
			t.Errorf("%s: got %s, %v, want %s", c.filter, text(arrayValue(ids)), ok, c.ids)
		}
	}
	for _, s := range []string{`{}`, `{a: 1}`, `{_id: {$gt: 1}}`, `{_id: {$ne: 1}}`, `{_id: /x/}`, `{_id: {$in: [1, /x/]}}`,
		`{$or: [{_id: 1}, {a: 1}]}`, `{$nor: [{_id: 1}]}`, `{_id: {$not: {$eq: 1}}}`, `{"_id.a": 1}`} {
		f, err := CompileFilter(doc(s))
		if err != nil {
			t.Fatal(err)
		}
		if ids, ok := f.IDs(); ok {
			t.Errorf("%s: got %s", s, text(arrayValue(ids)))
		}
	}
}

func TestAFilterOutlivesTheBytesItWasReadFrom(t *testing.T) {
	raw := doc(`{a: "x"}`)
	f, err := CompileFilter(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] = 0xff
	}
	if !f.Match(doc(`{a: "x"}`)) {
		t.Error("the filter changed with its bytes")
	}
}

func TestMatchingByIDDoesNotAllocate(t *testing.T) {
	f, err := CompileFilter(doc(`{_id: OID("01"), n: {$gt: 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	d := doc(`{_id: OID("01"), n: 5, s: "text"}`)
	if n := testing.AllocsPerRun(100, func() { f.Match(d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFilter(f *testing.F) {
	for _, c := range filterCases {
		for _, s := range append(c.yes, c.no...) {
			f.Add([]byte(doc(c.filter)), []byte(doc(s)))
		}
	}
	f.Fuzz(func(t *testing.T, filter, d []byte) {
		m, err := CompileFilter(filter)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%v is no *Error", err)
			}
			return
		}
		m.Match(d)
		m.position(d)
	})
}

func BenchmarkMatchByID(b *testing.B) {
	f, err := CompileFilter(doc(`{_id: OID("01")}`))
	if err != nil {
		b.Fatal(err)
	}
	d := doc(`{_id: OID("01"), n: 5, s: "text"}`)
	b.ReportAllocs()
	for b.Loop() {
		f.Match(d)
	}
}

func BenchmarkCompileFilterByID(b *testing.B) {
	raw := doc(`{_id: OID("01")}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CompileFilter(raw); err != nil {
			b.Fatal(err)
		}
	}
}
