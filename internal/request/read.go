package request

import (
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/messages"
)

// Target is a live host, for as long as it is live: a host that was lost and
// came back is another Target.
type Target interface {
	Host() string
	// Incarnation is a number that no other Target of the app has.
	Incarnation() uint64
	Load() *load.Load
	// Offer hands a read over. It never blocks. With an error (messages.ErrNotLive or an
	// *messages.OverloadedError) the read is still the caller's. With inline set it may
	// return a function that the caller must call at once, and which serves the read in the
	// caller's goroutine, or fails to: the reply comes as ever.
	Offer(r *Read, inline bool) (run func(), err error)
	// Recall says that too few hosts are left without this one, which was ejected. It never blocks.
	Recall()
}

// Member is what a live host is in its set.
type Member struct {
	// Primary says that it takes the reads for the primary; a standalone does.
	Primary bool
	// Election is the id of the election that has made it the primary, zero where there was none. Of two
	// that take themselves for it, the one with the later election is.
	Election [12]byte
	// Tags are the member's own; they must not be changed.
	Tags map[string]string
}

// Read is an admitted read.
type Read struct {
	once[*messages.ReadReply]
	Cmd      *command.Read
	From     messages.From
	After    messages.Token
	Tags     []messages.TagSet // nil for any member
	Alone    bool              // it shares no round trip with other reads
	Asked    time.Time
	Deadline time.Time

	// IsTwin says that this is a second copy: it is sent to one host and never again.
	IsTwin bool

	correlation any
	lastErr     atomic.Pointer[error] // also read by the deadline's timer

	// The fields below belong to whoever holds the request: the router, then one
	// target's queue, then one worker, then the router again.

	// Tried holds the incarnations that it is not to be sent to: those that were asked.
	Tried []uint64
	// Attempts is how often it was sent.
	Attempts int
	// Gone says that the last attempt failed because its host seemed to be lost, Silent that its host said nothing
	// in its time. Rest ends the pause that may follow, nil for none; Resting says that this is one.
	Gone, Silent bool
	Rest         *time.Timer
	Resting      bool
	// AttemptDeadline is when the attempt under way ends.
	AttemptDeadline time.Time
	// Shared is how many reads that attempt is for.
	Shared int
	// Parked says that the read was parked once, for the router to look for it.
	Parked atomic.Bool
	// Evacuated says that the read was moved off an ejected host once, HungAt that host's
	// incarnation; 0 when the read may be sent there again, or was.
	Evacuated bool
	HungAt    uint64
}

// NewRead makes a read that is answered through deliver exactly once, or through
// what DeliverTo names.
func NewRead(m *messages.Read, cmd *command.Read, now, deadline time.Time, deliver func(*messages.ReadReply)) *Read {
	r := &Read{Cmd: cmd, From: m.From, After: m.After, Tags: messages.CloneTags(m.Tags), Alone: m.NoBatch, Asked: now, Deadline: deadline, correlation: m.Correlation}
	r.deliver = deliver
	return r
}

// DeliverTo names who gets the reply, before the read is shared.
func (r *Read) DeliverTo(deliver func(*messages.ReadReply)) { r.deliver = deliver }

// Twin is a second copy of the read, for another host than the one that has it. It has no
// deadline's timer of its own: the read's reply must end it.
func (r *Read) Twin(except uint64, deliver func(*messages.ReadReply)) *Read {
	t := &Read{
		Cmd: r.Cmd, From: r.From, After: r.After, Tags: r.Tags, Alone: r.Alone, Asked: r.Asked, Deadline: r.Deadline,
		IsTwin: true, Tried: []uint64{except},
	}
	t.deliver = deliver
	return t
}

// LoadClass is the class of reads whose latency it tells of: none of those that are weighed for one that
// waits for a cluster time.
func (r *Read) LoadClass() command.Class {
	if !r.After.IsZero() {
		return command.Pinned
	}
	return r.Cmd.Class
}

// OnDeadline arms a timer that calls f at the deadline, unless the read was
// answered before.
func (r *Read) OnDeadline(f func()) { r.arm(r.Deadline, f) }

// Reply answers the read unless it was answered before, and reports whether it
// did.
func (r *Read) Reply(rep *messages.ReadReply) bool {
	rep.Correlation = r.correlation
	return r.give(rep, nil)
}

// ReplyAfter is Reply, and calls before when it is certain that rep is the reply and
// not delivered yet.
func (r *Read) ReplyAfter(rep *messages.ReadReply, before func()) bool {
	rep.Correlation = r.correlation
	return r.give(rep, before)
}

// Fail answers the read with an error.
func (r *Read) Fail(err error) bool { return r.Reply(&messages.ReadReply{Err: err}) }

// SetLastErr notes an attempt's failure.
func (r *Read) SetLastErr(err error) { r.lastErr.Store(&err) }

// LastErr is the last attempt's failure, nil when there was none.
func (r *Read) LastErr() error {
	if err := r.lastErr.Load(); err != nil {
		return *err
	}
	return nil
}
