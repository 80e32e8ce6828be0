package master

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// What a cut connection leaves open the driver's retry finds out, whichever moment
// it was cut in.
func TestABulkWriteWhoseConnectionIsCutIsExecutedOnce(t *testing.T) {
	for _, phase := range []replset.Phase{replset.BeforeExecution, replset.BeforeReply, replset.WithinReply} {
		t.Run(phase.String(), func(t *testing.T) {
			o := startSet(t, replset.Options{}, Config{})
			cut := o.primary().Cut(replset.Target{Commands: []string{"bulkWrite"}, Times: 1}, phase)
			got := o.together(push(0), op("insert", 1), push(1), push(2))
			if outcomes(got) != "AAAA" || cut.Struck() != 1 || got[0].Attempts != 2 {
				t.Fatalf("%s after %d cuts: %+v", outcomes(got), cut.Struck(), got[0])
			}
			if want := []int{0, 1, 2}; !slices.Equal(o.pushed(), want) {
				t.Errorf("executed %v", o.pushed())
			}
			// A refusal after a lost attempt: the attempt might still arrive, and get further.
			o.primary().Cut(replset.Target{Commands: []string{"bulkWrite"}, Times: 1}, phase)
			got = o.together(push(3), op("insert", 1), insertAnonymous(), push(4))
			if outcomes(got) != "AUAU" || !got[2].Token.IsZero() == got[2].Settled || !mongo.IsDuplicateKeyError(got[1].Err) || mongo.IsDuplicateKeyError(got[3].Err) {
				t.Errorf("%s: %v; %v; %+v", outcomes(got), got[1].Err, got[3].Err, got[2])
			}
			if want := []int{0, 1, 2, 3}; !slices.Equal(o.pushed(), want) {
				t.Errorf("executed %v", o.pushed())
			}
		})
	}
}

// No attempt gets a reply until time is up: what the server has executed, a read has
// to tell.
func TestABulkWriteThatIsNeverAnsweredIsSettledWriteByWrite(t *testing.T) {
	for executed, want := range map[bool]string{false: "NUNN", true: "AUAA"} {
		// The reads have the last tenth of the time, which a busy machine may not manage.
		for try := 1; ; try++ {
			got := neverAnswered(t, executed)
			if got == want {
				break
			}
			for i := range want {
				if got[i] != want[i] && got[i] != 'U' {
					t.Fatalf("executed %v: %s, want %s", executed, got, want)
				}
			}
			if try == 5 {
				t.Fatalf("executed %v: %s once more, want %s", executed, got, want)
			}
		}
	}
}

func neverAnswered(t *testing.T, executed bool) string {
	t.Helper()
	o := startSet(t, replset.Options{Members: 1}, Config{})
	o.write("seq", insertOf("other"))
	first, last := push(0), push(1)
	first.Verify, last.Verify = bson.D{{Key: "seen", Value: 0}}, bson.D{{Key: "seen", Value: 1}}
	writes := []*messages.Write{first, elsewhere(op("update", 1), "game", "log"), elsewhere(insertAnonymous(), "game", "fresh"), last}
	o.stall("bulkWrite", executed)
	for _, w := range writes {
		until(w, 2*time.Second)
	}
	got := o.together(writes...)
	for i, rep := range got {
		if rep.Settled == (rep.Outcome == messages.Unknown) || rep.OrderOpen {
			t.Errorf("executed %v: write %d: %+v", executed, i, rep)
		}
	}
	// What the server still has in its hands comes too late.
	o.write("seq", messages.UpdateOne{Filter: byID("other"), Update: bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 2}}}}})
	if n := o.majority("seq", bson.D{{Key: "seen", Value: bson.A{0, 1}}}); (n == 1) != executed {
		t.Errorf("executed %v: what was said is not what is there", executed)
	}
	return outcomes(got)
}

// stall keeps the replies to a command back for longer than anybody waits. The first
// one may have been executed: its connection is cut then.
func (o *onSet) stall(name string, executed bool) {
	o.t.Helper()
	mode := any("alwaysOn")
	if executed {
		mode = bson.D{{Key: "skip", Value: 1}}
		o.primary().Cut(replset.Target{Commands: []string{name}, Times: 1}, replset.BeforeReply)
	}
	err := o.client.Database("admin").RunCommand(o.t.Context(), bson.D{
		{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode},
		{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{name}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 3000}}},
	}).Err()
	if err != nil {
		o.t.Fatal(err)
	}
}

