package mongoconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/address"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// Resolver finds the addresses of a host's name. It must return soon after ctx has ended.
// *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DefaultConnectTimeout bounds name resolution, TCP and TLS together.
const DefaultConnectTimeout = 2 * time.Second

// keepAlive notices a peer that vanished without a word, on sockets that wait for
// a reply, after at most 10 s + 3 × 5 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// errMoved is why a socket is dropped whose server is the right member, but at
// another address than the sockets before it.
var errMoved = errors.New("evenkeel: the name has come to mean another address since the first socket")

// DialerConfig is what NewDialer needs. Host and Check are required.
type DialerConfig struct {
	// Host is the host:port to dial, whatever address the driver asks for.
	Host string
	// Check verifies the first reply of each socket. Its error fails the socket
	// for good. It is called from the driver's goroutines.
	Check func(hello bson.Raw, remote net.Addr) error
	// Verified is called for each socket whose first reply has passed, with the
	// round trip it took. It must not block. Optional.
	Verified func(rtt time.Duration)
	// Refused is called for a wrong or unready server (see IsRefusal), once for all
	// addresses of a name while none of them has passed, and then for each socket. It
	// must not block. Optional.
	Refused func(err error)
	// TLS makes every socket start with a TLS handshake. The ServerName defaults to
	// the name in Host. Optional.
	TLS *tls.Config
	// ConnectTimeout defaults to DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Resolver defaults to net.DefaultResolver.
	Resolver Resolver
	// Forget lets go of the verified address when it cannot be reached any more, says
	// nothing, or is somebody else's, and resolves the name again. Without it a Dialer stays
	// with its address for life: its owner makes a new one.
	Forget bool
	// Moved is called when the name has come to mean other addresses, and the verified one is
	// not among them: it is asked for every ResolveEvery, and sooner when a socket cannot be
	// opened. Nothing else changes: sockets still go to the verified address. It is called again
	// as long as that is so, from a goroutine of the Dialer's, and must not block. Optional.
	Moved func(*MovedError)
	// ResolveEvery defaults to DefaultResolveEvery; negative for never.
	ResolveEvery time.Duration
	// Via opens the sockets in place of TCP, such as through a tunnel. Names are then
	// its business: it is given Host as it is, and nothing is pinned. Optional.
	Via options.ContextDialer
}

// Dialer opens the sockets of one host. It resolves the host's name once; the
// resolved addresses are tried in turn until one has proven to be the right
// member, and from then on every socket goes to that one. A change of DNS can
// therefore not lead the monitor's socket to one server and the pool's to another. That
// the name has changed is told (Moved), for the owner to make a new Dialer.
//
// # TLS
//
// The first reply can only be read here if TLS ends here too, so the Dialer does
// the TLS handshake, and the driver's own TLSConfig must be unset. Chain, name and
// time of the certificate are verified by crypto/tls, as with the driver. Given up
// is what the driver does on top: its check of a stapled OCSP response, and its
// asking of the certificate's OCSP responder, both of which live in a package of the driver that is
// not ours to import. The driver's is a soft check (no answer counts as good), so that it protects
// from a revoked certificate only while the attacker lets the responder through.
// Whoever needs revocation puts it into tls.Config.VerifyConnection, which runs in this handshake
// and sees the stapled response in its ConnectionState.
type Dialer struct {
	cfg  DialerConfig
	name string // Host without its port
	port uint16
	net  net.Dialer

	life  context.Context // ends with Shut
	end   context.CancelFunc
	watch watch
	pace  pace

	mu      sync.Mutex
	conns   map[*Conn]struct{} // open sockets
	addrs   []netip.Addr       // what name means; nil: not resolved
	refused map[netip.Addr]bool
	refusal error      // the latest of them
	pinned  netip.Addr // the address that has passed
	mute    netip.Addr // one that has let a socket in of late, and said nothing over it
}

