// Package load measures what reads cost at a host.
package load

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// peakDecay is how long a peak in a host's latency is remembered: the time in
// which its weight falls to 1/e. It is short beside the 10 s that is usual for
// calls between services, since a point read takes a millisecond and a game notices a
// second.
const peakDecay = time.Second

// Load is what one host's reads have cost of late. The slave that owns the host
// reports it; the router weighs it. Safe for concurrent use.
type Load struct {
	pending atomic.Int64

	mu   sync.Mutex
	last [2]float64 // mu; the latest samples, in seconds
	ewma float64    // mu; seconds
	at   time.Time  // mu; of the latest sample; zero before the first
}

// Begin counts a read that was given to the host.
func (l *Load) Begin() { l.pending.Add(1) }

// End takes back what Begin counted. Latency is that of a read the host has answered;
// zero or less reports none (the read was cancelled, or never sent).
func (l *Load) End(latency time.Duration, now time.Time) {
	l.pending.Add(-1)
	if latency > 0 {
		l.observe(latency.Seconds(), now)
	}
}

// Pending is the number of reads given to the host and not yet ended.
func (l *Load) Pending() int64 { return l.pending.Load() }

// observe is the peak-sensitive moving average of Finagle's p2cPeakEwma: it
// jumps up to a higher latency at once and comes down slowly. What it is fed is
// the median of the last three samples: one read that a collection of garbage, ours or
// the kernel's scheduler held up says nothing of its host, and would keep reads from
// it for as long as the peak is remembered.
func (l *Load) observe(s float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// Latency is the average at now in seconds. Without news it decays, so that a
// host which nobody picked because of one slow read is tried again.
func (l *Load) Latency(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return 0
	}
	return l.ewma * math.Exp(-max(0, now.Sub(l.at).Seconds())/peakDecay.Seconds())
}
