package app

import (
	"context"

	"github.com/evenkeel/evenkeel/messages"
)

// read asks the router and waits for the reply. A ctx that ends first gives the
// read up; its error is ctx's own then.
func (a *App) read(ctx context.Context, m *messages.Read) (*messages.ReadReply, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
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
	if err := ctx.Err(); err != nil {
		return &messages.WriteReply{Outcome: messages.NotApplied, Err: err}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Deadline = deadline
	}
	rep := a.master.Ask(ctx, m)
	return rep, rep.Err
}
