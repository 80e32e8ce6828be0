// Package slave owns one configured host of the replica set.
package slave

import (
	"math/rand/v2"
	"time"
)

// The default waits before a host is tried again.
const (
	// DefaultBackoffBase is the upper bound of the first wait.
	DefaultBackoffBase = 50 * time.Millisecond
	// DefaultBackoffMax bounds the wait for a host that does not answer, or
	// answers as somebody else: a host back from maintenance is tried at most
	// this much later.
	DefaultBackoffMax = 500 * time.Millisecond
	// DefaultLoginBackoffMax bounds the wait after a refused login. It is longer,
	// since each attempt costs the server a key derivation and may count towards
	// a lock-out. With the attempt itself, a login that is good again is noticed
	// within ten seconds.
	DefaultLoginBackoffMax = 9 * time.Second
)

// backoff says how long to wait before the next attempt: exponential, with full
// jitter (uniform between nothing and the bound), so that hundreds of processes that
// lost a host in one moment do not come back to it in one moment.
type backoff struct {
	base, max time.Duration
	rand      func(n int64) int64 // uniform in [0, n); rand.Int64N but in tests
	failures  int
}

func newBackoff(base, limit time.Duration) backoff {
	return backoff{base: base, max: limit, rand: rand.Int64N}
}

// next counts a failure and returns the wait before the attempt after it.
func (b *backoff) next() time.Duration {
	bound := b.bound()
	b.failures++
	if bound <= 0 {
		return 0
	}
	return time.Duration(b.rand(int64(bound) + 1))
}

// bound is the longest that the next wait may be.
func (b *backoff) bound() time.Duration {
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

// reset forgets the failures.
func (b *backoff) reset() { b.failures = 0 }
