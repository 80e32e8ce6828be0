package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The latencies that a histogram can hold, in microseconds, and its precision in
// significant figures.
const (
	lowestMicros   = 1
	highestMicros  = int64(time.Minute / time.Microsecond)
	latencyFigures = 3
)

// latencies is a histogram of one second. What is out of its range counts as the
// nearest value in it. It is not safe for concurrent use.
type latencies struct{ h *hdrhistogram.Histogram }

func newLatencies() latencies {
	return latencies{hdrhistogram.New(lowestMicros, highestMicros, latencyFigures)}
}

func (l latencies) record(d time.Duration) {
	// The value is in the range, so that there is no error.
	_ = l.h.RecordValue(min(max(d.Microseconds(), lowestMicros), highestMicros))
}

// rate is what one second's histogram says.
type rate struct {
	count    int64
	p50, p99 time.Duration
}

// take reads the histogram and empties it.
func (l latencies) take() rate {
	r := rate{
		count: l.h.TotalCount(),
		p50:   time.Duration(l.h.ValueAtQuantile(50)) * time.Microsecond,
		p99:   time.Duration(l.h.ValueAtQuantile(99)) * time.Microsecond,
	}
	l.h.Reset()
	return r
}

// meter counts what the players see: the reads that each host answered, and the
// saves. Safe for concurrent use.
type meter struct {
	mu      sync.Mutex
	hosts   map[string]*hostMeter // mu
	reads   latencies             // mu; of all hosts
	saves   latencies             // mu
	failed  int64                 // mu; reads, ever
	lastErr error                 // mu; of the latest read that failed
}

type hostMeter struct {
	second latencies
	slice  int64 // reads since the last slice was cut
}

func newMeter() *meter {
	return &meter{hosts: map[string]*hostMeter{}, reads: newLatencies(), saves: newLatencies()}
}

// read counts a read that a host answered.
func (m *meter) read(host string, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[host]
	if h == nil {
		h = &hostMeter{second: newLatencies()}
		m.hosts[host] = h
	}
	h.slice++
	h.second.record(took)
	m.reads.record(took)
}

// readFailed counts a read that was answered with an error.
func (m *meter) readFailed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed++
	m.lastErr = err
}

// save counts an acknowledged save.
func (m *meter) save(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves.record(took)
}

// second is what was counted since it was last called.
type second struct {
	hosts        map[string]rate
	reads, saves rate
	failed       int64 // ever
}

func (m *meter) second() second {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := second{hosts: make(map[string]rate, len(m.hosts)), reads: m.reads.take(), saves: m.saves.take(), failed: m.failed}
	for name, h := range m.hosts {
		s.hosts[name] = h.second.take()
	}
	return s
}

// slice is how many reads each host answered since slice was last called.
func (m *meter) slice() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := make(map[string]int64, len(m.hosts))
	for name, h := range m.hosts {
		s[name], h.slice = h.slice, 0
	}
	return s
}

// failures is how many reads failed, and the latest error.
func (m *meter) failures() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed, m.lastErr
}
