package slave

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

const (
	// limitCursors is the Config field that a refusal names.
	limitCursors = "MaxCursors"
	// cursorIdle is how long a cursor is kept that nobody asks of: as long as the
	// server keeps it.
	cursorIdle = 10 * time.Minute
	// killTimeout bounds what it takes to close a cursor that nobody waits for.
	killTimeout = time.Second
	// cursorNotFound is the server's code for a cursor it does not have.
	cursorNotFound = 43
)

// cursors are those that are open on one service. Each keeps the session it was
// opened under: the server refuses a getMore under another.
type cursors struct {
	host string
	inc  uint64
	max  int

	mu   sync.Mutex
	open map[int64]*openCursor // mu
}

type openCursor struct {
	sess *mongo.Session
	used time.Time
	busy bool
}

func newCursors(host string, inc uint64, limit int) *cursors {
	return &cursors{host: host, inc: inc, max: limit, open: map[int64]*openCursor{}}
}

// add keeps a cursor that a read has opened.
func (c *cursors) add(id int64, cmd *command.Read, sess *mongo.Session) (*messages.Cursor, error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.max {
		for id, o := range c.open {
			if !o.busy && now.Sub(o.used) > cursorIdle {
				delete(c.open, id) // The server has closed it by now.
				o.end()
			}
		}
	}
	if n := len(c.open); n >= c.max {
		return nil, &messages.OverloadedError{Limit: limitCursors, Max: int64(c.max), Pending: int64(n), Host: c.host}
	}
	c.open[id] = &openCursor{sess: sess, used: now}
	return &messages.Cursor{Host: c.host, Incarnation: c.inc, ID: id, Database: cmd.Database, Collection: cmd.Collection}, nil
}

// take finds a cursor for one use. Ok is false when it is not there, busy when
// it is in use by another getMore.
func (c *cursors) take(id int64) (o *openCursor, busy, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o = c.open[id]
	switch {
	case o == nil:
		return nil, false, false
	case o.busy:
		return nil, true, true
	}
	o.busy, o.used = true, time.Now()
	return o, false, true
}

// put gives a cursor back after a use, or forgets it.
func (c *cursors) put(id int64, o *openCursor, keep bool) {
	c.mu.Lock()
	o.busy, o.used = false, time.Now()
	if !keep {
		delete(c.open, id)
	}
	c.mu.Unlock()
	if !keep {
		o.end()
	}
}

func (o *openCursor) end() {
	if o.sess != nil {
		o.sess.EndSession(context.Background())
	}
}

// len is the number of open cursors.
func (c *cursors) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// errCursorBusy is returned for a getMore while another of the same cursor is
// under way; the server would refuse it too.
var errCursorBusy = errors.New("the cursor is in use by another GetMore")

// askPinned runs a getMore or a killCursors.
func (s *service) askPinned(ctx context.Context, r *request.Read, rep *messages.ReadReply) error {
	c := r.Cmd.Cursor
	closing := r.Cmd.Kind == command.KindDone
	o, busy, ok := s.cursors.take(c.ID)
	switch {
	case !ok && closing:
		return nil // Closed already.
	case !ok:
		return &messages.CursorLostError{Host: c.Host, Err: errors.New("it is closed, or was never opened here")}
	case busy:
		return &messages.InvalidError{Field: "Cursor", Err: errCursorBusy}
	}
	raw, err := s.conn.Run(ctx, r.Cmd.Database, r.Cmd.Wire(command.Concern{}, 0), o.sess)
	var id int64
	if err == nil && !closing {
		id, err = r.Cmd.Parse(raw, rep)
	}
	if err == nil && id != 0 {
		s.cursors.put(c.ID, o, true)
		rep.Cursor = c
		if r.Done() {
			s.forgetCursor(c) // The batch is lost with its asker, and the cursor past it.
		}
		return nil
	}
	if err != nil && !closing {
		// A getMore is never sent twice, so that a batch whose reply was lost is lost: the
		// cursor is of no more use.
		s.kill(c.Database, c.Collection, c.ID, o.sess)
		s.cursors.put(c.ID, o, false)
		var cmdErr mongo.CommandError
		if errors.As(err, &cmdErr) && cmdErr.Code == cursorNotFound {
			return &messages.CursorLostError{Host: c.Host, Err: err}
		}
		return err
	}
	s.cursors.put(c.ID, o, false)
	return err
}

// forgetCursor closes a cursor whose asker has gone, in the background.
func (s *service) forgetCursor(c *messages.Cursor) {
	o, _, ok := s.cursors.take(c.ID)
	if !ok || o == nil {
		return
	}
	s.kill(c.Database, c.Collection, c.ID, o.sess)
	s.cursors.put(c.ID, o, false)
}

// kill closes a cursor on the server. It is a courtesy: the server closes it
// itself after its idle time, and nobody hears of a failure.
func (s *service) kill(db, coll string, id int64, sess *mongo.Session) {
	cmd, err := bson.Marshal(bson.D{{Key: "killCursors", Value: coll}, {Key: "cursors", Value: bson.A{id}}})
	if err != nil || s.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, killTimeout)
	defer cancel()
	_, _ = s.conn.Run(ctx, db, cmd, sess)
}
