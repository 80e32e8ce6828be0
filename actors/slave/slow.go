package slave

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
)

// What makes a host slow: for slowFor, the median of its windows was more than
// slowRatio times the others', and slowBy more, and so it was against what is usual for
// itself. Medians, since one slow query, or one collection of garbage, says nothing of a
// host; against itself too, since a member in another data centre is not slow but far.
const (
	slowRatio = 3
	slowBy    = 10 * time.Millisecond
	slowFor   = 500 * time.Millisecond
	// A window ends with windowMost reads, or after windowTime with windowLeast.
	windowTime  = 250 * time.Millisecond
	windowLeast = 8
	windowMost  = 64
	// windowFresh is how old another host's window may be to compare a probe with. A window is compared
	// with those of the same time alone: the host and the process had something else to do before.
	windowFresh = 10 * time.Second
	// What is usual follows each window by these weights: down at once, up slowly.
	usualDown, usualUp = 0.5, 0.02
)

// classes are those whose latencies are compared: what a heavy read takes is up to
// itself.
const classes = int(command.Range) + 1

// Paces knows the latest windows of all hosts of an app.
type Paces struct {
	mu   sync.Mutex
	live map[*service]*[classes]window // mu
}

type window struct {
	median    time.Duration
	since, at time.Time // when it began and ended
}

// beside is when a window must have ended, or later, to be compared with w: it is about as long as w.
func (w window) beside() time.Time { return w.since.Add(-max(windowTime, w.at.Sub(w.since))) }

// NewPaces returns Paces without any.
func NewPaces() *Paces { return &Paces{live: map[*service]*[classes]window{}} }

// note takes a service's window, and returns the median of the others' latest ones, if they are of
// the same time; zero when none is.
func (p *Paces) note(s *service, class command.Class, w window) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if own := p.live[s]; own != nil {
		own[class] = w
	}
	return p.others(s, class, w.beside())
}

// others is the median of the other services' latest windows that ended after then. p.mu must be held.
func (p *Paces) others(s *service, class command.Class, then time.Time) time.Duration {
	var all []time.Duration
	for other, windows := range p.live {
		if w := windows[class]; other != s && w.at.After(then) {
			all = append(all, w.median)
		}
	}
	return medianOf(all)
}

// usual is what a read of a class takes at the other hosts now; zero when nobody knows.
func (p *Paces) usual(s *service, class command.Class, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.others(s, class, now.Add(-windowFresh))
}

// join lets others compare themselves with a service.
func (p *Paces) join(s *service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[s] == nil {
		p.live[s] = new([classes]window)
	}
}

// answering reports whether any other host has answered a read since then. While none has, a
// host's silence may be this process's own: it was not given a processor, or collected garbage.
func (p *Paces) answering(s *service, since time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.live {
		if at := other.answeredAt.Load(); other != s && at != nil && at.After(since) {
			return true
		}
	}
	return false
}

// another is the service of the other host that has answered a read last, so that it is one
// which is read from; nil when there is none.
func (p *Paces) another(s *service) (latest *service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var when time.Time
	for other := range p.live {
		if at := other.answeredAt.Load(); other != s && at != nil && at.After(when) {
			latest, when = other, *at
		}
	}
	return latest
}

// forget drops a service that serves no more: it is nothing to compare with.
func (p *Paces) forget(s *service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, s)
}

func medianOf(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// pace gathers a host's windows of one class. The service's lock guards it.
type pace struct {
	samples []time.Duration
	since   time.Time // when the window began
	usual   time.Duration
	slow    time.Time // since when its windows are slow; zero while they are not
}

// took notes how long a read took. When that makes the host one to be ejected it says
// why. The service's lock must be held.
func (s *service) took(class command.Class, d time.Duration, now time.Time) (reason string) {
	if int(class) >= classes || s.host.cfg.Paces == nil || !s.open {
		return ""
	}
	p := &s.paces[class]
	if len(p.samples) == 0 {
		p.since = now
	}
	p.samples = append(p.samples, d)
	if n := len(p.samples); n < windowMost && (n < windowLeast || now.Sub(p.since) < windowTime) {
		return ""
	}
	median := medianOf(p.samples)
	p.samples = p.samples[:0]
	others := s.host.cfg.Paces.note(s, class, window{median, p.since, now})
	if others == 0 || !tooSlow(median, others) || !tooSlow(median, p.usual) {
		p.slow = time.Time{}
		p.follow(median)
		return ""
	}
	if p.slow.IsZero() {
		p.slow = now
	}
	if now.Sub(p.slow) < slowFor {
		return ""
	}
	p.slow = now // It is told again only if the host is kept in.
	return fmt.Sprintf("it is slow: reads take %v, at other hosts %v", median.Round(time.Microsecond), others.Round(time.Microsecond))
}

// follow lets a window count towards what is usual.
func (p *pace) follow(median time.Duration) {
	weight := usualUp
	switch {
	case p.usual == 0:
		weight = 1
	case median < p.usual:
		weight = usualDown
	}
	p.usual += time.Duration(weight * float64(median-p.usual))
}

func tooSlow(d, usual time.Duration) bool {
	return usual > 0 && d > slowRatio*usual && d > usual+slowBy
}

// wellAgain reports whether a probe that took d shows that a host ejected as slow is not
// so any more.
func (s *service) wellAgain(probe known, d time.Duration, now time.Time) bool {
	class := probe.cmd.Class
	if s.host.cfg.Paces == nil || probe.took > 0 && !tooSlow(d, probe.took) {
		return true
	}
	s.mu.Lock()
	usual := s.paces[class].usual
	s.mu.Unlock()
	others := s.host.cfg.Paces.usual(s, class, now)
	return others == 0 || !tooSlow(d, others) || !tooSlow(d, usual)
}
