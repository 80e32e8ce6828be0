package master

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

func commandOf(name string, more ...bson.E) *messages.Write {
	return &messages.Write{Database: "game", Operation: messages.Command{Document: append(bson.D{{Key: name, Value: "players"}}, more...)}}
}

// replying is a server that answers a command with ok: 1 and these errors.
func replying(code int, concern *mongo.WriteConcernError, fields ...bson.E) func(context.Context, *batch, *attempts) result {
	return func(_ context.Context, _ *batch, a *attempts) result {
		tryNumbered(a, false, replied, nil)
		err := mongo.WriteException{WriteErrors: mongo.WriteErrors{{Index: 1, Code: code}}, WriteConcernError: concern}
		return result{err: err, document: mustMarshal(append(bson.D{{Key: "ok", Value: 1}}, fields...))}
	}
}

func TestACommandWhoseStatementsWereRefusedIsToldByItsNumbers(t *testing.T) {
	n := func(n int32) bson.E { return bson.E{Key: "n", Value: n} }
	for _, c := range []struct {
		name    string
		command string
		code    int
		concern *mongo.WriteConcernError
		fields  []bson.E
		want    messages.Outcome
	}{
		{"an insert of some", "insert", 11000, nil, []bson.E{n(1)}, messages.Partial},
		{"an insert of none", "insert", 11000, nil, []bson.E{n(0)}, messages.NotApplied},
		{"an update of some", "update", 11000, nil, []bson.E{n(3), {Key: "nModified", Value: int32(2)}}, messages.Partial},
		{"an update that may have been stopped in the middle", "update", 11000, nil, []bson.E{n(0)}, messages.Unknown},
		{"a bulkWrite", "bulkWrite", 11000, nil, []bson.E{{Key: "nInserted", Value: int32(1)}}, messages.Partial},
		{"the server stepped down in the middle", "insert", 10107, nil, []bson.E{n(1)}, messages.Partial},
		{"without its write concern", "insert", 11000, &mongo.WriteConcernError{Code: 64}, []bson.E{n(1)}, messages.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, &fakeWire{serve: replying(c.code, c.concern, c.fields...)})
				reply, _ := r.ask(commandOf(c.command))
				rep := r.get(reply)
				var ex mongo.WriteException
				if rep.Outcome != c.want || !errors.As(rep.Err, &ex) || rep.OrderOpen || len(r.wire.sent()) != 1 {
					t.Errorf("%d times: %+v", len(r.wire.sent()), rep)
				}
				if told := rep.Document != nil; told != (c.want != messages.Unknown) {
					t.Errorf("the document is there: %v", told)
				}
			})
		})
	}
}

func TestACommandThatWritesInPartsMayHaveDoneSomeWhenItIsRefused(t *testing.T) {
	for name, want := range map[string]messages.Outcome{"aggregate": messages.Unknown, "applyOps": messages.Unknown, "insert": messages.Unknown, "create": messages.NotApplied} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Config{}, &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
				tryNumbered(a, false, judgeFailure(a.shape, serverError(11000)), serverError(11000))
				return result{err: mongo.CommandError{Code: 11000}}
			}})
			reply, _ := r.ask(commandOf(name))
			if rep := r.get(reply); rep.Outcome != want {
				t.Errorf("%s: %+v", name, rep)
			}
		})
	}
}

// An expression may fail at one document, behind others that are changed.
func TestAnUpdateOfManyThatFailsInTheMiddleIsUnknown(t *testing.T) {
	for code, want := range map[int]messages.Outcome{9: messages.Unknown, 11000: messages.Unknown, 13: messages.NotApplied} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Config{}, &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
				tryNumbered(a, false, replied, nil)
				return result{err: mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: code}}}}
			}})
			reply, _ := r.ask(updateMany())
			if rep := r.get(reply); rep.Outcome != want {
				t.Errorf("%d: %+v", code, rep)
			}
		})
	}
}

// A server that steps down says so of a single write with one of these codes in an ok reply.
func TestAWriteAtWhichTheServerSteppedDownGoesAgain(t *testing.T) {
	for _, code := range []int{91, 189, 10107} {
		synctest.Test(t, func(t *testing.T) {
			wire := &fakeWire{}
			wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
				if len(wire.sent()) > 1 {
					return succeed(ctx, b, a)
				}
				try(a, replied, nil)
				return result{err: mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: code}}}}
			}
			r := newRig(t, Config{}, wire)
			reply, _ := r.ask(update(nil))
			if rep := r.get(reply); rep.Outcome != messages.Applied || rep.Attempts != 2 {
				t.Errorf("%d: %+v", code, rep)
			}
		})
	}
}
