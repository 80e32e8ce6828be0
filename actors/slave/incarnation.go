package slave

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// numbers tell apart what belongs together across all hosts of all apps:
// incarnations, connections, timers and questions. None is used twice.
var numbers atomic.Uint64

// What goroutines and timers tell the actor. Each says what it belongs to; what
// belongs to something that is over is dropped.
type (
	internal struct{}
	// helloMsg, wrongMsg and lostMsg come from the connection of that number.
	helloMsg struct {
		internal
		conn  uint64
		hello mongoconn.Hello
	}
	wrongMsg struct {
		internal
		conn uint64
		err  error
	}
	lostMsg struct {
		internal
		conn uint64
		err  error
	}
	movedMsg struct {
		internal
		conn uint64
		err  *mongoconn.MovedError
	}
	// hungMsg, slowMsg, brokenMsg and recallMsg come from the service of that number.
	hungMsg struct {
		internal
		service uint64
		suspect bool
		several bool // which may be ranges only
	}
	slowMsg struct {
		internal
		service uint64
		of      command.Class
		reason  string
	}
	brokenMsg struct {
		internal
		service uint64
		err     error
	}
	recallMsg struct {
		internal
		service uint64
	}
	// tickMsg and answerMsg end a wait that the state has begun.
	tickMsg struct {
		internal
		wait uint64
	}
	answerMsg struct {
		internal
		wait uint64
		err  error
	}
	// duplicateMsg says that a host configured earlier has reached the process too.
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
	h    *Host
	self *actor.PID

	state State
	since time.Time // when it came into this state
	// wait is the number of the one timer or question that this state waits for, 0 for
	// none. Whatever comes of an earlier state's is dropped.
	wait  uint64
	timer *time.Timer

	// The connection, nil but while there is one, its number, 0 while there is none, and
	// the latest hello over it.
	conn   *line
	number uint64
	hello  mongoconn.Hello

	// The connection to where the host's name leads now, while that is tried; see move.go.
	next *move

	// The service, nil but while Live or Ejected, and when it went live.
	svc    *service
	liveAt time.Time

	quarantine time.Time     // in Standby: until when; zero for none
	lag        time.Duration // behind the primary, by the latest hello
	behind     bool          // Ejected for its lag: no probe is under way
	probe      known
	probeWait  time.Duration
	probes     int           // that went well in a row
	failed     int           // that did not, since it was ejected
	slow       bool          // it was ejected as slow
	opening    time.Duration // what the connection's first socket and a ping over it took
	copied     time.Time     // when a range was last copied to another host
	of         command.Class // Live: what the latest suspicion asks with
}

// Receive never blocks.
func (i *incarnation) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		i.self = ctx.Self()
		i.h.pid.Store(i.self)
		delay := i.h.delay
		i.h.delay = 0
		if i.h.leaving != "" { // It has panicked since.
			i.enter(Leaving, messages.RoleOther, i.h.leaving)
		} else if msg := i.h.parting.Load(); msg != nil {
			i.onLeave(*msg)
		} else {
			i.pause(delay)
		}
	case *actor.Restarting:
		i.onRestarting()
	case *actor.Stopping:
		i.disconnect()
		i.h.stop()
		reason := "the app is stopping"
		if i.h.leaving != "" {
			reason = i.h.leaving
		}
		i.enter(Stopped, messages.RoleUnknown, reason)
	case helloMsg:
		if msg.conn == i.number {
			i.onHello(msg.hello)
		} else if i.moving(msg.conn) {
			i.onNextHello(msg.hello)
		}
	case wrongMsg:
		if msg.conn == i.number {
			i.onWrong(msg.err)
		} else if i.moving(msg.conn) {
			i.stay(msg.err)
		}
	case lostMsg:
		if msg.conn == i.number {
			i.onLost(msg.err)
		} else if i.moving(msg.conn) {
			i.stay(msg.err)
		}
	case movedMsg:
		if msg.conn == i.number {
			i.onMoved(msg.err)
		}
	case nextMsg:
		if i.moving(msg.conn) {
			i.onNextAnswer(msg.err)
		}
	case hungMsg:
		if i.state == Live && msg.service == i.svc.inc {
			i.onHung(msg.suspect, msg.several)
		}
	case slowMsg:
		if i.state == Live && msg.service == i.svc.inc {
			i.eject(msg.reason, msg.of, true)
		}
	case brokenMsg:
		if i.svc != nil && msg.service == i.svc.inc {
			i.onWrong(msg.err)
		}
	case recallMsg:
		if i.state == Ejected && msg.service == i.svc.inc {
			i.onRecall()
		}
	case tickMsg:
		if msg.wait == i.wait {
			i.wait = 0
			i.onTick()
		}
	case answerMsg:
		if msg.wait == i.wait {
			i.wait = 0
			i.onAnswer(msg.err)
		}
	case leaveMsg:
		i.onLeave(msg)
	case duplicateMsg:
		// In Standby the next hello finds the process taken.
		if i.hello.ProcessID == msg.process && (i.state == Live || i.state == Ejected || i.state == Checking) {
			i.duplicate(msg.of)
		}
	}
}

func (i *incarnation) onTick() {
	switch i.state {
	case Waiting:
		i.dial()
	case Standby:
		i.onQuarantine()
	case Ejected:
		i.runProbe()
	}
}

