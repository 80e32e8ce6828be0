package slave

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/actors/supervisor"
	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("reset by peer")
)

// world is a supervisor with slaves whose network and router are fakes, in the
// virtual time of a test.
type world struct {
	t      testing.TB
	system *actor.ActorSystem
	super  *supervisor.Supervisor
	sub    *supervisor.Subscription
	hub    *supervisor.Hub
	router *fakeRouter
	claims *Claims
	cfg    Config // of hosts that are spawned next

	dead atomic.Int64 // dead letters
	bomb atomic.Bool  // the next event panics where it is emitted

	mu    sync.Mutex
	conns []*fakeConn                          // mu
	open  func(host string, c *fakeConn) error // mu; called for each new connection
}

// inWorld runs a test in a world of its own, and stops that at the end.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		f(w)
	})
}

// What the tests reckon with, whatever the defaults are.
const (
	testPointWorkers = 4
	testHungReads    = 3
	testHungAfter    = 400 * time.Millisecond
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, hub: supervisor.NewHub(100_000), router: newFakeRouter(), claims: NewClaims()}
	w.sub = w.hub.Subscribe()
	w.system = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(10*time.Millisecond))
	var err error
	if w.super, err = supervisor.Start(w.system, w.hub, w.cfg.Logger); err != nil {
		t.Fatal(err)
	}
	w.system.EventStream.Subscribe(func(e any) {
		if dead, ok := e.(*actor.DeadLetterEvent); ok {
			if _, ours := dead.Message.(actor.IgnoreDeadLetterLogging); ours {
				w.dead.Add(1)
			}
		}
	})
	w.cfg = Config{
		PointWorkers: testPointWorkers, HungReads: testHungReads, HungAfter: testHungAfter,
		Router: w.router, Claims: w.claims, Emit: func(e messages.Event) {
			if w.bomb.CompareAndSwap(true, false) {
				panic("bomb")
			}
			w.hub.Publish(e)
		},
		Open: func(host string, obs mongoconn.Observer) (Conn, error) { return w.dial(host, obs) },
	}
	return w
}

func (w *world) dial(host string, obs mongoconn.Observer) (Conn, error) {
	c := &fakeConn{host: host, obs: obs, at: time.Now(), done: make(chan struct{})}
	w.mu.Lock()
	w.conns = append(w.conns, c)
	open := w.open
	w.mu.Unlock()
	opened := false
	defer func() {
		if !opened {
			c.Close()
		}
	}()
	if open != nil {
		if err := open(host, c); err != nil {
			return nil, err
		}
	}
	opened = true
	return c, nil
}

// opens says what happens to each new connection. It runs before Open returns.
func (w *world) opens(f func(host string, c *fakeConn) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = f
}

// spawn starts a slave.
func (w *world) spawn(host string) *Host {
	w.t.Helper()
	h, err := New(w.system, host, w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg.Order++
	if err := w.super.Spawn("slave-"+host, h.Props()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return h
}

// live spawns a slave whose server answers at once, and returns its connection and what
// the router knows of it.
func (w *world) live(host string) (*Host, *fakeConn, request.Target) {
	w.t.Helper()
	w.opens(answers(mongoconn.Secondary))
	h := w.spawn(host)
	w.is(h, Live)
	return h, w.conn(), w.router.target(host)
}

// answers lets a server answer as soon as it is dialled.
func answers(kind mongoconn.Kind) func(string, *fakeConn) error {
	return func(_ string, c *fakeConn) error { c.hello(kind); return nil }
}

// conn is the latest connection.
func (w *world) conn() *fakeConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[len(w.conns)-1]
}

// main is the latest connection that is no quarantine's.
func (w *world) main() *fakeConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.conns) {
		if _, ok := c.obs.(*observer); ok {
			return c
		}
	}
	return nil
}

// dials is how many connections were opened.
func (w *world) dials() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// is checks a host's state, once nothing moves any more.
func (w *world) is(h *Host, want State) {
	w.t.Helper()
	synctest.Wait()
	if st := h.Stat(); st.State != want {
		w.t.Fatalf("%s is %s (%s), want %s", h.name, st.State, st.Reason, want)
	}
}

// told takes the events since the last call, each as its kind and host, those of
// the given kinds only, or all.
func (w *world) told(kinds ...messages.Kind) (got []string) {
	w.t.Helper()
	for _, e := range w.events(kinds...) {
		got = append(got, string(e.Kind())+" "+e.Head().Host)
	}
	return got
}

func (w *world) events(kinds ...messages.Kind) (got []messages.Event) {
	synctest.Wait()
	for {
		select {
		case e := <-w.sub.Events():
			if len(kinds) == 0 || slices.Contains(kinds, e.Kind()) {
				got = append(got, e)
			}
			continue
		default:
		}
		return got
	}
}

