package slave

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

const (
	// steadyAfter is how long a host must have been live for its earlier failures to
	// be forgotten.
	steadyAfter = 10 * time.Second
	// quarantineWrong wrong sockets within quarantineWindow keep a host out until
	// quarantineTime without another has passed, in which new sockets are tried.
	quarantineWrong  = 3
	quarantineWindow = 10 * time.Second
	quarantineTime   = 5 * time.Second
	quarantineEvery  = 500 * time.Millisecond
	// probeFirst and probeMax are the waits between probes of an ejected host.
	probeFirst = 100 * time.Millisecond
	probeMax   = time.Second
	// floorEvery is how often it is told that a host cannot be ejected.
	floorEvery = 10 * time.Second
)

// Failure is why a slave failed; the supervisor finds it as the reason.
type Failure struct {
	Host string
	Err  error
	// Restarts counts this slave's restarts, the one that follows included.
	Restarts int
	// Backoff is how long the next incarnation waits before it dials.
	Backoff time.Duration
	// Repeated says that the same has been told in this outage already.
	Repeated bool
}

func (f *Failure) Error() string { return fmt.Sprintf("slave of %s: %v", f.Host, f.Err) }

// Unwrap returns why.
func (f *Failure) Unwrap() error { return f.Err }

// Events are what the supervisor publishes as it restarts the slave.
func (f *Failure) Events() []messages.Event {
	if f.Repeated {
		return nil
	}
	head := messages.Header{Host: f.Host}
	var events []messages.Event
	var wrong *messages.WrongHostError
	if errors.As(f.Err, &wrong) {
		events = append(events, messages.WrongHost{Header: head, Field: wrong.Field, Want: wrong.Want, Got: wrong.Got, Remote: wrong.Remote})
	}
	return append(events, messages.HostRestarting{Header: head, Reason: f.Err.Error(), Restarts: f.Restarts, Backoff: f.Backoff})
}

// What goroutines and timers tell the actor. Each carries the epoch it belongs to;
// what belongs to an earlier one is dropped.
type (
	internal struct{}
	helloMsg struct {
		internal
		epoch uint64
		hello mongoconn.Hello
	}
	wrongMsg struct {
		internal
		epoch uint64
		err   error
	}
	lostMsg struct {
		internal
		epoch uint64
		err   error
	}
	dialMsg struct {
		internal
		epoch uint64
	}
	checkedMsg struct {
		internal
		epoch uint64
		err   error
	}
	hungMsg struct {
		internal
		epoch   uint64
		suspect bool
	}
	pingedMsg struct { // after a suspicion
		internal
		epoch uint64
		err   error
	}
	probeMsg struct {
		internal
		epoch uint64
	}
	probedMsg struct {
		internal
		epoch uint64
		err   error
	}
	quarantineMsg struct {
		internal
		epoch uint64
	}
	duplicateMsg struct {
		internal
		of      string
		process bson.ObjectID
	}
)

// IgnoreDeadLetterLogging keeps what comes after a stop out of the host's log.
func (internal) IgnoreDeadLetterLogging() {}

// incarnation is one life of a slave's actor. Its fields are the actor's.
type incarnation struct {
	h     *Host
	self  *actor.PID
	root  *actor.RootContext
	epoch uint64 // of the present connection; a dialling incarnation has several

	state State
	conn  Conn
	svc   *service
	hello mongoconn.Hello
	heard bool      // the right server has answered on this connection
	since time.Time // when it came into this state

	probe      *command.Read // what to probe an ejected host with; nil for a ping
	probeWait  time.Duration
	pinging    bool
	quarantine time.Time // until when; zero for none
}

