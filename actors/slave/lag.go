package slave

import (
	"fmt"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// MinMaxLag is the least Config.MaxLag: how far a secondary is behind is known from
// heartbeats, which are that far apart.
const MinMaxLag = 500 * time.Millisecond

// caughtUp is the part of MaxLag below which a host that lagged is let in again, so
// that one at the limit does not go in and out.
const caughtUp = 0.75

// The primary's latest hello may be primaryFresh old for it to count as the primary, or
// freshHeartbeats where that is longer.
const (
	primaryFresh    = 2 * time.Second
	freshHeartbeats = 3
)

// Clock knows how far the members' writes have got, by the latest hello of each host of an
// app.
//
// The arithmetic is that of the server selection specification: by how much longer ago the
// secondary's last write is than the primary's, each seen from its own hello, so that
// neither the two moments nor the servers' clocks matter; without a primary, how far it is
// behind the secondary that is furthest.
// https://github.com/mongodb/specifications/blob/master/source/max-staleness/max-staleness.md
//
// That alone takes all the time in which nothing was written for lag, as soon as a secondary lacks the first
// write after it. Hence a member is never further behind than the primary's hello is ago by which it had all:
// whatever it lacks was written after that one.
type Clock struct {
	fresh time.Duration // how old the primary's hello may be

	mu   sync.Mutex
	seen map[*Host]sample // mu
}

type sample struct {
	written time.Time // the member's last write, by the clock of the primary that wrote it
	at      time.Time // when the hello came that told of it
	primary bool
	// even is when the latest hello came of which the member had all, and of whom; nil before. What one primary
	// has written says nothing of the next one's writes.
	even time.Time
	with *Host
}

// NewClock returns a Clock that knows nothing, for hosts with that Heartbeat.
func NewClock(heartbeat time.Duration) *Clock {
	return &Clock{fresh: max(primaryFresh, freshHeartbeats*heartbeat), seen: map[*Host]sample{}}
}

// note takes a host's hello that came now, and returns how far its member is behind.
func (c *Clock) note(host *Host, h mongoconn.Hello, now time.Time) time.Duration {
	own := sample{written: h.LastWrite, at: now, primary: h.Kind == mongoconn.Primary}
	c.mu.Lock()
	defer c.mu.Unlock()
	if own.written.IsZero() {
		delete(c.seen, host)
		return 0
	}
	own.even, own.with = c.seen[host].even, c.seen[host].with
	c.seen[host] = own
	if own.primary {
		return 0
	}
	var primary, furthest sample
	var who *Host
	for h, s := range c.seen {
		if s.written.After(furthest.written) {
			furthest = s
		}
		if s.primary && now.Sub(s.at) < c.fresh && s.written.After(primary.written) {
			primary, who = s, h
		}
	}
	switch {
	case primary.written.IsZero():
		return furthest.written.Sub(own.written)
	case !own.written.Before(primary.written):
		own.even, own.with = primary.at, who
		c.seen[host] = own
		return 0
	}
	// At its hello, the primary had written nothing for some time itself.
	lag := max(0, now.Sub(own.written)-primary.at.Sub(primary.written))
	if own.with == who {
		lag = min(lag, now.Sub(own.even))
	}
	return lag
}

// forget drops what a host has told.
func (c *Clock) forget(host *Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, host)
}

// noteLag takes the latest hello's part of what is known of all members' writes.
func (i *incarnation) noteLag() {
	if i.h.cfg.MaxLag > 0 {
		i.lag = i.h.cfg.Clock.note(i.h, i.hello, time.Now())
	}
}

// forgetLag drops it when the connection is gone.
func (i *incarnation) forgetLag() {
	if i.h.cfg.MaxLag > 0 {
		i.h.cfg.Clock.forget(i.h)
	}
}

// farBehind says why a member that is not live yet stands by for its lag, "" when it need not.
func (i *incarnation) farBehind() string {
	if i.state == Live || i.state == Ejected || i.h.cfg.MaxLag <= 0 || i.lag <= i.limit() {
		return ""
	}
	return fmt.Sprintf("it is further behind the primary than MaxLag, %v", i.h.cfg.MaxLag)
}

// limit is how far behind a member may be that wants to serve, again or at all.
func (i *incarnation) limit() time.Duration {
	if i.state == Live {
		return i.h.cfg.MaxLag
	}
	return time.Duration(caughtUp * float64(i.h.cfg.MaxLag))
}

// onLag takes a live member out that has fallen too far behind, and lets it in again.
func (i *incarnation) onLag() {
	if i.h.cfg.MaxLag <= 0 {
		return
	}
	switch far := i.lag > i.limit(); {
	case i.state == Live && far:
		i.lagging(i.lag)
	case i.state == Ejected && i.behind && !far:
		i.restore(false)
	}
}

// lagging keeps reads off a member that is behind. It is not a question of health, and
// there is no floor: what is promised is that nobody begins to read what is older. What is on the
// wire was sent before and goes on, and so do open cursors.
func (i *incarnation) lagging(lag time.Duration) {
	h := i.h
	reason := fmt.Sprintf("it is %v behind the primary, and MaxLag is %v", lag.Round(time.Millisecond), h.cfg.MaxLag)
	h.cfg.Router.Pause(i.svc)
	i.enter(Ejected, h.view.Load().role, reason)
	i.behind = true
	moved := i.svc.pause()
	h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Evacuated: moved})
}

// restore lets an ejected host serve again; floor says that it is needed as it is.
func (i *incarnation) restore(floor bool) {
	h := i.h
	out, role := time.Since(i.since), roleOf(i.hello.Kind)
	i.enter(Live, role, "")
	i.probe, i.behind = known{}, false
	i.svc.reopen()
	h.emit(messages.HostRestored{Header: h.header(), After: out, Floor: floor})
	h.cfg.Router.Join(i.svc, i.member())
}
