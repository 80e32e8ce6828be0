package query

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestSortingPutsDocumentsInTheServersOrder(t *testing.T) {
	for _, c := range []struct {
		sort string
		docs []string // in the order they must come out
	}{
		{`{a: 1}`, []string{`{a: []}`, `{}`, `{a: 1}`, `{a: 2.5}`, `{a: "x"}`, `{a: {b: 1}}`}},
		{`{a: -1}`, []string{`{a: "x"}`, `{a: 2.5}`, `{a: 1}`, `{a: null}`, `{a: []}`}},
		{`{a: 1}`, []string{`{a: [5, 1]}`, `{a: 2}`, `{a: [3, 9]}`}},
		{`{a: -1}`, []string{`{a: [3, 9]}`, `{a: [5, 1]}`, `{a: 2}`}},
		{`{a: 1}`, []string{`{a: [[9]]}`, `{a: [[10], [10]]}`}},
		{`{a: 1, b: -1}`, []string{`{a: 1, b: 2}`, `{a: 1, b: 1}`, `{a: 2, b: 9}`}},
		{`{"a.b": 1}`, []string{`{a: 5}`, `{a: {b: 1}}`, `{a: [{b: 7}, {b: 2}]}`, `{a: {b: [3, 4]}}`}},
		{`{"a.b": 1}`, []string{`{a: [{b: 1}, {}], n: 1}`, `{a: [], n: 2}`, `{a: [5], n: 3}`, `{a: {b: 0}}`}},
		{`{"a.1": 1}`, []string{`{a: [9, 1]}`, `{a: [0, 2]}`, `{a: {"1": 3}}`}},
		{`{"a.b": 1, "a.c": 1}`, []string{`{a: {b: 1, c: 4}}`, `{a: [{b: 1, c: 5}, {b: 2, c: 1}]}`, `{a: {b: 1, c: 6}}`}},
		{`{"a.c": -1, "a.b": 1}`, []string{`{a: {b: 0, c: 5}}`, `{a: [{b: 1, c: 5}, {b: 0, c: 1}]}`}},
		{`{a: 1, b: 1}`, []string{`{a: 1, b: [2, 3]}`, `{a: 1, b: [4]}`}},
	} {
		s, err := CompileSort(doc(c.sort))
		if err != nil {
			t.Fatal(err)
		}
		for shift := range c.docs {
			var list []bson.Raw
			for i := range c.docs {
				list = append(list, doc(c.docs[(i+shift)%len(c.docs)]))
			}
			if err := s.Sort(list); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(list); i++ {
				if s.Compare(list[i-1], list[i]) > 0 {
					t.Errorf("%s: Compare and Sort disagree on %s and %s", c.sort, list[i-1], list[i])
				}
			}
			if shift > 0 {
				// Equal documents keep the order they came in, so only their keys can be
				// compared.
				for i := range list {
					if s.Compare(list[i], doc(c.docs[i])) != 0 {
						t.Errorf("%s: %s at %d, want %s", c.sort, list[i], i, c.docs[i])
					}
				}
				continue
			}
			for i := range list {
				if !bytes.Equal(list[i], doc(c.docs[i])) {
					t.Errorf("%s: %s at %d, want %s", c.sort, list[i], i, c.docs[i])
				}
			}
		}
	}
}

func TestASortOfParallelArraysIsRefused(t *testing.T) {
	s, err := CompileSort(doc(`{a: 1, b: 1}`))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, s.Sort(docs(`{a: [1], b: [2]}`)), 2, "cannot sort with keys that are parallel arrays")
	// Compare has no way to refuse; it must still come to an end.
	s.Compare(doc(`{a: [1], b: [2]}`), doc(`{a: 1}`))
}

func TestWhatASortCannotSayIsRefusedWithTheServersCode(t *testing.T) {
	for _, c := range []struct {
		sort string
		code int32
		part string
	}{
		{`{a: "x"}`, 15974, "Illegal key in $sort specification: a: \"x\""},
		{`{a: 2}`, 15975, "$sort key ordering must be 1"},
		{`{a: {$meta: "textScore"}}`, 238, "$meta"},
		{`{"": 1}`, 40352, "empty string"},
		{`{"a.": 1}`, 40353, "must not end"},
		{`{"$a": 1}`, 16410, "may not start with '$'"},
		{`{a: 1, a: 1}`, 7472500, "duplicate"},
		{`{$natural: 2}`, 2, "$natural sort cannot be set to a value other than -1 or 1."},
		{`{$natural: 1, a: 1}`, 2, "Cannot include '$natural' in compound sort"},
	} {
		_, err := CompileSort(doc(c.sort))
		t.Run(c.sort, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
}

func TestNaturalOrderIsTold(t *testing.T) {
	s, err := CompileSort(doc(`{$natural: -1}`))
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := s.Natural(); !ok || d != -1 {
		t.Errorf("got %d, %v", d, ok)
	}
	if s, err = CompileSort(doc(`{a: 1}`)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Natural(); ok {
		t.Error("an order by a field is taken for the natural one")
	}
}

func TestDistinctValuesAreTheItemsOfArrays(t *testing.T) {
	for _, c := range []struct {
		path string
		docs []string
		want string
	}{
		{"a", []string{`{a: 1}`, `{a: 2}`, `{a: 1.0}`, `{}`, `{a: null}`}, `[1, 2, null]`},
		{"a", []string{`{a: [1, 2]}`, `{a: [2, [3]]}`, `{a: []}`}, `[1, 2, [3]]`},
		{"a.b", []string{`{a: {b: 1}}`, `{a: [{b: 2}, {b: [3, 1]}, 5]}`, `{a: 4}`}, `[1, 2, 3]`},
		{"a.0", []string{`{a: [7, 8]}`, `{a: {"0": 9}}`}, `[7, 9]`},
		{"a.1.b", []string{`{a: [{b: 1}, {b: 2}]}`}, `[2]`},
	} {
		got := DistinctValues(c.path, func(yield func(bson.Raw) bool) {
			for _, s := range c.docs {
				if !yield(doc(s)) {
					return
				}
			}
		})
		if Compare(arrayValue(got), val(c.want)) != 0 {
			t.Errorf("%s: got %s, want %s", c.path, text(arrayValue(got)), c.want)
		}
	}
}

func FuzzSort(f *testing.F) {
	f.Add([]byte(doc(`{a: 1, "b.c": -1}`)), []byte(doc(`{a: [1, 2], b: {c: 1}}`)), []byte(doc(`{a: 1, b: [{c: 1}, 2]}`)))
	f.Fuzz(func(t *testing.T, sort, a, b []byte) {
		s, err := CompileSort(sort)
		if err != nil {
			return
		}
		if s.Sort([]bson.Raw{a, b}) == nil && sign(s.Compare(a, b)) != -sign(s.Compare(b, a)) {
			t.Errorf("%v: %v and %v are not antisymmetric", sort, a, b)
		}
		DistinctValues("a.b", func(yield func(bson.Raw) bool) { yield(a) })
	})
}