// tells checks the events since the last look.
func (w *world) tells(want ...string) {
	w.t.Helper()
	if got := w.told(); !slices.Equal(got, want) {
		w.t.Fatalf("told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

// stop stops all and checks that no connection is left open, and that nobody tells
// a stopped actor anything.
func (w *world) stop() {
	w.t.Helper()
	if err := w.super.Stop(context.Background()); err != nil {
		w.t.Errorf("stop: %v", err)
	}
	w.sub.Cancel()
	w.system.Shutdown()
	w.pass(time.Minute)
	if n := w.dead.Load(); n > 0 {
		w.t.Errorf("%d messages to a stopped actor", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.conns {
		if !c.closed() {
			w.t.Errorf("connection %d to %s was never closed", i, c.host)
		}
		c.mu.Lock()
		if c.left > 0 {
			w.t.Errorf("connection %d to %s was closed with %d commands under way that nobody had ended", i, c.host, c.left)
		}
		c.mu.Unlock()
	}
}

// fakeConn is a connection whose server is two functions.
type fakeConn struct {
	host string
	obs  mongoconn.Observer
	at   time.Time // when it was opened

	mu       sync.Mutex
	ping     func(ctx context.Context) error                           // mu; nil answers at once
	run      func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) // mu; nil answers at once
	session  func() (*mongo.Session, error)                            // mu
	ran      []string                                                  // mu; the names of commands
	sessions []*mongo.Session                                          // mu; of those commands
	asking   map[*context.Context]bool                                 // mu; what is under way
	left     int                                                       // mu; of these, when it was closed, those that had not been ended
	once     sync.Once
	done     chan struct{}
}

func (c *fakeConn) Run(ctx context.Context, _ string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error) {
	first, err := cmd.IndexErr(0)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.ran = append(c.ran, first.Key())
	c.sessions = append(c.sessions, sess)
	run := c.run
	c.mu.Unlock()
	defer c.asked(ctx)()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if run == nil {
		return reply(), nil
	}
	return run(ctx, cmd)
}

func (c *fakeConn) RunCursor(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error) {
	return c.Run(ctx, db, cmd, sess)
}

func (c *fakeConn) Ping(ctx context.Context) error {
	c.mu.Lock()
	ping := c.ping
	c.mu.Unlock()
	defer c.asked(ctx)()
	if ping == nil {
		return ctx.Err()
	}
	return ping(ctx)
}

// asked notes that something is under way until its end is called.
func (c *fakeConn) asked(ctx context.Context) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking == nil {
		c.asking = map[*context.Context]bool{}
	}
	c.asking[&ctx] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asking, &ctx)
	}
}

func (c *fakeConn) StartSession() (*mongo.Session, error) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session == nil {
		return nil, nil
	}
	return session()
}

// Close counts what would spin in the driver until its context ends: see line.
func (c *fakeConn) Close() {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for ctx := range c.asking {
			if (*ctx).Err() == nil {
				c.left++
			}
		}
		close(c.done)
	})
}

func (c *fakeConn) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// pings and runs set what the server does from now on.
func (c *fakeConn) pings(f func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ping = f
}

func (c *fakeConn) runs(f func(context.Context, bson.Raw) (bson.Raw, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run = f
}

// hangs answers nothing from now on.
func (c *fakeConn) hangs() {
	c.pings(hang)
	c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// thaws answers everything from now on.
func (c *fakeConn) thaws() {
	c.pings(nil)
	c.runs(nil)
}

// commands is what was sent so far.
func (c *fakeConn) commands() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ran)
}

// hello lets the server say what it is; every host has a process of its own.
func (c *fakeConn) hello(kind mongoconn.Kind) { c.helloFrom(kind, processOf(c.host)) }

func (c *fakeConn) helloFrom(kind mongoconn.Kind, process bson.ObjectID) {
	c.obs.Hello(mongoconn.Hello{Kind: kind, ProcessID: process})
}

func processOf(host string) (id bson.ObjectID) {
	copy(id[:], host)
	return id
}

// strange lets a socket lead to a member of another name.
func (c *fakeConn) strange(got string) error {
	err := &messages.WrongHostError{Address: c.host, Field: "me", Want: c.host, Got: got, Remote: "10.0.0.9:27017"}
	c.obs.WrongSocket(err)
	return err
}

func authRefused() error { return &messages.LoginError{Host: "a:1", Code: 18, Reason: "bad password"} }

// fakeRouter notes what slaves tell.
type fakeRouter struct {
	mu        sync.Mutex
	live      map[string]request.Target // mu
	primary   map[string]bool           // mu
	floor     bool                      // mu; nothing may be ejected
	elsewhere bool                      // mu; evacuated reads are at another host, which has not answered yet
	onJoin    func()                    // mu
	unserved  []*request.Read           // mu
	evacuated []*request.Read           // mu
	failed    []error                   // mu
}

func newFakeRouter() *fakeRouter {
	return &fakeRouter{live: map[string]request.Target{}, primary: map[string]bool{}}
}

func (r *fakeRouter) Join(host request.Target, as request.Member) {
	r.mu.Lock()
	r.live[host.Host()], r.primary[host.Host()] = host, as.Primary
	onJoin := r.onJoin
	r.mu.Unlock()
	if onJoin != nil {
		onJoin()
	}
}