// NewDialer returns a Dialer, or says what is wrong with cfg.Host.
func NewDialer(cfg DialerConfig) (*Dialer, error) {
	cfg.Host = Canonical(cfg.Host)
	d := &Dialer{cfg: cfg, name: cfg.Host, conns: map[*Conn]struct{}{}, refused: map[netip.Addr]bool{}}
	if address.Address(cfg.Host).Network() == "tcp" {
		name, port, err := net.SplitHostPort(cfg.Host)
		if err != nil {
			return nil, fmt.Errorf("evenkeel: host %q: %w", cfg.Host, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || name == "" {
			return nil, fmt.Errorf("evenkeel: host %q: want name:port with a port from 1 to 65535", cfg.Host)
		}
		d.name, d.port = name, uint16(n)
	}
	if d.cfg.ConnectTimeout <= 0 {
		d.cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if d.cfg.Resolver == nil {
		d.cfg.Resolver = net.DefaultResolver
	}
	d.net.KeepAliveConfig = keepAlive
	d.watch.soon = make(chan struct{}, 1)
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// DialContext opens a socket to the Dialer's host. It implements
// options.ContextDialer.
func (d *Dialer) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	if d.life.Err() != nil {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()

	if err := d.pace.wait(ctx); err != nil {
		return nil, err
	}
	nc, at, err := d.connect(ctx, network)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: nc, d: d, at: at, born: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		nc.Close()
		return nil, net.ErrClosed
	}
	d.conns[c] = struct{}{}
	return c, nil
}

func (d *Dialer) connect(ctx context.Context, network string) (net.Conn, netip.Addr, error) {
	if d.cfg.Via != nil || network != "tcp" {
		var via options.ContextDialer = &d.net
		if d.cfg.Via != nil {
			via = d.cfg.Via
		}
		nc, err := via.DialContext(ctx, network, d.cfg.Host)
		if err == nil {
			nc, err = d.secure(ctx, nc)
		}
		return nc, netip.Addr{}, err
	}
	candidates, err := d.candidates(ctx)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	for i, ip := range candidates {
		nc, failed := d.try(ctx, ip, len(candidates)-i)
		if failed == nil {
			return nc, ip, nil
		}
		if err == nil {
			err = failed
		} else {
			err = fmt.Errorf("%w; %w", err, failed)
		}
	}
	return nil, netip.Addr{}, d.exhausted(err)
}

// try gives one address its share of the time that is left, so that one that
// swallows packets leaves some for the next.
func (d *Dialer) try(ctx context.Context, ip netip.Addr, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	nc, err := d.net.DialContext(ctx, "tcp", netip.AddrPortFrom(ip, d.port).String())
	if err != nil {
		return nil, err
	}
	return d.secure(ctx, nc)
}

// secure does the TLS handshake, if one is configured.
func (d *Dialer) secure(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if d.cfg.TLS == nil {
		return nc, nil
	}
	cfg := d.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = d.name
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("evenkeel: TLS with %s: %w", d.cfg.Host, err)
	}
	return tc, nil
}

// candidates returns the addresses to try: the pinned one, else what the name
// means, without those that were refused already.
func (d *Dialer) candidates(ctx context.Context) ([]netip.Addr, error) {
	d.mu.Lock()
	list := d.untried()
	d.mu.Unlock()
	if len(list) > 0 {
		return list, nil
	}
	var found []netip.Addr
	if ip, err := netip.ParseAddr(d.name); err == nil {
		found = []netip.Addr{ip}
	} else if found, err = d.cfg.Resolver.LookupNetIP(ctx, "ip", d.name); err != nil {
		return nil, err
	}
	found = slices.Clone(found) // It is the Resolver's.
	for i, ip := range found {
		found[i] = ip.Unmap()
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: d.name, IsNotFound: true}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Another socket may have resolved the name meanwhile: its answer stands.
	if list = d.untried(); len(list) > 0 {
		return list, nil
	}
	if i := slices.Index(found, d.mute); i >= 0 {
		found = append(slices.Delete(found, i, i+1), d.mute)
	}
	d.addrs = found
	return found, nil
}

// untried returns the addresses that may be tried, nil when there is none. The
// caller must hold mu.
func (d *Dialer) untried() (list []netip.Addr) {
	if d.pinned.IsValid() {
		return []netip.Addr{d.pinned}
	}
	for _, ip := range d.addrs {
		if !d.refused[ip] {
			list = append(list, ip)
		}
	}
	return list
}

// exhausted is told that no candidate could be connected. The next socket starts
// anew, with the name resolved again, unless an address is pinned for life.
func (d *Dialer) exhausted(err error) error {
	d.mu.Lock()
	var refusal error
	if d.pinned.IsValid() {
		d.watch.hurry()
	}
	if !d.pinned.IsValid() || d.cfg.Forget {
		refusal = d.refusal
		d.forget()
	}
	d.mu.Unlock()
	if refusal == nil {
		return err
	}
	// The addresses that answered are somebody else's, and the others do not
	// answer: that is a wrong host.
	d.report(refusal)
	return fmt.Errorf("%w; and of its other addresses: %w", refusal, err)
}

// forget makes the next socket resolve the name. The caller must hold mu.
func (d *Dialer) forget() {
	d.addrs, d.refusal, d.pinned = nil, nil, netip.Addr{}
	clear(d.refused)
}

// accept pins the address of a socket that has passed. Of two sockets that were
// opened to different addresses at the same time, the first to pass decides.
func (d *Dialer) accept(c *Conn) error {
	if !c.at.IsValid() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pinned.IsValid() && d.pinned != c.at {
		return errMoved
	}
	d.pinned = c.at
	if d.mute == c.at {
		d.mute = netip.Addr{}
	}
	d.startWatch()
	return nil
}

// refuse notes that a socket's server is not the one, or not ready.
func (d *Dialer) refuse(c *Conn, err error) {
	d.mu.Lock()
	last := true
	switch {
	case !c.at.IsValid():
	case !d.pinned.IsValid():
		d.refused[c.at], d.refusal = true, err
		// Another address of the name may still be the member.
		if last = len(d.untried()) == 0; last {
			d.forget()
		}
	case d.cfg.Forget && d.pinned == c.at:
		d.forget()
	}
	d.mu.Unlock()
	if last {
		d.report(err)
	}
}

func (d *Dialer) report(err error) {
	if d.cfg.Refused != nil {
		d.cfg.Refused(err)
	}
}

// stranger is the error for a first reply that is no hello.
func (d *Dialer) stranger(c *Conn, got string) error {
	return &messages.WrongHostError{
		Address: d.cfg.Host, Field: "protocol", Want: "a MongoDB server's hello", Got: got, Remote: c.RemoteAddr().String(),
	}
}

// untrack forgets a socket that is being closed.
func (d *Dialer) untrack(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, open := d.conns[c]; open { // Not closed before, nor cut.
		d.pace.ended(c.born, time.Now())
		delete(d.conns, c)
		if d.cfg.Forget && !c.verified.Load() && !c.refused.Load() && c.at.IsValid() && (d.pinned == c.at || !d.pinned.IsValid()) {
			d.forget()
			d.mute = c.at
		}
	}
}

// idle reports whether there is no open socket.
func (d *Dialer) idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns) == 0
}

// Cut closes every open socket. New ones may be opened.
func (d *Dialer) Cut() {
	d.mu.Lock()
	conns := d.conns
	d.conns = map[*Conn]struct{}{}
	d.mu.Unlock()
	for c := range conns {
		// Not through Conn.Close: TLS would first try to say goodbye.
		c.raw().Close()
	}
}

// Shut closes every open socket, ends the dials under way and refuses new ones. When it
// returns, no goroutine of the Dialer's is left.
func (d *Dialer) Shut() {
	d.end()
	d.Cut()
	d.watch.over.Wait()
}

// Canonical is the form in which addresses are compared: lower case, with the
// default port.
func Canonical(addr string) string { return string(address.Address(addr).Canonicalize()) }