func (i *incarnation) onAnswer(err error) {
	switch i.state {
	case Checking:
		i.onChecked(err)
	case Live:
		i.onSuspect(err)
	case Ejected:
		i.onProbed(err)
	}
}

// enter changes the state and shows it. What the earlier state waited for is over.
func (i *incarnation) enter(s State, role messages.Role, reason string) {
	i.unwait()
	i.quarantine = time.Time{}
	i.h.noteState(i.state, s, reason)
	i.state, i.since = s, time.Now()
	i.show(role, reason)
}

// show lets others see the role, and why the host is not live.
func (i *incarnation) show(role messages.Role, reason string) {
	i.h.show(&view{state: i.state, role: role, reason: reason, since: i.since})
}

// after lets this state's onTick run later.
func (i *incarnation) after(d time.Duration) {
	i.unwait()
	i.wait = numbers.Add(1)
	h, self, msg := i.h, i.self, tickMsg{wait: i.wait}
	i.timer = time.AfterFunc(d, func() { h.send(self, msg) })
}

// ask runs a question in a goroutine of its own; this state's onAnswer gets its
// error.
func (i *incarnation) ask(timeout time.Duration, question func(context.Context) error) {
	i.unwait()
	i.wait = numbers.Add(1)
	h, self, life, msg := i.h, i.self, i.conn.life, answerMsg{wait: i.wait}
	go func() {
		ctx, cancel := context.WithTimeout(life, timeout)
		defer cancel()
		msg.err = guarded(func() error { return question(ctx) })
		h.send(self, msg)
	}()
}

func (i *incarnation) unwait() {
	i.wait = 0
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
}

// pause is the state before each attempt: alive, and not connected.
func (i *incarnation) pause(d time.Duration) {
	i.enter(Waiting, messages.RoleUnknown, i.h.view.Load().reason)
	if d <= 0 {
		i.dial()
		return
	}
	i.after(d)
}

// dial opens a connection.
func (i *incarnation) dial() {
	h := i.h
	h.outage.attempts++
	if !h.outage.dialled {
		h.outage.dialled = true
		h.emit(messages.HostDialing{Header: h.header()})
	}
	i.enter(Dialing, messages.RoleUnknown, h.view.Load().reason)
	i.number, i.hello = numbers.Add(1), mongoconn.Hello{}
	conn, err := h.open(&observer{h, i.self, i.number})
	if err != nil {
		i.redial(err)
		return
	}
	i.conn = conn
}

// observer passes on what the connection sees.
type observer struct {
	h      *Host
	self   *actor.PID
	number uint64
}

func (o *observer) Hello(h mongoconn.Hello) { o.h.send(o.self, helloMsg{conn: o.number, hello: h}) }
func (o *observer) WrongSocket(err error)   { o.h.send(o.self, wrongMsg{conn: o.number, err: err}) }
func (o *observer) Moved(err *mongoconn.MovedError) {
	o.h.send(o.self, movedMsg{conn: o.number, err: err})
}
func (o *observer) Lost(err error) { o.h.send(o.self, lostMsg{conn: o.number, err: err}) }

// check tries whether reads would be let in, over a socket of the pool.
func (i *incarnation) check() {
	i.enter(Checking, roleOf(i.hello.Kind), i.h.view.Load().reason)
	i.ask(i.h.cfg.CheckTimeout, i.conn.Ping)
}

func (i *incarnation) onChecked(err error) {
	if err != nil {
		i.onWrong(err) // A refused socket, or any other reason.
		return
	}
	i.opening = time.Since(i.since)
	if i.quarantined() {
		return
	}
	i.live()
}

// live lets reads in.
func (i *incarnation) live() {
	h := i.h
	role := roleOf(i.hello.Kind)
	i.svc = i.serviceOf(i.conn)
	down := time.Duration(0)
	if h.served {
		down = time.Since(h.outage.since)
	}
	i.enter(Live, role, "")
	i.liveAt = i.since
	h.live.Store(i.svc)
	h.emit(messages.HostLive{Header: h.header(), Role: role, Down: down, Attempts: h.outage.attempts})
	h.outage, h.served = outage{}, true
	h.cfg.Router.Join(i.svc, i.member())
}

// serviceOf makes a service over a connection.
func (i *incarnation) serviceOf(conn Conn) *service {
	h, inc, self := i.h, numbers.Add(1), i.self
	svc := newService(h, inc, conn, reports{
		hung: func(suspect, several bool) {
			h.send(self, hungMsg{service: inc, suspect: suspect, several: several})
		},
		slow: func(of command.Class, reason string) {
			h.send(self, slowMsg{service: inc, of: of, reason: reason})
		},
		broken: func(err error) { h.send(self, brokenMsg{service: inc, err: err}) },
		recall: func() { h.send(self, recallMsg{service: inc}) },
	})
	svc.load.Written(i.hello.LastWrite)
	return svc
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
	if time.Since(i.liveAt) >= steadyAfter {
		h.dials.Reset()
		h.logins.Reset()
	}
	h.outage = outage{since: time.Now()}
}

// disconnect ends the connection and all that came from it.
func (i *incarnation) disconnect() {
	i.retire()
	i.unwait()
	i.endMove()
	i.h.cfg.Claims.release(i.h)
	i.forgetLag()
	i.lag, i.behind = 0, false
	if i.conn != nil {
		i.conn.Close()
		i.conn = nil
	}
	i.number = 0 // Whatever the connection still tells is dropped.
}
