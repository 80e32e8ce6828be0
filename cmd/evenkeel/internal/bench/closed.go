package bench

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// operation does one request and returns what went wrong, a wrong answer included.
type operation func(context.Context) error

// errorPause keeps callers whose requests fail at once from using up the machine.
const errorPause = time.Millisecond

// loop is what a closed loop has done. Ops, elapsed, cpu and allocations are those
// between its start and its end; a request that was under way at the end is in whole and
// not in ops.
type loop struct {
	ops, whole  int64
	elapsed     time.Duration
	cpu         time.Duration // of this process
	hasCPU      bool
	allocations uint64
	latencies   *latencies // nil unless asked for
	errors      int64
	err         error
}

// caller is one of many; on a cache line of its own.
type caller struct {
	ops, whole, errors int64
	err                error
	_                  [64]byte
}

// closedLoop lets so many callers do one request after the other for a time.
func closedLoop(ctx context.Context, callers int, length time.Duration, measured bool, one operation) loop {
	l := loop{}
	if measured {
		l.latencies = newLatencies()
	}
	all := make([]caller, callers)
	var over atomic.Bool
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			<-begin
			all[i].call(ctx, &over, l.latencies, one)
		})
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, _ := cpuUsed()
	start := time.Now()
	close(begin)
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	over.Store(true)
	l.elapsed = time.Since(start)
	var now time.Duration
	now, l.hasCPU = cpuUsed()
	l.cpu = now - cpu
	runtime.ReadMemStats(&after)
	l.allocations = after.Mallocs - before.Mallocs
	wg.Wait()
	for i := range all {
		c := &all[i]
		l.ops, l.whole, l.errors = l.ops+c.ops, l.whole+c.whole, l.errors+c.errors
		if c.err != nil {
			l.err = c.err
		}
	}
	return l
}

func (c *caller) call(ctx context.Context, over *atomic.Bool, times *latencies, one operation) {
	for !over.Load() && ctx.Err() == nil {
		start := time.Now()
		err := one(ctx)
		if err != nil {
			c.errors++
			c.err = err
			time.Sleep(errorPause)
			continue
		}
		c.whole++
		if over.Load() {
			return
		}
		c.ops++
		if times != nil {
			times.record(time.Since(start))
		}
	}
}
