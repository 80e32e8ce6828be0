package load

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// costs checks a latency, to the microsecond.
func costs(t *testing.T, l *Load, now time.Time, want time.Duration) {
	t.Helper()
	got := time.Duration(l.Latency(command.Point, now) * float64(time.Second))
	if (got - want).Abs() > time.Microsecond {
		t.Errorf("a read takes %v, want %v", got, want)
	}
}

func TestFailuresInARowCountTwiceAsMuchEachAndASuccessEndsThem(t *testing.T) {
	var l Load
	now := epoch
	fails := func(took time.Duration, want time.Duration) {
		t.Helper()
		l.Begin(command.Point, now)
		now = now.Add(took)
		l.Fail(command.Point, took, now)
		costs(t, &l, now, want)
		now = now.Add(time.Nanosecond)
	}
	for _, want := range []time.Duration{2, 4, 8, 16} {
		fails(time.Microsecond, want*time.Millisecond)
	}
	for range 20 {
		now = now.Add(time.Microsecond)
		l.Begin(command.Point, now)
		l.Fail(command.Point, time.Nanosecond, now)
	}
	costs(t, &l, now, failMost)
	fails(5*time.Second, 5*time.Second)
	l.Begin(command.Point, now)
	l.End(command.Point, 3*time.Millisecond, now)
	costs(t, &l, now, 3*time.Millisecond)
	fails(time.Microsecond, 6*time.Millisecond) // As long as reads take, twice.
}

func TestFailuresThatWereUnderWayTogetherAreOne(t *testing.T) {
	var l Load
	for range 10 { // A connection breaks, or a pool is cleared.
		l.Begin(command.Point, epoch)
	}
	for range 10 {
		l.Fail(command.Point, time.Millisecond, epoch.Add(time.Millisecond))
	}
	costs(t, &l, epoch.Add(time.Millisecond), 2*time.Millisecond)
}

func TestALatencyFadesWhileNoReadsAreThereAndNotBelowAMillisecondWhileTheyAre(t *testing.T) {
	var l Load
	l.Begin(command.Point, epoch)
	l.End(command.Point, 50*time.Millisecond, epoch)
	costs(t, &l, epoch, 50*time.Millisecond)
	now := epoch.Add(peakDecay)
	faded := time.Duration(50e6 * math.Exp(-1)) // nanoseconds
	costs(t, &l, now, faded)
	l.Begin(command.Point, now)
	l.Begin(command.Range, now) // Each class for itself.
	now = now.Add(time.Minute)
	costs(t, &l, now, faded)
	l.Cancel(command.Point, now)
	costs(t, &l, now, faded)
	now = now.Add(time.Minute)
	costs(t, &l, now, 0)
	l.Begin(command.Point, now)
	costs(t, &l, now, leastKnown)
	l.Begin(command.Pinned, now) // It waits for its time, and says nothing.
	if n := l.Pending(); n != 3 {
		t.Errorf("%d reads are pending, want 3", n)
	}
}