// Receive never blocks.
func (i *incarnation) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		i.self, i.root = ctx.Self(), ctx.ActorSystem().Root
		i.h.pid.Store(i.self)
		i.wait(i.h.delay)
	case *actor.Restarting:
		i.disconnect()
	case *actor.Stopping:
		i.disconnect()
		i.h.refusals.stop()
		i.enter(Stopped, messages.RoleUnknown, "the app is stopping")
	case dialMsg:
		if msg.epoch == i.epoch && i.state == Waiting {
			i.dial()
		}
	case helloMsg:
		if msg.epoch == i.epoch {
			i.onHello(msg.hello)
		}
	case wrongMsg:
		if msg.epoch == i.epoch {
			i.onWrong(msg.err)
		}
	case lostMsg:
		if msg.epoch == i.epoch {
			i.onLost(msg.err)
		}
	case checkedMsg:
		if msg.epoch == i.epoch && i.state == Checking {
			i.onChecked(msg.err)
		}
	case hungMsg:
		if msg.epoch == i.epoch && i.state == Live {
			i.onHung(msg.suspect)
		}
	case pingedMsg:
		if msg.epoch == i.epoch {
			i.pinging = false
			if msg.err != nil && i.state == Live {
				i.eject("reads and a ping get no reply")
			}
		}
	case probeMsg:
		if msg.epoch == i.epoch && i.state == Ejected {
			i.runProbe()
		}
	case probedMsg:
		if msg.epoch == i.epoch && i.state == Ejected {
			i.onProbed(msg.err)
		}
	case quarantineMsg:
		if msg.epoch == i.epoch && !i.quarantine.IsZero() {
			i.onQuarantine()
		}
	case duplicateMsg:
		if i.hello.ProcessID == msg.process && (i.state == Live || i.state == Ejected || i.state == Checking) {
			i.duplicate(msg.of)
		}
	}
}

// after sends a message to this incarnation later.
func (i *incarnation) after(d time.Duration, msg any) {
	self, root := i.self, i.root
	time.AfterFunc(d, func() { root.Send(self, msg) })
}

// enter changes the state and shows it.
func (i *incarnation) enter(s State, role messages.Role, reason string) {
	i.state, i.since = s, time.Now()
	i.h.view.Store(&view{state: s, role: role, reason: reason, since: i.since})
}

// wait is the state before each attempt: alive, and not connected.
func (i *incarnation) wait(d time.Duration) {
	i.epoch = incarnations.Add(1)
	reason := i.h.view.Load().reason
	i.enter(Waiting, messages.RoleUnknown, reason)
	if d <= 0 {
		i.dial()
		return
	}
	i.after(d, dialMsg{epoch: i.epoch})
}

// dial opens a connection of this epoch.
func (i *incarnation) dial() {
	h := i.h
	h.outage.attempts++
	if !h.outage.dialled {
		h.outage.dialled = true
		h.emit(messages.HostDialing{Header: h.header()})
	}
	i.enter(Dialing, messages.RoleUnknown, h.view.Load().reason)
	i.heard = false
	conn, err := h.cfg.Open(h.name, &observer{i.self, i.root, i.epoch})
	if err != nil {
		i.redial(err)
		return
	}
	i.conn = conn
}

// observer passes on what the connection sees.
type observer struct {
	self  *actor.PID
	root  *actor.RootContext
	epoch uint64
}

func (o *observer) Hello(h mongoconn.Hello) { o.root.Send(o.self, helloMsg{epoch: o.epoch, hello: h}) }
func (o *observer) WrongSocket(err error)   { o.root.Send(o.self, wrongMsg{epoch: o.epoch, err: err}) }
func (o *observer) Lost(err error)          { o.root.Send(o.self, lostMsg{epoch: o.epoch, err: err}) }

// onHello follows what the right server says of itself.
func (i *incarnation) onHello(hello mongoconn.Hello) {
	i.hello, i.heard = hello, true
	if owner := i.h.cfg.Claims.claim(hello.ProcessID, i.h); owner != "" {
		i.duplicate(owner)
		return
	}
	if reason := cannotServe(hello.Kind); reason != "" {
		i.standby(reason)
		return
	}
	role := roleOf(hello.Kind)
	switch i.state {
	case Dialing, Standby:
		if i.quarantine.IsZero() {
			i.check()
		}
	case Live, Ejected:
		if old := i.h.view.Load().role; old != role {
			i.h.emit(messages.RoleChanged{Header: i.h.header(), From: old, To: role})
			state, since := i.state, i.since
			i.enter(state, role, i.h.view.Load().reason)
			i.since = since
			if state == Live {
				i.h.cfg.Router.Join(i.svc, role != messages.RoleSecondary)
			}
		}
	}
}

