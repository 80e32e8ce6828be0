// Package slave owns one configured host of the replica set.
package slave

import "github.com/evenkeel/evenkeel/internal/backoff"

// The default waits before a host is tried again.
const (
	// DefaultBackoffBase is the upper bound of the first wait.
	DefaultBackoffBase = backoff.Base
	// DefaultBackoffMax bounds the wait for a host that does not answer, or
	// answers as somebody else: a host back from maintenance is tried at most
	// this much later.
	DefaultBackoffMax = backoff.Limit
	// DefaultLoginBackoffMax bounds the wait after a refused login.
	DefaultLoginBackoffMax = backoff.LoginLimit
)
