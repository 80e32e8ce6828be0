package master

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// The Config fields that refusals name.
const (
	limitWrites = "WriteQueue"
	limitBytes  = "WriteQueueBytes"
)

// admission counts the writes that were accepted and not yet answered, and
// what they hold in memory.
type admission struct {
	maxWrites, maxBytes int64
	writes, bytes       overload

	mu        sync.Mutex
	nowWrites int64
	nowBytes  int64
}

func newAdmission(cfg Config) *admission {
	a := &admission{maxWrites: int64(cfg.WriteQueue), maxBytes: int64(cfg.WriteQueueBytes)}
	a.writes = overload{limit: limitWrites, max: a.maxWrites, emit: cfg.Emit}
	a.bytes = overload{limit: limitBytes, max: a.maxBytes, emit: cfg.Emit}
	return a
}

// reserve takes a place in the queue. It comes before the encoding, so that a
// flood costs a counter each and no encoding.
func (a *admission) reserve() error {
	a.mu.Lock()
	pending := a.nowWrites
	if pending < a.maxWrites {
		a.nowWrites++
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	a.writes.refused()
	return &messages.OverloadedError{Limit: limitWrites, Max: a.maxWrites, Pending: pending}
}

// hold adds the bytes of a write that has its place.
func (a *admission) hold(n int64) error {
	if n > a.maxBytes {
		return &messages.InvalidError{Field: "Operation", Err: fmt.Errorf(
			"it holds %d bytes, which is more than the whole queue may (%s=%d); split it, or raise the limit", n, limitBytes, a.maxBytes)}
	}
	a.mu.Lock()
	pending := a.nowBytes
	if pending+n <= a.maxBytes {
		a.nowBytes += n
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	a.bytes.refused()
	return &messages.OverloadedError{Limit: limitBytes, Max: a.maxBytes, Pending: pending}
}

// release gives back a place and its bytes.
func (a *admission) release(n int64) {
	a.mu.Lock()
	a.nowWrites--
	a.nowBytes -= n
	a.mu.Unlock()
}

func (a *admission) pending() (writes, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nowWrites, a.nowBytes
}

func (a *admission) stop() {
	a.writes.stop()
	a.bytes.stop()
}

// overload turns refusals into events: the first at once, then one a second for
// as long as there are more.
type overload struct {
	limit string
	max   int64
	emit  func(messages.Event)

	mu      sync.Mutex
	count   int64
	timer   *time.Timer // armed while the last event is less than a second old
	stopped bool
}

func (o *overload) refused() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	if o.timer == nil && !o.stopped {
		o.publish()
	}
}

// publish emits and arms the timer. The caller must hold mu, and count is not zero.
func (o *overload) publish() {
	o.emit(messages.Overloaded{Limit: o.limit, Max: o.max, Refused: o.count})
	o.count = 0
	o.timer = time.AfterFunc(time.Second, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.timer = nil
		if o.count > 0 && !o.stopped {
			o.publish()
		}
	})
}

func (o *overload) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	if o.timer != nil {
		o.timer.Stop()
	}
}

// isRefusal reports whether a write was answered at the door for lack of room.
func isRefusal(err error) bool { return errors.Is(err, messages.ErrOverloaded) }
