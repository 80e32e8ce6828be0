package master

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// sends records an attempt at a command, as the driver does.
func sends(a *attempts, name string, request, number int64) {
	a.Started(&event.CommandStartedEvent{
		CommandName: name, RequestID: request, Command: mustMarshal(bson.D{{Key: "txnNumber", Value: number}}),
	})
}

// replies records the reply to it.
func replies(a *attempts, name string, request int64, reply bson.D) {
	a.Succeeded(&event.CommandSucceededEvent{
		Reply: mustMarshal(reply), CommandFinishedEvent: event.CommandFinishedEvent{CommandName: name, RequestID: request},
	})
}

func fails(a *attempts, name string, request int64, err error) {
	a.Failed(&event.CommandFailedEvent{
		Failure: err, CommandFinishedEvent: event.CommandFinishedEvent{CommandName: name, RequestID: request},
	})
}

// bulkReply is the reply to a bulkWrite whose items say that.
func bulkReply(items []bson.D, more ...bson.E) bson.D {
	failed := 0
	for _, it := range items {
		if it[0].Value == 0.0 {
			failed++
		}
	}
	return append(bson.D{
		{Key: "ok", Value: 1.0}, {Key: "nErrors", Value: failed},
		{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "firstBatch", Value: items}, {Key: "ns", Value: "admin.$cmd.bulkWrite"}}},
	}, more...)
}

// did says what became of the write at idx.
func did(idx, n int, more ...bson.E) bson.D {
	return append(bson.D{{Key: "ok", Value: 1.0}, {Key: "idx", Value: idx}, {Key: "n", Value: n}}, more...)
}

func modified(n int) bson.E { return bson.E{Key: "nModified", Value: n} }

func upserted(id any) bson.E {
	return bson.E{Key: "upserted", Value: bson.D{{Key: "index", Value: 0}, {Key: "_id", Value: id}}}
}

func refusedAt(idx, code int) bson.D {
	return bson.D{
		{Key: "ok", Value: 0.0}, {Key: "idx", Value: idx}, {Key: "code", Value: code}, {Key: "errmsg", Value: fmt.Sprintf("no, %d", code)},
		{Key: "keyValue", Value: byID(7)}, {Key: "errInfo", Value: bson.D{{Key: "why", Value: "so"}}}, {Key: "n", Value: 0}, {Key: "nModified", Value: 0},
	}
}

// bulkRig is a master on a wire that knows bulkWrite. What it is sent while
// the first write is on the wire goes together, as the second batch and what
// comes after it.
type bulkRig struct {
	*rig
	gate  chan struct{}
	first chan *messages.WriteReply
}

func newBulkRig(t *testing.T, serve func(n int, ctx context.Context, b *batch, a *attempts) result) *bulkRig {
	t.Helper()
	gate := make(chan struct{})
	wire := &fakeWire{young: true}
	wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
		n := len(wire.sent()) - 1
		if n == 0 {
			<-gate
			try(a, replied, nil)
			return result{value: &mongo.UpdateResult{Acknowledged: true}}
		}
		return serve(n, ctx, b, a)
	}
	r := &bulkRig{rig: newRig(t, Config{Encoder: &command.Encoder{}}, wire), gate: gate}
	r.first, _ = r.ask(op("many", "first"))
	synctest.Wait()
	return r
}

// together sends the writes as one batch and returns their replies.
func (r *bulkRig) together(writes ...*messages.Write) []*messages.WriteReply {
	r.t.Helper()
	var asked []chan *messages.WriteReply
	for _, w := range writes {
		reply, _ := r.ask(w)
		asked = append(asked, reply)
	}
	close(r.gate)
	r.get(r.first)
	var got []*messages.WriteReply
	for _, reply := range asked {
		got = append(got, r.get(reply))
	}
	return got
}

// sizes are those of the batches behind the first.
func (r *bulkRig) sizes() (sizes []int) {
	for _, items := range r.wire.sent()[1:] {
		sizes = append(sizes, len(items))
	}
	return sizes
}

// answering replies with these items to the second batch, and that all is well to
// every other one.
func answering(reply bson.D) func(int, context.Context, *batch, *attempts) result {
	return func(n int, _ context.Context, b *batch, a *attempts) result {
		if n == 1 {
			sends(a, "bulkWrite", 1, 1)
			replies(a, "bulkWrite", 1, reply)
			return result{}
		}
		return fine(b, a)
	}
}

// fine executes a batch without trouble.
func fine(b *batch, a *attempts) result {
	id := int64(time.Now().UnixNano())
	if b.kind == bulk {
		var items []bson.D
		for i := range b.items {
			items = append(items, did(i, 1, modified(1)))
		}
		sends(a, "bulkWrite", id, id)
		replies(a, "bulkWrite", id, bulkReply(items))
		return result{}
	}
	a.start(attempt{id: id, fenced: true})
	a.end(id, replied, nil)
	switch b.first().Cmd.Operation.(type) {
	case messages.InsertOne:
		return result{value: &mongo.InsertManyResult{InsertedIDs: make([]any, len(b.items)), Acknowledged: true}}
	case messages.DeleteOne:
		return result{value: &mongo.DeleteResult{DeletedCount: 1, Acknowledged: true}}
	}
	return result{value: &mongo.UpdateResult{MatchedCount: 1, ModifiedCount: 1, Acknowledged: true}}
}

// outcomes are the first letters of the replies' outcomes.
func outcomes(replies []*messages.WriteReply) string {
	var s []byte
	for _, rep := range replies {
		s = append(s, rep.Outcome.String()[0]&^0x20)
	}
	return string(s)
}
