package server

import (
	"sync"
	"sync/atomic"
)

// Counters is what a server has executed since it was made; a snapshot.
type Counters struct {
	Tally
	// ByApp breaks the tally down by the application name of the clients'
	// handshakes; "" holds those that gave none.
	ByApp map[string]Tally
	// Connections are open now; TotalConnections have ever been accepted.
	Connections      int
	TotalConnections int64
}

// Tally counts executions. A command that was refused before it ran (by a fail
// point, for want of a login, or in the member's role) is not in it.
type Tally struct {
	// Commands counts each command by its name.
	Commands map[string]int64
	// Reads counts find, aggregate, count, distinct and getMore commands.
	Reads int64
	// Writes counts the documents given to insert and the statements given to
	// update, delete and findAndModify.
	Writes int64
}

// maxApps bounds the table of application names, which clients choose. The
// clients beyond it are counted together.
const maxApps = 1024

const otherApps = "(others)"

// tally counts for one application name.
type tally struct {
	commands []atomic.Int64 // by command.index
	reads    atomic.Int64
	writes   atomic.Int64
}

func newTally() *tally { return &tally{commands: make([]atomic.Int64, len(commandList))} }

type counters struct {
	mu   sync.Mutex
	apps map[string]*tally
}

func (c *counters) init() { c.apps = map[string]*tally{} }

// app returns the tally of an application name, which a connection keeps.
func (c *counters) app(name string) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.apps[name]
	if !ok && len(c.apps) >= maxApps {
		name = otherApps
		t, ok = c.apps[name]
	}
	if !ok {
		t = newTally()
		c.apps[name] = t
	}
	return t
}

// Counters returns what has been executed so far.
func (s *Server) Counters() Counters {
	out := Counters{Tally: Tally{Commands: map[string]int64{}}, ByApp: map[string]Tally{}}
	s.counters.mu.Lock()
	for name, t := range s.counters.apps {
		one := Tally{Commands: map[string]int64{}, Reads: t.reads.Load(), Writes: t.writes.Load()}
		for i := range t.commands {
			if n := t.commands[i].Load(); n > 0 {
				one.Commands[commandList[i].name] = n
				out.Commands[commandList[i].name] += n
			}
		}
		out.Reads += one.Reads
		out.Writes += one.Writes
		out.ByApp[name] = one
	}
	s.counters.mu.Unlock()
	out.Connections, out.TotalConnections = s.connections()
	return out
}
