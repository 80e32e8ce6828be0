package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FaultSpec says whom a fault strikes, and how. Of the effects any number may be
// set.
type FaultSpec struct {
	// Commands are names of commands; with none, it is every command but those that a
	// connection is opened with.
	Commands []string
	AppName  string  // of the clients; "" for all of them
	Share    float64 // of the commands that fit, or of the connections; 0 is all of them
	Times    int     // after which it is over; 0 is never
	Seed     uint64  // of whatever is drawn; 0 is a random one

	Latency    func(*rand.Rand) time.Duration
	Overloaded bool
	Cut        CutPhase
	// Refuse closes new connections before anything is read from them. Commands and
	// AppName do not matter to it.
	Refuse bool
}

// CutPhase is where in a command's life its connection is cut.
type CutPhase uint8

// The phases.
const (
	NoCut     CutPhase = iota
	CutBefore          // it is received, and not executed
	CutAfter           // it is executed, and nothing of the reply is sent
	CutWithin          // it is executed, and half of the reply is sent
)

// Fault is a FaultSpec at work.
type Fault struct {
	spec     FaultSpec
	commands []*command // nil for all
	struck   atomic.Int64

	mu   sync.Mutex // guards what follows
	left int        // -1 without end
	rand *rand.Rand
}

// NewFault fails for a command that there is not.
func NewFault(spec FaultSpec) (*Fault, error) {
	f := &Fault{spec: spec, left: spec.Times}
	for _, name := range spec.Commands {
		cmd := commandsByName[name]
		if cmd == nil {
			return nil, fmt.Errorf("there is no command %q", name)
		}
		f.commands = append(f.commands, cmd)
	}
	switch {
	case !(spec.Share >= 0 && spec.Share <= 1):
		return nil, fmt.Errorf("the share %v is not from 0 to 1", spec.Share)
	case spec.Times < 0:
		return nil, fmt.Errorf("%d times is less than none", spec.Times)
	case spec.Times == 0:
		f.left = -1
	}
	seed := spec.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	f.rand = rand.New(rand.NewPCG(seed, seed))
	return f, nil
}

// IsCommand says whether there is a command of that name.
func IsCommand(name string) bool { return commandsByName[name] != nil }

// Struck is how often it has struck.
func (f *Fault) Struck() int64 { return f.struck.Load() }

// fits says whether a fault is for a command, without a look at how often or to
// which share.
func (f *Fault) fits(cmd *command, app string) bool {
	switch {
	case f.spec.Refuse || f.spec.AppName != "" && f.spec.AppName != app:
		return false
	case f.commands == nil:
		return !cmd.opens()
	}
	return slices.Contains(f.commands, cmd)
}

// draw uses up one of a fault's times, and says whether it strikes, and after what
// latency.
func (f *Fault) draw() (strikes bool, latency time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || f.spec.Share > 0 && f.rand.Float64() >= f.spec.Share {
		return false, 0
	}
	if f.left > 0 {
		f.left--
	}
	if f.spec.Latency != nil {
		latency = f.spec.Latency(f.rand)
	}
	f.struck.Add(1)
	return true, latency
}

// opens says that clients open a connection with a command, before what they want
// of it.
func (cmd *command) opens() bool { return cmd.greets || strings.HasPrefix(cmd.name, "sasl") }

// Faults are those at work. They belong to no server: one that is started again
// takes over those of the one before.
type Faults struct {
	mu  sync.Mutex // serializes Add and Remove
	all atomic.Pointer[[]*Fault]
}

// Add puts a fault to work, after those that there are.
func (fs *Faults) Add(f *Fault) { fs.change(func(all []*Fault) []*Fault { return append(all, f) }) }

// Remove ends a fault. Ending one that has ended is fine.
func (fs *Faults) Remove(f *Fault) {
	fs.change(func(all []*Fault) []*Fault { return slices.DeleteFunc(all, func(g *Fault) bool { return g == f }) })
}

func (fs *Faults) change(fn func([]*Fault) []*Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	next := fn(slices.Clone(fs.list()))
	fs.all.Store(&next)
}

func (fs *Faults) list() []*Fault {
	if all := fs.all.Load(); all != nil {
		return *all
	}
	return nil
}

// blow is what all faults together do to one command.
type blow struct {
	latency    time.Duration
	overloaded bool
	cut        CutPhase
}

// strike draws what happens to a command. Latencies add up; of several cuts it is
// the first one.
func (fs *Faults) strike(cmd *command, app string) (b blow) {
	for _, f := range fs.list() {
		if b.cut != NoCut && f.spec.Cut != NoCut || !f.fits(cmd, app) {
			continue
		}
		strikes, latency := f.draw()
		if !strikes {
			continue
		}
		b.latency += latency
		b.overloaded = b.overloaded || f.spec.Overloaded
		if f.spec.Cut != NoCut {
			b.cut = f.spec.Cut
		}
	}
	return b
}

// refuses draws whether a new connection is refused.
func (fs *Faults) refuses() bool {
	for _, f := range fs.list() {
		if f.spec.Refuse {
			if strikes, _ := f.draw(); strikes {
				return true
			}
		}
	}
	return false
}

// errCut ends a connection.
var errCut = fmt.Errorf("%w: cut by a fault", errConnection)

// errOverloaded is what a server answers whose ingress request rate limiter turns a
// command away at the door. There is one since 8.2; the words and the labels are
// those of 8.2.6 (SERVER-114890). They are the same for writes: nothing says
// RetryableWriteError or NoWritesPerformed beside.
var errOverloaded = overloaded()

func overloaded() error {
	e := refuse(codeIngressRateLimit, "Request rejected: rate limit exceeded, possibly due to system overload. Throttling workload is recommended.")
	e.Labels = []string{"SystemOverloadedError", "RetryableError"}
	return e
}

// suffer is what of a blow comes before the command runs.
func (c *conn) suffer(ctx context.Context, b blow) error {
	if err := sleep(ctx, b.latency); err != nil {
		return err
	}
	switch {
	case b.cut == CutBefore:
		return errCut
	case b.overloaded:
		return errOverloaded
	}
	return nil
}
