package master

import (
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// What the master does to a lane from outside of its goroutine.

// holdAll marks what is queued as held, and returns how many were not before.
func (l *lane) holdAll() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for e := l.queue.Front(); e != nil; e = e.Next() {
		if it := e.Value.(*item); !it.held {
			it.held = true
			n++
		}
	}
	return n
}

// releaseAll sends what was held, and returns how many that are.
func (l *lane) releaseAll() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for e := l.queue.Front(); e != nil; e = e.Next() {
		if it := e.Value.(*item); it.held {
			it.held = false
			n++
		}
	}
	if l.paused != nil {
		l.paused.Stop() // If it has fired already, it finds its work done.
		l.paused = nil
	}
	l.pauseFor = 0
	l.start()
	return n
}

// refuse makes the lane take no new writes.
func (l *lane) refuse() {
	l.mu.Lock()
	l.refusing, l.lateDue = true, false
	if l.lateTimer != nil {
		l.lateTimer.Stop()
	}
	l.mu.Unlock()
}

// abort answers what is queued, and gives up what is on the wire.
func (l *lane) abort(err error) {
	l.mu.Lock()
	l.refusing, l.lateDue = true, false
	if l.aborted == nil {
		l.aborted = err
	}
	var left []*item
	for e := l.queue.Front(); e != nil; e = e.Next() {
		it := e.Value.(*item)
		it.phase, it.elem = done, nil
		left = append(left, it)
	}
	l.queue.Init()
	if l.paused != nil {
		l.paused.Stop()
		l.paused = nil
	}
	if l.batch != nil {
		l.batch.cancel()
	}
	if l.lateOff != nil {
		l.lateOff()
	}
	l.mu.Unlock()
	for _, it := range left {
		it.Reply(&messages.WriteReply{Outcome: messages.NotApplied, Err: fmt.Errorf("%w before the write was sent", err), Attempts: it.tried})
	}
	l.m.noteQuiet()
}

// stopped returns the error that the lane was aborted with.
func (l *lane) stopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.aborted
}

func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.running && l.queue.Len() == 0
}

// close ends the session of an idle lane. A goroutine that has not come back from
// the driver keeps its session; the client's own end closes it.
func (l *lane) close() {
	l.mu.Lock()
	var w wire
	if !l.running {
		w, l.wire = l.wire, nil
	}
	l.mu.Unlock()
	if w != nil {
		w.end()
	}
}

func (l *lane) stat(now time.Time) LaneStat {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LaneStat{Queued: l.queue.Len()}
	if e := l.queue.Front(); e != nil {
		s.HeadOfLine = now.Sub(e.Value.(*item).Asked)
	}
	if l.batch != nil {
		s.OnWire, s.WireFor = l.batch.waiting, now.Sub(l.batch.began)
	}
	return s
}
