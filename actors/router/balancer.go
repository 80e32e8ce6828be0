// Package router chooses a live host for every read.
package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/messages"
)

// Policy says which of the hosts that may serve a read should.
type Policy uint8

// The policies.
const (
	// Adaptive draws two live hosts at random and takes the one whose recent
	// peak latency times its pending reads is lower. Costs within 25 % or 1 ms of each
	// other count as equal, and among equals the one with the smaller recent share is
	// taken, so that equal hosts end up with equal shares.
	Adaptive Policy = iota
	// RoundRobin gives every live host the same number of reads.
	RoundRobin
	// LeastPending takes the host with the fewest pending reads, the one with
	// the smaller recent share among equals.
	LeastPending
	// Random takes any live host.
	Random
)

func (p Policy) String() string {
	switch p {
	case Adaptive:
		return "adaptive"
	case RoundRobin:
		return "roundRobin"
	case LeastPending:
		return "leastPending"
	case Random:
		return "random"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

const (
	// equalRatio and equalSeconds are how far two costs may be apart to count as
	// equal.
	equalRatio   = 1.25
	equalSeconds = 0.001
	// shareDecay is the memory of "recent share".
	shareDecay = time.Second
	// shareStep is how often shares are decayed; finer is not needed.
	shareStep = 10 * time.Millisecond
	// slowStartFloor is the part of its share that a host gets at once when it
	// comes back.
	slowStartFloor = 0.1
)

// DefaultSlowStart is how long a host that came back takes to get its full
// share.
const DefaultSlowStart = 300 * time.Millisecond

// Balancer knows the live hosts and picks one of them for each read. Safe for
// concurrent use: a pick holds the lock for some hundred nanoseconds and allocates
// nothing.
type Balancer struct {
	policy    Policy
	slowStart time.Duration

	mu      sync.Mutex
	rng     *rand.Rand // mu
	hosts   []*target  // mu; live hosts in the order of their names
	scratch []*target  // mu; the candidates of the pick under way
	decayed time.Time  // mu; when shares were last decayed
}

// target is one live host. Its fields are the Balancer's, under its lock.
type target struct {
	name    string
	primary bool
	load    *load.Load
	since   time.Time // when it joined
	ramped  bool      // its slow start is over
	share   float64   // recent picks, decaying
	turns   uint64    // picks ever, for RoundRobin
}

// NewBalancer returns a Balancer without hosts. A slowStart of zero gives a
// joining host its full share at once.
func NewBalancer(policy Policy, slowStart time.Duration, seed uint64) *Balancer {
	return &Balancer{policy: policy, slowStart: slowStart, rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

// Join makes a host live, or changes its role when it is live already. The
// first host of all starts with its full share: there is nobody to leave it to.
func (b *Balancer) Join(name string, primary bool, load *load.Load, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, live := slices.BinarySearchFunc(b.hosts, name, func(t *target, name string) int {
		switch {
		case t.name < name:
			return -1
		case t.name > name:
			return 1
		}
		return 0
	})
	if live {
		b.hosts[i].primary, b.hosts[i].load = primary, load
		return
	}
	t := &target{name: name, primary: primary, load: load, since: now, ramped: b.slowStart <= 0 || len(b.hosts) == 0}
	// As if it had served all along: otherwise it would be the one with the smaller share
	// until it had caught up, and get every read the moment it is back.
	for _, h := range b.hosts {
		t.share, t.turns = max(t.share, h.share), max(t.turns, h.turns)
	}
	b.hosts = slices.Insert(b.hosts, i, t)
	b.scratch = make([]*target, 0, len(b.hosts))
}

// Leave takes a host out. It reports whether it was live.
func (b *Balancer) Leave(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.hosts)
	b.hosts = slices.DeleteFunc(b.hosts, func(t *target) bool { return t.name == name })
	return len(b.hosts) < n
}

// Len is the number of live hosts.
func (b *Balancer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.hosts)
}

// Pick chooses a host for a read from the given members, none of those already
// tried. It returns "" when there is none. Fallback says that FromSecondaries is served by
// the primary (or FromPrimaryPreferred by a secondary) for want of another; with
// allowPrimary false FromSecondaries never is.
func (b *Balancer) Pick(from messages.From, allowPrimary bool, tried []string, now time.Time) (host string, fallback bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decay(now)
	var first, second func(*target) bool
	secondary := func(t *target) bool { return !t.primary }
	primary := func(t *target) bool { return t.primary }
	switch from {
	case messages.FromDefault, messages.FromSecondaries:
		first = secondary
		if allowPrimary {
			second = primary
		}
	case messages.FromSecondariesOnly:
		first = secondary
	case messages.FromAll:
		first = func(*target) bool { return true }
	case messages.FromPrimary:
		first = primary
	case messages.FromPrimaryPreferred:
		first, second = primary, secondary
	default:
		return "", false
	}
	if t := b.choose(first, tried, now); t != nil {
		return t.name, false
	}
	if second != nil {
		if t := b.choose(second, tried, now); t != nil {
			return t.name, true
		}
	}
	return "", false
}

// choose picks among the live hosts that may serve; nil when there is none. b.mu must be held.
func (b *Balancer) choose(may func(*target) bool, tried []string, now time.Time) *target {
	b.scratch = b.scratch[:0]
	for _, t := range b.hosts {
		if may(t) && !slices.Contains(tried, t.name) {
			b.scratch = append(b.scratch, t)
		}
	}
	for {
		c := b.scratch
		if len(c) == 0 {
			return nil
		}
		t := c[0]
		if len(c) > 1 {
			t = b.prefer(c, now)
		}
		t.share++
		t.turns++
		if len(c) == 1 || b.admits(t, now) {
			return t
		}
		// In its slow start, and not this time: the read goes to another host and
		// counts for this one, so that it need not catch up afterwards.
		b.scratch = slices.DeleteFunc(c, func(u *target) bool { return u == t })
	}
}

// prefer applies the policy to two or more candidates. b.mu must be held.
func (b *Balancer) prefer(c []*target, now time.Time) *target {
	switch b.policy {
	case RoundRobin:
		return slices.MinFunc(c, func(x, y *target) int {
			switch {
			case x.turns < y.turns:
				return -1
			case x.turns > y.turns:
				return 1
			}
			return 0
		})
	case LeastPending:
		best := c[b.rng.IntN(len(c))]
		for _, t := range c {
			p, q := t.load.Pending(), best.load.Pending()
			if p < q || p == q && t.share < best.share {
				best = t
			}
		}
		return best
	case Random:
		return c[b.rng.IntN(len(c))]
	}
	i := b.rng.IntN(len(c))
	j := b.rng.IntN(len(c) - 1)
	if j >= i {
		j++
	}
	x, y := c[i], c[j]
	cx, cy := x.cost(now), y.cost(now)
	lo, hi := min(cx, cy), max(cx, cy)
	if hi-lo <= equalSeconds || hi <= lo*equalRatio {
		if y.share < x.share {
			return y
		}
		return x
	}
	if cy < cx {
		return y
	}
	return x
}

// cost is the time a further read would take here, by recent peak latency and
// what is ahead of it.
func (t *target) cost(now time.Time) float64 {
	return t.load.Latency(now) * float64(t.load.Pending()+1)
}

// admits says whether a host takes this read, given how long it has been back. b.mu
// must be held.
func (b *Balancer) admits(t *target, now time.Time) bool {
	if t.ramped {
		return true
	}
	part := float64(now.Sub(t.since)) / float64(b.slowStart)
	if part >= 1 {
		t.ramped = true
		return true
	}
	return b.rng.Float64() < max(part, slowStartFloor)
}

// decay lets shares fade. b.mu must be held.
func (b *Balancer) decay(now time.Time) {
	d := now.Sub(b.decayed)
	if d < shareStep {
		return
	}
	w := math.Exp(-d.Seconds() / shareDecay.Seconds())
	for _, t := range b.hosts {
		t.share *= w
	}
	b.decayed = now
}
