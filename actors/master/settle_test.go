package master

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

func losing(err error) func(context.Context, *batch, *attempts) result {
	return func(_ context.Context, _ *batch, a *attempts) result {
		try(a, lost, networkError())
		return result{err: err}
	}
}

func TestALostInsertIsSettledByTheFenceAndItsID(t *testing.T) {
	own := bson.D{{Key: "x", Value: 1}, {Key: "_id", Value: 7}}
	stored := bson.D{{Key: "_id", Value: 7}, {Key: "x", Value: 1}} // As the server keeps it.
	duplicate := mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000}}}
	cut := context.DeadlineExceeded
	for _, c := range []struct {
		name    string
		doc     bson.D
		stored  []bson.Raw
		concern *mongo.WriteConcernError
		refusal bool
		want    messages.Outcome
		settled bool
	}{
		{"there, as somebody else may have written it", own, []bson.Raw{mustMarshal(stored)}, nil, false, messages.Unknown, false},
		{"not there", own, nil, nil, false, messages.NotApplied, true},
		{"another one there", own, []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: 7}, {Key: "x", Value: 2}})}, nil, false, messages.Unknown, false},
		{"refused later, and not there", own, nil, nil, true, messages.NotApplied, true},
		{"refused later, and there", own, []bson.Raw{mustMarshal(stored)}, nil, true, messages.Unknown, false},
		{"refused later, and another there", own, []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: 7}})}, nil, true, messages.Unknown, false},
		{"no majority in time, and there", own, []bson.Raw{mustMarshal(stored)}, &mongo.WriteConcernError{Code: 64}, false, messages.Unknown, false},
		{"no majority in time, and rolled back", own, nil, &mongo.WriteConcernError{Code: 64}, false, messages.NotApplied, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := &fakeWire{stored: c.stored, serve: func(_ context.Context, _ *batch, a *attempts) result {
					if c.concern != nil {
						try(a, replied, nil)
						return result{err: mongo.WriteException{WriteConcernError: c.concern}}
					}
					try(a, lost, networkError())
					if c.refusal {
						try(a, replied, nil)
						return result{err: duplicate}
					}
					return result{err: cut}
				}}
				r := newRig(t, Config{}, wire)
				reply, _ := r.ask(&messages.Write{Database: "game", Collection: "log", Operation: messages.InsertOne{Document: c.doc}})
				rep := r.get(reply)
				if rep.Outcome != c.want || rep.Settled != c.settled || rep.OrderOpen {
					t.Errorf("reply %+v, want %v, settled %v", rep, c.want, c.settled)
				}
				if (rep.Outcome == messages.Applied) != (rep.Err == nil) {
					t.Errorf("%v with error %v", rep.Outcome, rep.Err)
				}
				if c.refusal && rep.Outcome == messages.NotApplied && !mongo.IsDuplicateKeyError(rep.Err) {
					t.Errorf("error %v, want the server's refusal", rep.Err)
				}
				if res, ok := rep.Result.(*mongo.InsertOneResult); rep.Outcome == messages.Applied && (!ok || res.InsertedID != int64(7)) {
					t.Errorf("result %#v", rep.Result)
				}
				if len(wire.fences) != 1 {
					t.Errorf("%d fences", len(wire.fences))
				}
			})
		})
	}
}

func TestAGeneratedIDThatIsThereIsOursWhateverHasBecomeOfTheDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(_ context.Context, b *batch, a *attempts) result {
			try(a, lost, networkError())
			wire.stored = []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: b.first().Cmd.ID}, {Key: "x", Value: "changed"}})}
			return result{err: context.DeadlineExceeded}
		}
		r := newRig(t, Config{}, wire)
		reply, _ := r.ask(insertAnonymous())
		if rep := r.get(reply); rep.Outcome != messages.Applied || !rep.Settled {
			t.Errorf("reply %+v", rep)
		}
	})
}

func TestAnUpdateIsSettledByItsVerifyAndUnknownWithoutOne(t *testing.T) {
	verify := bson.D{{Key: "_id", Value: 1}, {Key: "v", Value: 2}}
	there := []bson.Raw{mustMarshal(verify)}
	for _, c := range []struct {
		name    string
		verify  any
		stored  []bson.Raw
		fence   error
		outcome messages.Outcome
		settled bool
	}{
		{"happened", verify, there, nil, messages.Applied, true},
		{"did not happen", verify, nil, nil, messages.NotApplied, true},
		{"nothing to verify", nil, there, nil, messages.Unknown, false},
		{"no fence", verify, there, errNoFence, messages.Unknown, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := &fakeWire{stored: c.stored, fenceErr: c.fence, serve: losing(context.DeadlineExceeded)}
				r := newRig(t, Config{}, wire)
				reply, _ := r.ask(update(c.verify))
				rep := r.get(reply)
				if rep.Outcome != c.outcome || rep.Settled != c.settled || rep.OrderOpen || rep.Attempts != 1 {
					t.Errorf("reply %+v", rep)
				}
				if c.fence != nil && !errors.Is(rep.Err, c.fence) {
					t.Errorf("error %v does not say %v", rep.Err, c.fence)
				}
				var unknown *messages.UnknownOutcomeError
				if rep.Outcome == messages.Unknown && (!errors.As(rep.Err, &unknown) || unknown.Attempts != 1) {
					t.Errorf("error %v", rep.Err)
				}
			})
		})
	}
}

