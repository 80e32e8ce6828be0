package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

const (
	// DefaultPoolSize is how many sockets a direct client opens at most for reads.
	DefaultPoolSize = 10
	// DefaultHeartbeat is how long the server may hold a heartbeat back when nothing
	// changes. It is also the driver's minimum.
	DefaultHeartbeat = 500 * time.Millisecond
)

// directGrace is how long a closed client may take to end its sessions. What is
// in flight then is cut off; its owner has cancelled it before.
const directGrace = 250 * time.Millisecond

// ErrRemoved is told to Observer.Lost when the driver has given its server up. Such
// a client never finds it again: it must be closed and opened anew.
var ErrRemoved = errors.New("evenkeel: the driver has dropped the server")

// Observer is told what happens to a direct client. Its methods are called from
// the driver's goroutines, some of them under the driver's locks: they must not block,
// must not use the client, and may be called before OpenDirect has returned, at
// the same time as each other, and for a moment after Close.
type Observer interface {
	// Hello is called for each heartbeat that the right server has answered.
	Hello(Hello)
	// WrongSocket is called when a socket, the monitor's or the pool's, has led to
	// somebody else (*messages.WrongHostError) or to a server that is not a member of
	// a set, or not yet (*NotMemberError): the socket was refused. It is also called when
	// the server behind a verified socket takes another name or set; then all
	// sockets are cut.
	WrongSocket(err error)
	// Lost is called when a heartbeat has failed, before the first Hello too; when a
	// login was refused (*messages.LoginError); and when the client is of no more use
	// (ErrRemoved). A failure that matches context.Canceled is a heartbeat
	// that the driver has called off because a socket of the pool broke: the next
	// heartbeat, which follows within half a second, tells whether the host is still
	// there.
	Lost(err error)
	// Moved is called when the host's name has come to mean other addresses than the one
	// that all sockets go to, and again now and then as long as that is so. The sockets are
	// as good as before.
	Moved(*MovedError)
}

// DirectConfig is what OpenDirect needs. Host, Base and Observer are required.
type DirectConfig struct {
	// Host is the configured host:port.
	Host string
	// Base are the embedder's options. They are not changed. Its monitors are called
	// after ours; its dialer, where there is one, opens the sockets.
	Base *options.ClientOptions
	// Expect says who must answer. Its Address defaults to Host.
	Expect Expect
	// PoolSize defaults to DefaultPoolSize.
	PoolSize int
	// ConnectTimeout bounds name resolution, TCP, TLS and each reply of the handshake,
	// and how long an operation waits for a socket. Defaults to
	// DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Heartbeat defaults to DefaultHeartbeat; the driver takes nothing below.
	Heartbeat time.Duration
	Observer  Observer
	// Resolver defaults to net.DefaultResolver.
	Resolver Resolver
	// ResolveEvery defaults to DefaultResolveEvery; negative for never.
	ResolveEvery time.Duration
}

// Direct is the client of one host, with a direct connection.
type Direct struct {
	closer
	host   string
	expect Expect
	obs    Observer
	client *mongo.Client
	dialer *Dialer
	login  login

	dbs      sync.Map // name → *mongo.Database
	verbatim bool     // the driver's own registry encodes the commands
	runOpt   *options.RunCmdOptionsBuilder

	rtt atomic.Int64 // of the latest first hello
}

