package slave

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

// State is where a slave is with its host.
type State string

// The states of a slave.
const (
	// Waiting for the next attempt to dial.
	Waiting State = "waiting"
	// Dialing: a connection is being made, nobody has answered yet.
	Dialing State = "dialing"
	// Checking: the right server answers; whether it lets us in is being tried.
	Checking State = "checking"
	// Live: it serves reads.
	Live State = "live"
	// Standby: the right server, which cannot serve or must not yet.
	Standby State = "standby"
	// Ejected: connected, and kept from reads.
	Ejected State = "ejected"
	// Stopped for good.
	Stopped State = "stopped"
)

// Host is one configured host for as long as the app runs; the slave's
// incarnations come and go. What an incarnation hands to the next one is kept here.
type Host struct {
	cfg    Config
	name   string
	system *actor.ActorSystem

	served, failed atomic.Int64
	refusals       overload
	view           atomic.Pointer[view]
	pid            atomic.Pointer[actor.PID]
	live           atomic.Pointer[service]

	// The fields below belong to the slave's actor, one incarnation after the
	// other.

	restarts int
	login    bool // the latest failure was a refused login
	dials    backoff
	logins   backoff
	delay    time.Duration // to wait before the next attempt
	outage   outage
	wrong    []time.Time // when sockets turned out to be wrong, within quarantineWindow
	floorAt  time.Time   // when the last HostEjected with Floor was emitted
}

// outage is the time since a host was last live.
type outage struct {
	since    time.Time
	attempts int
	dialled  bool   // HostDialing was emitted
	lost     string // the kind of failure that HostLost was emitted for
	wrong    messages.WrongHostError
	restarts int
}

// incarnations numbers the live times of all hosts of all apps; a number is
// never used twice.
var incarnations atomic.Uint64

// view is what others may see of an incarnation; immutable.
type view struct {
	state  State
	role   messages.Role
	reason string
	since  time.Time
}

// Stat is an immutable snapshot of a Host.
type Stat struct {
	Host  string
	State State
	Role  messages.Role
	// Reason says why it is not live, "" when it is.
	Reason string
	// Since is when it came into this state.
	Since time.Time
	// Queued reads wait for a worker, Active are on the wire.
	Queued, Active int
	// Served reads were answered since the start, Failed came back without an answer.
	Served, Failed int64
	// Latency is the recent peak of what reads took.
	Latency time.Duration
	// Cursors are open.
	Cursors int
	// Restarts of the slave since the start.
	Restarts int
}

// New makes a Host. Its error names the Config field that can never work.
func New(system *actor.ActorSystem, name string, cfg Config) (*Host, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, name: name, system: system,
		dials:  newBackoff(cfg.BackoffBase, cfg.BackoffMax),
		logins: newBackoff(cfg.BackoffBase, cfg.LoginBackoffMax),
	}
	h.outage.since = time.Now()
	h.refusals = overload{host: h}
	h.view.Store(&view{state: Waiting, role: messages.RoleUnknown, since: time.Now()})
	return h, nil
}

// Name is the configured host:port.
func (h *Host) Name() string { return h.name }

// Props makes the slave's actor, for a supervisor to spawn.
func (h *Host) Props(opts ...actor.PropsOption) *actor.Props {
	opts = append([]actor.PropsOption{actor.WithReceiverMiddleware(recoverer)}, opts...)
	return actor.PropsFromProducer(func() actor.Actor { return &incarnation{h: h} }, opts...)
}

// Stat returns a snapshot.
func (h *Host) Stat() Stat {
	v := h.view.Load()
	st := Stat{
		Host: h.name, State: v.state, Role: v.role, Reason: v.reason, Since: v.since,
		Served: h.served.Load(), Failed: h.failed.Load(), Restarts: int(h.refusals.restarts.Load()),
	}
	if s := h.live.Load(); s != nil {
		st.Queued, st.Active = s.waiting()
		st.Latency = time.Duration(s.load.Latency(time.Now()) * float64(time.Second))
		st.Cursors = s.cursors.len()
	}
	return st
}

// Line describes the host for an error's text.
func (h *Host) Line() string {
	v := h.view.Load()
	s := fmt.Sprintf("%s %s", h.name, v.state)
	if v.state == Live || v.state == Ejected {
		s += fmt.Sprintf(" (%s)", v.role)
	}
	if v.reason != "" {
		s += ": " + v.reason
	}
	return s
}

// tell sends a message to the present incarnation.
func (h *Host) tell(msg any) {
	if pid := h.pid.Load(); pid != nil {
		h.system.Root.Send(pid, msg)
	}
}

func (h *Host) emit(e messages.Event) { h.cfg.Emit(e) }

func (h *Host) header() messages.Header { return messages.Header{Host: h.name} }

// overloaded counts a refusal for the event that tells of it.
func (h *Host) overloaded() { h.refusals.refused() }

// overload turns refusals into events: the first at once, then one a second for
// as long as there are more.
type overload struct {
	host     *Host
	restarts atomic.Int64

	mu      sync.Mutex
	count   int64       // mu
	timer   *time.Timer // mu; armed while the last event is less than a second old
	stopped bool        // mu
}

func (o *overload) refused() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	if o.timer == nil && !o.stopped {
		o.publish()
	}
}

// publish emits and arms the timer. o.mu must be held.
func (o *overload) publish() {
	o.host.emit(messages.Overloaded{Header: o.host.header(), Limit: limitHost, Max: int64(o.host.cfg.HostQueue), Refused: o.count})
	o.count = 0
	o.timer = time.AfterFunc(time.Second, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.timer = nil
		if o.count > 0 && !o.stopped {
			o.publish()
		}
	})
}

func (o *overload) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	if o.timer != nil {
		o.timer.Stop()
	}
}
