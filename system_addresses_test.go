package evenkeel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// names is a name server.
type names struct {
	mu    sync.Mutex
	means map[string][]netip.Addr // mu
	fails error                   // mu
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails != nil {
		return nil, n.fails
	}
	if addrs := n.means[host]; addrs != nil {
		return slices.Clone(addrs), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (n *names) leads(name string, to ...*forwarder) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.means[name] = nil
	for _, f := range to {
		n.means[name] = append(n.means[name], f.ip)
	}
}

func (n *names) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails = err
}

// forwarder is one more address of a member, at the member's port.
type forwarder struct {
	ip netip.Addr
	ln net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool // mu; both sides of each
	total   int               // mu
	stopped bool              // mu
}

// at lets another loopback address, and the port of member, lead to the member to.
func (c *cluster) at(t *testing.T, ip string, member, to int) *forwarder {
	t.Helper()
	_, port, err := net.SplitHostPort(c.host(member))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
	if err != nil {
		t.Skip("only one loopback address here, or its port is taken: ", err)
	}
	f := &forwarder{ip: netip.MustParseAddr(ip), ln: ln, conns: map[net.Conn]bool{}}
	f.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.forward(nc, c.host(to)) })
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *forwarder) forward(in net.Conn, to string) {
	out, err := net.Dial("tcp", to)
	if err != nil {
		in.Close()
		return
	}
	f.mu.Lock()
	if f.stopped { // Dialled just before, and closed by nobody else.
		f.mu.Unlock()
		in.Close()
		out.Close()
		return
	}
	f.conns[in], f.conns[out] = true, true
	f.total++
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			in.Close()
			out.Close()
		})
	}
	wg.Wait()
	f.mu.Lock()
	delete(f.conns, in)
	delete(f.conns, out)
	f.mu.Unlock()
}

// open is how many connections there are, total how many there have been.
func (f *forwarder) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns) / 2
}

