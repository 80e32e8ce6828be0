package app

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// Collection is a handle to a collection, with the methods of the driver's. It is
// cheap to make, holds no connection, and is safe for concurrent use.
//
// Reads are spread over the members, and may therefore not see a write that was
// acknowledged just before: use a Session where they must. Writes take effect in the
// order in which they were accepted; OutcomeOf tells from a write's error what became
// of it. Everything that is passed is encoded before anything waits: the caller
// may change a map as soon as the method has returned, also with an error.
//
// An operation whose context has no deadline has the app's
// (Config.ReadTimeout, Config.WriteTimeout).
type Collection struct {
	scope
	parent  *Database
	name    string
	key     string
	verify  any
	bare    bool // errors only
	concern *writeconcern.WriteConcern
	err     error // what is wrong with the handle
}

// Name is the collection's name.
func (c *Collection) Name() string { return c.name }

// Database is the handle that the collection's was made from.
func (c *Collection) Database() *Database { return c.parent }

// From returns a handle whose reads are answered by those members.
func (c *Collection) From(from messages.From) *Collection {
	to := *c
	to.from = from
	return &to
}

// Tags returns a handle whose reads are answered by members with the tags of the first
// of these sets that any live member has (messages.Read.Tags). The primary is narrowed with FromAll only: it answers as
// the fallback whatever its tags.
func (c *Collection) Tags(sets ...messages.TagSet) *Collection {
	to := *c
	to.tags = messages.CloneTags(sets)
	return &to
}

// NoBatch returns a handle whose reads by _id are each sent alone (messages.Read.NoBatch).
// Those of other handles share a round trip where several wait for one host, and come
// back together: one of a very large document, or that must not be held up by others of
// such, is better off alone.
func (c *Collection) NoBatch() *Collection {
	to := *c
	to.noBatch = true
	return &to
}

// Key returns a handle whose writes take the lane of that key (messages.Write.Key): where
// Config.WriteLanes is more than 1, writes of one key keep their order, and those of
// different keys may overtake each other.
func (c *Collection) Key(key string) *Collection {
	to := *c
	to.key = key
	return &to
}

// Verify returns a handle for one write: filter matches exactly when that write
// has happened (messages.Write.Verify), such as {_id: 7, version: 12} for an update that
// sets version to 12. With it the outcome of a write whose reply was lost can be
// settled. The result of an update or delete that was settled so says that one
// document was matched; a FindOneAnd… has no document to return then, and its error
// says so, with the outcome Applied.
func (c *Collection) Verify(filter any) *Collection {
	to := *c
	to.verify = filter
	return &to
}

// ErrorsOnly returns a handle for writes of one document of which only their error is of
// interest (messages.Write.ErrorsOnly): the results of InsertOne, UpdateOne,
// ReplaceOne and DeleteOne say that they were acknowledged, and have no count and no _id.
// Before MongoDB 8.0 such updates, or deletes, share a command when they wait
// together; from then on all writes of one document do.
func (c *Collection) ErrorsOnly() *Collection {
	to := *c
	to.bare = true
	return &to
}

func (c *Collection) read(ctx context.Context, op messages.ReadOperation) (*messages.ReadReply, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.scope.read(ctx, c.asking(c.name, op))
}

// FindOne returns the first document that matches. Its error is
// mongo.ErrNoDocuments when there is none, the server's (mongo.CommandError), one of
// package messages, or the context's when that has ended.
func (c *Collection) FindOne(ctx context.Context, filter any, opts ...options.Lister[options.FindOneOptions]) *SingleResult {
	rep, err := c.read(ctx, messages.FindOne{Filter: filter, Options: opts})
	if err != nil {
		return c.app.single(nil, err)
	}
	return c.app.single(rep.Document, nil)
}

// Find returns a cursor over the documents that match.
func (c *Collection) Find(ctx context.Context, filter any, opts ...options.Lister[options.FindOptions]) (*Cursor, error) {
	o, err := resolve(opts)
	if err != nil {
		return nil, err
	}
	cur := &Cursor{maxAwait: o.MaxAwaitTime, tailable: o.CursorType != nil && *o.CursorType != options.NonTailable}
	if o.BatchSize != nil {
		cur.batchSize = *o.BatchSize
	}
	return c.cursor(ctx, cur, o.Comment, messages.Find{Filter: filter, Options: opts})
}

// Aggregate runs a pipeline and returns a cursor over its results. One with $out or
// $merge is refused with messages.ErrNotARead: send it as a command, with
// Database.RunWriteCommand.
func (c *Collection) Aggregate(ctx context.Context, pipeline any, opts ...options.Lister[options.AggregateOptions]) (*Cursor, error) {
	o, err := resolve(opts)
	if err != nil {
		return nil, err
	}
	cur := &Cursor{maxAwait: o.MaxAwaitTime}
	if o.BatchSize != nil {
		cur.batchSize = *o.BatchSize
	}
	return c.cursor(ctx, cur, o.Comment, messages.Aggregate{Pipeline: pipeline, Options: opts})
}

// cursor runs op and fills cur in with its reply.
func (c *Collection) cursor(ctx context.Context, cur *Cursor, comment any, op messages.ReadOperation) (*Cursor, error) {
	frozen, err := c.app.codec.freeze(comment) // It goes along with every getMore.
	if err != nil {
		return nil, err
	}
	rep, err := c.read(ctx, op)
	if err != nil {
		return nil, err
	}
	cur.comment = frozen
	cur.codec = c.app.codec
	cur.source = &member{c.scope}
	cur.fresh = true
	cur.take(rep)
	return cur, nil
}

// CountDocuments counts the documents that match, exactly.
func (c *Collection) CountDocuments(ctx context.Context, filter any, opts ...options.Lister[options.CountOptions]) (int64, error) {
	rep, err := c.read(ctx, messages.Count{Filter: filter, Options: opts})
	if err != nil {
		return 0, err
	}
	return rep.Count, nil
}

// EstimatedDocumentCount returns the collection's size from its metadata.
func (c *Collection) EstimatedDocumentCount(ctx context.Context, opts ...options.Lister[options.EstimatedDocumentCountOptions]) (int64, error) {
	rep, err := c.read(ctx, messages.EstimatedCount{Options: opts})
	if err != nil {
		return 0, err
	}
	return rep.Count, nil
}

// Distinct returns the distinct values of a field.
func (c *Collection) Distinct(ctx context.Context, fieldName string, filter any, opts ...options.Lister[options.DistinctOptions]) *DistinctResult {
	rep, err := c.read(ctx, messages.Distinct{Field: fieldName, Filter: filter, Options: opts})
	if err != nil {
		return &DistinctResult{err: err}
	}
	return &DistinctResult{values: rep.Values, codec: c.app.codec}
}
