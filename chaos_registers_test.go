package evenkeel_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// A register is a document with a value, which several clients of several apps read, set, and
// compare and set, each by one find-and-modify. All of these write, reads too: one that changes nothing
// could be answered by a primary that has been replaced and does not know it yet. Each
// leaves its name in the document, which tells in the end what has happened.

type registerOp int

const (
	readRegister registerOp = iota
	setRegister
	compareAndSet
)

// registerCall is one call, and what is known of it.
type registerCall struct {
	register  string
	client    int
	id        int
	op        registerOp
	old, next int // compareAndSet sets next where it finds old
	call, ret time.Duration
	outcome   messages.Outcome
	found     int // the value before
	known     bool
}

// registerBook is all calls of a storm.
type registerBook struct {
	mu  sync.Mutex
	all []*registerCall
}

const (
	registersAtOnce = 2
	registerValues  = 4
)

func register(epoch, k int) string { return fmt.Sprintf("register %d of epoch %d", k, epoch) }

// open makes the registers, all of which are 0.
func (b *registerBook) open(x *storm) {
	var docs []any
	for e := range x.epochs(registerEpoch) {
		for k := range registersAtOnce {
			docs = append(docs, byID(register(e, k), bson.E{Key: "value", Value: 0}, bson.E{Key: "calls", Value: bson.A{}}))
		}
	}
	x.put("registers", docs)
}

// useRegisters calls one register after the other.
func (x *storm) useRegisters(p *party, client int) {
	last := 0
	x.paced(p, 20*time.Millisecond, func() {
		c := &registerCall{
			register: register(x.epoch(registerEpoch), rand.IntN(registersAtOnce)), client: client,
			op: registerOp(rand.IntN(3)), next: rand.IntN(registerValues), old: last,
		}
		b := &x.registers
		b.mu.Lock()
		c.id = len(b.all)
		b.all = append(b.all, c)
		b.mu.Unlock()
		m := &messages.Write{
			Database: x.c.db, Collection: "registers", Key: c.register, Deadline: time.Now().Add(deadline()),
			Operation: messages.FindOneAndUpdate{Filter: byID(c.register), Update: c.update(), Options: []options.Lister[options.FindOneAndUpdateOptions]{
				options.FindOneAndUpdate().SetProjection(bson.D{{Key: "value", Value: 1}}),
			}},
		}
		if rand.IntN(2) == 0 {
			m.Verify = byID(c.register, bson.E{Key: "calls", Value: c.id})
		}
		c.call = x.since()
		rep := x.write(p, m)
		c.ret, c.outcome = x.since(), rep.Outcome
		var doc struct{ Value *int }
		if c.outcome == messages.Applied && rep.Document != nil && bson.Unmarshal(rep.Document, &doc) == nil && doc.Value != nil {
			c.found, c.known = *doc.Value, true
			last = c.found
			if c.op == setRegister {
				last = c.next
			}
		}
	})
}

func (c *registerCall) update() any {
	value := any("$value")
	switch c.op {
	case readRegister:
		return update("$push", "calls", c.id)
	case setRegister:
		return append(update("$push", "calls", c.id), update("$set", "value", c.next)...)
	case compareAndSet:
		value = bson.D{{Key: "$cond", Value: bson.A{bson.D{{Key: "$eq", Value: bson.A{"$value", c.old}}}, c.next, "$value"}}}
	}
	return bson.A{bson.D{{Key: "$set", Value: bson.D{
		{Key: "value", Value: value}, {Key: "calls", Value: bson.D{{Key: "$concatArrays", Value: bson.A{"$calls", bson.A{c.id}}}}},
	}}}}
}

// model is what a register does.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		at := map[string]int{}
		for _, o := range history {
			name := o.Input.(*registerCall).register
			i, known := at[name]
			if !known {
				i = len(parts)
				at[name], parts = i, append(parts, nil)
			}
			parts[i] = append(parts[i], o)
		}
		return parts
	},
	Init: func() any { return 0 },
	Step: func(state, input, _ any) (bool, any) {
		value, c := state.(int), input.(*registerCall)
		if c.known && c.found != value {
			return false, state
		}
		if c.op == setRegister || c.op == compareAndSet && value == c.old {
			return true, c.next
		}
		return true, value
	},
	DescribeOperation: func(input, _ any) string { return input.(*registerCall).String() },
}

