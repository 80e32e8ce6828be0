package query

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// feed gives the documents in turn and counts how many were asked for.
func feed(list []bson.Raw) (next func() (bson.Raw, bool), asked *int) {
	asked = new(int)
	return func() (bson.Raw, bool) {
		if *asked == len(list) {
			return nil, false
		}
		*asked++
		return list[*asked-1], true
	}, asked
}

var players = docs(
	`{_id: 1, name: "ann", guild: "red", level: 5, bag: ["sword", "bow"], pos: {x: 1, y: 2}}`,
	`{_id: 2, name: "bob", guild: "blue", level: 7, bag: [], pos: {x: 3, y: 4}}`,
	`{_id: 3, name: "cid", guild: "red", level: 2.5, bag: ["bow"], pos: {x: 5, y: 6}}`,
	`{_id: 4, name: "dan", level: 1}`,
)

func TestPipelinesGiveWhatTheServerGives(t *testing.T) {
	for _, c := range []struct {
		name, stages string
		want         []string
	}{
		{"no stage", `[{$limit: 1}, {$project: {name: 1}}]`, []string{`{_id: 1, name: "ann"}`}},
		{"$match", `[{$match: {guild: "red", level: {$gt: 3}}}, {$project: {name: 1}}]`, []string{`{_id: 1, name: "ann"}`}},
		{"$sort, $skip and $limit", `[{$sort: {level: -1}}, {$skip: 1}, {$limit: 2}, {$project: {_id: 1}}]`, []string{`{_id: 1}`, `{_id: 3}`}},
		{"$skip of more than there are", `[{$skip: 9}]`, nil},
		{"$count", `[{$match: {guild: "red"}}, {$count: "n"}]`, []string{`{n: 2}`}},
		{"$count of nothing", `[{$match: {guild: "none"}}, {$count: "n"}]`, nil},
		{"$project of exclusions", `[{$match: {_id: 4}}, {$project: {level: 0}}]`, []string{`{_id: 4, name: "dan"}`}},
		{"$project of computed fields", `[{$match: {_id: 1}}, {$project: {_id: 0, who: "$name", at: "$pos.x", no: "$none", one: {$literal: 1}, both: {l: "$level", b: "$bag", z: "$none"}}}]`,
			[]string{`{who: "ann", at: 1, one: 1, both: {l: 5, b: ["sword", "bow"]}}`}},
		{"$project of arrays and the whole", `[{$match: {_id: 4}}, {$project: {a: ["$level", "$none", 7], r: "$$ROOT"}}]`,
			[]string{`{_id: 4, a: [1, null, 7], r: {_id: 4, name: "dan", level: 1}}`}},
		{"$addFields", `[{$match: {_id: 4}}, {$addFields: {level: 9, "pos.x": "$level", name: "$$REMOVE"}}]`, []string{`{_id: 4, level: 9, pos: {x: 1}}`}},
		{"$set below an array", `[{$match: {_id: 1}}, {$project: {bag: 1}}, {$set: {bag: {n: "$_id"}}}]`, []string{`{_id: 1, bag: [{n: 1}, {n: 1}]}`}},
		{"$unset", `[{$match: {_id: 2}}, {$unset: ["name", "pos.x", "bag", "guild"]}]`, []string{`{_id: 2, level: 7, pos: {y: 4}}`}},
		{"$unset of one", `[{$match: {_id: 4}}, {$unset: "name"}]`, []string{`{_id: 4, level: 1}`}},
		{"$unwind", `[{$unwind: "$bag"}, {$project: {bag: 1}}]`, []string{`{_id: 1, bag: "sword"}`, `{_id: 1, bag: "bow"}`, `{_id: 3, bag: "bow"}`}},
		{"$unwind that keeps and counts", `[{$unwind: {path: "$bag", preserveNullAndEmptyArrays: true, includeArrayIndex: "i"}}, {$project: {bag: 1, i: 1}}]`,
			[]string{`{_id: 1, bag: "sword", i: Long(0)}`, `{_id: 1, bag: "bow", i: Long(1)}`, `{_id: 2, i: null}`, `{_id: 3, bag: "bow", i: Long(0)}`, `{_id: 4, i: null}`}},
		{"$unwind of a scalar", `[{$match: {_id: 4}}, {$unwind: "$level"}]`, []string{`{_id: 4, name: "dan", level: 1}`}},
		{"$group", `[{$group: {_id: "$guild", n: {$sum: 1}, sum: {$sum: "$level"}, avg: {$avg: "$level"}, min: {$min: "$level"}, max: {$max: "$level"}}}]`,
			[]string{`{_id: "red", n: 2, sum: 7.5, avg: 3.75, min: 2.5, max: 5}`, `{_id: "blue", n: 1, sum: 7, avg: 7.0, min: 7, max: 7}`, `{_id: null, n: 1, sum: 1, avg: 1.0, min: 1, max: 1}`}},
		{"$group of everything", `[{$group: {_id: null, first: {$first: "$name"}, last: {$last: "$guild"}, all: {$push: "$guild"}, set: {$addToSet: "$guild"}, n: {$count: {}}}}]`,
			[]string{`{_id: null, first: "ann", last: null, all: ["red", "blue", "red"], set: ["red", "blue"], n: 4}`}},
		{"$group by a document", `[{$group: {_id: {g: "$guild", z: "$none"}}}]`, []string{`{_id: {g: "red"}}`, `{_id: {g: "blue"}}`, `{_id: {}}`}},
		{"$group of no numbers", `[{$group: {_id: 1, s: {$sum: "$name"}, a: {$avg: "$name"}, m: {$min: "$none"}}}]`, []string{`{_id: 1, s: 0, a: null, m: null}`}},
		{"$group that merges", `[{$group: {_id: null, m: {$mergeObjects: "$pos"}, n: {$mergeObjects: "$none"}}}]`, []string{`{_id: null, m: {x: 5, y: 6}, n: {}}`}},
		{"$match by an expression", `[{$match: {$expr: {$gt: ["$level", 4]}, guild: "red"}}, {$project: {_id: 1}}]`, []string{`{_id: 1}`}},
		{"$replaceRoot", `[{$match: {_id: 1}}, {$replaceRoot: {newRoot: "$pos"}}]`, []string{`{x: 1, y: 2}`}},
		{"$replaceWith", `[{$match: {_id: 4}}, {$replaceWith: {$mergeObjects: ["$$ROOT", {level: {$add: ["$level", 1]}}]}}]`, []string{`{_id: 4, name: "dan", level: 2}`}},
		{"$sortByCount", `[{$sortByCount: "$guild"}, {$limit: 1}]`, []string{`{_id: "red", count: 2}`}},
		{"$sortByCount of an expression", `[{$sortByCount: {$gt: ["$level", 2]}}]`, []string{`{_id: true, count: 3}`, `{_id: false, count: 1}`}},
		{"the path of an expression goes through arrays", `[{$match: {_id: 1}}, {$set: {l: [{v: 1}, {v: 2}, 3, {w: 1}]}}, {$project: {_id: 0, v: "$l.v"}}]`, []string{`{v: [1, 2]}`}},
	} {
		p, err := CompilePipeline(stagesOf(c.stages))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		next, _ := feed(players)
		got, err := p.Run(next)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: got %v, %v", c.name, got, err)
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i], doc(c.want[i])) {
				t.Errorf("%s: got %s\nwant %s", c.name, got[i], c.want[i])
			}
		}
	}
}

