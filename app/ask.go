package app

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

// errSession is why a context that holds a session of the driver's is refused: what is asked with it
// would not be part of the session's transaction.
var errSession = errors.New("it holds a session of the driver's, which only the driver's own collections take part in; use those of App.Client inside of a transaction, and App.Session for reads behind writes")

// usable refuses a context that means more than is kept here.
func usable(ctx context.Context) error {
	if mongo.SessionFromContext(ctx) != nil {
		return &messages.InvalidError{Field: "Context", Err: errSession}
	}
	return ctx.Err()
}

// read asks the router and waits for the reply. A ctx that ends first gives the
// read up; its error is ctx's own then.
func (a *App) read(ctx context.Context, m *messages.Read) (*messages.ReadReply, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := usable(ctx); err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Deadline = deadline
	}
	rep := a.router.Ask(ctx, m)
	return rep, rep.Err
}

// write asks the master and waits for the reply. A ctx that ends first gives the
// write up: it is not applied when it was not sent yet, and unknown when it was.
func (a *App) write(ctx context.Context, m *messages.Write) (*messages.WriteReply, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := usable(ctx); err != nil {
		return &messages.WriteReply{Outcome: messages.NotApplied, Err: err}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Deadline = deadline
	}
	rep := a.master.Ask(ctx, m)
	return rep, rep.Err
}
