package repl

import (
	"errors"
	"slices"
	"sync"
)

// Why a call did not get through: nobody listens there, which the caller learns
// at once, or nothing comes back, which it can only learn by waiting.
var (
	errRefused = errors.New("repl: connection refused")
	errSilence = errors.New("repl: no reply")
)

// network carries the members' calls to each other. Its lock is held while a
// call is under way, so that a fault that has been ordered is in force: no call
// slips through a partition that is already there. It is taken before any process's
// own lock, never inside one, and calls do not call on.
type network struct {
	mu      sync.RWMutex
	procs   map[int32]*process
	frozen  map[int32]bool
	groups  [][]int32     // nil for a whole network
	changed chan struct{} // closed and replaced with every change
}

func newNetwork() *network {
	return &network{procs: map[int32]*process{}, frozen: map[int32]bool{}, changed: make(chan struct{})}
}

// call runs fn on another member's process, as a request would.
func (n *network) call(from *process, to int32, fn func(*process)) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.procs[from.id] != from || n.frozen[from.id] || !n.connected(from.id, to) {
		return errSilence
	}
	target := n.procs[to]
	switch {
	case target == nil || target.standalone:
		return errRefused
	case n.frozen[to]:
		return errSilence
	}
	fn(target)
	return nil
}

// connected says whether two members are in one part of the network. The caller
// must hold n.mu.
func (n *network) connected(a, b int32) bool {
	if n.groups == nil {
		return true
	}
	named := false
	for _, g := range n.groups {
		hasA, hasB := slices.Contains(g, a), slices.Contains(g, b)
		if hasA && hasB {
			return true
		}
		named = named || hasA || hasB
	}
	return !named // both in the part that no group names
}

// change makes a change to the network and lets everyone know.
func (n *network) change(fn func()) {
	n.mu.Lock()
	fn()
	close(n.changed)
	n.changed = make(chan struct{})
	procs := make([]*process, 0, len(n.procs))
	for _, p := range n.procs {
		procs = append(procs, p)
	}
	n.mu.Unlock()
	for _, p := range procs {
		poke(p.wake)
	}
}

// watch returns a channel that is closed when the network changes.
func (n *network) watch() <-chan struct{} {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.changed
}

// poke wakes the goroutine that waits on a channel of one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
