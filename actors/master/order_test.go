package master

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWritesOfManySendersAreExecutedInTheOrderOfTheirSends(t *testing.T) {
	const senders, each = 8, 250
	wire := &fakeWire{}
	r := newRig(t, Config{MaxBatch: 7}, wire)
	var wg, replies sync.WaitGroup
	replies.Add(senders * each)
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				r.Submit(insert(s*each+i), func(rep *messages.WriteReply) {
					if rep.Outcome != messages.Applied || rep.Attempts != 1 || rep.Token.IsZero() {
						t.Errorf("reply %+v", rep)
					}
					replies.Done()
				})
			}
		})
	}
	wg.Wait()
	replies.Wait()
	last := make([]int, senders)
	for _, items := range wire.sent() {
		if len(items) > 7 {
			t.Fatalf("a batch of %d, above MaxBatch", len(items))
		}
	}
	order := numbers(wire.sent())
	if len(order) != senders*each {
		t.Fatalf("%d writes were executed, want %d", len(order), senders*each)
	}
	for i := range last {
		last[i] = -1
	}
	for _, n := range order {
		if n%each <= last[n/each] {
			t.Fatalf("sender %d: write %d was executed after %d", n/each, n%each, last[n/each])
		}
		last[n/each] = n % each
	}
}

// blocked is a wire whose first batch waits until it is let go.
func blocked(then func(ctx context.Context, b *batch, a *attempts) result) (*fakeWire, chan struct{}) {
	gate := make(chan struct{})
	wire := &fakeWire{}
	wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
		if len(wire.sent()) == 1 {
			<-gate
		}
		return then(ctx, b, a)
	}
	return wire, gate
}

func TestWhatQueuedMeanwhileGoesTogetherAndTheRefusedOneAloneKnowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(func(_ context.Context, b *batch, a *attempts) result {
			try(a, replied, nil)
			for i, n := range numbers([][]*item{b.items}) {
				if n != 3 {
					continue
				}
				we := mongo.WriteError{Index: i, Code: 11000, Message: "duplicate", Raw: mustMarshal(bson.D{{Key: "index", Value: i}, {Key: "code", Value: 11000}})}
				if len(b.items) == 1 {
					return result{err: mongo.WriteException{WriteErrors: mongo.WriteErrors{we}}}
				}
				return result{
					value: &mongo.InsertManyResult{InsertedIDs: insertedIDs(b.items[:i])},
					err:   mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: we}}},
				}
			}
			if len(b.items) == 1 {
				return result{value: &mongo.InsertOneResult{InsertedID: insertedIDs(b.items)[0]}}
			}
			return result{value: &mongo.InsertManyResult{InsertedIDs: insertedIDs(b.items)}}
		})
		r := newRig(t, Config{}, wire)
		var replies []chan *messages.WriteReply
		for n := range 6 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
			synctest.Wait()
		}
		close(gate)
		for n, reply := range replies {
			rep := r.get(reply)
			if n != 3 {
				if rep.Outcome != messages.Applied || rep.Err != nil || rep.Correlation != n {
					t.Errorf("write %d: %+v", n, rep)
				}
				if id := rep.Result.(*mongo.InsertOneResult).InsertedID; id != int64(n) {
					t.Errorf("write %d: inserted id %v", n, id)
				}
				continue
			}
			var ex mongo.WriteException
			if rep.Outcome != messages.NotApplied || !errors.As(rep.Err, &ex) || ex.WriteErrors[0].Index != 0 || ex.WriteErrors[0].Raw.Lookup("index").AsInt64() != 0 || !mongo.IsDuplicateKeyError(rep.Err) {
				t.Errorf("write 3: %+v", rep)
			}
		}
		var sizes []int
		for _, items := range wire.sent() {
			sizes = append(sizes, len(items))
		}
		if !slices.Equal(sizes, []int{1, 5, 2}) {
			t.Errorf("batches of %v, want 1, then 5, then the 2 behind the refused one", sizes)
		}
	})
}