func stagesOf(s string) []bson.Raw {
	var stages []bson.Raw
	for _, v := range arrayItems(val(s).Value) {
		stages = append(stages, bson.Raw(v.Value))
	}
	return stages
}

func TestSumsKeepTheWidestTypeAndDoNotOverflow(t *testing.T) {
	for _, c := range []struct {
		values    []string
		sum, mean string
	}{
		{[]string{`1`, `2`}, `3`, `1.5`},
		{[]string{`2147483647`, `1`}, `Long("2147483648")`, `1073741824.0`},
		{[]string{`1`, `Long(2)`}, `Long(3)`, `1.5`},
		{[]string{`Long("9223372036854775807")`, `Long("9223372036854775807")`}, `18446744073709551614.0`, `9223372036854775807.0`},
		{[]string{`1`, `0.5`}, `1.5`, `0.75`},
		{[]string{`1e100`, `1.0`, `-1e100`}, `1.0`, `0.3333333333333333`},
		{[]string{`0.1`, `0.2`, `0.3`}, `0.6`, `0.19999999999999998`},
		{[]string{`Dec("0.1")`, `Dec("0.2")`, `1`}, `Dec("1.3")`, `Dec("0.4333333333333333333333333333333333")`},
		{[]string{`Dec("1")`, `0.5`}, `Dec("1.500000000000000")`, `Dec("0.7500000000000000")`},
		{[]string{`Inf`, `1`}, `Inf`, `Inf`},
		{[]string{`Inf`, `-Inf`}, `NaN`, `NaN`},
	} {
		total, mean := accumulators["$sum"](), accumulators["$avg"]()
		for _, s := range c.values {
			total.add(val(s))
			mean.add(val(s))
		}
		for got, want := range map[*bson.RawValue]string{ptr(total.result()): c.sum, ptr(mean.result()): c.mean} {
			if w := val(want); got.Type != w.Type || Compare(*got, w) != 0 {
				t.Errorf("%v: got %s, want %s", c.values, got, want)
			}
		}
	}
}

