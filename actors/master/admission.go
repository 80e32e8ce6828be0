package master

import (
	"errors"
	"fmt"
	"sync"

	"github.com/evenkeel/evenkeel/internal/refusals"
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
	writes, bytes       *refusals.Teller

	mu        sync.Mutex
	nowWrites int64
	nowBytes  int64
}

func newAdmission(cfg Config) *admission {
	a := &admission{maxWrites: int64(cfg.WriteQueue), maxBytes: int64(cfg.WriteQueueBytes)}
	a.writes = refusals.New(cfg.Emit, "", limitWrites, a.maxWrites)
	a.bytes = refusals.New(cfg.Emit, "", limitBytes, a.maxBytes)
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
	a.writes.Refused()
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
	a.bytes.Refused()
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
	a.writes.Stop()
	a.bytes.Stop()
}

// isRefusal reports whether a write was answered at the door for lack of room.
func isRefusal(err error) bool { return errors.Is(err, messages.ErrOverloaded) }
