package master

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/evenkeel/evenkeel/messages"
)

func verified(w *messages.Write) *messages.Write {
	w.Verify = bson.D{{Key: "done", Value: w.Collection}}
	return w
}

// An update that finds nothing leaves no trace, so that the lost attempt, when it
// comes late, is executed as if it were the first.
func TestAWriteThatFoundNothingToChangeIsInDoubtWhileAnAttemptMayStillArrive(t *testing.T) {
	there := []bson.Raw{mustMarshal(byID(1))}
	none := &mongo.UpdateResult{Acknowledged: true}
	for _, c := range []struct {
		name    string
		first   state
		write   *messages.Write
		result  any
		stored  []bson.Raw
		want    messages.Outcome
		settled bool
		says    any
	}{
		{"a lost attempt", lost, op("update", 1), none, nil, messages.Unknown, false, nil},
		{"its Verify does not hold behind the fence", lost, verified(op("update", 1)), none, nil, messages.Applied, true, none},
		{"its Verify does hold", lost, verified(op("update", 1)), none, there, messages.Applied, true, nil},
		{"a document that was as wanted", lost, op("update", 1), &mongo.UpdateResult{MatchedCount: 1}, nil, messages.Unknown, false, nil},
		{"a delete", lost, op("delete", 1), &mongo.DeleteResult{}, nil, messages.Unknown, false, nil},
		{"a find-and-modify", lost, op("find", 1), nil, nil, messages.Unknown, false, nil},
		{"one whose result nobody wants", lost, bare(op("update", 1)), none, nil, messages.Applied, false, nil},
		{"an attempt that is over", interrupted, op("update", 1), none, nil, messages.Applied, false, none},
		{"one that was never sent", unsent, op("update", 1), none, nil, messages.Applied, false, none},
		{"it did find something", lost, op("update", 1), &mongo.UpdateResult{ModifiedCount: 1}, nil, messages.Applied, false, &mongo.UpdateResult{ModifiedCount: 1}},
		{"it was inserted", lost, op("update", 1), &mongo.UpdateResult{UpsertedCount: 1}, nil, messages.Applied, false, &mongo.UpdateResult{UpsertedCount: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := &fakeWire{stored: c.stored, serve: func(_ context.Context, b *batch, a *attempts) result {
					try(a, c.first, serverError(11602, driver.RetryableWriteError))
					try(a, replied, nil)
					return result{value: c.result, none: c.result == nil}
				}}
				r := newRig(t, Config{}, wire)
				reply, _ := r.ask(c.write)
				rep := r.get(reply)
				if rep.Outcome != c.want || rep.Settled != c.settled || rep.OrderOpen || len(wire.sent()) != 1 {
					t.Errorf("reply %+v, want %v, settled %v", rep, c.want, c.settled)
				}
				if !reflect.DeepEqual(rep.Result, c.says) {
					t.Errorf("result %+v, want %+v", rep.Result, c.says)
				}
			})
		})
	}
}

func TestAnInsertWithAnIDOfTheCallersIsSettledByItsVerify(t *testing.T) {
	for _, happened := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			wire := &fakeWire{serve: losing(context.DeadlineExceeded), found: func(_ namespace, filter any) []bson.Raw {
				if doc, ok := filter.(bson.Raw); !ok || doc.Lookup("done").StringValue() != "players" {
					t.Errorf("looked for %v", filter)
				}
				if happened {
					return []bson.Raw{mustMarshal(byID(7))}
				}
				return nil
			}}
			r := newRig(t, Config{}, wire)
			reply, _ := r.ask(verified(op("insert", 7)))
			want := messages.NotApplied
			if happened {
				want = messages.Applied
			}
			rep := r.get(reply)
			if rep.Outcome != want || !rep.Settled {
				t.Errorf("happened %v: %+v", happened, rep)
			}
			if res, _ := rep.Result.(*mongo.InsertOneResult); happened && (res == nil || res.InsertedID != int64(7)) {
				t.Errorf("result %+v", rep.Result)
			}
		})
	}
}

