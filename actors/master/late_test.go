package master

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// cleared are the events of writes of which it was found out what became of them.
func (r *rig) cleared() (es []messages.WriteSettled) {
	for _, e := range r.seen() {
		if e, ok := e.(messages.WriteSettled); ok {
			es = append(es, e)
		}
	}
	return es
}

// mustBeCleared holds the events against the outcomes of writes by their replies; Unknown for one
// of which there is to be none.
func (r *rig) mustBeCleared(want map[*messages.WriteReply]messages.Outcome) {
	r.t.Helper()
	got := map[uint64]messages.Outcome{}
	for _, e := range r.cleared() {
		if _, twice := got[e.Write]; twice {
			r.t.Errorf("write %d is told of twice", e.Write)
		}
		got[e.Write] = e.Outcome
	}
	for rep, o := range want {
		var unknown *messages.UnknownOutcomeError
		if rep.Outcome != messages.Unknown || !errors.As(rep.Err, &unknown) || unknown.Write == 0 {
			r.t.Fatalf("the reply was %+v", rep)
		}
		if is, told := got[unknown.Write]; told != (o != messages.Unknown) || told && is != o {
			r.t.Errorf("of write %d is told %v (%v), want %v", unknown.Write, is, told, o)
		}
		delete(got, unknown.Write)
	}
	if len(got) > 0 {
		r.t.Errorf("of others is told %v", got)
	}
}

// outOfReach is a server that gets the first write, and then answers nothing until it is in reach: no
// later one either, if deaf.
type outOfReach struct {
	*fakeWire
	reached bool // the fakeWire's mu
	looks   []time.Duration
}

func newOutOfReach() *outOfReach {
	o := &outOfReach{fakeWire: &fakeWire{}}
	began := time.Now()
	o.serve = func(ctx context.Context, b *batch, a *attempts) result {
		if len(o.sent()) > 1 {
			return succeed(ctx, b, a)
		}
		<-ctx.Done()
		try(a, lost, networkError())
		return result{err: ctx.Err()}
	}
	o.fenced = func() error {
		o.looks = append(o.looks, time.Since(began))
		if !o.reached {
			return errors.New("it is out of reach")
		}
		return nil
	}
	return o
}

// lookedAt are the times of the looks, counted from the start.
func (o *outOfReach) lookedAt() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.looks)
}

func (o *outOfReach) reach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reached = true
}

// ours is what the first write leaves behind.
func (o *outOfReach) ours() []bson.Raw {
	var id any = "any"
	if first := o.sent()[0][0]; !first.Cmd.ID.IsZero() {
		id = first.Cmd.ID
	}
	return []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: id}})}
}

func TestAReplyThatComesTooLateIsToldOf(t *testing.T) {
	for _, c := range []struct {
		name string
		end  state
		res  result
		want messages.Outcome
	}{
		{"executed", replied, result{value: &mongo.UpdateResult{MatchedCount: 1}}, messages.Applied},
		{"refused", refused, result{err: mongo.CommandError{Code: 13}}, messages.NotApplied},
		{"never sent", unsent, result{err: context.Canceled}, messages.NotApplied},
		{"lost, and nothing to tell by", lost, result{err: context.Canceled}, messages.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				wire := &fakeWire{serve: func(_ context.Context, _ *batch, a *attempts) result {
					a.start(attempt{id: 1, fenced: true})
					<-gate
					a.end(1, c.end, c.res.err)
					return c.res
				}}
				r := newRig(t, Config{}, wire)
				reply, cancel := r.ask(update(nil))
				synctest.Wait()
				cancel(nil)
				rep := r.get(reply)
				close(gate)
				synctest.Wait()
				r.mustBeCleared(map[*messages.WriteReply]messages.Outcome{rep: c.want})
			})
		})
	}
}

// The first look is as good as one in time, since nothing of the lane's has come in between.
func TestAnUnknownWriteIsLookedForBeforeTheLaneGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		write *messages.Write
		there bool
		want  messages.Outcome
	}{
		"it has happened":     {insertAnonymous(), true, messages.Applied},
		"it has not":          {insertAnonymous(), false, messages.NotApplied},
		"its Verify holds":    {update(bson.D{{Key: "v", Value: 2}}), true, messages.Applied},
		"its Verify does not": {update(bson.D{{Key: "v", Value: 2}}), false, messages.NotApplied},
		"somebody's document has the _id it chose":  {insert(7), true, messages.Unknown},
		"there is nothing to look for":              {update(nil), true, messages.Unknown},
		"the driver gives it no number":             {updateMany(), true, messages.Unknown},
		"its write concern asks for more than that": {&messages.Write{Database: "game", Collection: "log", WriteConcern: &writeconcern.WriteConcern{W: 3}, Operation: insertAnonymous().Operation}, true, messages.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := newOutOfReach()
				r := newRig(t, Config{}, wire.fakeWire)
				first, _ := r.ask(until(c.write, time.Second))
				synctest.Wait()
				r.PrimaryChanged("")
				second, _ := r.ask(insert(1))
				rep := r.get(first)
				if c.there {
					wire.stored = wire.ours()
				}
				wire.mu.Lock()
				wire.reached = true
				fenced := wire.fenced
				wire.fenced = func() error {
					if len(wire.ran) != 1 {
						t.Errorf("%d batches were sent before the look", len(wire.ran))
					}
					return fenced()
				}
				wire.mu.Unlock()
				r.PrimaryChanged("b:1")
				if rep := r.get(second); rep.Outcome != messages.Applied {
					t.Errorf("the second: %+v", rep)
				}
				synctest.Wait()
				r.mustBeCleared(map[*messages.WriteReply]messages.Outcome{rep: c.want})
			})
		})
	}
}

