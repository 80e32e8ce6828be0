package router

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// startGrace is how long after the start missing hosts are no news: they connect
// one after the other.
const startGrace = time.Second

// degraded tells when reads cannot go where they should, and when they can again.
type degraded struct {
	router *Router
	since  time.Time

	mu      sync.Mutex
	reason  string      // mu; "" while nothing is wrong
	from    time.Time   // mu; when the present degradation began
	grace   *time.Timer // mu
	stopped bool        // mu
}

// review compares what is live with what reads want, after a host joined or left. Nothing
// else changes it.
func (d *degraded) review() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	if rest := startGrace - time.Since(d.since); rest > 0 {
		if d.grace == nil {
			d.grace = time.AfterFunc(rest, d.review)
		}
		return
	}
	d.tell(d.assess())
}

// assess names what is wrong. The app's own setting of where to read from decides.
func (d *degraded) assess() string {
	cfg := d.router.cfg
	primaries, secondaries := d.router.balancer.Counts(nil)
	if primaries+secondaries == 0 {
		return "no host is live: reads wait"
	}
	tagged := ""
	if len(cfg.Tags) > 0 {
		tagged = " that has the tags"
		var all int
		all, secondaries = d.router.balancer.Counts(cfg.Tags)
		if cfg.From == messages.FromAll && all+secondaries == 0 {
			return "no host" + tagged + " is live: reads wait"
		}
	}
	switch cfg.From {
	case messages.FromSecondaries, messages.FromSecondariesOnly:
		switch {
		case secondaries > 0:
		case cfg.From == messages.FromSecondariesOnly || cfg.NoPrimaryFallback || primaries == 0:
			return "no secondary" + tagged + " is live: reads wait"
		default:
			return "no secondary" + tagged + " is live: reads go to the primary"
		}
	case messages.FromPrimary:
		if primaries == 0 {
			return "no primary is live: reads wait"
		}
	case messages.FromPrimaryPreferred:
		switch {
		case primaries > 0:
		case secondaries == 0:
			return "no primary is live, and no secondary" + tagged + ": reads wait"
		default:
			return "no primary is live: reads go to secondaries"
		}
	}
	return ""
}

// tell emits an event when the reason has changed. d.mu must be held.
func (d *degraded) tell(reason string) {
	if reason == d.reason {
		return
	}
	if d.reason == "" {
		d.from = time.Now()
	}
	d.reason = reason
	if reason == "" {
		d.router.cfg.Emit(messages.ReadsRestored{After: time.Since(d.from)})
		return
	}
	d.router.cfg.Emit(messages.ReadsDegraded{Reason: reason})
}

func (d *degraded) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.grace != nil {
		d.grace.Stop()
	}
}