// A whole batch is lost, and nothing is known of it but what a read finds.
func TestEachWriteOfALostBatchIsSettledByWhatOnlyItCanHaveLeft(t *testing.T) {
	log := func(w *messages.Write) *messages.Write { return elsewhere(w, "game", "log") }
	fresh := func() *messages.Write {
		w := insertAnonymous()
		w.Collection = "players"
		return w
	}
	for _, c := range []struct {
		name   string
		writes []*messages.Write
		there  []int // those of which a read finds something
		want   string
	}{
		{"inserts, as far as the server got", []*messages.Write{fresh(), fresh(), fresh()}, []int{0, 1}, "AAN"},
		{"nothing of it", []*messages.Write{fresh(), verified(op("update", 1)), log(op("update", 2))}, nil, "NNU"},
		{"in two collections", []*messages.Write{fresh(), log(fresh()), verified(log(op("update", 1))), fresh()}, []int{0, 1, 2}, "AAAN"},
		{"an insert that a later write has deleted, perhaps", []*messages.Write{fresh(), op("delete", 1)}, nil, "UU"},
		{"a delete elsewhere", []*messages.Write{fresh(), log(op("delete", 1))}, nil, "NU"},
		{"a delete that did not happen", []*messages.Write{fresh(), verified(op("delete", 1))}, nil, "NN"},
		{"a delete that did happen", []*messages.Write{fresh(), verified(op("delete", 1))}, []int{1}, "UA"},
		{"a Verify is no proof of what came before it", []*messages.Write{fresh(), bare(log(op("update", 1))), verified(log(op("update", 2)))}, []int{2}, "NUA"},
		{"an update does not take an insert away", []*messages.Write{fresh(), op("update", 1), op("replace", 2)}, nil, "NUU"},
		{"an insert before one that is there", []*messages.Write{op("insert", 1), fresh()}, []int{0, 1}, "AA"},
		{"an insert before one that is there, and gone itself", []*messages.Write{fresh(), op("delete", 1), fresh()}, []int{2}, "AUA"},
		{"what came before is executed, and what it has found is not known", []*messages.Write{op("update", 1), bare(op("update", 2)), fresh()}, []int{2}, "UAA"},
		{"a Verify that a later write has undone, perhaps", []*messages.Write{verified(op("update", 1)), op("update", 1)}, nil, "UU"},
		{"a Verify that no later write can have undone", []*messages.Write{verified(op("update", 1)), log(op("update", 1))}, nil, "NU"},
		{"a Verify that a later write which happened may have undone", []*messages.Write{verified(op("update", 1)), fresh()}, []int{1}, "UA"},
		{"a delete of another document", []*messages.Write{op("insert", 1), op("delete", 2)}, nil, "NU"},
		{"a delete of what may be the same document", []*messages.Write{op("insert", 1), op("delete", 1.0)}, nil, "UU"},
		{"an _id of the caller's own", []*messages.Write{op("insert", 1), op("insert", 2)}, []int{0}, "UN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
					if len(b.items) != len(c.writes) {
						t.Errorf("%d writes went together", len(b.items))
					}
					try(a, lost, networkError())
					return result{err: context.DeadlineExceeded}
				})
				var sent []*item
				r.wire.found = func(ns namespace, filter any) (docs []bson.Raw) {
					sent = r.wire.sent()[1]
					doc, byVerify := filter.(bson.Raw)
					for _, i := range c.there {
						it := sent[i]
						switch {
						case it.Cmd.Collection != ns.collection:
						case !byVerify && !it.byVerify():
							docs = append(docs, mustMarshal(byID(it.Cmd.ID)))
						case byVerify && it.byVerify() && slices.Equal(doc, it.Cmd.Verify):
							docs = append(docs, mustMarshal(byID(0)))
						}
					}
					return docs
				}
				got := r.together(c.writes...)
				if outcomes(got) != c.want {
					t.Errorf("%s, want %s", outcomes(got), c.want)
				}
				for i, rep := range got {
					if rep.Settled == (rep.Outcome == messages.Unknown) || rep.OrderOpen || (rep.Err == nil) != (rep.Outcome == messages.Applied) {
						t.Errorf("write %d: %+v", i, rep)
					}
				}
				if len(r.wire.fences) != 1 {
					t.Errorf("%d fences", len(r.wire.fences))
				}
			})
		})
	}
}

// Also where time is left: another process may have taken away what a write had left, and would be given it twice.
func TestOfALostBatchNothingIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(n int, _ context.Context, b *batch, a *attempts) result {
			try(a, lost, networkError())
			return result{err: networkError()}
		})
		r.wire.found = func(namespace, any) []bson.Raw { return nil }
		got := r.together(verified(elsewhere(op("update", 1), "game", "log")), op("update", 2), elsewhere(insertAnonymous(), "game", "other"), verified(elsewhere(op("update", 3), "game", "last")))
		if outcomes(got) != "NUNN" {
			t.Errorf("%s, want NUNN", outcomes(got))
		}
		if got := r.sizes(); !slices.Equal(got, []int{4}) {
			t.Errorf("batches of %v", got)
		}
	})
}

// The server refuses a batch because of one of its writes, after an attempt without
// a reply. It is proven that nothing of it happened, and who is refused is not known.
func TestARefusalOfABatchIsNotToldAsThatOfEachWriteInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(n int, _ context.Context, b *batch, a *attempts) result {
			try(a, lost, networkError())
			try(a, refused, serverError(13))
			return result{err: mongo.CommandError{Code: 13}}
		})
		r.wire.found = func(namespace, any) []bson.Raw { return nil }
		for i, rep := range r.together(insertAnonymous(), elsewhere(insertAnonymous(), "game", "secret"), insertAnonymous()) {
			if rep.Outcome != messages.NotApplied || !rep.Settled || fromServer(rep.Err) {
				t.Errorf("write %d: %+v", i, rep)
			}
		}
	})
}
