// Package load measures what reads cost at a host.
package load

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
)

// peakDecay is how long a peak in a host's latency is remembered: the time in
// which its weight falls to 1/e. It is short beside the 10 s that is usual for
// calls between services, since a point read takes a millisecond and a game notices a
// second. A host that stays slow is not found out by this, but ejected by its slave.
const peakDecay = 300 * time.Millisecond

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
}

// latency is a peak-sensitive moving average.
type latency struct {
	last [lately]float64 // the latest samples, in seconds, in a ring
	n    int             // samples ever
	ewma float64         // seconds
	at   time.Time       // of the latest sample; zero before the first
}

// Begin counts a read that was given to the host.
func (l *Load) Begin() { l.pending.Add(1) }

// Cancel takes back what Begin counted, of a read that was never sent.
func (l *Load) Cancel() { l.pending.Add(-1) }

// End takes back what Begin counted. Took is how long the host took to answer; zero or
// less reports nothing.
func (l *Load) End(class command.Class, took time.Duration, now time.Time) {
	l.pending.Add(-1)
	if took <= 0 || int(class) >= classes {
		return
	}
	l.mu.Lock()
	l.seen[class].observe(took.Seconds(), now)
	l.mu.Unlock()
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
	if m >= l.ewma || l.at.IsZero() {
		l.ewma = m
	} else {
		w := math.Exp(-max(0, now.Sub(l.at).Seconds()) / peakDecay.Seconds())
		l.ewma = l.ewma*w + m*(1-w)
	}
	l.at = now
}

// median is that of a few samples, the lower of two in the middle.
func median(samples []float64) float64 {
	var sorted [lately]float64
	n := copy(sorted[:], samples)
	slices.Sort(sorted[:n])
	return sorted[(n-1)/2]
}

// Latency is what a read of that class takes of late, in seconds; zero when nothing is
// known. Without news it decays, so that a host which nobody picked because of one slow
// read is tried again.
func (l *Load) Latency(class command.Class, now time.Time) float64 {
	if int(class) >= classes {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := &l.seen[class]
	if seen.at.IsZero() {
		return 0
	}
	return seen.ewma * math.Exp(-max(0, now.Sub(seen.at).Seconds())/peakDecay.Seconds())
}
