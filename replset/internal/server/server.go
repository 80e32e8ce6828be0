// Package server is one member's face to its clients: TCP connections, the wire
// protocol, commands, sessions, cursors, fail points, TLS and logins, as a mongod
// of a current version shows them. The replicated state behind it is a
// [repl.Node]; the query language is package query. What this server does not do
// it refuses with the code that a real one would use.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// ErrClosed is returned by Serve on a closed server.
var ErrClosed = errors.New("server: closed")

// Config says what a server serves. Node is required; every other field may be
// left zero.
type Config struct {
	Node repl.Node
	// TLS, if set, makes every connection start with a TLS handshake.
	TLS *tls.Config
	// Users may log in, with SCRAM or a client's certificate; each of them may do everything.
	// With none, no login is needed.
	Users []User
	// Version is the series of releases that the server speaks for. Defaults to
	// DefaultVersion.
	Version Version
	// Faults strike this server's commands and connections; nil is none, for good.
	Faults *Faults
}

// Server serves the connections to one member. All methods may be called from
// any goroutine.
type Server struct {
	node    repl.Node
	tls     *tls.Config
	users   *users // nil for none: then nobody need log in
	version Version
	started time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // one for each connection being served, and watch
	nextID atomic.Int32

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
	total  int64 // connections ever accepted

	gate     gate
	slow     slowness
	faults   *Faults
	counters counters
	fails    failPoint // failCommand
	// transactionalFail is onPrimaryTransactionalWrite.
	transactionalFail failPoint
	sessions          sessions
	cursors           cursors
	ops               operations
}

// New returns a server that is ready to Serve.
func New(cfg Config) *Server {
	s := &Server{
		node:    cfg.Node,
		tls:     cfg.TLS,
		version: cfg.Version,
		started: time.Now(),
		conns:   map[*conn]struct{}{},
	}
	if s.faults = cfg.Faults; s.faults == nil {
		s.faults = &Faults{}
	}
	if s.version == (Version{}) {
		s.version, _ = ParseVersion(DefaultVersion) // there is one of that name
	}
	if len(cfg.Users) > 0 {
		s.users = newUsers(cfg.Users)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.gate.init()
	s.counters.init()
	s.cursors.init()
	s.wg.Go(s.watch)
	return s
}

// watch hangs up on every client when the member rolls back or is removed: what it has told
// them may be no longer so (ReplicationCoordinatorImpl::_performPostMemberStateUpdateAction).
func (s *Server) watch() {
	seen := s.node.Status().HangUps
	for {
		changed := s.node.StatusChanged()
		if now := s.node.Status().HangUps; now != seen {
			seen = now
			s.CloseConnections()
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		}
	}
}

// Serve speaks with one client until the connection ends, and closes it. The
// error says why it ended; a client that simply leaves is io.EOF.
func (s *Server) Serve(nc net.Conn) error { return s.serve(newConn(s, nc, false)) }

// ServeAstray is Serve for a client that has dialled the address of another
// server. It is served alike; what it has executed is counted in Counters.Astray too.
func (s *Server) ServeAstray(nc net.Conn) error { return s.serve(newConn(s, nc, true)) }

func (s *Server) serve(c *conn) error {
	if !s.add(c) {
		c.raw.Close()
		return ErrClosed
	}
	defer s.remove(c)
	if s.faults.refuses() {
		return errCut
	}
	return c.serve()
}

// CloseConnections hangs up on every client. Commands that have been received
// are executed all the same, as by a server that lost its network. New connections
// are served.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.hangUp()
	}
}

// Close cuts every connection, gives up the commands under way, waits until each
// Serve has returned, and makes further ones fail with ErrClosed. Closing twice is
// fine.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.cursors.closeAll()
}

// Freeze stops this server as SIGSTOP would a process: connections stay open and
// take bytes into their buffers, but nothing is executed or answered until
// Unfreeze. What was received meanwhile is then worked off.
func (s *Server) Freeze() { s.gate.freeze() }

// Unfreeze ends Freeze.
func (s *Server) Unfreeze() { s.gate.thaw() }

// Slow adds d to the time each execution of the command takes, or that every
// command takes when its name is empty. A zero d takes it away again.
func (s *Server) Slow(command string, d time.Duration) { s.slow.set(command, d) }

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	s.conns[c] = struct{}{}
	s.total++
	return true
}

func (s *Server) remove(c *conn) {
	c.cut()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.wg.Done()
}

// connections returns how many connections there are and have been.
func (s *Server) connections() (current int, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.total
}