// Once the lane has gone on, what is not there may have been taken away.
func TestALaterLookSaysOnlyThatAWriteHasHappened(t *testing.T) {
	for name, want := range map[string]messages.Outcome{"it is there": messages.Applied, "it is not": messages.Unknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := newOutOfReach()
				if want == messages.Applied {
					wire.found = func(namespace, any) []bson.Raw { return wire.ours() }
				}
				r := newRig(t, Config{}, wire.fakeWire)
				first, _ := r.ask(until(insertAnonymous(), time.Second))
				rep := r.get(first)
				second, _ := r.ask(insert(1))
				r.get(second)
				wire.reach()
				time.Sleep(time.Hour)
				r.mustBeCleared(map[*messages.WriteReply]messages.Outcome{rep: want})
			})
		})
	}
}

// A lane that has nothing else to do looks by itself, less and less often, and gives up.
func TestLaterLooksAreFewAndFarBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newOutOfReach()
		r := newRig(t, Config{}, wire.fakeWire)
		first, _ := r.ask(until(insertAnonymous(), time.Second))
		rep := r.get(first)
		time.Sleep(time.Hour)
		r.mustBeCleared(map[*messages.WriteReply]messages.Outcome{rep: messages.Unknown})
		var gaps []time.Duration
		looks := wire.lookedAt()
		for i := 2; i < len(looks); i++ { // The first one was in time, the second follows at once.
			gaps = append(gaps, looks[i]-looks[i-1])
		}
		if want := []time.Duration{time.Second, 4 * time.Second, 16 * time.Second, 64 * time.Second}; !slices.Equal(gaps, want) {
			t.Errorf("after %v, want %v", gaps, want)
		}
	})
}

func TestALaneRemembersFewUnknownWritesAndNoneWhenItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newOutOfReach()
		wire.serve = func(ctx context.Context, _ *batch, a *attempts) result {
			<-ctx.Done()
			try(a, lost, networkError())
			return result{err: ctx.Err()}
		}
		r := newRig(t, Config{MaxBatch: 1}, wire.fakeWire)
		for range maxLate + 3 {
			reply, _ := r.ask(until(insertAnonymous(), 100*time.Millisecond))
			if rep := r.get(reply); rep.Outcome != messages.Unknown {
				t.Fatalf("%+v", rep)
			}
		}
		l := r.lanes[0]
		synctest.Wait()
		l.mu.Lock()
		if len(l.late) != maxLate {
			t.Errorf("%d are remembered", len(l.late))
		}
		l.mu.Unlock()
		r.Close()
		looks := len(wire.lookedAt())
		time.Sleep(time.Hour)
		if len(wire.lookedAt()) != looks {
			t.Error("a lane that was stopped looks on")
		}
	})
}

// Each look is short, and Stop does not wait for it.
func TestALookThatHangsHoldsUpTheLaneForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutOfReach()
		r := newRig(t, Config{}, o.fakeWire)
		hangs := &hangingWire{o.fakeWire}
		r.lanes[0].attach(func() wire { return hangs })
		first, _ := r.ask(until(insertAnonymous(), time.Second))
		r.get(first)
		start := time.Now()
		second, _ := r.ask(insert(1))
		r.get(second)
		if took := time.Since(start); took != lateLook {
			t.Errorf("the next write waited for %v", took)
		}
		time.Sleep(firstLate + lateLook/2) // In the middle of the second look.
		stopping, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start = time.Now()
		r.Drain(stopping)
		if took := time.Since(start); took != time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
	})
}

// hangingWire is one whose fences and reads hang.
type hangingWire struct{ *fakeWire }

func (w *hangingWire) find(ctx context.Context, _ namespace, _ any, _ want, _ func(bson.Raw)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (w *hangingWire) fence(ctx context.Context, _ namespace) error {
	<-ctx.Done()
	return ctx.Err()
}

// A batch is kept as a whole, and so it counts.
func TestWhatIsRememberedIsBoundedByAllThatItKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bytes, want := range map[int]int{maxLateBytes: 1, maxLateBytes + 1: 0} {
			r := rigWithoutPrimary(t, Config{}, &fakeWire{})
			l := r.lanes[0]
			b := &batch{attempts: &attempts{}}
			try(b.attempts, lost, networkError())
			for i := range 2 {
				it, _ := r.accept(insertAnonymous(), nil, func(*messages.WriteReply) {})
				it.name()
				b.items, b.verdicts = append(b.items, it), append(b.verdicts, verdict{})
				it.Cmd.Bytes = i * bytes
			}
			b.verdicts[0].unseen = &doubt{}
			l.remember(b)
			if len(l.late) != want {
				t.Errorf("a batch of %d bytes: %d are remembered", bytes, len(l.late))
			}
		}
	})
}
