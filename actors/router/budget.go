package router

import (
	"sync"
	"time"
)

// budget bounds retries to a part of the traffic: each read earns a fraction of a
// retry, and each second some more, so that a failing set is not asked several times
// as much as a healthy one. Its shape and numbers are those of Finagle's RetryBudget
// (20 % and 10 a second); what is earned is kept up to a number.
type budget struct {
	ratio, perSec, capacity float64

	mu     sync.Mutex
	tokens float64   // mu
	at     time.Time // mu
}

func newBudget(now time.Time) *budget {
	return &budget{ratio: DefaultRetryRatio, perSec: DefaultRetriesPerSec, capacity: defaultBudgetCapacity, tokens: defaultBudgetCapacity, at: now}
}

// earn counts a read.
func (b *budget) earn() {
	b.mu.Lock()
	b.tokens = min(b.capacity, b.tokens+b.ratio)
	b.mu.Unlock()
}

// spend takes a part of a retry, and reports whether there was so much.
func (b *budget) spend(now time.Time, part float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.capacity, b.tokens+d.Seconds()*b.perSec)
		b.at = now
	}
	if b.tokens < part {
		return false
	}
	b.tokens -= part
	return true
}

// refund gives back what was spent on something that was not sent.
func (b *budget) refund() {
	b.mu.Lock()
	b.tokens = min(b.capacity, b.tokens+1)
	b.mu.Unlock()
}
