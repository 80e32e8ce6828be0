package replset

import (
	"maps"

	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// Counters is what a member has executed; a snapshot.
type Counters struct {
	Tally
	// ByApp breaks the tally down by the application name (appName in a
	// connection string) of the clients; "" holds those that gave none.
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

func countersOf(s *server.Server) Counters {
	from := s.Counters()
	c := Counters{
		Tally: Tally(from.Tally), ByApp: make(map[string]Tally, len(from.ByApp)),
		Connections: from.Connections, TotalConnections: from.TotalConnections,
	}
	for app, t := range from.ByApp {
		c.ByApp[app] = Tally(t)
	}
	return c
}

// sum adds up an earlier and a later count. The connections that are open are
// those of the later one.
func sum(a, b Counters) Counters {
	c := Counters{
		Tally: a.Tally.add(b.Tally), ByApp: maps.Clone(a.ByApp),
		Connections: b.Connections, TotalConnections: a.TotalConnections + b.TotalConnections,
	}
	if c.ByApp == nil {
		c.ByApp = map[string]Tally{}
	}
	for app, t := range b.ByApp {
		c.ByApp[app] = c.ByApp[app].add(t)
	}
	return c
}

func (t Tally) add(other Tally) Tally {
	commands := make(map[string]int64, len(t.Commands))
	maps.Copy(commands, t.Commands)
	for name, n := range other.Commands {
		commands[name] += n
	}
	return Tally{Commands: commands, Reads: t.Reads + other.Reads, Writes: t.Writes + other.Writes}
}