func ptr(v bson.RawValue) *bson.RawValue { return &v }

func TestALimitStopsAskingForDocuments(t *testing.T) {
	p, err := CompilePipeline(stagesOf(`[{$match: {level: {$gt: 0}}}, {$limit: 2}]`))
	if err != nil {
		t.Fatal(err)
	}
	next, asked := feed(players)
	if got, err := p.Run(next); err != nil || len(got) != 2 || *asked != 2 {
		t.Errorf("got %d documents for %d asked, %v", len(got), *asked, err)
	}
	if p.Filter() == nil || !p.Filter().Match(players[0]) {
		t.Error("the leading $match is not told")
	}
	if p, err = CompilePipeline(stagesOf(`[{$limit: 1}, {$match: {a: 1}}]`)); err != nil || p.Filter() != nil {
		t.Errorf("a $match further on is taken for a leading one (%v)", err)
	}
}

func TestASampleHasTheSizeAskedFor(t *testing.T) {
	p, err := CompilePipeline(stagesOf(`[{$sample: {size: 3}}]`))
	if err != nil {
		t.Fatal(err)
	}
	next, _ := feed(players)
	got, err := p.Run(next)
	if err != nil || len(got) != 3 {
		t.Errorf("got %d, %v", len(got), err)
	}
}

func TestWhatAPipelineCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		stages string
		code   int32
		part   string
	}{
		{`[{$foo: 1}]`, 40324, "Unrecognized pipeline stage name: '$foo'"},
		{`[{}]`, 40323, "must contain exactly one field."},
		{`[{$limit: 1, $skip: 1}]`, 40323, "must contain exactly one field."},
		{`[{$match: 1}]`, 15959, "the match filter must be an expression in an object"},
		{`[{$match: {$foo: 1}}]`, 2, "unknown top level operator"},
		{`[{$sort: 1}]`, 15973, "must be an object"},
		{`[{$sort: {}}]`, 15976, "at least one sort key"},
		{`[{$sort: {a: 5}}]`, 15975, "must be 1"},
		{`[{$skip: -1}]`, 5107200, "invalid argument to $skip stage"},
		{`[{$skip: "x"}]`, 5107200, "Expected a number"},
		{`[{$limit: 0}]`, 15958, "the limit must be positive"},
		{`[{$limit: 1.5}]`, 5107201, "Expected an integer"},
		{`[{$project: 1}]`, 15969, "must be an object"},
		{`[{$project: {}}]`, 51272, "must have at least one field"},
		{`[{$project: {a: 1, b: 0}}]`, 31254, "Invalid $project :: caused by :: Cannot do exclusion on field b"},
		{`[{$replaceRoot: 1}]`, 40229, "expected an object"}, {`[{$replaceRoot: {}}]`, 40414, "newRoot"}, {`[{$replaceRoot: {x: 1}}]`, 40415, "unknown field"}, {`[{$replaceRoot: {newRoot: "$$x"}}]`, 17276, "undefined"},
		{`[{$sortByCount: {a: 1}}]`, 40147, "$-prefixed"}, {`[{$sortByCount: "a"}]`, 40148, "$-prefixed"}, {`[{$sortByCount: 1}]`, 40149, "string or as an object"},
		{`[{$project: {a: {$tan: 1}}}]`, 168, "The expression $tan is not supported by this server"},
		{`[{$project: {a: {$foo: 1}}}]`, 168, "Unrecognized expression '$foo'"},
		{`[{$project: {a: "$$nope"}}]`, 17276, "Use of undefined variable: nope"},
		{`[{$project: {a: "$"}}]`, 16872, "'$' by itself"},
		{`[{$project: {a: "$b."}}]`, 40353, "must not end"},
		{`[{$project: {a: 0, b: "$c"}}]`, 31310, "Cannot use an expression"},
		{`[{$project: {"a.$": 1}}]`, 31324, "positional projection"},
		{`[{$addFields: 1}]`, 40272, "must be an object, got int"},
		{`[{$set: {a: 1, "a.b": 1}}]`, 31249, "Invalid $set :: caused by :: Path collision"},
		{`[{$unset: 1}]`, 31002, "must be a string or an array"},
		{`[{$unset: []}]`, 31119, "at least one field"},
		{`[{$unset: [1]}]`, 31120, "only string values"},
		{`[{$count: 1}]`, 40156, "non-empty string"},
		{`[{$count: ""}]`, 40157, "non-empty string"},
		{`[{$count: "$x"}]`, 40158, "$-prefixed"},
		{`[{$count: "a.b"}]`, 40160, "'.'"},
		{`[{$unwind: 1}]`, 15981, "got int"},
		{`[{$unwind: "a"}]`, 28818, "should be prefixed with a '$': a"},
		{`[{$unwind: {}}]`, 28812, "no path specified"},
		{`[{$unwind: {path: 1}}]`, 28808, "got int"},
		{`[{$unwind: {path: "$a", preserveNullAndEmptyArrays: 1}}]`, 28809, "expected a boolean"},
		{`[{$unwind: {path: "$a", includeArrayIndex: ""}}]`, 28810, "non-empty string"},
		{`[{$unwind: {path: "$a", includeArrayIndex: "$i"}}]`, 28822, "should not be prefixed"},
		{`[{$unwind: {path: "$a", foo: 1}}]`, 28811, "unrecognized option to $unwind stage: foo"},
		{`[{$group: 1}]`, 15947, "object"},
		{`[{$group: {a: {$sum: 1}}}]`, 15955, "a group specification must include an _id"},
		{`[{$group: {_id: 1, a: 1}}]`, 40234, "The field 'a' must be an accumulator object"},
		{`[{$group: {_id: 1, a: {$foo: 1}}}]`, 15952, "unknown group operator '$foo'"},
		{`[{$group: {_id: 1, a: {$stdDevPop: "$a"}}}]`, 168, "$stdDevPop"},
		{`[{$group: {_id: 1, a: {$sum: 1, $avg: 1}}}]`, 40238, "must specify one accumulator"},
		{`[{$group: {_id: 1, "a.b": {$sum: 1}}}]`, 40235, "cannot contain '.'"},
		{`[{$group: {_id: 1, "$a": {$sum: 1}}}]`, 40236, "cannot be an operator name"},
		{`[{$group: {_id: 1, a: {$sum: ["$a", "$b"]}}}]`, 40237, "unary operator"},
		{`[{$group: {_id: 1, a: {$count: 1}}}]`, 14, "$count takes no arguments"},
		{`[{$group: {_id: {$year: "$d"}}}]`, 168, "$year"},
		{`[{$group: {_id: {"a.b": 1}}}]`, 16405, "dotted field names"},
		{`[{$sample: 1}]`, 28745, "must be an object"},
		{`[{$sample: {size: "x"}}]`, 28746, "must be a number"},
		{`[{$sample: {size: -1}}]`, 28747, "positive"},
		{`[{$sample: {}}]`, 28749, "must specify a size"},
		{`[{$sample: {foo: 1}}]`, 28748, "unrecognized option to $sample: foo"},
	} {
		_, err := CompilePipeline(stagesOf(c.stages))
		t.Run(c.stages, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
}

func TestAStageThatIsMissingHereIsNoUnknownOne(t *testing.T) {
	for _, c := range []struct {
		stages, series string
		missing        bool
	}{
		{`[{$match: {}}, {$lookup: {}}]`, "4.4", true},
		{`[{$densify: {}}]`, "5.0", false},
		{`[{$densify: {}}]`, "6.0", true},
		{`[{$querySettings: {}}]`, "7.0", false},
		{`[{$querySettings: {}}]`, "8.0", true},
		{`[{$loopup: {}}]`, "8.0", false},
		{`[{$match: {}}, {}, {$match: {$lookup: 1}}]`, "8.0", false},
	} {
		err := CheckStages(stagesOf(c.stages), c.series)
		if !c.missing {
			if err != nil {
				t.Errorf("%s in %s: %v", c.stages, c.series, err)
			}
			continue
		}
		refused(t, err, 238, "is not supported by this server")
	}
	for name := range missingStages {
		if stageCompilers[name] != nil {
			t.Errorf("%s is there", name)
		}
	}
}

func FuzzPipeline(f *testing.F) {
	for _, s := range []string{`{$group: {_id: "$a", n: {$sum: "$b"}}}`, `{$unwind: "$a"}`, `{$project: {a: "$b.c", b: 1}}`, `{$addFields: {"a.b": ["$c"]}}`, `{$sort: {a: 1}}`} {
		f.Add([]byte(doc(s)), []byte(doc(`{_id: 1, a: [1, {b: 1}], b: {c: [{d: 1}]}}`)))
	}
	f.Fuzz(func(t *testing.T, stage, d []byte) {
		p, err := CompilePipeline([]bson.Raw{stage})
		if err != nil {
			return
		}
		wellFormed := checkNesting(d) == nil
		next, _ := feed([]bson.Raw{d, d})
		got, err := p.Run(next)
		if err != nil || !wellFormed {
			return
		}
		for _, out := range got {
			if e := elementsOf(out); e.bad {
				t.Errorf("%v of %v gives malformed bytes", stage, d)
			}
		}
	})
}
