package master

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// wire is a lane's way to the set. Its methods are called by one goroutine at a time.
type wire interface {
	// run executes a batch as one operation. What reached a server is recorded in
	// the context's attempts.
	run(ctx context.Context, b *batch) result
	// fence executes a write that changes nothing and returns when a majority has
	// it: from then on, no earlier attempt with a transaction number is executed any
	// more. It returns errNoFence where there is no such thing.
	fence(ctx context.Context, ns namespace) error
	// find calls each with the documents that a majority has, the fence's effects
	// included.
	find(ctx context.Context, ns namespace, filter any, want want, each func(bson.Raw)) error
	// token stands for the latest write.
	token() messages.Token
	// bulkWrites reports whether the primary, as last heard of, knows the bulkWrite
	// command.
	bulkWrites() bool
	// end gives the session back.
	end()
}

// want is how much of the documents that match is asked for.
type want uint8

const (
	wantOne want = iota // the _id of one of them
	wantIDs             // the _ids of all of them
)

// result is what the driver made of an operation.
type result struct {
	err error
	// value is the driver's own result.
	value any
	// document is what a find-and-modify or a command returned; none says that the
	// former matched nothing.
	document bson.Raw
	none     bool
}

// sessionWire is the real wire: one explicit driver session, whose transaction
// numbers rise with every write, so that a server that has executed one refuses an
// earlier one that comes late.
//
// The session is never replaced. A new one would start a numbering of its own, and
// nothing would keep a straggler of the old one from taking effect after it.
//
// On a standalone server there are no transaction numbers, and the attempts show it:
// outcomes are as true, only that a lost reply leaves them Unknown with the
// order open, and that nothing is settled.
type sessionWire struct {
	client  *mongo.Client
	session *mongo.Session
	version func() int32 // the primary's wire version
	// verbatim says that the driver's own registry encodes what is encoded already.
	verbatim bool
	// colls has the handles that were used: the driver's take as long to make as all of
	// the rest that is not the server's or the driver's.
	colls map[namespace]*mongo.Collection
}

// maxColls is how many handles are kept.
const maxColls = 256

func newSessionWire(client *mongo.Client, version func() int32) *sessionWire {
	return &sessionWire{client: client, version: version, colls: map[namespace]*mongo.Collection{}}
}

// collection returns a handle for a write.
func (w *sessionWire) collection(it *item) *mongo.Collection {
	ns := namespace{it.Cmd.Database, it.Cmd.Collection}
	if it.WriteConcern != nil {
		return w.client.Database(ns.database).Collection(ns.collection, options.Collection().SetWriteConcern(it.WriteConcern))
	}
	coll := w.colls[ns]
	if coll == nil {
		if len(w.colls) >= maxColls {
			clear(w.colls)
		}
		coll = w.client.Database(ns.database).Collection(ns.collection)
		w.colls[ns] = coll
	}
	return coll
}

// encoded is a document as the driver copies it with the least ado.
func (w *sessionWire) encoded(doc any) any {
	if raw, ok := doc.(bson.Raw); ok && w.verbatim {
		return command.Verbatim(raw)
	}
	return doc
}

func (w *sessionWire) bulkWrites() bool { return w.version() >= bulkWireVersion }

// within puts the lane's session into ctx. It is made at first use: it needs no server, only a
// client that is not closed. It is not causally consistent, which would
// concern reads only.
func (w *sessionWire) within(ctx context.Context) (context.Context, error) {
	if w.session == nil {
		s, err := w.client.StartSession(options.Session().SetCausalConsistency(false))
		if err != nil {
			return nil, fmt.Errorf("starting the lane's session: %w", err)
		}
		w.session = s
	}
	return mongo.NewSessionContext(ctx, w.session), nil
}

func (w *sessionWire) run(ctx context.Context, b *batch) result {
	ctx, err := w.within(ctx)
	if err != nil {
		return result{err: err}
	}
	it := b.first()
	if b.kind == bulk {
		opts := options.ClientBulkWrite().SetVerboseResults(!b.errorsOnly())
		if it.WriteConcern != nil {
			opts.SetWriteConcern(it.WriteConcern)
		}
		_, err := w.client.BulkWrite(ctx, b.bulkWrites(), opts)
		return result{err: err}
	}
	if it.Cmd.Class == command.Other {
		op, ok := it.Cmd.Operation.(messages.Command)
		if !ok {
			return result{err: unknownOperation(it.Cmd.Operation)}
		}
		return runCommand(ctx, w.client.Database(it.Cmd.Database), op.Document)
	}
	coll := w.collection(it)
	switch b.kind {
	case inserts:
		docs := make([]any, len(b.items))
		for i, it := range b.items {
			doc, _ := documentOf(it.Cmd.Operation)
			docs[i] = w.encoded(doc)
		}
		res, err := coll.InsertMany(ctx, docs)
		return result{value: res, err: err}
	case updates, deletes:
		_, err := coll.BulkWrite(ctx, b.models())
		return result{err: err}
	}
	return w.runOne(ctx, coll, it.Cmd.Operation)
}

