package server

import (
	"context"
	"time"
)

// A find or an aggregate leaves what it has not used of its maxTimeMS to the cursor that it opens, and
// all getMores together have that much time; what passes between them does not count. A cursor whose
// time is up is closed. The cursors of other commands have no limit.

// limited is the context of the command that c has received: it ends with the connection, and when the
// command has taken its time.
func (c *conn) limited() (context.Context, context.CancelFunc) {
	r := &c.req
	limit, ok := r.maxTime, r.maxTime > 0
	if r.cmd == getMoreCommand {
		limit, ok = c.s.cursors.left(r)
	}
	if !ok {
		return c.ctx, func() {}
	}
	return context.WithDeadline(c.ctx, r.received.Add(limit))
}

// left returns how much time a getMore has, if its cursor has a limit. The cursors of others are
// no business of its.
func (s *cursors) left(r *request) (d time.Duration, limited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cur := s.of(r); cur != nil && cur.limited {
		return cur.left, true
	}
	return 0, false
}

// expire closes the cursor of a getMore that had no time left.
func (s *cursors) expire(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cur := s.of(r); cur != nil && !cur.busy {
		delete(s.open, cur.id)
	}
}

// of is the cursor that a getMore names, nil when it is not its session's. s.mu must be held.
func (s *cursors) of(r *request) *cursor {
	id, _ := integral(r.first)
	if cur := s.open[id]; cur != nil && cur.session == r.session && cur.db == r.db {
		return cur
	}
	return nil
}

// leave gives a new cursor what the command has left of its maxTimeMS.
func (cur *cursor) leave(r *request) {
	if r.cmd.leaves && r.maxTime > 0 {
		cur.limited, cur.left = true, r.maxTime-time.Since(r.received)
	}
}