func TestThePrimaryIsKilledInTheMiddleOfABulkWrite(t *testing.T) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{WriteTimeout: patience})
	o.write("seq", insertOf("other"))
	primary := o.primary()
	slow := primary.Delay(replset.Target{Commands: []string{"bulkWrite"}}, replset.Quantiles(map[float64]time.Duration{0: time.Hour, 1: time.Hour})) // Until it is killed.
	asked := make([]chan *messages.WriteReply, 0, 100)
	o.held(func() {
		for n := range 50 {
			a, _ := o.ask(push(n))
			b, _ := o.ask(op("insert", n))
			asked = append(asked, a, b)
		}
	})
	eventually(t, func() bool { return slow.Struck() == 1 })
	primary.Kill()
	for i, reply := range asked {
		if rep := o.get(reply); rep.Outcome != messages.Applied || rep.Attempts < 2 {
			t.Fatalf("write %d: %+v", i, rep)
		}
	}
	if !slices.IsSorted(o.pushed()) || len(slices.Compact(o.pushed())) != 50 {
		t.Errorf("executed %v", o.pushed())
	}
	if n := o.majority("players", bson.D{}); n != 50 {
		t.Errorf("%d documents", n)
	}
}

func TestABulkWriteWithoutItsMajorityIsSettledWriteByWrite(t *testing.T) {
	o := startSet(t, replset.Options{}, Config{})
	o.write("seq", insertOf("other"))
	o.failCommand(1, bson.D{{Key: "failCommands", Value: bson.A{"bulkWrite"}}, {Key: "writeConcernError", Value: bson.D{
		{Key: "code", Value: 64}, {Key: "errmsg", Value: "waiting for replication timed out"},
	}}})
	last := push(1)
	last.Verify = bson.D{{Key: "seen", Value: 1}}
	chosen := &messages.Write{Database: "game", Collection: "chosen", Operation: insertOf(1)}
	got := o.together(push(0), chosen, elsewhere(insertAnonymous(), "game", "log"), last)
	if outcomes(got) != "UAAA" || !got[1].Settled {
		t.Fatalf("%s; %+v", outcomes(got), got[1])
	}
	var ex mongo.WriteException
	if !errors.As(got[0].Err, &ex) || ex.WriteConcernError == nil || ex.WriteConcernError.Code != 64 {
		t.Errorf("%v", got[0].Err)
	}
	if got := o.commands("bulkWrite"); got != "map[bulkWrite:1]" || len(o.pushed()) != 2 {
		t.Errorf("%s, %v", got, o.pushed())
	}
}

func TestABulkWriteThatIsRefusedForNowGoesAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(o *onSet)
		// meanwhile, if there is one, runs until it has done its work or the writes are over.
		meanwhile func(o *onSet, over <-chan struct{})
	}{
		{"too busy", func(o *onSet) {
			o.primary().Overload(replset.Target{Commands: []string{"bulkWrite"}, Times: 5})
		}, nil},
		{"no primary any more", func(o *onSet) {
			o.failCommand(3, bson.D{{Key: "failCommands", Value: bson.A{"bulkWrite"}}, {Key: "errorCode", Value: 10107},
				{Key: "errorLabels", Value: bson.A{"RetryableWriteError", "NoWritesPerformed"}}})
		}, nil},
		{"stepping down", func(o *onSet) {
			o.primary().Slow("bulkWrite", 100*time.Millisecond)
		}, func(o *onSet, over <-chan struct{}) {
			for o.Stat().OnWire < 100 {
				select {
				case <-over:
					o.t.Log("the machine was late: nothing was on the wire")
					return
				default:
					runtime.Gosched()
				}
			}
			_ = o.set.StepDown(o.t.Context()) // It may be late here too.
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{WriteTimeout: patience})
			o.write("seq", insertOf("other"))
			c.fault(o)
			if c.meanwhile != nil {
				over := make(chan struct{})
				var at sync.WaitGroup
				at.Go(func() { c.meanwhile(o, over) })
				defer at.Wait()
				defer close(over)
			}
			var writes []*messages.Write
			for n := range 50 {
				writes = append(writes, push(n), op("insert", n))
			}
			for i, rep := range o.together(writes...) {
				if rep.Outcome != messages.Applied || rep.Settled {
					t.Fatalf("write %d: %+v", i, rep)
				}
			}
			if seen := o.pushed(); !slices.IsSorted(seen) || len(seen) != 50 || o.majority("players", bson.D{}) != 50 {
				t.Errorf("executed %v", seen)
			}
		})
	}
}

func TestALostBulkWriteOnAStandaloneIsUnknownWithTheOrderOpen(t *testing.T) {
	o := startSet(t, replset.Options{Standalone: true}, Config{})
	o.write("players", insertOf("first"))
	o.primary().Cut(replset.Target{Commands: []string{"bulkWrite"}, Times: 1}, replset.BeforeReply)
	for i, rep := range o.together(push(0), insertAnonymous(), push(1)) {
		if rep.Outcome != messages.Unknown || !rep.OrderOpen || rep.Attempts != 1 {
			t.Errorf("write %d: %+v", i, rep)
		}
	}
	got := o.together(push(2), op("insert", 1), op("insert", "first"), push(3))
	if outcomes(got) != "AANA" || got[3].Result.(*mongo.UpdateResult).ModifiedCount != 1 {
		t.Errorf("%s", outcomes(got))
	}
}
