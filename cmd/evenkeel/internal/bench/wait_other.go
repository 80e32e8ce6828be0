//go:build !linux

package bench

import "time"

// newWaiter returns a function that sleeps until a moment, and one that ends it.
func newWaiter() (wait func(time.Time), end func()) { return sleepUntil, func() {} }
