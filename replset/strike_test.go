package replset

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestADriverRetriesAWriteWhoseConnectionWasCutInAnyPhase(t *testing.T) {
	set := steady(t, Options{})
	coll := players(connect(t, set.URI()))
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: "ann"}, {Key: "gold", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	for i, phase := range []Phase{BeforeExecution, BeforeReply, WithinReply} {
		cut := primaryOf(t, set).Cut(Target{Commands: []string{"update"}, Times: 1}, phase)
		if _, err := coll.UpdateOne(soon(t), bson.D{{Key: "_id", Value: "ann"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "gold", Value: 1}}}}); err != nil {
			t.Fatalf("%v: %v", phase, err)
		}
		if cut.Struck() != 1 {
			t.Errorf("%v: it struck %d times", phase, cut.Struck())
		}
		if n := number(t, coll, bson.D{{Key: "gold", Value: i + 1}}); n != 1 {
			t.Errorf("%v: the write was not applied exactly once", phase)
		}
	}
}

func TestWhatACutCommandHasDoneDependsOnThePhase(t *testing.T) {
	set := steady(t, Options{})
	client := connect(t, set.URI(), func(o *options.ClientOptions) { o.SetRetryWrites(false) })
	for phase, executed := range map[Phase]int64{BeforeExecution: 0, BeforeReply: 1, WithinReply: 1} {
		coll := players(client)
		cut := primaryOf(t, set).Cut(Target{Commands: []string{"insert"}}, phase)
		_, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: phase}})
		cut.End()
		if !mongo.IsNetworkError(err) {
			t.Errorf("%v: the insert ended with %v", phase, err)
		}
		if n := number(t, coll, bson.D{{Key: "_id", Value: phase}}); n != executed {
			t.Errorf("%v: the insert was executed %d times", phase, n)
		}
	}
}

func TestAFaultOutlivesARestartAndEndsWhenItIsTold(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	overload := m.Overload(Target{Commands: []string{"find"}})
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	client := connect(t, "mongodb://"+m.Host()+"/?directConnection=true", func(o *options.ClientOptions) { o.SetMaxAdaptiveRetries(0) })
	err := players(client).FindOne(soon(t), bson.D{}).Err()
	var refused mongo.CommandError
	if !errors.As(err, &refused) || refused.Code != 462 || !refused.HasErrorLabel("SystemOverloadedError") || !refused.HasErrorLabel("RetryableError") {
		t.Errorf("the read ended with %v", err)
	}
	overload.End()
	overload.End()
	if err := players(client).FindOne(soon(t), bson.D{}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Error(err)
	}
}

func TestADriverBacksOffAnOverloadedMemberAndGetsThrough(t *testing.T) {
	set := steady(t, Options{})
	overload := primaryOf(t, set).Overload(Target{Commands: []string{"find"}, Times: 1})
	if err := players(connect(t, set.URI())).FindOne(soon(t), bson.D{}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Error(err)
	}
	if overload.Struck() != 1 {
		t.Errorf("it struck %d times", overload.Struck())
	}
}

func TestRefusedConnectionsCostTheOpenOnesNothing(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(0)
	open := direct(t, m)
	hello(t, open)
	refusal := m.RefuseConnections(Target{})
	late := direct(t, m)
	eventually(t, "a new connection is refused", func() bool { return refusal.Struck() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := late.Ping(ctx, nil); err == nil {
		t.Error("a new connection was served")
	}
	hello(t, open)
	refusal.End()
	if err := late.Ping(soon(t), nil); err != nil {
		t.Error(err)
	}
}

func TestFaultsForSomethingThatThereIsNotPanic(t *testing.T) {
	set := steady(t, Options{Members: 1})
	m := set.Member(0)
	for want, misuse := range map[string]func(){
		`Member.Cut: there is no command "fnid"`: func() { m.Cut(Target{Commands: []string{"fnid"}}, BeforeReply) },
		"no phase Phase(7)":                      func() { m.Cut(Target{}, Phase(7)) },
		"the share 1.5":                          func() { m.Overload(Target{Share: 1.5}) },
		"neither a command":                      func() { m.RefuseConnections(Target{AppName: "a"}) },
		"the Latency is nil":                     func() { m.Delay(Target{}, nil) },
		"there is none":                          func() { Quantiles(nil) },
		"1.2 is not from 0 to 1":                 func() { Quantiles(map[float64]time.Duration{1.2: 1}) },
		"1ns at 0.9 is less":                     func() { Quantiles(map[float64]time.Duration{0.5: 2, 0.9: 1}) },
		"less than none":                         func() { Quantiles(map[float64]time.Duration{0: -1}) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, want) {
					t.Errorf("panic with %q, not %q", text, want)
				}
			}()
			misuse()
		}()
	}
	if !IsCommand("find") || IsCommand("fnid") {
		t.Error("IsCommand is wrong")
	}
}

func TestQuantilesAreMetByTheirDraws(t *testing.T) {
	latency := Quantiles(map[float64]time.Duration{0.5: 10 * time.Millisecond, 0.9: 50 * time.Millisecond, 0.99: time.Second})
	r := rand.New(rand.NewPCG(1, 2))
	var below [3]int
	highest := time.Duration(0)
	const draws = 100_000
	for range draws {
		d := latency(r)
		for i, limit := range []time.Duration{10 * time.Millisecond, 30 * time.Millisecond, 50 * time.Millisecond} {
			if d <= limit {
				below[i]++
			}
		}
		highest = max(highest, d)
	}
	for i, want := range []float64{0.5, 0.7, 0.9} {
		if got := float64(below[i]) / draws; got < want-0.01 || got > want+0.01 {
			t.Errorf("%v of the draws where there should be %v", got, want)
		}
	}
	if highest != time.Second {
		t.Errorf("the highest is %v", highest)
	}
	if a, b := latency(rand.New(rand.NewPCG(3, 3))), latency(rand.New(rand.NewPCG(3, 3))); a != b {
		t.Error("the same seed draws another value")
	}
}

func TestADelayedCommandTakesAtLeastThatLong(t *testing.T) {
	set := steady(t, Options{Members: 1})
	set.Member(0).Delay(Target{Commands: []string{"count"}}, Quantiles(map[float64]time.Duration{0: 30 * time.Millisecond, 1: 30 * time.Millisecond}))
	began := time.Now()
	if err := connect(t, set.URI()).Database("game").RunCommand(soon(t), bson.D{{Key: "count", Value: "players"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}
