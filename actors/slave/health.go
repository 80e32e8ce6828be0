package slave

import (
	"sync"
	"time"
)

// health watches what reads see of a host, whatever its heartbeats say. A host
// that gives no reply at all for a time while several reads wait for it hangs; while
// fewer wait it is suspected, since one slow query alone is no news.
//
// Silence is counted while reads are on the wire, and goes on where it stopped when
// they gave up in between: callers who are less patient than the limit must not
// keep a silent host in.
//
// A range may honestly take long, however many of them wait: while no point read has waited for as
// long, the host is suspected only.
//
// While no other host answers either, the silence may be this process's own, which was
// given no processor for a while: then the host is suspected only. Since replies of one
// host may be read a little before those of the next, others must have answered at two
// looks in a row.
type health struct {
	reads  int
	after  time.Duration
	others func() bool                 // whether other hosts answer now
	hung   func(suspect, several bool) // called from a timer's goroutine

	mu        sync.Mutex
	flying    int           // mu
	reply     time.Time     // mu; when the present silence began
	silent    time.Duration // mu; the silence when flying last left for zero
	reached   time.Time     // mu; when flying last reached reads
	points    int           // mu; those of flying that are point reads
	pointed   time.Time     // mu; when points last left zero
	suspected time.Time     // mu; when the last suspicion was told
	compared  bool          // mu; others answered at the last look, and this host has not since
	timer     *time.Timer   // mu; armed while flying > 0
	stopped   bool          // mu
}

func newHealth(reads int, after time.Duration, others func() bool, hung func(suspect, several bool)) *health {
	return &health{reads: reads, after: after, others: others, hung: hung}
}

// sent counts a read that goes on the wire.
func (h *health) sent(now time.Time, point bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if point {
		if h.points++; h.points == 1 {
			h.pointed = now
		}
	}
	h.flying++
	if h.flying == 1 {
		h.reply = now.Add(-h.silent)
	}
	if h.flying == h.reads {
		h.reached = now
	}
	if h.timer == nil && !h.stopped {
		h.timer = time.AfterFunc(h.after-h.after/4, h.look)
	}
}

// answered counts a read that came back, with a reply (an error of the server's is
// one) or without.
func (h *health) answered(now time.Time, point, reply bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if point {
		h.points--
	}
	h.flying--
	if reply {
		h.reply, h.compared = now, false
	}
	if h.flying == 0 {
		h.silent = now.Sub(h.reply)
	}
}

// look runs while reads are on the wire: a quarter of the limit before it, and then every
// quarter.
func (h *health) look() {
	now, others := time.Now(), h.others()
	h.mu.Lock()
	if h.stopped || h.flying <= 0 {
		h.timer = nil
		h.mu.Unlock()
		return
	}
	silent := now.Sub(h.reply)
	several := h.flying >= h.reads && now.Sub(h.reached) >= h.after && silent >= h.after
	many := several && h.points > 0 && now.Sub(h.pointed) >= h.after && h.compared && others
	h.compared = others && silent >= h.after-h.after/4
	// Told again while the silence lasts: the host may have answered a ping at its
	// beginning, in the middle of one slow query, and hang since.
	few := !many && silent >= h.after && now.Sub(h.suspected) >= h.after
	if few {
		h.suspected = now
	}
	h.timer = time.AfterFunc(max(h.after-h.after/4-silent, h.after/4), h.look)
	h.mu.Unlock()
	if many || few {
		h.hung(!many, several)
	}
}

// reset starts anew after an ejection.
func (h *health) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.reply, h.reached, h.pointed, h.silent = now, now, now, 0
}

func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	if h.timer != nil {
		h.timer.Stop()
	}
}
