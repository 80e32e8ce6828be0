package query

import (
	"bytes"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestWhatTheServerWouldNotStoreIsRefused(t *testing.T) {
	for _, c := range []struct {
		doc  string
		code int32
	}{
		{`{_id: [1]}`, 53},
		{`{_id: /x/}`, 53},
		{`{_id: undefined}`, 53},
		{`{_id: {$a: 1}}`, 52},
		{`{_id: 1, _id: 2}`, 2},
	} {
		refused(t, ValidateDocument(doc(c.doc), true), c.code, "")
	}
	for _, s := range []string{`{}`, `{_id: 1}`, `{$a: 1, "b.c": 2}`, `{_id: {$ref: "c", $id: 1}}`, `{a: {_id: [1]}, _id: {a: [1]}}`} {
		if err := ValidateDocument(doc(s), true); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	large := doc(`{a: "` + strings.Repeat("x", MaxDocumentSize) + `"}`)
	refused(t, ValidateDocument(large, true), 10334, "size in bytes")
	refused(t, ValidateDocument(large, false), 17419, "larger than 16777216")
	for _, levels := range []int{181, 201, 1000} {
		refused(t, ValidateDocument(deep(levels, "1"), true), 15, "cannot insert document because it exceeds 180 levels of nesting")
	}
	for _, stored := range []bson.Raw{deep(180, "1"), deep(180, "{}"), deep(180, "[]"), deep(180, `Scoped("x", {y: 1})`)} {
		if err := ValidateDocument(stored, true); err != nil {
			t.Error(err)
		}
	}
}

// deep nests a value in so many documents.
func deep(levels int, inside string) bson.Raw {
	return doc(strings.Repeat("{a: ", levels) + inside + strings.Repeat("}", levels))
}

func TestMalformedBytesAreRefused(t *testing.T) {
	good := doc(`{a: "xyz", b: {c: [1, /x/i, Bin(0, "ff")]}, d: Scoped("x", {y: 1}), e: true, f: Dec("1")}`)
	if err := ValidateDocument(good, true); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		refused(t, ValidateDocument(good[:n], true), 22, "")
		longer := append(bytes.Clone(good), 0)
		refused(t, ValidateDocument(longer, true), 22, "")
	}
	short := bytes.Clone(good)
	short[0]++ // says it is longer than it is
	refused(t, ValidateDocument(short, true), 22, "")
	// Whatever byte changes, what is let through is well-formed to the driver too.
	for i := range good {
		for _, b := range []byte{0, 1, 0x7f, 0xff} {
			bad := bytes.Clone(good)
			bad[i] = b
			if ValidateDocument(bad, true) == nil && bson.Raw(bad).Validate() != nil {
				t.Errorf("byte %d as %#x is let through", i, b)
			}
		}
	}
}

func TestTheIDComesFirst(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{`{_id: 1, a: 2}`, `{_id: 1, a: 2}`},
		{`{a: 2, _id: 1, b: {_id: 3}}`, `{_id: 1, a: 2, b: {_id: 3}}`},
	} {
		if got := WithID(doc(c.doc)); !bytes.Equal(got, doc(c.want)) {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	got := WithID(doc(`{a: 1}`))
	e := elementsOf(got)
	if key, v, _ := e.next(); string(key) != "_id" || v.Type != bson.TypeObjectID || Compare(lookup(got, "a"), val("1")) != 0 {
		t.Errorf("got %s", got)
	}
	if bytes.Equal(got, WithID(doc(`{a: 1}`))) {
		t.Error("two documents have one ObjectID")
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(doc(`{a: "xyz", b: {c: [1, /x/i, Bin(0, "ff")]}, d: Scoped("x", {y: 1}), _id: {e: 1}}`)))
	f.Fuzz(func(t *testing.T, d []byte) {
		if ValidateDocument(d, true) == nil && bson.Raw(d).Validate() != nil {
			t.Error("malformed bytes are let through")
		}
		WithID(d)
	})
}