// stop takes the address away.
func (f *forwarder) stop() {
	f.ln.Close()
	f.mu.Lock()
	f.stopped = true
	for nc := range f.conns {
		nc.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// named is a set whose members 0 and 1, the primary and its one secondary, go by names, each
// at a first and at a second address.
type named struct {
	*cluster
	dns       *names
	db        [2]string // their addresses in the URI
	one, two  [2]*forwarder
	cfg       app.Config
	elsewhere *forwarder // at member 1's port, where member 2 answers
}

func byNames(t *testing.T) *named {
	t.Helper()
	c := ownSet(t, "names that lead elsewhere", primaryFirst(3))
	c.seed(t, "us")
	n := &named{cluster: c, dns: &names{means: map[string][]netip.Addr{}}}
	aliases := map[string]string{}
	for m, name := range []string{"db0.test", "db1.test"} {
		_, port, _ := net.SplitHostPort(c.host(m))
		n.db[m] = net.JoinHostPort(name, port)
		aliases[n.db[m]] = c.host(m)
		n.one[m], n.two[m] = c.at(t, "127.0.0.2", m, m), c.at(t, "127.0.0.3", m, m)
		n.dns.leads(name, n.one[m])
	}
	n.elsewhere = c.at(t, "127.0.0.4", 1, 2)
	n.cfg = app.Config{
		URI:     "mongodb://" + n.db[0] + "," + n.db[1] + "/?replicaSet=" + c.set.Name(),
		Aliases: aliases, Resolver: n.dns, ResolveEvery: 50 * time.Millisecond, HungAfter: patience,
		From: messages.FromSecondariesOnly, // There is one, so that no other host hides an outage.
	}
	return n
}

// leave waits until nothing but the master's client is left at an address: that one has its
// two heartbeats there, and follows when the address is gone.
func (n *named) leave(t *testing.T, from *forwarder) {
	t.Helper()
	eventually(t, "no socket of the slave's is left at the old address", func() bool { return from.open() <= 2 })
}

func TestTheSocketsOfALiveHostMoveWithItsNameAndNoReadNotices(t *testing.T) {
	t.Parallel()
	n := byNames(t)
	g := n.play(t, n.cfg)
	g.steady(t, 2)
	crowd := g.crowd(t, 8, patience, nil)
	crowd.more(t, 200)
	mark := g.events.mark()
	for _, way := range []struct{ from, to *forwarder }{{n.one[1], n.two[1]}, {n.two[1], n.one[1]}} {
		n.dns.leads("db1.test", way.to)
		moved := await(t, g.events, mark, of[messages.AddressChanged](n.db[1]))
		if moved.From != way.from.ip.String() || !slices.Equal(moved.To, []string{way.to.ip.String()}) || moved.Stays != "" {
			t.Errorf("told: %+v", moved)
		}
		mark = g.events.mark()
		n.leave(t, way.from)
		crowd.more(t, 200)
	}
	crowd.mustBeFine(t)
	for _, e := range g.events.all() {
		switch e.Kind() {
		case messages.KindHostLost, messages.KindHostRestarting, messages.KindReadsDegraded, messages.KindWrongHost:
			t.Errorf("told: %v", e)
		}
	}
	for _, h := range g.Stat().Hosts {
		if h.Restarts != 0 {
			t.Errorf("%s has restarted %d times", h.Host, h.Restarts)
		}
	}
}

func TestANameThatLeadsToAnotherMemberMovesNobody(t *testing.T) {
	t.Parallel()
	n := byNames(t)
	g := n.play(t, n.cfg)
	g.steady(t, 2)
	crowd := g.crowd(t, 8, patience, nil)
	crowd.more(t, 100)
	mark := g.events.mark()
	n.dns.leads("db1.test", n.elsewhere)
	stays := await(t, g.events, mark, of[messages.AddressChanged](n.db[1]))
	if stays.From != "127.0.0.2" || !strings.Contains(stays.Stays, "wrong host") {
		t.Errorf("told: %+v", stays)
	}
	tries := func() int { n.elsewhere.mu.Lock(); defer n.elsewhere.mu.Unlock(); return n.elsewhere.total }
	before := tries()
	eventually(t, "it is tried again", func() bool { return tries() > before+2 })
	crowd.more(t, 200)
	if told := byKind[messages.AddressChanged](g.events, mark); len(told) != 1 || !g.events.isLive(n.db[1]) {
		t.Errorf("told: %v", told)
	}
	// The member itself comes to where the name leads.
	n.dns.leads("db1.test", n.elsewhere, n.two[1])
	moved := await(t, g.events, mark, func(e messages.AddressChanged) bool { return e.Stays == "" })
	// A move that was under way may tell what the name meant when it began.
	if len(moved.To) == 0 || moved.From != "127.0.0.2" {
		t.Errorf("told: %+v", moved)
	}
	n.leave(t, n.one[1])
	crowd.more(t, 100)
	crowd.mustBeFine(t)
	g.mustBeUntouched(t, n.set.Member(2))
}

func TestAHostThatIsGoneFromItsAddressIsFoundWhereItsNameLeads(t *testing.T) {
	t.Parallel()
	n := byNames(t)
	n.cfg.ResolveEvery = -1       // By the restart alone.
	n.cfg.From = messages.FromAll // What is on the wire there is cut off, and goes elsewhere.
	g := n.play(t, n.cfg)
	g.steady(t, 2)
	crowd := g.crowd(t, 4, patience, nil)
	ledger := g.ledger(t, 4)
	crowd.more(t, 50)
	// The master's client finds the primary again as well.
	for m, name := range []string{"db0.test", "db1.test"} {
		mark := g.events.mark()
		n.dns.leads(name, n.two[m])
		n.one[m].stop()
		await(t, g.events, mark, of[messages.HostLive](n.db[m]))
		crowd.more(t, 50)
		ledger.more(t, 20)
	}
	crowd.mustBeFine(t)
	rest := ledger.audit(t)
	ledger.mustBeGivenUp(t, rest, min(1, g.refusals(n.host(0)))) // Its primary is moved once.
}

func TestANameServerThatFailsTakesNobodyOut(t *testing.T) {
	t.Parallel()
	n := byNames(t)
	n.cfg.ResolveEvery = time.Millisecond
	g := n.play(t, n.cfg)
	g.steady(t, 2)
	crowd := g.crowd(t, 4, patience, nil)
	mark := g.events.mark()
	for _, err := range []error{errors.New("server misbehaving"), &net.DNSError{Err: "no such host", IsNotFound: true}} {
		n.dns.fail(err)
		crowd.more(t, 500)
	}
	if rep := g.write(t, g.insert("log", bson.D{{Key: "_id", Value: 1}})); rep.Outcome != messages.Applied {
		t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
	}
	crowd.mustBeFine(t)
	if told := g.events.all()[mark:]; len(told) > 0 {
		t.Errorf("told: %v", told)
	}
}

// service is a name server with the records of a service.
type service struct {
	names
	lists []*net.SRV
}

func (s *service) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", s.lists, nil
}

func (s *service) LookupTXT(context.Context, string) ([]string, error) { return nil, nil }

// listed is a set whose members go by the names of a service, which lists some of them.
func listed(t *testing.T, members int, lists ...int) (*cluster, app.Config, []string) {
	t.Helper()
	c := ownSet(t, "a service that lists some of the members", primaryFirst(members))
	c.seed(t, "us")
	dns := &service{names: names{means: map[string][]netip.Addr{}}}
	aliases, hosts := map[string]string{}, []string(nil)
	for m := range members {
		name := fmt.Sprintf("m%d.db.test", m)
		_, port, _ := net.SplitHostPort(c.host(m))
		dns.means[name] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		hosts = append(hosts, net.JoinHostPort(name, port))
		aliases[hosts[m]] = c.host(m)
		if slices.Contains(lists, m) {
			n, _ := strconv.Atoi(port)
			dns.lists = append(dns.lists, &net.SRV{Target: name + ".", Port: uint16(n)})
		}
	}
	return c, app.Config{URI: "mongodb+srv://svc.db.test/?tls=false", Aliases: aliases, Resolver: dns, HungAfter: patience}, hosts
}

// Those of a Kubernetes service are the members that are ready at the moment.
func TestAServiceThatListsOneMemberOfThreeIsReadFromWhole(t *testing.T) {
	t.Parallel()
	c, cfg, hosts := listed(t, 3, 1)
	g := c.play(t, cfg)
	g.steady(t, 3)
	for _, host := range hosts {
		if !g.events.isLive(host) {
			t.Errorf("%s is not live: %v", host, g.Stat().Hosts)
		}
	}
}

func TestAServiceNeverLeadsToAStandalone(t *testing.T) {
	t.Parallel()
	c, cfg, hosts := listed(t, 1, 0)
	if err := c.set.Member(0).RestartStandalone(); err != nil {
		t.Fatal(err)
	}
	g := c.play(t, cfg)
	wrong := await(t, g.events, 0, of[messages.WrongHost](hosts[0]))
	if wrong.Field != "setName" {
		t.Errorf("told: %v", wrong)
	}
}
