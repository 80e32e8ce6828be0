package query

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// compileUpdate compiles an update in the notation of the tests.
func compileUpdate(t testing.TB, s string, filters ...string) *Update {
	t.Helper()
	clock := func() time.Time { return time.UnixMilli(1500) }
	u, err := CompileUpdate(val(s), UpdateOptions{Now: clock, ArrayFilters: docs(filters...)})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return u
}

func TestUpdatesChangeDocumentsAsOnTheServer(t *testing.T) {
	for _, c := range []struct{ name, update, before, after string }{
		{"$set changes in place", `{$set: {a: 2}}`, `{_id: 1, a: 1, b: 1}`, `{_id: 1, a: 2, b: 1}`},
		{"$set changes the type", `{$set: {a: 1.0}}`, `{a: 1}`, `{a: 1.0}`},
		{"$set adds in the order of names", `{$set: {c: 1, b: 2, a: 3}}`, `{_id: 1, b: 0}`, `{_id: 1, b: 2, a: 3, c: 1}`},
		{"numbers among names are ordered by value", `{$set: {"10": 1, "9": 2}}`, `{}`, `{"9": 2, "10": 1}`},
		{"$set makes the documents on its way", `{$set: {"a.b.c": 1, "a.b.a": 2}}`, `{_id: 1}`, `{_id: 1, a: {b: {a: 2, c: 1}}}`},
		{"$set below a document", `{$set: {"a.b": 1}}`, `{a: {c: 1}}`, `{a: {c: 1, b: 1}}`},
		{"$set of an item", `{$set: {"a.1": 5}}`, `{a: [1, 2, 3]}`, `{a: [1, 5, 3]}`},
		{"$set below an item", `{$set: {"a.0.b": 5}}`, `{a: [{b: 1}, 2]}`, `{a: [{b: 5}, 2]}`},
		{"$set beyond the end pads with nulls", `{$set: {"a.3": 5, "a.4.b": 6}}`, `{a: [1]}`, `{a: [1, null, null, 5, {b: 6}]}`},
		{"$set of two items", `{$set: {"a.0": 1, "a.1": 2}}`, `{a: [0, 0]}`, `{a: [1, 2]}`},
		{"$set with a number into no array makes a document", `{$set: {"a.0": 1}}`, `{}`, `{a: {"0": 1}}`},
		{"$set of the same is no change", `{$set: {a: 1, "b.c": 2}}`, `{a: 1, b: {c: 2}}`, ``},
		{"$set of a document keeps its order", `{$set: {a: {z: 1, y: 2}}}`, `{}`, `{a: {z: 1, y: 2}}`},
		{"$set of the same _id is no change", `{$set: {_id: 1}}`, `{_id: 1}`, ``},
		{"an empty operator is no change", `{$set: {}}`, `{_id: 1}`, ``},
		{"$setOnInsert is nothing in an update", `{$setOnInsert: {a: 1, "b.c": 2}}`, `{_id: 1, b: 5}`, ``},
		{"$unset", `{$unset: {a: 1, "b.c": ""}}`, `{a: 1, b: {c: 1, d: 2}, e: 1}`, `{b: {d: 2}, e: 1}`},
		{"$unset of an item leaves null", `{$unset: {"a.1": 1}}`, `{a: [1, 2, 3]}`, `{a: [1, null, 3]}`},
		{"$unset of what is not there", `{$unset: {x: 1, "a.b.c": 1, "d.x": 1, "d.7": 1}}`, `{a: 1, d: [1]}`, ``},

		{"$inc", `{$inc: {a: 2}}`, `{a: 1}`, `{a: 3}`},
		{"$inc of what is not there", `{$inc: {a: Long(2), "b.c": 1.5}}`, `{}`, `{a: Long(2), b: {c: 1.5}}`},
		{"$inc grows an int", `{$inc: {a: 1}}`, `{a: 2147483647}`, `{a: Long("2147483648")}`},
		{"$inc to a wider type", `{$inc: {a: Long(1), b: 0.5, c: Dec("0.5")}}`, `{a: 1, b: 1, c: 1}`, `{a: Long(2), b: 1.5, c: Dec("1.5")}`},
		{"$inc by nothing is no change", `{$inc: {a: 0}}`, `{a: 1}`, ``},
		{"$inc to an equal number is no change", `{$inc: {a: Dec("0.00")}, $mul: {b: -3}}`, `{a: Dec("1.5"), b: 0.0}`, ``},
		{"$inc by 0.0 changes the type", `{$inc: {a: 0.0}}`, `{a: 1}`, `{a: 1.0}`},
		{"$inc of an item", `{$inc: {"a.0.n": -1}}`, `{a: [{n: 5}]}`, `{a: [{n: 4}]}`},
		{"$mul", `{$mul: {a: 2, b: 1.5, c: Long(3)}}`, `{a: 3, b: 2}`, `{a: 6, b: 3.0, c: Long(0)}`},
		{"$min and $max", `{$min: {a: 1, b: 9, c: 1}, $max: {d: 9, e: 1}}`, `{a: 5, b: 5, d: 5, e: 5}`, `{a: 1, b: 5, d: 9, e: 5, c: 1}`},
		{"$max across types", `{$max: {a: "x"}}`, `{a: 99}`, `{a: "x"}`},
		{"$min of an equal number is no change", `{$min: {a: 1.0}}`, `{a: 1}`, ``},
		{"$bit", `{$bit: {a: {and: 6}, b: {or: Long(1)}, c: {xor: 3}}}`, `{a: 5, b: 4}`, `{a: 4, b: Long(5), c: 3}`},
		{"$currentDate", `{$currentDate: {a: true, b: {$type: "timestamp"}, c: {$type: "date"}}}`, `{a: 1}`, `{a: Date(1500), b: TS(1, 500001), c: Date(1500)}`},

		{"$rename", `{$rename: {a: "b"}}`, `{a: 1, c: 2}`, `{c: 2, b: 1}`},
		{"$rename into what is there", `{$rename: {a: "c"}}`, `{a: 1, c: 2, d: 3}`, `{c: 1, d: 3}`},
		{"$rename deeper", `{$rename: {a: "b.c", "d.e": "f"}}`, `{a: 1, d: {e: 2, x: 3}}`, `{d: {x: 3}, b: {c: 1}, f: 2}`},
		{"$rename of what is not there", `{$rename: {a: "b", "x.y": "z"}}`, `{c: 1, x: {}}`, ``},

		{"$push", `{$push: {a: 3}}`, `{a: [1, 2]}`, `{a: [1, 2, 3]}`},
		{"$push makes the array", `{$push: {"a.b": 3}}`, `{}`, `{a: {b: [3]}}`},
		{"$push of an array is one item", `{$push: {a: [1]}}`, `{a: []}`, `{a: [[1]]}`},
		{"$push $each", `{$push: {a: {$each: [3, 4]}}}`, `{a: [1]}`, `{a: [1, 3, 4]}`},
		{"$push $position", `{$push: {a: {$each: [8, 9], $position: 1}}}`, `{a: [1, 2, 3]}`, `{a: [1, 8, 9, 2, 3]}`},
		{"$push $position from the end", `{$push: {a: {$each: [8, 9], $position: -1}}}`, `{a: [1, 2, 3]}`, `{a: [1, 2, 8, 9, 3]}`},
		{"$push $position beyond", `{$push: {a: {$each: [9], $position: -9}}, $set: {b: 1}}`, `{a: [1, 2]}`, `{a: [9, 1, 2], b: 1}`},
		{"$push $slice of the first", `{$push: {a: {$each: [3, 4], $slice: 3}}}`, `{a: [1, 2]}`, `{a: [1, 2, 3]}`},
		{"$push $slice of the last", `{$push: {a: {$each: [3, 4], $slice: -3}}}`, `{a: [1, 2]}`, `{a: [2, 3, 4]}`},
		{"$push $slice of none", `{$push: {a: {$each: [3], $slice: 0}}}`, `{a: [1, 2]}`, `{a: []}`},
		{"$push $sort", `{$push: {a: {$each: [2], $sort: -1}}}`, `{a: [1, "x", 3]}`, `{a: ["x", 3, 2, 1]}`},
		{"$push $sort by a field, stable", `{$push: {a: {$each: [{s: 1, n: 9}], $sort: {s: 1}}}}`, `{a: [{s: 2, n: 1}, {s: 1, n: 2}, {n: 3}]}`, `{a: [{n: 3}, {s: 1, n: 2}, {s: 1, n: 9}, {s: 2, n: 1}]}`},
		{"$push $sort then $slice", `{$push: {a: {$each: [{s: {t: 5}}], $sort: {"s.t": -1}, $slice: 2}}}`, `{a: [{s: {t: 1}}, {s: {t: 9}}]}`, `{a: [{s: {t: 9}}, {s: {t: 5}}]}`},
		{"$push of nothing is no change", `{$push: {a: {$each: []}}}`, `{a: [1]}`, ``},
		{"$push of nothing makes an array", `{$push: {a: {$each: []}}}`, `{}`, `{a: []}`},
		{"$addToSet", `{$addToSet: {a: 3, b: 1.0}}`, `{a: [1], b: [1]}`, `{a: [1, 3], b: [1]}`},
		{"$addToSet $each, each once", `{$addToSet: {a: {$each: [1, 4, 4.0, {x: 1}]}}}`, `{a: [1, {x: 1}]}`, `{a: [1, {x: 1}, 4]}`},
		{"$addToSet makes the array", `{$addToSet: {a: {$each: [1, 1]}}}`, `{}`, `{a: [1]}`},
		{"$pop", `{$pop: {a: 1, b: -1, c: 1, x: 1, "y.z": 1}}`, `{a: [1, 2], b: [1, 2], c: [], y: {}}`, `{a: [1], b: [2], c: [], y: {}}`},
		{"$pull of a value", `{$pull: {a: 1}}`, `{a: [1, 2, 1.0, [1]]}`, `{a: [2, [1]]}`},
		{"$pull by operators", `{$pull: {a: {$gte: 2}}}`, `{a: [1, 2, "x", 3]}`, `{a: [1, "x"]}`},
		{"$pull by $in", `{$pull: {a: {$in: [1, "x"]}}}`, `{a: [1, 2, "x"]}`, `{a: [2]}`},
		{"$pull of documents by a query", `{$pull: {a: {x: 1, y: {$gt: 3}}}}`, `{a: [{x: 1, y: 5, z: 1}, {x: 1, y: 1}, 1]}`, `{a: [{x: 1, y: 1}, 1]}`},
		{"$pull by $or", `{$pull: {a: {$or: [{x: 1}, {x: 2}]}}}`, `{a: [{x: 1}, {x: 3}]}`, `{a: [{x: 3}]}`},
		{"$pull by a pattern", `{$pull: {a: /^x/}}`, `{a: ["xa", "b"]}`, `{a: ["b"]}`},
		{"$pull by $elemMatch", `{$pull: {a: {b: {$elemMatch: {c: 1}}}}}`, `{a: [{b: [{c: 1}]}, {b: [{c: 2}]}]}`, `{a: [{b: [{c: 2}]}]}`},
		{"$pull of an array", `{$pull: {a: [1, 2]}}`, `{a: [[1, 2], [1], 1]}`, `{a: [[1], 1]}`},
		{"$pull of what is not there", `{$pull: {a: 9, b: 1, "c.d": 1}}`, `{a: [1], c: {}}`, ``},
		{"$pullAll", `{$pullAll: {a: [1, {x: 1}]}}`, `{a: [1, 2, {x: 1}, {x: 1, y: 2}, 1.0]}`, `{a: [2, {x: 1, y: 2}]}`},
		{"several operators at once", `{$set: {"s.hp": 5}, $inc: {"s.n": 1}, $push: {log: "x"}, $unset: {old: 1}}`, `{_id: 1, s: {n: 1}, old: 1}`, `{_id: 1, s: {n: 2, hp: 5}, log: ["x"]}`},

		{"a replacement keeps the _id", `{b: 2}`, `{_id: 1, a: 1}`, `{_id: 1, b: 2}`},
		{"a replacement with its _id elsewhere", `{b: 2, _id: 1}`, `{_id: 1, a: 1}`, `{_id: 1, b: 2}`},
		{"an empty replacement", `{}`, `{_id: 1, a: 1}`, `{_id: 1}`},
		{"a replacement by the same is no change", `{a: 1}`, `{_id: 1, a: 1}`, ``},
	} {
		u := compileUpdate(t, c.update)
		before := doc(c.before)
		kept := bytes.Clone(before)
		got, changed, err := u.Apply(before)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := before
		if c.after != "" {
			want = doc(c.after)
		}
		if !bytes.Equal(got, want) || changed != (c.after != "") {
			t.Errorf("%s: got %s, changed %v\nwant %s", c.name, got, changed, want)
		}
		if !bytes.Equal(before, kept) {
			t.Errorf("%s: the document given was modified", c.name)
		}
	}
}

func TestWhatAnUpdateCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		update string
		code   int32
		part   string
	}{
		{`[{$match: {a: 1}}]`, 72, "$match is not allowed to be used within an update"},
		{`[{$frob: 1}]`, 40324, "Unrecognized pipeline stage name"},
		{`[{$lookup: 1}]`, 72, "$lookup is not allowed to be used within an update"},
		{`[1]`, 14, "must be an object"},
		{`[{$set: {a: {$tan: 1}}}]`, 168, "$tan"},
		{`5`, 9, "either an object or an array"},
		{`{$foo: {a: 1}}`, 9, "Unknown modifier: $foo. Expected a valid update modifier"},
		{`{$set: 1}`, 9, "Modifiers operate on fields but we found type int instead."},
		{`{$set: {a: 1}, b: 1}`, 9, "Unknown modifier: b"},
		{`{a: 1, $set: {b: 1}}`, 52, "The dollar ($) prefixed field '$set'"},
		{`{$set: {a: 1}, $inc: {a: 1}}`, 40, "Updating the path 'a' would create a conflict at 'a'"},
		{`{$set: {a: 1, "a.b": 1}}`, 40, "would create a conflict at 'a'"},
		{`{$set: {"a.b": 1, a: 1}}`, 40, "Updating the path 'a' would create a conflict at 'a'"},
		{`{$set: {"a.b.c": 1}, $unset: {"a.b": 1}}`, 40, "conflict at 'a.b'"},
		{`{$rename: {a: "b"}, $set: {b: 1}}`, 40, "conflict at 'b'"},
		{`{$rename: {a: "b"}, $inc: {"a.c": 1}}`, 40, "conflict at 'a'"},
		{`{$set: {"": 1}}`, 56, "An empty update path is not valid."},
		{`{$set: {"a..b": 1}}`, 56, "contains an empty field name"},
		{`{$set: {"a.": 1}}`, 56, "contains an empty field name"},
		{`{$set: {"$a": 1}}`, 52, "The dollar ($) prefixed field '$a' in '$a' is not valid for storage."},
		{`{$set: {"a.$b": 1}}`, 52, "'$b' in 'a.$b'"},
		{`{$set: {"$.a": 1}}`, 2, "first position"},
		{`{$inc: {a: "x"}}`, 14, "Cannot increment with non-numeric argument: {a: \"x\"}"},
		{`{$mul: {a: null}}`, 14, "Cannot multiply with non-numeric argument"},
		{`{$rename: {a: 1}}`, 2, "The 'to' field for $rename must be a string"},
		{`{$rename: {a: "a"}}`, 2, "must differ"},
		{`{$rename: {a: "a.b"}}`, 2, "must not be on the same path"},
		{`{$rename: {"a.$": "b"}}`, 2, "may not be dynamic"},
		{`{$currentDate: {a: 1}}`, 2, "int is not valid type for $currentDate."},
		{`{$currentDate: {a: {$foo: 1}}}`, 2, "Unrecognized $currentDate option: $foo"},
		{`{$currentDate: {a: {$type: "day"}}}`, 2, "required to be 'date' or 'timestamp'"},
		{`{$push: {a: {$each: 1}}}`, 2, "The argument to $each in $push must be an array"},
		{`{$push: {a: {$each: [1], $foo: 1}}}`, 2, "Unrecognized clause in $push: $foo"},
		{`{$push: {a: {$each: [1], $slice: "x"}}}`, 2, "The value for $slice must be an integer value"},
		{`{$push: {a: {$each: [1], $position: 1.5}}}`, 2, "The value for $position must be an integer value"},
		{`{$push: {a: {$each: [1], $sort: 2}}}`, 2, "must be either 1 or -1"},
		{`{$push: {a: {$each: [1], $sort: "x"}}}`, 2, "The $sort is invalid"},
		{`{$push: {a: {$each: [1], $sort: {}}}}`, 2, "The $sort pattern is empty"},
		{`{$addToSet: {a: {$each: 1}}}`, 14, "The argument to $each in $addToSet must be an array"},
		{`{$addToSet: {a: {$each: [1], $slice: 1}}}`, 2, "Found unexpected fields after $each in $addToSet"},
		{`{$pop: {a: 2}}`, 9, "$pop expects 1 or -1, found: 2"},
		{`{$pop: {a: "x"}}`, 9, "Expected a number in: a"},
		{`{$pullAll: {a: 1}}`, 2, "$pullAll requires an array argument but was given a int"},
		{`{$pull: {a: {$foo: 1}}}`, 2, "unknown operator: $foo"},
		{`{$bit: {a: {not: 1}}}`, 2, "only supports 'and', 'or', and 'xor'"},
		{`{$bit: {a: {and: 1.5}}}`, 2, "must be an Integer"},
		{`{$bit: {a: {}}}`, 2, "at least one bitwise operation"},
		{`{$set: {"a.$[x]": 1}}`, 2, "No array filter found for identifier 'x' in path 'a.$[x]'"},
		{`{$set: {"a.$[]": 1, "a.0": 1}}`, 40, "conflict at 'a'"},
	} {
		_, err := CompileUpdate(val(c.update), UpdateOptions{})
		t.Run(c.update, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
	_, err := CompileUpdate(val(`{a: 1}`), UpdateOptions{Multi: true})
	refused(t, err, 9, "multi update is not supported for replacement-style update")
	_, err = CompileUpdate(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: []byte{1}}, UpdateOptions{})
	refused(t, err, 22, "")
}

