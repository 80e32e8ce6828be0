package main

import (
	"slices"

	"github.com/evenkeel/evenkeel/messages"
)

// The states of a host on the board.
const (
	stateDialing   = "dialing"
	stateLive      = "live"
	stateStandby   = "standby"
	stateLost      = "lost"
	stateWrongHost = "wrong host"
	stateDuplicate = "duplicate"
	stateEjected   = "ejected"
)

// board is what the app's events have told of each host. It is used by one
// goroutine.
type board struct {
	order []string // as the hosts were first named
	hosts map[string]*hostState
}

type hostState struct {
	state string
	role  messages.Role
}

func newBoard() *board { return &board{hosts: map[string]*hostState{}} }

func (b *board) of(host string) *hostState {
	h := b.hosts[host]
	if h == nil {
		h = &hostState{state: stateDialing, role: messages.RoleUnknown}
		b.hosts[host] = h
		b.order = append(b.order, host)
	}
	return h
}

// apply follows an event.
func (b *board) apply(e messages.Event) {
	host := e.Head().Host
	if host == "" {
		return
	}
	h := b.of(host)
	switch e := e.(type) {
	case messages.HostDialing:
		if h.state != stateLost && h.state != stateWrongHost {
			h.state = stateDialing // Else the table would forget why it was lost.
		}
	case messages.HostLive:
		h.state, h.role = stateLive, e.Role
	case messages.HostRestored:
		h.state = stateLive
	case messages.HostStandby:
		h.state, h.role = stateStandby, messages.RoleOther
	case messages.DuplicateHost:
		h.state, h.role = stateDuplicate, messages.RoleOther
	case messages.HostLost:
		h.state, h.role = stateLost, messages.RoleUnknown
	case messages.WrongHost:
		h.state, h.role = stateWrongHost, messages.RoleUnknown
	case messages.HostEjected:
		if !e.Floor {
			h.state = stateEjected
		}
	case messages.RoleChanged:
		h.role = e.To
	case messages.MemberRemoved:
		delete(b.hosts, host)
		b.order = slices.DeleteFunc(b.order, func(name string) bool { return name == host })
	}
}

// serving is how many hosts share the reads: the live ones that are not the
// primary, or that alone when there is no other.
func (b *board) serving() int {
	secondaries, others := 0, 0
	for _, h := range b.hosts {
		switch {
		case h.state != stateLive:
		case h.role == messages.RoleSecondary:
			secondaries++
		default:
			others++
		}
	}
	if secondaries > 0 {
		return secondaries
	}
	return others
}

// out lists the hosts that are not live.
func (b *board) out() []string {
	var names []string
	for _, name := range b.order {
		if b.hosts[name].state != stateLive {
			names = append(names, name)
		}
	}
	return names
}
