// Package load measures what reads cost at a host.
package load

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
)

// peakDecay is how long a peak in a host's latency is remembered: the time in
// which its weight falls to 1/e. It is short beside the 10 s that is usual for
// calls between services, since a point read takes a millisecond and a game notices a
// second.
const peakDecay = time.Second

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
	last [2]float64 // the latest samples, in seconds
	ewma float64    // seconds
	at   time.Time  // of the latest sample; zero before the first
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
// the median of the last three samples: one read that a collection of garbage, ours or
// the kernel's scheduler held up says nothing of its host, and would keep reads from
// it for as long as the peak is remembered.
func (l *latency) observe(s float64, now time.Time) {
	if l.at.IsZero() {
		l.last = [2]float64{s, s}
	}
	m := median(s, l.last[0], l.last[1])
	l.last = [2]float64{s, l.last[0]}
	if m >= l.ewma || l.at.IsZero() {
		l.ewma = m
	} else {
		w := math.Exp(-max(0, now.Sub(l.at).Seconds()) / peakDecay.Seconds())
		l.ewma = l.ewma*w + m*(1-w)
	}
	l.at = now
}

func median(a, b, c float64) float64 { return max(min(a, b), min(max(a, b), c)) }

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
