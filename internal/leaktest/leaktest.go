// Package leaktest looks for goroutines that tests leave behind, with more patience than goleak has: half a second
// is not enough for those that are about to end on a busy machine. It is for tests only, and for such
// as have no time-out below its patience that would end what they have forgotten.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience is how long Find waits.
const Patience = 30 * time.Second

// Main runs a package's tests, and fails if they leave goroutines behind.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Find waits until there are no goroutines but those that the options except. The error has those that
// there are.
func Find(opts ...goleak.Option) error {
	for end := time.Now().Add(Patience); ; {
		err := goleak.Find(opts...)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
