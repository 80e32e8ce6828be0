package evenkeel_test

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// gauge is a dialer that counts an app's sockets by host.
type gauge struct {
	mu     sync.Mutex
	dialed map[string]int // mu; ever, also in vain
	open   map[string]int // mu
}

func newGauge() *gauge { return &gauge{dialed: map[string]int{}, open: map[string]int{}} }

// into lets an app open its sockets by the gauge.
func (g *gauge) into(o *options.ClientOptions) { o.SetDialer(g) }

// DialContext implements options.ContextDialer.
func (g *gauge) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	g.dialed[addr]++
	g.mu.Unlock()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	g.add(addr, 1)
	return &gauged{Conn: conn, gone: sync.OnceFunc(func() { g.add(addr, -1) })}, nil
}

func (g *gauge) add(addr string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[addr] += n
}

// at is how many sockets to a host were dialled, and are open.
func (g *gauge) at(host string) (dialed, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dialed[host], g.open[host]
}

type gauged struct {
	net.Conn
	gone func()
}

func (c *gauged) Close() error {
	defer c.gone()
	return c.Conn.Close()
}

// newSockets bounds the sockets that an app with the default workers, point reads and one lane opens to a
// host within d, whatever the host does.
//
// The slave dials at most 4 times a second on average, since it waits for up to half a second at random, and
// five times sooner in the beginning; 7√d is six standard deviations. Each of these connections opens at most two
// sockets for heartbeats, one for round trip times, and one each for two workers, for the ping before
// the host is live and for one of a suspicion. The master's client, and each of the slave's, may
// replace 20 sockets that end within a second and then 10 a second; the 5 are under way at one time.
func newSockets(d time.Duration) int {
	s := d.Seconds()
	connections := 5 + 4*s + 7*math.Sqrt(s)
	return int(7*connections + 20 + 10*s + 5)
}

// openSockets bounds those that are open at one time in that app: four for monitoring, the slave's two
// workers and ping, and at a member that was ever the primary the lane's and one for what the lane's write before
// left behind.
const (
	openSockets = 4 + 3 + laneSockets
	laneSockets = 2
)

// accepted is how many sockets each member has accepted.
func (c *cluster) accepted() (n []int64) {
	for _, m := range c.set.Members() {
		n = append(n, m.Counters().TotalConnections)
	}
	return n
}