func (r *fakeRouter) Leave(host request.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.live[host.Host()]; t != nil && t.Incarnation() == host.Incarnation() {
		delete(r.live, host.Host())
	}
}

func (r *fakeRouter) Pause(host request.Target) { r.Leave(host) }

func (r *fakeRouter) Eject(host request.Target, slow bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.floor {
		return false
	}
	delete(r.live, host.Host())
	return true
}

func (r *fakeRouter) Unserved(read *request.Read) {
	r.mu.Lock()
	r.unserved = append(r.unserved, read)
	r.mu.Unlock()
	read.Fail(errUnserved)
}

func (r *fakeRouter) Evacuated(read *request.Read, host request.Target) {
	r.mu.Lock()
	r.evacuated = append(r.evacuated, read)
	elsewhere := r.elsewhere
	r.mu.Unlock()
	read.Tried = append(read.Tried, host.Incarnation()) // As the real one: it is the router's now.
	if !elsewhere {
		read.Fail(errEvacuated)
	}
}

func (r *fakeRouter) Failed(read *request.Read, host request.Target, err error) {
	r.mu.Lock()
	r.failed = append(r.failed, err)
	r.mu.Unlock()
	read.Tried = append(read.Tried, host.Incarnation())
	read.Fail(err)
}

// What the fake router answers reads with that come back to it.
var (
	errUnserved  = errors.New("unserved")
	errEvacuated = errors.New("evacuated")
)

func (r *fakeRouter) target(host string) request.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[host]
}

func (r *fakeRouter) isPrimary(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary[host]
}

func (r *fakeRouter) keeps(all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = all
}

func raw(v any) bson.Raw {
	b, err := bson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// reply is a batch of one document, and a cursor when it has a number.
func reply(cursor ...int64) bson.Raw {
	var id int64
	if len(cursor) > 0 {
		id = cursor[0]
	}
	doc := bson.D{{Key: "_id", Value: 7}}
	return raw(bson.D{
		{Key: "cursor", Value: bson.D{
			{Key: "firstBatch", Value: bson.A{doc}}, {Key: "id", Value: id}, {Key: "ns", Value: "game.players"},
		}},
		{Key: "ok", Value: 1},
	})
}

// The commands of these tests.
var (
	pointRead = &command.Read{Database: "game", Collection: "players", Name: "find", Class: command.Point, Kind: command.KindOne, Body: raw(bson.D{{Key: "find", Value: "players"}})}
	rangeRead = &command.Read{Database: "game", Collection: "players", Name: "find", Class: command.Range, Kind: command.KindBatch, Body: raw(bson.D{{Key: "find", Value: "players"}})}
	heavyRead = &command.Read{Database: "game", Collection: "players", Name: "aggregate", Class: command.Heavy, Kind: command.KindBatch, Body: raw(bson.D{{Key: "aggregate", Value: "players"}})}
	anyRead   = &command.Read{Database: "game", Name: "dbStats", Class: command.Heavy, Kind: command.KindCommand, Body: raw(bson.D{{Key: "dbStats", Value: 1}})}
)

// asked is a read and the replies it got.
type asked struct {
	*request.Read
	mu      sync.Mutex
	replies []*messages.ReadReply
}

// ask makes a read with five seconds to its deadline.
func ask(cmd *command.Read) *asked { return askWithin(cmd, &messages.Read{}, 5*time.Second) }

func askWithin(cmd *command.Read, m *messages.Read, d time.Duration) *asked {
	a := &asked{}
	now := time.Now()
	a.Read = request.NewRead(m, cmd, now, now.Add(d), func(rep *messages.ReadReply) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.replies = append(a.replies, rep)
	})
	a.AttemptDeadline = a.Deadline
	a.OnDeadline(func() { a.Fail(&messages.DeadlineError{Phase: "sent"}) })
	return a
}

// offer gives reads to a host as the router does.
func offer(to request.Target, reads ...*asked) error {
	for _, r := range reads {
		to.Load().Begin(r.LoadClass(), time.Now())
		if _, err := to.Offer(r.Read, false); err != nil {
			to.Load().Cancel(r.LoadClass(), time.Now())
			return err
		}
	}
	return nil
}

// offered makes n reads and gives them to a host.
func (w *world) offered(to request.Target, n int, cmd *command.Read) []*asked {
	w.t.Helper()
	reads := make([]*asked, n)
	for i := range reads {
		reads[i] = ask(cmd)
	}
	if err := offer(to, reads...); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return reads
}

// got is the one reply of a read; nil while there is none.
func (w *world) got(r *asked) *messages.ReadReply {
	w.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.replies) > 1 {
		w.t.Fatalf("%d replies", len(r.replies))
	}
	if len(r.replies) == 0 {
		return nil
	}
	return r.replies[0]
}

// askPanicking makes a read whose receiver panics.
func askPanicking(bombs *atomic.Int64) *asked {
	now := time.Now()
	a := &asked{Read: request.NewRead(&messages.Read{}, pointRead, now, now.Add(time.Second), func(*messages.ReadReply) {
		bombs.Add(1)
		panic("bomb")
	})}
	a.AttemptDeadline = a.Deadline
	return a
}
