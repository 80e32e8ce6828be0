package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// DefaultSelectionTimeout is how long an operation of a set-aware client waits for
// a server to be there, unless its context ends before.
const DefaultSelectionTimeout = 30 * time.Second

// setGrace is how long a closed set-aware client may take to end its sessions.
const setGrace = time.Second

// SetConfig is what OpenSet needs. Base is required, with at least one host in
// it.
type SetConfig struct {
	// Base are the embedder's options. They are not changed. Its monitors are called
	// after ours; its dialer, where there is one, opens the sockets.
	Base *options.ClientOptions
	// Expect says who must answer, at each address that the driver dials. Its Address
	// is not used. Its Aliases work in both directions: where the driver dials
	// a member's name, the address that is configured for it is dialled instead.
	Expect Expect
	// ConnectTimeout defaults to DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Heartbeat defaults to DefaultHeartbeat; the driver takes nothing below.
	Heartbeat time.Duration
	// SelectionTimeout defaults to DefaultSelectionTimeout.
	SelectionTimeout time.Duration
	// OnPrimary is called when the set's primary changes, with "" when there is none.
	// Of two primaries the later one has the higher election id (before
	// MongoDB 6.0: set version, then election id). It is called under the driver's lock:
	// it must not block and must not use the client. Optional.
	OnPrimary func(host string, electionID bson.ObjectID, setVersion uint32)
	// OnRefused is called when a socket to address has led to somebody else, or to a
	// server that is not a member (see IsRefusal). It must not block. Optional.
	OnRefused func(address string, err error)
	// Resolver defaults to net.DefaultResolver.
	Resolver Resolver
}

// Set is the set-aware client.
type Set struct {
	closer
	cfg    SetConfig
	client *mongo.Client
	dialer *setDialer
	wire   atomic.Int32 // the primary's wire version

	mu      sync.Mutex
	primary primary // the latest told
}

type primary struct {
	host       string
	electionID bson.ObjectID
	setVersion uint32
}

// OpenSet makes the set-aware client and lets it connect in the background. Its
// error says what can never work in cfg.
func OpenSet(cfg SetConfig) (*Set, error) {
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if cfg.SelectionTimeout <= 0 {
		cfg.SelectionTimeout = DefaultSelectionTimeout
	}
	cfg.Heartbeat = max(cfg.Heartbeat, DefaultHeartbeat)
	if len(cfg.Base.Hosts) == 0 {
		return nil, errors.New("evenkeel: set-aware client: no host")
	}
	s := &Set{closer: closer{done: make(chan struct{})}, cfg: cfg}
	s.dialer = &setDialer{set: s, byAddr: map[string]*Dialer{}}
	var err error
	if s.client, err = mongo.Connect(s.options()); err != nil {
		s.dialer.Shut()
		return nil, fmt.Errorf("evenkeel: set-aware client: %s", hiderOf(cfg.Base)(err.Error()))
	}
	return s, nil
}

// options are the embedder's, with what this client must own set over them.
func (s *Set) options() *options.ClientOptions {
	o := *s.cfg.Base // Its slices and pointers are shared, and only replaced below.
	own(&o, s.dialer, s.cfg.ConnectTimeout, s.cfg.Heartbeat)
	o.SetDirect(false)
	if name := s.cfg.Expect.set(); name != "" {
		o.SetReplicaSet(name)
	}
	// With a deadline in its context a write is retried until then, always with
	// the same transaction number, so that it is executed once.
	o.SetRetryWrites(true)
	o.SetServerSelectionTimeout(s.cfg.SelectionTimeout)
	o.SetServerMonitoringMode(options.ServerMonitoringModeStream)
	if o.WriteConcern == nil {
		o.SetWriteConcern(writeconcern.Majority())
	}
	o.ServerMonitor = chainServer(&event.ServerMonitor{TopologyDescriptionChanged: s.topology}, o.ServerMonitor)
	o.Monitor = chainCommand(attemptsMonitor, o.Monitor)
	return &o
}

// topology looks for the primary. The driver calls it in the order of the
// changes, but for the last one, of a client being closed.
func (s *Set) topology(e *event.TopologyDescriptionChangedEvent) {
	if s.closing.Load() {
		return
	}
	var now primary
	var wire int32
	for i := range e.NewDescription.Servers {
		d := &e.NewDescription.Servers[i]
		// A standalone is as good as a primary.
		if k := kindOf(d.Kind, false); k == Primary || k == Standalone {
			now, wire = primary{canonical(string(d.Addr)), d.ElectionID, d.SetVersion}, d.MaxWireVersion
		}
	}
	s.wire.Store(wire)
	if s.cfg.OnPrimary == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now != s.primary {
		s.primary = now
		s.cfg.OnPrimary(now.host, now.electionID, now.setVersion)
	}
}

// Verbatim reports whether the driver's own registry encodes what the client sends; one of
// the game's may do it in ways of its own.
func (s *Set) Verbatim() bool { return s.cfg.Base.Registry == nil }

// Client is the driver's client. It must not be disconnected.
func (s *Set) Client() *mongo.Client { return s.client }

// WireVersion is the latest wire version that the primary, or the standalone,
// has said it speaks; 0 while there is none. In a rolling upgrade the next
// primary may speak an older one than this: what is sent by it must be prepared to be
// refused.
func (s *Set) WireVersion() int32 { return s.wire.Load() }

// StartSession starts a session without causal consistency, such as a lane of
// writes owns.
func (s *Set) StartSession() (*mongo.Session, error) {
	return s.client.StartSession(options.Session().SetCausalConsistency(false))
}

// Close closes the client in the background. Closing twice is fine.
func (s *Set) Close() { s.close(s.client, setGrace, s.dialer.Shut) }

// Closed is closed when, after Close, no socket and no goroutine of the client is
// left.
func (s *Set) Closed() <-chan struct{} { return s.done }

// setDialer has a Dialer for each address that the driver dials.
type setDialer struct {
	set *Set

	mu     sync.Mutex
	shut   bool
	byAddr map[string]*Dialer
}

// DialContext opens a socket to the member at addr. It implements
// options.ContextDialer.
func (s *setDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d, err := s.dialer(canonical(addr))
	if err != nil {
		return nil, err
	}
	return d.DialContext(ctx, network, addr)
}

func (s *setDialer) dialer(addr string) (*Dialer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil, net.ErrClosed
	}
	if d := s.byAddr[addr]; d != nil {
		return d, nil
	}
	cfg := s.set.cfg
	expect := cfg.Expect
	expect.Address = expect.AddressOf(addr)
	d, err := NewDialer(DialerConfig{
		Host:  expect.Address,
		Check: expect.check,
		Refused: func(err error) {
			if cfg.OnRefused != nil && !s.set.closing.Load() {
				cfg.OnRefused(expect.Address, err)
			}
		},
		TLS:            cfg.Base.TLSConfig,
		ConnectTimeout: cfg.ConnectTimeout,
		Resolver:       cfg.Resolver,
		Via:            cfg.Base.Dialer,
		// This client lives as long as the app: a member may move meanwhile.
		Forget: true,
	})
	if err != nil {
		return nil, err
	}
	s.byAddr[addr] = d
	return d, nil
}

// Shut closes every open socket, ends the dials under way and refuses new ones.
func (s *setDialer) Shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	for _, d := range s.byAddr {
		d.Shut()
	}
}
