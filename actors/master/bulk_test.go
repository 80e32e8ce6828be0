package master

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/evenkeel/evenkeel/messages"
)

func TestEachWriteOfABulkWriteHasTheResultOfItsOwnMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upsert := op("replace", 5)
		upsert.Operation = messages.ReplaceOne{Filter: byID(5), Replacement: bson.D{}, Options: []options.Lister[options.ReplaceOptions]{options.Replace().SetUpsert(true)}}
		id := bson.D{{Key: "a", Value: int32(1)}}
		r := newBulkRig(t, answering(bulkReply([]bson.D{
			did(0, 1), did(1, 1, modified(1)), did(2, 1, modified(0)), did(3, 0, modified(0)),
			did(4, 1, modified(0), upserted(id)), did(5, 1, modified(0), upserted(nil)), did(6, 1), did(7, 0),
		})))
		got := r.together(op("insert", "new"), op("update", 1), op("replace", 2), op("update", 3), upsert, op("update", nil), op("delete", 6), op("delete", 7))
		for i, want := range []any{
			&mongo.InsertOneResult{InsertedID: "new", Acknowledged: true},
			&mongo.UpdateResult{MatchedCount: 1, ModifiedCount: 1, Acknowledged: true},
			&mongo.UpdateResult{MatchedCount: 1, Acknowledged: true},
			&mongo.UpdateResult{Acknowledged: true},
			&mongo.UpdateResult{UpsertedCount: 1, UpsertedID: id, Acknowledged: true},
			&mongo.UpdateResult{UpsertedCount: 1, Acknowledged: true},
			&mongo.DeleteResult{DeletedCount: 1, Acknowledged: true},
			&mongo.DeleteResult{Acknowledged: true},
		} {
			if rep := got[i]; rep.Outcome != messages.Applied || rep.Err != nil || rep.Attempts != 1 || rep.Token.IsZero() || !reflect.DeepEqual(rep.Result, want) {
				t.Errorf("write %d: %+v with %+v, want %+v", i, rep, rep.Result, want)
			}
		}
		if s := r.Stat(); s.Batches != 2 || s.Batched != 9 {
			t.Errorf("%d batches of %d writes", s.Batches, s.Batched)
		}
	})
}

func TestABulkWriteStopsAtTheRefusedWriteAndTheRestGoesAgainInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, answering(bulkReply([]bson.D{did(0, 1), refusedAt(1, 11000)})))
		got := r.together(op("insert", 0), op("update", 1), op("delete", 2), op("update", 3))
		for _, i := range []int{0, 2, 3} {
			if got[i].Outcome != messages.Applied || got[i].Err != nil {
				t.Errorf("write %d: %+v", i, got[i])
			}
		}
		if got[2].Attempts != 2 || got[0].Attempts != 1 {
			t.Errorf("%d and %d attempts", got[0].Attempts, got[2].Attempts)
		}
		want := mongo.WriteException{WriteErrors: mongo.WriteErrors{{
			Code: 11000, Message: "no, 11000", Details: mustMarshal(bson.D{{Key: "why", Value: "so"}}),
			Raw: mustMarshal(bson.D{{Key: "index", Value: 0}, {Key: "code", Value: 11000}, {Key: "keyValue", Value: byID(7)}, {Key: "errInfo", Value: bson.D{{Key: "why", Value: "so"}}}, {Key: "errmsg", Value: "no, 11000"}}),
		}}}
		if got[1].Outcome != messages.NotApplied || !reflect.DeepEqual(got[1].Err, error(want)) || got[1].Result != nil {
			t.Errorf("the refused one: %#v", got[1].Err)
		}
		if got := r.sizes(); !slices.Equal(got, []int{4, 2}) {
			t.Errorf("batches of %v", got)
		}
	})
}

func TestWritesOfWhichOnlyErrorsAreWantedNeedNoResultsInTheReply(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply bson.D
		want  string
	}{
		{"all done", bulkReply(nil), "AAAA"},
		{"one refused", bulkReply([]bson.D{refusedAt(2, 121)}), "AANA"},
		{"an error that the reply does not show", append(bulkReply(nil)[:1], bson.E{Key: "nErrors", Value: 1}), "UUUU"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newBulkRig(t, answering(c.reply))
			got := r.together(bare(op("update", 0)), bare(op("delete", 1)), bare(op("update", 2)), bare(op("replace", 3)))
			if outcomes(got) != c.want {
				t.Errorf("%s: %s, want %s", c.name, outcomes(got), c.want)
			}
			for i, rep := range got {
				if rep.Result != nil {
					t.Errorf("%s: write %d has the result %+v", c.name, i, rep.Result)
				}
			}
		})
	}
}

