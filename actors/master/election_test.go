package master

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// A sequence in one document shows lost, repeated and
// reordered writes; inserts beside them go in groups.
func TestAcknowledgedWritesSurviveStepDownsAndKillsOnceAndInOrder(t *testing.T) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{WriteTimeout: 20 * time.Second})
	if rep := o.write("seq", messages.InsertOne{Document: bson.D{{Key: "_id", Value: "seq"}}}); rep.Outcome != messages.Applied {
		t.Fatalf("%+v", rep)
	}
	const writes = 300
	outcomes := make([]messages.Outcome, writes)
	inserts := make([]messages.Outcome, writes)
	var replies sync.WaitGroup
	pace := make(chan struct{}, 20) // How many may be under way.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range writes {
			pace <- struct{}{}
			replies.Add(2)
			o.Submit(&messages.Write{Database: "game", Collection: "seq", Operation: messages.UpdateOne{
				Filter: bson.D{{Key: "_id", Value: "seq"}}, Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seen", Value: n}}}},
			}}, func(rep *messages.WriteReply) {
				outcomes[n] = rep.Outcome
				if rep.Outcome != messages.Applied {
					t.Errorf("update %d: %v %v", n, rep.Outcome, rep.Err)
				}
				replies.Done()
				<-pace
			})
			o.Submit(&messages.Write{Database: "game", Collection: "ins", Operation: insertOf(n)}, func(rep *messages.WriteReply) {
				inserts[n] = rep.Outcome
				if rep.Outcome != messages.Applied {
					t.Errorf("insert %d: %v %v", n, rep.Outcome, rep.Err)
				}
				replies.Done()
			})
		}
	}()
	rng := rand.New(rand.NewPCG(1, 2))
	faults := 0
	for running := true; running && faults < 4; faults++ {
		before := o.Stat().Applied
		for o.Stat().Applied < before+20+rng.Int64N(30) {
			select {
			case <-done:
				running = false
			default:
			}
			if !running {
				break
			}
			time.Sleep(time.Millisecond) // Polls for progress, the observable condition.
		}
		primary := o.set.Primary()
		if primary == nil {
			continue
		}
		if faults%2 == 0 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := o.set.StepDown(ctx); err != nil {
				t.Logf("step down: %v", err)
			}
			cancel()
			continue
		}
		primary.Kill()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		if _, err := o.set.AwaitPrimary(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := primary.Restart(); err != nil {
			t.Error(err)
		}
	}
	<-done
	replies.Wait()

	var doc struct{ Seen []int }
	c := o.client.Database("game").Collection("seq", options.Collection().SetReadConcern(readconcern.Majority()))
	if err := c.FindOne(t.Context(), bson.D{{Key: "_id", Value: "seq"}}).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, n := range doc.Seen {
		if n <= last {
			t.Fatalf("write %d came after %d", n, last)
		}
		if outcomes[n] == messages.NotApplied {
			t.Errorf("write %d happened and was reported as not applied", n)
		}
		last = n
	}
	applied := 0
	for _, outcome := range outcomes {
		if outcome == messages.Applied {
			applied++
		}
	}
	if len(doc.Seen) < applied {
		t.Errorf("%d writes are there, %d were acknowledged", len(doc.Seen), applied)
	}
	if n := o.majority("ins", bson.D{}); n != writes {
		t.Errorf("%d inserts are there, want %d", n, writes)
	}
	t.Logf("%d faults, events %v", faults, o.seen())
}

func TestWritesWaitOutAnElectionAndAnEventTells(t *testing.T) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{WriteTimeout: 20 * time.Second})
	o.write("held", insertOf("first"))
	o.set.Primary().Kill()
	var replies []chan *messages.WriteReply
	for n := range 50 {
		reply, _ := o.ask(&messages.Write{Database: "game", Collection: "held", Operation: insertOf(n)})
		replies = append(replies, reply)
	}
	for n, reply := range replies {
		if rep := o.get(reply); rep.Outcome != messages.Applied {
			t.Errorf("write %d: %+v", n, rep)
		}
	}
	if n := o.majority("held", bson.D{}); n != 51 {
		t.Errorf("%d documents", n)
	}
}

func TestWithoutAMajorityWritesAreHeldUntilTheirDeadline(t *testing.T) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{})
	o.write("held", insertOf("first"))
	for _, m := range o.set.Members() {
		if !m.IsPrimary() {
			m.Kill()
		}
	}
	eventually(t, func() bool { return !o.hold.open() })
	reply, _ := o.ask(&messages.Write{Database: "game", Collection: "held", Operation: insertOf("late"), Deadline: time.Now().Add(200 * time.Millisecond)})
	if rep := o.get(reply); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrNoPrimary) || !errors.Is(rep.Err, messages.ErrDeadline) {
		t.Errorf("%+v", rep)
	}
	waiting, _ := o.ask(&messages.Write{Database: "game", Collection: "held", Operation: insertOf("patient"), Deadline: time.Now().Add(20 * time.Second)})
	for _, m := range o.set.Members() {
		if !m.Running() {
			if err := m.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rep := o.get(waiting); rep.Outcome != messages.Applied {
		t.Errorf("%+v", rep)
	}
	var resumed bool
	eventually(t, func() bool {
		for _, e := range o.seen() {
			if r, ok := e.(messages.WritesResumed); ok && r.Expired == 1 && r.Sent == 1 {
				resumed = true
			}
		}
		return resumed
	})
}
