package master

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

var (
	truthSeed     = flag.Uint64("truth.seed", 1, "seed of the faults in TestWhatAReplySaysIsTrueWhateverFails")
	truthDuration = flag.Duration("truth.duration", 3*time.Second, "how long faults go on in it, for each version")
)

// Short deadlines and many faults, so that every outcome comes up. At the end,
// when all members are back, what is there is held against what the replies said.
// Each of the writes leaves a trace of its own: some in an order that shows, some that
// can be settled, some that cannot, some with an _id of their own and some without.
func TestWhatAReplySaysIsTrueWhateverFails(t *testing.T) {
	for _, version := range []string{"8.0", "7.0"} {
		t.Run(version, func(t *testing.T) { truth(t, version) })
	}
}

// traces are the kinds of writes, by where they leave what.
var traces = []struct {
	name  string
	write func(n int) *messages.Write
}{
	{"push", func(n int) *messages.Write {
		w := push(n)
		w.Verify = bson.D{{Key: "_id", Value: "seq"}, {Key: "seen", Value: n}}
		return w
	}},
	{"insert", func(n int) *messages.Write {
		return &messages.Write{Database: "game", Collection: "ins", Operation: insertOf(n)}
	}},
	{"blind push", func(n int) *messages.Write {
		return &messages.Write{Database: "game", Collection: "blind", ErrorsOnly: true, Operation: messages.UpdateOne{
			Filter: byID("seq"), Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seen", Value: n}}}}}}
	}},
	{"anonymous insert", func(n int) *messages.Write {
		return &messages.Write{Database: "game", Collection: "anonymous", Operation: messages.InsertOne{Document: bson.D{{Key: "n", Value: n}}}}
	}},
}

func truth(t *testing.T, version string) {
	o := startSet(t, replset.Options{ElectionTimeout: 300 * time.Millisecond, Version: version}, Config{})
	for _, coll := range []string{"seq", "blind"} {
		if rep := o.write(coll, messages.InsertOne{Document: bson.D{{Key: "_id", Value: "seq"}}}); rep.Outcome != messages.Applied {
			t.Fatalf("%+v", rep)
		}
	}
	t.Logf("seed %d", *truthSeed)
	rng := rand.New(rand.NewPCG(*truthSeed, 1))

	var mu sync.Mutex
	given := make([]map[int]*messages.WriteReply, len(traces))
	stop := make(chan struct{})
	var load, replies sync.WaitGroup
	submitted := make([]int, len(traces))
	load.Go(func() {
		const run = 3 // Writes of a kind that follow each other.
		pace := make(chan struct{}, 3*run*len(traces))
		for n := 0; ; n += run {
			for k, kind := range traces {
				for submitted[k] < n+run {
					select {
					case <-stop:
						return
					case pace <- struct{}{}:
					}
					n := submitted[k]
					submitted[k]++
					w := kind.write(n)
					w.Deadline = time.Now().Add(time.Duration(50+n%7*100) * time.Millisecond)
					replies.Add(1)
					o.Submit(w, func(rep *messages.WriteReply) {
						defer replies.Done()
						<-pace
						mu.Lock()
						defer mu.Unlock()
						if given[k] == nil {
							given[k] = map[int]*messages.WriteReply{}
						}
						if given[k][n] != nil {
							t.Errorf("%s %d has two replies", kind.name, n)
						}
						given[k][n] = rep
					})
				}
			}
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

	there := []map[int]bool{o.inOrder("seq"), o.numbered("ins", "_id"), o.inOrder("blind"), o.numbered("anonymous", "n")}
	tally := map[messages.Outcome]int{}
	settled := 0
	for k, kind := range traces {
		for n := range submitted[k] {
			rep := given[k][n]
			tally[rep.Outcome]++
			if rep.Settled {
				settled++
			}
			switch {
			case rep.Outcome == messages.Applied && !there[k][n]:
				t.Errorf("%s %d is not there, and its reply was %+v", kind.name, n, rep)
			case rep.Outcome == messages.NotApplied && there[k][n]:
				t.Errorf("%s %d is there, and its reply was %+v", kind.name, n, rep)
			}
		}
	}
	t.Logf("faults %v; outcomes %v, %d of them settled; %d batches of %d writes", faults, tally, settled, o.Stat().Batches, o.Stat().Batched)
}

// inOrder are the numbers that were pushed, each of them once and in order.
func (o *onSet) inOrder(coll string) map[int]bool {
	o.t.Helper()
	var doc struct{ Seen []int }
	c := o.client.Database("game").Collection(coll, options.Collection().SetReadConcern(readconcern.Majority()))
	if err := c.FindOne(o.t.Context(), byID("seq")).Decode(&doc); err != nil {
		o.t.Fatal(err)
	}
	seen, last := map[int]bool{}, -1
	for _, n := range doc.Seen {
		if n <= last {
			o.t.Errorf("%s: %d took effect after %d", coll, n, last)
		}
		last, seen[n] = n, true
	}
	return seen
}

// numbered are the numbers of the documents there are, each of them once.
func (o *onSet) numbered(coll, field string) map[int]bool {
	o.t.Helper()
	there := map[int]bool{}
	cur, err := o.client.Database("game").Collection(coll, options.Collection().SetReadConcern(readconcern.Majority())).Find(o.t.Context(), bson.D{})
	if err != nil {
		o.t.Fatal(err)
	}
	for cur.Next(o.t.Context()) {
		n := int(cur.Current.Lookup(field).AsInt64())
		if there[n] {
			o.t.Errorf("%s: %d is there twice", coll, n)
		}
		there[n] = true
	}
	if err := cur.Err(); err != nil {
		o.t.Fatal(err)
	}
	return there
}

// writing are the commands that the faults concern.
var writing = []string{"insert", "update", "bulkWrite"}

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
	switch rng.IntN(9) {
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
		slow := primary.Delay(replset.Target{Commands: writing}, func(*rand.Rand) time.Duration { return 200 * time.Millisecond })
		pause(500 * time.Millisecond)
		slow.End()
		return "slow"
	case 5:
		return command("lost", bson.D{{Key: "closeConnection", Value: true}})
	case 7:
		cut := primary.Cut(replset.Target{Commands: writing, Times: 1 + rng.IntN(3)}, replset.Phase(rng.IntN(3)))
		o.mends = append(o.mends, cut.End)
		return "cut"
	case 6:
		return command("blocked", bson.D{{Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 50 + rng.IntN(400)}})
	}
	return command("interrupted", bson.D{{Key: "errorCode", Value: 11602}, {Key: "errorLabels", Value: bson.A{"RetryableWriteError"}}})
}

// mend brings everything back and waits for it.
func (o *onSet) mend() {
	o.t.Helper()
	o.set.Heal()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	for _, mend := range o.mends {
		mend()
	}
	for _, m := range o.set.Members() {
		member, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + m.Host() + "/?directConnection=true&serverMonitoringMode=poll&heartbeatFrequencyMS=500"))
		if err != nil {
			o.t.Fatal(err)
		}
		off := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"}}
		err = member.Database("admin").RunCommand(ctx, off).Err()
		if err := errors.Join(err, member.Disconnect(ctx)); err != nil {
			o.t.Fatal(err)
		}
	}
	if _, err := o.set.AwaitPrimary(ctx); err != nil {
		o.t.Fatal(err)
	}
	if err := o.set.AwaitSecondaries(ctx); err != nil {
		o.t.Fatal(err)
	}
	// A write that a majority has: what will be rolled back was rolled back, and what
	// was still on its way has arrived.
	if rep := o.write("mended", messages.InsertOne{Document: bson.D{}}); rep.Outcome != messages.Applied {
		o.t.Fatalf("after all is mended: %+v", rep)
	}
}
