package router

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// route hands a read to a host, or parks it until there is one. With inline set it may
// return what the caller must run to have the read served in its own goroutine.
func (r *Router) route(read *request.Read, inline bool) (run func()) {
	if read.Cmd.Cursor != nil {
		return r.routePinned(read, inline)
	}
	run, _ = r.send(read, false, inline)
	return run
}

// send hands a read to a host, or parks it until one joins. One that finds all hosts
// full is refused; a patient one, which has waited before, is parked, and send returns true:
// nobody will say when there is room, so that it must be tried again.
func (r *Router) send(read *request.Read, patient, inline bool) (run func(), again bool) {
	for {
		// Before the picks: what joins while they go on is noticed by park.
		joins := r.joins.Load()
		run, placed, full := r.place(read, inline)
		if placed {
			return run, false
		}
		if full != nil && !patient {
			r.counts.refused.Add(1)
			fail(read, full)
			return nil, false
		}
		if full != nil {
			read.SetLastErr(full)
			r.park(read, joins, true)
			return nil, true
		}
		if r.restored(read) {
			continue
		}
		if err := read.LastErr(); err != nil && r.anyLive(read.Tried) {
			// All that are live have had it, and at least one of them is still there, to say
			// the same again, or to be found lost.
			if read.Gone || read.Silent {
				r.rest(read)
			} else {
				fail(read, err)
			}
			return nil, false
		}
		if r.park(read, joins, false) {
			return nil, false
		}
	}
}

// restored lets a read for which there is no other host go again to the one it was moved
// off, if that serves again: it has never said anything to the read.
func (r *Router) restored(read *request.Read) bool {
	hung := read.HungAt
	if hung == 0 || !r.balancer.Live(hung) {
		return false
	}
	read.HungAt = 0
	read.Tried = slices.DeleteFunc(slices.Clone(read.Tried), func(inc uint64) bool { return inc == hung })
	return true
}

// fail answers a read that is the router's with an error. The driver's error for an attempt that had all the time
// there is becomes the router's.
func fail(read *request.Read, err error) {
	var late *messages.DeadlineError
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &late) && isLate(read) {
		err = &messages.DeadlineError{Phase: "sent", After: time.Since(read.Asked), Err: err}
	}
	read.Reply(&messages.ReadReply{Err: err, Attempts: read.Attempts})
}

// isLate reports whether a read's time is over; or, after an attempt that had all of it, but for so little that nothing
// comes of it: the driver gives up when a round trip would not fit any more.
func isLate(read *request.Read) bool {
	now := time.Now()
	left := read.Deadline.Sub(now)
	return left <= 0 || !read.AttemptDeadline.Before(read.Deadline) && now.Sub(read.Asked) >= 8*left
}

// place offers a read to one host after the other until one takes it. Full is the
// refusal of a host that has no room.
func (r *Router) place(read *request.Read, inline bool) (run func(), placed bool, full error) {
	w := Want{Class: read.Cmd.Class, From: read.From, Tags: read.Tags, Tried: read.Tried, After: read.After.OperationTime}
	class := read.LoadClass()
	for {
		now := time.Now()
		host, fallback, another := r.balancer.Pick(&w, !r.cfg.NoPrimaryFallback, now)
		if host == nil || fallback && read.IsTwin {
			return nil, false, full
		}
		read.AttemptDeadline = read.Deadline
		if another && read.Attempts+1 < r.cfg.ReadAttempts && (read.Cmd.Class == command.Point || mayWait(read, host)) {
			// Leaves as much for the next host: a point read takes milliseconds, and a host
			// that needs half the deadline for one will not answer at all; nor will one that has fallen
			// behind what the read must see. Others may honestly take long; a hung host is found
			// by its silence instead.
			read.AttemptDeadline = now.Add(read.Deadline.Sub(now) / 2)
		}
		hedged := r.hedger != nil && another && !fallback && read.Attempts == 0 && read.After.IsZero()
		host.Load().Begin(class, now)
		run, err := host.Offer(read, inline) // From here on its fields are the host's.
		if err == nil {
			if fallback {
				r.counts.fallbacks.Add(1)
			}
			if hedged {
				r.hedger.watch(read, host)
			}
			return run, true, nil
		}
		host.Load().Cancel(class, now)
		// Full, or gone a moment ago. read.Tried is not extended: it was never sent there.
		w.Tried = append(w.Tried[:len(w.Tried):len(w.Tried)], host.Incarnation())
		if errors.Is(err, messages.ErrOverloaded) {
			full = err
		}
	}
}

