package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/messages"
)

// Cursor is a stream of documents, with the methods of the driver's Cursor. It
// holds one batch at a time. Like the driver's it is for one goroutine at a time, and
// must be closed, or read to its end, or else the server keeps it for minutes.
//
// All batches come from the member that has answered the first time. When that is
// lost, the cursor is: Next returns false, and Err a *messages.CursorLostError that says
// how many documents came before.
//
// A tailing cursor that awaits documents takes one of the host's
// Config.OtherWorkers for as long as each getMore waits.
type Cursor struct {
	// Current is the document that Next has come to. It is valid until the next call
	// of Next, TryNext, All or Close.
	Current bson.Raw

	source source
	codec  *codec
	batch  []bson.Raw       // what is left of the batch
	rest   *messages.Cursor // nil when the server has no more
	fresh  bool             // the first batch was not looked at yet
	came   int64            // documents in all batches so far
	err    error

	tailable  bool
	batchSize int32
	maxAwait  *time.Duration
	comment   any
}

// source is where a cursor's batches come from.
type source interface {
	// more asks for the next batch. Patience is how long the server may wait for it.
	more(ctx context.Context, op messages.GetMore, patience time.Duration) (*messages.ReadReply, error)
	// close closes the cursor on the server.
	close(ctx context.Context, c *messages.Cursor) error
}

// take makes a reply's batch the cursor's.
func (c *Cursor) take(rep *messages.ReadReply) {
	c.batch, c.rest = rep.Documents, rep.Cursor
	c.came += int64(len(rep.Documents))
}

// ID is the server's number for the cursor, 0 when it is closed or at its end.
func (c *Cursor) ID() int64 {
	if c.rest == nil {
		return 0
	}
	return c.rest.ID
}

// Next goes to the next document, and waits for one. It returns false at the end and
// on an error, and from then on always.
func (c *Cursor) Next(ctx context.Context) bool { return c.next(ctx, true) }

// TryNext is Next for a tailing cursor: it asks the server once at most. It also
// returns false when there is no document yet; ID is not 0 and Err is nil then, and
// it may be called again.
func (c *Cursor) TryNext(ctx context.Context) bool { return c.next(ctx, false) }

func (c *Cursor) next(ctx context.Context, wait bool) bool {
	if c.err != nil {
		return false
	}
	if ctx == nil {
		ctx = context.Background()
	}
	if wait && c.maxAwait != nil {
		if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && time.Until(deadline) <= *c.maxAwait {
			c.err = &messages.InvalidError{Field: "MaxAwaitTime", Err: fmt.Errorf("%v is not less than the time that the context leaves", *c.maxAwait)}
			return false
		}
	}
	for asked := false; ; asked = true {
		if len(c.batch) > 0 {
			c.Current, c.batch = c.batch[0], c.batch[1:]
			c.fresh = false
			return true
		}
		if c.rest == nil || !wait && (asked || c.fresh) {
			c.fresh = false
			return false
		}
		if c.err = c.more(ctx); c.err != nil {
			return false
		}
	}
}

// minReply is the least time that a reply is given beyond what the server waits.
const minReply = 5 * time.Millisecond

// more gets the next batch.
func (c *Cursor) more(ctx context.Context) error {
	c.fresh = false
	op := messages.GetMore{Cursor: c.rest, BatchSize: max(0, c.batchSize), Comment: c.comment}
	if c.maxAwait != nil {
		op.MaxAwaitTime = c.maxAwait.Truncate(time.Millisecond)
		if deadline, ok := ctx.Deadline(); ok {
			// Leaves the server time to say that there is nothing.
			left := time.Until(deadline)
			left -= max(left/10, minReply)
			if left <= 0 {
				return &messages.DeadlineError{Phase: "queued"}
			}
			op.MaxAwaitTime = min(op.MaxAwaitTime, left)
		}
	}
	rep, err := c.source.more(ctx, op, op.MaxAwaitTime)
	if err == nil {
		c.take(rep)
		return nil
	}
	var lost *messages.CursorLostError
	if errors.As(err, &lost) {
		c.rest = nil // There is nothing left to close.
		told := *lost
		told.Returned = c.came
		return &told
	}
	return err
}

