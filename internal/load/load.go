// Package load measures what reads cost at a host.
package load

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
)

// peakDecay is how long a peak in a host's latency is remembered: the time in
// which its weight falls to 1/e. It is short beside the 10 s that is usual for
// calls between services, since a point read takes a millisecond and a game notices a
// second. A host that stays slow is not found out by this, but ejected by its slave.
const peakDecay = 300 * time.Millisecond

// failLeast and failMost are what a read that failed counts for, as if it had taken so long: twice
// the least for the first of some in a row, twice as much for each further one, and the most in the end.
const (
	failLeast = time.Millisecond
	failMost  = time.Second
)

// leastKnown is what of a latency does not decay while reads are there: without any cost those that get no
// reply would add to nothing.
const leastKnown = time.Millisecond

// lately is how many samples the median is of that the average is fed.
const lately = 5

// classes are those of reads that are weighed; a Pinned one has no choice of hosts.
const classes = int(command.Heavy) + 1

// Load is what one host's reads have cost of late. The slave that owns the host
// reports it; the router weighs it. Safe for concurrent use.
//
// Latencies are kept for each class of reads: one aggregate that takes as long as
// aggregates do must not keep point reads off its host.
type Load struct {
	pending atomic.Int64

	mu   sync.Mutex
	seen [classes]latency // mu

	replied atomic.Uint64 // the latest operation time of its replies
	written atomic.Uint64 // the second of its last write, by its latest hello
}

// latency is a peak-sensitive moving average.
type latency struct {
	last [lately]float64 // the latest samples, in seconds, in a ring
	n    int             // samples ever
	ewma float64         // seconds
	at   time.Time       // of the latest sample; zero before the first

	flying int           // reads that were given to the host and not ended
	idle   time.Duration // while there were none of those since the latest sample, until since
	since  time.Time     // when flying last came to zero

	fails    int       // in a row
	failedAt time.Time // the latest
}

// Begin counts a read that was given to the host.
func (l *Load) Begin(class command.Class, now time.Time) {
	l.pending.Add(1)
	if int(class) >= classes {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := &l.seen[class]
	seen.idle, seen.since = seen.quiet(now), now
	seen.flying++
}

// Cancel takes back what Begin counted, of a read that was never sent.
func (l *Load) Cancel(class command.Class, now time.Time) { l.End(class, 0, now) }

// End takes back what Begin counted. Took is how long the host took to answer; zero or
// less reports nothing.
func (l *Load) End(class command.Class, took time.Duration, now time.Time) {
	l.end(class, now, func(seen *latency) {
		if took > 0 {
			seen.observe(took.Seconds(), now)
		}
	})
}

// Fail is End for a read that failed in a way which another host may not share. A host that answers none is
// not a quick one: each counts as a read that took as long as it, or as reads do, and the more fail
// in a row the longer, so that the host is tried now and then, until one is answered.
func (l *Load) Fail(class command.Class, took time.Duration, now time.Time) {
	l.end(class, now, func(seen *latency) { seen.fail(took, now) })
}

func (l *Load) end(class command.Class, now time.Time, note func(*latency)) {
	l.pending.Add(-1)
	if int(class) >= classes {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := &l.seen[class]
	seen.flying--
	if seen.flying == 0 {
		seen.since = now
	}
	note(seen)
}

// Pending is the number of reads given to the host and not yet ended.
func (l *Load) Pending() int64 { return l.pending.Load() }

// observe is the peak-sensitive moving average of Finagle's p2cPeakEwma: it
// jumps up to a higher latency at once and comes down slowly. What it is fed is
// the median of the last samples: a read or two that a collection of garbage, ours or
// the kernel's scheduler held up say nothing of their host, and would keep reads from
// it for as long as the peak is remembered.
func (l *latency) observe(s float64, now time.Time) {
	l.last[l.n%lately] = s
	l.n++
	m := median(l.last[:min(l.n, lately)])
	if m >= l.ewma || l.at.IsZero() || l.fails > 0 {
		l.ewma = m
	} else {
		w := math.Exp(-max(0, now.Sub(l.at).Seconds()) / peakDecay.Seconds())
		l.ewma = l.ewma*w + m*(1-w)
	}
	l.at, l.fails = now, 0
	l.idle, l.since = 0, now
}

// fail counts a failure. Those that were under way when another one was told are not of a row.
func (l *latency) fail(took time.Duration, now time.Time) {
	base := max(took.Seconds(), failLeast.Seconds(), median(l.last[:min(l.n, lately)]))
	if l.fails == 0 || now.Add(-took).After(l.failedAt) {
		l.fails, l.failedAt = l.fails+1, now
	}
	l.ewma = max(l.lately(now), min(math.Ldexp(base, min(l.fails, 16)), max(base, failMost.Seconds())))
	l.at = now
	l.idle, l.since = 0, now
}

// quiet is for how long there were no reads under way since the latest sample.
func (l *latency) quiet(now time.Time) time.Duration {
	if l.flying > 0 || l.at.IsZero() {
		return l.idle
	}
	return l.idle + max(0, now.Sub(l.since))
}

func (l *latency) lately(now time.Time) float64 {
	if l.at.IsZero() {
		return 0
	}
	known := l.ewma * math.Exp(-l.quiet(now).Seconds()/peakDecay.Seconds())
	if l.flying > 0 {
		known = max(known, min(l.ewma, leastKnown.Seconds()))
	}
	return known
}

// median is that of a few samples, the lower of two in the middle.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	var sorted [lately]float64
	n := copy(sorted[:], samples)
	slices.Sort(sorted[:n])
	return sorted[(n-1)/2]
}

// Latency is what a read of that class takes of late, in seconds; zero when nothing is
// known. Without news it decays, so that a host which nobody picked because of one slow
// read is tried again, but not while such reads are there: no news is then no good news.
func (l *Load) Latency(class command.Class, now time.Time) float64 {
	if int(class) >= classes {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[class].lately(now)
}

// Replied notes the operation time of a reply.
func (l *Load) Replied(at bson.Timestamp) {
	for n := packed(at); ; {
		old := l.replied.Load()
		if n <= old || l.replied.CompareAndSwap(old, n) {
			return
		}
	}
}

// Reached reports whether the host has said that it has seen what happened at that operation time, so that
// no read waits there for that.
func (l *Load) Reached(at bson.Timestamp) bool { return packed(at) <= l.replied.Load() }

// Written notes the host's last write, by its hello; zero for unknown.
func (l *Load) Written(at time.Time) {
	if !at.IsZero() {
		l.written.Store(uint64(max(0, at.Unix())))
	}
}

// Behind reports whether the host has not seen what happened at that operation time, and will not in a moment:
// by its hello, which may be half a second old, it is more than a second behind.
func (l *Load) Behind(at bson.Timestamp) bool {
	written := l.written.Load()
	return written > 0 && written+1 < uint64(at.T) && !l.Reached(at)
}

func packed(at bson.Timestamp) uint64 { return uint64(at.T)<<32 | uint64(at.I) }
