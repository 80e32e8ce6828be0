package master

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// startGrace is how long after the start it is no news that there is no primary yet: the first
// connections are being made.
const startGrace = time.Second

// hold is the gate in front of the lanes: open while there is a connection and a
// known primary that lets us in. Writes that are not on the wire wait behind it, in order.
type hold struct {
	emit  func(messages.Event)
	since time.Time // when the master was made

	mu        sync.Mutex
	opened    bool        // it has been open before
	grace     *time.Timer // nil but for a hold of the start that is no news yet
	stopped   bool
	connected bool
	primary   string
	// refused is why the primary does not let us in, nil while it does or nobody knows.
	refused *messages.LoginError
	// began is when the first write had to wait behind the closed gate; zero
	// while none had to.
	began         time.Time
	held, expired int
	announced     bool   // the present hold was told
	told          string // the reason that it was last told with
}

// open reports whether lanes may send.
func (h *hold) open() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.isOpen()
}

func (h *hold) isOpen() bool { return h.connected && h.primary != "" && h.refused == nil }

// refusal is why the primary does not let us in, nil for no such reason.
func (h *hold) refusal() *messages.LoginError {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

// set changes what is known of the connection and the primary, and reports whether
// that opened or closed the gate. A hold that goes on for another reason is told anew.
func (h *hold) set(change func(*hold)) (opened, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.isOpen()
	change(h)
	is := h.isOpen()
	h.opened = h.opened || is
	if !is && !h.began.IsZero() && !(h.announced && h.reason() == h.told) {
		h.announce()
	}
	return is && !was, was && !is
}

// reason is why the gate is closed, "" for want of a primary. h.mu must be held.
func (h *hold) reason() string {
	if h.refused == nil {
		return ""
	}
	return h.refused.Error()
}

// announce tells of the present hold, or lets it be told when the grace of the start is over.
// h.mu must be held.
func (h *hold) announce() {
	rest := startGrace - time.Since(h.since)
	if h.opened || h.refused != nil || rest <= 0 {
		h.tell()
	} else if h.grace == nil && !h.stopped {
		h.grace = time.AfterFunc(rest, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.stopped && !h.began.IsZero() && !h.announced && !h.isOpen() {
				h.tell()
			}
		})
	}
}

// tell emits the event of a hold. h.mu must be held.
func (h *hold) tell() {
	h.announced, h.told = true, h.reason()
	h.emit(messages.WritesHeld{Waiting: max(h.held-h.expired, 0), Reason: h.told})
}

// stop ends it: what is held at the start is not told any more.
func (h *hold) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	if h.grace != nil {
		h.grace.Stop()
	}
}

// wait notes that n more writes wait behind the gate. It does nothing when the
// gate is open by now: a sender finds the gate closed, marks its write as held in the
// lane, and gets here only after the gate has opened and the lane was told; an
// event now would announce a hold that nothing ends.
func (h *hold) wait(n int) {
	if n == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isOpen() {
		return
	}
	h.held += n
	if h.began.IsZero() {
		h.began = time.Now()
		h.announce()
	}
}

// expire notes that a held write passed its deadline. That is news, also at the start.
func (h *hold) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		return
	}
	if h.expired++; !h.announced {
		h.tell()
	}
}

// resume notes that the gate is open again and how many held writes go out now.
func (h *hold) resume(sent int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() || !h.isOpen() {
		return // Nobody waited, or the primary is gone again: the same hold goes on.
	}
	if h.announced {
		h.emit(messages.WritesResumed{
			Held: max(h.held, sent+h.expired), Sent: sent, Expired: h.expired, After: time.Since(h.began),
		})
	}
	h.began, h.held, h.expired, h.announced = time.Time{}, 0, 0, false
}

// heldSince returns when the present hold began, zero when nothing is held.
func (h *hold) heldSince() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.began
}