func (c *registerCall) String() string {
	what := [...]string{"read", fmt.Sprintf("set %d", c.next), fmt.Sprintf("set %d if %d", c.next, c.old)}[c.op]
	found := "?"
	if c.known {
		found = fmt.Sprint(c.found)
	}
	return fmt.Sprintf("%.4f–%.4f s, client %d, call %d: %s, found %s (%v)", c.call.Seconds(), c.ret.Seconds(), c.client, c.id, what, found, c.outcome)
}

// auditRegisters holds the calls against what the registers tell of them, and looks for an
// order in which all that have happened can have happened, each between its call and its
// return.
func (x *storm) auditRegisters() {
	var docs []struct {
		ID    string `bson:"_id"`
		Calls []int
	}
	x.all("registers", bson.D{}, &docs)
	there := map[int]int{}
	for _, d := range docs {
		for _, id := range d.Calls {
			there[id]++
		}
	}
	var history []porcupine.Operation
	for _, c := range x.registers.all {
		x.mustBeTrue("register", fmt.Sprintf("%s, %v", c.register, c), c.outcome, nil, there[c.id])
		if there[c.id] == 0 {
			continue
		}
		end := int64(c.ret)
		if c.outcome == messages.Unknown {
			end = math.MaxInt64 // Its effect may have been after the reply.
		}
		history = append(history, porcupine.Operation{ClientId: c.client, Input: c, Call: int64(c.call), Return: end})
	}
	for _, part := range model.Partition(history) {
		switch porcupine.CheckOperationsTimeout(model, part, patience) {
		case porcupine.Illegal:
			text := ""
			for _, o := range part {
				text += "\n" + o.Input.(*registerCall).String()
			}
			x.violate("linearizability", "%s: no order explains%s", part[0].Input.(*registerCall).register, text)
		case porcupine.Unknown:
			x.t.Logf("%s: whether its %d calls are linearizable was not found out in %v", part[0].Input.(*registerCall).register, len(part), patience)
		}
	}
}

func TestTheChaosModelTellsALinearizableHistoryFromAnother(t *testing.T) {
	call := func(op registerOp, old, next, found int, from, to time.Duration) porcupine.Operation {
		c := &registerCall{register: "r", op: op, old: old, next: next, found: found, known: found >= 0}
		return porcupine.Operation{Input: c, Call: int64(from), Return: int64(to)}
	}
	for _, tt := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"a read that overlaps a set", []porcupine.Operation{call(setRegister, 0, 2, 0, 1, 5), call(readRegister, 0, 0, 0, 2, 4)}, true},
		{"a read behind a set that finds what was before", []porcupine.Operation{call(setRegister, 0, 2, 0, 1, 5), call(readRegister, 0, 0, 0, 6, 7)}, false},
		{"one compareAndSet of two from one value", []porcupine.Operation{
			call(compareAndSet, 0, 1, 0, 1, 2), call(compareAndSet, 0, 2, 1, 3, 4), call(readRegister, 0, 0, 1, 5, 6),
		}, true},
		{"two of two", []porcupine.Operation{
			call(compareAndSet, 0, 1, 0, 1, 2), call(compareAndSet, 0, 2, 0, 3, 4), call(readRegister, 0, 0, 2, 5, 6),
		}, false},
		{"a set that has taken effect after its reply", []porcupine.Operation{
			call(setRegister, 0, 3, -1, 1, math.MaxInt64), call(readRegister, 0, 0, 0, 4, 5), call(readRegister, 0, 0, 3, 6, 7),
		}, true},
	} {
		if got := porcupine.CheckOperations(model, tt.history); got != tt.want {
			t.Errorf("%s: linearizable is %v", tt.name, got)
		}
	}
}
