package router

import (
	"time"

	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// wakeEvery is how often parked reads that found every host full are tried again.
// A round ends when wakeFull of them have found that again.
const (
	wakeEvery = 10 * time.Millisecond
	wakeFull  = 100
)

// park keeps a read until a host joins. It reports false when one has joined
// since joins was read: the picks were made without it, and its Join has woken all who
// were parked then. With late set the read is kept anyway.
func (r *Router) park(read *request.Read, joins uint64, late bool) bool {
	r.mu.Lock()
	if r.joins.Load() != joins && !late {
		r.mu.Unlock()
		return false
	}
	stopping := r.keep(read)
	r.mu.Unlock()
	if stopping {
		fail(read, messages.ErrStopped)
	}
	return true
}

// keep puts a read, unless it was answered, among those that are parked, or reports that the
// router is stopping. r.mu must be held.
func (r *Router) keep(read *request.Read) (stopping bool) {
	// Stop sets this before it takes the parked reads, under the same lock.
	if r.stopping.Load() {
		return true
	}
	read.Parked.Store(true)
	read.Resting = false
	if !read.Done() {
		// A reply given between the two lines takes the read off again: it sees Parked, and
		// waits for the lock. One given before Parked was set is seen here.
		r.parked[read] = true
	}
	return false
}

// The pauses of a read that rests: restFirst, and twice as long each time, up to restMax.
// One for which there is no retry then looks for one every restLook.
const (
	restFirst = 50 * time.Millisecond
	restMax   = time.Second
	restLook  = 200 * time.Millisecond
)

// rest keeps a read whose hosts seem to be lost, or have said nothing in its attempts' time, for a while. Then it
// may go to any that is live, for a retry; while the budget has none, it rests on. One whose hosts seem
// to be lost goes as soon as a host joins.
func (r *Router) rest(read *request.Read) {
	if read.Rest != nil {
		read.Rest.Stop()
	}
	pause := min(restFirst<<max(0, read.Attempts-2), restMax)
	attempts := read.Attempts
	r.mu.Lock()
	stopping := r.keep(read)
	if read.Resting = true; r.parked[read] {
		read.Rest = time.AfterFunc(pause, func() { r.rested(read, attempts) })
	}
	r.mu.Unlock()
	if stopping {
		fail(read, messages.ErrStopped)
	}
}

// rested ends the pause before the attempt that follows so many.
func (r *Router) rested(read *request.Read, attempts int) {
	r.mu.Lock()
	if !r.parked[read] || read.Attempts != attempts { // Answered, or sent since by a Join.
		r.mu.Unlock()
		return
	}
	if !r.budget.spend(time.Now(), 1) {
		read.Rest.Reset(restLook)
		r.mu.Unlock()
		return
	}
	delete(r.parked, read)
	r.mu.Unlock()
	r.counts.retries.Add(1)
	if read.Silent { // Its hosts may be silent still: rather one that has not had it.
		if _, placed, _ := r.place(read, false); placed {
			return
		}
	}
	read.Tried = nil // Those that are live by now were not lost, or are back.
	if _, full := r.send(read, true, false); full {
		r.mu.Lock()
		if r.parked[read] {
			read.Rest.Reset(restLook)
		}
		r.mu.Unlock()
	}
}

// unpark lets those that are parked try again, after a host has joined. There may be
// very many, and the caller is a slave's actor: it happens in a goroutine.
func (r *Router) unpark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joins.Add(1)
	if len(r.parked) > 0 && !r.waking {
		r.waking = true
		go r.wake()
	}
}

// wake routes the parked reads. Those that find every host full stay parked and are
// tried again, up to their deadlines: they were accepted before, and the first of
// several hosts to come back must not be the end of all that its queue does not hold.
func (r *Router) wake() {
	var joins uint64 // of which waiting is what was parked then
	var waiting []*request.Read
	for {
		r.mu.Lock()
		if now := r.joins.Load(); now != joins {
			joins = now
			waiting = waiting[:0]
			for read := range r.parked {
				// There may be very many that got no reply, and what they wait for is a retry.
				if !read.Resting || !read.Silent {
					waiting = append(waiting, read)
				}
			}
		}
		if len(waiting) == 0 {
			r.waking = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		waiting = r.retry(waiting)
		if len(waiting) > 0 {
			time.Sleep(wakeEvery)
		}
	}
}

// retry routes parked reads and returns those that found every host full. After some of
// these it leaves the others to the next time.
func (r *Router) retry(waiting []*request.Read) (again []*request.Read) {
	for i, read := range waiting {
		if len(again) == wakeFull {
			return append(again, waiting[i:]...)
		}
		if !r.take(read) {
			continue
		}
		if _, full := r.send(read, true, false); full {
			again = append(again, read)
		}
	}
	return again
}

// take takes a read off the parked ones, unless it was answered.
func (r *Router) take(read *request.Read) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.parked[read] {
		return false
	}
	delete(r.parked, read)
	return true
}

// failParked answers all that are parked.
func (r *Router) failParked() {
	r.mu.Lock()
	waiting := r.parked
	r.parked = map[*request.Read]bool{}
	r.mu.Unlock()
	for read := range waiting {
		fail(read, messages.ErrStopped)
	}
}

// overdue says why a read was not answered in time.
func (r *Router) overdue(read *request.Read) error {
	r.mu.Lock()
	held := r.parked[read]
	resting := held && read.Resting
	r.mu.Unlock()
	if resting {
		primaries, secondaries := r.balancer.Counts(nil)
		held = primaries+secondaries == 0
	}
	late := &messages.DeadlineError{Phase: "sent", After: time.Since(read.Asked), Err: read.LastErr()}
	if held {
		late.Phase = "held"
		return &messages.NoLiveHostError{From: read.From, Tags: read.Tags, Hosts: r.cfg.Hosts(), Err: late}
	}
	return late
}
