package messages

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// Write changes data. Sent to the app's master, it takes effect in the order in
// which the master accepted it, and is answered by exactly one *WriteReply to its
// sender, not later than its deadline.
type Write struct {
	Database string
	// Collection is empty for a Command.
	Collection string
	// Operation is what to write; required.
	Operation WriteOperation
	// Key chooses the lane where the app has more than one: writes of one key
	// keep their order, writes of different keys may overtake each other.
	Key string
	// Verify is a filter on Collection that matches exactly when this write has
	// happened (for example {_id: 7, version: 12} after setting version to
	// 12). It lets an otherwise Unknown outcome be settled. Optional; an insert
	// whose _id evenkeel generates needs none, that _id serves. One with an _id of its
	// own is shown by it not to have happened, but not to have: somebody else may have
	// inserted the same document. Where nobody else does, {_id: …} is its Verify.
	Verify any
	// ErrorsOnly says that the asker wants to know whether the write was
	// acknowledged, and if not, why, but not what it has matched or changed: the
	// Result of an InsertOne, UpdateOne, ReplaceOne or DeleteOne is nil then. Such
	// writes to one collection can share a command on servers before MongoDB 8.0 too
	// when they wait together. It means nothing to other operations.
	ErrorsOnly bool
	// WriteConcern overrides the app's for this write. Optional; an
	// unacknowledged one is refused.
	WriteConcern *writeconcern.WriteConcern
	// Deadline is when the reply is due at the latest. Defaults to the app's
	// write timeout from now.
	Deadline time.Time
	// Correlation is returned in the reply as it is; evenkeel does not look at
	// it.
	Correlation any
}

// WriteOperation is one of InsertOne, InsertMany, UpdateOne, UpdateMany,
// ReplaceOne, DeleteOne, DeleteMany, FindOneAndUpdate, FindOneAndReplace,
// FindOneAndDelete and Command.
type WriteOperation interface{ writeOperation() }

// InsertOne inserts a document; one without _id is given an ObjectID when it is
// accepted. WriteReply.Result is *mongo.InsertOneResult.
type InsertOne struct {
	Document any
	Options  []options.Lister[options.InsertOneOptions]
}

// InsertMany inserts documents. Documents is a slice, or a bson.A.
// WriteReply.Result is *mongo.InsertManyResult.
type InsertMany struct {
	Documents any
	Options   []options.Lister[options.InsertManyOptions]
}

// UpdateOne updates the first document that matches. WriteReply.Result is
// *mongo.UpdateResult.
type UpdateOne struct {
	Filter, Update any
	Options        []options.Lister[options.UpdateOneOptions]
}

// UpdateMany updates all documents that match. WriteReply.Result is
// *mongo.UpdateResult.
type UpdateMany struct {
	Filter, Update any
	Options        []options.Lister[options.UpdateManyOptions]
}

// ReplaceOne replaces the first document that matches. WriteReply.Result is
// *mongo.UpdateResult.
type ReplaceOne struct {
	Filter, Replacement any
	Options             []options.Lister[options.ReplaceOptions]
}

// DeleteOne deletes the first document that matches. WriteReply.Result is
// *mongo.DeleteResult.
type DeleteOne struct {
	Filter  any
	Options []options.Lister[options.DeleteOneOptions]
}

// DeleteMany deletes all documents that match. WriteReply.Result is
// *mongo.DeleteResult.
type DeleteMany struct {
	Filter  any
	Options []options.Lister[options.DeleteManyOptions]
}

// FindOneAndUpdate updates a document and returns it. WriteReply.Document holds
// it; WriteReply.Err is mongo.ErrNoDocuments when none matched.
type FindOneAndUpdate struct {
	Filter, Update any
	Options        []options.Lister[options.FindOneAndUpdateOptions]
}

// FindOneAndReplace replaces a document and returns it, as FindOneAndUpdate does.
type FindOneAndReplace struct {
	Filter, Replacement any
	Options             []options.Lister[options.FindOneAndReplaceOptions]
}

// FindOneAndDelete deletes a document and returns it, as FindOneAndUpdate does.
type FindOneAndDelete struct {
	Filter  any
	Options []options.Lister[options.FindOneAndDeleteOptions]
}

func (InsertOne) writeOperation()         {}
func (InsertMany) writeOperation()        {}
func (UpdateOne) writeOperation()         {}
func (UpdateMany) writeOperation()        {}
func (ReplaceOne) writeOperation()        {}
func (DeleteOne) writeOperation()         {}
func (DeleteMany) writeOperation()        {}
func (FindOneAndUpdate) writeOperation()  {}
func (FindOneAndReplace) writeOperation() {}
func (FindOneAndDelete) writeOperation()  {}
func (Command) writeOperation()           {}

// Outcome is what is known of a write.
type Outcome uint8

// The outcomes of a write.
const (
	// Unknown: the write was sent, and nobody can say whether it has happened.
	// It is the zero value, so that an outcome nobody set claims nothing.
	Unknown Outcome = iota
	// Applied: the set has acknowledged the write with its write concern.
	Applied
	// NotApplied: the write was refused, or is proven not to have been executed, and
	// never will be.
	NotApplied
	// Partial: some documents of a multi-document write were written and the
	// others are proven not to have been; WriteReply.Err (mongo.BulkWriteException)
	// and WriteReply.Result tell which. Of a Command, whose statements were not all refused,
	// WriteReply.Document tells how many.
	Partial
)

func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case NotApplied:
		return "not applied"
	case Partial:
		return "partial"
	}
	return "unknown"
}

// MarshalText makes it a word in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// WriteReply answers a Write.
type WriteReply struct {
	Outcome Outcome
	// Err is nil exactly when the outcome is Applied, except that an Applied
	// FindOneAnd… that matched nothing has mongo.ErrNoDocuments. It is the server's
	// own error (mongo.WriteException, mongo.BulkWriteException, mongo.CommandError) or one of this
	// package's: for Unknown always an *UnknownOutcomeError.
	Err error
	// Result is the driver's own result type, as the operation's comment says. It is
	// nil for a write that asked for ErrorsOnly, and for an update or a delete whose
	// outcome was settled. With an error it is there where the driver has one: for an
	// InsertMany, UpdateMany or DeleteMany with errors in the server's reply.
	Result any
	// Document is FindOneAnd…'s document or Command's whole reply.
	Document bson.Raw
	// Token stands for this write: a Read after it sees the write.
	Token Token
	// Attempts is how often the write was put on the wire.
	Attempts int
	// Settled says that the outcome was not read from the write's own reply but
	// found out afterwards, by the lane's fence and a majority read.
	Settled bool
	// OrderOpen says that this write, whose outcome is Unknown, might yet take effect
	// after later writes of its lane: an UpdateMany, a DeleteMany or a Command has no fence.
	OrderOpen bool
	// Correlation is the Write's own.
	Correlation any
}
