package server

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// sessionTimeout is what hello announces as logicalSessionTimeoutMinutes.
const sessionTimeout = 30 * time.Minute

// sessions are the logical sessions that clients have used.
type sessions struct {
	mu     sync.Mutex
	open   map[string]*session
	reaped time.Time
}

type session struct {
	used time.Time
	// holders are the commands that have checked it out or wait to; it stays in the
	// table as long as there are any, so that all of them wait for each other.
	holders int
	// busy holds a token while a retryable write of the session executes.
	busy chan struct{}
}

// touch notes that a session is in use.
func (s *sessions) touch(id string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	s.get(id).used = time.Now()
	s.mu.Unlock()
}

// get returns a session, which it makes when there is none. The caller must hold
// s.mu.
func (s *sessions) get(id string) *session {
	if one, ok := s.open[id]; ok {
		return one
	}
	now := time.Now()
	if s.open == nil {
		s.open = map[string]*session{}
	}
	if now.Sub(s.reaped) > time.Minute {
		s.reaped = now
		for old, one := range s.open {
			if now.Sub(one.used) > sessionTimeout && one.holders == 0 {
				delete(s.open, old)
			}
		}
	}
	one := &session{used: now, busy: make(chan struct{}, 1)}
	s.open[id] = one
	return one
}

// checkOut gives one command the session for itself; it waits while another one
// has it.
func (s *sessions) checkOut(ctx context.Context, id string) (release func(), err error) {
	s.mu.Lock()
	one := s.get(id)
	one.holders++
	s.mu.Unlock()
	select {
	case one.busy <- struct{}{}:
		return func() {
			<-one.busy
			s.leave(one)
		}, nil
	case <-ctx.Done():
		s.leave(one)
		return nil, ctx.Err()
	}
}

func (s *sessions) leave(one *session) {
	s.mu.Lock()
	one.holders--
	s.mu.Unlock()
}

// end forgets a session, unless a command still holds it.
func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.open[id]; ok && one.holders == 0 {
		delete(s.open, id)
	}
}

var sessionCommands = []*command{
	{name: "startSession", run: startSession},
	{name: "refreshSessions", run: refreshSessions, inV1: true},
	{name: "endSessions", run: endSessions, inV1: true},
	{name: "killSessions", run: killSessions},
	{name: "killAllSessions", run: killAllSessions},
}

func startSession(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		p.unknown()
	}
	if p.err != nil {
		return p.err
	}
	id := newUUID()
	c.s.sessions.touch(sessionName(id))
	at := c.out.doc("id")
	c.out.binary("id", bson.TypeBinaryUUID, id[:])
	c.out.close(at)
	c.out.int32("timeoutMinutes", int32(sessionTimeout/time.Minute))
	return nil
}

func refreshSessions(c *conn, r *request) error {
	return eachSession(r, c.s.sessions.touch)
}

func endSessions(c *conn, r *request) error {
	return eachSession(r, func(id string) {
		c.s.cursors.closeOfSession(id)
		c.s.sessions.end(id)
	})
}

func killSessions(c *conn, r *request) error { return endSessions(c, r) }

func killAllSessions(c *conn, r *request) error {
	if r.first.Type != bson.TypeArray {
		return errType(r.name, r.name, r.first.Type, "array")
	}
	p := r.fields()
	for p.next() {
		p.unknown()
	}
	if p.err != nil {
		return p.err
	}
	s := scan(r.first.Value)
	if _, some := s.next(); some {
		return refuse(codeNotImplemented, "killAllSessions of single users is not supported")
	}
	c.s.cursors.closeAll()
	return nil
}

// eachSession calls fn for each session that a command names in its array.
func eachSession(r *request, fn func(id string)) error {
	if r.first.Type != bson.TypeArray {
		return errType(r.name, r.name, r.first.Type, "array")
	}
	p := r.fields()
	for p.next() {
		p.unknown()
	}
	if p.err != nil {
		return p.err
	}
	var ids []string
	for s := scan(r.first.Value); ; {
		f, ok := s.next()
		if !ok {
			break
		}
		place := r.name + "." + r.name + "FromClient"
		if f.value.Type != bson.TypeEmbeddedDocument {
			return errType(place, string(f.key), f.value.Type, "object")
		}
		id, err := sessionID(place, f.value.Value)
		if err != nil {
			return err
		}
		ids = append(ids, sessionName(id))
	}
	for _, id := range ids {
		fn(id)
	}
	return nil
}
