// Package backoff says how long to wait before the next attempt.
package backoff

import (
	"math/rand/v2"
	"time"
)

// The waits of everything that connects.
const (
	// Base bounds the first wait.
	Base = 50 * time.Millisecond
	// Limit bounds all waits for a host that does not answer, or answers as somebody
	// else.
	Limit = 500 * time.Millisecond
	// LoginLimit bounds the waits after refused logins. They are longer, since each attempt
	// costs the server a key derivation and may count towards a lock-out. With the attempt
	// itself, a login that is good again is noticed within ten seconds.
	LoginLimit = 9 * time.Second
)

// Backoff says how long to wait before the next attempt: exponential, with full
// jitter (uniform between nothing and the bound), so that hundreds of processes that
// lost a host in one moment do not come back to it in one moment.
type Backoff struct {
	base, max time.Duration
	rand      func(n int64) int64 // uniform in [0, n); rand.Int64N but in tests
	failures  int
}

// New returns a Backoff whose waits are bounded by base at first, and by limit in the end.
func New(base, limit time.Duration) Backoff {
	return Backoff{base: base, max: limit, rand: rand.Int64N}
}

// Next counts a failure and returns the wait before the attempt after it.
func (b *Backoff) Next() time.Duration {
	bound := b.bound()
	b.failures++
	if bound <= 0 {
		return 0
	}
	return time.Duration(b.rand(int64(bound) + 1))
}

// bound is the longest that the next wait may be.
func (b *Backoff) bound() time.Duration {
	bound := b.base
	for range b.failures {
		// Compared before doubling: no overflow, and no more rounds than it takes
		// to reach the limit, also after a month of failures.
		if bound >= b.max/2 {
			return b.max
		}
		bound *= 2
	}
	return min(bound, b.max)
}

// Reset forgets the failures.
func (b *Backoff) Reset() { b.failures = 0 }
