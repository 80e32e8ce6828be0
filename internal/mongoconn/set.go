package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

// DefaultSelectionTimeout is how long an operation of a set-aware client waits for
// a server to be there, unless its context ends before.
const DefaultSelectionTimeout = 30 * time.Second

// spareSockets is how many sockets to a server the client may have beside those of the writers, for what
// the game does with it: the driver's own default.
const spareSockets = 100

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
	// Writers is how many operations of the master's there may be at a time. What the game does with
	// the client has 100 sockets besides.
	Writers int
	// OnPrimary is called when the set's primary changes, with "" when there is none.
	// Of two primaries the later one has the higher election id (before
	// MongoDB 6.0: set version, then election id). It is called under the driver's lock:
	// it must not block and must not use the client. Optional.
	OnPrimary func(host string, electionID bson.ObjectID, setVersion uint32)
	// OnLoginRefused is called when the primary has refused a login. It is called from the
	// driver's goroutines: it must not block and must not use the client. Optional.
	OnLoginRefused func(*messages.LoginError)
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
	// servers are those of the latest topology; never changed.
	servers atomic.Pointer[[]event.ServerDescription]

	life   context.Context // ends with Close
	end    context.CancelFunc
	login  login
	trials sync.WaitGroup // of TryLogin

	mu      sync.Mutex
	primary primary // mu; the latest told
	latest  string  // mu; the latest that was one
	over    bool    // mu; no trial is begun any more
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
	s := &Set{closer: closer{done: make(chan struct{})}, cfg: cfg, login: loginOf(cfg.Base)}
	s.life, s.end = context.WithCancel(context.Background())
	s.dialer = &setDialer{set: s, byAddr: map[string]*Dialer{}}
	var err error
	if s.client, err = mongo.Connect(s.options()); err != nil {
		s.end()
		s.dialer.Shut()
		return nil, fmt.Errorf("evenkeel: set-aware client: %s", s.login.hide(err.Error()))
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
	o.SetMaxPoolSize(uint64(s.cfg.Writers + spareSockets))
	if o.MinPoolSize != nil && *o.MinPoolSize > *o.MaxPoolSize {
		o.SetMinPoolSize(*o.MaxPoolSize)
	}
	o.SetServerMonitoringMode(options.ServerMonitoringModeStream)
	if o.WriteConcern == nil {
		o.SetWriteConcern(writeconcern.Majority())
	}
	o.ServerMonitor = chainServer(&event.ServerMonitor{TopologyDescriptionChanged: s.topology}, o.ServerMonitor)
	o.PoolMonitor = chainPool(&event.PoolMonitor{Event: s.poolEvent}, o.PoolMonitor)
	o.Monitor = chainCommand(attemptsMonitor, o.Monitor)
	return &o
}

// poolEvent looks for refused logins at the primary.
func (s *Set) poolEvent(e *event.PoolEvent) {
	if e.Type != event.ConnectionClosed || e.Error == nil || s.cfg.OnLoginRefused == nil || s.closing.Load() {
		return
	}
	at := Canonical(e.Address)
	s.mu.Lock()
	latest := s.latest
	s.mu.Unlock()
	if at != latest {
		return
	}
	if refused := s.login.error(s.cfg.Expect.AddressOf(at), e.Error); refused != nil {
		s.cfg.OnLoginRefused(refused)
	}
}

// topology looks for the primary. The driver calls it in the order of the
// changes, but for the last one, of a client being closed.
func (s *Set) topology(e *event.TopologyDescriptionChangedEvent) {
	if s.closing.Load() {
		return
	}
	s.servers.Store(&e.NewDescription.Servers)
	var now primary
	var wire int32
	for i := range e.NewDescription.Servers {
		d := &e.NewDescription.Servers[i]
		// A standalone is as good as a primary.
		if k := kindOf(d.Kind); k == Primary || k == Standalone {
			now, wire = primary{Canonical(string(d.Addr)), d.ElectionID, d.SetVersion}, d.MaxWireVersion
		}
	}
	s.wire.Store(wire)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now == s.primary {
		return
	}
	s.primary = now
	if now.host != "" {
		s.latest = now.host
	}
	if s.cfg.OnPrimary != nil {
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

// Reaches reports whether the client has an answer of the host of that configured address.
func (s *Set) Reaches(host string) bool {
	servers := s.servers.Load()
	return servers != nil && slices.ContainsFunc(*servers, func(d event.ServerDescription) bool {
		return kindOf(d.Kind) != Unknown && s.cfg.Expect.AddressOf(string(d.Addr)) == host
	})
}

// StartSession starts a session without causal consistency, such as a lane of
// writes owns.
func (s *Set) StartSession() (*mongo.Session, error) {
	return s.client.StartSession(options.Session().SetCausalConsistency(false))
}

// Close closes the client in the background. Closing twice is fine.
func (s *Set) Close() { s.close(s.client, setGrace, s.shut) }

func (s *Set) shut() {
	s.end()
	s.mu.Lock()
	s.over = true // A trial that was let in before has been counted.
	s.mu.Unlock()
	s.dialer.Shut()
	s.trials.Wait()
}

// LoginError returns the *messages.LoginError that an error of the client's writes is, nil
// for any other. The primary is named as it was last known: the driver holds one that has
// refused a login for lost, until the next heartbeat.
func (s *Set) LoginError(err error) *messages.LoginError {
	s.mu.Lock()
	host := s.latest
	s.mu.Unlock()
	return s.login.error(s.cfg.Expect.AddressOf(host), err)
}

// TryLogin logs in at the primary, over a connection of its own: a refused one of the
// client's makes the driver take the primary for lost for a moment. The error is a
// *messages.LoginError when it is refused again.
func (s *Set) TryLogin(ctx context.Context) error {
	s.mu.Lock()
	host := s.primary.host
	if s.over || host == "" {
		s.mu.Unlock()
		return messages.ErrNoPrimary
	}
	s.trials.Add(1)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	d, err := OpenDirect(DirectConfig{
		Host: s.cfg.Expect.AddressOf(host), Base: s.cfg.Base, Expect: s.cfg.Expect, PoolSize: 1, Observer: deaf{},
		ConnectTimeout: s.cfg.ConnectTimeout, Heartbeat: s.cfg.Heartbeat, Resolver: s.cfg.Resolver, ResolveEvery: -1,
	})
	if err != nil {
		s.trials.Done()
		return err
	}
	defer func() {
		d.Close()
		go func() {
			<-d.Closed()
			s.trials.Done()
		}()
	}()
	return d.Ping(ctx)
}

// deaf is an Observer of whom only the ping's outcome is wanted.
type deaf struct{}

func (deaf) Hello(Hello)       {}
func (deaf) WrongSocket(error) {}
func (deaf) Lost(error)        {}
func (deaf) Moved(*MovedError) {}

// Closed is closed when, after Close, no socket and no goroutine of the client is
// left.
func (s *Set) Closed() <-chan struct{} { return s.done }

// maxDialers is how many Dialers there are before those of members that have gone are
// dropped: twice what a set has members.
const maxDialers = 100

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
	d, err := s.dialer(Canonical(addr))
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
	if len(s.byAddr) >= maxDialers {
		// Members come and go for as long as the app runs. One that is in use has its
		// heartbeat's sockets.
		for other, d := range s.byAddr {
			if d.idle() {
				d.Shut()
				delete(s.byAddr, other)
			}
		}
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
