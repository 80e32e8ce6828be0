package mongoconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// twins serves two fakes on one port of two loopback addresses.
func twins(t *testing.T) (one, two *fake, port string) {
	t.Helper()
	for range 20 {
		a, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Skip("only one loopback address here: ", err)
		}
		_, port, _ = net.SplitHostPort(a.Addr().String())
		b, err := net.Listen("tcp", "127.0.0.3:"+port)
		if err != nil {
			a.Close()
			continue
		}
		return serveOn(t, a, nil), serveOn(t, b, nil), port
	}
	t.Fatal("no port is free on both addresses")
	panic("unreachable")
}

var both23 = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}

func (f *fake) opened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sockets
}

func TestOfANamesAddressesTheOneThatIsTheMemberIsFound(t *testing.T) {
	one, two, port := twins(t)
	one.says(member("other.test:"+port, "rs0"))
	two.says(member("a.test:"+port, "rs0"))
	d, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: names{"a.test": both23}})
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if n := one.opened(); n != 1 {
		t.Errorf("%d sockets were opened to the stranger, want the first only", n)
	}
	if len(h.wrong) > 0 {
		t.Errorf("reported as wrong, while another address was to be tried: %v", <-h.wrong)
	}
}

func TestANameWhoseAddressesAreAllStrangersIsAWrongHost(t *testing.T) {
	one, two, port := twins(t)
	one.says(member("other.test:"+port, "rs0"))
	two.stop()
	_, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: names{"a.test": both23}})
	if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
		t.Error(err)
	}
}

func TestAllSocketsGoToTheAddressThatHasPassed(t *testing.T) {
	one, two, port := twins(t)
	me := member("a.test:"+port, "rs0")
	one.says(me)
	two.says(me)
	table := names{"a.test": both23[:1]}
	d, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: table})
	next(t, h.hellos, "a hello")
	// The name moves. The pool's first socket is opened after that.
	table["a.test"] = both23[1:]
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if n := two.opened(); n != 0 {
		t.Errorf("%d sockets went to the name's new address", n)
	}
}

