package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The latencies that a histogram can hold, and its precision in significant figures.
const (
	lowest  = int64(time.Microsecond)
	highest = int64(2 * time.Minute)
	figures = 3
)

// latencies is a histogram. What is out of its range counts as the nearest value in
// it. Safe for concurrent use.
type latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram // mu
}

func newLatencies() *latencies { return &latencies{h: hdrhistogram.New(lowest, highest, figures)} }

func (l *latencies) record(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The value is in the range, so that there is no error.
	_ = l.h.RecordValue(min(max(int64(d), lowest), highest))
}

// at is the latency that a part of all, in percent, does not exceed; false when there
// are none.
func (l *latencies) at(percent float64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h.TotalCount() == 0 {
		return 0, false
	}
	return time.Duration(l.h.ValueAtPercentile(percent)), true
}

// most is the longest latency.
func (l *latencies) most() (time.Duration, bool) { return l.at(100) }
