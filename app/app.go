package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/actors/master"
	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/actors/supervisor"
	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// App is evenkeel, running. Its methods are safe for concurrent use.
type App struct {
	cfg    Config
	system *actor.ActorSystem
	own    bool // the actor system is the app's
	hub    *supervisor.Hub
	super  *supervisor.Supervisor
	router *router.Router
	master *master.Master
	bson   *options.BSONOptions
	reg    *bson.Registry
	codec  *codec
	claims *slave.Claims
	name   *mongoconn.SetName
	found  chan struct{} // closed when the hosts are known

	primary primaryTeller

	mu    sync.Mutex
	hosts []*slave.Host       // mu; replaced, never changed
	set   *mongoconn.Set      // mu; the master's client
	conns []*mongoconn.Direct // mu; those opened and perhaps not closed yet

	resolving  context.CancelFunc
	calm       context.Context // ends when what has not ended by itself is to be given up
	hurry      context.CancelCauseFunc
	background sync.WaitGroup
	stopping   atomic.Bool
	stopOnce   sync.Once
	stopErr    error
	stopped    chan struct{}
}

// Start starts an app. It does not wait for any host: the app starts, and lives,
// with any of them down, the name server of a mongodb+srv URI included. Its error is a
// *ConfigError that says what can never work, or that of a ctx which has ended. The app runs until Stop or
// StopAndCancel, or until ctx ends, which is the same as StopAndCancel: ctx is that of the whole game server, not one
// with a time-out for the start.
func Start(ctx context.Context, cfg Config) (*App, error) {
	if ctx != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != ctx.Err() {
			return nil, fmt.Errorf("evenkeel: not started: %w: %w", ctx.Err(), cause)
		}
		return nil, fmt.Errorf("evenkeel: not started: %w", ctx.Err())
	}
	uri, probe, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	a := &App{
		cfg: cfg, system: cfg.System, hub: supervisor.NewHub(cfg.EventBuffer), bson: probe.BSONOptions, reg: probe.Registry,
		codec:  &codec{probe.Registry, probe.BSONOptions},
		claims: slave.NewClaims(), name: new(mongoconn.SetName), found: make(chan struct{}), stopped: make(chan struct{}),
	}
	if a.system == nil {
		a.own = true
		a.system = actor.NewActorSystem(
			actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
				return slog.New(zerolog.NewSlogHandler(cfg.Logger.Level(max(cfg.Logger.GetLevel(), zerolog.WarnLevel))))
			}),
			// The throttle's goroutine outlives a dead letter by this long.
			actor.WithDeadLetterThrottleInterval(10*time.Millisecond))
	}
	a.calm, a.hurry = context.WithCancelCause(context.Background())
	a.primary.publish = a.hub.Publish
	enc := &command.Encoder{Registry: a.reg, BSON: a.bson}
	if a.router, err = router.New(a.system, router.Config{
		Encoder: enc, Policy: cfg.Policy, SlowStart: cfg.SlowStart, From: cfg.From, Tags: messages.CloneTags(cfg.Tags),
		NoPrimaryFallback: cfg.NoPrimaryFallback, ReadQueue: cfg.ReadQueue, ReadQueueBytes: cfg.ReadQueueBytes, ReadTimeout: cfg.ReadTimeout,
		Recent: a.hub.Recent,
		Hedge:  cfg.Hedge, HedgeShare: cfg.HedgeShare,
		Hosts: a.readLines, Emit: a.hub.Publish, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	if a.master, err = master.New(a.system, master.Config{
		Encoder: enc, WriteQueue: cfg.WriteQueue, WriteQueueBytes: cfg.WriteQueueBytes,
		WriteTimeout: cfg.WriteTimeout, WriteLanes: cfg.WriteLanes, WriteConcern: probe.WriteConcern, Hosts: a.writeLines, Recent: a.hub.Recent, Emit: a.hub.Publish, Logger: cfg.Logger,
	}); err != nil {
		a.router.Close()
		return nil, err
	}
	if a.super, err = supervisor.Start(a.system, a.hub, cfg.Logger); err != nil {
		a.router.Close()
		a.master.Close()
		return nil, err
	}
	for _, line := range mongoconn.Unused(cfg.URI) {
		cfg.Logger.Warn().Msg(line)
	}
	if uri.SetName == "" && !uri.Direct && uri.SRV() == "" {
		cfg.Logger.Warn().Msg("the URI has no replicaSet: whichever host answers first decides which set this is; name it, so that a host of another one is never taken for it")
	}
	if uri.SRV() == "" && !cfg.Discover {
		for _, at := range astray(uri, cfg.Aliases) {
			cfg.Logger.Warn().Str("host", at).Msg("Aliases names a host that the URI does not name: only the writes' connection will use it, and no read; mind the spelling")
		}
	}
	a.logEvents()

	var resolveCtx context.Context
	resolveCtx, a.resolving = context.WithCancel(context.Background())
	if err := a.super.Spawn("master", a.master.Props()); err != nil {
		_ = a.StopAndCancel()
		return nil, err
	}
	if uri.SRV() == "" {
		if err := a.connect(resolveCtx, uri); err != nil {
			_ = a.StopAndCancel()
			return nil, err
		}
	} else {
		// Who names a service asks to be told of its members; and what its records happen to list now is no
		// better known than the rest.
		a.cfg.Discover = true
		a.background.Go(func() { a.resolve(resolveCtx, uri) })
	}
	if ctx != nil && ctx.Done() != nil {
		a.background.Go(func() {
			select {
			case <-ctx.Done():
				cfg.Logger.Info().AnErr("cause", context.Cause(ctx)).Msg("the context that Start was given has ended: stopping")
				go func() { _ = a.StopAndCancel() }() // It waits for this goroutine.
			case <-resolveCtx.Done():
			}
		})
	}
	return a, nil
}

// againAfter is how long it takes to ask a name server again whose answer can not be used.
const againAfter = 5 * time.Second

// resolve asks the name server until it answers, and connects then.
func (a *App) resolve(ctx context.Context, uri *mongoconn.URI) {
	srv, _ := a.cfg.Resolver.(mongoconn.SRVResolver) // Else the default one.
	var plain *mongoconn.URI
	for {
		var err error
		plain, err = uri.Await(ctx, srv, func(err error, next time.Duration) {
			a.cfg.Logger.Warn().Err(err).Dur("next", next).Msg("the name server does not resolve the URI; trying again")
		})
		if err != nil {
			if ctx.Err() == nil {
				a.cfg.Logger.Error().Err(err).Msg("the URI can not be resolved")
			}
			return
		}
		if err = checkHosts(plain, a.cfg.Aliases); err == nil {
			break
		}
		a.cfg.Logger.Error().Err(err).Dur("next", againAfter).Msg("what the name server has answered can not be used; asking again")
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return
		}
	}
	if err := a.connect(ctx, plain); err != nil && ctx.Err() == nil {
		a.cfg.Logger.Error().Err(err).Msg("the resolved URI can not be used")
	}
}

