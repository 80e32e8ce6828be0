package messages

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Read asks for data. Sent to the app's router, it is answered by exactly one
// *ReadReply to its sender, not later than its deadline.
type Read struct {
	Database string
	// Collection is empty for a Command, and for an Aggregate on the database.
	Collection string
	// Operation is what to read; required.
	Operation ReadOperation
	// From says which members may answer. Defaults to the app's setting.
	From From
	// Tags narrows From to the members that have the tags of the first of these sets which
	// any live one has, as MongoDB's tag sets do. The primary is narrowed with FromAll only.
	// Defaults to the app's setting.
	Tags []TagSet
	// After makes the read wait until its member has seen what the token
	// stands for. The zero Token waits for nothing.
	After Token
	// NoBatch sends this read alone. Otherwise a FindOne by _id that has to wait for its
	// host goes out together with others that wait for the same collection, as one find
	// with $in, whose answer is told apart again.
	NoBatch bool
	// Deadline is when the reply is due at the latest. Defaults to the app's
	// read timeout from now.
	Deadline time.Time
	// Correlation is returned in the reply as it is; evenkeel does not look at
	// it.
	Correlation any
}

// ReadOperation is one of FindOne, Find, Count, EstimatedCount, Distinct,
// Aggregate, GetMore, CloseCursor and Command.
type ReadOperation interface{ readOperation() }

// FindOne asks for the first document that matches. ReadReply.Document holds it;
// ReadReply.Err is mongo.ErrNoDocuments when there is none.
type FindOne struct {
	Filter  any
	Options []options.Lister[options.FindOneOptions]
}

// Find asks for the documents that match. ReadReply.Documents holds the first
// batch, and ReadReply.Cursor is set when there are more.
type Find struct {
	Filter  any
	Options []options.Lister[options.FindOptions]
}

// Count counts the documents that match, exactly. ReadReply.Count holds the
// number.
type Count struct {
	Filter  any
	Options []options.Lister[options.CountOptions]
}

// EstimatedCount asks for the collection's size from its metadata.
// ReadReply.Count holds the number.
type EstimatedCount struct {
	Options []options.Lister[options.EstimatedDocumentCountOptions]
}

// Distinct asks for the distinct values of a field. ReadReply.Values holds
// them.
type Distinct struct {
	Field   string
	Filter  any
	Options []options.Lister[options.DistinctOptions]
}

// Aggregate runs a pipeline that only reads: one with $out or $merge is refused
// with ErrNotARead. The reply is that of a Find.
type Aggregate struct {
	Pipeline any
	Options  []options.Lister[options.AggregateOptions]
}

// GetMore asks for the next batch of a cursor. It goes to the member that
// holds the cursor, and fails with a *CursorLostError when that is gone. The
// reply is that of a Find.
type GetMore struct {
	Cursor *Cursor
	// BatchSize is the most documents to return. Zero leaves it to the server.
	BatchSize int32
	// MaxAwaitTime bounds the server's wait for new documents on a tailable,
	// awaiting cursor. Zero leaves it to the server.
	MaxAwaitTime time.Duration
	// Comment goes along to the server's logs. Optional.
	Comment any
}

// CloseCursor gives up a cursor before its end, on the server too.
type CloseCursor struct {
	Cursor *Cursor
}

// Command is any database command as an order-preserving document (bson.D or
// bson.Raw) whose first key is its name. As a Read it must be one of the commands
// that only read; as a Write it may be any but those that evenkeel
// itself answers for (sessions, transactions, cursors). It is sent at most once. One that is refused has done nothing, but for
// those that write documents one after the other (insert, update, delete, bulkWrite, applyOps, mapReduce, and an aggregate with
// $merge or $out): these are Unknown then, or Partial, where the reply counts what they have done. Read and
// write concern are up to the document; but a find, aggregate, count or distinct that
// has no readConcern waits for Read.After. Other commands do not wait.
type Command struct {
	Document any
}

