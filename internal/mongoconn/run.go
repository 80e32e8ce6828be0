package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Run sends a command once and returns the server's whole reply, which is the
// caller's to keep. The read preference is such that a secondary serves. A nil
// session means one of the driver's own.
//
// The driver tells the server the context's deadline as maxTimeMS. A command
// that brings a maxTimeMS of its own keeps that one, and a getMore gets none,
// which servers refuse there.
//
// An error of the server is a mongo.CommandError. The end of the attempt's own
// time matches context.DeadlineExceeded, also where the server noticed it first
// (50 MaxTimeMSExpired); a MaxTimeMSExpired that does not match is that of the
// command's own maxTimeMS. A refused login is an *AuthError.
func (d *Direct) Run(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error) {
	runCtx := ctx
	ownLimit := bringsLimit(cmd)
	if ownLimit {
		runCtx = undated{ctx}
	}
	if sess != nil {
		runCtx = mongo.NewSessionContext(runCtx, sess)
	}
	reply, err := d.database(db).RunCommand(runCtx, cmd, d.runOpt).Raw()
	if err != nil {
		return nil, d.explain(ctx, err, ownLimit)
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
func (d *Direct) explain(ctx context.Context, err error, ownLimit bool) error {
	if auth := authError(d.host, err, d.hide); auth != nil {
		return auth
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	if ctx.Err() != nil && IsNetwork(err) {
		// The end of an undated context shows as a closed socket.
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	var cmd mongo.CommandError
	if !ownLimit && errors.As(err, &cmd) && cmd.IsMaxTimeMSExpiredError() {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}

// undated is a context that ends without having said so before: the driver
// makes no maxTimeMS of it. When it ends, the driver closes the socket.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

// bringsLimit reports whether the driver must not add a maxTimeMS to cmd.
func bringsLimit(cmd bson.Raw) bool {
	if first, err := cmd.IndexErr(0); err == nil && first.Key() == "getMore" {
		return true
	}
	_, err := cmd.LookupErr("maxTimeMS")
	return err == nil
}
