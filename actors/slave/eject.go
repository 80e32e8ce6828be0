package slave

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
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
	// probesAlone is how many probes may fail in a row before another host is asked the same.
	probesAlone = 3
	// copyEvery is how many times HungAfter are between two copies of ranges.
	copyEvery = 4
	// openingTimes is how much longer than the first socket another one may take to open.
	openingTimes = 3
	// floorEvery is how often it is told that a host cannot be ejected.
	floorEvery = 10 * time.Second
)

// onHung: reads get no replies.
func (i *incarnation) onHung(suspect, several bool) {
	if !suspect {
		i.eject("reads get no reply", command.Point, false)
	} else if i.wait == 0 {
		i.suspect(several)
	}
}

// suspect asks over another socket whether a live host still answers: with a ping, and, since a
// host may answer pings and hang in reads, with a copy of a point read that gets no reply, or, when several reads
// get none, of a range now and then. What the copy's silence is worth, another host shows, which gets one
// too: since a range may honestly take long, that one must be quick there.
func (i *incarnation) suspect(several bool) {
	limit := i.h.cfg.HungAfter
	svc, other, there := i.svc, (*service)(nil), limit
	ping, patience := i.pinging()
	cmd := svc.onWire(several && time.Since(i.copied) >= copyEvery*limit)
	if p := i.h.cfg.Paces; p != nil {
		other = p.another(svc)
	}
	if cmd != nil && other != nil {
		if i.of = cmd.Class; i.of != command.Point {
			i.copied, there = time.Now(), limit/2
		}
	}
	i.ask(patience+limit, func(ctx context.Context) error {
		if err := ping(ctx); err != nil || cmd == nil || other == nil {
			return err
		}
		elsewhere := later(ctx, other, cmd, there)
		here := svc.answer(ctx, cmd, limit)
		if silent(here.err) && !silent((<-elsewhere).err) {
			return errReadsHang
		}
		return nil
	})
}

var errReadsHang = errors.New("a read and its copy got no reply, and another host has answered the copy")

// pinging returns a ping that is given HungAfter, and what it may take in all. A ping that had to wait for a
// socket until then has not been sent, and says nothing of the host: on one that is far away, TCP, TLS and a
// login take several round trips. It is sent again with as much time as opening a socket may be expected
// to take there, by what the first one has taken. Meanwhile the pool goes on opening it.
func (i *incarnation) pinging() (ping func(context.Context) error, patience time.Duration) {
	ask, limit := i.conn.Ping, i.h.cfg.HungAfter
	patience = max(limit, min(openingTimes*i.opening, i.h.cfg.CheckTimeout))
	return func(ctx context.Context) error {
		err := within(ctx, limit, ask)
		if patience > limit && mongoconn.HadNoSocket(err) {
			err = within(ctx, patience-limit, ask)
		}
		return err
	}, patience
}

// answer is how a probe ended.
type answer struct {
	took time.Duration
	err  error
}

// answer asks with a copy of a read. The context is the asker's, which may be another host's slave; the question
// ends with this service as well.
func (s *service) answer(ctx context.Context, cmd *command.Read, limit time.Duration) answer {
	start := time.Now()
	own, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	err := s.probe(own, cmd)
	return answer{time.Since(start), err}
}

// later is answer in a goroutine of its own.
func later(ctx context.Context, s *service, cmd *command.Read, limit time.Duration) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		var a answer
		if err := guarded(func() error { a = s.answer(ctx, cmd, limit); return nil }); err != nil {
			a.err = err
		}
		answers <- a
	}()
	return answers
}

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
		i.eject(err.Error(), i.of, false)
	case err != nil:
		i.eject("a ping got no reply", command.Point, false)
	}
}

// eject takes a connected host out of the reads, for how it answers those of a class, and moves what it had to
// others.
func (i *incarnation) eject(reason string, of command.Class, slow bool) {
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
	moved, i.probe = i.svc.evacuate(of)
	h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Evacuated: moved})
	i.probes, i.failed = 0, 0
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

// runProbe repeats a read that was there: the same path on the server, and the same rights. Its reply is
// dropped. One that is still slow fails.
//
// A read may have become slow since, wherever it goes. After some that have failed in a row, another host
// is asked the same: where it gets no reply there either, a ping decides, and where it takes as long,
// it says nothing against the host.
func (i *incarnation) runProbe() {
	svc, probe, other := i.svc, i.probe, (*service)(nil)
	ping, patience := i.pinging()
	if probe.cmd == nil {
		i.ask(patience, ping)
		return
	}
	compare := i.failed >= probesAlone
	if p := i.h.cfg.Paces; p != nil && compare {
		other = p.another(svc)
	}
	limit := i.h.cfg.HungAfter
	i.ask(limit+patience, func(ctx context.Context) error {
		there := answer{err: context.DeadlineExceeded} // Nobody has answered.
		var elsewhere <-chan answer
		if other != nil {
			elsewhere = later(ctx, other, probe.cmd, limit)
		}
		here := svc.answer(ctx, probe.cmd, limit)
		if other != nil {
			there = <-elsewhere
		}
		switch {
		case here.err != nil && compare && unanswered(here.err) && unanswered(there.err) &&
			(other == nil || other.ctx.Err() == nil): // One that was called off there says nothing.
			return ping(ctx)
		case here.err != nil:
			return here.err
		case svc.wellAgain(probe, here.took, time.Now()), there.err == nil && !tooSlow(here.took, there.took):
			return nil
		}
		return errStillSlow
	})
}

var errStillSlow = errors.New("the probe was slow")

func (i *incarnation) onProbed(err error) {
	if silent(err) || errors.Is(err, errStillSlow) {
		i.probes = 0
		i.failed++
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
