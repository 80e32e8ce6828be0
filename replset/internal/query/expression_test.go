package query

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const someone = `{_id: 1, name: "Ann", n: 7, f: 2.5, d: Dec("0.5"), none: null, tags: ["b", "a", "b"], pos: {x: 1, y: 2}, at: Date(1000), list: [{v: 1}, {v: 2}, {v: 3}], yes: true}`

func evaluate(x string) (bson.RawValue, *Error) {
	parsed, err := parseExpression(val(x))
	if err != nil {
		return bson.RawValue{}, err.(*Error)
	}
	s := &scope{root: doc(someone)}
	v := parsed.eval(s)
	return v, s.err
}

func TestExpressionsGiveWhatTheServerGives(t *testing.T) {
	for _, c := range []struct{ x, want string }{
		{`{$eq: ["$n", 7.0]}`, `true`}, {`{$ne: ["$n", 7]}`, `false`}, {`{$gt: ["$name", 1000]}`, `true`}, {`{$gte: ["$n", 7]}`, `true`},
		{`{$lt: ["$nothing", null]}`, `true`}, {`{$lte: ["$none", null]}`, `true`}, {`{$cmp: ["$f", 2]}`, `1`}, {`{$cmp: [1, 2]}`, `-1`}, {`{$eq: ["$nothing", null]}`, `false`},
		{`{$and: ["$n", "$yes"]}`, `true`}, {`{$and: ["$n", "$none"]}`, `false`}, {`{$and: []}`, `true`}, {`{$or: []}`, `false`}, {`{$or: ["$none", 0, "x"]}`, `true`},
		{`{$not: ["$none"]}`, `true`}, {`{$not: "$yes"}`, `false`}, {`{$or: [true, {$divide: [1, 0]}]}`, `true`}, {`{$and: [false, {$divide: [1, 0]}]}`, `false`},
		{`{$cond: ["$yes", 1, 2]}`, `1`}, {`{$cond: {if: "$none", then: {$divide: [1, 0]}, else: "$n"}}`, `7`},
		{`{$ifNull: ["$none", "$nothing", 3]}`, `3`}, {`{$ifNull: ["$n", {$divide: [1, 0]}]}`, `7`},
		{`{$switch: {branches: [{case: "$none", then: 1}, {case: "$yes", then: 2}], default: 3}}`, `2`}, {`{$switch: {branches: [{case: false, then: 1}], default: 3}}`, `3`},
		{`{$type: "$at"}`, `"date"`}, {`{$type: "$nothing"}`, `"missing"`}, {`{$isNumber: "$d"}`, `true`}, {`{$isNumber: "$name"}`, `false`}, {`{$literal: "$n"}`, `"$n"`}, {`{$const: 3}`, `3`},

		{`{$add: [1, "$n"]}`, `8`}, {`{$add: []}`, `0`}, {`{$add: ["$n", "$f"]}`, `9.5`}, {`{$add: [1, null, {$divide: [1, 0]}]}`, `null`}, {`{$add: ["$at", 5]}`, `Date(1005)`},
		{`{$add: [5, "$at", 0.6]}`, `Date(1006)`}, {`{$add: [2147483647, 1]}`, `Long("2147483648")`}, {`{$add: [2147483647, 1, -1]}`, `2147483647`}, {`{$add: [Long(1), 1]}`, `Long(2)`},
		{`{$add: [Long("9223372036854775807"), 1]}`, `9223372036854775807.0`}, {`{$add: ["$d", 1]}`, `Dec("1.5")`},
		{`{$subtract: ["$n", 2]}`, `5`}, {`{$subtract: [1, 0.5]}`, `0.5`}, {`{$subtract: ["$at", Date(400)]}`, `Long(600)`}, {`{$subtract: ["$at", 400]}`, `Date(600)`}, {`{$subtract: ["$none", 1]}`, `null`},
		{`{$subtract: [Long("-9223372036854775808"), 1]}`, `-9223372036854775808.0`}, {`{$subtract: [1, "$d"]}`, `Dec("0.5")`}, {`{$subtract: [-2147483648, 1]}`, `Long("-2147483649")`},
		{`{$multiply: ["$n", 2]}`, `14`}, {`{$multiply: []}`, `1`}, {`{$multiply: [2147483647, 2]}`, `Long("4294967294")`}, {`{$multiply: [65536, 65536, 0]}`, `0`}, {`{$multiply: ["$f", 2]}`, `5.0`},
		{`{$multiply: [Long("9223372036854775807"), 2]}`, `18446744073709551614.0`}, {`{$multiply: ["$d", 3]}`, `Dec("1.5")`}, {`{$multiply: [2, "$nothing"]}`, `null`},
		{`{$divide: [7, 2]}`, `3.5`}, {`{$divide: [6, 2]}`, `3.0`}, {`{$divide: ["$none", 2]}`, `null`}, {`{$divide: ["$d", 4]}`, `Dec("0.125")`}, {`{$divide: [Dec("1"), 3]}`, `Dec("0.3333333333333333333333333333333333")`},
		{`{$divide: [Dec("2"), -3]}`, `Dec("-0.6666666666666666666666666666666667")`},
		{`{$mod: [7, 3]}`, `1`}, {`{$mod: [-7, 3]}`, `-1`}, {`{$mod: [7, Long(3)]}`, `Long(1)`}, {`{$mod: [7.5, 2]}`, `1.5`}, {`{$mod: [-2147483648, -1]}`, `0`}, {`{$mod: [Dec("7.5"), 2]}`, `Dec("1.5")`}, {`{$mod: [null, 2]}`, `null`},
		{`{$abs: -3}`, `3`}, {`{$abs: [-2147483648]}`, `Long("2147483648")`}, {`{$abs: Long(-3)}`, `Long(3)`}, {`{$abs: -2.5}`, `2.5`}, {`{$abs: Dec("-2.5")}`, `Dec("2.5")`}, {`{$abs: "$none"}`, `null`},
		{`{$ceil: 2.1}`, `3.0`}, {`{$ceil: 2}`, `2`}, {`{$ceil: Dec("2.1")}`, `Dec("3")`}, {`{$ceil: Dec("-2.1")}`, `Dec("-2")`}, {`{$floor: -2.1}`, `-3.0`}, {`{$floor: Dec("-2.1")}`, `Dec("-3")`}, {`{$floor: Dec("2.9")}`, `Dec("2")`},

		{`{$size: "$tags"}`, `3`}, {`{$isArray: "$tags"}`, `true`}, {`{$isArray: ["$n"]}`, `false`}, {`{$in: ["a", "$tags"]}`, `true`}, {`{$in: ["z", "$tags"]}`, `false`},
		{`{$arrayElemAt: ["$tags", 1]}`, `"a"`}, {`{$arrayElemAt: ["$tags", -1]}`, `"b"`}, {`{$type: {$arrayElemAt: ["$tags", 3]}}`, `"missing"`}, {`{$type: {$arrayElemAt: ["$tags", -4]}}`, `"missing"`}, {`{$arrayElemAt: ["$none", 1]}`, `null`},
		{`{$first: "$tags"}`, `"b"`}, {`{$last: "$tags"}`, `"b"`}, {`{$type: {$first: [[]]}}`, `"missing"`}, {`{$concatArrays: ["$tags", [1]]}`, `["b", "a", "b", 1]`}, {`{$concatArrays: ["$tags", "$none"]}`, `null`},
		{`{$reverseArray: [[1, 2]]}`, `[2, 1]`}, {`{$slice: ["$tags", 2]}`, `["b", "a"]`}, {`{$slice: ["$tags", -2]}`, `["a", "b"]`}, {`{$slice: ["$tags", 1, 1]}`, `["a"]`}, {`{$slice: ["$tags", -2, 1]}`, `["a"]`}, {`{$slice: ["$tags", 0]}`, `[]`}, {`{$slice: [null, 1]}`, `null`},
		{`{$indexOfArray: ["$tags", "a"]}`, `1`}, {`{$indexOfArray: ["$tags", "z"]}`, `-1`}, {`{$indexOfArray: ["$tags", "b", 1]}`, `2`}, {`{$indexOfArray: ["$tags", "b", 1, 2]}`, `-1`}, {`{$indexOfArray: ["$tags", "b", 9]}`, `-1`}, {`{$indexOfArray: [null, "a"]}`, `null`},
		{`{$range: [0, 3]}`, `[0, 1, 2]`}, {`{$range: [3, 0, -2]}`, `[3, 1]`}, {`{$range: [0, 5, 2]}`, `[0, 2, 4]`}, {`{$range: [3, 0]}`, `[]`},
		{`{$filter: {input: "$list", as: "i", cond: {$gt: ["$$i.v", 1]}}}`, `[{v: 2}, {v: 3}]`}, {`{$filter: {input: "$list", cond: {$gt: ["$$this.v", 0]}, limit: 2}}`, `[{v: 1}, {v: 2}]`}, {`{$filter: {input: null, cond: true}}`, `null`},
		{`{$map: {input: "$list", as: "i", in: {$multiply: ["$$i.v", "$n"]}}}`, `[7, 14, 21]`}, {`{$map: {input: [1], in: "$$this.x"}}`, `[null]`}, {`{$map: {input: "$none", in: 1}}`, `null`},
		{`{$map: {input: [1, 2], as: "a", in: {$map: {input: [10, 20], as: "b", in: {$add: ["$$a", "$$b"]}}}}}`, `[[11, 21], [12, 22]]`}, {`{$map: {input: [[1], [2]], in: {$map: {input: "$$this", in: "$$this"}}}}`, `[[1], [2]]`},
		{`{$reduce: {input: "$list.v", initialValue: 10, in: {$add: ["$$value", "$$this"]}}}`, `16`}, {`{$reduce: {input: null, initialValue: 0, in: 1}}`, `null`},
		{`{$let: {vars: {a: "$n", b: {$add: [1, 1]}}, in: {$multiply: ["$$a", "$$b"]}}}`, `14`}, {`{$let: {vars: {p: "$pos"}, in: "$$p.y"}}`, `2`}, {`{$let: {vars: {a: 1}, in: {$let: {vars: {a: 2, b: "$$a"}, in: ["$$a", "$$b"]}}}}`, `[2, 1]`}, {`"$$ROOT.n"`, `7`}, {`"$$CURRENT.n"`, `7`}, {`{$type: "$$NOW"}`, `"date"`},

		{`{$setUnion: ["$tags", ["c"]]}`, `["a", "b", "c"]`}, {`{$setUnion: [null, []]}`, `null`}, {`{$setIntersection: ["$tags", ["b", "z"]]}`, `["b"]`}, {`{$setIntersection: []}`, `[]`}, {`{$setDifference: ["$tags", ["a"]]}`, `["b"]`}, {`{$setIsSubset: [["a"], "$tags"]}`, `true`}, {`{$setIsSubset: [["z"], "$tags"]}`, `false`},
		{`{$setEquals: ["$tags", ["a", "b"], ["b", "a"]]}`, `true`}, {`{$setEquals: ["$tags", ["a"]]}`, `false`}, {`{$anyElementTrue: [[0, null, 1]]}`, `true`}, {`{$allElementsTrue: [[1, 0]]}`, `false`}, {`{$allElementsTrue: [[]]}`, `true`},

		{`{$mergeObjects: ["$pos", {y: 3, z: 4}, null]}`, `{x: 1, y: 3, z: 4}`}, {`{$mergeObjects: []}`, `{}`}, {`{$objectToArray: "$pos"}`, `[{k: "x", v: 1}, {k: "y", v: 2}]`}, {`{$objectToArray: null}`, `null`},
		{`{$arrayToObject: [[["a", 1], ["b", 2], ["a", 3]]]}`, `{a: 3, b: 2}`}, {`{$arrayToObject: {$objectToArray: "$pos"}}`, `{x: 1, y: 2}`}, {`{$arrayToObject: [[]]}`, `{}`}, {`{$arrayToObject: "$none"}`, `null`},

		{`{$concat: ["a", "$name"]}`, `"aAnn"`}, {`{$concat: ["a", "$none"]}`, `null`}, {`{$toLower: "$name"}`, `"ann"`}, {`{$toUpper: "$name"}`, `"ANN"`}, {`{$toUpper: "ä"}`, `"ä"`}, {`{$toUpper: null}`, `""`}, {`{$toLower: 12}`, `"12"`}, {`{$toLower: "$at"}`, `"1970-01-01t00:00:01.000z"`},
		{`{$strcasecmp: ["$name", "ANN"]}`, `0`}, {`{$strcasecmp: ["a", "b"]}`, `-1`}, {`{$strLenBytes: "ä"}`, `2`}, {`{$strLenCP: "ä"}`, `1`}, {`{$substrCP: ["äbc", 1, 1]}`, `"b"`}, {`{$substrCP: ["abc", 5, 1]}`, `""`}, {`{$substr: ["abc", 1, -1]}`, `"bc"`}, {`{$substrBytes: ["abc", 0, 2]}`, `"ab"`}, {`{$substrBytes: ["abc", 9, 2]}`, `""`},
		{`{$split: ["a-b", "-"]}`, `["a", "b"]`}, {`{$split: [null, "-"]}`, `null`},

		{`{$sum: "$list.v"}`, `6`}, {`{$sum: ["$n", "$f", "x"]}`, `9.5`}, {`{$avg: [[1, 2]]}`, `1.5`}, {`{$avg: ["x", "y"]}`, `null`}, {`{$min: ["$n", "$f"]}`, `2.5`}, {`{$max: "$tags"}`, `"b"`},
		{`{a: {$add: [1, 1]}, b: "$nothing", c: ["$n", "$nothing"]}`, `{a: 2, c: [7, null]}`},
	} {
		v, err := evaluate(c.x)
		if want := val(c.want); err != nil || v.Type != want.Type || compareAll(v, want) != 0 || text(v) != text(want) {
			t.Errorf("%s: got %s %s, %v, want %s", c.x, TypeName(v.Type), text(v), err, c.want)
		}
	}
}

func TestWhatAnExpressionCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		x    string
		code int32
		part string
	}{
		{`{$eq: [1]}`, 16020, "Expression $eq takes exactly 2 arguments. 1 were passed in."}, {`{$not: [1, 2]}`, 16020, "exactly 1 arguments. 2"}, {`{$slice: [[1]]}`, 28667, "at least 2 arguments, and at most 3, but 1"}, {`{$ifNull: [1]}`, 1257300, "at least two arguments, had: 1"},
		{`{$frob: 1}`, 168, "Unrecognized expression '$frob'"}, {`{$tan: 1}`, 168, "not supported by this server"}, {`{$eq: [1, 1], $ne: [1, 1]}`, 15983, "exactly one field"}, {`"$$x"`, 17276, "Use of undefined variable: x"},
		{`{$cond: [1, 2]}`, 16020, "$cond takes exactly 3"}, {`{$cond: {then: 1, else: 2}}`, 17080, "Missing 'if'"}, {`{$cond: {if: 1, else: 2}}`, 17081, "Missing 'then'"}, {`{$cond: {if: 1, then: 2}}`, 17082, "Missing 'else'"}, {`{$cond: {of: 1}}`, 17083, "Unrecognized"},
		{`{$switch: 1}`, 40060, "requires an object"}, {`{$switch: {branches: 1}}`, 40061, "expected an array"}, {`{$switch: {branches: [1]}}`, 40062, "to be an object"}, {`{$switch: {branches: [{x: 1}]}}`, 40063, "unknown argument to a branch"}, {`{$switch: {branches: [{then: 1}]}}`, 40064, "'case'"},
		{`{$switch: {branches: [{case: 1}]}}`, 40065, "'then'"}, {`{$switch: {branches: [{case: false, then: 1}]}}`, 40066, "no default"}, {`{$switch: {x: 1}}`, 40067, "unknown argument"}, {`{$switch: {default: 1}}`, 40068, "at least one branch"},
		{`{$add: [1, "x"]}`, 14, "$add only supports numeric or date types, not string"}, {`{$add: ["$at", "$at"]}`, 16612, "only one date"}, {`{$add: [Date(0), 1e300]}`, 15, "date overflow"}, {`{$subtract: [1, "$at"]}`, 14, "can't $subtract date from int"}, {`{$subtract: ["$at", 1e300]}`, 15, "date overflow"},
		{`{$multiply: ["x"]}`, 14, "$multiply only supports numeric types, not string"}, {`{$divide: [1, 0]}`, 2, "can't $divide by zero"}, {`{$divide: [Dec("1"), 0]}`, 2, "can't $divide by zero"}, {`{$divide: ["x", 1]}`, 14, "not string and int"}, {`{$mod: [1, 0]}`, 16610, "by zero"}, {`{$mod: [Dec("1"), 0]}`, 5733415, "by zero"}, {`{$mod: ["x", 1]}`, 16611, "not string and int"},
		{`{$abs: "x"}`, 28765, "$abs only supports numeric types, not string"}, {`{$abs: Long("-9223372036854775808")}`, 28680, "long long min"}, {`{$floor: "x"}`, 28765, "$floor"},
		{`{$size: "$n"}`, 17124, "but was of type: int"}, {`{$in: [1, 2]}`, 40081, "found: int"}, {`{$arrayElemAt: [1, 2]}`, 28689, "$arrayElemAt's first argument must be an array, but is int"}, {`{$first: 1}`, 28689, "$first's argument must"}, {`{$arrayElemAt: ["$tags", "x"]}`, 28690, "numeric value"}, {`{$arrayElemAt: ["$tags", 1.5]}`, 28691, "32-bit"},
		{`{$concatArrays: [1]}`, 28664, "only supports arrays, not int"}, {`{$reverseArray: 1}`, 34435, "of type: int"}, {`{$slice: [1, 1]}`, 28724, "int"}, {`{$slice: [[1], "x"]}`, 28725, "string"}, {`{$slice: [[1], 0.5]}`, 28726, "32-bit"}, {`{$slice: [[1], 1, "x"]}`, 28727, "string"}, {`{$slice: [[1], 1, 0.5]}`, 28728, "32-bit"}, {`{$slice: [[1], 1, 0]}`, 28729, "positive"},
		{`{$indexOfArray: [1, 1]}`, 40090, "found: int"}, {`{$indexOfArray: [[1], 1, "x"]}`, 40096, "starting index"}, {`{$indexOfArray: [[1], 1, 0, -1]}`, 40097, "ending index"},
		{`{$range: ["x", 1]}`, 34443, "starting"}, {`{$range: [0.5, 1]}`, 34444, "32-bit"}, {`{$range: [0, "x"]}`, 34445, "ending"}, {`{$range: [0, 0.5]}`, 34446, "ending"}, {`{$range: [0, 1, "x"]}`, 34447, "step"}, {`{$range: [0, 1, 0.5]}`, 34448, "step"}, {`{$range: [0, 1, 0]}`, 34449, "non-zero"}, {`{$range: [0, 2147483647]}`, 146, "memory"},
		{`{$filter: 1}`, 28646, "object"}, {`{$filter: {x: 1}}`, 28647, "Unrecognized parameter to $filter: x"}, {`{$filter: {cond: 1}}`, 28648, "'input'"}, {`{$filter: {input: [1]}}`, 28650, "'cond'"}, {`{$filter: {input: 1, cond: 1}}`, 28651, "not int"}, {`{$filter: {input: [1], cond: 1, limit: 0.5}}`, 327391, "32-bit"}, {`{$filter: {input: [1], cond: 1, limit: 0}}`, 327392, "greater than 0"},
		{`{$map: 1}`, 16878, "object"}, {`{$map: {x: 1}}`, 16879, "Unrecognized"}, {`{$map: {in: 1}}`, 16880, "'input'"}, {`{$map: {input: 1}}`, 16882, "'in'"}, {`{$map: {input: 1, in: 1}}`, 16883, "not int"}, {`{$map: {input: [1], as: "A", in: 1}}`, 9, "starts with an invalid character"}, {`{$map: {input: [1], as: "a-b", in: 1}}`, 9, "contains an invalid character"}, {`{$map: {input: [1], as: "", in: 1}}`, 9, "empty variable names"},
		{`{$reduce: 1}`, 40075, "object"}, {`{$reduce: {x: 1}}`, 40076, "unknown argument"}, {`{$reduce: {initialValue: 1, in: 1}}`, 40077, "'input'"}, {`{$reduce: {input: 1, in: 1}}`, 40078, "'initialValue'"}, {`{$reduce: {input: 1, initialValue: 1}}`, 40079, "'in'"}, {`{$reduce: {input: 1, initialValue: 1, in: 1}}`, 40080, "found: 1"},
		{`{$let: 1}`, 16874, "object"}, {`{$let: {x: 1}}`, 16875, "Unrecognized"}, {`{$let: {in: 1}}`, 16876, "'vars'"}, {`{$let: {vars: {}}}`, 16877, "'in'"}, {`{$let: {vars: 1, in: 1}}`, 10065, "expected an object"}, {`{$let: {vars: {a: 1}, in: "$$b"}}`, 17276, "undefined variable: b"}, {`{$add: [{$let: {vars: {a: 1}, in: 1}}, "$$a"]}`, 17276, "undefined variable: a"},
		{`{$setUnion: [1]}`, 17043, "int"}, {`{$setIntersection: [1]}`, 17047, "int"}, {`{$setDifference: [1, []]}`, 17048, "First"}, {`{$setDifference: [[], 1]}`, 17049, "Second"}, {`{$setIsSubset: [1, []]}`, 17046, "First"}, {`{$setIsSubset: [[], null]}`, 17042, "null"}, {`{$setEquals: [[], 1]}`, 17044, "int"}, {`{$anyElementTrue: 1}`, 17041, "int"}, {`{$allElementsTrue: [null]}`, 17040, "null"},
		{`{$mergeObjects: [1]}`, 40400, "input 1 is of type int"}, {`{$objectToArray: 1}`, 40390, "int"}, {`{$arrayToObject: 1}`, 40386, "int"}, {`{$arrayToObject: [[1]]}`, 40398, "int"}, {`{$arrayToObject: [[["a", 1], 1]]}`, 40396, "int"}, {`{$arrayToObject: [[[1]]]}`, 40397, "size: 1"}, {`{$arrayToObject: [[[1, 1]]]}`, 40395, "int"},
		{`{$arrayToObject: [[{k: "a", v: 1}, 1]]}`, 40391, "int"}, {`{$arrayToObject: [[{k: "a"}]]}`, 40392, "keys:1"}, {`{$arrayToObject: [[{k: "a", w: 1}]]}`, 40393, "Missing"}, {`{$arrayToObject: [[{k: 1, v: 1}]]}`, 40394, "int"}, {`{$arrayToObject: [[["a\x00b", 1]]]}`, 4940400, "null byte"},
		{`{$concat: [1]}`, 16702, "not int"}, {`{$toLower: "$pos"}`, 16007, "object to String"}, {`{$toLower: 1.5}`, 238, "double"}, {`{$strLenBytes: null}`, 34473, "null"}, {`{$strLenCP: 1}`, 34471, "int"},
		{`{$substr: ["a", "x", 1]}`, 16034, "string"}, {`{$substr: ["a", 1, "x"]}`, 16035, "string"}, {`{$substr: ["a", -1, 1]}`, 50752, "-1"}, {`{$substr: ["ä", 1, 1]}`, 28656, "continuation"}, {`{$substr: ["ä", 0, 1]}`, 28657, "middle"},
		{`{$substrCP: ["a", "x", 1]}`, 34450, "string"}, {`{$substrCP: ["a", 0.5, 1]}`, 34451, "32-bit"}, {`{$substrCP: ["a", 1, "x"]}`, 34452, "string"}, {`{$substrCP: ["a", 1, 0.5]}`, 34453, "32-bit"}, {`{$substrCP: ["a", 1, -1]}`, 34454, "nonnegative"}, {`{$substrCP: ["a", -1, 1]}`, 34455, "nonnegative"},
		{`{$split: [1, "a"]}`, 40085, "int"}, {`{$split: ["a", 1]}`, 40086, "int"}, {`{$split: ["a", ""]}`, 40087, "non-empty"},
	} {
		v, err := evaluate(c.x)
		if err == nil {
			t.Errorf("%s: got %s, want a refusal with code %d", c.x, text(v), c.code)
			continue
		}
		t.Run(c.x, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
}

func TestAFailingExpressionFailsWhateverItIsPartOf(t *testing.T) {
	bad := `{$divide: [1, "$zero"]}`
	for _, stages := range []string{
		`[{$match: {$expr: ` + bad + `}}]`, `[{$project: {a: ` + bad + `}}]`, `[{$set: {"a.b": ` + bad + `}}]`, `[{$group: {_id: ` + bad + `}}]`, `[{$group: {_id: 1, a: {$sum: ` + bad + `}}}]`,
		`[{$replaceWith: {a: ` + bad + `}}]`, `[{$replaceRoot: {newRoot: ` + bad + `}}]`, `[{$sortByCount: ` + bad + `}]`, `[{$match: {$or: [{_id: 2}, {$nor: [{$expr: ` + bad + `}]}]}}]`, `[{$set: {a: [1, ` + bad + `]}}]`,
	} {
		p, err := CompilePipeline(stagesOf(stages))
		if err != nil {
			t.Errorf("%s: %v", stages, err)
			continue
		}
		next, _ := feed(docs(`{_id: 1, zero: 0}`))
		_, err = p.Run(next)
		t.Run(stages, func(t *testing.T) { refused(t, err, 2, "can't $divide by zero") })
	}
	f, err := CompileFilter(doc(`{$expr: ` + bad + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.TryMatch(doc(`{zero: 0}`)); err == nil || f.Match(doc(`{zero: 0}`)) {
		t.Error("a filter that fails matches")
	}
	if ok, err := f.TryMatch(doc(`{zero: 2}`)); err != nil || !ok {
		t.Errorf("a filter that does not fail: %v, %v", ok, err)
	}
	shown, err := CompileProjection(doc(`{a: ` + bad + `}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = shown.Apply(doc(`{zero: 0}`))
	refused(t, err, 2, "can't $divide by zero")
	u, err := CompileUpdate(val(`[{$set: {a: `+bad+`}}]`), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = u.Apply(doc(`{_id: 1, zero: 0}`))
	refused(t, err, 2, "can't $divide by zero")
}
