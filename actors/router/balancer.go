package router

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// Policy says which of the hosts that may serve a read should.
type Policy uint8

// The policies.
const (
	// Adaptive draws two live hosts at random and takes the one whose recent
	// peak latency times its pending reads is lower. Costs within 25 % or 1 ms of each
	// other count as equal, and among equals the one with the smaller recent share is
	// taken, so that equal hosts end up with equal shares; up to three times, shares are
	// weighed against costs, since so much is the noise of a busy machine.
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
	// nearRatio is up to where a smaller share makes up for a higher cost.
	nearRatio = 3
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
	rng     *rand.Rand       // mu
	hosts   []*target        // mu; live hosts in the order of their names
	ejected []outcast        // mu; connected, and kept from reads, in the order in which they were ejected
	paused  []request.Target // mu; connected, and behind: no reads begin there
	scratch []*target        // mu; the candidates of the pick under way
	decayed time.Time        // mu; when shares were last decayed
	first   time.Time        // mu; when the first host of all joined
	seen    map[string]bool  // mu; hosts that joined together with the first one
}

// target is one live host. Its fields are the Balancer's, under its lock.
type target struct {
	request.Target
	name string
	inc  uint64
	request.Member
	leads  bool      // it is the primary, and no other was elected later
	since  time.Time // when it joined
	ramped bool      // its slow start is over
	share  float64   // recent picks, decaying
	turns  uint64    // picks ever, for RoundRobin
}

