package evenkeel_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// scribe copies the members' oplogs while they are there, since a server forgets what all
// members have: in which order writes to different documents took effect stands nowhere
// else. It reads what a majority has, which no rollback takes back: not from a member that was restarted as
// a standalone, to which all that it has is a majority's.
type scribe struct {
	mu      sync.Mutex
	entries map[bson.Timestamp][]operation // mu
}

// operation is one of an entry of the oplog.
type operation struct {
	Op string
	NS string `bson:"ns"`
	O  bson.Raw
}

// copyFrom copies one member's oplog again and again, and bears whatever befalls it.
func (b *scribe) copyFrom(x *storm, host string) {
	client := x.c.driver(x.t, func(o *options.ClientOptions) {
		o.SetHosts([]string{host}).SetDirect(true).SetServerSelectionTimeout(200 * time.Millisecond).SetReadConcern(readconcern.Majority()).ReplicaSet = nil
	})
	defer func() { _ = client.Disconnect(soon(x.t)) }()
	var last bson.Timestamp
	for ended := false; !ended; {
		ended = !x.await(250*time.Millisecond, x.quit)
		lasts := 500 * time.Millisecond
		if ended { // Once more when the set is steady, to the last entry.
			lasts = patience
		}
		ctx, cancel := context.WithTimeout(context.Background(), lasts)
		for !b.copyOnce(ctx, x, client, &last) && ended && x.await(50*time.Millisecond, ctx.Done()) {
		}
		cancel()
	}
}

// copyOnce copies what there is after the last entry, and says whether that was all of it.
func (b *scribe) copyOnce(ctx context.Context, x *storm, client *mongo.Client, last *bson.Timestamp) (whole bool) {
	process, member := inSet(ctx, client)
	if !member {
		return false
	}
	entries, upTo, err := copyAfter(ctx, client.Database("local").Collection("oplog.rs"), x.c.db, *last)
	if now, still := inSet(ctx, client); !still || now != process {
		return false
	}
	b.mu.Lock()
	maps.Copy(b.entries, entries)
	b.mu.Unlock()
	*last = upTo
	return err == nil
}

// inSet says which process a client is connected to, and whether that is a member of a set now.
func inSet(ctx context.Context, client *mongo.Client) (process bson.ObjectID, member bool) {
	var hello struct {
		SetName         string
		TopologyVersion struct{ ProcessID bson.ObjectID }
	}
	err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	return hello.TopologyVersion.ProcessID, err == nil && hello.SetName != ""
}

// copyAfter returns the entries after a time that have numbered writes, and the time of the last one; with an error,
// those that it has read until then.
func copyAfter(ctx context.Context, oplog *mongo.Collection, db string, after bson.Timestamp) (map[bson.Timestamp][]operation, bson.Timestamp, error) {
	entries := map[bson.Timestamp][]operation{}
	cur, err := oplog.Find(ctx, bson.D{{Key: "ts", Value: bson.D{{Key: "$gt", Value: after}}}})
	if err != nil {
		return entries, after, err
	}
	defer func() { _ = cur.Close(ctx) }()
	for cur.Next(ctx) {
		var e struct {
			Op operation `bson:",inline"`
			TS bson.Timestamp
		}
		if bson.Unmarshal(cur.Current, &e) != nil {
			continue
		}
		ops := []operation{e.Op}
		if e.Op.Op == "c" {
			var many struct{ ApplyOps []operation }
			_ = bson.Unmarshal(e.Op.O, &many)
			ops = many.ApplyOps
		}
		for _, op := range ops {
			if op.NS == db+".numbers" {
				entries[e.TS] = ops
				break
			}
		}
		after = e.TS
	}
	return entries, after, cur.Err()
}

// numberOf says which write of which stream an operation is of.
func numberOf(op operation) (stream string, n int, ok bool) {
	var doc struct {
		ID     any `bson:"_id"`
		Stream string
		N      int
		Seq    []int
	}
	if bson.Unmarshal(op.O, &doc) != nil {
		return "", 0, false
	}
	id, _ := doc.ID.(string)
	switch {
	case doc.Stream != "":
		return doc.Stream, doc.N, true
	case doc.Seq != nil:
		stream, _, ok = strings.Cut(id, "/list/")
		return stream, doc.Seq[len(doc.Seq)-1], ok
	}
	// The stream's name, its number, and for one of several documents which one it is.
	parts := strings.Split(id, "/")
	for i := len(parts) - 1; i > 0 && !ok; i-- {
		if parts[i-1] == "n" {
			n, err := strconv.Atoi(parts[i])
			stream, ok = strings.Join(parts[:i-1], "/"), err == nil
			if op.Op == "d" {
				n += removes
			}
			return stream, n, ok
		}
	}
	return "", 0, false
}

// auditOplog looks whether the writes of each stream took effect in the order of their
// numbers, to whatever documents they were.
func (x *storm) auditOplog() {
	streams := map[string]*stream{}
	for _, s := range x.streams.all {
		streams[s.name] = s
	}
	last := map[string]int{}
	seen := 0
	stamps := slices.SortedFunc(maps.Keys(x.scribe.entries), func(a, b bson.Timestamp) int {
		return cmp.Or(cmp.Compare(a.T, b.T), cmp.Compare(a.I, b.I))
	})
	for _, ts := range stamps {
		for _, op := range x.scribe.entries[ts] {
			name, n, ok := numberOf(op)
			s := streams[name]
			if !ok || s == nil || n >= len(s.all) {
				continue
			}
			w := s.all[n]
			if w.form == insertMany && w.outcome == messages.Unknown {
				continue // It has no fence, and its reply has said so.
			}
			seen++
			if before, any := last[name]; any && (n < before || n == before && w.form != insertMany) {
				x.violate("order", "%s: by the oplog %d took effect after %d", name, n, before)
			}
			last[name] = n
		}
	}
	total := 0
	for _, s := range x.streams.all {
		total += len(s.all)
	}
	if seen < total/10 {
		x.t.Errorf("the order of %d of %d numbered writes only was found in the oplogs: the test shows little", seen, total)
	}
	x.t.Logf("the oplogs tell the order of %d of %d numbered writes", seen, total)
}
