package supervisor

import (
	"slices"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// RecorderSize is how many transitions the flight recorder holds.
const RecorderSize = 64

// alike is among how many of a host's last transitions the same is looked for.
const alike = 4

// Recorder is the flight recorder: the last transitions, whatever subscribers there are. What
// a host does again and again, such as being dialled in vain, is one entry that counts, or an hour of that
// would leave no room for what had led to it. Safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	list   []messages.Transition // mu; oldest first
	recent []messages.Transition // mu; what Recent has returned; nil when there is more since
}

// Note records a transition; host is "" for what concerns the whole set.
func (r *Recorder) Note(host, what string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent = nil
	for i, n := len(r.list)-1, 0; i >= 0 && n < alike; i-- {
		t := &r.list[i]
		if t.Host != host {
			continue
		}
		if t.What == what {
			t.Again, t.Last = t.Again+1, now
			return
		}
		n++
	}
	if len(r.list) == RecorderSize {
		copy(r.list, r.list[1:])
		r.list = r.list[:RecorderSize-1]
	}
	r.list = append(r.list, messages.Transition{Time: now, Host: host, What: what})
}

// Recent returns the last transitions, oldest first. Callers share the slice and must not
// change it: a flood of errors must not become a flood of copies.
func (r *Recorder) Recent() []messages.Transition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recent == nil {
		r.recent = slices.Clone(r.list)
	}
	return r.recent
}
