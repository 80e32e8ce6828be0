package app

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/evenkeel/evenkeel/actors/master"
	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/actors/supervisor"
	"github.com/evenkeel/evenkeel/messages"
)

// Stat is a snapshot of an App. Its parts are taken one after the other, within
// microseconds; counters run from the start of the app and never fall.
type Stat struct {
	// Hosts has an element for each host, in the URI's order and then, with
	// Config.Discover, as they were added; none as long as a mongodb+srv URI is not
	// resolved. A member that was removed is there as long as it is slave.Leaving.
	Hosts []slave.Stat
	// Reads is what the router has and has done.
	Reads router.Stat
	// Writes is what the master has and has done.
	Writes master.Stat
	// Primary is the set's primary, as the master's client knows it, "" for none.
	Primary string
	// Restarts counts how often the supervisor has restarted an actor.
	Restarts int64
	// Events is what was published, and what subscribers had no room for.
	Events supervisor.HubStat
	// Recent are the last transitions, oldest first: the flight recorder.
	Recent []messages.Transition
	// Stopping says that Stop was called.
	Stopping bool
}

// Stat returns a snapshot. It is cheap enough for every second, not for every
// read.
func (a *App) Stat() Stat {
	a.mu.Lock()
	hosts := a.hosts[:len(a.hosts):len(a.hosts)]
	a.mu.Unlock()
	st := Stat{
		Hosts: make([]slave.Stat, len(hosts)), Reads: a.router.Stat(), Writes: a.master.Stat(),
		Primary: a.primary.known(), Restarts: a.super.Restarts(), Events: a.hub.Stat(), Stopping: a.stopping.Load(),
		Recent: slices.Clone(a.hub.Recent()),
	}
	for i, h := range hosts {
		st.Hosts[i] = h.Stat()
	}
	return st
}

// Dump writes what an operator would ask for: a line for each host, the queues, and the flight
// recorder. It names hosts and states, and nothing of the game's data.
func (a *App) Dump(w io.Writer) error {
	st := a.Stat()
	var b strings.Builder
	for _, h := range st.Hosts {
		fmt.Fprintf(&b, "host %s: %s (%s) %s; %d queued, %d on the wire, %d served, %d failed, %d restarts\n",
			h.Host, h.State, h.Role, h.Reason, h.Queued, h.Active, h.Served, h.Failed, h.Restarts)
	}
	fmt.Fprintf(&b, "reads: %+v\n", st.Reads)
	fmt.Fprintf(&b, "writes: %+v\n", st.Writes)
	fmt.Fprintf(&b, "primary: %q; %d restarts; %d events, %d dropped\n", st.Primary, st.Restarts, st.Events.Published, st.Events.Dropped)
	for _, t := range st.Recent {
		fmt.Fprintln(&b, t)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