// connect spawns a slave for each host and opens the master's client. What goes on in the
// background ends with ctx.
func (a *App) connect(ctx context.Context, uri *mongoconn.URI) error {
	base := *uri.Options
	if err := a.cfg.apply(&base); err != nil {
		return err
	}
	expect := mongoconn.Expect{
		Aliases: a.cfg.Aliases, SetName: uri.SetName, Learned: a.name,
		AllowStandalone: len(uri.Hosts) == 1 && uri.SetName == "" && !a.cfg.Discover,
	}
	m := newMembers(a, uri.Hosts, expect.AddressOf)
	level := ""
	if base.ReadConcern != nil {
		level = base.ReadConcern.Level
	}
	m.cfg = slave.Config{
		Router: a.router, Claims: a.claims, Clock: slave.NewClock(a.cfg.Heartbeat), Paces: slave.NewPaces(), MaxLag: a.cfg.MaxLag,
		PointWorkers: a.cfg.PointWorkers, AfterWorkers: a.cfg.AfterWorkers, OtherWorkers: a.cfg.OtherWorkers, HostQueue: a.cfg.HostQueue, NoBatch: a.cfg.NoBatch,
		MaxCursors: a.cfg.MaxCursors, HungAfter: a.cfg.HungAfter, CheckTimeout: a.cfg.ConnectTimeout,
		ReadConcern: level, Emit: a.hub.Publish, Note: a.hub.Note, Logger: a.cfg.Logger,
	}
	pool := m.cfg.PoolSize()
	m.cfg.Open = func(host string, obs mongoconn.Observer) (slave.Conn, error) {
		expect := expect
		// A member that the set has told of is one of a set.
		expect.AllowStandalone = expect.AllowStandalone && host == uri.Hosts[0]
		d, err := mongoconn.OpenDirect(mongoconn.DirectConfig{
			Host: host, Base: &base, Expect: expect, PoolSize: pool,
			ConnectTimeout: a.cfg.ConnectTimeout, Heartbeat: a.cfg.Heartbeat, Observer: m.listen(obs),
			Resolver: a.cfg.Resolver, ResolveEvery: a.cfg.ResolveEvery,
		})
		if err != nil {
			return nil, err
		}
		a.opened(d)
		return d, nil
	}
	for _, name := range uri.Hosts {
		if err := m.spawn(name); err != nil {
			return err
		}
	}
	if m.roster != nil {
		a.background.Go(func() { m.run(ctx) })
	}
	set, err := mongoconn.OpenSet(mongoconn.SetConfig{
		Base: &base, Expect: expect, ConnectTimeout: a.cfg.ConnectTimeout, Heartbeat: a.cfg.Heartbeat, Resolver: a.cfg.Resolver,
		Writers:        cmp.Or(a.cfg.WriteLanes, master.DefaultWriteLanes),
		OnPrimary:      func(member string, _ bson.ObjectID, _ uint32) { a.primaryIs(expect.AddressOf(member)) },
		OnLoginRefused: a.master.LoginRefused,
		OnRefused: func(address string, err error) {
			a.cfg.Logger.Warn().Str("host", address).Err(err).Msg("the master's client has refused a socket")
		},
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	late := a.stopping.Load() // It may have looked for the client already.
	if !late {
		a.set = set
	}
	a.mu.Unlock()
	if late {
		set.Close()
		<-set.Closed()
		return messages.ErrStopped
	}
	close(a.found)
	return a.master.Attach(set)
}

// opened notes a connection for stop to wait for, and forgets those that are
// closed by now.
func (a *App) opened(d *mongoconn.Direct) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = slices.DeleteFunc(a.conns, func(d *mongoconn.Direct) bool {
		select {
		case <-d.Closed():
			return true
		default:
			return false
		}
	})
	a.conns = append(a.conns, d)
}

// primaryIs hears of the set's primary from the master's client.
func (a *App) primaryIs(host string) {
	a.primary.is(host)
	a.master.PrimaryChanged(host)
}

// logEvents writes every event to the app's logger.
func (a *App) logEvents() {
	if a.cfg.Logger.GetLevel() == zerolog.Disabled {
		return
	}
	sub := a.hub.Subscribe()
	a.background.Go(func() {
		for e := range sub.Events() {
			h := e.Head()
			a.cfg.Logger.Info().Uint64("seq", h.Seq).Str("event", string(e.Kind())).Str("host", h.Host).Msg(e.String())
		}
	})
}

// readLines describes every host for the error of a read.
func (a *App) readLines() []string { return a.lines(func(*slave.Host) string { return "" }) }

// writeLines does so for the error of a write: over a host's own sockets it is only read.
func (a *App) writeLines() []string {
	return a.lines(func(h *slave.Host) string {
		if a.set == nil || !h.Connected() || a.set.Reaches(h.Name()) {
			return ""
		}
		return ", and not reached by the master's client"
	})
}

// lines describes every host, with what more says of it, which may look at what a.mu guards.
func (a *App) lines(more func(*slave.Host) string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]string, len(a.hosts))
	for i, h := range a.hosts {
		out[i] = h.Line() + more(h)
	}
	if len(out) == 0 {
		out = append(out, "no host is known yet: the name server has not resolved the URI")
	}
	return out
}

