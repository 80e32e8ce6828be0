package command

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

func (e *Encoder) getMore(r *Read, op messages.GetMore) error {
	if err := r.pin(op.Cursor, "pass ReadReply.Cursor, which is nil too when there is no more"); err != nil {
		return err
	}
	if op.BatchSize < 0 {
		return invalid("BatchSize", fmt.Errorf("%d is negative", op.BatchSize))
	}
	if op.MaxAwaitTime < 0 {
		return invalid("MaxAwaitTime", fmt.Errorf("%v is negative", op.MaxAwaitTime))
	}
	d := newBody(len(r.Collection) + 96)
	d.int64("getMore", r.Cursor.ID)
	d.str("collection", r.Collection)
	if op.BatchSize > 0 {
		d.int32("batchSize", op.BatchSize)
	}
	if op.MaxAwaitTime > 0 {
		d.int64("maxTimeMS", milliseconds(op.MaxAwaitTime))
	}
	d.comment(e, op.Comment)
	var err error
	r.Name, r.Kind = "getMore", KindBatch
	r.Body, err = d.command()
	return err
}

func (e *Encoder) closeCursor(r *Read, op messages.CloseCursor) error {
	if err := r.pin(op.Cursor, "there is nothing to close"); err != nil {
		return err
	}
	d := newBody(len(r.Collection) + 64)
	d.str("killCursors", r.Collection)
	start := d.open(bson.TypeArray, "cursors")
	d.int64("0", r.Cursor.ID)
	d.close(start)
	r.Name, r.Kind, r.Body = "killCursors", KindDone, d.end()
	return nil
}

// pin makes r one for the host of a cursor.
func (r *Read) pin(c *messages.Cursor, instead string) error {
	if c == nil || c.ID == 0 {
		return invalid("Cursor", errors.New("it is nil; "+instead))
	}
	copied := *c
	r.Database, r.Collection, r.Cursor = c.Database, c.Collection, &copied
	r.Class, r.TakesReadConcern = Pinned, false
	return namespace(r.Database, r.Collection, true)
}
