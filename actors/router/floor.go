package router

import (
	"slices"

	"github.com/evenkeel/evenkeel/internal/request"
)

// outcast is a host that is connected and kept from reads.
type outcast struct {
	request.Target
	slow, primary bool
}

// Leave takes an incarnation of a host out. It reports whether it was live, and returns those of the
// ejected hosts that would not be if they were to be ejected now: too few are left without them.
func (b *Balancer) Leave(host request.Target) (live bool, needed []request.Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leave(host.Incarnation())
}

// Pause is Leave for a host that stays connected, so that the cursors that are open there go on. Join lets
// it in again.
func (b *Balancer) Pause(host request.Target) (live bool, needed []request.Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	live, needed = b.leave(host.Incarnation())
	b.paused = append(b.paused, host)
	return live, needed
}

// leave is Leave. b.mu must be held.
func (b *Balancer) leave(inc uint64) (live bool, needed []request.Target) {
	b.forget(inc)
	live = b.remove(inc)
	excess := max(0, len(b.ejected)-b.mayBeOut())
	lacking := !slices.ContainsFunc(b.hosts, (*target).secondary)
	for i, o := range b.ejected {
		if i < excess || lacking && o.slow && !o.primary {
			needed = append(needed, o)
			lacking = lacking && o.primary
		}
	}
	return live, needed
}

func (t *target) secondary() bool { return !t.Primary }

// mayBeOut is how many of the connected hosts may be ejected: half of them, and never the last.
// b.mu must be held.
func (b *Balancer) mayBeOut() int { return (len(b.hosts) + len(b.ejected)) / 2 }

// Eject takes a host out that is connected and should not be read from, unless more
// than half of the hosts would then be out, or none would remain. The last secondary is not taken
// out for being slow: slow reads are better than none, or than all of them at the primary. Join lets a host in
// again.
func (b *Balancer) Eject(host request.Target, slow bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.hosts, func(t *target) bool { return t.inc == host.Incarnation() })
	if i < 0 || len(b.ejected) >= b.mayBeOut() {
		return false
	}
	primary := b.hosts[i].Primary
	if slow && !primary && !slices.ContainsFunc(b.hosts, func(t *target) bool { return t.inc != host.Incarnation() && t.secondary() }) {
		return false
	}
	b.remove(host.Incarnation())
	b.ejected = append(b.ejected, outcast{host, slow, primary})
	return true
}

// forget takes an incarnation off those that are connected and out. b.mu must be held.
func (b *Balancer) forget(inc uint64) {
	b.ejected = slices.DeleteFunc(b.ejected, func(o outcast) bool { return o.Incarnation() == inc })
	b.paused = slices.DeleteFunc(b.paused, func(t request.Target) bool { return t.Incarnation() == inc })
}
