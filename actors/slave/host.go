package slave

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/internal/backoff"
	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/refusals"
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
	// Leaving: it is a member no more, and what is left of its reads may come back.
	Leaving State = "leaving"
	// Stopped for good.
	Stopped State = "stopped"
)

// Host is one configured host for as long as the app runs; the slave's
// incarnations come and go. What an incarnation hands to the next one is kept here.
type Host struct {
	cfg    Config
	name   string
	system *actor.ActorSystem

	reads, failed, restarts atomic.Int64
	batches, batched        atomic.Int64

	view    atomic.Pointer[view]
	pid     atomic.Pointer[actor.PID]
	live    atomic.Pointer[service]
	stopped atomic.Bool
	parting atomic.Pointer[leaveMsg] // set by Leave

	queueFull, cursorsFull *refusals.Teller

	// The fields below belong to the slave's actor, one incarnation after the
	// other.

	dials     backoff.Backoff
	logins    backoff.Backoff
	delay     time.Duration // that the next incarnation waits before it dials
	outage    outage
	served    bool        // it has been live
	wrong     []time.Time // when sockets turned out to be wrong, within quarantineWindow
	floorAt   time.Time   // when the last HostEjected with Floor was emitted
	ejections ejections
	stays     string // why its sockets have not moved with its name, as was last told
	leaving   string // why the host was given up for good, "" while it is not
}

// view is what others may see of an incarnation; immutable.
type view struct {
	state  State
	role   messages.Role
	reason string
	since  time.Time
	line   string // for an error's text: a flood of errors must not make it each time
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
	// Batched reads shared a round trip with others, Batches were those round trips.
	Batched, Batches int64
	// Latency is the recent peak of what point reads took, or where there were none, other
	// finds.
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
		dials:  backoff.New(cfg.BackoffBase, cfg.BackoffMax),
		logins: backoff.New(cfg.BackoffBase, cfg.LoginBackoffMax),
	}
	h.outage.since = time.Now()
	h.queueFull = refusals.New(cfg.Emit, name, limitHost, int64(cfg.HostQueue))
	h.cursorsFull = refusals.New(cfg.Emit, name, limitCursors, int64(cfg.MaxCursors))
	h.show(&view{state: Waiting, role: messages.RoleUnknown, since: time.Now()})
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
		Served: h.reads.Load(), Failed: h.failed.Load(),
		Batched: h.batched.Load(), Batches: h.batches.Load(), Restarts: int(h.restarts.Load()),
	}
	if s := h.live.Load(); s != nil {
		st.Queued, st.Active = s.waiting()
		now := time.Now()
		seconds := s.load.Latency(command.Point, now)
		if seconds == 0 {
			seconds = s.load.Latency(command.Range, now)
		}
		st.Latency = time.Duration(seconds * float64(time.Second))
		st.Cursors = s.cursors.len()
	}
	return st
}

// Line describes the host for an error's text.
func (h *Host) Line() string { return h.view.Load().line }

// Connected reports whether the host is live, or kept from reads but connected all the same.
func (h *Host) Connected() bool { return h.live.Load() != nil }

// show lets others see a view.
func (h *Host) show(v *view) {
	s := fmt.Sprintf("%s %s", h.name, v.state)
	if v.state == Live || v.state == Ejected {
		s += fmt.Sprintf(" (%s)", v.role)
	}
	if v.reason != "" {
		s += ": " + v.reason
	}
	v.line = s
	h.view.Store(v)
}

// tell sends a message to the present incarnation.
func (h *Host) tell(msg any) {
	if pid := h.pid.Load(); pid != nil {
		h.send(pid, msg)
	}
}

// noteState records a change of state.
func (h *Host) noteState(from, to State, reason string) {
	if from == to {
		return
	}
	what := string(from) + " → " + string(to)
	if from == "" {
		what = string(to)
	}
	if reason != "" {
		what += ": " + reason
	}
	h.cfg.Note(h.name, what)
}

func (h *Host) emit(e messages.Event) { h.cfg.Emit(e) }

func (h *Host) header() messages.Header { return messages.Header{Host: h.name} }

// send tells an incarnation something, unless the host has stopped for good.
func (h *Host) send(to *actor.PID, msg any) {
	if !h.stopped.Load() {
		h.system.Root.Send(to, msg)
	}
}

// stop ends the events and messages that come on their own.
func (h *Host) stop() {
	h.stopped.Store(true)
	h.queueFull.Stop()
	h.cursorsFull.Stop()
}
