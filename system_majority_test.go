package evenkeel_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// push appends a number to the list, with that long to its deadline.
func (g *game) push(n int, after time.Duration) *messages.Write {
	return &messages.Write{
		Database: g.c.db, Collection: "log", Correlation: n, Deadline: time.Now().Add(after),
		Operation: messages.UpdateOne{
			Filter: bson.D{{Key: "_id", Value: "list"}}, Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seq", Value: n}}}},
		},
	}
}

// list makes the list that push appends to, and returns how it is read.
func (c *cluster) list(t testing.TB) (read func() []int) {
	t.Helper()
	log := c.coll(t, "log")
	if _, err := log.InsertOne(soon(t), bson.D{{Key: "_id", Value: "list"}, {Key: "seq", Value: bson.A{}}}); err != nil {
		t.Fatal(err)
	}
	return func() []int {
		t.Helper()
		var list struct{ Seq []int }
		if err := log.FindOne(soon(t), bson.D{{Key: "_id", Value: "list"}}).Decode(&list); err != nil {
			t.Fatal(err)
		}
		return list.Seq
	}
}

// psa is a set of a primary (0), a secondary (1) and an arbiter.
func psa(t testing.TB) *cluster {
	t.Helper()
	return ownSet(t, "an arbiter, and a killed member", replset.Options{
		ElectionTimeout: 500 * time.Millisecond, Arbiters: map[int]bool{2: true}, Priority: map[int]float64{0: 2},
	})
}

// The arbiter keeps the primary elected, and no write gets a majority: the primary executes them and does not
// acknowledge them. The first one blocks at the server until its deadline and is Unknown; those behind it
// wait, in bounded queues; all goes on in order when the member is back.
func TestBesideAnArbiterWritesWaitTruthfullyWhileTheOtherMemberWithDataIsDown(t *testing.T) {
	t.Parallel()
	const limit = 30
	c := psa(t)
	list := c.list(t)
	g := c.play(t, app.Config{WriteQueue: limit})
	g.steady(t, 2)
	c.set.Member(1).Kill()
	mark, in := g.events.mark(), g.inbox(t)

	zero := g.push(0, 4*time.Second)
	in.send(g.Master(), zero)
	eventually(t, "the primary has executed it", func() bool { return slices.Equal(list(), []int{0}) })
	for n := 1; n <= 5; n++ { // Behind it, and gone before it is done.
		w := g.push(n, 0)
		w.Deadline = zero.Deadline.Add(-time.Second)
		in.send(g.Master(), w)
	}
	eventually(t, "Stat shows what waits, and behind what", func() bool {
		lane := g.Stat().Writes.Lanes[0]
		return lane.WireFor > 0 && lane.HeadOfLine > 0
	})
	blocked := await[messages.WritesBlocked](t, g.events, mark, nil)
	if blocked.Waiting == 0 || blocked.For < time.Second {
		t.Errorf("the event says %+v", blocked)
	}
	in.await(t, 6)
	const last = 60
	for n := 6; n <= last; n++ {
		in.send(g.Master(), g.push(n, patience))
	}
	await(t, g.events, mark, func(e messages.Overloaded) bool { return e.Limit == "WriteQueue" && e.Max == limit })
	if st := g.Stat().Writes; st.Queued+st.OnWire > limit || st.Overloaded == 0 {
		t.Errorf("%+v", st)
	}

	if err := c.set.Member(1).Restart(); err != nil {
		t.Fatal(err)
	}
	in.await(t, last+1)
	await[messages.WritesUnblocked](t, g.events, mark, nil)
	g.steady(t, 2)
	want := []int{0}
	for n := range last + 1 {
		rep := in.writes[n][0]
		var due bool
		switch {
		case n == 0:
			due = rep.Outcome == messages.Unknown && errors.Is(rep.Err, messages.ErrUnknownOutcome)
		case n <= 5:
			due = rep.Outcome == messages.NotApplied && errors.Is(rep.Err, messages.ErrDeadline)
		case n < 6+limit:
			due = rep.Outcome == messages.Applied
			want = append(want, n)
		default:
			due = rep.Outcome == messages.NotApplied && errors.Is(rep.Err, messages.ErrOverloaded)
		}
		if len(in.writes[n]) != 1 || !due {
			t.Errorf("write %d is %v: %v", n, rep.Outcome, rep.Err)
		}
	}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("the list is %v, not %v", got, want)
	}
	if rep := g.write(t, g.push(last+1, patience)); rep.Outcome != messages.Applied {
		t.Errorf("afterwards a write is %v: %v", rep.Outcome, rep.Err)
	}
	if st := g.Stat().Writes; st.Queued+st.OnWire > 0 {
		t.Errorf("%+v", st)
	}
}

