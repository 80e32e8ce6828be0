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
	nowWrites quota
	nowBytes  quota
}

func newAdmission(cfg Config) *admission {
	a := &admission{maxWrites: int64(cfg.WriteQueue), maxBytes: int64(cfg.WriteQueueBytes)}
	a.nowWrites, a.nowBytes = newQuota(a.maxWrites, cfg.WriteLanes), newQuota(a.maxBytes, cfg.WriteLanes)
	a.writes = refusals.New(cfg.Emit, "", limitWrites, a.maxWrites)
	a.bytes = refusals.New(cfg.Emit, "", limitBytes, a.maxBytes)
	return a
}

// reserve takes a place in a lane's queue. It comes before the encoding, so that a
// flood costs a counter each and no encoding.
func (a *admission) reserve(lane int) error {
	a.mu.Lock()
	pending := a.nowWrites.total
	ok := a.nowWrites.take(lane, 1)
	a.mu.Unlock()
	if ok {
		return nil
	}
	a.writes.Refused()
	return &messages.OverloadedError{Limit: limitWrites, Max: a.maxWrites, Pending: pending}
}

// hold adds the bytes of a write that has its place.
func (a *admission) hold(lane int, n int64) error {
	if most := a.nowBytes.most(); n > most {
		return &messages.InvalidError{Field: "Operation", Err: fmt.Errorf(
			"it holds %d bytes, which is more than a whole queue may (%d of %s=%d); split it, or raise the limit", n, most, limitBytes, a.maxBytes)}
	}
	a.mu.Lock()
	pending := a.nowBytes.total
	ok := a.nowBytes.take(lane, n)
	a.mu.Unlock()
	if ok {
		return nil
	}
	a.bytes.Refused()
	return &messages.OverloadedError{Limit: limitBytes, Max: a.maxBytes, Pending: pending}
}

// release gives back a place and its bytes.
func (a *admission) release(lane int, n int64) {
	a.mu.Lock()
	a.nowWrites.give(lane, 1)
	a.nowBytes.give(lane, n)
	a.mu.Unlock()
}

func (a *admission) pending() (writes, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nowWrites.total, a.nowBytes.total
}

func (a *admission) stop() {
	a.writes.Stop()
	a.bytes.Stop()
}

// isRefusal reports whether a write was answered at the door for lack of room.
func isRefusal(err error) bool { return errors.Is(err, messages.ErrOverloaded) }

// quota divides a limit among the lanes: one half of it in equal parts, each lane's
// own, and the other half is for whichever lane needs it. A lane that is stuck fills up,
// and leaves the others theirs.
type quota struct {
	own, common int64 // the limits
	used        []int64
	lent        int64 // of the common half
	total       int64
}

func newQuota(limit int64, lanes int) quota {
	own := limit / int64(2*lanes)
	return quota{own: own, common: limit - own*int64(lanes), used: make([]int64, lanes)}
}

// most is what a lane can have when the others lend nothing.
func (q *quota) most() int64 { return q.own + q.common }

func (q *quota) take(lane int, n int64) bool {
	lent := max(0, q.used[lane]+n-q.own) - max(0, q.used[lane]-q.own)
	if q.lent+lent > q.common {
		return false
	}
	q.lent += lent
	q.used[lane] += n
	q.total += n
	return true
}

func (q *quota) give(lane int, n int64) {
	q.lent -= max(0, q.used[lane]-q.own) - max(0, q.used[lane]-n-q.own)
	q.used[lane] -= n
	q.total -= n
}
