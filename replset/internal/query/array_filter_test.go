package query

import (
	"bytes"
	"testing"
)

func TestPathsThatStandForItemsReachThem(t *testing.T) {
	for _, c := range []struct {
		name, update  string
		filters       []string
		before, after string
	}{
		{"all items", `{$inc: {"a.$[]": 1}}`, nil, `{a: [1, 2]}`, `{a: [2, 3]}`},
		{"all items, deeper", `{$set: {"a.$[].x.$[].y": 0}}`, nil, `{a: [{x: [{y: 1}, {z: 1}]}, {x: []}]}`, `{a: [{x: [{y: 0}, {z: 1, y: 0}]}, {x: []}]}`},
		{"items that a filter chooses", `{$set: {"a.$[e]": 0}}`, []string{`{e: {$gt: 5}}`}, `{a: [1, 9, 7]}`, `{a: [1, 0, 0]}`},
		{"items by a field", `{$inc: {"a.$[it].n": 1}}`, []string{`{"it.id": "sword"}`}, `{a: [{id: "bow", n: 1}, {id: "sword", n: 1}]}`, `{a: [{id: "bow", n: 1}, {id: "sword", n: 2}]}`},
		{"two filters on one array", `{$set: {"a.$[x].p": 1, "a.$[y].q": 2}}`, []string{`{"x.n": {$gt: 1}}`, `{"y.n": {$gt: 2}}`}, `{a: [{n: 1}, {n: 2}, {n: 3}]}`, `{a: [{n: 1}, {n: 2, p: 1}, {n: 3, p: 1, q: 2}]}`},
		{"no item chosen is no change", `{$set: {"a.$[e]": 0}}`, []string{`{e: 9}`}, `{a: [1]}`, ``},
		{"$unset of items leaves nulls", `{$unset: {"a.$[]": 1}}`, nil, `{a: [1, 2]}`, `{a: [null, null]}`},
	} {
		u := compileUpdate(t, c.update, c.filters...)
		got, changed, err := u.Apply(doc(c.before))
		want := doc(c.before)
		if c.after != "" {
			want = doc(c.after)
		}
		if err != nil || !bytes.Equal(got, want) || changed != (c.after != "") {
			t.Errorf("%s: got %s, %v, %v", c.name, show(got), changed, err)
		}
	}
	for _, c := range []struct {
		update  string
		filters []string
		code    int32
		part    string
	}{
		{`{$set: {"a.$[e]": 1}}`, []string{`{e: 1}`, `{f: 1}`}, 9, "The array filter for identifier 'f' was not used in the update"},
		{`{$set: {"a.$[e]": 1}}`, []string{`{e: 1}`, `{e: 2}`}, 9, "Found multiple array filters with the same top-level field name e"},
		{`{$set: {"a.$[e]": 1}}`, []string{`{e: 1, f: 1}`}, 9, "Expected a single top-level field name, found 'e' and 'f'"},
		{`{$set: {"a.$[e]": 1}}`, []string{`{}`}, 9, "Cannot use an expression without a top-level field name"},
		{`{$set: {"a.$[E]": 1}}`, []string{`{E: 1}`}, 2, "alphanumeric string beginning with a lowercase letter"},
		{`{$set: {"a.$[e]": 1}}`, []string{`{e: {$foo: 1}}`}, 2, "unknown operator: $foo"},
		{`{a: 1}`, []string{`{e: 1}`}, 9, "arrayFilters may not be specified"},
	} {
		_, err := CompileUpdate(val(c.update), UpdateOptions{ArrayFilters: docs(c.filters...)})
		refused(t, err, c.code, c.part)
	}
	_, _, err := compileUpdate(t, `{$set: {"a.$[x]": 1, "a.$[y]": 2}}`, `{x: 1}`, `{y: 1}`).Apply(doc(`{a: [1]}`))
	refused(t, err, 40, "Update created a conflict at 'a.0'")
}

func TestThePositionalOperatorMeansTheItemTheQueryMatched(t *testing.T) {
	for _, c := range []struct{ filter, update, before, after string }{
		{`{a: 2}`, `{$set: {"a.$": 9}}`, `{a: [1, 2, 2]}`, `{a: [1, 9, 2]}`},
		{`{"a.id": "b"}`, `{$inc: {"a.$.n": 1}}`, `{a: [{id: "a", n: 1}, {id: "b", n: 1}]}`, `{a: [{id: "a", n: 1}, {id: "b", n: 2}]}`},
		{`{a: {$elemMatch: {x: 1, y: {$gt: 2}}}}`, `{$set: {"a.$.z": 1}}`, `{a: [{x: 1, y: 1}, {x: 1, y: 3}]}`, `{a: [{x: 1, y: 1}, {x: 1, y: 3, z: 1}]}`},
		{`{_id: 1, a: {$in: [5, 6]}}`, `{$unset: {"a.$": 1}}`, `{_id: 1, a: [4, 6]}`, `{_id: 1, a: [4, null]}`},
		{`{$or: [{a: 9}, {a: {$gt: 1}}]}`, `{$set: {"a.$": 0}}`, `{a: [1, 2]}`, `{a: [1, 0]}`},
		{`{"a.b": 2}`, `{$set: {"a.$.b.0": 7}}`, `{a: [{b: [1]}, {b: [1, 2]}]}`, `{a: [{b: [1]}, {b: [7, 2]}]}`},
		{`{a: 2}`, `{$set: {"a.$": 9, "a.0": 8}}`, `{a: [1, 2]}`, `{a: [8, 9]}`},
	} {
		f, err := CompileFilter(doc(c.filter))
		if err != nil {
			t.Fatal(err)
		}
		u := compileUpdate(t, c.update)
		if !u.Positional() {
			t.Errorf("%s is not positional", c.update)
		}
		got, _, err := u.ApplyMatched(doc(c.before), f)
		if err != nil || !bytes.Equal(got, doc(c.after)) {
			t.Errorf("%s %s: got %s, %v", c.filter, c.update, show(got), err)
		}
	}
	f, err := CompileFilter(doc(`{b: 1}`))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = compileUpdate(t, `{$set: {"a.$": 1}}`).ApplyMatched(doc(`{a: [1], b: 1}`), f)
	refused(t, err, 2, "The positional operator did not find the match needed from the query.")
	f, err = CompileFilter(doc(`{a: 1}`))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = compileUpdate(t, `{$set: {"a.$": 9, "a.0": 8}}`).ApplyMatched(doc(`{a: [1]}`), f)
	refused(t, err, 40, "conflict at 'a.0'")
}