// Each refusal sends again what stands behind it.
func TestManyRefusalsDoNotSendLongBatchesAgainAndAgain(t *testing.T) {
	const writes = 512
	for _, c := range []struct {
		name    string
		refuses func(n int) bool
		batches int // at most
		sent    int // at most
	}{
		{"all", func(int) bool { return true }, writes + 10, 3 * writes},
		{"every tenth", func(n int) bool { return n%10 == 9 }, writes / 3, 5 * writes},
		{"one", func(n int) bool { return n == 100 }, 5, 2 * writes},
		{"none", func(int) bool { return false }, 2, writes},
	} {
		synctest.Test(t, func(t *testing.T) {
			wire, gate := blocked(func(_ context.Context, b *batch, a *attempts) result {
				try(a, replied, nil)
				for i, n := range numbers([][]*item{b.items}) {
					if c.refuses(n) {
						we := mongo.WriteError{Index: i, Code: 11000}
						return result{err: mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: we}}}}
					}
				}
				return result{}
			})
			r := newRig(t, Config{}, wire)
			var replies []chan *messages.WriteReply
			for n := range writes {
				reply, _ := r.ask(insert(n))
				replies = append(replies, reply)
				if n == 0 {
					synctest.Wait()
				}
			}
			close(gate)
			for n, reply := range replies {
				want := messages.Applied
				if c.refuses(n) {
					want = messages.NotApplied
				}
				if rep := r.get(reply); rep.Outcome != want {
					t.Fatalf("%s: write %d: %+v", c.name, n, rep)
				}
			}
			if s := r.Stat(); s.Batches > int64(c.batches) || s.Batched > int64(c.sent) {
				t.Errorf("%s refused: %d batches with %d writes, want %d with %d at most", c.name, s.Batches, s.Batched, c.batches, c.sent)
			}
		})
	}
}

func TestABatchThatIsRefusedAsAWholeIsSentOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(func(_ context.Context, b *batch, a *attempts) result {
			ns := numbers([][]*item{b.items})
			if slices.Contains(ns, 2) {
				return result{err: errors.New("document 2 is too large")} // The driver sends nothing.
			}
			try(a, replied, nil)
			return result{}
		})
		r := newRig(t, Config{}, wire)
		var replies []chan *messages.WriteReply
		for n := range 4 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
			synctest.Wait()
		}
		close(gate)
		for n, reply := range replies {
			want := messages.Applied
			if n == 2 {
				want = messages.NotApplied
			}
			if rep := r.get(reply); rep.Outcome != want {
				t.Errorf("write %d: %+v, want %v", n, rep, want)
			}
		}
		if got := numbers(wire.sent()); !slices.Equal(got, []int{0, 1, 2, 3, 1, 2, 3}) {
			t.Errorf("sent %v", got)
		}
	})
}

