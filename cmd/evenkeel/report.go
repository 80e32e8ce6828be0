package main

import (
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// report shows the demo as it goes on. Its methods are called by one goroutine.
type report interface {
	// second shows a second's table.
	second(table)
	// event shows an event of the app's, that much after the start.
	event(at time.Duration, e messages.Event)
	// fault announces what is done to the set, or undone.
	fault(at time.Duration, a announcement)
	// verdict is called once, at the end.
	verdict(verdict)
}

// table is one second.
type table struct {
	at, length   time.Duration // length is 0 for a demo without an end
	rows         []row
	reads, saves rate
	openSaves    int64
	failed       int64 // reads, ever
}

// row is one host's second.
type row struct {
	host, state, role string
	reads             rate
	share             float64 // of all reads of the second, 0 to 1
}

func newTable(at, length time.Duration, b *board, s second, openSaves int64) table {
	t := table{at: at, length: length, reads: s.reads, saves: s.saves, openSaves: openSaves, failed: s.failed}
	for _, name := range b.order {
		h := b.hosts[name]
		r := row{host: name, state: h.state, role: string(h.role), reads: s.hosts[name]}
		if s.reads.count > 0 {
			r.share = float64(r.reads.count) / float64(s.reads.count)
		}
		t.rows = append(t.rows, r)
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
