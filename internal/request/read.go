package request

import (
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// Read is an admitted read.
type Read struct {
	once[*messages.ReadReply]
	Cmd      *command.Read
	From     messages.From
	After    messages.Token
	Asked    time.Time
	Deadline time.Time

	correlation any

	// The fields below belong to whoever holds the request: the router, then one
	// slave's queue, then one worker, then the router again.

	// Tried holds the hosts that were asked already.
	Tried []string
	// LastErr is the last attempt's failure.
	LastErr error
	// Evacuated says that the read was moved off an ejected host once.
	Evacuated bool
}

// NewRead makes a read that is answered through deliver exactly once, by its
// deadline at the latest. Release is called just before, to return the admission.
func NewRead(m *messages.Read, cmd *command.Read, now, deadline time.Time, release func(), deliver func(*messages.ReadReply)) *Read {
	r := &Read{Cmd: cmd, From: m.From, After: m.After, Asked: now, Deadline: deadline, correlation: m.Correlation}
	r.deliver, r.release = deliver, release
	return r
}

// StartDeadline arms the timer that answers with a DeadlineError. It is called before
// the read is shared.
func (r *Read) StartDeadline() {
	r.arm(r.Deadline, func() {
		r.Reply(&messages.ReadReply{Err: &messages.DeadlineError{Phase: "read", After: time.Since(r.Asked)}})
	})
}

// Reply answers the read unless it was answered before, and reports whether it
// did.
func (r *Read) Reply(rep *messages.ReadReply) bool {
	rep.Correlation = r.correlation
	return r.give(rep)
}

// Fail answers the read with an error.
func (r *Read) Fail(err error) bool { return r.Reply(&messages.ReadReply{Err: err}) }
