package evenkeel_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// mostUnknown is the largest part of the writes whose outcome may be Unknown, and a few more
// that one fault may bring about. A tenth of them have deadlines that are shorter than most
// faults. To it comes what the machine has let everything wait for, as with late.
const mostUnknown, fewUnknown = 0.05, 20

// audit holds everything against what the servers have.
func (x *storm) audit() {
	x.settleLate()
	x.auditStreams()
	x.auditOplog()
	x.auditRegisters()
	x.auditBank()
	x.auditCounters()
	x.auditCopies()
	most := min(0.5, mostUnknown+3*time.Duration(x.stalled.Load()).Seconds()/x.since().Seconds())
	if n, outcomes := x.outcomes(); float64(outcomes[messages.Unknown]) > most*float64(n)+fewUnknown {
		x.violate("unknown", "%d of %d writes are unknown", outcomes[messages.Unknown], n)
	}
}

// settleLate makes what was found out later of numbered writes their outcome, which is then held against
// what there is like any other.
func (x *storm) settleLate() {
	for _, s := range x.streams.all {
		for _, w := range s.all {
			var unknown *messages.UnknownOutcomeError
			if w.outcome != messages.Unknown || !errors.As(w.err, &unknown) {
				continue
			}
			if o, ok := w.by.settled[unknown.Write]; ok {
				w.outcome = o
				x.late++
			}
		}
	}
}

// all reads documents from the primary.
func (x *storm) all(coll string, filter any, docs any) {
	x.judging(func(db *mongo.Database) error {
		cur, err := db.Collection(coll).Find(soon(x.t), filter)
		if err != nil {
			return err
		}
		return cur.All(soon(x.t), docs)
	})
}

// judging lends a client of the bare driver, while there are no faults.
func (x *storm) judging(do func(db *mongo.Database) error) {
	client := x.c.driver(x.t)
	err := do(client.Database(x.c.db))
	_ = client.Disconnect(soon(x.t))
	if err != nil {
		x.t.Fatal(err)
	}
}

// mustBeTrue holds an outcome against how often the write is there.
func (x *storm) mustBeTrue(sort, what string, outcome messages.Outcome, err error, there int) {
	switch {
	case there > 1:
		x.violate(sort, "%s is there %d times (%v: %v)", what, there, outcome, err)
	case outcome == messages.Applied && there == 0:
		x.violate(sort, "%s was acknowledged, and is not there", what)
	case outcome == messages.NotApplied && there != 0:
		x.violate(sort, "%s was reported as not applied, and is there: %v", what, err)
	case outcome == messages.Partial:
		x.violate(sort, "%s is partly applied: %v", what, err)
	}
}

// outcomes counts the writes of the storm by their outcome.
func (x *storm) outcomes() (n int, by map[messages.Outcome]int) {
	by = map[messages.Outcome]int{}
	for _, s := range x.streams.all {
		for _, w := range s.all {
			by[w.outcome]++
		}
	}
	for _, c := range x.registers.all {
		by[c.outcome]++
	}
	for _, m := range x.bank.all {
		for _, s := range []step{m.debit, m.credit, m.refund} {
			if s.taken {
				by[s.outcome]++
			}
		}
	}
	for _, k := range by {
		n += k
	}
	return n, by
}

// found is what there is of the numbered writes.
type found struct {
	ids   map[string]int   // documents, and how often each was counted
	pairs map[string]int   // documents with a generated _id, by stream and number
	lists map[string][]int // by stream and number
}

func (x *storm) find() *found {
	f := &found{ids: map[string]int{}, pairs: map[string]int{}, lists: map[string][]int{}}
	var docs []struct {
		ID     any `bson:"_id"`
		Stream string
		N      int
		Seq    []int
		Times  *int
	}
	x.all("numbers", bson.D{}, &docs)
	for _, d := range docs {
		id, _ := d.ID.(string)
		switch {
		case d.Stream != "":
			f.pairs[fmt.Sprintf("%s/n/%d", d.Stream, d.N)]++
		case d.Seq != nil:
			f.lists[id] = d.Seq
		case d.Times != nil:
			f.ids[id] = *d.Times
		default:
			f.ids[id] = 1
		}
	}
	return f
}

// auditStreams judges the numbered writes.
func (x *storm) auditStreams() {
	f := x.find()
	for _, s := range x.streams.all {
		pushed := map[int]int{}
		for from := 0; from < len(s.all); from += perList {
			seq := f.lists[s.list(from)]
			for i, n := range seq {
				pushed[n]++
				if i > 0 && n <= seq[i-1] {
					x.violate("order", "%s: %d took effect after %d", s.name, n, seq[i-1])
				}
			}
		}
		for _, w := range s.all {
			what := fmt.Sprintf("write %d of %s", w.n, s.name)
			switch w.form {
			case push, pushAndSee:
				x.mustBeTrue("push", what, w.outcome, w.err, pushed[w.n])
			case count1:
				x.mustBeTrue("upsert", what, w.outcome, w.err, f.ids[s.document(w.n)])
			case insert:
				x.mustBeTrue("insert", what, w.outcome, w.err, f.pairs[s.document(w.n)])
			case insertOwn:
				x.auditRemoved(s, w, f.ids[s.document(w.n)])
			case insertMany:
				n := f.ids[s.one(w.n, 0)] + f.ids[s.one(w.n, 1)] + f.ids[s.one(w.n, 2)]
				switch {
				case w.outcome == messages.Applied && n != 3, w.outcome == messages.NotApplied && n != 0, w.outcome == messages.Partial && n == 0:
					x.violate("insertMany", "%s: %v (%v), and %d of 3 documents are there", what, w.outcome, w.err, n)
				}
			}
		}
	}
}

