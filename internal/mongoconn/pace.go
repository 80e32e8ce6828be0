package mongoconn

import (
	"context"
	"sync"
	"time"
)

// A host that lets sockets in and ends them at once is not to be dialled as fast as it
// does that: the driver opens the next socket the moment it has lost one, its heartbeat's
// as well as the pool's, and each costs the host a handshake and a login.
const (
	// youth: a socket that ends within this time has been of no use.
	youth = time.Second
	// paceBurst of them are free, and then one each paceEvery.
	paceBurst = 20
	paceEvery = 100 * time.Millisecond
	// paceMost bounds the wait for one dial: no longer than that for a host that does not
	// answer at all.
	paceMost = 500 * time.Millisecond
)

// pace makes dials wait where sockets end young. It is a bucket of paceBurst tokens in
// which there is another one each paceEvery, and from which a socket that ends young takes
// one; an empty one holds dials up until there is a token again.
type pace struct {
	mu sync.Mutex
	// full is when the bucket will be full if nothing is taken.
	full time.Time
}

// ended notes that a socket has ended that was opened then. What is taken beyond paceMost
// is forgiven: sockets of many lanes that end together must not hold up those after them.
func (p *pace) ended(born, now time.Time) {
	if now.Sub(born) >= youth {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(paceEvery)
	if most := now.Add(paceBurst*paceEvery + paceMost); p.full.After(most) {
		p.full = most
	}
}

// delay is how long a dial has to wait.
func (p *pace) delay(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full.Before(now) {
		return 0
	}
	return p.full.Sub(now) - paceBurst*paceEvery
}

// wait holds a dial up, for half of its time at most: the other half is for the dial.
func (p *pace) wait(ctx context.Context) error {
	now := time.Now()
	delay := p.delay(now)
	if deadline, ok := ctx.Deadline(); ok {
		delay = min(delay, deadline.Sub(now)/2)
	}
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
