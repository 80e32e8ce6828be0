// Package command turns the game's messages into what goes over the wire: all
// BSON is encoded here, once, in the asker's goroutine, so that no actor ever
// touches the game's own maps. It also reads replies back.
package command

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// Class sorts reads by what they may cost and by what may be done with them
// when their host hangs.
type Class uint8

// The classes of reads.
const (
	// Point is a FindOne by exactly {_id: v}, with no option but a comment and a
	// projection that leaves the _id. Several of one collection whose commands differ
	// in v alone may be asked as one, {_id: {$in: […]}}: each answer tells whose it
	// is. With a collation several documents may match, and without their _id nobody could
	// tell them apart.
	Point Class = iota
	// Range is any other find, count or distinct: like a Point, it may be evacuated
	// from an ejected host.
	Range
	// Heavy is an aggregate or a command: it is never evacuated.
	Heavy
	// Pinned is a getMore or a killCursors: it has one host only.
	Pinned
)

// Kind says how a reply is read.
type Kind uint8

// The kinds of replies.
const (
	KindOne      Kind = iota // first document of cursor.firstBatch
	KindBatch                // cursor.firstBatch or nextBatch, and the cursor's id
	KindCount                // n
	KindAggCount             // n of the only document of cursor.firstBatch, 0 when there is none
	KindDistinct             // values
	KindCommand              // the whole reply
	KindDone                 // nothing but ok
)

// Read is an encoded read. It is immutable.
type Read struct {
	// Collection is "$cmd.aggregate" for an Aggregate on the database, as its cursor
	// is called.
	Database, Collection string
	// Name is the command's name, such as "find".
	Name  string
	Class Class
	Kind  Kind
	// Body is the command without $db, lsid, readConcern, maxTimeMS and the like;
	// those are appended for each attempt (see Wire).
	Body bson.Raw
	// ID is a Point read's _id.
	ID bson.RawValue
	// tail is where a find's Body goes on after its filter and limit.
	tail int
	// Cursor is a Pinned read's cursor.
	Cursor *messages.Cursor
	// TakesReadConcern says that the command may carry a readConcern that is
	// evenkeel's to add. A Pinned read does not, and a Command only to wait for
	// Read.After, where it can and has no readConcern of its own.
	TakesReadConcern bool
	// MaxTimeMS is a maxTimeMS of the caller's own, 0 for none.
	MaxTimeMS int64
	// limited says that Body has a maxTimeMS, 0 included: a second one would be
	// refused.
	limited bool
	// single says that a find wants one batch and no cursor.
	single bool
}

// LeavesCursor reports whether the reply may leave a cursor open that the asker goes on with. Not
// that to several Point reads, whose cursor is closed at once.
func (r *Read) LeavesCursor() bool { return r.Kind == KindBatch && r.Class != Point && !r.single }

// WriteClass sorts writes by what may go together and what can be settled.
type WriteClass uint8

// The classes of writes.
const (
	// Insert is an InsertOne.
	Insert WriteClass = iota
	// Single is an UpdateOne, ReplaceOne or DeleteOne.
	Single
	// FindAndModify is a FindOneAnd….
	FindAndModify
	// Multi is an InsertMany, UpdateMany or DeleteMany.
	Multi
	// Other is a Command.
	Other
)

// Write is an encoded write. It is immutable.
type Write struct {
	Database, Collection string
	Class                WriteClass
	// Operation is the message's operation with every value encoded: documents,
	// filters, updates, and the BSON-valued options, are bson.Raw or bson.RawValue, and
	// its Options are none or a single resolved lister. Nothing of it is the caller's.
	Operation messages.WriteOperation
	// ID is the _id of the one document this write names: an Insert's, or that of a
	// filter that is exactly {_id: v} and has no collation. Its zero Value is none.
	ID bson.RawValue
	// IDGenerated says that ID is an ObjectID this package made; of an InsertMany,
	// which has no ID, that it made the _id of every document.
	IDGenerated bool
	// Verify is the message's, encoded; nil for none.
	Verify bson.Raw
	// Plain says that the write, an Insert or a Single, may share a command with
	// others: all that it says stands in its own document, filter and update, and
	// in options that each write of a bulk has for itself (upsert, arrayFilters,
	// collation, hint, sort). A comment, a let or a bypass of the validation belongs to
	// a whole command, and would apply to the others too.
	Plain bool
	// Bytes is roughly how much memory the write holds.
	Bytes int
}