func TestKeysFindTheirLaneAndKeepTheirOrder(t *testing.T) {
	wires := map[int]*fakeWire{}
	var mu sync.Mutex
	system := newSystem()
	m, err := New(system, Config{Encoder: plainEncoder{}, WriteLanes: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_ = m.attach(func() wire {
		mu.Lock()
		defer mu.Unlock()
		w := &fakeWire{}
		wires[len(wires)] = w
		return w
	})
	m.PrimaryChanged("a:1")
	var replies sync.WaitGroup
	keys := []string{"ann", "bob", "cid", "dan", "eve", "fay"}
	for n := range 300 {
		w := insert(n)
		w.Key = keys[n%len(keys)]
		replies.Add(1)
		m.Submit(w, func(*messages.WriteReply) { replies.Done() })
	}
	replies.Wait()
	if len(wires) < 2 {
		t.Fatalf("%d lanes were used by %d keys", len(wires), len(keys))
	}
	for _, w := range wires {
		last := map[string]int{}
		for _, items := range w.sent() {
			for _, it := range items {
				n := int(it.Cmd.ID.AsInt64()) + 1
				if n <= last[it.Key] {
					t.Fatalf("key %s: %d after %d", it.Key, n, last[it.Key])
				}
				last[it.Key] = n
			}
		}
		for key := range last {
			if m.lane(key).wire != wire(w) {
				t.Errorf("key %s was in two lanes", key)
			}
		}
	}
}

func TestARefusedInsertManyTellsWhichDocumentsAreIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
			try(a, replied, nil)
			return result{
				value: &mongo.InsertManyResult{InsertedIDs: []any{1}, Acknowledged: true},
				err:   mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Index: 1, Code: 11000}}}},
			}
		}}
		r := newRig(t, Config{}, wire)
		reply, _ := r.ask(&messages.Write{Database: "game", Collection: "log", Operation: messages.InsertMany{
			Documents: []bson.D{{{Key: "_id", Value: 1}}, {{Key: "_id", Value: 1}}, {{Key: "_id", Value: 3}}}}})
		rep := r.get(reply)
		if rep.Outcome != messages.Partial || !mongo.IsDuplicateKeyError(rep.Err) || len(rep.Result.(*mongo.InsertManyResult).InsertedIDs) != 1 {
			t.Errorf("reply %+v", rep)
		}
	})
}

func insertedIDs(items []*item) []any {
	var ids []any
	for _, it := range items {
		ids = append(ids, it.Cmd.ID.AsInt64())
	}
	return ids
}

// The fence of a view, or of a time series, is refused: that of the collection of the write before it does as well.
func TestAFenceThatIsRefusedIsTriedWhereTheStragglerIs(t *testing.T) {
	for name, all := range map[string]bool{"of a view": false, "everywhere": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := &fakeWire{}
				wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
					if len(wire.sent()) == 1 {
						return losing(context.DeadlineExceeded)(ctx, b, a)
					}
					return succeed(ctx, b, a)
				}
				wire.fenced = func() error {
					if ns := wire.fences[len(wire.fences)-1]; all || ns.collection == "view" {
						return mongo.CommandError{Code: 166}
					}
					return nil
				}
				r := newRig(t, Config{}, wire)
				lost, _ := r.ask(update(nil))
				if rep := r.get(lost); rep.Outcome != messages.Unknown {
					t.Fatalf("%+v", rep)
				}
				many := updateMany()
				many.Collection = "view"
				start := time.Now()
				second, _ := r.ask(many)
				third, _ := r.ask(insert(3))
				rep := r.get(second)
				var refused mongo.CommandError
				if all && (rep.Outcome != messages.NotApplied || !errors.As(rep.Err, &refused) || time.Since(start) > 0) || !all && rep.Outcome != messages.Applied {
					t.Errorf("%+v", rep)
				}
				if rep := r.get(third); rep.Outcome != messages.Applied {
					t.Errorf("the next one: %+v", rep)
				}
			})
		})
	}
}

// What an attempt without a reply has not changed, nor the one after it, it could change long after the reply.
func TestALostAttemptIsEndedBeforeTheAnswerOfTheNextIsTold(t *testing.T) {
	for _, lose := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
				if lose {
					try(a, lost, networkError())
				}
				try(a, replied, nil)
				return result{value: &mongo.UpdateResult{MatchedCount: 1, ModifiedCount: 1}}
			}}
			r := newRig(t, Config{}, wire)
			fenced := -1
			w := update(nil)
			w.ErrorsOnly = true
			r.Submit(w, func(*messages.WriteReply) { fenced = len(wire.fences) })
			synctest.Wait()
			if want := map[bool]int{true: 1}[lose]; fenced != want {
				t.Errorf("lost %v: %d fences before the reply, want %d", lose, fenced, want)
			}
		})
	}
}