// mayWait reports whether a read may have to wait at a host for what it must see. A Command is never sent twice,
// and may as well wait until its deadline.
func mayWait(read *request.Read, host request.Target) bool {
	return !read.After.IsZero() && read.Cmd.Kind != command.KindCommand && !host.Load().Reached(read.After.OperationTime)
}

// routePinned hands a cursor's read to the one host that has the cursor.
func (r *Router) routePinned(read *request.Read, inline bool) (run func()) {
	c := read.Cmd.Cursor
	host := r.balancer.Find(c.Host, c.Incarnation)
	if host == nil {
		read.Fail(&messages.CursorLostError{Host: c.Host, Err: &messages.NotLiveError{Host: c.Host, Err: errors.New("it was lost since")}})
		return nil
	}
	read.AttemptDeadline = read.Deadline
	now := time.Now()
	host.Load().Begin(read.LoadClass(), now)
	run, err := host.Offer(read, inline)
	if err != nil {
		host.Load().Cancel(read.LoadClass(), now)
		if errors.Is(err, messages.ErrNotLive) {
			err = &messages.CursorLostError{Host: c.Host, Err: err}
		}
		read.Fail(err)
	}
	return run
}

func (r *Router) anyLive(incarnations []uint64) bool {
	for _, inc := range incarnations {
		if r.balancer.Live(inc) {
			return true
		}
	}
	return false
}

// Unserved takes back a read that a host has accepted and never sent.
func (r *Router) Unserved(read *request.Read) {
	if read.Done() {
		return
	}
	if read.IsTwin {
		read.Fail(errHedge)
		return
	}
	if r.over.Load() {
		fail(read, messages.ErrStopped)
		return
	}
	r.route(read, false)
}

// Evacuated takes back a read that was sent to a host which was then ejected. The first
// time costs it nothing: a hung host must not use up the budget for all others. From then on it
// may be the read itself that hosts cannot bear, and it counts as one that has failed.
func (r *Router) Evacuated(read *request.Read, host request.Target) {
	err := &messages.NotLiveError{Host: host.Host(), Err: errors.New("it was ejected while the read was there")}
	if read.IsTwin {
		read.Fail(errHedge)
		return
	}
	if read.Evacuated || read.Cmd.Kind == command.KindCommand {
		r.failed(read, host, err, false)
		return
	}
	read.Evacuated, read.HungAt = true, host.Incarnation()
	read.Tried = append(read.Tried, host.Incarnation())
	read.Attempts++
	read.Gone, read.Silent = false, false
	read.SetLastErr(err)
	r.counts.evacuated.Add(1)
	r.Unserved(read)
}

// Failed takes back a read whose attempt failed in a way that another host may
// not share. With messages.ErrNotLive its host may be about to be found lost.
func (r *Router) Failed(read *request.Read, host request.Target, err error) {
	r.failed(read, host, err, errors.Is(err, messages.ErrNotLive))
}

func (r *Router) failed(read *request.Read, host request.Target, err error, gone bool) {
	if read.Done() {
		return
	}
	if read.IsTwin {
		read.Fail(err)
		return
	}
	if read.Cmd.Cursor != nil {
		fail(read, &messages.CursorLostError{Host: host.Host(), Err: err})
		return
	}
	read.Tried = append(read.Tried, host.Incarnation())
	read.Attempts++
	read.Gone, read.Silent = gone, !gone && errors.Is(err, context.DeadlineExceeded)
	read.SetLastErr(err)
	if isLate(read) && (read.Silent || !time.Now().Before(read.Deadline)) {
		fail(read, r.overdue(read))
		return
	}
	if read.Cmd.Kind == command.KindCommand || read.Attempts >= r.cfg.ReadAttempts {
		fail(read, err) // A Command is never sent twice.
		return
	}
	// One that has met a lost host twice has not met one host's end: it must not use up its
	// attempts on others before they are found lost.
	if gone && read.Attempts > 1 {
		r.rest(read)
		return
	}
	// Reads that have shared a round trip cost one retry together. Each for itself, a few that
	// were on the wire to a host that is lost would use up the budget of all.
	if !r.budget.spend(time.Now(), 1/float64(max(1, read.Shared))) {
		if gone || read.Silent { // It has time left, and nothing that speaks against it.
			r.rest(read)
		} else {
			fail(read, err)
		}
		return
	}
	r.counts.retries.Add(1)
	r.Unserved(read)
}