// Decode decodes Current into val.
func (c *Cursor) Decode(val any) error { return c.codec.decode(c.Current, val) }

// Err is the error that has ended the cursor, nil for none.
func (c *Cursor) Err() error { return c.err }

// Close closes the cursor, on the server too. It waits for that no longer than ctx
// lasts, but the server is told even when ctx is over already. Closing twice, or at the
// end, is fine. After messages.ErrOverloaded it may be called again.
func (c *Cursor) Close(ctx context.Context) error {
	c.batch = nil
	if c.rest == nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	err := c.source.close(ctx, c.rest)
	if errors.Is(err, messages.ErrOverloaded) {
		return err
	}
	c.rest = nil
	return err
}

// All decodes all documents that are left, those that Next has not come to, into
// results, a pointer to a slice, which is overwritten, and closes the cursor. On an
// error the slice stays as it was. Of a tailing cursor they are all up to the first time
// that the server has no more.
func (c *Cursor) All(ctx context.Context, results any) error {
	target := reflect.ValueOf(results)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("evenkeel: Cursor.All takes a pointer to a slice, not %T", results)
	}
	target = target.Elem()
	slice := target
	if slice.Kind() == reflect.Interface {
		slice = slice.Elem()
	}
	if slice.Kind() != reflect.Slice {
		return fmt.Errorf("evenkeel: Cursor.All takes a pointer to a slice, not %T", results)
	}
	defer func() { _ = c.Close(context.Background()) }() // Also when ctx is over.
	if c.err != nil {
		return c.err
	}
	// What the slice had is left alone until all is there.
	out := reflect.Zero(slice.Type())
	if !slice.IsNil() {
		out = reflect.MakeSlice(slice.Type(), 0, len(c.batch))
	}
	if ctx == nil {
		ctx = context.Background()
	}
	for {
		for _, doc := range c.batch {
			v := reflect.New(slice.Type().Elem())
			if err := c.codec.decode(doc, v.Interface()); err != nil {
				return err
			}
			out = reflect.Append(out, v.Elem())
		}
		c.batch = nil
		if c.rest == nil {
			break
		}
		if c.err = c.more(ctx); c.err != nil {
			return c.err
		}
		if c.tailable && len(c.batch) == 0 {
			break
		}
	}
	target.Set(out)
	return nil
}

// RemainingBatchLength is how many documents are left before the server is asked
// again.
func (c *Cursor) RemainingBatchLength() int { return len(c.batch) }

// SetBatchSize sets how many documents later batches have at most, 0 to leave it to
// the server.
func (c *Cursor) SetBatchSize(batchSize int32) { c.batchSize = batchSize }

// SetMaxAwaitTime sets how long the server may wait for documents, on a tailing
// cursor that awaits them. Servers refuse it on any other.
func (c *Cursor) SetMaxAwaitTime(dur time.Duration) { c.maxAwait = &dur }

// SetComment sets what is said along with later getMores in the server's logs. It is
// encoded when it is sent.
func (c *Cursor) SetComment(comment any) { c.comment = comment }

// member is the source of a cursor that a member holds.
type member struct{ scope }

func (m *member) more(ctx context.Context, op messages.GetMore, patience time.Duration) (*messages.ReadReply, error) {
	read := m.asking("", op)
	if patience > 0 {
		timeout := m.app.cfg.ReadTimeout
		if timeout == 0 {
			timeout = router.DefaultReadTimeout
		}
		read.Deadline = time.Now().Add(patience + timeout)
	}
	return m.read(ctx, read)
}

func (m *member) close(ctx context.Context, c *messages.Cursor) error {
	replies := make(chan error, 1)
	m.app.router.Submit(m.asking("", messages.CloseCursor{Cursor: c}), func(rep *messages.ReadReply) { replies <- rep.Err })
	select {
	case err := <-replies:
		if errors.Is(err, messages.ErrCursorLost) {
			return nil // It was closed in another way.
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
