package query

import (
	"bytes"
	"testing"
)

func TestProjectionsKeepWhatTheServerKeeps(t *testing.T) {
	const d = `{_id: 1, a: 1, b: {c: 2, d: 3}, e: [{f: 1, g: 2}, 5, [{f: 3, h: 4}], {g: 6}], n: [1, 2, 3, 4]}`
	for _, c := range []struct{ projection, want string }{
		{`{}`, d},
		{`{a: 1}`, `{_id: 1, a: 1}`},
		{`{a: true, n: 5.5}`, `{_id: 1, a: 1, n: [1, 2, 3, 4]}`},
		{`{a: 1, _id: 0}`, `{a: 1}`},
		{`{_id: 0, a: 1}`, `{a: 1}`},
		{`{_id: 1}`, `{_id: 1}`},
		{`{_id: 0}`, `{a: 1, b: {c: 2, d: 3}, e: [{f: 1, g: 2}, 5, [{f: 3, h: 4}], {g: 6}], n: [1, 2, 3, 4]}`},
		{`{x: 1}`, `{_id: 1}`},
		{`{n: 1, a: 1}`, `{_id: 1, a: 1, n: [1, 2, 3, 4]}`},
		{`{"b.c": 1}`, `{_id: 1, b: {c: 2}}`},
		{`{b: {c: 1}}`, `{_id: 1, b: {c: 2}}`},
		{`{"b.x": 1}`, `{_id: 1, b: {}}`},
		{`{"a.x": 1}`, `{_id: 1}`},
		{`{"e.f": 1}`, `{_id: 1, e: [{f: 1}, [{f: 3}], {}]}`},
		{`{a: 0, e: 0, n: false}`, `{_id: 1, b: {c: 2, d: 3}}`},
		{`{a: 0, e: 0, n: 0, _id: 1}`, `{_id: 1, b: {c: 2, d: 3}}`},
		{`{a: 0, "b.c": 0, "e.f": 0, n: 0}`, `{_id: 1, b: {d: 3}, e: [{g: 2}, 5, [{h: 4}], {g: 6}]}`},
		{`{a: 0, b: 0, e: 0, "n.x": 0}`, `{_id: 1, n: [1, 2, 3, 4]}`},
		{`{a: 0, b: 0, e: 0, n: {$slice: 2}}`, `{_id: 1, n: [1, 2]}`},
		{`{n: {$slice: -1}, a: 1}`, `{_id: 1, a: 1, n: [4]}`},
		{`{n: {$slice: [1, 2]}, _id: 1}`, `{_id: 1, n: [2, 3]}`},
		{`{n: {$slice: [-3, 2]}, a: 1}`, `{_id: 1, a: 1, n: [2, 3]}`},
		{`{n: {$slice: [9, 2]}, a: 1}`, `{_id: 1, a: 1, n: []}`},
		{`{a: {$slice: 1}, b: 1}`, `{_id: 1, a: 1, b: {c: 2, d: 3}}`},
		{`{n: {$elemMatch: {$gt: 2}}}`, `{_id: 1, n: [3]}`},
		{`{e: {$elemMatch: {g: 6}}, n: 1, _id: 0}`, `{n: [1, 2, 3, 4], e: [{g: 6}]}`},
		{`{e: {$elemMatch: {g: 99}}, a: 1}`, `{_id: 1, a: 1}`},
		{`{a: {$elemMatch: {x: 1}}}`, `{_id: 1}`},
	} {
		p, err := CompileProjection(doc(c.projection))
		if err != nil {
			t.Errorf("%s: %v", c.projection, err)
			continue
		}
		if got, err := p.Apply(doc(d)); err != nil || !bytes.Equal(got, doc(c.want)) {
			t.Errorf("%s: got %s, %v\nwant %s", c.projection, got, err, c.want)
		}
	}
}

func TestWhatAProjectionCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		projection string
		code       int32
		part       string
	}{
		{`{a: 1, b: 0}`, 31254, "Cannot do exclusion on field b in inclusion projection"},
		{`{a: 0, b: 1}`, 31253, "Cannot do inclusion on field b in exclusion projection"},
		{`{a: 1, "a.b": 1}`, 31249, "Path collision at a.b remaining portion b"},
		{`{"a.b": 1, a: 1}`, 31250, "Path collision at a"},
		{`{a: {}}`, 51270, "An empty sub-projection is not a valid value."},
		{`{"": 1}`, 40352, "FieldPath cannot be constructed with empty string"},
		{`{"a.": 1}`, 40353, "FieldPath must not end with a '.'."},
		{`{"a..b": 1}`, 15998, "FieldPath field names may not be empty strings."},
		{`{"$a": 1}`, 16410, "FieldPath field names may not start with '$'."},
		{`{"a.$": 1}`, 238, "positional projection"},
		{`{a: "$"}`, 16872, "'$' by itself is not a valid FieldPath"},
		{`{a: {$tan: 1}}`, 168, "The expression $tan is not supported by this server"},
		{`{a: 0, b: "$c"}`, 31310, "Cannot use an expression"},
		{`{a: {$meta: "textScore"}}`, 238, "$meta"},
		{`{a: {$foo: 1}}`, 31325, "Unknown expression $foo"},
		{`{a: {$slice: "x"}}`, 31273, "$slice only supports numbers and [skip, limit] arrays"},
		{`{a: {$slice: [1]}}`, 31272, "[skip, limit]"},
		{`{a: {$slice: [1, 0]}}`, 31259, "$slice limit must be positive, got 0"},
		{`{a: {$slice: ["x", 1]}}`, 31257, "skip argument to be a number, got string"},
		{`{a: {$elemMatch: 1}}`, 31274, "object required, but got int"},
		{`{"a.b": {$elemMatch: {x: 1}}}`, 31275, "nested field"},
		{`{a: {$elemMatch: {$foo: 1}}}`, 2, "unknown operator: $foo"},
	} {
		_, err := CompileProjection(doc(c.projection))
		t.Run(c.projection, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
}

func FuzzProjection(f *testing.F) {
	for _, s := range []string{`{a: 1, "b.c": 1}`, `{a: 0, b: {c: 0}}`, `{a: {$slice: [1, 2]}}`, `{a: {$elemMatch: {b: 1}}}`} {
		f.Add([]byte(doc(s)), []byte(doc(`{_id: 1, a: [1, {b: 1}], b: {c: [{d: 1}]}}`)))
	}
	f.Fuzz(func(t *testing.T, projection, d []byte) {
		p, err := CompileProjection(projection)
		if err != nil {
			return
		}
		wellFormed := checkNesting(d) == nil
		if got, err := p.Apply(d); err == nil && wellFormed && checkNesting(got) != nil {
			t.Errorf("%v of %v gives malformed bytes", projection, d)
		}
	})
}