// Not parallel with others: it counts goroutines.
func TestWhileAllHostsFlapSocketsAreBoundedNothingLeaksAndNoWriteIsLost(t *testing.T) {
	c := ownSet(t, "members that are restarted", replset.Options{ElectionTimeout: 300 * time.Millisecond})
	c.seed(t, "us")
	gauge := newGauge()
	g := c.play(t, app.Config{ClientOptions: gauge.into})
	g.steady(t, 3)
	crowd := g.crowd(t, 8, patience, nil)
	ledger := g.ledger(t, 16)
	crowd.more(t, 500)
	ledger.more(t, 100)
	calm := runtime.NumGoroutine()
	from, sockets := c.accepted(), []int{}
	for _, m := range c.set.Members() {
		n, _ := gauge.at(m.Host())
		sockets = append(sockets, n)
	}

	began := time.Now()
	var wg sync.WaitGroup
	for _, m := range c.set.Members() {
		wg.Go(func() {
			for range 30 {
				if err := m.Restart(); err != nil {
					t.Error(err)
				}
				pause := time.NewTimer(rand.N(200 * time.Millisecond))
				<-pause.C
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	restarts := 0
	for _, h := range g.Stat().Hosts {
		restarts += h.Restarts
	}
	for i, m := range c.set.Members() {
		dialed, _ := gauge.at(m.Host())
		dialed -= sockets[i]
		t.Logf("%v: %d sockets dialled in %v, %d accepted, of at most %d", m, dialed, took, c.accepted()[i]-from[i], newSockets(took))
		if dialed > newSockets(took) {
			t.Errorf("%v: %d sockets in %v, and %d are the limit", m, dialed, took, newSockets(took))
		}
	}
	if restarts < 3 {
		t.Errorf("the slaves were restarted %d times", restarts)
	}

	c.awaitSteady(t)
	g.steady(t, 3)
	crowd.more(t, 500)
	ledger.more(t, 100)
	for _, m := range c.set.Members() {
		eventually(t, "no more sockets are open than before", func() bool { _, n := gauge.at(m.Host()); return n <= openSockets })
	}
	// A connection has some goroutines more or less open when the heartbeats have just been renewed.
	eventually(t, "there are no more goroutines than before", func() bool { return runtime.NumGoroutine() <= calm+10 })
	crowd.end()
	if len(crowd.wrong) > 0 {
		t.Errorf("%d wrong documents, such as: %s", len(crowd.wrong), crowd.wrong[0])
	}
	ledger.mustBeTrue(t, 10) // A primary that is restarted hangs up on those that are on the wire; 90 restarts of members are fewer of primaries.
	t.Logf("%d restarts of slaves; %d reads, of which %d failed", restarts, crowd.count()+len(crowd.failures), len(crowd.failures))
}

// Hosts whose heartbeats are fine and that hang up on every command: each new socket is lost at once.
func TestHostsThatHangUpOnEveryCommandAreNotDialledWithoutPause(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "connections that are cut", primaryFirst(3))
	c.seed(t, "us")
	gauge := newGauge()
	g := c.play(t, app.Config{ClientOptions: gauge.into})
	g.steady(t, 3)
	crowd := g.crowd(t, 8, patience, nil)
	ledger := g.ledger(t, 16)
	crowd.more(t, 100)
	ledger.more(t, 100)
	var cuts []*replset.Fault
	var sockets []int
	for _, m := range c.set.Members() {
		n, _ := gauge.at(m.Host())
		sockets = append(sockets, n)
		cuts = append(cuts, m.Cut(replset.Target{Commands: []string{"find", "insert", "update", "bulkWrite"}, AppName: g.name}, replset.BeforeExecution))
	}
	began := time.Now()
	tick := time.NewTimer(2 * time.Second)
	<-tick.C
	took := time.Since(began)
	for i, m := range c.set.Members() {
		n, _ := gauge.at(m.Host())
		if n -= sockets[i]; n > newSockets(took) {
			t.Errorf("%v: %d sockets in %v, and %d are the limit", m, n, took, newSockets(took))
		}
		t.Logf("%v: %d sockets in %v, of at most %d; %d commands were cut", m, n, took, newSockets(took), cuts[i].Struck())
		cuts[i].End()
	}
	ledger.more(t, 100)
	crowd.more(t, 100)
	ledger.mustBeTrue(t, g.refusals(c.host(0)))
}

func TestANewPrimaryEveryFewWritesLosesDoublesAndReordersNone(t *testing.T) {
	t.Parallel()
	// Who has stepped down does not stand again for ten election time-outs.
	c := ownSet(t, "a step-down in every moment", replset.Options{Members: 5, ElectionTimeout: 200 * time.Millisecond})
	gauge := newGauge()
	g := c.play(t, app.Config{ClientOptions: gauge.into})
	g.steady(t, 5)
	ledger := g.ledger(t, 32)
	began := time.Now()
	for range 10 {
		c.awaitSteady(t)
		mark, old := g.events.mark(), c.primary(t)
		eventually(t, "the primary has stepped down", func() bool { return c.set.StepDown(soon(t)) == nil })
		await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" && e.To != old.Host() })
		ledger.more(t, 20)
	}
	took := time.Since(began)
	for _, m := range c.set.Members() {
		n, open := gauge.at(m.Host())
		if n > newSockets(took) || open > openSockets {
			t.Errorf("%v: %d sockets in %v, and %d are the limit; %d are open, and %d may be", m, n, took, newSockets(took), open, openSockets)
		}
	}
	t.Logf("10 primaries in %v", took)
	ledger.mustBeApplied(t)
}

// The member that is to be the primary takes its role back once it has caught up: a second election soon
// after the first.
func TestATakeoverAfterAnElectionLosesDoublesAndReordersNoWrite(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "kill -9 of the primary", replset.Options{
		ElectionTimeout: 300 * time.Millisecond, Priority: map[int]float64{0: 2}, TakeoverDelay: 50 * time.Millisecond,
	})
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	to := func(mark int, first bool) {
		t.Helper()
		await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" && (e.To == c.host(0)) == first })
	}
	eventually(t, "member 0 is the primary", func() bool { return g.events.primary() == c.host(0) })
	ledger := g.ledger(t, 32)
	for range 3 {
		ledger.more(t, 50)
		c.awaitSteady(t)
		mark := g.events.mark()
		c.set.Member(0).Kill()
		to(mark, false)
		ledger.more(t, 50)
		mark = g.events.mark()
		must(t, c.set.Member(0).Restart())
		to(mark, true)
	}
	ledger.more(t, 50)
	ledger.mustBeTrue(t, 3) // kills
}

// All hosts are killed at once, with reads on the wire to each: what notices their loss is
// later than the reads that go from one to the other.
func TestReadsOutliveTheLossOfAllHostsAtOnce(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "members that are killed", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{From: messages.FromAll})
	g.steady(t, 3)
	crowd := g.crowd(t, 64, patience, nil)
	for range 3 {
		crowd.more(t, 1_000)
		var wg sync.WaitGroup
		for _, m := range c.set.Members() {
			wg.Go(m.Kill)
		}
		wg.Wait()
		for _, m := range c.set.Members() {
			must(t, m.Restart())
		}
	}
	crowd.more(t, 1_000)
	crowd.mustBeFine(t)
}
