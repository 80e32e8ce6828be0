package repl

import (
	"cmp"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Compare orders op times: by term first, since an entry of a later term
// supersedes whatever a deposed primary may still have written, and within a
// term by timestamp.
func (o OpTime) Compare(other OpTime) int {
	if c := cmp.Compare(o.Term, other.Term); c != 0 {
		return c
	}
	return o.TS.Compare(other.TS)
}

// Before reports whether o comes before other.
func (o OpTime) Before(other OpTime) bool { return o.Compare(other) < 0 }

// IsZero reports whether o is no op time at all.
func (o OpTime) IsZero() bool { return o == OpTime{} }

func earlier(a, b OpTime) OpTime {
	if b.Before(a) {
		return b
	}
	return a
}

// logicalClock is the newest cluster time a member has seen: seconds in the upper
// half, a counter within the second in the lower one.
type logicalClock struct{ now atomic.Uint64 }

func (c *logicalClock) read() bson.Timestamp {
	v := c.now.Load()
	return bson.Timestamp{T: uint32(v >> 32), I: uint32(v)}
}

// advance takes over a time that someone else has seen.
func (c *logicalClock) advance(ts bson.Timestamp) {
	seen := uint64(ts.T)<<32 | uint64(ts.I)
	for {
		v := c.now.Load()
		if seen <= v || c.now.CompareAndSwap(v, seen) {
			return
		}
	}
}

// tick returns a time later than all that were seen, and not before the wall
// clock's.
func (c *logicalClock) tick(wall time.Time) bson.Timestamp {
	for {
		v := c.now.Load()
		next := max(v, uint64(wall.Unix())<<32) + 1
		if c.now.CompareAndSwap(v, next) {
			return bson.Timestamp{T: uint32(next >> 32), I: uint32(next)}
		}
	}
}