// auditRemoved judges an insert that a later write removes again, and that one.
func (x *storm) auditRemoved(s *stream, w *written, there int) {
	what := fmt.Sprintf("write %d of %s", w.n, s.name)
	if w.n+removes >= len(s.all) || s.all[w.n+removes].form != remove {
		x.mustBeTrue("insert", what, w.outcome, w.err, there)
		return
	}
	r := s.all[w.n+removes]
	switch {
	case there != 0 && w.outcome == messages.NotApplied:
		x.violate("insert", "%s was reported as not applied, and is there: %v", what, w.err)
	case there != 0 && r.outcome == messages.Applied:
		x.violate("remove", "%s is there, and its removal was acknowledged", what)
	case there == 0 && w.outcome == messages.Applied && r.outcome == messages.NotApplied:
		x.violate("remove", "%s was acknowledged and is not there, and its removal was reported as not applied: %v", what, r.err)
	}
}

// auditBank judges the transfers, ends those that were left open, and counts the money.
func (x *storm) auditBank() {
	logged := func() (entries map[string]int, money int) {
		entries = map[string]int{}
		var docs []struct {
			ID      string `bson:"_id"`
			Balance int
			Log     []entry
		}
		x.all("accounts", bson.D{}, &docs)
		for _, d := range docs {
			sum := riches
			for _, e := range d.Log {
				entries[e.ID]++
				sum += e.Amount
			}
			if sum != d.Balance {
				x.violate("money", "%s has %d, and by its log %d", d.ID, d.Balance, sum)
			}
			money += d.Balance
		}
		return entries, money
	}
	entries, _ := logged()
	open := 0
	for _, m := range x.bank.all {
		there := [3]bool{}
		for i, s := range []step{m.debit, m.credit, m.refund} {
			n := entries[s.entry.ID]
			there[i] = n > 0
			if !s.taken && n > 0 {
				x.violate("money", "%s was never asked for, and is there", s.entry.ID)
			} else if s.taken {
				x.mustBeTrue("money", fmt.Sprintf("%s of %s", s.entry.ID, s.account), s.outcome, nil, n)
			}
		}
		switch {
		case there[1] && there[2]:
			x.violate("money", "%s and %s have both happened", m.credit.entry.ID, m.refund.entry.ID)
		case there[0] && !there[1] && !there[2]:
			open++
			filter, change := m.refund.update()
			x.judging(func(db *mongo.Database) error {
				_, err := db.Collection("accounts").UpdateOne(soon(x.t), filter, change)
				return err
			})
		}
	}
	if _, money := logged(); money != riches*accounts*x.epochs(bankEpoch) {
		x.violate("money", "there is %d, and was %d", money, riches*accounts*x.epochs(bankEpoch))
	}
	x.t.Logf("%d transfers, of which %d were left open", len(x.bank.all), open)
}

// auditCounters asks the servers whether they have executed what was sent to others.
func (x *storm) auditCounters() {
	for _, m := range x.c.set.Members() {
		c := m.Counters()
		for _, name := range x.parties.names() {
			if a := c.Astray[name]; a.Reads != 0 || a.Writes != 0 {
				x.violate("identity", "%v has executed %d reads and %d writes of %q that were sent to other addresses", m, a.Reads, a.Writes, name)
			}
		}
	}
	c := x.stranger.Member(0).Counters()
	for _, name := range x.parties.names() {
		if a := c.ByApp[name]; a.Reads != 0 || a.Writes != 0 {
			x.violate("identity", "the member of another set has executed %d reads and %d writes of %q", a.Reads, a.Writes, name)
		}
	}
}

// auditCopies compares the members' data: what only one has was written to it alone.
func (x *storm) auditCopies() {
	x.c.awaitSteady(x.t)
	colls := []string{"players", "sessions", "numbers", "registers", "accounts", "calm"}
	primary := x.c.primary(x.t)
	want := x.copies(primary.Host(), colls)
	for _, m := range x.c.set.Members() {
		if m == primary || !m.Running() {
			continue
		}
		for i, docs := range x.copies(m.Host(), colls) {
			if !slices.EqualFunc(docs, want[i], func(a, b bson.Raw) bool { return bytes.Equal(a, b) }) {
				x.violate("copies", "%v and the primary differ in %s: %d documents and %d", m, colls[i], len(docs), len(want[i]))
			}
		}
	}
}

// copies reads whole collections from one member, in the order of their _ids.
func (x *storm) copies(host string, colls []string) [][]bson.Raw {
	client := x.c.driver(x.t, func(o *options.ClientOptions) { o.SetHosts([]string{host}).SetDirect(true).ReplicaSet = nil })
	defer func() { _ = client.Disconnect(soon(x.t)) }()
	var out [][]bson.Raw
	for _, name := range colls {
		cur, err := client.Database(x.c.db).Collection(name).Find(soon(x.t), bson.D{})
		var docs []bson.Raw
		if err == nil {
			err = cur.All(soon(x.t), &docs)
		}
		if err != nil {
			x.t.Fatal(err)
		}
		slices.SortFunc(docs, func(a, b bson.Raw) int {
			return strings.Compare(a.Lookup("_id").String(), b.Lookup("_id").String())
		})
		out = append(out, docs)
	}
	return out
}