func TestAWriteThatIsProvenNotToBeThereIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if len(wire.sent()) == 1 {
				return losing(networkError())(ctx, b, a)
			}
			return succeed(ctx, b, a)
		}
		r := newRig(t, Config{MaxBatch: 1}, wire)
		first, _ := r.ask(insert(0))
		second, _ := r.ask(insert(1))
		if rep := r.get(first); rep.Outcome != messages.NotApplied || !rep.Settled || rep.Attempts != 1 {
			t.Errorf("first %+v", rep)
		}
		r.get(second)
		if got := numbers(wire.sent()); len(got) != 2 || got[1] != 1 {
			t.Errorf("sent %v", got)
		}
	})
}

func TestAnOperationWithoutANumberWaitsForTheFenceBehindAStraggler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if len(wire.sent()) == 1 {
				return losing(context.DeadlineExceeded)(ctx, b, a)
			}
			if len(wire.fences) != 1 {
				t.Error("an update of many went out while an update before it might still be under way")
			}
			tryNumbered(a, false, replied, nil)
			return result{value: &mongo.UpdateResult{}}
		}
		r := newRig(t, Config{}, wire)
		first, _ := r.ask(update(nil))
		second, _ := r.ask(updateMany())
		if rep := r.get(first); rep.Outcome != messages.Unknown {
			t.Errorf("first %+v", rep)
		}
		if rep := r.get(second); rep.Outcome != messages.Applied {
			t.Errorf("second %+v", rep)
		}
		third, _ := r.ask(updateMany())
		r.get(third)
		if len(wire.fences) != 1 {
			t.Errorf("%d fences, want 1: the first one holds", len(wire.fences))
		}
	})
}

// What the server refuses it does not count: the straggler before it is as free as it was.
func TestARefusedWriteIsNoFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			switch len(wire.sent()) {
			case 1:
				return losing(context.DeadlineExceeded)(ctx, b, a)
			case 2:
				try(a, refused, serverError(13))
				return result{err: mongo.CommandError{Code: 13}}
			}
			if len(wire.fences) != 1 {
				t.Error("an update of many went out while an update before it might still be under way")
			}
			tryNumbered(a, false, replied, nil)
			return result{value: &mongo.UpdateResult{}}
		}
		r := newRig(t, Config{}, wire)
		for i, want := range []messages.Outcome{messages.Unknown, messages.NotApplied, messages.Applied} {
			w := update(nil)
			if i == 2 {
				w = updateMany()
			}
			reply, _ := r.ask(w)
			if rep := r.get(reply); rep.Outcome != want {
				t.Errorf("write %d: %+v, want %v", i, rep, want)
			}
		}
	})
}

func TestAWriteOfManyWhoseWriteConcernFailedIsNotAcknowledged(t *testing.T) {
	concern := &mongo.WriteConcernError{Code: 64, Name: "WriteConcernFailed", Message: "waiting for replication timed out"}
	many := &messages.Write{Database: "game", Collection: "log", Operation: messages.InsertMany{Documents: []bson.D{{{Key: "_id", Value: 1}}, {{Key: "_id", Value: 2}}}}}
	for _, tt := range []struct {
		name  string
		write *messages.Write
		res   result
		want  messages.Outcome
	}{
		{"an update", updateMany(), result{value: &mongo.UpdateResult{ModifiedCount: 3}, err: mongo.WriteException{WriteConcernError: concern}}, messages.Unknown},
		{"an insert that no majority has", many, result{value: &mongo.InsertManyResult{InsertedIDs: []any{1, 2}}, err: mongo.BulkWriteException{WriteConcernError: concern}}, messages.NotApplied},
	} {
		synctest.Test(t, func(t *testing.T) {
			wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
				tryNumbered(a, tt.want != messages.Unknown, replied, nil)
				return tt.res
			}}
			r := newRig(t, Config{}, wire)
			reply, _ := r.ask(tt.write)
			if rep := r.get(reply); rep.Outcome != tt.want || rep.Err == nil {
				t.Errorf("%s: %+v, want %v", tt.name, rep, tt.want)
			}
		})
	}
}

