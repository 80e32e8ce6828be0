// Package repl is one member's replicated state: its documents, its oplog, its
// role, its votes. It knows nothing of sockets or of the wire protocol; package
// server puts that in front of it.
package repl

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// OpTime is a position in the oplog: a timestamp and the election term it was
// written in.
type OpTime struct {
	TS   bson.Timestamp
	Term int64
}

// Role is a member's replica-set state, with the numbers of replSetGetStatus.
type Role int

// The member states that this package knows.
const (
	Startup    Role = 0
	Primary    Role = 1
	Secondary  Role = 2
	Recovering Role = 3
	Startup2   Role = 5
	Arbiter    Role = 7
	Down       Role = 8
	Rollback   Role = 9
	Removed    Role = 10
	Standalone Role = -1
)

// String is the state as the server writes it.
func (r Role) String() string {
	switch r {
	case Startup:
		return "STARTUP"
	case Primary:
		return "PRIMARY"
	case Secondary:
		return "SECONDARY"
	case Recovering:
		return "RECOVERING"
	case Startup2:
		return "STARTUP2"
	case Arbiter:
		return "ARBITER"
	case Down:
		return "DOWN"
	case Rollback:
		return "ROLLBACK"
	case Removed:
		return "REMOVED"
	case Standalone:
		return "STANDALONE"
	}
	return "UNKNOWN"
}

// Status is what hello and replSetGetStatus say of a member; an immutable
// snapshot.
type Status struct {
	Role                Role
	SetName             string // "" for a standalone
	Me                  string // host:port by which the set's config knows this member
	Hosts               []string
	Passives            []string // priority 0 and not hidden
	Arbiters            []string
	Hidden, Passive     bool
	Primary             string // "" while none is known
	SetVersion          int32
	Term                int64
	ElectionID          bson.ObjectID // set on a primary: 7fffffff, then the term
	Tags                map[string]string
	ProcessID           bson.ObjectID // new with each start of the process
	TopologyCounter     int64         // rises with every change of what hello says
	LastApplied         OpTime
	LastAppliedWall     time.Time
	MajorityCommitted   OpTime
	MajorityCommittedAt time.Time
	WritablePrimary     bool // false while a new primary still drains, or a stepdown is under way
	SecondaryDelaySecs  int64
	NewlyAdded          bool  // it has no vote yet
	HangUps             int64 // how often the member has rolled back or been removed, and hung up on its clients
	Votes               Votes
	Heartbeat           time.Duration // between two
}

// Votes is how a set's votes are spread, with the counts of replSetGetStatus.
type Votes struct {
	Voters        int
	Writable      int // voters with data
	Majority      int // of the voters, to be elected
	WriteMajority int // of those with data, to hold an entry that is a majority's
}

// MajorityByDefault says whether a write that names no write concern waits for a
// majority. Since 5.0 it does, unless arbiters could keep a primary elected that
// can get none: the manual's "implicit default write concern".
func (v Votes) MajorityByDefault() bool { return v.Writable == v.Voters || v.Writable > v.Majority }

// ReadLevel is a local or a majority read concern.
type ReadLevel int

// The read levels.
const (
	Local ReadLevel = iota
	Majority
)

// RetryRecord is what a member remembers of one executed statement of a
// retryable write, so that sending it again returns the first execution's
// result.
type RetryRecord struct {
	StmtID int32
	// Result is the statement's own outcome in a form that package server
	// chooses (it alone reads it).
	Result bson.Raw
}

