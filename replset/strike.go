package replset

import (
	"fmt"

	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// Target says what a fault strikes. The zero value is every command of every
// client.
type Target struct {
	// Commands are the names of the commands, as in the server's manual ("find",
	// "insert", "getMore"). None stands for every command but hello, isMaster,
	// saslStart and saslContinue: with these, no connection would come about.
	Commands []string
	// AppName strikes only clients that give this name (appName in a connection
	// string). Empty strikes all.
	AppName string
	// Share is the part of what fits that is struck, more than 0 and up to 1. Defaults to 1.
	Share float64
	// Times is after how many strikes the fault is over. 0 is never.
	Times int
	// Seed makes Share and a Latency draw the same again. 0 is a new seed each time.
	Seed uint64
}

// Fault is one that a member's commands are struck by. It lasts until it is over or
// ended, also through the member's restarts.
type Fault struct {
	faults *server.Faults
	inner  *server.Fault
}

// Struck is how many times the fault has struck.
func (f *Fault) Struck() int64 { return f.inner.Struck() }

// End ends the fault. Ending it twice is fine.
func (f *Fault) End() { f.faults.Remove(f.inner) }

// Phase is where in a command's life Cut strikes.
type Phase int

// The phases.
const (
	// BeforeExecution is after the command has been received.
	BeforeExecution Phase = iota
	// BeforeReply is after the command has been executed and its write concern been
	// waited for.
	BeforeReply
	// WithinReply is after half of the reply's bytes have been sent.
	WithinReply
)

func (p Phase) String() string {
	switch p {
	case BeforeExecution:
		return "before execution"
	case BeforeReply:
		return "before the reply"
	case WithinReply:
		return "within the reply"
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}

// Cut closes the connections of the target's commands in a phase of these. What a
// command has done by then stays done.
func (m *Member) Cut(t Target, p Phase) *Fault {
	phases := map[Phase]server.CutPhase{BeforeExecution: server.CutBefore, BeforeReply: server.CutAfter, WithinReply: server.CutWithin}
	if phases[p] == server.NoCut {
		panic(fmt.Sprintf("replset: Member.Cut: there is no phase %v", p))
	}
	return m.strike("Cut", t, server.FaultSpec{Cut: phases[p]})
}

// Overload refuses the target's commands as a server does whose ingress request
// rate limiter is exceeded, which there is since 8.2: with IngressRequestRateLimitExceeded
// (462) and the labels SystemOverloadedError and RetryableError, before anything of the command
// is looked at.
func (m *Member) Overload(t Target) *Fault {
	return m.strike("Overload", t, server.FaultSpec{Overloaded: true})
}

// RefuseConnections closes new connections to the member before anything is read
// from them, as a server does whose connection establishment rate limiter is
// exceeded. It takes no Commands and no AppName: by then the client has said nothing.
func (m *Member) RefuseConnections(t Target) *Fault {
	if len(t.Commands) > 0 || t.AppName != "" {
		panic("replset: Member.RefuseConnections: a new connection has neither a command nor an application's name")
	}
	return m.strike("RefuseConnections", t, server.FaultSpec{Refuse: true})
}

// Delay makes each of the target's commands take longer, before it is executed, by
// what the latency draws. Latencies of several faults add up, with each other and with Slow's.
func (m *Member) Delay(t Target, l Latency) *Fault {
	if l == nil {
		panic("replset: Member.Delay: the Latency is nil")
	}
	return m.strike("Delay", t, server.FaultSpec{Latency: l})
}

func (m *Member) strike(method string, t Target, spec server.FaultSpec) *Fault {
	spec.Commands, spec.AppName, spec.Share, spec.Times, spec.Seed = t.Commands, t.AppName, t.Share, t.Times, t.Seed
	inner, err := server.NewFault(spec)
	if err != nil {
		panic(fmt.Sprintf("replset: Member.%s: %v", method, err))
	}
	m.faults.Add(inner)
	return &Fault{faults: m.faults, inner: inner}
}

// IsCommand says whether the members know a command of that name: a Target of
// another one is a mistake, and panics.
func IsCommand(name string) bool { return server.IsCommand(name) }