func TestAnUpdateThatDoesNotFitTheDocumentIsRefused(t *testing.T) {
	for _, c := range []struct {
		update, before string
		code           int32
		part           string
	}{
		{`{$set: {_id: 2}}`, `{_id: 1}`, 66, "Performing an update on the path '_id' would modify the immutable field '_id'"},
		{`{$set: {"_id.a": 2}}`, `{_id: {a: 1}}`, 66, "Performing an update on the path '_id.a'"},
		{`{$unset: {_id: 1}}`, `{_id: 1}`, 66, "immutable field '_id'"},
		{`{$inc: {_id: 1}}`, `{_id: 1}`, 66, "immutable field '_id'"},
		{`{$rename: {_id: "x"}}`, `{_id: 1}`, 66, "Unsetting the path '_id' using $rename"},
		{`{$rename: {x: "_id"}}`, `{_id: 1, x: 2}`, 66, "immutable field '_id'"},
		{`{_id: 2, a: 1}`, `{_id: 1}`, 66, "After applying the update, the (immutable) field '_id' was found to have been altered to _id: 2"},
		{`{$inc: {a: 1}}`, `{_id: 1, a: "x"}`, 14, "Cannot apply $inc to a value of non-numeric type. {_id: 1} has the field 'a' of non-numeric type string"},
		{`{$inc: {a: 1}}`, `{_id: 1, a: Long("9223372036854775807")}`, 2, "Failed to apply $inc operations to current value ((NumberLong)9223372036854775807) for document {_id: 1}"},
		{`{$mul: {"a.b": 2}}`, `{a: {b: null}}`, 14, "Cannot apply $mul"},
		{`{$set: {"a.b": 1}}`, `{a: 5}`, 28, "Cannot create field 'b' in element {a: 5}"},
		{`{$set: {"a.b": 1}}`, `{a: null}`, 28, "Cannot create field 'b' in element {a: null}"},
		{`{$set: {"a.b.c": 1}}`, `{a: [1]}`, 28, "Cannot create field 'b' in element {a: [ 1 ]}"},
		{`{$inc: {"a.0.x": 1}}`, `{a: [1]}`, 28, "Cannot create field 'x' in element {0: 1}"},
		{`{$push: {"a.b": 1}}`, `{a: "x"}`, 28, "Cannot create field 'b'"},
		{`{$pull: {"a.b": 1}}`, `{a: 5}`, 28, "Cannot use the part (b) of (a.b) to traverse the element ({a: 5})"},
		{`{$pop: {"a.b": 1}}`, `{a: [1]}`, 28, "Cannot use the part (b) of (a.b)"},
		{`{$set: {"a.2000000": 1}}`, `{a: []}`, 34, "can't backfill more than 1500000 elements"},
		{`{$push: {a: 1}}`, `{_id: 1, a: 5}`, 2, "The field 'a' must be an array but is of type int in document {_id: 1}"},
		{`{$addToSet: {a: 1}}`, `{a: 5}`, 2, "Cannot apply $addToSet to non-array field. Field named 'a' has non-array type int"},
		{`{$pop: {a: 1}}`, `{a: 5}`, 14, "Path 'a' contains an element of non-array type 'int'"},
		{`{$pull: {a: 1}}`, `{a: 5}`, 2, "Cannot apply $pull to a non-array value"},
		{`{$pullAll: {a: [1]}}`, `{a: 5}`, 2, "Cannot apply $pull to a non-array value"},
		{`{$bit: {a: {or: 1}}}`, `{a: 1.5}`, 2, "Cannot apply $bit to a value of non-integral type"},
		{`{$rename: {"a.0": "b"}}`, `{_id: 1, a: [1]}`, 2, "The source field cannot be an array element, 'a.0' in doc with _id: 1 has an array field called 'a'"},
		{`{$rename: {b: "a.0"}}`, `{_id: 1, a: [1], b: 1}`, 2, "The destination field cannot be an array element"},
		{`{$rename: {b: "a.x"}}`, `{a: 1, b: 1}`, 28, "Cannot create field 'x' in element {a: 1}"},
		{`{$set: {"a.$[].b": 1}}`, `{}`, 2, "The path 'a' must exist in the document in order to apply array updates."},
		{`{$set: {"a.$[]": 1}}`, `{a: 5}`, 2, "Cannot apply array updates to non-array element a: 5"},
		{`{$set: {"a.$": 1}}`, `{a: [5]}`, 2, "The positional operator did not find the match needed from the query."},
	} {
		u := compileUpdate(t, c.update)
		_, _, err := u.Apply(doc(c.before))
		t.Run(c.update, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
}

func TestAnUpdateMayNotMakeADocumentTooLargeOrTooDeep(t *testing.T) {
	large := fmt.Sprintf(`{_id: 1, a: "%s"}`, strings.Repeat("x", MaxDocumentSize-100))
	u := compileUpdate(t, fmt.Sprintf(`{$set: {b: "%s"}}`, strings.Repeat("y", 200)))
	_, _, err := u.Apply(doc(large))
	refused(t, err, 17419, "Resulting document after update is larger than 16777216")

	nested := func(levels int) string { return strings.Repeat("{a: ", levels) + "1" + strings.Repeat("}", levels) }
	path := strings.Repeat("a.", 99) + "a" // of 100 parts
	for _, c := range []struct {
		update, before string
		levels         int // of what makes 180 of it
	}{
		{`{$set: {"` + path + `": %s}}`, `{}`, 80},
		{`{$push: {"` + path + `": %s}}`, `{}`, 79},
		{`{$addToSet: {"` + path + `": {$each: [%s]}}}`, `{}`, 79},
		{`{$rename: {x: "` + strings.ReplaceAll(path, "a", "b") + `"}}`, `{x: %s}`, 80},
		{`[{$set: {"` + path + `": %s}}]`, `{}`, 80},
		{`{a: %s}`, `{b: 1}`, 179},
	} {
		for _, more := range []int{0, 1} {
			u, before := c.update, c.before
			if strings.Contains(u, "%s") {
				u = fmt.Sprintf(u, nested(c.levels+more))
			} else {
				before = fmt.Sprintf(before, nested(c.levels+more))
			}
			up := compileUpdate(t, u)
			_, _, applied := up.Apply(doc(before))
			_, upserted := up.Upsert(doc(`{}`))
			for i, err := range []error{applied, upserted} {
				switch {
				case i == 1 && before != c.before: // there is nothing to rename
				case more == 1:
					refused(t, err, 15, "Document exceeds maximum nesting depth of 180")
				case err != nil:
					t.Errorf("%.20s: %v", c.update, err)
				}
			}
		}
	}
}

func TestAReplacementsZeroTimestampsBecomeThePresent(t *testing.T) {
	stamp := bson.Timestamp{T: 1, I: 1}
	for _, c := range []struct {
		update  string
		stamped bool
	}{{`{t: TS(0, 0), b: {t: TS(0, 0)}}`, true}, {`{$set: {t: TS(0, 0)}}`, false}, {`[{$set: {t: TS(0, 0)}}]`, false}} {
		u := compileUpdate(t, c.update)
		after, _, err := u.Apply(doc(`{_id: TS(0, 0)}`))
		made, upserted := u.Upsert(doc(`{_id: TS(0, 0)}`))
		for _, got := range []bson.Raw{after, made} {
			var want bson.Timestamp
			if c.stamped {
				want = stamp
			}
			at, i := lookup(got, "t").Timestamp()
			id, _ := lookup(got, "_id").Timestamp()
			if err != nil || upserted != nil || (bson.Timestamp{T: at, I: i}) != want || id != 0 {
				t.Errorf("%s: %s, %v, %v", c.update, show(got), err, upserted)
			}
		}
	}
}

func TestDollarsAreKeptOutOfWhatAnUpdateStoresWhereTheyMustBe(t *testing.T) {
	for _, c := range []struct {
		update, before string
		code           int32
		part           string
	}{
		{`{a: {$b: 1}}`, `{}`, 52, "The dollar ($) prefixed field '$b' in 'a.$b' is not valid for storage."},
		{`{a: 1, $b: 1}`, `{}`, 52, "'$b' in '$b' is not valid"},
		{`{a: [{b: {$c: 1}}]}`, `{}`, 52, "'$c' in 'a.0.b.$c'"},
		{`{$set: {a: {$b: 1}}}`, `{}`, 52, "'a.$b'"},
		{`{$push: {a: {$b: 1}}}`, `{}`, 52, "'a.0.$b'"},
		{`[{$set: {a: {$literal: {$b: 1}}}}]`, `{}`, 52, "'a.$b'"},
		{`{a: {$ref: "c", $id: 1, $db: "d", x: 1}}`, `{}`, 0, ""},
		{`{a: {$db: "d"}}`, `{}`, 55, "$db field without a $id before it"},
		{`{a: {$ref: "c", $id: 1, $db: 2}}`, `{}`, 55, "$db field must be a String, not a int"},
		{`{a: {$ref: 1, $id: 1}}`, `{}`, 55, "$ref field must be a String, not a int"},
		{`{a: {$ref: "c"}}`, `{}`, 55, "$ref field must be followed by a $id"},
		{`{a: {$id: 1}}`, `{}`, 55, "$id field without a $ref before it"},
		{`{$set: {c: 1}}`, `{a: {$b: 1}}`, 0, ""}, // as an insert may have left it
		{`{"a.b": 1}`, `{}`, 0, ""},
	} {
		for _, none := range []bool{true, false} {
			u, err := CompileUpdate(val(c.update), UpdateOptions{NoDollars: none})
			var upserted error
			if err == nil {
				_, _, err = u.Apply(doc(c.before))
				_, upserted = u.Upsert(doc(`{}`))
			}
			switch {
			case !none && c.update == `{a: 1, $b: 1}`:
				refused(t, err, 52, "not allowed in the context of an update's replacement document")
			case none && c.code != 0:
				refused(t, err, c.code, c.part)
				refused(t, upserted, c.code, c.part)
			case err != nil || upserted != nil:
				t.Errorf("%s: %v, %v", c.update, err, upserted)
			}
		}
	}
}

func TestAnUpdateOfManyFieldsReachesThemAll(t *testing.T) {
	var set, before, after strings.Builder
	for i := range 200 {
		fmt.Fprintf(&set, "f%03d: 1,", i)
		if i%2 == 0 {
			fmt.Fprintf(&before, "f%03d: 0,", i)
		}
	}
	for _, first := range []int{0, 1} { // what was there stays in its place, the rest follows
		for i := first; i < 200; i += 2 {
			fmt.Fprintf(&after, "f%03d: 1,", i)
		}
	}
	got, changed, err := compileUpdate(t, `{$set: {`+set.String()+`}}`).Apply(doc(`{` + before.String() + `}`))
	if err != nil || !changed || !bytes.Equal(got, doc(`{`+after.String()+`}`)) {
		t.Errorf("got %s, %v, %v", show(got), changed, err)
	}
}

func TestAnUpdateOutlivesTheBytesItWasReadFrom(t *testing.T) {
	raw := val(`{$set: {a: "x"}}`)
	u, err := CompileUpdate(raw, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw.Value {
		raw.Value[i] = 0xff
	}
	if got, _, _ := u.Apply(doc(`{}`)); !bytes.Equal(got, doc(`{a: "x"}`)) {
		t.Errorf("got %s", show(got))
	}
}

// Whatever an update leaves is well-formed and keeps its _id.
func TestUpdatesLeaveWellFormedDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	ops := []string{"$set", "$unset", "$inc", "$mul", "$min", "$max", "$push", "$addToSet", "$pull", "$pop"}
	names := []string{"a", "b", "a.0", "a.1.b", "b.a", "0", "b.0.1", "_id", "a.$[]"}
	for range 20000 {
		spec := bson.D{}
		for range 1 + r.IntN(3) {
			v := randomValue(r, 1)
			spec = append(spec, bson.E{Key: ops[r.IntN(len(ops))], Value: bson.D{{Key: names[r.IntN(len(names))], Value: v}}})
		}
		raw, err := bson.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		u, err := CompileUpdate(documentValue(raw), UpdateOptions{})
		if err != nil {
			continue
		}
		dst, start := openDocument(nil)
		dst = appendElement(dst, "_id", int32Value(1))
		dst = appendElement(dst, "a", randomValue(r, 3))
		dst = appendElement(dst, "b", randomValue(r, 3))
		before := bson.Raw(closeDocument(dst, start))
		after, _, err := u.Apply(before)
		if err != nil {
			continue
		}
		if err := after.Validate(); err != nil {
			t.Fatalf("%s on %s gives malformed bytes: %v", bson.Raw(raw), before, err)
		}
		if Compare(lookup(after, "_id"), int32Value(1)) != 0 {
			t.Fatalf("%s on %s gives %s", bson.Raw(raw), before, after)
		}
	}
}

func FuzzUpdate(f *testing.F) {
	for _, s := range []string{`{$set: {"a.1": 5, b: {c: 1}}}`, `{$push: {a: {$each: [1], $sort: -1, $slice: 2}}}`, `{$rename: {a: "b.c"}}`,
		`{$pull: {a: {$gt: 1}}}`, `{$inc: {"a.$[].b": 1}, $unset: {b: 1}}`, `{$set: {"a.$": 1}}`, `{x: 1}`, `{$addToSet: {a: {$each: [1]}}}`} {
		f.Add(val(s).Value, []byte(doc(`{_id: 1, a: [1, {b: 2}], b: {c: 1}}`)), []byte(doc(`{a: 1}`)))
	}
	f.Fuzz(func(t *testing.T, update, d, filter []byte) {
		u, err := CompileUpdate(documentValue(update), UpdateOptions{})
		if err != nil {
			return
		}
		m, err := CompileFilter(filter)
		if err != nil {
			m = nil
		}
		wellFormed := checkNesting(d) == nil
		if after, _, err := u.ApplyMatched(d, m); err == nil && wellFormed && checkNesting(after) != nil {
			t.Errorf("%v on %v gives malformed bytes", bson.Raw(update), bson.Raw(d))
		}
		if made, err := u.Upsert(filter); err == nil && checkNesting(made) != nil {
			t.Errorf("%v for %v gives malformed bytes", bson.Raw(update), bson.Raw(filter))
		}
	})
}

func BenchmarkApply(b *testing.B) {
	u := compileUpdate(b, `{$inc: {"s.n": 1}, $set: {hp: 5}}`)
	d := doc(`{_id: OID("01"), name: "player", s: {n: 1, m: 2}, hp: 3, items: [1, 2, 3, 4]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := u.Apply(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileUpdate(b *testing.B) {
	raw := val(`{$inc: {"s.n": 1}, $set: {hp: 5}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CompileUpdate(raw, UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