func TestALostOperationWithoutANumberSaysThatTheOrderIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
			tryNumbered(a, false, lost, networkError())
			return result{err: mongo.CommandError{Labels: []string{"NetworkError"}}}
		}}
		r := newRig(t, Config{}, wire)
		many, _ := r.ask(updateMany())
		standalone, _ := r.ask(insert(1)) // No numbers on a standalone server.
		for _, reply := range []chan *messages.WriteReply{many, standalone} {
			if rep := r.get(reply); rep.Outcome != messages.Unknown || !rep.OrderOpen {
				t.Errorf("reply %+v", rep)
			}
		}
		if len(wire.fences) != 0 {
			t.Error("a fence where none can hold")
		}
	})
}

func TestAMajorityReadStandsInForNoStrongerWriteConcern(t *testing.T) {
	five, majority := &writeconcern.WriteConcern{W: 5}, writeconcern.Majority()
	failed := func(code int, w any) *mongo.WriteConcernError {
		ce := &mongo.WriteConcernError{Code: code}
		if w != nil {
			ce.Details = mustMarshal(bson.D{{Key: "writeConcern", Value: bson.D{{Key: "w", Value: w}}}})
		}
		return ce
	}
	for _, c := range []struct {
		name        string
		client, own *writeconcern.WriteConcern
		concern     *mongo.WriteConcernError // nil for a reply that is lost
		there       bool
		want        messages.Outcome
		fences      int
	}{
		{"its own is stronger, no time", nil, five, failed(64, nil), true, messages.Unknown, 0},
		{"the client's is stronger, no time", five, nil, failed(64, nil), true, messages.Unknown, 0},
		{"the client's is stronger, its own is not", five, majority, failed(64, nil), true, messages.Applied, 1},
		{"the server's default is stronger, as it says", nil, nil, failed(64, int32(3)), true, messages.Unknown, 0},
		{"the server's default is a tag, as it says", nil, nil, failed(64, "everywhere"), true, messages.Unknown, 0},
		{"the server's default is a majority, as it says", nil, nil, failed(64, "majority"), true, messages.Applied, 1},
		{"one that no set can satisfy", majority, nil, failed(100, "majority"), true, messages.Unknown, 0},
		{"one that nobody knows", nil, &writeconcern.WriteConcern{W: "majorty"}, failed(79, "majorty"), true, messages.Unknown, 0},
		{"a step-down under a majority", majority, nil, failed(91, "majority"), true, messages.Applied, 1},
		{"its own is stronger, lost and there", nil, five, nil, true, messages.Unknown, 1},
		{"the client's is stronger, lost and there", five, nil, nil, true, messages.Unknown, 1},
		{"its own is stronger, lost and never executed", nil, five, nil, false, messages.NotApplied, 1},
		{"a majority, lost and there", nil, majority, nil, true, messages.Applied, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := &fakeWire{}
				wire.serve = func(_ context.Context, b *batch, a *attempts) result {
					if c.there {
						wire.stored = []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: b.first().Cmd.ID}})}
					}
					if c.concern == nil {
						try(a, lost, networkError())
						return result{err: context.DeadlineExceeded}
					}
					try(a, replied, nil)
					return result{err: mongo.WriteException{WriteConcernError: c.concern}}
				}
				r := newRig(t, Config{WriteConcern: c.client}, wire)
				w := insertAnonymous()
				w.WriteConcern = c.own
				reply, _ := r.ask(w)
				rep := r.get(reply)
				if rep.Outcome != c.want || rep.OrderOpen {
					t.Errorf("%v, order open %v, %v; want %v", rep.Outcome, rep.OrderOpen, rep.Err, c.want)
				}
				var ex mongo.WriteException
				if c.concern != nil && c.want == messages.Unknown && (!errors.As(rep.Err, &ex) || ex.WriteConcernError.Code != c.concern.Code) {
					t.Errorf("error %v, want the server's own, code %d", rep.Err, c.concern.Code)
				}
				if len(wire.fences) != c.fences {
					t.Errorf("%d fences, want %d", len(wire.fences), c.fences)
				}
			})
		})
	}
}

func TestTimeIsKeptForSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(ctx context.Context, _ *batch, a *attempts) result {
			a.start(attempt{id: 1, fenced: true})
			<-ctx.Done() // The server hangs.
			a.end(1, lost, networkError())
			return result{err: ctx.Err()}
		}}
		r := newRig(t, Config{}, wire)
		start := time.Now()
		reply, _ := r.ask(until(insertAnonymous(), 2*time.Second))
		rep := r.get(reply)
		if rep.Outcome != messages.NotApplied || !rep.Settled {
			t.Errorf("reply %+v", rep)
		}
		if took := time.Since(start); took >= 2*time.Second {
			t.Errorf("settled after %v, at the deadline", took)
		}
	})
}
