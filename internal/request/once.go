// Package request is a question on its way: what was asked, until when it
// must be answered, and the reply that is given exactly once.
package request

import (
	"sync/atomic"
	"time"
)

// once gives a reply of type R exactly once: the first of the worker, the
// deadline's timer, the asker's own cancellation and the shutdown wins, the
// others are told that they lost.
type once[R any] struct {
	replied atomic.Bool
	timer   atomic.Pointer[time.Timer]
	// attempt is told that nobody waits for this request any more: what is on the wire for
	// it alone is cancelled.
	attempt atomic.Pointer[func()]
	// also is called after the reply was given, before it is delivered.
	also    atomic.Pointer[func()]
	deliver func(R)
	release func() // returns the admission; may be nil
}

// give delivers r unless a reply was given already. What is on the wire for the
// request is cancelled: nobody waits for it any more. Before, which may be nil, is called
// when it is certain that r is the reply, and before it is delivered.
func (o *once[R]) give(r R, before func()) bool {
	if !o.replied.CompareAndSwap(false, true) {
		return false
	}
	if timer := o.timer.Load(); timer != nil {
		timer.Stop()
	}
	o.leave()
	if also := o.also.Load(); also != nil {
		(*also)()
	}
	if before != nil {
		before()
	}
	// Before the reply, so that an asker who sends again at once is admitted.
	if o.release != nil {
		o.release()
	}
	o.deliver(r)
	return true
}

// Done reports whether the reply was given.
func (o *once[R]) Done() bool { return o.replied.Load() }

// SetAttempt names the function that is told, once, that the request was answered: it ends
// what is now done for the request, or, where that is done for others as well, counts. At once
// when the reply was given in the meantime: give may have run just before the function
// was known. Requests that share an attempt share the pointer.
func (o *once[R]) SetAttempt(left *func()) {
	o.attempt.Store(left)
	if o.replied.Load() {
		o.leave()
	}
}

func (o *once[R]) leave() {
	if left := o.attempt.Swap(nil); left != nil {
		(*left)()
	}
}

// OnReply names a function that is called when the reply is given: at once when it was
// already, and perhaps twice then.
func (o *once[R]) OnReply(f func()) {
	o.also.Store(&f)
	if o.replied.Load() {
		f()
	}
}

// arm calls f at the deadline, unless the reply is given before. The timer may
// fire before it is stored, when the deadline is now: then there is nothing left
// to stop.
func (o *once[R]) arm(deadline time.Time, f func()) {
	o.timer.Store(time.AfterFunc(time.Until(deadline), f))
}
