package app

import (
	"context"
	"errors"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func (c *Collection) write(ctx context.Context, op messages.WriteOperation) (*messages.WriteReply, error) {
	if c.err != nil {
		return &messages.WriteReply{Outcome: messages.NotApplied, Err: c.err}, c.err
	}
	return c.scope.write(ctx, &messages.Write{
		Database: c.db, Collection: c.name, Operation: op,
		Key: c.key, Verify: c.verify, ErrorsOnly: c.bare, WriteConcern: c.concern,
	})
}

// resultOf is the driver's result in a reply. A write that was settled
// (Collection.Verify), or that wanted none (ErrorsOnly), has none of its own.
func resultOf[T any](rep *messages.WriteReply, err error, settled T) (*T, error) {
	res, _ := rep.Result.(*T)
	if res == nil && err == nil {
		res = &settled
	}
	return res, err
}

// updated is the result of an update or a replacement. Of one that is known to have
// happened, and of which no more is known, it says that one document was matched.
func (c *Collection) updated(rep *messages.WriteReply, err error) (*mongo.UpdateResult, error) {
	known := mongo.UpdateResult{Acknowledged: true}
	if !c.bare {
		known.MatchedCount, known.ModifiedCount = 1, 1
	}
	return resultOf(rep, err, known)
}

// deleted is the same for a delete.
func (c *Collection) deleted(rep *messages.WriteReply, err error) (*mongo.DeleteResult, error) {
	known := mongo.DeleteResult{Acknowledged: true}
	if !c.bare {
		known.DeletedCount = 1
	}
	return resultOf(rep, err, known)
}

// InsertOne inserts a document. One without an _id is given an ObjectID.
func (c *Collection) InsertOne(ctx context.Context, document any, opts ...options.Lister[options.InsertOneOptions]) (*mongo.InsertOneResult, error) {
	rep, err := c.write(ctx, messages.InsertOne{Document: document, Options: opts})
	return resultOf(rep, err, mongo.InsertOneResult{Acknowledged: true})
}

// InsertMany inserts documents: a slice of anything that encodes to one. With an
// error, the result holds the _ids of those that were inserted, where that is known.
func (c *Collection) InsertMany(ctx context.Context, documents any, opts ...options.Lister[options.InsertManyOptions]) (*mongo.InsertManyResult, error) {
	if reflect.ValueOf(documents).Kind() != reflect.Slice {
		return nil, &messages.InvalidError{Field: "Documents", Err: mongo.ErrNotSlice}
	}
	rep, err := c.write(ctx, messages.InsertMany{Documents: documents, Options: opts})
	return resultOf(rep, err, mongo.InsertManyResult{Acknowledged: true})
}

// UpdateOne updates at most one document.
func (c *Collection) UpdateOne(ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateOneOptions]) (*mongo.UpdateResult, error) {
	rep, err := c.write(ctx, messages.UpdateOne{Filter: filter, Update: update, Options: opts})
	return c.updated(rep, err)
}

// UpdateByID updates the document with that _id.
func (c *Collection) UpdateByID(ctx context.Context, id, update any, opts ...options.Lister[options.UpdateOneOptions]) (*mongo.UpdateResult, error) {
	if id == nil {
		return nil, &messages.InvalidError{Field: "ID", Err: mongo.ErrNilValue}
	}
	return c.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, update, opts...)
}

// UpdateMany updates all documents that match.
func (c *Collection) UpdateMany(ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateManyOptions]) (*mongo.UpdateResult, error) {
	rep, err := c.write(ctx, messages.UpdateMany{Filter: filter, Update: update, Options: opts})
	return c.updated(rep, err)
}

// ReplaceOne replaces at most one document.
func (c *Collection) ReplaceOne(ctx context.Context, filter, replacement any, opts ...options.Lister[options.ReplaceOptions]) (*mongo.UpdateResult, error) {
	rep, err := c.write(ctx, messages.ReplaceOne{Filter: filter, Replacement: replacement, Options: opts})
	return c.updated(rep, err)
}

// DeleteOne deletes at most one document.
func (c *Collection) DeleteOne(ctx context.Context, filter any, opts ...options.Lister[options.DeleteOneOptions]) (*mongo.DeleteResult, error) {
	rep, err := c.write(ctx, messages.DeleteOne{Filter: filter, Options: opts})
	return c.deleted(rep, err)
}

// DeleteMany deletes all documents that match.
func (c *Collection) DeleteMany(ctx context.Context, filter any, opts ...options.Lister[options.DeleteManyOptions]) (*mongo.DeleteResult, error) {
	rep, err := c.write(ctx, messages.DeleteMany{Filter: filter, Options: opts})
	return c.deleted(rep, err)
}

// FindOneAndUpdate updates at most one document and returns it, as it was before
// unless the options say otherwise. Its error is mongo.ErrNoDocuments when none matched.
func (c *Collection) FindOneAndUpdate(ctx context.Context, filter, update any, opts ...options.Lister[options.FindOneAndUpdateOptions]) *SingleResult {
	return c.findOneAnd(ctx, messages.FindOneAndUpdate{Filter: filter, Update: update, Options: opts})
}

// FindOneAndReplace replaces at most one document and returns it, as
// FindOneAndUpdate does.
func (c *Collection) FindOneAndReplace(ctx context.Context, filter, replacement any, opts ...options.Lister[options.FindOneAndReplaceOptions]) *SingleResult {
	return c.findOneAnd(ctx, messages.FindOneAndReplace{Filter: filter, Replacement: replacement, Options: opts})
}

// FindOneAndDelete deletes at most one document and returns it, as it was. Its
// error is mongo.ErrNoDocuments when none matched.
func (c *Collection) FindOneAndDelete(ctx context.Context, filter any, opts ...options.Lister[options.FindOneAndDeleteOptions]) *SingleResult {
	return c.findOneAnd(ctx, messages.FindOneAndDelete{Filter: filter, Options: opts})
}

// errReplyLost is wrapped by the error of a write that has happened and whose reply,
// with the document that was asked for, never came.
var errReplyLost = errors.New("evenkeel: the write has happened, and the document that it returned was lost with its reply")

func (c *Collection) findOneAnd(ctx context.Context, op messages.WriteOperation) *SingleResult {
	rep, err := c.write(ctx, op)
	if err == nil && rep.Document == nil {
		err = &OutcomeError{Outcome: messages.Applied, Err: errReplyLost}
	}
	res := c.app.single(rep.Document, err)
	res.Acknowledged = err == nil || errors.Is(err, mongo.ErrNoDocuments)
	return res
}
