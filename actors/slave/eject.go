package slave

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

const (
	// probeFirst and probeMax are the waits between probes of an ejected host.
	probeFirst = 100 * time.Millisecond
	probeMax   = time.Second
	// floorEvery is how often it is told that a host cannot be ejected.
	floorEvery = 10 * time.Second
)

// onHung: reads get no replies.
func (i *incarnation) onHung(suspect bool) {
	if !suspect {
		i.eject("reads get no reply")
	} else if i.wait == 0 {
		i.suspect()
	}
}

// suspect asks over another socket whether a live host still answers.
func (i *incarnation) suspect() {
	i.ask(i.h.cfg.HungAfter, i.conn.Ping)
}

func (i *incarnation) onPinged(err error) {
	if err != nil {
		i.eject("a ping got no reply")
	}
}

// eject takes a connected host out of the reads and moves what it had to others.
func (i *incarnation) eject(reason string) {
	h := i.h
	if !h.cfg.Router.Eject(i.svc) {
		if now := time.Now(); now.Sub(h.floorAt) >= floorEvery {
			h.floorAt = now
			h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Floor: true})
		}
		return
	}
	i.enter(Ejected, h.view.Load().role, reason)
	var moved int
	moved, i.probe = i.svc.evacuate()
	h.emit(messages.HostEjected{Header: h.header(), Reason: reason, Evacuated: moved})
	i.probeWait = probeFirst
	i.after(i.probeWait)
}

// runProbe repeats one of the reads that hung: the same path on the server, and
// the same rights. Its reply is dropped.
func (i *incarnation) runProbe() {
	svc, cmd := i.svc, i.probe
	i.ask(i.h.cfg.HungAfter, func(ctx context.Context) error { return svc.probe(ctx, cmd) })
}

func (i *incarnation) onProbed(err error) {
	if err != nil && unanswered(err) || mongoconn.OtherHostMayServe(err) {
		i.probeWait = min(2*i.probeWait, probeMax)
		// Between a half and the whole of it, so that many processes do not probe together.
		i.after(i.probeWait/2 + rand.N(i.probeWait/2+1))
		return
	}
	i.restore()
}