// cannotServe says why a member does not serve reads, "" when it does.
func cannotServe(k mongoconn.Kind) string {
	switch k {
	case mongoconn.Primary, mongoconn.Secondary, mongoconn.Standalone:
		return ""
	case mongoconn.Recovering:
		return "the member is recovering or in initial sync"
	case mongoconn.Hidden:
		return "the member is hidden"
	case mongoconn.Arbiter:
		return "the member is an arbiter"
	case mongoconn.Ghost:
		return "the server is not in its set's configuration"
	}
	return "the server does not say what it is"
}

func roleOf(k mongoconn.Kind) messages.Role {
	switch k {
	case mongoconn.Primary:
		return messages.RolePrimary
	case mongoconn.Secondary:
		return messages.RoleSecondary
	case mongoconn.Standalone:
		return messages.RoleStandalone
	}
	return messages.RoleOther
}

// standby keeps the connection to a server that must not be read from.
func (i *incarnation) standby(reason string) {
	if i.state == Standby && i.h.view.Load().reason == reason {
		return
	}
	i.retire()
	i.enter(Standby, messages.RoleOther, reason)
	i.h.emit(messages.HostStandby{Header: i.h.header(), Reason: reason})
}

// duplicate stands by for another name of the same server.
func (i *incarnation) duplicate(of string) {
	reason := "it is the same server as " + of
	if i.state == Standby && i.h.view.Load().reason == reason {
		return
	}
	i.retire()
	i.enter(Standby, messages.RoleOther, reason)
	i.h.emit(messages.DuplicateHost{Header: i.h.header(), Of: of})
}

// check tries whether reads would be let in, over a socket of the pool.
func (i *incarnation) check() {
	i.enter(Checking, roleOf(i.hello.Kind), i.h.view.Load().reason)
	epoch := i.epoch
	i.ask(i.h.cfg.CheckTimeout, nil, func(err error) any { return checkedMsg{epoch: epoch, err: err} })
}

// ask runs a command, or a ping, in a goroutine of its own and tells the actor its
// result.
func (i *incarnation) ask(timeout time.Duration, cmd *command.Read, result func(error) any) {
	conn, self, root := i.conn, i.self, i.root
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		var err error
		if cmd == nil {
			err = conn.Ping(ctx)
		} else {
			_, err = conn.Run(ctx, cmd.Database, cmd.Wire(command.Concern{}, 0), nil)
		}
		root.Send(self, result(err))
	}()
}

func (i *incarnation) onChecked(err error) {
	if err != nil {
		i.redial(err) // A refused socket is told as wrongMsg as well, which may come first.
		return
	}
	i.admit()
}

// admit makes the host live, unless too many of its sockets were wrong of late.
func (i *incarnation) admit() {
	h := i.h
	h.pruneWrong(time.Now())
	if len(h.wrong) >= quarantineWrong {
		i.quarantine = h.wrong[len(h.wrong)-1].Add(quarantineTime)
		i.enter(Standby, messages.RoleOther, "")
		i.standby(fmt.Sprintf("%d wrong sockets in %v: out until %v pass without another", len(h.wrong), quarantineWindow, quarantineTime))
		i.after(quarantineEvery, quarantineMsg{epoch: i.epoch})
		return
	}
	i.live()
}

func (h *Host) pruneWrong(now time.Time) {
	keep := h.wrong[:0]
	for _, t := range h.wrong {
		if now.Sub(t) < quarantineWindow {
			keep = append(keep, t)
		}
	}
	h.wrong = keep
}

