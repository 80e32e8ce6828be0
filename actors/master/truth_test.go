package master

import (
	"context"
	"flag"
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

var (
	truthSeed     = flag.Uint64("truth.seed", 1, "seed of the faults in TestWhatAReplySaysIsTrueWhateverFails")
	truthDuration = flag.Duration("truth.duration", 4*time.Second, "how long faults go on in it")
)

// Short deadlines and many faults, so that every outcome comes up. At the end,
// when all members are back, what is there is held against what the replies said.
func TestWhatAReplySaysIsTrueWhateverFails(t *testing.T) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond}, Config{})
	if rep := o.write("seq", messages.InsertOne{Document: bson.D{{Key: "_id", Value: "seq"}}}); rep.Outcome != messages.Applied {
		t.Fatalf("%+v", rep)
	}
	t.Logf("seed %d", *truthSeed)
	rng := rand.New(rand.NewPCG(*truthSeed, 1))

	var mu sync.Mutex
	updates, inserts := map[int]*messages.WriteReply{}, map[int]*messages.WriteReply{}
	note := func(in map[int]*messages.WriteReply, n int, replied func()) func(*messages.WriteReply) {
		return func(rep *messages.WriteReply) {
			mu.Lock()
			defer mu.Unlock()
			if in[n] != nil {
				t.Errorf("write %d has two replies", n)
			}
			in[n] = rep
			replied()
		}
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	var replies sync.WaitGroup
	sent := 0
	load.Go(func() {
		pace := make(chan struct{}, 8)
		for n := 0; ; n++ {
			select {
			case <-stop:
				sent = n
				return
			case pace <- struct{}{}:
			}
			deadline := time.Now().Add(time.Duration(50+n%7*100) * time.Millisecond)
			replies.Add(2)
			o.Submit(&messages.Write{Database: "game", Collection: "seq", Deadline: deadline,
				Verify: bson.D{{Key: "_id", Value: "seq"}, {Key: "seen", Value: n}},
				Operation: messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: "seq"}},
					Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seen", Value: n}}}}},
			}, note(updates, n, replies.Done))
			o.Submit(&messages.Write{Database: "game", Collection: "ins", Deadline: deadline, Operation: insertOf(n)},
				note(inserts, n, func() { <-pace; replies.Done() }))
		}
	})

	until := time.Now().Add(*truthDuration)
	faults := map[string]int{}
	for time.Now().Before(until) {
		faults[o.fault(rng)]++
	}
	close(stop)
	load.Wait()
	replies.Wait()
	o.mend()

	var doc struct{ Seen []int }
	c := o.client.Database("game").Collection("seq", options.Collection().SetReadConcern(readconcern.Majority()))
	if err := c.FindOne(t.Context(), bson.D{{Key: "_id", Value: "seq"}}).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	last := -1
	for _, n := range doc.Seen {
		if n <= last {
			t.Errorf("update %d took effect after %d", n, last)
		}
		last, seen[n] = n, true
	}
	there := map[int]bool{}
	cur, err := o.client.Database("game").Collection("ins", options.Collection().SetReadConcern(readconcern.Majority())).Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for cur.Next(t.Context()) {
		there[int(cur.Current.Lookup("_id").AsInt64())] = true
	}
	if err := cur.Err(); err != nil {
		t.Fatal(err)
	}
	tally := map[messages.Outcome]int{}
	settled := 0
	for _, kind := range []struct {
		name    string
		replies map[int]*messages.WriteReply
		there   map[int]bool
	}{{"update", updates, seen}, {"insert", inserts, there}} {
		for n := range sent {
			rep := kind.replies[n]
			tally[rep.Outcome]++
			if rep.Settled {
				settled++
			}
			switch {
			case rep.Outcome == messages.Applied && !kind.there[n]:
				t.Errorf("%s %d is not there, and its reply was %+v", kind.name, n, rep)
			case rep.Outcome == messages.NotApplied && kind.there[n]:
				t.Errorf("%s %d is there, and its reply was %+v", kind.name, n, rep)
			}
		}
	}
	t.Logf("faults %v; outcomes %v, %d of them settled; %d batches", faults, tally, settled, o.Stat().Batches)
}

// fault does one thing to the set, for a short while, and returns its name.
func (o *onSet) fault(rng *rand.Rand) string {
	pause := func(most time.Duration) {
		<-time.After(time.Duration(rng.Int64N(int64(most)))) // How long a fault lasts.
	}
	defer pause(100 * time.Millisecond)
	primary := o.set.Primary()
	if primary == nil {
		return "none"
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 10*time.Second)
	defer cancel()
	command := func(name string, data bson.D) string {
		cmd := bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: bson.D{{Key: "times", Value: 1 + rng.IntN(3)}}},
			{Key: "data", Value: append(bson.D{{Key: "failCommands", Value: bson.A{"insert", "update"}}}, data...)},
		}
		_ = o.client.Database("admin").RunCommand(ctx, cmd).Err() // There may be no primary just now.
		return name
	}
	switch rng.IntN(8) {
	case 0:
		_ = o.set.StepDown(ctx)
		return "step down"
	case 1:
		primary.Kill()
		pause(500 * time.Millisecond)
		if err := primary.Restart(); err != nil {
			o.t.Error(err)
		}
		return "kill"
	case 2:
		o.set.Partition([]int{primary.Index()})
		pause(600 * time.Millisecond)
		o.set.Heal()
		return "partition"
	case 3:
		primary.Freeze()
		pause(500 * time.Millisecond)
		primary.Unfreeze()
		return "freeze"
	case 4:
		primary.Slow("update", 200*time.Millisecond)
		primary.Slow("insert", 200*time.Millisecond)
		pause(500 * time.Millisecond)
		primary.Slow("update", 0)
		primary.Slow("insert", 0)
		return "slow"
	case 5:
		return command("lost reply", bson.D{{Key: "closeConnection", Value: true}})
	case 6:
		return command("blocked", bson.D{{Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 50 + rng.IntN(400)}})
	}
	return command("interrupted", bson.D{{Key: "errorCode", Value: 11602}, {Key: "errorLabels", Value: bson.A{"RetryableWriteError"}}})
}

// mend brings everything back and waits for it.
func (o *onSet) mend() {
	o.t.Helper()
	o.set.Heal()
	ctx, cancel := context.WithTimeout(o.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := o.set.AwaitPrimary(ctx); err != nil {
		o.t.Fatal(err)
	}
	if err := o.set.AwaitSecondaries(ctx); err != nil {
		o.t.Fatal(err)
	}
	// A write that a majority has: what will be rolled back was rolled back, and what
	// was still on its way has arrived.
	if rep := o.write("seq", messages.UpdateOne{Filter: bson.D{{Key: "_id", Value: "none"}}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}}}); rep.Outcome != messages.Applied {
		o.t.Fatalf("after all is mended: %+v", rep)
	}
}