func (w *sessionWire) runOne(ctx context.Context, coll *mongo.Collection, operation messages.WriteOperation) result {
	var res result
	var single *mongo.SingleResult
	switch op := operation.(type) {
	case messages.InsertOne:
		res.value, res.err = coll.InsertOne(ctx, w.encoded(op.Document), op.Options...)
	case messages.InsertMany:
		res.value, res.err = coll.InsertMany(ctx, op.Documents, op.Options...)
	case messages.UpdateOne:
		res.value, res.err = coll.UpdateOne(ctx, w.encoded(op.Filter), op.Update, op.Options...)
	case messages.UpdateMany:
		res.value, res.err = coll.UpdateMany(ctx, op.Filter, op.Update, op.Options...)
	case messages.ReplaceOne:
		res.value, res.err = coll.ReplaceOne(ctx, w.encoded(op.Filter), op.Replacement, op.Options...)
	case messages.DeleteOne:
		res.value, res.err = coll.DeleteOne(ctx, w.encoded(op.Filter), op.Options...)
	case messages.DeleteMany:
		res.value, res.err = coll.DeleteMany(ctx, op.Filter, op.Options...)
	case messages.FindOneAndUpdate:
		single = coll.FindOneAndUpdate(ctx, op.Filter, op.Update, op.Options...)
	case messages.FindOneAndReplace:
		single = coll.FindOneAndReplace(ctx, op.Filter, op.Replacement, op.Options...)
	case messages.FindOneAndDelete:
		single = coll.FindOneAndDelete(ctx, op.Filter, op.Options...)
	default:
		res.err = unknownOperation(operation)
	}
	if single != nil {
		res.document, res.err = single.Raw()
		if errors.Is(res.err, mongo.ErrNoDocuments) {
			res.none, res.err = true, nil
		}
	}
	return res
}

// runCommand sends the caller's own command. The driver adds a maxTimeMS from the
// context to it, and the server refuses a command that has two.
func runCommand(ctx context.Context, db *mongo.Database, document any) result {
	if doc, ok := document.(bson.Raw); ok {
		if ms, ok := doc.Lookup("maxTimeMS").AsInt64OK(); ok && ms > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
			defer cancel()
			document = without(doc, "maxTimeMS")
		}
	}
	doc, err := db.RunCommand(ctx, document).Raw()
	return result{document: doc, err: err}
}

// without returns the document without one of its fields.
func without(doc bson.Raw, key string) bson.Raw {
	elems, err := doc.Elements()
	if err != nil {
		return doc
	}
	var rest []byte
	for _, e := range elems {
		if e.Key() != key {
			rest = append(rest, e...)
		}
	}
	out := make(bson.Raw, 4, len(rest)+5)
	binary.LittleEndian.PutUint32(out, uint32(len(rest)+5))
	return append(append(out, rest...), 0)
}

func unknownOperation(op messages.WriteOperation) error {
	return &messages.InvalidError{Field: "Operation", Err: fmt.Errorf("%T is not a write that can be sent", op)}
}

func (w *sessionWire) fence(ctx context.Context, ns namespace) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	record := &attempts{shape: one, cancel: cancel}
	ctx, err := w.within(mongoconn.WithRecorder(ctx, record))
	if err != nil {
		return err
	}
	coll := w.client.Database(ns.database).Collection(ns.collection, options.Collection().SetWriteConcern(writeconcern.Majority()))
	// A fresh ObjectID matches nothing, and an update that matches nothing writes
	// nothing and makes no collection.
	_, err = coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: bson.NewObjectID()}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "fence", Value: true}}}})
	if err != nil {
		return fmt.Errorf("fencing: %w", err)
	}
	if !fenced(record.all()) {
		return errNoFence
	}
	return nil
}

func (w *sessionWire) find(ctx context.Context, ns namespace, filter any, want want, each func(bson.Raw)) error {
	// A causal session that starts at the fence's operation time: the member that
	// answers has to have got that far, and committed it.
	s, err := w.client.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil {
		return fmt.Errorf("reading what has happened: %w", err)
	}
	defer s.EndSession(context.WithoutCancel(ctx))
	if t := w.session.ClusterTime(); t != nil {
		_ = s.AdvanceClusterTime(t) // It fails only on an ended session.
	}
	if t := w.session.OperationTime(); t != nil {
		_ = s.AdvanceOperationTime(t)
	}
	coll := w.client.Database(ns.database).Collection(ns.collection,
		options.Collection().SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()))
	opts := options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}})
	if want == wantOne {
		opts.SetLimit(1)
	}
	cursor, err := coll.Find(mongo.NewSessionContext(ctx, s), filter, opts)
	if err != nil {
		return fmt.Errorf("reading what has happened: %w", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for cursor.Next(mongo.NewSessionContext(ctx, s)) {
		each(cursor.Current)
	}
	return cursor.Err()
}

func (w *sessionWire) token() messages.Token {
	if w.session == nil {
		return messages.Token{}
	}
	at := w.session.OperationTime()
	if at == nil {
		return messages.Token{}
	}
	return messages.Token{ClusterTime: w.session.ClusterTime(), OperationTime: *at}
}

func (w *sessionWire) end() {
	if w.session != nil {
		w.session.EndSession(context.Background())
		w.session = nil
	}
}