func TestAReplyThatComesInPartsIsReadToItsEnd(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newBulkRig(t, func(n int, _ context.Context, b *batch, a *attempts) result {
				sends(a, "bulkWrite", 1, 1)
				replies(a, "bulkWrite", 1, bulkReply([]bson.D{did(0, 1, modified(1)), did(1, 1, modified(1))}))
				sends(a, "getMore", 2, 0)
				if lost {
					fails(a, "getMore", 2, networkError())
					sends(a, "killCursors", 3, 0)
					replies(a, "killCursors", 3, bson.D{{Key: "ok", Value: 1}})
					return result{err: mongo.CommandError{Labels: []string{"NetworkError"}}}
				}
				replies(a, "getMore", 2, bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{{Key: "nextBatch", Value: bson.A{did(2, 0, modified(0)), did(3, 1)}}}}})
				return result{}
			})
			r.wire.found = func(namespace, any) []bson.Raw { return nil }
			verified := op("update", 2)
			verified.Verify = byID(2)
			got := r.together(op("update", 0), op("update", 1), verified, op("delete", 3))
			want := "AAAA"
			if lost {
				want = "AAUU" // Whether the third did anything, the fourth may have hidden.
			}
			if outcomes(got) != want || got[0].Attempts != 1 || len(r.wire.sent()) != 2 {
				t.Errorf("lost %v: %s, want %s; %+v", lost, outcomes(got), want, got[0])
			}
			if res, _ := got[0].Result.(*mongo.UpdateResult); res == nil || res.ModifiedCount != 1 {
				t.Errorf("lost %v: %+v", lost, got[0].Result)
			}
		})
	}
}

func TestAServerThatDoesNotKnowBulkWriteGetsTheWritesTheOldWay(t *testing.T) {
	for _, code := range []int32{59, 115} { // The latter of an 8.0 that is not yet to behave like one.
		synctest.Test(t, func(t *testing.T) {
			r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
				if b.kind == bulk {
					sends(a, "bulkWrite", 1, 1)
					fails(a, "bulkWrite", 1, serverError(code))
					return result{err: mongo.CommandError{Code: code}}
				}
				return fine(b, a)
			})
			got := r.together(op("update", 0), op("insert", 1), op("insert", 2), op("delete", 3))
			if outcomes(got) != "AAAA" || got[3].Attempts != 2 {
				t.Errorf("%s, %+v", outcomes(got), got[3])
			}
			if got := r.sizes(); !slices.Equal(got, []int{4, 1, 2, 1}) {
				t.Errorf("batches of %v", got)
			}
			if known := r.limits(r.wire).known; known&bulk != 0 {
				t.Error("it is asked again at once")
			}
			time.Sleep(bulkPause)
			if known := r.limits(r.wire).known; known&bulk == 0 {
				t.Error("it is never asked again")
			}
			r.noBulk.Store(time.Now().Add(bulkPause).UnixNano())
			r.PrimaryChanged("b:1")
			if known := r.limits(r.wire).known; known&bulk == 0 {
				t.Error("another primary is not asked")
			}
		})
	}
}

func TestBulkWriteIsForWireVersion25AndLater(t *testing.T) {
	for version, want := range map[int32]bool{0: false, 21: false, 24: false, 25: true, 29: true} {
		if got := newSessionWire(nil, func() int32 { return version }).bulkWrites(); got != want {
			t.Errorf("wire version %d: %v", version, got)
		}
	}
}

// The driver retries on a member that is of an older version: whether the first has
// executed the batch is not known.
func TestABulkWriteLostOnAYoungPrimaryAndUnknownToAnOldOneIsSettled(t *testing.T) {
	for _, executed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var inserted []bson.Raw
			r := newBulkRig(t, func(n int, _ context.Context, b *batch, a *attempts) result {
				if n > 1 {
					return fine(b, a)
				}
				if executed {
					for _, it := range b.items {
						inserted = append(inserted, mustMarshal(byID(it.Cmd.ID)))
					}
				}
				sends(a, "bulkWrite", 1, 1)
				fails(a, "bulkWrite", 1, networkError())
				sends(a, "bulkWrite", 2, 1)
				fails(a, "bulkWrite", 2, serverError(59))
				return result{err: mongo.CommandError{Code: 59}}
			})
			r.wire.found = func(namespace, any) []bson.Raw { return inserted }
			got := r.together(elsewhere(insertAnonymous(), "game", "other"), insertAnonymous(), insertAnonymous())
			for i, rep := range got {
				if (rep.Outcome == messages.Applied) != executed || rep.Outcome == messages.Unknown || !rep.Settled {
					t.Errorf("executed %v, write %d: %+v", executed, i, rep)
				}
			}
			if !slices.Equal(r.sizes(), []int{3}) {
				t.Errorf("executed %v: batches of %v", executed, r.sizes())
			}
		})
	}
}

func TestABulkWriteThatIsRefusedAtTheDoorIsSentOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
			for _, it := range b.items {
				if it.Cmd.Collection == "secret" {
					try(a, refused, serverError(13))
					return result{err: mongo.CommandError{Code: 13}}
				}
			}
			return fine(b, a)
		})
		got := r.together(op("update", 0), elsewhere(op("update", 1), "game", "secret"), op("update", 2))
		var cmd mongo.CommandError
		if outcomes(got) != "ANA" || !errors.As(got[1].Err, &cmd) || cmd.Code != 13 {
			t.Errorf("%s, %v", outcomes(got), got[1].Err)
		}
		if got := r.sizes(); !slices.Equal(got, []int{3, 1, 1, 1}) {
			t.Errorf("batches of %v", got)
		}
	})
}