// OpenDirect makes a client of one host and lets it connect in the background. Its
// error says what can never work in cfg.
func OpenDirect(cfg DirectConfig) (*Direct, error) {
	if cfg.Expect.Address == "" {
		cfg.Expect.Address = Canonical(cfg.Host)
	}
	if cfg.PoolSize <= 0 {
		cfg.PoolSize = DefaultPoolSize
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	cfg.Heartbeat = max(cfg.Heartbeat, DefaultHeartbeat)
	d := &Direct{
		closer: closer{done: make(chan struct{})},
		host:   Canonical(cfg.Host),
		expect: cfg.Expect,
		obs:    cfg.Observer,
		login:  loginOf(cfg.Base),
		// A registry of the game's may encode documents in ways of its own.
		verbatim: cfg.Base.Registry == nil,
		runOpt:   options.RunCmd().SetReadPreference(readpref.PrimaryPreferred()),
	}
	var err error
	if d.dialer, err = NewDialer(DialerConfig{
		Host:           cfg.Host,
		Check:          d.expect.check,
		Verified:       d.verified,
		Refused:        d.refused,
		TLS:            cfg.Base.TLSConfig,
		ConnectTimeout: cfg.ConnectTimeout,
		Resolver:       cfg.Resolver,
		Moved:          d.moved,
		ResolveEvery:   cfg.ResolveEvery,
		Via:            cfg.Base.Dialer,
	}); err != nil {
		return nil, err
	}
	if d.client, err = mongo.Connect(d.options(cfg)); err != nil {
		d.dialer.Shut()
		return nil, fmt.Errorf("evenkeel: client of %s: %s", d.host, d.login.hide(err.Error()))
	}
	return d, nil
}

// options are the embedder's, with what this client must own set over them.
func (d *Direct) options(cfg DirectConfig) *options.ClientOptions {
	o := *cfg.Base // Its slices and pointers are shared, and only replaced below.
	own(&o, d.dialer, cfg.ConnectTimeout, cfg.Heartbeat)
	o.SetHosts([]string{d.host})
	o.SetDirect(true)
	// The set's name is checked on every socket and in every heartbeat. Told of it,
	// the driver would check it too, but its way with a server that answers once as
	// a standalone is to drop it for good.
	o.ReplicaSet = nil
	// Another host is asked instead: a retry here would ask the same one.
	o.SetRetryReads(false)
	o.SetRetryWrites(false)
	o.SetMaxAdaptiveRetries(0)
	o.SetEnableOverloadRetargeting(false)
	// It bounds the wait for a socket as well as the selection of the one server.
	o.SetServerSelectionTimeout(cfg.ConnectTimeout)
	o.SetServerMonitoringMode(options.ServerMonitoringModeStream)
	o.SetReadPreference(readpref.PrimaryPreferred())
	o.SetMaxPoolSize(uint64(cfg.PoolSize))
	if o.MinPoolSize != nil && *o.MinPoolSize > uint64(cfg.PoolSize) {
		o.SetMinPoolSize(uint64(cfg.PoolSize))
	}
	o.ServerMonitor = chainServer(&event.ServerMonitor{
		ServerHeartbeatSucceeded: d.heartbeat,
		ServerHeartbeatFailed:    d.heartbeatFailed,
		ServerClosed:             func(*event.ServerClosedEvent) { d.lost(ErrRemoved) },
	}, o.ServerMonitor)
	o.PoolMonitor = chainPool(&event.PoolMonitor{Event: d.poolEvent}, o.PoolMonitor)
	return &o
}

// own sets the options that both sorts of client own.
func own(o *options.ClientOptions, dialer options.ContextDialer, connectTimeout, heartbeat time.Duration) {
	o.SetDialer(dialer)
	o.TLSConfig = nil // the dialer's
	o.SetConnectTimeout(connectTimeout)
	o.SetHeartbeatInterval(heartbeat)
	// A time-out of the client's own would mean retries without limit; each operation
	// brings its deadline.
	o.Timeout = nil
	// These are of the URI and done with.
	o.SRVMaxHosts, o.SRVServiceName, o.LoadBalanced = nil, nil, nil
	if o.DriverInfo == nil {
		o.SetDriverInfo(&options.DriverInfo{Name: "evenkeel"})
	}
}

// verified is told of each socket that has passed.
func (d *Direct) verified(rtt time.Duration) {
	d.rtt.Store(int64(rtt))
}

func (d *Direct) refused(err error) {
	if !d.closing.Load() {
		d.obs.WrongSocket(err)
	}
}

func (d *Direct) moved(err *MovedError) {
	if !d.closing.Load() {
		d.obs.Moved(err)
	}
}

func (d *Direct) lost(err error) {
	if !d.closing.Load() {
		d.obs.Lost(brief(err))
	}
}

// heartbeat is told of each reply to a heartbeat, before the driver itself acts
// on it.
func (d *Direct) heartbeat(e *event.ServerHeartbeatSucceededEvent) {
	h := helloOf(&e.Reply, time.Duration(d.rtt.Load()))
	switch h.Kind {
	case Unknown:
		d.lost(fmt.Errorf("evenkeel: %s: heartbeat: the server's hello failed", d.host))
		return
	case Ghost: // On a verified socket it is a member that was removed from its set.
	default:
		// A set that was configured anew may have given the server another name.
		if wrong := d.expect.names(h.Me, h.SetName); wrong != nil {
			d.dialer.Cut()
			d.refused(wrong)
			return
		}
	}
	if !d.closing.Load() {
		d.obs.Hello(h)
	}
}

func (d *Direct) heartbeatFailed(e *event.ServerHeartbeatFailedEvent) {
	// The dialer has reported a refusal, or still tries the name's other addresses.
	if !IsRefusal(e.Failure) {
		d.lost(fmt.Errorf("evenkeel: %s: heartbeat: %w", d.host, e.Failure))
	}
}

// poolEvent looks for refused logins: the driver's monitor does not log in, so
// that its heartbeats know nothing of them.
func (d *Direct) poolEvent(e *event.PoolEvent) {
	if e.Type != event.ConnectionClosed || e.Error == nil {
		return
	}
	if refused := d.login.error(d.host, e.Error); refused != nil {
		d.lost(refused)
	}
}

// Host is the configured host:port.
func (d *Direct) Host() string { return d.host }

// Client is the driver's client. It must not be disconnected.
func (d *Direct) Client() *mongo.Client { return d.client }

// Ping sends a command over a socket of the pool: it proves that one can be
// opened, is the right host's, and is logged in. A refused login is a *messages.LoginError.
func (d *Direct) Ping(ctx context.Context) error {
	_, err := d.Run(ctx, "admin", ping, nil)
	return brief(err)
}

// brief is an error whose text is short: it goes into events and snapshots.
func brief(err error) error {
	if err == nil || len(err.Error()) <= 2*maxText {
		return err
	}
	return errors.New(short(err.Error()))
}

var ping = func() bson.Raw {
	raw, err := bson.Marshal(bson.D{{Key: "ping", Value: 1}})
	if err != nil {
		panic(err)
	}
	return raw
}()

// StartSession starts a session without causal consistency: what a read must
// have seen is said in the command.
func (d *Direct) StartSession() (*mongo.Session, error) {
	return d.client.StartSession(options.Session().SetCausalConsistency(false))
}

// Close closes the client in the background. Closing twice is fine.
func (d *Direct) Close() { d.close(d.client, directGrace, d.dialer.Shut) }

// Closed is closed when, after Close, no socket and no goroutine of the client is
// left: half a second later as a rule.
func (d *Direct) Closed() <-chan struct{} { return d.done }
