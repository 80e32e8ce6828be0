package command

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWhichReadsMayLeaveACursorOpen(t *testing.T) {
	enc := &Encoder{}
	all, byID := doc(), doc("_id", 7)
	limit := func(n int64) []options.Lister[options.FindOptions] {
		return list[options.FindOptions](options.Find().SetLimit(n))
	}
	first := encodeRead(t, enc, "players", messages.FindOne{Filter: byID})
	for _, c := range []struct {
		r    *Read
		want bool
	}{
		{encodeRead(t, enc, "players", messages.Find{Filter: all}), true},
		{encodeRead(t, enc, "players", messages.Find{Filter: all, Options: limit(5)}), true}, // They may be large.
		{encodeRead(t, enc, "players", messages.Find{Filter: all, Options: limit(-5)}), false},
		{encodeRead(t, enc, "players", messages.Aggregate{Pipeline: bson.A{}}), true},
		{encodeRead(t, enc, "players", messages.FindOne{Filter: all}), false},
		{encodeRead(t, enc, "players", messages.Count{Filter: all}), false},
		{encodeRead(t, enc, "players", messages.Distinct{Field: "level", Filter: all}), false},
		{encodeRead(t, enc, "players", messages.Command{Document: doc("find", "players")}), false},
		{first, false},
		{NewBatch([]*Read{first, first}).Read, false},
	} {
		if got := c.r.LeavesCursor(); got != c.want {
			t.Errorf("%v: %v, want %v", c.r.Body, got, c.want)
		}
	}
}