// Router is where actors send a *messages.Read. It admits in the sender's
// goroutine, and replies to the sender with one *messages.ReadReply.
func (a *App) Router() *actor.PID { return a.router.PID() }

// Master is where actors send a *messages.Write. It admits in the sender's
// goroutine, and replies to the sender with one *messages.WriteReply.
func (a *App) Master() *actor.PID { return a.master.PID() }

// Supervisor is the actor above all others of the app.
func (a *App) Supervisor() *actor.PID { return a.super.PID() }

// System is the actor system that the app runs in.
func (a *App) System() *actor.ActorSystem { return a.system }

// Client is the way out to the driver for what the app does not cover: Watch,
// indexes, GridFS, transactions, bulk writes, creating and dropping collections. It is the master's set-aware client, every socket of
// which is checked. Its operations are neither ordered nor balanced, and it must not be
// disconnected. What uses it should end before Stop: an operation that waits for a primary when its client is
// closed spins in the driver, and keeps a processor busy, until its context ends or its selection time-out, 30 s. It is
// nil as long as a mongodb+srv URI is not resolved.
func (a *App) Client() *mongo.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set == nil {
		return nil
	}
	return a.set.Client()
}

// Events subscribes to the given kinds of events, or to all. The subscription starts
// with the present state of the hosts, of the primary, of reads and writes. It is
// buffered (Config.EventBuffer) and never blocks the app: what finds it full is dropped
// and counted. The channel is closed after the app's last event, Stopped.
func (a *App) Events(kinds ...messages.Kind) *supervisor.Subscription {
	return a.hub.Subscribe(kinds...)
}

