package evenkeel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// form is what a numbered write does.
type form int

const (
	push       form = iota // an update that pushes the number onto the stream's list
	pushAndSee             // a find-and-modify that does
	insertOwn              // an insert with the number as its _id
	insert                 // an insert whose _id is generated
	count1                 // an upsert that counts how often it has happened
	insertMany             // an insert of three documents
	remove                 // a delete of what an insertOwn before has inserted
)

// forms are the forms of the writes of a stream, over and over. A remove is for the
// insertOwn five before it.
var forms = []form{push, insertOwn, push, count1, insert, pushAndSee, remove, push, insertMany, push, insertOwn, count1}

// removes is how far behind what it removes a remove is.
const removes = 5

// written is a numbered write and what became of it.
type written struct {
	by      *party
	n       int
	form    form
	verify  bool
	outcome messages.Outcome
	err     error
}

// stream is writes that are accepted in the order of their numbers, and must take effect
// in that order.
type stream struct {
	name string
	key  string

	mu  sync.Mutex
	all []*written // mu
}

// perList is how many numbers a list has, so that it does not grow without end.
const perList = 200

func (s *stream) list(n int) string      { return fmt.Sprintf("%s/list/%d", s.name, n/perList) }
func (s *stream) document(n int) string  { return fmt.Sprintf("%s/n/%d", s.name, n) }
func (s *stream) one(n, part int) string { return fmt.Sprintf("%s/n/%d/%d", s.name, n, part) }
func (s *stream) form(n int) form        { return forms[n%len(forms)] }
func byID(id any, more ...bson.E) bson.D { return append(bson.D{{Key: "_id", Value: id}}, more...) }
func update(op string, f string, v any) bson.D {
	return bson.D{{Key: op, Value: bson.D{{Key: f, Value: v}}}}
}

// write makes the write of a number.
func (s *stream) write(db string, w *written) *messages.Write {
	m := &messages.Write{Database: db, Collection: "numbers", Key: s.key}
	switch w.form {
	case push:
		m.Operation = messages.UpdateOne{
			Filter: byID(s.list(w.n)), Update: update("$push", "seq", w.n),
			Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(true)},
		}
		m.Verify = byID(s.list(w.n), bson.E{Key: "seq", Value: w.n})
	case pushAndSee:
		m.Operation = messages.FindOneAndUpdate{
			Filter: byID(s.list(w.n)), Update: update("$push", "seq", w.n),
			Options: []options.Lister[options.FindOneAndUpdateOptions]{options.FindOneAndUpdate().SetUpsert(true)},
		}
		m.Verify = byID(s.list(w.n), bson.E{Key: "seq", Value: w.n})
	case insertOwn:
		m.Operation = messages.InsertOne{Document: byID(s.document(w.n), bson.E{Key: "n", Value: w.n}, bson.E{Key: "note", Value: secretNote})}
		m.Verify = byID(s.document(w.n))
	case insert:
		m.Operation = messages.InsertOne{Document: bson.D{{Key: "stream", Value: s.name}, {Key: "n", Value: w.n}, {Key: "note", Value: secretNote}}}
	case count1:
		m.Operation = messages.UpdateOne{
			Filter: byID(s.document(w.n)), Update: append(update("$inc", "times", 1), update("$set", "note", secretNote)...),
			Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(true)},
		}
		m.Verify = byID(s.document(w.n), bson.E{Key: "times", Value: bson.D{{Key: "$gte", Value: 1}}})
	case insertMany:
		m.Operation = messages.InsertMany{Documents: []bson.D{byID(s.one(w.n, 0)), byID(s.one(w.n, 1)), byID(s.one(w.n, 2))}}
	case remove:
		m.Operation = messages.DeleteOne{Filter: byID(s.document(w.n - removes))}
		m.Verify = byID(s.document(w.n-removes), bson.E{Key: "n", Value: bson.D{{Key: "$exists", Value: false}}})
	}
	if w.form == remove || !w.verify {
		m.Verify = nil // Nothing in the collection shows that a document is gone.
	}
	m.ErrorsOnly = rand.IntN(3) == 0
	m.Deadline = time.Now().Add(deadline())
	return m
}

// deadline draws a write's: most are patient, some are not.
func deadline() time.Duration {
	switch rand.IntN(20) {
	case 0:
		return 20*time.Millisecond + rand.N(200*time.Millisecond)
	case 1, 2:
		return 500 * time.Millisecond
	}
	return 6 * time.Second
}

// streamList is the streams of a storm.
type streamList struct {
	mu  sync.Mutex
	all []*stream
}

// number writes a stream: by messages, some of which are on their way at one time, or by a
// Collection, one after the other.
func (x *storm) number(p *party, name string, byMessage bool) {
	s := &stream{name: name, key: name}
	x.streams.mu.Lock()
	x.streams.all = append(x.streams.all, s)
	x.streams.mu.Unlock()
	const window = 12
	free := make(chan struct{}, window)
	x.paced(p, 10*time.Millisecond, func() {
		s.mu.Lock()
		n := len(s.all)
		w := &written{by: p, n: n, form: s.form(n), verify: rand.IntN(2) == 0}
		s.all = append(s.all, w)
		s.mu.Unlock()
		if !byMessage {
			w.settle(x.call(p, s.write(x.c.db, w)))
			return
		}
		free <- struct{}{}
		m := s.write(x.c.db, w) // Its time begins now.
		x.send(p, m, func(reply any) {
			w.settle(reply.(*messages.WriteReply))
			<-free
		})
	})
	for range window { // All have been answered.
		free <- struct{}{}
	}
}

