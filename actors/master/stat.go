package master

import (
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// Stat is what a master has done and holds, at one moment.
type Stat struct {
	// Queued is how many writes wait, OnWire how many are sent and not yet answered
	// for; Bytes is what all of them hold.
	Queued, OnWire int
	Bytes          int64
	// HeldFor is for how long writes have waited for a primary, or for one that lets the
	// master log in; 0 when none does.
	HeldFor time.Duration
	// Lanes has an element for each lane.
	Lanes []LaneStat

	// Accepted writes were answered with one of the outcomes, or are still here.
	Accepted, Applied, NotApplied, Partial, Unknown int64
	// Settled outcomes were found out by the fence and a majority read.
	Settled int64
	// Overloaded and Invalid writes were refused at the door; Refused counts
	// these and all others that were.
	Refused, Overloaded, Invalid int64
	// Unheard writes failed and had no sender to tell.
	Unheard int64
	// Batches went over the wire with Batched writes.
	Batches, Batched int64
	// Panics is how often a lane's goroutine panicked.
	Panics int64
}

// LaneStat is what one lane holds.
type LaneStat struct {
	Queued, OnWire int
	// HeadOfLine is for how long the first in the queue has waited.
	HeadOfLine time.Duration
	// WireFor is for how long the batch on the wire has been there.
	WireFor time.Duration
}

// counts are the running totals.
type counts struct {
	accepted, refused, overloaded, invalid, unheard atomic.Int64
	outcomes                                        [4]atomic.Int64 // by messages.Outcome
	settled, batches, batched, panics               atomic.Int64
}

func (c *counts) count(rep *messages.WriteReply) {
	if int(rep.Outcome) < len(c.outcomes) {
		c.outcomes[rep.Outcome].Add(1)
	}
	if rep.Settled {
		c.settled.Add(1)
	}
}

func (c *counts) refuse(err error) {
	c.refused.Add(1)
	switch {
	case isRefusal(err):
		c.overloaded.Add(1)
	case isInvalid(err):
		c.invalid.Add(1)
	}
}

// Stat returns a snapshot.
func (m *Master) Stat() Stat {
	now := time.Now()
	s := Stat{
		Accepted: m.counts.accepted.Load(), Refused: m.counts.refused.Load(),
		Overloaded: m.counts.overloaded.Load(), Invalid: m.counts.invalid.Load(), Unheard: m.counts.unheard.Load(),
		Applied: m.counts.outcomes[messages.Applied].Load(), NotApplied: m.counts.outcomes[messages.NotApplied].Load(),
		Partial: m.counts.outcomes[messages.Partial].Load(), Unknown: m.counts.outcomes[messages.Unknown].Load(),
		Settled: m.counts.settled.Load(), Batches: m.counts.batches.Load(), Batched: m.counts.batched.Load(),
		Panics: m.counts.panics.Load(),
	}
	_, s.Bytes = m.admission.pending()
	if since := m.hold.heldSince(); !since.IsZero() {
		s.HeldFor = now.Sub(since)
	}
	for _, l := range m.lanes {
		ls := l.stat(now)
		s.Queued += ls.Queued
		s.OnWire += ls.OnWire
		s.Lanes = append(s.Lanes, ls)
	}
	return s
}