// Stopped is closed when the app has stopped.
func (a *App) Stopped() <-chan struct{} { return a.stopped }

// StopError is returned by Stop when some of the accepted writes were not applied, or
// nobody can say.
type StopError struct {
	// NotApplied and Unknown are the replies of those writes, as their askers got them.
	NotApplied, Unknown []*messages.WriteReply
	// Err is why, such as the end of Stop's context.
	Err error
}

func (e *StopError) Error() string {
	return fmt.Sprintf("evenkeel: stopped with %d accepted writes not applied and %d unknown: %v", len(e.NotApplied), len(e.Unknown), e.Err)
}

// Unwrap returns why.
func (e *StopError) Unwrap() error { return e.Err }

// Stop refuses new reads and writes, finishes what was accepted, and stops. When
// ctx ends first, the rest is answered as not applied, or unknown. Its error is a
// *StopError that lists the writes which were not applied, and those of which nobody
// can say; or context.DeadlineExceeded when an actor has not stopped in time. Stopping
// twice is fine: the first ctx that ends counts for both. A nil ctx never ends.
func (a *App) Stop(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		a.hurry(err)
	}
	defer context.AfterFunc(ctx, func() { a.hurry(ctx.Err()) })()
	a.stopOnce.Do(func() { a.stopErr = a.stop(a.calm) })
	<-a.stopped
	return a.stopErr
}

// StopAndCancel stops at once, or ends a Stop that is under way: what was accepted and is not done is
// answered as not applied, or unknown.
func (a *App) StopAndCancel() error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return a.Stop(now)
}

// actorsGrace is how long the actors may take to stop; none of them blocks.
const actorsGrace = 5 * time.Second

func (a *App) stop(ctx context.Context) error {
	defer close(a.stopped)
	a.stopping.Store(true)
	a.resolving()
	a.router.Stop()
	undone := a.master.Drain(ctx)
	a.router.Drain(ctx)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), actorsGrace)
	defer cancel()
	err := a.super.Stop(grace)
	a.master.Close()
	a.router.Close()
	a.mu.Lock()
	set, conns := a.set, a.conns
	a.mu.Unlock()
	var closing []<-chan struct{}
	if set != nil {
		set.Close()
		closing = append(closing, set.Closed())
	}
	for _, d := range conns {
		d.Close() // Its slave has done so already, unless it did not stop in time.
		closing = append(closing, d.Closed())
	}
	for _, c := range closing {
		select {
		case <-c:
		case <-grace.Done():
		}
	}
	a.primary.stop()
	a.hub.Publish(messages.Stopped{})
	a.background.Wait()
	if a.own {
		a.system.Shutdown()
	}
	if len(undone) > 0 {
		why := context.Cause(ctx)
		if why == nil {
			why = messages.ErrStopped
		}
		stopped := &StopError{Err: why}
		for _, rep := range undone {
			if rep.Outcome == messages.Unknown {
				stopped.Unknown = append(stopped.Unknown, rep)
			} else {
				stopped.NotApplied = append(stopped.NotApplied, rep)
			}
		}
		return stopped
	}
	return err
}