func (w *written) settle(rep *messages.WriteReply) { w.outcome, w.err = rep.Outcome, rep.Err }

// call makes a write by the method of a Collection.
func (x *storm) call(p *party, m *messages.Write) *messages.WriteReply {
	coll := p.Collection(m.Database, m.Collection).Key(m.Key)
	if m.Verify != nil {
		coll = coll.Verify(m.Verify)
	}
	if m.ErrorsOnly {
		coll = coll.ErrorsOnly()
	}
	due := x.due(m.Deadline)
	ctx, cancel := context.WithDeadline(context.Background(), m.Deadline)
	defer cancel()
	rep := &messages.WriteReply{}
	switch op := m.Operation.(type) {
	case messages.InsertOne:
		_, rep.Err = coll.InsertOne(ctx, op.Document, op.Options...)
	case messages.InsertMany:
		_, rep.Err = coll.InsertMany(ctx, op.Documents, op.Options...)
	case messages.UpdateOne:
		_, rep.Err = coll.UpdateOne(ctx, op.Filter, op.Update, op.Options...)
	case messages.DeleteOne:
		_, rep.Err = coll.DeleteOne(ctx, op.Filter, op.Options...)
	case messages.FindOneAndUpdate:
		res := coll.FindOneAndUpdate(ctx, op.Filter, op.Update, op.Options...)
		rep.Err = res.Err()
		if rep.Err == nil {
			rep.Document, _ = res.Raw()
		}
	}
	x.onTime(p, due, rep)
	x.keepsSecret(p, rep.Err)
	rep.Outcome = app.OutcomeOf(rep.Err)
	return rep
}

// write makes a write by a message or by a method, as it comes.
func (x *storm) write(p *party, m *messages.Write) *messages.WriteReply {
	if rand.IntN(2) == 0 {
		return x.call(p, m)
	}
	return askFor[*messages.WriteReply](x, p, m)
}

// entry is an amount that was put into an account's log, or taken out.
type entry struct {
	ID     string
	Amount int
}

// step is one write of a transfer.
type step struct {
	account string
	entry   entry
	outcome messages.Outcome
	taken   bool // it was tried
}

// money is a transfer: what is taken from one account is put into another, or else back.
type money struct{ debit, credit, refund step }

// bank is the accounts of a storm, and all transfers between them.
type bank struct {
	mu  sync.Mutex
	all []*money
}

const (
	accounts = 6
	riches   = 100
)

func account(epoch, k int) string { return fmt.Sprintf("account %d of epoch %d", k, epoch) }

// epochs is how many epochs of that length a storm may have, its end included.
func (x *storm) epochs(d time.Duration) int { return int((x.lasts+4*patience)/d) + 1 }

// epoch is the present one; the last lasts on.
func (x *storm) epoch(d time.Duration) int { return min(int(x.since()/d), x.epochs(d)-1) }

// open opens the accounts.
func (b *bank) open(x *storm) {
	var docs []any
	for e := range x.epochs(bankEpoch) {
		for k := range accounts {
			docs = append(docs, byID(account(e, k), bson.E{Key: "balance", Value: riches}, bson.E{Key: "log", Value: bson.A{}}))
		}
	}
	x.put("accounts", docs)
}

// put inserts documents before the storm.
func (x *storm) put(coll string, docs []any) {
	x.judging(func(db *mongo.Database) error {
		_, err := db.Collection(coll).InsertMany(soon(x.t), docs)
		return err
	})
}

// transfer moves money from one account to another, over and over.
func (x *storm) transfer(p *party) {
	x.paced(p, 20*time.Millisecond, func() {
		epoch := x.epoch(bankEpoch)
		from := rand.IntN(accounts)
		to := (from + 1 + rand.IntN(accounts-1)) % accounts
		x.bank.mu.Lock()
		id, amount := len(x.bank.all), 1+rand.IntN(9)
		m := &money{
			debit:  step{account: account(epoch, from), entry: entry{fmt.Sprintf("%d/debit", id), -amount}},
			credit: step{account: account(epoch, to), entry: entry{fmt.Sprintf("%d/credit", id), amount}},
			refund: step{account: account(epoch, from), entry: entry{fmt.Sprintf("%d/refund", id), amount}},
		}
		x.bank.all = append(x.bank.all, m)
		x.bank.mu.Unlock()
		if x.take(p, &m.debit) == messages.Applied && x.take(p, &m.credit) == messages.NotApplied {
			x.take(p, &m.refund)
		}
	})
}

func (s *step) update() (filter, change bson.D) {
	return byID(s.account), bson.D{
		{Key: "$inc", Value: bson.D{{Key: "balance", Value: s.entry.Amount}}}, {Key: "$push", Value: bson.D{{Key: "log", Value: s.entry}}},
	}
}

// take takes a step of a transfer.
func (x *storm) take(p *party, s *step) messages.Outcome {
	filter, change := s.update()
	m := &messages.Write{
		Database: x.c.db, Collection: "accounts", Key: s.account, Deadline: time.Now().Add(deadline()),
		Operation: messages.UpdateOne{Filter: filter, Update: change},
	}
	if rand.IntN(2) == 0 {
		m.Verify = byID(s.account, bson.E{Key: "log.id", Value: s.entry.ID})
	}
	s.taken = true
	s.outcome = x.write(p, m).Outcome
	return s.outcome
}
