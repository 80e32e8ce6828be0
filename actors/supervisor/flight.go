package supervisor

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// RecorderSize is how many transitions the flight recorder holds.
const RecorderSize = 64

// Recorder is the flight recorder: the last transitions, whatever subscribers there are.
// Safe for concurrent use.
type Recorder struct {
	mu   sync.Mutex
	ring [RecorderSize]messages.Transition // mu
	n    int                               // mu; ever
	last []messages.Transition             // mu; what Recent has returned; nil when there is more since
}

// Note records a transition; host is "" for what concerns the whole set.
func (r *Recorder) Note(host, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.n%RecorderSize] = messages.Transition{Time: time.Now(), Host: host, What: what}
	r.n++
	r.last = nil
}

// Recent returns the last transitions, oldest first. Callers share the slice and must not
// change it: a flood of errors must not become a flood of copies.
func (r *Recorder) Recent() []messages.Transition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil && r.n > 0 {
		for i := max(0, r.n-RecorderSize); i < r.n; i++ {
			r.last = append(r.last, r.ring[i%RecorderSize])
		}
	}
	return r.last
}