// An insert into a collection that cannot be written to fails the whole command,
// after what stands before it was executed.
func TestABulkWriteThatFailsAsAWholeMayHaveBeenExecutedInPart(t *testing.T) {
	for _, code := range []int32{2, 9, 20, 72, 73, 11602, 10107} {
		synctest.Test(t, func(t *testing.T) {
			r := newBulkRig(t, func(n int, _ context.Context, b *batch, a *attempts) result {
				if n > 1 {
					t.Errorf("code %d: it was sent again", code)
				}
				sends(a, "bulkWrite", 1, 1)
				fails(a, "bulkWrite", 1, serverError(code))
				return result{err: mongo.CommandError{Code: code}}
			})
			if got := r.together(op("update", 0), op("delete", 1)); outcomes(got) != "UU" {
				t.Errorf("code %d: %s", code, outcomes(got))
			}
		})
	}
}

func TestAStepDownBetweenTwoWritesOfABulkWriteSendsTheRestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, answering(bulkReply([]bson.D{did(0, 1, modified(1)), refusedAt(1, 10107)})))
		got := r.together(op("update", 0), op("update", 1), op("update", 2))
		if outcomes(got) != "AAA" || got[0].Attempts != 1 || got[1].Attempts != 2 {
			t.Errorf("%s, %+v, %+v", outcomes(got), got[0], got[1])
		}
	})
}

func TestABulkWriteThatTheDriverHasSplitIsNotReadAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
			sends(a, "bulkWrite", 1, 1)
			replies(a, "bulkWrite", 1, bulkReply([]bson.D{did(0, 1, modified(1))}))
			sends(a, "bulkWrite", 2, 2)
			replies(a, "bulkWrite", 2, bulkReply([]bson.D{did(0, 1)}))
			return result{}
		})
		if got := r.together(op("update", 0), op("delete", 1)); outcomes(got) != "UU" {
			t.Errorf("%s, %+v", outcomes(got), got[0])
		}
	})
}

// The driver gives an earlier attempt's error for a reply that says that it has
// written nothing.
func TestTheReplyCountsNotTheErrorThatTheDriverReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
			sends(a, "bulkWrite", 1, 1)
			fails(a, "bulkWrite", 1, serverError(11602, driver.RetryableWriteError))
			sends(a, "bulkWrite", 2, 1)
			replies(a, "bulkWrite", 2, bulkReply([]bson.D{did(0, 1, modified(1)), did(1, 0)}))
			return result{err: mongo.CommandError{Code: 11602}}
		})
		if got := r.together(op("update", 0), op("delete", 1)); outcomes(got) != "AA" || got[0].Attempts != 2 {
			t.Errorf("%s, %+v", outcomes(got), got[0])
		}
	})
}

// The first reply has a write concern error that the driver tries again for.
func TestTheReplyToTheLastAttemptIsTheOneThatIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, func(_ int, _ context.Context, b *batch, a *attempts) result {
			sends(a, "bulkWrite", 1, 1)
			replies(a, "bulkWrite", 1, bulkReply([]bson.D{did(0, 1, modified(1)), refusedAt(1, 11000)}, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 91}}}))
			sends(a, "bulkWrite", 2, 1)
			replies(a, "bulkWrite", 2, bulkReply([]bson.D{did(0, 1, modified(1)), did(1, 1)}))
			return result{}
		})
		if got := r.together(op("update", 0), op("delete", 1)); outcomes(got) != "AA" || len(r.wire.sent()) != 2 {
			t.Errorf("%s, %+v", outcomes(got), got[1])
		}
	})
}

func TestAWriteConcernErrorLeavesEveryWriteOfABulkWriteInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBulkRig(t, answering(bulkReply([]bson.D{did(0, 1), did(1, 1, modified(1)), refusedAt(2, 11000)},
			bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "codeName", Value: "WriteConcernTimeout"}, {Key: "errmsg", Value: "too slow"}}},
			bson.E{Key: "errorLabels", Value: bson.A{"Later"}})))
		r.wire.found = func(namespace, any) []bson.Raw {
			return []bson.Raw{mustMarshal(byID("new"))}
		}
		got := r.together(op("insert", "new"), op("update", 1), op("update", 2), op("update", 3))
		if outcomes(got) != "UUNA" || got[0].Settled { // Another may have inserted it since.
			t.Fatalf("%s, %+v", outcomes(got), got[0])
		}
		var ex mongo.WriteException
		if !errors.As(got[1].Err, &ex) || ex.WriteConcernError == nil || ex.WriteConcernError.Name != "WriteConcernTimeout" || len(ex.WriteErrors) != 0 || !ex.HasErrorLabel("Later") {
			t.Errorf("the update: %v", got[1].Err)
		}
		if !mongo.IsDuplicateKeyError(got[2].Err) || mongo.IsDuplicateKeyError(got[1].Err) {
			t.Errorf("the refused one: %v", got[2].Err)
		}
	})
}
