// Package refusals turns refusals for overload into events: the first at once, then
// one a second for as long as there are more. A flood must not become a flood of
// events too.
package refusals

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// interval is the time between two events of one limit, as messages.Overloaded
// promises it.
const interval = time.Second

// Teller tells of one limit's refusals. Safe for concurrent use.
type Teller struct {
	emit  func(messages.Event)
	event messages.Overloaded // without its count

	mu      sync.Mutex
	count   int64       // mu; refusals not told of yet
	timer   *time.Timer // mu; armed while the last event is less than interval old
	stopped bool        // mu
}

// New returns a Teller for the Config field limit and its value; host is "" for a
// limit that is no host's. Emit must not block.
func New(emit func(messages.Event), host, limit string, max int64) *Teller {
	return &Teller{emit: emit, event: messages.Overloaded{Header: messages.Header{Host: host}, Limit: limit, Max: max}}
}

// Refused counts a refusal.
func (t *Teller) Refused() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if t.timer == nil && !t.stopped {
		t.publish()
	}
}

// publish tells of what was counted and arms the timer. t.mu must be held: the
// events of one limit come in their order.
func (t *Teller) publish() {
	e := t.event
	e.Refused = t.count
	t.count = 0
	t.timer = time.AfterFunc(interval, t.more)
	t.emit(e)
}

// more tells of what was refused since the last event, if anything was.
func (t *Teller) more() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	if t.count > 0 && !t.stopped {
		t.publish()
	}
}

// Stop ends the events. What was counted and not told yet is told now.
func (t *Teller) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	if t.count > 0 {
		t.publish()
	}
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}