// onQuarantine tries one more new socket, or ends the quarantine.
func (i *incarnation) onQuarantine() {
	if !time.Now().Before(i.quarantine) {
		i.quarantine = time.Time{}
		i.h.wrong = nil
		if cannotServe(i.hello.Kind) == "" {
			i.check()
		}
		return
	}
	i.after(quarantineEvery, quarantineMsg{epoch: i.epoch})
	// A connection of its own, since the driver opens no socket that it does not need.
	// Its refusals are this epoch's.
	conn, err := i.h.cfg.Open(i.h.name, &wrongOnly{observer{i.self, i.root, i.epoch}})
	if err != nil {
		return
	}
	timeout := i.h.cfg.CheckTimeout
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = conn.Ping(ctx) // A refused socket is told by the observer; the rest is no matter here.
		conn.Close()
	}()
}

// wrongOnly passes on refused sockets only.
type wrongOnly struct{ observer }

func (*wrongOnly) Hello(mongoconn.Hello) {}
func (*wrongOnly) Lost(error)            {}

// live lets reads in.
func (i *incarnation) live() {
	h := i.h
	role := roleOf(i.hello.Kind)
	epoch, self, root := i.epoch, i.self, i.root
	i.svc = newService(h, incarnations.Add(1), i.conn, func(suspect bool) {
		root.Send(self, hungMsg{epoch: epoch, suspect: suspect})
	})
	down := time.Duration(0)
	if h.outage.restarts > 0 || h.served.Load() > 0 || h.outage.attempts > 1 {
		down = time.Since(h.outage.since)
	}
	i.enter(Live, role, "")
	h.live.Store(i.svc)
	h.emit(messages.HostLive{Header: h.header(), Role: role, Down: down, Attempts: h.outage.attempts})
	h.outage, h.login = outage{}, false
	h.cfg.Router.Join(i.svc, role != messages.RoleSecondary)
}

// retire takes the host out of the reads, if it was in.
func (i *incarnation) retire() {
	if i.svc == nil {
		return
	}
	h := i.h
	h.cfg.Router.Leave(i.svc)
	h.live.Store(nil)
	i.svc.close()
	i.svc = nil
	if i.state == Live && time.Since(i.since) >= steadyAfter {
		h.dials.reset()
		h.logins.reset()
	}
	h.outage = outage{since: time.Now()}
}

// disconnect ends the connection and all that came from it.
func (i *incarnation) disconnect() {
	i.retire()
	i.h.cfg.Claims.release(i.h)
	if i.conn != nil {
		i.conn.Close()
		i.conn = nil
	}
	i.quarantine, i.pinging = time.Time{}, false
	i.epoch = incarnations.Add(1) // Whatever is still under way is of an earlier one.
}

// onWrong: a socket led to somebody else.
func (i *incarnation) onWrong(err error) {
	if i.conn == nil {
		return
	}
	if !errors.Is(err, messages.ErrWrongHost) {
		// The server is not a member of any set, or not yet.
		i.lost(err)
		return
	}
	h := i.h
	now := time.Now()
	h.pruneWrong(now)
	h.wrong = append(h.wrong, now)
	i.fail(err)
}

// onLost: a heartbeat failed, a login was refused, or the driver gave up.
func (i *incarnation) onLost(err error) {
	if i.conn == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		// The driver called its heartbeat off since a socket broke. Whether the host is
		// still there is worth knowing before the next one.
		if i.state == Live && !i.pinging {
			i.suspect()
		}
		return
	}
	i.lost(err)
}

// lost restarts a slave that had its host, and dials again for one that had not.
func (i *incarnation) lost(err error) {
	if i.heard {
		i.fail(err)
	}
	i.redial(err)
}

// redial gives up this attempt and waits for the next one, in the same
// incarnation: nothing was there that a restart would make anew.
func (i *incarnation) redial(err error) {
	h := i.h
	i.disconnect()
	delay := h.backoff(err)
	kind := "unreachable"
	if h.login {
		kind = "login"
	}
	if h.outage.lost != kind {
		h.outage.lost = kind
		h.emit(messages.HostLost{Header: h.header(), Err: err, Reason: err.Error()})
	}
	h.view.Store(&view{state: Waiting, role: messages.RoleUnknown, reason: err.Error(), since: time.Now()})
	i.wait(delay)
}