// Stop while there is no primary, or none that answers: what it lists is what was not applied, and is not there.
func TestStopListsWhatAnElectionOrAFrozenPrimaryKeptFromBeingApplied(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fault   func(t *testing.T, c *cluster, g *game) (heal func())
		patient bool // Stop has the time to get through
		onWire  bool // a write was sent that nobody has answered
	}{
		{"an election that ends in time", func(t *testing.T, c *cluster, g *game) func() {
			m := c.primary(t)
			m.Kill()
			eventually(t, "there is no primary", func() bool { return g.events.primary() == "" })
			return func() {}
		}, true, false},
		{"an election without end", func(t *testing.T, c *cluster, g *game) func() {
			for _, m := range c.set.Members()[1:] {
				m.Kill()
			}
			eventually(t, "there is no primary", func() bool { return g.events.primary() == "" })
			return func() {
				for _, m := range c.set.Members()[1:] {
					must(t, m.Restart())
				}
			}
		}, false, false},
		{"a frozen primary", func(t *testing.T, c *cluster, _ *game) func() {
			m := c.primary(t)
			m.Freeze()
			return m.Unfreeze
		}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "members that hang or are killed", replset.Options{ElectionTimeout: 500 * time.Millisecond})
			if !tt.patient {
				c = ownSet(t, "members that hang or are killed", primaryFirst(3))
			}
			list := c.list(t)
			g := c.play(t, app.Config{})
			g.steady(t, 3)
			warm := g.insert("log", bson.D{{Key: "_id", Value: "warm"}}) // So that the lane has a socket.
			if rep := g.write(t, warm); rep.Outcome != messages.Applied {
				t.Fatalf("%v: %v", rep.Outcome, rep.Err)
			}
			heal := tt.fault(t, c, g)
			in := g.inbox(t)
			onWire := func() int64 { return g.sent("update") + g.sent("bulkWrite") }
			sent, before := 20, onWire()
			for n := range sent {
				in.send(g.Master(), g.push(n, patience))
			}
			if tt.onWire {
				eventually(t, "a write is on the wire", func() bool { return onWire() > before })
			}
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			if tt.patient {
				ctx, cancel = context.WithTimeout(context.Background(), patience)
			}
			defer cancel()
			stopped := make(chan error, 1)
			go func() { stopped <- g.Stop(ctx) }()
			// A write is accepted, or refused, before send returns: the last one is refused.
			eventually(t, "new writes are refused", func() bool {
				in.send(g.Master(), g.push(sent, patience))
				sent++
				return g.Stat().Writes.Refused > 0
			})
			sent--
			err := <-stopped
			in.await(t, sent+1)
			if rep := in.writes[sent][0]; rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrStopped) {
				t.Errorf("a write after Stop is %v: %v", rep.Outcome, rep.Err)
			}

			listed := map[any]bool{} // As not applied, or as unknown.
			var undone *app.StopError
			if errors.As(err, &undone) {
				for _, rep := range slices.Concat(undone.NotApplied, undone.Unknown) {
					listed[rep.Correlation] = true
				}
			}
			if tt.patient != (err == nil) || listed[sent] {
				t.Errorf("Stop returned %v", err)
			}
			heal()
			if _, err := c.set.AwaitPrimary(soon(t)); err != nil {
				t.Fatal(err)
			}
			there, unknown := list(), 0
			for n := range sent {
				rep := in.writes[n][0]
				if len(in.writes[n]) != 1 || listed[n] != (rep.Outcome != messages.Applied) {
					t.Errorf("write %d is %v, and listed: %v", n, rep.Outcome, listed[n])
				}
				switch is := slices.Contains(there, n); rep.Outcome {
				case messages.Applied:
					if !is {
						t.Errorf("write %d was acknowledged and is not there", n)
					}
				case messages.NotApplied:
					if is {
						t.Errorf("write %d is listed as not applied and is there", n)
					}
				case messages.Unknown:
					unknown++
				}
			}
			if unknown > 0 != tt.onWire {
				t.Errorf("%d writes are unknown", unknown)
			}
			if !slices.IsSorted(there) || tt.patient && len(there) != sent {
				t.Errorf("the list is %v", there)
			}
			t.Logf("%d listed, %d unknown, %d there", len(listed), unknown, len(there))
		})
	}
}
