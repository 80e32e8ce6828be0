package mongoconn

import (
	"context"
	"slices"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
)

// AttemptState is how far an attempt came.
type AttemptState uint8

// The states of an attempt.
const (
	// Started: the command was about to be written to a socket. An attempt stays so
	// when its operation was given up in between.
	Started AttemptState = iota
	// Succeeded: the server has executed the command and has replied ok; Reply is set
	// when it reports write errors or a write concern error all the same.
	Succeeded
	// Failed: Err says why. The server refused the command, or no reply came.
	Failed
)

// Attempt is one try of the driver's at one operation.
type Attempt struct {
	State AttemptState
	// Command is the command's name, RequestID its number on the wire.
	Command   string
	RequestID int64
	// Host is the host it was sent to.
	Host string
	// Reply is a Succeeded attempt's reply if it holds writeErrors or a
	// writeConcernError, else nil.
	Reply bson.Raw
	// Err is a Failed attempt's error. The server's own has a code, but is of a type
	// of the driver's unstable packages: mongo.IsNetworkError and mongo.LabeledError tell it
	// from a connection's.
	Err error
	// NotSent says of a Failed attempt that nothing of it was written: its time was
	// up, or it was cancelled, before.
	NotSent bool
}

// Attempts records each try of the operations that run with its context.
type Attempts struct {
	mu   sync.Mutex
	list []Attempt
}

// Recorder is told of every try of the operations that run with its context. It is
// called in the operation's own goroutine. Started is called before anything is
// written: an attempt whose operation's context is cancelled there is not sent.
type Recorder interface {
	Started(*event.CommandStartedEvent)
	Succeeded(*event.CommandSucceededEvent)
	Failed(*event.CommandFailedEvent)
}

type recorderKey struct{}

// WithRecorder returns a context whose operations, on a client of OpenSet, are
// told to the Recorder.
func WithRecorder(ctx context.Context, r Recorder) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

// WithAttempts returns a context whose operations, on a client of OpenSet, are
// recorded in the Attempts.
func WithAttempts(ctx context.Context) (context.Context, *Attempts) {
	a := new(Attempts)
	return WithRecorder(ctx, a), a
}

// List returns the attempts so far, the oldest first.
func (a *Attempts) List() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// Sent returns how many attempts were, or may have been, put on the wire.
func (a *Attempts) Sent() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.list {
		if !a.list[i].NotSent {
			n++
		}
	}
	return n
}

// finish writes down the end of an attempt.
func (a *Attempts) finish(requestID int64, set func(*Attempt)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.list) - 1; i >= 0; i-- {
		if a.list[i].RequestID == requestID {
			set(&a.list[i])
			return
		}
	}
}

// Started records the beginning of an attempt.
func (a *Attempts) Started(e *event.CommandStartedEvent) {
	// A connection's name is its host with a number: "host:port[-7]".
	host, _, _ := strings.Cut(e.ConnectionID, "[-")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, Attempt{Command: e.CommandName, RequestID: e.RequestID, Host: host})
}

// Succeeded records the reply to an attempt.
func (a *Attempts) Succeeded(e *event.CommandSucceededEvent) {
	var reply bson.Raw
	if reportsErrors(e.Reply) {
		reply = slices.Clone(e.Reply)
	}
	a.finish(e.RequestID, func(t *Attempt) { t.State, t.Reply = Succeeded, reply })
}

// Failed records why an attempt failed.
func (a *Attempts) Failed(e *event.CommandFailedEvent) {
	a.finish(e.RequestID, func(t *Attempt) { t.State, t.Err, t.NotSent = Failed, e.Failure, NotSent(e.Failure) })
}

// attemptsMonitor tells the Recorder of each operation's context, which the
// driver hands through.
var attemptsMonitor = &event.CommandMonitor{
	Started: func(ctx context.Context, e *event.CommandStartedEvent) {
		if r, ok := ctx.Value(recorderKey{}).(Recorder); ok {
			r.Started(e)
		}
	},
	Succeeded: func(ctx context.Context, e *event.CommandSucceededEvent) {
		if r, ok := ctx.Value(recorderKey{}).(Recorder); ok {
			r.Succeeded(e)
		}
	},
	Failed: func(ctx context.Context, e *event.CommandFailedEvent) {
		if r, ok := ctx.Value(recorderKey{}).(Recorder); ok {
			r.Failed(e)
		}
	},
}

func reportsErrors(reply bson.Raw) bool {
	for _, key := range []string{"writeErrors", "writeConcernError"} {
		if _, err := reply.LookupErr(key); err == nil {
			return true
		}
	}
	return false
}

// NotSent reports whether an attempt's failure says that nothing was written: the driver looks at the context once more between its started event
// and the write. Then the failure is the context's own error and nothing else, or says so; once
// something was written, the driver wraps whatever went wrong.
func NotSent(err error) bool {
	return err == context.Canceled || err == context.DeadlineExceeded ||
		strings.HasPrefix(err.Error(), "operation not sent to server")
}