func (FindOne) readOperation()        {}
func (Find) readOperation()           {}
func (Count) readOperation()          {}
func (EstimatedCount) readOperation() {}
func (Distinct) readOperation()       {}
func (Aggregate) readOperation()      {}
func (GetMore) readOperation()        {}
func (CloseCursor) readOperation()    {}
func (Command) readOperation()        {}

// ReadReply answers a Read. Which of its fields is set depends on the operation.
type ReadReply struct {
	// Document is FindOne's document or Command's whole reply.
	Document bson.Raw
	// Documents is the batch of Find, Aggregate or GetMore.
	Documents []bson.Raw
	// Cursor names the rest of a Find, an Aggregate or a GetMore, nil when there is none. Who
	// does not want the rest sends CloseCursor.
	Cursor *Cursor
	// Count is Count's and EstimatedCount's number.
	Count int64
	// Values are Distinct's values.
	Values bson.RawArray

	// Host is the member that answered, "" when none did.
	Host string
	// Token stands for what this read has seen: pass it in Read.After to see
	// no less from another member.
	Token Token
	// Attempts is how often it was sent to a member.
	Attempts int
	// Err is nil, the server's own error (mongo.CommandError), mongo.ErrNoDocuments
	// or one of this package's errors.
	Err error
	// Correlation is the Read's own.
	Correlation any
}

// Cursor names a cursor that is open on one member. It is a value to pass
// around, not a connection: it may be copied and compared, and is safe for
// concurrent use, though the server serves one GetMore at a time.
type Cursor struct {
	// Host is the member that holds it.
	Host string
	// Incarnation is the slave's that opened it; a restarted slave does not know
	// it any more.
	Incarnation uint64
	// ID is the server's number for it.
	ID                   int64
	Database, Collection string
}

// From says which members may answer a read.
type From uint8

// The members that may answer a read.
const (
	// FromDefault is the app's setting.
	FromDefault From = iota
	// FromSecondaries reads from secondaries, and from the primary while no
	// secondary is live unless the app's Config forbids it.
	FromSecondaries
	// FromSecondariesOnly never reads from the primary.
	FromSecondariesOnly
	// FromAll reads from every live member alike.
	FromAll
	// FromPrimary reads from the primary only.
	FromPrimary
	// FromPrimaryPreferred reads from the primary, and from secondaries while
	// there is none.
	FromPrimaryPreferred
)

func (f From) String() string {
	switch f {
	case FromDefault:
		return "default"
	case FromSecondaries:
		return "secondaries"
	case FromSecondariesOnly:
		return "secondariesOnly"
	case FromAll:
		return "all"
	case FromPrimary:
		return "primary"
	case FromPrimaryPreferred:
		return "primaryPreferred"
	}
	return "invalid"
}

// TagSet names members by their tags in the set's configuration: those that have all
// of these, and perhaps more. The empty one names every member.
type TagSet map[string]string

// String is {name: value, …}, by name; {} is any member.
func (s TagSet) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		pairs = append(pairs, name+": "+s[name])
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// CloneTags copies tag sets, so that the game may go on using its own.
func CloneTags(sets []TagSet) []TagSet {
	if sets == nil {
		return nil
	}
	c := make([]TagSet, len(sets))
	for i, set := range sets {
		c[i] = maps.Clone(set)
	}
	return c
}

// Token stands for a point in the replica set's history: what a reply has seen
// or done. It may be stored, and sent to another process as BSON.
type Token struct {
	// ClusterTime is the whole document {$clusterTime: {…}}, signature included, as the
	// driver's sessions have it.
	ClusterTime bson.Raw `bson:"clusterTime,omitempty"`
	// OperationTime is the reply's operationTime.
	OperationTime bson.Timestamp `bson:"operationTime"`
}

// IsZero reports whether the token stands for nothing.
func (t Token) IsZero() bool { return t.OperationTime.IsZero() }

// Before reports whether t stands for an earlier point than u.
func (t Token) Before(u Token) bool { return t.OperationTime.Before(u.OperationTime) }