func TestASocketToAnotherAddressThanThePinnedOneIsDropped(t *testing.T) {
	d, err := NewDialer(DialerConfig{Host: "a.test:1", Check: func(bson.Raw, net.Addr) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	msg := message(1, false, 0, bson.D{})
	var ends []error
	for _, at := range []netip.Addr{both23[0], both23[1], both23[0]} {
		c := &Conn{Conn: &sliced{slices: [][]byte{msg}}, d: d, at: at, born: time.Now()}
		_, err := c.Read(make([]byte, 100))
		ends = append(ends, err)
	}
	if ends[0] != nil || ends[1] != errMoved || ends[2] != nil {
		t.Errorf("the reads end with %v", ends)
	}
}

func TestAForgetfulDialerFollowsANameThatMoved(t *testing.T) {
	one, two, port := twins(t)
	me := member("a.test:"+port, "rs0")
	one.says(me)
	two.says(me)
	table := names{"a.test": both23[:1]}
	expect := Expect{Address: "a.test:" + port}
	d, err := NewDialer(DialerConfig{Host: "a.test:" + port, Check: expect.check, Resolver: table, Forget: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Shut()
	if _, err := greet(t, d); err != nil {
		t.Fatal(err)
	}
	table["a.test"] = both23[1:]
	one.stop()
	if _, err := greet(t, d); err == nil {
		t.Fatal("a stopped server answers")
	}
	if _, err := greet(t, d); err != nil {
		t.Fatal(err)
	}
	if two.opened() != 1 {
		t.Error("the new address was not dialled")
	}
}

func TestAForgetfulDialerTriesAnotherAddressThanTheOneThatSaysNothing(t *testing.T) {
	one, two, port := twins(t)
	me := member("a.test:"+port, "rs0")
	one.says(me)
	two.says(me)
	for name, table := range map[string]names{
		"its name has moved":       {"a.test": both23[:1]},
		"its name has two, pinned": {"a.test": both23},
	} {
		expect := Expect{Address: "a.test:" + port}
		d, err := NewDialer(DialerConfig{Host: "a.test:" + port, Check: expect.check, Resolver: table, Forget: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := greet(t, d); err != nil {
			t.Fatal(err)
		}
		if len(table["a.test"]) == 1 {
			table["a.test"] = both23[1:]
		}
		// It lets a socket in, and nothing comes of it.
		nc, err := d.DialContext(patient(t), "tcp", "")
		if err != nil || nc.RemoteAddr().(*net.TCPAddr).AddrPort().Addr() != both23[0] {
			t.Fatalf("%s: dialled %v, %v", name, nc, err)
		}
		nc.Close()
		if at, err := greet(t, d); err != nil || at != both23[1] {
			t.Errorf("%s: then %v answers, %v", name, at, err)
		}
		d.Shut()
	}
}

func TestAForgetfulDialerTellsOfNoStrangerWhileAnotherAddressIsLeft(t *testing.T) {
	one, two, port := twins(t)
	one.says(member("other.test:"+port, "rs0"))
	two.says(member("a.test:"+port, "rs0"))
	expect, told := Expect{Address: "a.test:" + port}, 0
	d, err := NewDialer(DialerConfig{
		Host: "a.test:" + port, Check: expect.check, Resolver: names{"a.test": both23}, Forget: true, Refused: func(error) { told++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Shut()
	if at, err := greet(t, d); err == nil {
		t.Fatalf("%v passes", at)
	}
	if at, err := greet(t, d); err != nil || at != both23[1] || told != 0 {
		t.Errorf("then %v answers, %v, and %d refusals are told", at, err, told)
	}
}

// greet dials and says hello, and returns whose reply it has read.
func greet(t *testing.T, d *Dialer) (netip.Addr, error) {
	nc, err := d.DialContext(patient(t), "tcp", "")
	if err != nil {
		return netip.Addr{}, err
	}
	defer nc.Close()
	if _, err := nc.Write(message(0, false, 0, bson.D{{Key: "hello", Value: 1}})); err != nil {
		return netip.Addr{}, err
	}
	_, err = nc.Read(make([]byte, 10))
	return nc.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), err
}

func TestAResolversAnswerIsLeftAlone(t *testing.T) {
	one, _, port := twins(t)
	one.says(member("a.test:"+port, "rs0"))
	mapped := netip.AddrFrom16(both23[0].As16())
	cache := cached{mapped}
	expect := Expect{Address: "a.test:" + port}
	d, err := NewDialer(DialerConfig{Host: "a.test:" + port, Check: expect.check, Resolver: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Shut()
	if at, err := greet(t, d); err != nil || at != both23[0] {
		t.Errorf("%v has answered, %v", at, err)
	}
	if cache[0] != mapped {
		t.Errorf("it has become %v", cache[0])
	}
}

// cached is a Resolver that always returns the same slice.
type cached []netip.Addr

func (c cached) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return c, nil }

func TestShutEndsDialsUnderWay(t *testing.T) {
	started := make(chan struct{})
	d, err := NewDialer(DialerConfig{Host: "a.test:1", ConnectTimeout: time.Hour, Via: dial(func(ctx context.Context) (net.Conn, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	})})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := d.DialContext(context.Background(), "tcp", "a.test:1")
		ended <- err
	}()
	next(t, started, "the dial")
	d.Shut()
	if err := next(t, ended, "the dial's end"); err == nil {
		t.Error("a dial succeeds after Shut")
	}
	if _, err := d.DialContext(context.Background(), "tcp", "a.test:1"); err == nil {
		t.Error("a new dial succeeds after Shut")
	}
}

type dial func(context.Context) (net.Conn, error)

func (f dial) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
		return f(ctx)
	}
}

func TestAHostThatCannotBeDialledIsRefusedByName(t *testing.T) {
	for _, host := range []string{"a:0", "a:70000", "a:b", ":27017", "a:1:2"} {
		if _, err := NewDialer(DialerConfig{Host: host}); err == nil || !strings.Contains(err.Error(), host) {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, host := range []string{"a", "A.b", "a:1", "[::1]:27017", "/tmp/mongodb-27017.sock"} {
		if _, err := NewDialer(DialerConfig{Host: host}); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "a CA of this test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(t testing.TB, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) certificate(t testing.TB, name string) tls.Certificate {
	cert, key := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func TestTLSIsSpokenAndTheIdentityCheckedInside(t *testing.T) {
	ca := newAuthority(t)
	f := serve(t, &tls.Config{
		Certificates: []tls.Certificate{ca.certificate(t, "a.test")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
	})
	_, port, _ := net.SplitHostPort(f.addr)
	local := names{"a.test": {netip.MustParseAddr("127.0.0.1")}, "b.test": {netip.MustParseAddr("127.0.0.1")}}
	verified := make(chan tls.ConnectionState, 100)
	secure := &tls.Config{
		RootCAs: ca.pool, Certificates: []tls.Certificate{ca.certificate(t, "client")},
		VerifyConnection: func(s tls.ConnectionState) error { verified <- s; return nil },
	}

	t.Run("the member", func(t *testing.T) {
		f.says(member("a.test:"+port, "rs0"))
		d, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: local, Base: options.Client().SetTLSConfig(secure)})
		next(t, h.hellos, "a hello")
		if err := d.Ping(patient(t)); err != nil {
			t.Fatal(err)
		}
		if s := next(t, verified, "VerifyConnection"); s.ServerName != "a.test" {
			t.Errorf("the server name is %q", s.ServerName)
		}
		if secure.ServerName != "" {
			t.Error("the embedder's config was changed")
		}
	})
	t.Run("a stranger with a good certificate", func(t *testing.T) {
		f.says(member("other.test:"+port, "rs0"))
		_, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: local, Base: options.Client().SetTLSConfig(secure)})
		if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
			t.Error(err)
		}
	})
	t.Run("a certificate for another name", func(t *testing.T) {
		f.says(member("b.test:"+port, "rs0"))
		_, h := open(t, DirectConfig{Host: "b.test:" + port, Resolver: local, Base: options.Client().SetTLSConfig(secure)})
		var name x509.HostnameError
		if err := next(t, h.lost, "a failure"); !errors.As(err, &name) {
			t.Error(err)
		}
	})
	t.Run("a certificate for another name that is asked for", func(t *testing.T) {
		f.says(member("b.test:"+port, "rs0"))
		asked := secure.Clone()
		asked.ServerName = "a.test"
		_, h := open(t, DirectConfig{Host: "b.test:" + port, Resolver: local, Base: options.Client().SetTLSConfig(asked)})
		next(t, h.hellos, "a hello")
	})
	t.Run("another authority", func(t *testing.T) {
		f.says(member("a.test:"+port, "rs0"))
		_, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: local, Base: options.Client().SetTLSConfig(&tls.Config{RootCAs: newAuthority(t).pool})})
		var unknown x509.UnknownAuthorityError
		if err := next(t, h.lost, "a failure"); !errors.As(err, &unknown) {
			t.Error(err)
		}
	})
}
