package app

import (
	"context"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/roster"
	"github.com/evenkeel/evenkeel/messages"
)

// notListed is why a host is given up.
const notListed = "the set's configuration does not list it, or not any more"

// members are the app's hosts: those of the URI, and with Config.Discover what the set
// makes of them.
type members struct {
	app     *App
	cfg     slave.Config   // of each of them, but for its Order
	roster  *roster.Roster // nil without Discover
	changed chan struct{}  // has a value when the roster may have changed

	order   int             // of the next; the goroutine's that spawns
	leaving map[string]bool // app.mu; those that are being given up
}

func newMembers(a *App, seeds []string, address func(member string) string) *members {
	m := &members{app: a, changed: make(chan struct{}, 1), leaving: map[string]bool{}}
	if a.cfg.Discover {
		m.roster = roster.New(roster.Config{
			Seeds: seeds, Address: address, Fresh: max(roster.DefaultFresh, 3*a.cfg.Heartbeat),
		})
	}
	return m
}

// listen lets the roster hear what the connection of a host hears.
func (m *members) listen(obs mongoconn.Observer) mongoconn.Observer {
	if m.roster == nil {
		return obs
	}
	return &listener{obs, m}
}

type listener struct {
	mongoconn.Observer
	m *members
}

// Hello is called in a goroutine of the driver's, and does not block it.
func (l *listener) Hello(h mongoconn.Hello) {
	l.Observer.Hello(h)
	if l.m.roster.Hear(h, time.Now()) {
		l.m.look()
	}
}

// look has the list compared with the hosts that there are.
func (m *members) look() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// run follows the roster until ctx ends.
func (m *members) run(ctx context.Context) {
	for {
		select {
		case <-m.changed:
			if ctx.Err() == nil {
				m.follow(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// follow adds the hosts that are missing and gives up those that are too many.
func (m *members) follow(ctx context.Context) {
	a := m.app
	listed := m.roster.Hosts()
	a.mu.Lock()
	hosts := a.hosts
	var off []*slave.Host
	for _, h := range hosts {
		if name := h.Name(); !slices.Contains(listed, name) && !m.leaving[name] {
			m.leaving[name] = true
			off = append(off, h)
		}
	}
	a.mu.Unlock()
	for _, name := range listed {
		// One that is being given up, and is listed again, is there still: it comes back when
		// that has ended.
		if !slices.ContainsFunc(hosts, func(h *slave.Host) bool { return h.Name() == name }) {
			m.add(name)
		}
	}
	for _, h := range off {
		a.background.Go(func() { m.giveUp(ctx, h) })
	}
}

func (m *members) add(name string) {
	a := m.app
	a.hub.Publish(messages.MemberAdded{Header: messages.Header{Host: name}})
	if err := m.spawn(name); err != nil && !a.stopping.Load() {
		a.cfg.Logger.Error().Str("host", name).Err(err).Msg("a member that was added can not be followed")
	}
}

// spawn starts a slave for a host. It is called by one goroutine at a time.
func (m *members) spawn(name string) error {
	a := m.app
	cfg := m.cfg
	cfg.Order = m.order
	m.order++
	h, err := slave.New(a.system, name, cfg)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.hosts = append(a.hosts[:len(a.hosts):len(a.hosts)], h)
	a.mu.Unlock()
	return a.super.Spawn(slaveName(h), h.Props())
}

func slaveName(h *slave.Host) string { return "slave-" + h.Name() }

// giveUp takes a host out of the reads, tells so, and stops its slave when the reads that
// were on the wire have come back. When ctx ends first, the app is stopping and stops
// everything.
func (m *members) giveUp(ctx context.Context, h *slave.Host) {
	a := m.app
	gone := h.Leave(notListed)
	select {
	case <-gone.Out:
	case <-ctx.Done():
		return
	}
	// From here on nothing is told of the host any more, that would come after this.
	a.hub.Publish(messages.MemberRemoved{Header: messages.Header{Host: h.Name()}})
	select {
	case <-gone.Drained:
	case <-ctx.Done():
		return
	}
	if a.super.Remove(ctx, slaveName(h)) != nil {
		return
	}
	a.mu.Lock()
	a.hosts = slices.DeleteFunc(slices.Clone(a.hosts), func(other *slave.Host) bool { return other == h })
	delete(m.leaving, h.Name())
	a.mu.Unlock()
	m.look() // It may have come back meanwhile.
}
