package master

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

func TestMain(m *testing.M) {
	// The actor framework's dead letter throttle ends within its interval of 10 ms.
	goleak.VerifyTestMain(m)
}

// plainEncoder encodes what these tests send.
type plainEncoder struct{}

func (plainEncoder) Write(m *messages.Write) (*command.Write, error) {
	w := &command.Write{Database: m.Database, Collection: m.Collection, Operation: m.Operation, Bytes: 100}
	raw := func(v any) bson.Raw {
		doc, err := bson.Marshal(v)
		if err != nil {
			panic(err)
		}
		return doc
	}
	if m.Verify != nil {
		w.Verify = raw(m.Verify)
	}
	switch op := m.Operation.(type) {
	case nil:
		return nil, &messages.InvalidError{Field: "Operation", Err: errors.New("it is nil")}
	case messages.InsertOne:
		w.Class, w.Plain = command.Insert, len(op.Options) == 0
		doc := raw(op.Document)
		if _, err := doc.LookupErr("_id"); err != nil {
			d := op.Document.(bson.D)
			doc, w.IDGenerated = raw(append(bson.D{{Key: "_id", Value: bson.NewObjectID()}}, d...)), true
		}
		w.ID, w.Bytes = doc.Lookup("_id"), len(doc)
		w.Operation = messages.InsertOne{Document: doc, Options: op.Options}
	case messages.InsertMany:
		w.Class = command.Multi
		var docs []bson.Raw
		for _, d := range op.Documents.([]bson.D) {
			docs = append(docs, raw(d))
		}
		w.Operation = messages.InsertMany{Documents: docs, Options: op.Options}
	case messages.UpdateOne:
		w.Class, w.Plain = command.Single, len(op.Options) == 0
	case messages.ReplaceOne:
		w.Class, w.Plain = command.Single, len(op.Options) == 0
	case messages.DeleteOne:
		w.Class, w.Plain = command.Single, len(op.Options) == 0
	case messages.UpdateMany, messages.DeleteMany:
		w.Class = command.Multi
	case messages.FindOneAndUpdate, messages.FindOneAndReplace, messages.FindOneAndDelete:
		w.Class = command.FindAndModify
	case messages.Command:
		w.Class = command.Other
		w.Operation = messages.Command{Document: raw(op.Document)}
	}
	return w, nil
}

func (plainEncoder) InsertedID(id bson.RawValue) any {
	n, _ := id.AsInt64OK()
	return n
}

// fakeWire is a wire whose server is a function. It records in which order
// documents were executed.
type fakeWire struct {
	// serve executes one operation; it records its attempts in a.
	serve func(ctx context.Context, b *batch, a *attempts) result
	// fenceErr and stored answer a fence and a read; fenced is told of every fence.
	fenceErr error
	fenced   func() error // in place of fenceErr
	stored   []bson.Raw
	// found answers a read in place of stored.
	found func(ns namespace, filter any) []bson.Raw
	// young says that the primary knows bulkWrite.
	young bool

	mu     sync.Mutex
	ran    [][]*item
	fences []namespace
	ended  bool
}

func (w *fakeWire) run(ctx context.Context, b *batch) result {
	w.mu.Lock()
	w.ran = append(w.ran, b.items)
	w.mu.Unlock()
	if w.serve == nil {
		return succeed(ctx, b, b.attempts)
	}
	return w.serve(ctx, b, b.attempts)
}

func (w *fakeWire) fence(ctx context.Context, ns namespace) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fences = append(w.fences, ns)
	if w.fenced != nil {
		return w.fenced()
	}
	if w.fenceErr != nil {
		return w.fenceErr
	}
	return ctx.Err()
}

func (w *fakeWire) find(_ context.Context, ns namespace, filter any, _ want, each func(bson.Raw)) error {
	docs := w.stored
	if w.found != nil {
		docs = w.found(ns, filter)
	}
	for _, doc := range docs {
		each(doc)
	}
	return nil
}

func (w *fakeWire) token() messages.Token {
	return messages.Token{OperationTime: bson.Timestamp{T: 7}}
}

func (w *fakeWire) bulkWrites() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.young
}

func (w *fakeWire) end() { w.ended = true }

func (w *fakeWire) sent() [][]*item {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]*item(nil), w.ran...)
}

// try records one attempt with its end.
func try(a *attempts, s state, err error) {
	tryNumbered(a, true, s, err)
}

