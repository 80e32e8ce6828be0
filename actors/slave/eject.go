package slave

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

const (
	// probeFirst and probeMax are the waits between probes of an ejected host. A host
	// that was ejected before within ejectMemory waits twice as long for its first one as the
	// time before, ejectMax at most.
	probeFirst  = 100 * time.Millisecond
	probeMax    = time.Second
	ejectMax    = 5 * time.Second
	ejectMemory = time.Minute
	// probesSlow is how many probes in a row must be quick enough after slowness.
	probesSlow = 2
	// floorEvery is how often it is told that a host cannot be ejected.
	floorEvery = 10 * time.Second
)

// onHung: reads get no replies.
func (i *incarnation) onHung(suspect bool) {
	if !suspect {
		i.eject("reads get no reply", false)
	} else if i.wait == 0 {
		i.suspect()
	}
}

// suspect asks over another socket whether a live host still answers: with a ping, and, since a
// host may answer pings and hang in reads, with a copy of a point read that gets no reply. Other reads
// may honestly take long. What the copy's silence is worth, another host shows, which gets one too.
func (i *incarnation) suspect() {
	svc, ping, limit := i.svc, i.conn.Ping, i.h.cfg.HungAfter
	cmd, other := svc.pointOnWire(), (*service)(nil)
	if p := i.h.cfg.Paces; p != nil {
		other = p.another(svc)
	}
	i.ask(2*limit, func(ctx context.Context) error {
		if err := within(ctx, limit, ping); err != nil || cmd == nil || other == nil {
			return err
		}
		copied := func(s *service) error {
			return within(ctx, limit, func(ctx context.Context) error { return s.probe(ctx, cmd) })
		}
		elsewhere := make(chan error, 1)
		go func() { elsewhere <- guarded(func() error { return copied(other) }) }()
		err, there := copied(svc), <-elsewhere
		if silent(err) && !silent(there) {
			return errReadsHang
		}
		return nil
	})
}

var errReadsHang = errors.New("two point reads got no reply, and another host has answered the second")

func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// silent reports whether a probe has ended without any word on the question.
func silent(err error) bool {
	return err != nil && (unanswered(err) || mongoconn.OtherHostMayServe(err))
}

func (i *incarnation) onSuspect(err error) {
	switch {
	case errors.Is(err, errReadsHang):
		i.eject(err.Error(), false)
	case err != nil:
		i.eject("a ping got no reply", false)
	}
}

// eject takes a connected host out of the reads and moves what it had to others.
func (i *incarnation) eject(reason string, slow bool) {
	h := i.h
	if !h.cfg.Router.Eject(i.svc, slow) {
		if now := time.Now(); now.Sub(h.floorAt) >= floorEvery {
			h.floorAt = now
			h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Floor: true})
		}
		return
	}
	i.enter(Ejected, h.view.Load().role, reason)
	i.slow = slow
	var moved int
	moved, i.probe = i.svc.evacuate()
	h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Evacuated: moved})
	i.probes = 0
	i.probeWait = h.ejections.next(time.Now())
	i.after(jittered(i.probeWait))
}

// onRecall: too few other hosts are left. A slow host is better than none; one that gave no replies
// must give one first, and is asked for it at once.
func (i *incarnation) onRecall() {
	switch {
	case i.behind: // No reads are better than old ones.
	case i.slow:
		i.restore(true)
	case i.timer != nil: // Or it is being asked.
		i.probeWait = probeFirst
		i.runProbe()
	}
}

// ejections says how long an ejected host waits for its first probe.
type ejections struct {
	n    int
	last time.Time
}

func (e *ejections) next(now time.Time) time.Duration {
	if now.Sub(e.last) > ejectMemory {
		e.n = 0
	}
	wait := ejectMax
	if e.n < 6 {
		wait = min(wait, probeFirst<<e.n)
	}
	e.n, e.last = e.n+1, now
	return wait
}

// jittered is between a half and the whole of it, so that many processes do not probe
// together.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// runProbe repeats one of the reads that were there: the same path on the server, and
// the same rights. Its reply is dropped. One that is still slow fails.
func (i *incarnation) runProbe() {
	svc, cmd := i.svc, i.probe
	i.ask(i.h.cfg.HungAfter, func(ctx context.Context) error {
		start := time.Now()
		if err := svc.probe(ctx, cmd); err != nil {
			return err
		}
		if now := time.Now(); cmd != nil && !svc.wellAgain(cmd.Class, now.Sub(start), now) {
			return errStillSlow
		}
		return nil
	})
}

var errStillSlow = errors.New("the probe was slow")

func (i *incarnation) onProbed(err error) {
	if silent(err) || errors.Is(err, errStillSlow) {
		i.probes = 0
		i.probeWait = max(i.probeWait, min(2*i.probeWait, probeMax))
		i.after(jittered(i.probeWait))
		return
	}
	if i.probes++; i.slow && i.probes < probesSlow {
		i.after(jittered(probeFirst))
		return
	}
	i.restore(false)
}