// NewBalancer returns a Balancer without hosts. A slowStart of zero gives a
// joining host its full share at once.
func NewBalancer(policy Policy, slowStart time.Duration, seed uint64) *Balancer {
	return &Balancer{policy: policy, slowStart: slowStart, seen: map[string]bool{}, rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

// Join makes a host live, or changes what it is when it is live already. Hosts that
// join together with the first one of all start with their full share: they are
// equally new. So does one that joins none: there is nobody to leave its share to.
func (b *Balancer) Join(host request.Target, as request.Member, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(host.Incarnation())
	i, live := slices.BinarySearchFunc(b.hosts, host.Host(), func(t *target, name string) int { return strings.Compare(t.name, name) })
	if live && b.hosts[i].inc == host.Incarnation() {
		t := b.hosts[i]
		if t.Primary != as.Primary {
			b.level(t) // A primary that steps down has served no reads of late.
		}
		t.Member = as
		b.depose()
		return
	}
	if b.first.IsZero() {
		b.first = now
	}
	// Members come and go for as long as the app runs: only those of the beginning are
	// kept in mind.
	fresh := now.Sub(b.first) < b.slowStart && !b.seen[host.Host()]
	if fresh {
		b.seen[host.Host()] = true
	}
	t := &target{
		Target: host, name: host.Host(), inc: host.Incarnation(), Member: as,
		since: now, ramped: b.slowStart <= 0 || len(b.hosts) == 0 || fresh,
	}
	b.level(t)
	if live { // An earlier incarnation that never left.
		b.hosts[i] = t
	} else {
		b.hosts = slices.Insert(b.hosts, i, t)
		b.scratch = make([]*target, 0, len(b.hosts))
	}
	b.depose()
}

// depose finds out who leads: one that was cut off takes itself for the primary for some seconds after
// another was elected, and is read from by nobody. b.mu must be held.
func (b *Balancer) depose() {
	var latest [12]byte
	for _, t := range b.hosts {
		if t.Primary && bytes.Compare(t.Election[:], latest[:]) > 0 {
			latest = t.Election
		}
	}
	for _, t := range b.hosts {
		t.leads = t.Primary && t.Election == latest
	}
}

// level counts for a host as if it had served all along: otherwise it would be the one
// with the smaller share until it had caught up, and get every read the moment it
// may serve. b.mu must be held.
func (b *Balancer) level(t *target) {
	for _, h := range b.hosts {
		t.share, t.turns = max(t.share, h.share), max(t.turns, h.turns)
	}
}

// remove takes an incarnation off the live hosts. b.mu must be held.
func (b *Balancer) remove(inc uint64) bool {
	n := len(b.hosts)
	b.hosts = slices.DeleteFunc(b.hosts, func(t *target) bool { return t.inc == inc })
	if len(b.hosts) == n {
		return false
	}
	b.depose()
	return true
}

// Counts returns how many live hosts are primaries and how many are not, of those that
// have the tags of any of the sets.
func (b *Balancer) Counts(tags []messages.TagSet) (primaries, secondaries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.hosts {
		switch {
		case len(tags) > 0 && !slices.ContainsFunc(tags, t.has):
		case t.leads:
			primaries++
		case !t.Primary:
			secondaries++
		}
	}
	return primaries, secondaries
}

// has reports whether the member has all of these tags.
func (t *target) has(tags messages.TagSet) bool {
	for k, v := range tags {
		if own, ok := t.Tags[k]; !ok || own != v {
			return false
		}
	}
	return true
}

// Live reports whether an incarnation is live.
func (b *Balancer) Live(inc uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.hosts, func(t *target) bool { return t.inc == inc })
}

// Find returns the target of that incarnation of a host, nil when it was lost. Of one that is out and still
// connected, too: its cursors are there.
func (b *Balancer) Find(host string, inc uint64) request.Target {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.hosts {
		if t.name == host && t.inc == inc {
			return t.Target
		}
	}
	for _, t := range b.ejected {
		if t.Host() == host && t.Incarnation() == inc {
			return t.Target
		}
	}
	for _, t := range b.paused {
		if t.Host() == host && t.Incarnation() == inc {
			return t
		}
	}
	return nil
}

// Want is what a read asks of its host.
type Want struct {
	Class command.Class
	From  messages.From
	Tags  []messages.TagSet
	// Tried are incarnations that it must not be sent to.
	Tried []uint64
	// After is the operation time that it must see; hosts that are known to be behind it are the last choice.
	After bson.Timestamp
}

// Pick chooses a host for a read. It returns nil when there is none. Fallback says that FromSecondaries is
// served by the primary (or FromPrimaryPreferred by a secondary) for want of another; with
// allowPrimary false FromSecondaries never is. Another says that there is at least
// one more host for this read, should this one fail.
func (b *Balancer) Pick(w *Want, allowPrimary bool, now time.Time) (host request.Target, fallback, another bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decay(now)
	first, second := order(w.From, allowPrimary)
	t, n := b.choose(w, first, now)
	if t != nil {
		if n == 1 && second != nobody {
			n += b.candidates(w, second)
		}
		return t.Target, false, n > 1
	}
	if t, n = b.choose(w, second, now); t != nil {
		return t.Target, true, n > 1
	}
	return nil, false, false
}

// roles are the members that a read may go to.
type roles uint8

const (
	nobody roles = iota
	primaries
	secondaries
	everybody
)

// order says which hosts serve a read, and which when there is none of those.
func order(from messages.From, allowPrimary bool) (first, second roles) {
	switch from {
	case messages.FromDefault, messages.FromSecondaries:
		if allowPrimary {
			return secondaries, primaries
		}
		return secondaries, nobody
	case messages.FromSecondariesOnly:
		return secondaries, nobody
	case messages.FromAll:
		return everybody, nobody
	case messages.FromPrimary:
		return primaries, nobody
	case messages.FromPrimaryPreferred:
		return primaries, secondaries
	}
	return nobody, nobody
}

func (r roles) include(t *target) bool {
	switch r {
	case everybody:
		return t.leads || !t.Primary
	case primaries:
		return t.leads
	case secondaries:
		return !t.Primary
	}
	return false
}

// candidates lists the live hosts that may serve, and returns their number: with tag sets,
// those of the first set that any of them has. b.mu must be held.
func (b *Balancer) candidates(w *Want, among roles) int {
	if len(w.Tags) == 0 || among == primaries {
		return b.list(w, among, nil)
	}
	for _, tags := range w.Tags {
		if n := b.list(w, among, tags); n > 0 {
			return n
		}
	}
	return 0
}

// list is candidates for one tag set. b.mu must be held.
func (b *Balancer) list(w *Want, among roles, tags messages.TagSet) int {
	b.scratch = b.scratch[:0]
	for _, t := range b.hosts {
		if among.include(t) && t.has(tags) && !slices.Contains(w.Tried, t.inc) {
			b.scratch = append(b.scratch, t)
		}
	}
	return len(b.scratch)
}

// choose picks among the n live hosts that may serve; nil when there is none. b.mu must be held.
func (b *Balancer) choose(w *Want, among roles, now time.Time) (t *target, n int) {
	if among == nobody {
		return nil, 0
	}
	n = b.candidates(w, among)
	if n > 1 && w.After.T > 0 {
		b.keepUp(w.After)
	}
	for {
		c := b.scratch
		if len(c) == 0 {
			return nil, 0
		}
		t := c[0]
		if len(c) > 1 {
			t = b.prefer(w.Class, c, now)
		}
		t.share++
		t.turns++
		if len(c) == 1 || b.admits(t, now) {
			return t, n
		}
		// In its slow start, and not this time: the read goes to another host and
		// counts for this one, so that it need not catch up afterwards.
		b.scratch = slices.DeleteFunc(c, func(u *target) bool { return u == t })
	}
}

// keepUp drops the candidates that are known to be behind an operation time, if others are left.
// b.mu must be held.
func (b *Balancer) keepUp(after bson.Timestamp) {
	behind := func(t *target) bool { return t.Load().Behind(after) }
	if slices.ContainsFunc(b.scratch, func(t *target) bool { return !behind(t) }) {
		b.scratch = slices.DeleteFunc(b.scratch, behind)
	}
}

// prefer applies the policy to two or more candidates. b.mu must be held.
func (b *Balancer) prefer(class command.Class, c []*target, now time.Time) *target {
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
			p, q := t.Load().Pending(), best.Load().Pending()
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
	cx, cy := x.cost(class, now), y.cost(class, now)
	lo, hi := min(cx, cy), max(cx, cy)
	if hi-lo <= equalSeconds || hi <= lo*equalRatio {
		if y.share < x.share {
			return y
		}
		return x
	}
	if hi <= lo*nearRatio {
		cx, cy = cx*(x.share+1), cy*(y.share+1)
	}
	if cy < cx {
		return y
	}
	return x
}

// cost is the time a further read of that class would take here, by recent peak latency and
// what is ahead of it.
func (t *target) cost(class command.Class, now time.Time) float64 {
	return t.Load().Latency(class, now) * float64(t.Load().Pending()+1)
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
