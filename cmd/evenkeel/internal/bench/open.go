package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// maxOpen is how many requests of an open loop may be unanswered at one time. It is far
// above what either side is offered while it works.
const maxOpen = 20_000

// errTooManyOpen is the error of a request that an open loop has not made.
var errTooManyOpen = errors.New("it was not sent: too many earlier requests had no answer yet")

// openLoop makes requests at a fixed rate, whatever becomes of the earlier ones.
type openLoop struct {
	rate float64 // arrivals a second
	wait func(until time.Time)
	// done is told of each request: when it was to arrive, when it was answered and
	// how. It is called from many goroutines.
	done func(intended, answered time.Time, err error)

	// late is how far the loop itself was behind its plan at the worst, which is in the
	// latencies too. To be read when run has returned.
	late time.Duration
}

// sleepUntil is the wait of Go's own timers.
func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// run lets requests arrive from now on for length, or until arrivals or ctx ends, and
// returns when all are answered. The end of ctx calls off those that are under way.
func (l *openLoop) run(ctx, arrivals context.Context, length time.Duration, one operation) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var open atomic.Int64
	start := time.Now()
	for i := 0; ; i++ {
		// Reckoned from the start each time, so that nothing adds up.
		after := time.Duration(float64(i) / l.rate * float64(time.Second))
		if after >= length {
			return
		}
		intended := start.Add(after)
		if time.Until(intended) > 0 {
			l.wait(intended)
		}
		if ctx.Err() != nil || arrivals.Err() != nil {
			return
		}
		l.late = max(l.late, time.Since(intended))
		if open.Load() >= maxOpen {
			l.done(intended, time.Now(), errTooManyOpen)
			continue
		}
		open.Add(1)
		wg.Go(func() {
			defer open.Add(-1)
			err := one(ctx)
			l.done(intended, time.Now(), err)
		})
	}
}

// gather makes requests at a rate for a time, or until arrivals ends, and returns the latencies of all that were
// answered, from their intended arrivals on. One that failed has its latency too: a side
// must not look faster for giving up. Also, if any, are told of each.
func gather(ctx, arrivals context.Context, rate float64, length time.Duration, one operation, also ...func(intended, answered time.Time)) (*latencies, *outcome, time.Duration) {
	times, failures := newLatencies(), &outcome{}
	var mu sync.Mutex
	wait, end := newWaiter()
	defer end()
	l := &openLoop{rate: rate, wait: wait, done: func(intended, answered time.Time, err error) {
		times.record(answered.Sub(intended))
		for _, tell := range also {
			tell(intended, answered)
		}
		if err != nil {
			mu.Lock()
			failures.failed(1, err)
			mu.Unlock()
		}
	}}
	l.run(ctx, arrivals, length, one)
	return times, failures, l.late
}