func tryNumbered(a *attempts, numbered bool, s state, err error) {
	a.mu.Lock()
	id := int64(len(a.list) + 1)
	a.mu.Unlock()
	a.start(attempt{id: id, fenced: numbered})
	a.end(id, s, err)
}

// succeed is a server that has no trouble.
func succeed(_ context.Context, b *batch, a *attempts) result {
	try(a, replied, nil)
	if len(b.items) > 1 {
		many := &mongo.InsertManyResult{Acknowledged: true}
		for _, it := range b.items {
			many.InsertedIDs = append(many.InsertedIDs, it.Cmd.ID.AsInt64())
		}
		return result{value: many}
	}
	return result{value: &mongo.UpdateResult{MatchedCount: 1, Acknowledged: true}}
}

// networkError is what the driver reports of a reply that was not read.
func networkError() error {
	return driver.Error{Message: "connection reset", Labels: []string{driver.NetworkError}}
}

// serverError is an ok: 0 reply as the command monitor shows it.
func serverError(code int32, labels ...string) error {
	return driver.Error{Code: code, Message: "no", Labels: labels, Raw: []byte{5, 0, 0, 0, 0}}
}

// rig is a master on a fake wire with what it told the world.
type rig struct {
	*Master
	t    *testing.T
	wire *fakeWire

	mu     sync.Mutex
	events []messages.Event
}

// newRig makes a master that is connected and has a primary.
func newRig(t *testing.T, cfg Config, wire *fakeWire) *rig {
	t.Helper()
	r := rigWithoutPrimary(t, cfg, wire)
	r.PrimaryChanged("a:1")
	return r
}

func rigWithoutPrimary(t *testing.T, cfg Config, wire *fakeWire) *rig {
	t.Helper()
	r := &rig{t: t, wire: wire}
	if cfg.Encoder == nil {
		cfg.Encoder = plainEncoder{}
	}
	cfg.Emit = func(e messages.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	m, err := New(newSystem(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Master = m
	if err := m.attach(opener(wire)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return r
}

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(10*time.Millisecond),
	)
}

func (r *rig) seen() []messages.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]messages.Event(nil), r.events...)
}

// ask submits a write and returns where its reply comes. A second reply fails the
// test.
func (r *rig) ask(w *messages.Write) (reply chan *messages.WriteReply, cancel func(error)) {
	reply = make(chan *messages.WriteReply, 1)
	cancel = r.Submit(w, func(rep *messages.WriteReply) {
		select {
		case reply <- rep:
		default:
			r.t.Errorf("a second reply: %+v", rep)
		}
	})
	return reply, cancel
}

// get waits for a reply.
func (r *rig) get(reply chan *messages.WriteReply) *messages.WriteReply {
	r.t.Helper()
	select {
	case rep := <-reply:
		return rep
	case <-time.After(30 * time.Second):
		r.t.Fatal("no reply")
		return nil
	}
}

func insert(n int) *messages.Write {
	return &messages.Write{Database: "game", Collection: "log", Correlation: n,
		Operation: messages.InsertOne{Document: bson.D{{Key: "_id", Value: n}}}}
}

func insertAnonymous() *messages.Write {
	return &messages.Write{Database: "game", Collection: "log",
		Operation: messages.InsertOne{Document: bson.D{{Key: "x", Value: 1}}}}
}

func update(verify any) *messages.Write {
	return &messages.Write{Database: "game", Collection: "players", Verify: verify, Operation: messages.UpdateOne{
		Filter: bson.D{{Key: "_id", Value: 1}}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 2}}}}}}
}

func updateMany() *messages.Write {
	return &messages.Write{Database: "game", Collection: "players", Operation: messages.UpdateMany{
		Filter: bson.D{}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 2}}}}}}
}

func until(w *messages.Write, d time.Duration) *messages.Write {
	w.Deadline = time.Now().Add(d)
	return w
}

func mustMarshal(v any) bson.Raw {
	doc, err := bson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return doc
}

// numbers are the Correlations in execution order.
func numbers(ran [][]*item) []int {
	var ns []int
	for _, items := range ran {
		for _, it := range items {
			ns = append(ns, int(it.Cmd.ID.AsInt64()))
		}
	}
	return ns
}

func opener(w *fakeWire) func() wire { return func() wire { return w } }
