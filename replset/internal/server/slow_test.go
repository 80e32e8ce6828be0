package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestACommandThatIsSlowedBeyondItsTimeDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 { // Of two timers that fire at once, either may be heard first.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			if err := sleep(ctx, 5*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("a sleep up to the deadline ends with %v", err)
			}
			cancel()
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := sleep(ctx, time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("a sleep of a second ends with %v after %v", err, time.Since(began))
		}
	})
}
