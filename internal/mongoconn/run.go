package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// Run sends a command once and returns the server's whole reply, which is the
// caller's to keep. The read preference is such that a secondary serves. A nil
// session means one of the driver's own.
//
// The driver tells the server the context's deadline as maxTimeMS. A command
// that brings a maxTimeMS of its own keeps that one, and a getMore gets none,
// which servers refuse there. A command whose cursor is to stay open is for RunCursor.
//
// An error of the server is a mongo.CommandError. The end of the attempt's own
// time matches context.DeadlineExceeded, also where the server noticed it first
// (50 MaxTimeMSExpired). A reply that is none is a *messages.ProtocolError. The driver says the same of a command that has gone past its
// own maxTimeMS; OtherHostMayServe tells the two apart. A refused login is a
// *messages.LoginError.
func (d *Direct) Run(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error) {
	return d.run(ctx, db, cmd, sess, bringsLimit(cmd))
}

// RunCursor is Run for a command that may leave a cursor open for the caller. The server is not told
// the deadline, which would be that of the cursor: what a find or an aggregate does not use of its
// maxTimeMS is all the time that all of its getMores together have.
func (d *Direct) RunCursor(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error) {
	return d.run(ctx, db, cmd, sess, true)
}

// run is Run; undated keeps the deadline from the server.
func (d *Direct) run(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session, undated bool) (bson.Raw, error) {
	runCtx := ctx
	if undated {
		// The driver makes a maxTimeMS of every deadline it sees, and gives a socket
		// up only for a context that was cancelled.
		endless, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		runCtx = endless
	}
	if sess != nil {
		runCtx = mongo.NewSessionContext(runCtx, sess)
	}
	var document any = cmd
	if d.verbatim {
		document = command.Verbatim(cmd)
	}
	reply, err := d.database(db).RunCommand(runCtx, document, d.runOpt).Raw()
	if err != nil {
		return nil, d.explain(ctx, err, undated)
	}
	return reply, nil
}

func (d *Direct) database(name string) *mongo.Database {
	if db, ok := d.dbs.Load(name); ok {
		return db.(*mongo.Database)
	}
	db, _ := d.dbs.LoadOrStore(name, d.client.Database(name))
	return db.(*mongo.Database)
}

// explain says of the driver's error what the driver does not.
func (d *Direct) explain(ctx context.Context, err error, undated bool) error {
	if refused := d.login.error(d.host, err); refused != nil {
		return refused
	}
	if isMalformed(err) {
		return &messages.ProtocolError{Host: d.host, Reason: "a reply that is no valid BSON"}
	}
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return calledOffError(fmt.Sprintf("evenkeel: %s: called off with its connection: %v", d.host, err))
	}
	if !undated {
		return err
	}
	var cmd mongo.CommandError
	switch {
	case errors.As(err, &cmd) && cmd.IsMaxTimeMSExpiredError():
		return limitError{err}
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		// The driver knows of a cancellation only.
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// isMalformed reports whether the driver could not read a reply's document; all else that may be
// wrong with a reply has been refused by the Conn. The error's type lies in one of the driver's unstable
// packages; its text is pinned by this package's tests.
func isMalformed(err error) bool {
	var cmd mongo.CommandError
	return !errors.As(err, &cmd) && strings.HasPrefix(err.Error(), "malformed OP_")
}

// calledOffError is a cancellation that is the driver's own, of a client that
// is closed or a pool that was cleared. It must not match context.Canceled, which
// stands for the caller's.
type calledOffError string

func (e calledOffError) Error() string { return string(e) }

// limitError is the end of a maxTimeMS that is not the deadline's, but the command's own, its cursor's or
// the server's default: the server's answer to the query, which another host would give as well.
type limitError struct{ error }

func (e limitError) Unwrap() error { return e.error }

// bringsLimit reports whether the driver must not add a maxTimeMS to cmd.
func bringsLimit(cmd bson.Raw) bool {
	if first, err := cmd.IndexErr(0); err == nil && first.Key() == "getMore" {
		return true
	}
	_, err := cmd.LookupErr("maxTimeMS")
	return err == nil
}
