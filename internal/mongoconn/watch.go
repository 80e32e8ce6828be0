package mongoconn

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultResolveEvery is how often it is asked whether a host's name still means the
	// address that its sockets go to. Half of it at random, so that many processes do not
	// ask together.
	DefaultResolveEvery = 30 * time.Second
	// resolveSoonest is the least time between two such questions, however many sockets
	// cannot be opened.
	resolveSoonest = 5 * time.Second
	// resolveAgain is after how long an answer without the address is asked for once more: a
	// name server may have been in the middle of a change, or give one of several addresses
	// in turn.
	resolveAgain = time.Second
)

// MovedError says that a host's name means other addresses than it did.
type MovedError struct {
	Host string
	// From is where the sockets go, To what the name means now.
	From netip.Addr
	To   []netip.Addr
}

func (e *MovedError) Error() string {
	to := make([]string, len(e.To))
	for i, ip := range e.To {
		to[i] = ip.String()
	}
	return fmt.Sprintf("evenkeel: %s means %s now, and no longer %s", e.Host, strings.Join(to, ", "), e.From)
}

// watch is a Dialer's goroutine that resolves its name again.
type watch struct {
	on   bool          // the Dialer's mu; it was started
	soon chan struct{} // has a value when it is to ask sooner
	over sync.WaitGroup
}

// hurry has the name resolved soon.
func (w *watch) hurry() {
	select {
	case w.soon <- struct{}{}:
	default:
	}
}

// startWatch begins to watch the name, once, if there is anything to watch: an IP address
// means itself, and what does not go through this Dialer's own resolution has no
// verified address. d.mu must be held.
func (d *Dialer) startWatch() {
	if d.watch.on || d.cfg.Moved == nil || d.cfg.ResolveEvery < 0 || d.life.Err() != nil {
		return
	}
	if _, err := netip.ParseAddr(d.name); err == nil {
		return
	}
	d.watch.on = true
	d.watch.over.Go(d.watchName)
}

// about is d, more or less by a quarter of it.
func about(d time.Duration) time.Duration {
	d = min(d, math.MaxInt64/2) // The sum must not overflow.
	return d - d/4 + rand.N(d/2+1)
}

func (d *Dialer) watchName() {
	every := d.cfg.ResolveEvery
	if every == 0 {
		every = DefaultResolveEvery
	}
	next := func() time.Duration { return about(every) }
	soonest := min(resolveSoonest, every)
	timer := time.NewTimer(next())
	defer timer.Stop()
	asked := time.Now()
	for {
		select {
		case <-timer.C:
		case <-d.watch.soon:
			if wait := soonest - time.Since(asked); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-d.life.Done():
			return
		}
		asked = time.Now()
		err := d.lookAgain()
		if err != nil && d.pause(min(resolveAgain, every)) {
			err = d.lookAgain()
		}
		if d.life.Err() != nil {
			return
		}
		if err != nil {
			d.cfg.Moved(err)
		}
		timer.Reset(next())
	}
}

// pause waits, and reports whether the Dialer is still alive then.
func (d *Dialer) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.life.Done():
		return false
	}
}

// lookAgain resolves the name and returns an error if the verified address is not among
// the answers. That there is no answer, be it that the name server says so, means nothing:
// the sockets that there are go to the right member, and are not given up for it.
func (d *Dialer) lookAgain() *MovedError {
	ctx, cancel := context.WithTimeout(d.life, d.cfg.ConnectTimeout)
	defer cancel()
	found, err := d.cfg.Resolver.LookupNetIP(ctx, "ip", d.name)
	if err != nil || len(found) == 0 {
		return nil
	}
	found = slices.Clone(found)
	for i, ip := range found {
		found[i] = ip.Unmap()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.pinned.IsValid() || slices.Contains(found, d.pinned) {
		return nil
	}
	return &MovedError{Host: d.cfg.Host, From: d.pinned, To: found}
}
