package backoff

import (
	"testing"
	"time"
)

func TestBackoffDoublesUpToItsLimitAndStaysThere(t *testing.T) {
	b := New(50*time.Millisecond, 500*time.Millisecond)
	b.rand = func(n int64) int64 { return n - 1 } // the longest wait there is
	for i, want := range []time.Duration{50, 100, 200, 400, 500, 500, 500} {
		if got := b.Next(); got != want*time.Millisecond {
			t.Errorf("wait %d is %v, want %v", i, got, want*time.Millisecond)
		}
	}
	b.failures = 1 << 40
	if got := b.Next(); got != 500*time.Millisecond {
		t.Errorf("after very many failures the wait is %v", got)
	}
	b.Reset()
	if got := b.Next(); got != 50*time.Millisecond {
		t.Errorf("after a reset the wait is %v", got)
	}
}

func TestBackoffIsJitteredOverItsWholeRange(t *testing.T) {
	b := New(time.Second, time.Second)
	var low, high int
	for range 1000 {
		d := b.Next()
		if d < 0 || d > time.Second {
			t.Fatalf("wait %v is out of range", d)
		}
		if d < time.Second/4 {
			low++
		}
		if d > 3*time.Second/4 {
			high++
		}
	}
	// Binomial with p = 1/4: 150 is more than seven standard deviations away.
	if low < 150 || high < 150 {
		t.Errorf("of 1000 waits %d are in the lowest quarter and %d in the highest", low, high)
	}
}

func TestABackoffOfZeroDoesNotWait(t *testing.T) {
	b := New(0, 0)
	if d := b.Next(); d != 0 {
		t.Errorf("wait %v", d)
	}
}
