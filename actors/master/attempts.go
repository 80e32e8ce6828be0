package master

import (
	"context"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// state is what is known of one attempt: one time that the driver put an
// operation on the wire.
type state uint8

const (
	// begun: handed to the socket, and no word since.
	begun state = iota
	// unsent: the driver announced it and then did not send it.
	unsent
	// lost: it was sent, at least in part, and no reply was read.
	lost
	// replied: the server executed it and said so (ok: 1); write errors and
	// write concern errors are in the reply.
	replied
	// refused: the server said that it executed nothing of it, and never will.
	refused
	// interrupted: the server refused it (ok: 0), perhaps in the middle.
	interrupted
)

func (s state) String() string {
	return [...]string{"begun", "unsent", "lost", "replied", "refused", "interrupted"}[s]
}

// open reports whether the attempt may have been, or may yet be, executed without
// our having its reply.
func (s state) open() bool { return s == begun || s == lost || s == interrupted }

// attempt is one attempt and what became of it.
type attempt struct {
	state state
	// fenced says that it carried a transaction number: the server executes it at
	// most once, and never after a later number of its session.
	fenced bool
	number int64 // that number
	err    error
	id     int64
}

// underway reports whether the server may still get to see the attempt. One that was
// interrupted is over, whatever it has done.
func (s state) underway() bool { return s == begun || s == lost }

// attempts records what the driver does with one operation. The driver's last
// error does not tell: it may lose a reply, retry, and then report a refusal, or
// that time has run out.
type attempts struct {
	// shape is what a refusal is judged by.
	shape shape
	// cancel ends the operation's context.
	cancel context.CancelFunc
	// single allows one attempt only.
	single bool
	// keep keeps what the server replied.
	keep bool

	mu      sync.Mutex
	list    []attempt
	kept    []bson.Raw // of the last attempt: its reply, and what the driver asked for of the rest
	revoked bool
}

var _ mongoconn.Recorder = (*attempts)(nil)

// Started is called by the driver.
func (a *attempts) Started(e *event.CommandStartedEvent) {
	if aftermath(e.CommandName) {
		return
	}
	number, fenced := e.Command.Lookup("txnNumber").AsInt64OK()
	a.start(attempt{id: e.RequestID, fenced: fenced, number: number})
}

// Succeeded is called by the driver.
func (a *attempts) Succeeded(e *event.CommandSucceededEvent) {
	if !aftermath(e.CommandName) {
		a.end(e.RequestID, replied, nil)
	}
	if a.keep {
		a.mu.Lock()
		a.kept = append(a.kept, slices.Clone(e.Reply))
		a.mu.Unlock()
	}
}

// Failed is called by the driver.
func (a *attempts) Failed(e *event.CommandFailedEvent) {
	if !aftermath(e.CommandName) {
		a.end(e.RequestID, judgeFailure(a.shape, e.Failure), e.Failure)
	}
}

// aftermath reports whether a command is what the driver does about a reply that
// comes in parts. It is no attempt at the write.
func aftermath(command string) bool { return command == "getMore" || command == "killCursors" }

// start records an attempt. The driver calls this in the operation's own goroutine
// and looks at the context once more before it writes: an attempt that is not wanted
// any more is stopped here for certain, by cancelling.
func (a *attempts) start(at attempt) {
	a.mu.Lock()
	again := a.single && a.sentLocked() > 0
	a.list = append(a.list, at)
	a.kept = nil
	stop := a.revoked || again
	a.mu.Unlock()
	if stop {
		a.cancel()
	}
}

func (a *attempts) end(id int64, s state, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.list) - 1; i >= 0; i-- {
		if a.list[i].id == id {
			a.list[i].state, a.list[i].err = s, err
			return
		}
	}
}

// revoke keeps the operation from the wire if no attempt was begun, and reports
// whether it does: then the operation is certainly not executed.
func (a *attempts) revoke() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sentLocked() > 0 {
		return false
	}
	a.revoked = true
	return true
}

// isRevoked reports whether the operation was kept from the wire.
func (a *attempts) isRevoked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.revoked
}

// sent is how many attempts may have reached a server.
func (a *attempts) sent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sentLocked()
}

func (a *attempts) sentLocked() int {
	n := 0
	for _, at := range a.list {
		if at.state != unsent {
			n++
		}
	}
	return n
}

// all returns the attempts that may have reached a server, in order.
func (a *attempts) all() []attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	var sent []attempt
	for _, at := range a.list {
		if at.state != unsent {
			sent = append(sent, at)
		}
	}
	return sent
}

// replies returns what the server has replied to the last attempt; nothing unless keep is
// set.
func (a *attempts) replies() []bson.Raw {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kept
}

// split reports whether the attempts are of several commands, each with a number
// of its own: the driver found that one does not hold everything.
func split(list []attempt) bool {
	for _, at := range list {
		if at.number != list[0].number {
			return true
		}
	}
	return false
}

// fenced reports whether every attempt carried a transaction number.
func fenced(list []attempt) bool {
	for _, at := range list {
		if !at.fenced {
			return false
		}
	}
	return true
}
