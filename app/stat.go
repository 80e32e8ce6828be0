package app

import (
	"github.com/evenkeel/evenkeel/actors/master"
	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/actors/supervisor"
)

// Stat is a snapshot of an App. Its parts are taken one after the other, within
// microseconds; counters run from the start of the app and never fall.
type Stat struct {
	// Hosts has an element for each configured host, in the URI's order; none as
	// long as a mongodb+srv URI is not resolved.
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
	// Stopping says that Stop was called.
	Stopping bool
}

// Stat returns a snapshot. It is cheap enough for every second, not for every
// read.
func (a *App) Stat() Stat {
	a.mu.Lock()
	hosts, primary := a.hosts[:len(a.hosts):len(a.hosts)], a.primary
	a.mu.Unlock()
	st := Stat{
		Hosts: make([]slave.Stat, len(hosts)), Reads: a.router.Stat(), Writes: a.master.Stat(),
		Primary: primary, Restarts: a.super.Restarts(), Events: a.hub.Stat(), Stopping: a.stopping.Load(),
	}
	for i, h := range hosts {
		st.Hosts[i] = h.Stat()
	}
	return st
}