// Node is one member. All methods may be called from any goroutine.
//
// Errors that belong to the protocol are *query.Error values that carry the
// server's own code and code name.
type Node interface {
	Status() Status
	// StatusChanged is closed at the next change that hello would show.
	// Take the channel before the Status it guards.
	StatusChanged() <-chan struct{}

	// View calls fn with a consistent, immutable state of the data. It does not
	// block writers while fn runs. Documents seen in it must not be modified.
	View(level ReadLevel, fn func(Snapshot) error) error

	// Write runs fn as one atomic unit on a writable primary, under the member's
	// write lock, and appends what it did to the oplog; when fn fails, nothing it
	// did is kept. It fails with NotWritablePrimary (10107), or with
	// InterruptedDueToReplStateChange (11602) when the member stops being primary
	// while it waits. It returns the op time of the last operation (of the newest
	// one in the oplog when fn wrote nothing), whose wait for a write concern is the
	// caller's.
	Write(ctx context.Context, fn func(Writer) error) (OpTime, error)

	// AwaitReplication waits until op is on n members (majority of the voting ones
	// for n == 0), this one included. It fails when ctx ends, or with 11602/10107
	// when this member stops being primary in the term of op.
	AwaitReplication(ctx context.Context, op OpTime, n int) error
	// AwaitApplied waits until this member has applied (or, at Majority, knows as
	// majority committed) everything up to ts.
	AwaitApplied(ctx context.Context, ts bson.Timestamp, level ReadLevel) error

	// ClusterTime is the newest cluster time this member has seen;
	// AdvanceClusterTime raises it.
	ClusterTime() bson.Timestamp
	AdvanceClusterTime(bson.Timestamp)

	// StepDown gives up the primary's role, as replSetStepDown does: not before an
	// electable secondary has caught up, unless force; the member does not stand again for
	// the given time.
	StepDown(ctx context.Context, secs time.Duration, catchUp time.Duration, force bool) error
	// Freeze keeps a secondary from standing for election (replSetFreeze).
	Config() bson.Raw // the replSetGetConfig document
	MembersStatus() []MemberStatus
	// Session returns the retry history of a logical session: the newest
	// transaction number seen and the statements executed under it.
	Session(lsid string) (txnNumber int64, executed []RetryRecord, ok bool)
}

// MemberStatus is one entry of replSetGetStatus's members.
type MemberStatus struct {
	ID       int32
	Host     string
	Role     Role
	Arbiter  bool
	Health   bool
	OpTime   OpTime
	OpTimeAt time.Time
	Self     bool
	SyncFrom string
	// Elected is when a primary was; zero for the others.
	Elected bson.Timestamp
	// What of another member was heard last, and when; UpSince is zero while nothing is.
	UpSince, Heard time.Time
	Message        string // why nothing is heard
	// The config it has; -1 while nothing is heard.
	ConfigVersion int32
	ConfigTerm    int64
}

// Snapshot is a read-only state of the data.
type Snapshot interface {
	Databases() []string
	Collections(db string) []CollectionInfo
	// Collection returns nil when there is none of that name.
	Collection(db, name string) Collection
	// OpTime is the newest operation this state includes.
	OpTime() OpTime
}

// CollectionInfo names a collection and holds the options it was created with.
type CollectionInfo struct {
	Name    string
	UUID    bson.Binary
	Options bson.Raw
}

// IndexInfo is one index; only unique ones and _id are enforced, none but _id is used to find.
type IndexInfo struct {
	Name   string
	Key    bson.Raw
	Unique bool
	Sparse bool     // it has no document without any of its fields
	Spec   bson.Raw // the whole specification, as listIndexes returns it
}

// Collection is a collection in a Snapshot or in a Writer.
type Collection interface {
	Info() CollectionInfo
	Indexes() []IndexInfo
	Len() int
	// ByID finds a document by its _id in constant time; numbers compare by
	// value across types, as the server's index does.
	ByID(id bson.RawValue) (bson.Raw, bool)
	// Each yields the documents in natural order until yield returns false.
	Each(yield func(bson.Raw) bool)
}

// Writer is the state inside Write: it reads its own changes. Documents given
// to it are kept: the caller must not modify them afterwards.
type Writer interface {
	Snapshot
	// Insert adds a document that has an _id as its first field. DuplicateKey (11000) carries
	// keyPattern and keyValue. The collection is created when missing.
	Insert(db, coll string, doc bson.Raw) error
	// Replace sets the document with that _id to doc.
	Replace(db, coll string, id bson.RawValue, doc bson.Raw) error
	Delete(db, coll string, id bson.RawValue) error
	CreateCollection(db, coll string, opts bson.Raw) error // 48 NamespaceExists
	DropCollection(db, coll string) error                  // 26 NamespaceNotFound
	DropDatabase(db string) error
	CreateIndex(db, coll string, spec bson.Raw) (created bool, err error)
	DropIndex(db, coll, name string) error
	// Remember stores a statement's result for its logical session, atomically with
	// the writes around it, and replicates it with them. A transaction number older than the
	// session's newest fails with TransactionTooOld (225).
	Remember(lsid string, txnNumber int64, r RetryRecord) error
	// BeginStatement makes txnNumber the session's newest, also when the statement then
	// changes nothing; it fails with TransactionTooOld (225) for an older one and
	// returns the record of an already executed statement.
	BeginStatement(lsid string, txnNumber int64, stmtID int32) (done *RetryRecord, err error)
}
