package query

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestUpsertsTakeOverWhatTheQueryPins(t *testing.T) {
	for _, c := range []struct{ filter, update, want string }{
		{`{_id: 1}`, `{$set: {a: 1}}`, `{_id: 1, a: 1}`},
		{`{b: 1, a: "x", _id: 5}`, `{$inc: {n: 1}}`, `{_id: 5, a: "x", b: 1, n: 1}`},
		{`{_id: 1, a: {$eq: 2}, b: {$gt: 3}, c: {$in: [4]}, d: {$in: [5, 6]}}`, `{$set: {x: 1}}`, `{_id: 1, a: 2, c: 4, x: 1}`},
		{`{$and: [{_id: 1}, {a: 2}], $or: [{b: 3}]}`, `{$set: {x: 1}}`, `{_id: 1, a: 2, b: 3, x: 1}`},
		{`{$or: [{a: 1}, {b: 2}], _id: 1}`, `{$set: {x: 1}}`, `{_id: 1, x: 1}`},
		{`{_id: 1, "a.b": 2, "a.c": 3}`, `{$set: {"a.d": 4}}`, `{_id: 1, a: {b: 2, c: 3, d: 4}}`},
		{`{_id: 1, n: 5}`, `{$inc: {n: 2}}`, `{_id: 1, n: 7}`},
		{`{_id: 1}`, `{$setOnInsert: {a: 1}, $set: {b: 2}}`, `{_id: 1, a: 1, b: 2}`},
		{`{a: 1}`, `{$setOnInsert: {_id: 9}}`, `{_id: 9, a: 1}`},
		{`{_id: 1, a: /x/, b: {$ne: 1}, c: {$exists: true}, d: {$not: {$eq: 1}}}`, `{$set: {x: 1}}`, `{_id: 1, x: 1}`},
		{`{_id: 1, a: {$all: [7]}}`, `{$push: {b: 1}}`, `{_id: 1, a: 7, b: [1]}`},
		{`{_id: 1}`, `{$unset: {a: 1}, $pull: {b: 1}, $min: {c: 3}}`, `{_id: 1, c: 3}`},
		{`{_id: 1, a: 1}`, `{b: 2}`, `{_id: 1, b: 2}`},
		{`{a: 1}`, `{b: 2, _id: 7}`, `{_id: 7, b: 2}`},
		{`{_id: {x: 1}}`, `{$set: {a: 1}}`, `{_id: {x: 1}, a: 1}`},
		{`{"_id.x": 1}`, `{$set: {a: 1}}`, `{_id: {x: 1}, a: 1}`},
	} {
		got, err := compileUpdate(t, c.update).Upsert(doc(c.filter))
		if err != nil || !bytes.Equal(got, doc(c.want)) {
			t.Errorf("%s %s: got %s, %v\nwant %s", c.filter, c.update, show(got), err, c.want)
		}
	}
	for _, c := range []struct {
		filter, update string
		code           int32
		part           string
	}{
		{`{_id: 1}`, `{$set: {_id: 2}}`, 66, "immutable field '_id'"},
		{`{_id: 1}`, `{_id: 2}`, 66, "altered to _id: 2"},
		{`{a: 1, $and: [{a: 2}]}`, `{$set: {x: 1}}`, 54, "path 'a' is matched twice"},
		{`{a: {b: 1}, "a.b": 1}`, `{$set: {x: 1}}`, 54, "both paths 'a.b' and 'a' are matched"},
		{`{"_id.x": 1}`, `{a: 1}`, 111, "must be exactly specified"},
		{`{a: 1}`, `{$set: {"a.b": 1}}`, 28, "Cannot create field 'b'"},
		{`{a: 1}`, `{$setOnInsert: {"a.b": 1}}`, 28, "Cannot create field 'b'"},
		{`{a: "x"}`, `{$inc: {a: 1}}`, 14, "Cannot apply $inc"},
		{`{}`, `{$set: {_id: [1]}}`, 54, "'_id' was found to be an array"},
		{`{}`, `{$set: {_id: /x/}}`, 53, "regex"},
		{`{$foo: 1}`, `{$set: {a: 1}}`, 2, "unknown top level operator"},
	} {
		_, err := compileUpdate(t, c.update).Upsert(doc(c.filter))
		t.Run(c.filter+c.update, func(t *testing.T) { refused(t, err, c.code, c.part) })
	}
	got, err := compileUpdate(t, `{$set: {a: 1}}`).Upsert(doc(`{b: 2}`))
	if err != nil {
		t.Fatal(err)
	}
	e := elementsOf(got)
	if key, v, _ := e.next(); string(key) != "_id" || v.Type != bson.TypeObjectID {
		t.Errorf("an upsert without _id gives %s", got)
	}
}
