package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// arrival is a request as an open loop tells of it, since the test's start.
type arrival struct {
	intended, took time.Duration
	err            error
}

// runOpen runs an open loop and returns its requests, by their intended arrivals.
func runOpen(ctx context.Context, arrivals context.Context, rate float64, length time.Duration, wait func(time.Time), one operation) map[time.Duration]arrival {
	var mu sync.Mutex
	start, all := time.Now(), map[time.Duration]arrival{}
	l := &openLoop{rate: rate, wait: wait, done: func(intended, answered time.Time, err error) {
		mu.Lock()
		defer mu.Unlock()
		at := intended.Sub(start)
		all[at] = arrival{at, answered.Sub(intended), err}
	}}
	l.run(ctx, arrivals, length, one)
	return all
}

func TestAnOpenLoopDoesNotWaitForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		all := runOpen(t.Context(), t.Context(), 100, time.Second, sleepUntil, func(context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		})
		if len(all) != 100 || time.Since(start) != 990*time.Millisecond+3*time.Second {
			t.Errorf("%d requests in %v", len(all), time.Since(start))
		}
		for i := range 100 {
			at := time.Duration(i) * 10 * time.Millisecond
			if a, ok := all[at]; !ok || a.took != 3*time.Second {
				t.Errorf("the request of %v: %+v", at, a)
			}
		}
	})
}

func TestALatencyCountsFromTheIntendedArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := true
		// The loop itself is held up for a second at its third request.
		wait := func(until time.Time) {
			sleepUntil(until)
			if late && until.Sub(until.Truncate(time.Second)) == 20*time.Millisecond {
				late = false
				time.Sleep(time.Second)
			}
		}
		all := runOpen(t.Context(), t.Context(), 100, 200*time.Millisecond, wait, func(context.Context) error {
			time.Sleep(time.Millisecond)
			return nil
		})
		if len(all) != 20 {
			t.Fatalf("%d requests", len(all))
		}
		for at, a := range all {
			want := time.Millisecond
			if at >= 20*time.Millisecond { // All that should have arrived meanwhile is charged with the rest of it.
				want += time.Second - (at - 20*time.Millisecond)
			}
			if a.took != want {
				t.Errorf("the request of %v took %v, not %v", at, a.took, want)
			}
		}
	})
}

func TestTheEndOfArrivalsLetsRequestsUnderWayFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrivals, end := context.WithTimeout(t.Context(), 55*time.Millisecond)
		defer end()
		all := runOpen(t.Context(), arrivals, 100, time.Hour, sleepUntil, func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if len(all) != 6 {
			t.Errorf("%d requests", len(all))
		}
		for at, a := range all {
			if a.err != nil || a.took != time.Second {
				t.Errorf("the request of %v: %+v", at, a)
			}
		}
	})
}

func TestAnOpenLoopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 10
		refused := 0
		all := runOpen(t.Context(), t.Context(), maxOpen+more, time.Second, sleepUntil, func(context.Context) error {
			time.Sleep(time.Minute)
			return nil
		})
		for _, a := range all {
			if errors.Is(a.err, errTooManyOpen) {
				refused++
			}
		}
		if refused != more {
			t.Errorf("%d requests were not made, not %d", refused, more)
		}
	})
}

func TestAFailedRequestHasALatencyAndCountsAsAnError(t *testing.T) {
	broken := errors.New("broken")
	n := 0
	times, out, _ := gather(t.Context(), t.Context(), 1, 10*time.Millisecond, func(context.Context) error {
		n++
		return broken
	})
	if _, ok := times.most(); !ok || n != 1 || out.errors != 1 || out.err != broken {
		t.Errorf("%d requests, %+v, has a latency: %v", n, out, ok)
	}
}

func TestAClosedLoopCountsWhatWasAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := closedLoop(t.Context(), 4, 100*time.Millisecond, true, func(context.Context) error {
			time.Sleep(30 * time.Millisecond)
			return nil
		})
		// The fourth request of each caller ends at 120 ms.
		if l.ops != 12 || l.whole != 16 || l.elapsed != 100*time.Millisecond || l.errors != 0 {
			t.Errorf("%+v", l)
		}
		if d, ok := l.latencies.at(50); !ok || d.Round(time.Millisecond) != 30*time.Millisecond {
			t.Errorf("the median is %v", d)
		}
	})
}

func TestAClosedLoopCountsErrorsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		broken := errors.New("broken")
		l := closedLoop(t.Context(), 1, 100*time.Millisecond, false, func(context.Context) error {
			time.Sleep(9 * time.Millisecond)
			if n.Add(1)%2 == 0 {
				return broken
			}
			return nil
		})
		// Every second one fails, and is followed by a pause of 1 ms; the last ends at 104 ms.
		if l.ops != 5 || l.whole != 6 || l.errors != 5 || l.err != broken {
			t.Errorf("%+v", l)
		}
	})
}

func TestWhatTheServerHasMustBeWhatWasAcknowledged(t *testing.T) {
	l := &loop{whole: 100, errors: 3}
	for n, right := range map[int64]bool{99: false, 100: true, 103: true, 104: false} {
		if err := account("inserts", n, nil, l); (err == nil) != right {
			t.Errorf("of 100 acknowledged and 3 failed ones there are %d: %v", n, err)
		}
	}
	if err := account("inserts", 100, errors.New("broken"), l); err == nil {
		t.Error("the error is lost")
	}
}
