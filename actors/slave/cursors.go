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
//
// A cursor is held from when it is opened or taken until the reply with its batch is
// certain to be delivered. Given back earlier, a second getMore could get the batch after
// one that nobody has received, because its asker's time was up at that moment.
type cursors struct {
	host *Host
	inc  uint64

	mu     sync.Mutex
	open   map[int64]*openCursor // mu
	closed bool                  // mu
}

type openCursor struct {
	sess    *mongo.Session
	used    time.Time // when it was last taken or given back
	held    bool
	closing bool // its owner has closed it while a getMore was under way
}

func newCursors(h *Host, inc uint64) *cursors {
	return &cursors{host: h, inc: inc, open: map[int64]*openCursor{}}
}

// add keeps a cursor that a read has opened, and its session. It is held.
func (c *cursors) add(id int64, cmd *command.Read, sess *mongo.Session) (*messages.Cursor, error) {
	now, limit := time.Now(), c.host.cfg.MaxCursors
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= limit {
		for id, o := range c.open {
			if !o.held && now.Sub(o.used) > cursorIdle {
				c.remove(id, o) // The server has closed it by now.
			}
		}
	}
	if n := len(c.open); n >= limit {
		c.host.cursorsFull.Refused()
		return nil, &messages.OverloadedError{Limit: limitCursors, Max: int64(limit), Pending: int64(n), Host: c.host.name}
	}
	if c.open[id] != nil {
		// A server's numbers are random and of 63 bits. The one who has the other cursor must not
		// get the documents of this one.
		return nil, &messages.ProtocolError{Host: c.host.name, Reason: "two open cursors with one number"}
	}
	c.open[id] = &openCursor{sess: sess, used: now, held: true}
	return &messages.Cursor{Host: c.host.name, Incarnation: c.inc, ID: id, Database: cmd.Database, Collection: namespace(cmd)}, nil
}

// namespace is the collection that a cursor's commands name.
func namespace(cmd *command.Read) string {
	if cmd.Collection == "" {
		return "$cmd.aggregate" // So the server calls what an aggregate on the database reads.
	}
	return cmd.Collection
}

// take holds a cursor for one use. Ok is false when it is not there, held when it is
// held already: one that is to be closed then is closed by whoever holds it.
func (c *cursors) take(id int64, closing bool) (o *openCursor, held, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o = c.open[id]
	switch {
	case o == nil:
		return nil, false, false
	case o.held:
		o.closing = o.closing || closing
		return nil, true, true
	}
	o.held, o.used = true, time.Now()
	return o, false, true
}

// put gives a held cursor back, unless it is to be closed: then it is held on.
func (c *cursors) put(id int64) (closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[id]
	if o.closing {
		return true
	}
	o.held, o.used = false, time.Now()
	if c.closed {
		c.remove(id, o)
	}
	return false
}

// drop forgets a held cursor.
func (c *cursors) drop(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(id, c.open[id])
}

// remove forgets a cursor and gives its session back. c.mu must be held.
func (c *cursors) remove(id int64, o *openCursor) {
	delete(c.open, id)
	if o != nil {
		endSession(o.sess)
	}
}

// close forgets all cursors; those that are held, when they are given back.
func (c *cursors) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, o := range c.open {
		if !o.held {
			c.remove(id, o)
		}
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

// askPinned runs a getMore or a killCursors. When rep.Cursor is set afterwards the
// cursor is held.
func (s *service) askPinned(ctx context.Context, cmd *command.Read, rep *messages.ReadReply) error {
	c, closing := cmd.Cursor, cmd.Kind == command.KindDone
	o, held, ok := s.cursors.take(c.ID, closing)
	switch {
	case closing && (!ok || held):
		return nil // Closed already, or as soon as the getMore is back.
	case !ok:
		return &messages.CursorLostError{Host: c.Host, Err: errors.New("it is closed, or was never opened here")}
	case held:
		return &messages.InvalidError{Field: "Cursor", Err: errCursorBusy}
	}
	defer func() {
		if rep.Cursor == nil {
			s.cursors.drop(c.ID)
		}
	}()
	raw, err := s.conn.Run(ctx, cmd.Database, cmd.Wire(command.Concern{}, 0), o.sess)
	if closing {
		return err
	}
	var id int64
	if err == nil {
		id, err = s.parse(cmd, raw, rep)
	}
	if err == nil && id != 0 && id != c.ID {
		*rep = messages.ReadReply{Host: rep.Host, Attempts: rep.Attempts}
		err = &messages.ProtocolError{Host: s.host.name, Reason: "a batch of another cursor"}
	}
	var cmdErr mongo.CommandError
	switch {
	case err == nil && id != 0:
		rep.Cursor = c
	case err == nil: // At its end.
	case errors.As(err, &cmdErr) && cmdErr.Code == cursorNotFound:
		return &messages.CursorLostError{Host: c.Host, Err: err}
	default:
		// A getMore is never sent twice, so that a batch whose reply was lost is lost: the
		// cursor is of no more use.
		s.kill(c.Database, c.Collection, c.ID, o.sess)
	}
	return err
}

// orphan is a cursor that nobody will ask of, to be closed.
type orphan struct {
	db, coll string
	id       int64
	sess     *mongo.Session
	held     bool // it is one of the service's; else its session is the orphan's
}

// deliver answers a read whose cursor, if it has one, is held. The cursor is given back
// when the answer is certain; it is to be closed when there is nobody to answer, as the
// batch is lost then.
func (s *service) deliver(r *request.Read, rep *messages.ReadReply) *orphan {
	c := rep.Cursor
	if c == nil {
		r.Reply(rep)
		return nil
	}
	closing := false
	if !r.ReplyAfter(rep, func() { closing = s.cursors.put(c.ID) }) || closing {
		return s.abandon(c)
	}
	return nil
}

// abandon makes an orphan of a held cursor.
func (s *service) abandon(c *messages.Cursor) *orphan {
	s.cursors.mu.Lock()
	defer s.cursors.mu.Unlock()
	return &orphan{c.Database, c.Collection, c.ID, s.cursors.open[c.ID].sess, true}
}

// bury closes cursors that nobody will ask of.
func (s *service) bury(left []*orphan) {
	for _, o := range left {
		s.kill(o.db, o.coll, o.id, o.sess)
		if o.held {
			s.cursors.drop(o.id)
		} else {
			endSession(o.sess)
		}
	}
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
	_ = guarded(func() error {
		_, err := s.conn.Run(ctx, db, cmd, sess)
		return err
	})
}
