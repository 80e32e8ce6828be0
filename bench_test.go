package evenkeel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// benchSet starts a set with one document in bench.players, replicated everywhere.
func benchSet(b *testing.B, members int) (*replset.Set, *mongo.Client) {
	b.Helper()
	return benchSetOf(b, replset.Options{Members: members})
}

func benchSetOf(b *testing.B, opts replset.Options) (*replset.Set, *mongo.Client) {
	b.Helper()
	set, err := replset.Start(opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(set.Stop)
	client, err := mongo.Connect(options.Client().ApplyURI(set.URI()).SetAppName("bare"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	if _, err := client.Database("bench").Collection("players").InsertOne(b.Context(), bson.D{{Key: "_id", Value: 7}, {Key: "gold", Value: 100}}); err != nil {
		b.Fatal(err)
	}
	return set, client
}

func benchApp(b *testing.B, set *replset.Set) *app.App {
	b.Helper()
	a, err := app.Start(b.Context(), app.Config{URI: set.URI()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.StopAndCancel() })
	benchAwaitLive(b, a, len(set.Members()))
	return a
}

// benchAwaitLive waits until n hosts are live.
func benchAwaitLive(b *testing.B, a *app.App, n int) {
	b.Helper()
	events := a.Events(messages.KindHostLive)
	defer events.Cancel()
	live := map[string]bool{}
	timeout := time.After(30 * time.Second)
	for len(live) < n {
		select {
		case e := <-events.Events():
			live[e.Head().Host] = true
		case <-timeout:
			b.Fatalf("%d of %d hosts are live", len(live), n)
		}
	}
}

func benchPoint(a *app.App) *app.SingleResult {
	return a.Collection("bench", "players").FindOne(context.Background(), bson.D{{Key: "_id", Value: 7}})
}

// BenchmarkFindOne compares one caller's FindOne through evenkeel with the bare
// driver's, in turn, and reports the median of the ratios of their times.
func BenchmarkFindOne(b *testing.B) {
	set, client := benchSet(b, 4)
	a := benchApp(b, set)
	bare := client.Database("bench", options.Database()).Collection("players")
	const round = 500
	var ratios []float64
	var ours, theirs time.Duration
	for b.Loop() {
		t := time.Now()
		for range round {
			if err := bare.FindOne(b.Context(), bson.D{{Key: "_id", Value: 7}}).Err(); err != nil {
				b.Fatal(err)
			}
		}
		d := time.Since(t)
		t = time.Now()
		for range round {
			if err := benchPoint(a).Err(); err != nil {
				b.Fatal(err)
			}
		}
		o := time.Since(t)
		ratios = append(ratios, float64(o)/float64(d))
		ours, theirs = ours+o, theirs+d
	}
	slices.Sort(ratios)
	n := float64(len(ratios) * round)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.Microseconds())/n, "µs/ours")
	b.ReportMetric(float64(theirs.Microseconds())/n, "µs/driver")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}

// BenchmarkReturn takes a secondary away, brings it back, and reports how long after
// it answers as a secondary it gets its first read, and 90 % of its fair share.
func BenchmarkReturn(b *testing.B) {
	set, _ := benchSet(b, 4)
	a := benchApp(b, set)
	var first, share []float64
	for b.Loop() {
		m := benchSecondary(b, set)
		m.Kill()
		benchUntil(b, "the host is out", func() bool { return benchPoint(a).Err() == nil && !benchServed(a, m, 20) })
		if err := m.Restart(); err != nil {
			b.Fatal(err)
		}
		benchUntil(b, "the member is a secondary", m.IsSecondary)
		back := time.Now()
		benchUntil(b, "the first read", func() bool { return benchServed(a, m, 1) })
		first = append(first, float64(time.Since(back).Microseconds())/1000)
		benchUntil(b, "90 % of a fair share", func() bool { return benchShareOf(a, m, 200) >= 0.9/3 })
		share = append(share, float64(time.Since(back).Microseconds())/1000)
	}
	b.ReportMetric(0, "ns/op")
	slices.Sort(first)
	slices.Sort(share)
	b.ReportMetric(first[len(first)/2], "ms/first-read")
	b.ReportMetric(share[len(share)/2], "ms/90%-share")
}

// BenchmarkSwap exchanges the addresses of two secondaries under reads, and reports
// how long it takes until both are out of rotation, and how many reads a wrong host has
// served, by the servers' own account.
func BenchmarkSwap(b *testing.B) {
	set, _ := benchSet(b, 4)
	a := benchApp(b, set)
	var out []float64
	wrong := int64(0)
	for b.Loop() {
		var two []*replset.Member
		for _, m := range set.Members() {
			if m.IsSecondary() && len(two) < 2 {
				two = append(two, m)
			}
		}
		lost := a.Events(messages.KindHostLost, messages.KindWrongHost)
		for len(lost.Events()) > 0 {
			<-lost.Events()
		}
		start := time.Now()
		if err := set.SwapAddresses(two[0].Index(), two[1].Index()); err != nil {
			b.Fatal(err)
		}
		gone := map[string]bool{}
		for late := time.After(30 * time.Second); len(gone) < 2; {
			select {
			case <-late:
				b.Fatalf("of two members that have each other's address only %d is noticed", len(gone))
			case e := <-lost.Events():
				gone[e.Head().Host] = true
			default:
				_ = benchPoint(a).Err()
			}
		}
		out = append(out, float64(time.Since(start).Microseconds())/1000)
		for range 200 {
			_ = benchPoint(a).Err()
		}
		lost.Cancel()
		if err := set.RestoreAddresses(); err != nil {
			b.Fatal(err)
		}
		for _, m := range two {
			benchUntil(b, "the host is back", func() bool { return benchServed(a, m, 50) })
		}
	}
	for _, m := range set.Members() {
		for _, t := range m.Counters().Astray {
			wrong += t.Reads
		}
	}
	b.ReportMetric(0, "ns/op")
	slices.Sort(out)
	b.ReportMetric(out[len(out)/2], "ms/out-of-rotation")
	b.ReportMetric(float64(wrong), "wrong-reads")
}

// BenchmarkCost reports what a live host costs the game server.
func BenchmarkCost(b *testing.B) {
	for b.Loop() {
		var use [2]struct{ goroutines, kb, sockets float64 }
		for i, members := range []int{3, 7} {
			set, client := benchSet(b, members)
			_ = client.Disconnect(context.Background())
			bytes0, base := heap()
			conns := benchConnections(set)
			a := benchApp(b, set)
			for range 200 {
				_ = benchPoint(a).Err()
			}
			sockets := benchConnections(set) - conns
			bytes1, goroutines := heap()
			// The members' own goroutines, one for each connection, run in this process too.
			use[i].goroutines = goroutines - base - float64(sockets)
			use[i].kb = (bytes1 - bytes0) / 1024
			use[i].sockets = float64(sockets)
			_ = a.StopAndCancel()
			set.Stop()
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric((use[1].goroutines-use[0].goroutines)/4, "goroutines/host")
		b.ReportMetric((use[1].sockets-use[0].sockets)/4, "sockets/host")
		b.ReportMetric((use[1].kb-use[0].kb)/4, "KB/host")
	}
}

func benchSecondary(b *testing.B, set *replset.Set) *replset.Member {
	b.Helper()
	for _, m := range set.Members() {
		if m.IsSecondary() {
			return m
		}
	}
	b.Fatal("no secondary")
	return nil
}

func benchReads(m *replset.Member) int64 { return int64(m.Counters().Reads) }

func benchConnections(set *replset.Set) (n int) {
	for _, m := range set.Members() {
		n += int(m.Counters().Connections)
	}
	return n
}

// benchServed reports whether m answers any of n reads.
func benchServed(a *app.App, m *replset.Member, n int) bool { return benchShareOf(a, m, n) > 0 }

// benchShareOf is the part of n reads that m answers, by its own count.
func benchShareOf(a *app.App, m *replset.Member, n int) float64 {
	before := benchReads(m)
	for range n {
		_ = benchPoint(a).Err()
	}
	return float64(benchReads(m)-before) / float64(n)
}

// benchUntil polls: each check reads, so that it does not spin idly.
func benchUntil(b *testing.B, what string, done func() bool) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(end) {
			b.Fatalf("timed out: %s", what)
		}
	}
}
