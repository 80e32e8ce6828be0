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
	// Astray is the part of ByApp that came from clients which had dialled another
	// member's address, and were led here by SwapAddresses, Alternate or Impersonate.
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

func countersOf(s *server.Server) Counters {
	from := s.Counters()
	return Counters{
		Tally: Tally(from.Tally), ByApp: tallies(from.ByApp), Astray: tallies(from.Astray),
		Connections: from.Connections, TotalConnections: from.TotalConnections,
	}
}

func tallies(from map[string]server.Tally) map[string]Tally {
	to := make(map[string]Tally, len(from))
	for app, t := range from {
		to[app] = Tally(t)
	}
	return to
}

// sum adds up an earlier and a later count. The connections that are open are
// those of the later one.
func sum(a, b Counters) Counters {
	return Counters{
		Tally: Tally(server.Tally(a.Tally).Add(server.Tally(b.Tally))), ByApp: sums(a.ByApp, b.ByApp), Astray: sums(a.Astray, b.Astray),
		Connections: b.Connections, TotalConnections: a.TotalConnections + b.TotalConnections,
	}
}

func sums(a, b map[string]Tally) map[string]Tally {
	c := make(map[string]Tally, len(a))
	maps.Copy(c, a)
	for app, t := range b {
		c[app] = Tally(server.Tally(c[app]).Add(server.Tally(t)))
	}
	return c
}