// backoff counts a failure and returns the wait after it.
func (h *Host) backoff(err error) time.Duration {
	h.login = mongoconn.IsAuth(err)
	if h.login {
		return h.logins.next()
	}
	return h.dials.next()
}

// fail ends this incarnation: the supervisor restarts it at once, and the next one
// waits out the backoff.
func (i *incarnation) fail(err error) {
	h := i.h
	was := i.state
	// Before the supervisor hears of it: no read must find a slave that has failed.
	i.disconnect()
	h.delay = h.backoff(err)
	h.restarts++
	h.refusals.restarts.Store(int64(h.restarts))
	h.outage.restarts++
	f := &Failure{Host: h.name, Err: err, Restarts: h.restarts, Backoff: h.delay}
	var wrong *messages.WrongHostError
	if errors.As(err, &wrong) {
		same := *wrong
		same.Remote = ""
		f.Repeated = h.outage.wrong == same
		h.outage.wrong = same
	} else if was == Live || was == Ejected || h.outage.lost == "" {
		h.outage.lost = "unreachable"
		h.emit(messages.HostLost{Header: h.header(), Err: err, Reason: err.Error()})
	}
	h.view.Store(&view{state: Waiting, role: messages.RoleUnknown, reason: err.Error(), since: time.Now()})
	panic(f)
}

// onHung: reads get no replies.
func (i *incarnation) onHung(suspect bool) {
	if suspect {
		if !i.pinging {
			i.suspect()
		}
		return
	}
	i.eject("reads get no reply")
}

// suspect asks over another socket whether the host still answers.
func (i *incarnation) suspect() {
	i.pinging = true
	epoch := i.epoch
	i.ask(i.h.cfg.HungAfter, nil, func(err error) any { return pingedMsg{epoch: epoch, err: err} })
}

// eject takes a connected host out of the reads and moves what it had to others.
func (i *incarnation) eject(reason string) {
	h := i.h
	if !h.cfg.Router.Eject(i.svc) {
		if now := time.Now(); now.Sub(h.floorAt) >= floorEvery {
			h.floorAt = now
			h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Floor: true})
		}
		return
	}
	role := h.view.Load().role
	i.enter(Ejected, role, reason)
	var moved int
	moved, i.probe = i.svc.evacuate()
	h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Evacuated: moved})
	i.probeWait = probeFirst
	i.after(i.probeWait, probeMsg{epoch: i.epoch})
}

// runProbe repeats one of the reads that hung: the same path on the server, and
// the same rights. Its reply is dropped.
func (i *incarnation) runProbe() {
	epoch := i.epoch
	i.ask(i.h.cfg.HungAfter, i.probe, func(err error) any { return probedMsg{epoch: epoch, err: err} })
}

func (i *incarnation) onProbed(err error) {
	if err != nil && unanswered(err) || mongoconn.OtherHostMayServe(err) {
		i.probeWait = min(2*i.probeWait, probeMax)
		// Between a half and the whole of it, so that many processes do not probe together.
		i.after(i.probeWait/2+rand.N(i.probeWait/2+1), probeMsg{epoch: i.epoch})
		return
	}
	h := i.h
	out := time.Since(i.since)
	role := h.view.Load().role
	i.enter(Live, role, "")
	i.svc.reopen()
	h.emit(messages.HostRestored{Header: h.header(), After: out})
	h.cfg.Router.Join(i.svc, role != messages.RoleSecondary)
}

// recoverer gives panics a type and their stack, which the framework drops. In a
// lifecycle message the panic ends here: the framework would bring a stopping actor
// back to life, or never finish its parent's stop.
func recoverer(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			switch env.Message.(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
				return
			}
			if f, ok := v.(*Failure); ok {
				panic(f)
			}
			panic(asPanicError(v))
		}()
		next(ctx, env)
	}
}

// asPanicError makes a recovered value an error. It is called in the deferred
// function that recovered, while the stack is still the panic's.
func asPanicError(v any) *messages.PanicError {
	if err, ok := v.(*messages.PanicError); ok {
		return err
	}
	return &messages.PanicError{Value: v, Stack: debug.Stack()}
}
