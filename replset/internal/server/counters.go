package server

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Counters is what a server has executed since it was made; a snapshot.
type Counters struct {
	Tally
	// ByApp breaks the tally down by the application name of the clients'
	// handshakes; "" holds those that gave none.
	ByApp map[string]Tally
	// Astray is the part of ByApp that ServeAstray's clients have had executed.
	Astray map[string]Tally
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

// client is what the tallies are told apart by.
type client struct {
	app    string
	astray bool // it meant to reach another server
}

// tally counts for one sort of client.
type tally struct {
	commands []atomic.Int64 // by command.index
	reads    atomic.Int64
	writes   atomic.Int64
}

func newTally() *tally { return &tally{commands: make([]atomic.Int64, len(commandList))} }

type counters struct {
	mu   sync.Mutex
	apps map[client]*tally
}

func (c *counters) init() { c.apps = map[client]*tally{} }

// of returns the tally of a sort of client, which a connection keeps.
func (c *counters) of(who client) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.apps[who]
	if !ok && len(c.apps) >= maxApps {
		who.app = otherApps
		t, ok = c.apps[who]
	}
	if !ok {
		t = newTally()
		c.apps[who] = t
	}
	return t
}

// Counters returns what has been executed so far.
func (s *Server) Counters() Counters {
	out := Counters{ByApp: map[string]Tally{}, Astray: map[string]Tally{}}
	s.counters.mu.Lock()
	for who, t := range s.counters.apps {
		one := Tally{Commands: map[string]int64{}, Reads: t.reads.Load(), Writes: t.writes.Load()}
		for i := range t.commands {
			if n := t.commands[i].Load(); n > 0 {
				one.Commands[commandList[i].name] = n
			}
		}
		out.Tally = out.Add(one)
		out.ByApp[who.app] = out.ByApp[who.app].Add(one)
		if who.astray {
			out.Astray[who.app] = one
		}
	}
	s.counters.mu.Unlock()
	out.Connections, out.TotalConnections = s.connections()
	return out
}

// Add returns the sum of two tallies.
func (t Tally) Add(other Tally) Tally {
	commands := make(map[string]int64, len(t.Commands))
	maps.Copy(commands, t.Commands)
	for name, n := range other.Commands {
		commands[name] += n
	}
	return Tally{Commands: commands, Reads: t.Reads + other.Reads, Writes: t.Writes + other.Writes}
}
