package request

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// Write is an admitted write.
type Write struct {
	once[*messages.WriteReply]
	Cmd          *command.Write
	Key          string
	ErrorsOnly   bool
	WriteConcern *writeconcern.WriteConcern
	Asked        time.Time
	Deadline     time.Time

	correlation any
}

// NewWrite makes a write that is answered through deliver exactly once.
// Release is called just before, to return the admission. When its deadline
// passes, the lane that holds it answers: it alone knows whether it was sent.
func NewWrite(m *messages.Write, cmd *command.Write, now, deadline time.Time, release func(), deliver func(*messages.WriteReply)) *Write {
	w := &Write{
		Cmd: cmd, Key: m.Key, ErrorsOnly: m.ErrorsOnly, WriteConcern: cloned(m.WriteConcern),
		Asked: now, Deadline: deadline, correlation: m.Correlation,
	}
	w.deliver, w.release = deliver, release
	return w
}

// cloned copies what the game may go on using, and changing.
func cloned(wc *writeconcern.WriteConcern) *writeconcern.WriteConcern {
	if wc == nil {
		return nil
	}
	c := *wc
	if wc.Journal != nil {
		j := *wc.Journal
		c.Journal = &j
	}
	return &c
}

// OnDeadline arms a timer that calls f at the deadline, unless the write was answered
// before. It is called before the write is shared.
func (w *Write) OnDeadline(f func()) {
	w.arm(w.Deadline, f)
}

// Reply answers the write unless it was answered before, and reports whether it
// did.
func (w *Write) Reply(rep *messages.WriteReply) bool {
	rep.Correlation = w.correlation
	return w.give(rep, nil)
}
