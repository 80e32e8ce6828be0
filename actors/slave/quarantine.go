package slave

import (
	"context"
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// quarantineWrong wrong sockets within quarantineWindow keep a host out until
// quarantineTime without another has passed, in which new sockets are tried every
// quarantineEvery. An address that alternates between two servers, or a server whose replies are
// broken, must not go in and out with each socket.
const (
	quarantineWrong  = 3
	quarantineWindow = 10 * time.Second
	quarantineTime   = 5 * time.Second
	quarantineEvery  = 500 * time.Millisecond
)

// pruneWrong forgets wrong sockets that were long ago.
func (h *Host) pruneWrong(now time.Time) {
	keep := h.wrong[:0]
	for _, t := range h.wrong {
		if now.Sub(t) < quarantineWindow {
			keep = append(keep, t)
		}
	}
	h.wrong = keep
}

// quarantined keeps a host in Standby that has led to wrong servers too often of
// late, and reports whether it has.
func (i *incarnation) quarantined() bool {
	h := i.h
	now := time.Now()
	h.pruneWrong(now)
	if len(h.wrong) < quarantineWrong {
		return false
	}
	until := h.wrong[len(h.wrong)-1].Add(quarantineTime)
	if !until.After(now) {
		h.wrong = nil
		return false
	}
	reason := fmt.Sprintf("its address led elsewhere, or its replies were broken, %d times in %v: it is out until %v pass without that", quarantineWrong, quarantineWindow, quarantineTime)
	i.enter(Standby, messages.RoleOther, reason)
	i.quarantine = until
	if !h.outage.barred {
		h.outage.barred = true
		h.emit(messages.HostStandby{Header: h.header(), Reason: reason})
	}
	i.after(quarantineEvery)
	return true
}

// onQuarantine tries one more new socket, or ends the quarantine.
func (i *incarnation) onQuarantine() {
	h := i.h
	if !time.Now().Before(i.quarantine) {
		h.wrong = nil
		i.quarantine = time.Time{}
		i.onHello(i.hello) // It may have become unable to serve in the meantime.
		return
	}
	i.after(quarantineEvery)
	// A connection of its own, since the driver opens no socket that it does not
	// need. A refused one ends this incarnation, as one of its own connection does.
	conn, err := h.cfg.Open(h.name, &wrongOnly{observer{h, i.self, i.number}})
	if err != nil {
		return
	}
	life := i.conn.life
	go func() {
		defer conn.Close()
		ctx, cancel := context.WithTimeout(life, h.cfg.CheckTimeout)
		defer cancel()
		// A refused socket is told by the observer; any other failure is no matter here.
		_ = guarded(func() error { return conn.Ping(ctx) })
	}()
}

// wrongOnly passes on refused sockets only.
type wrongOnly struct{ observer }

func (*wrongOnly) Hello(mongoconn.Hello)       {}
func (*wrongOnly) Lost(error)                  {}
func (*wrongOnly) Moved(*mongoconn.MovedError) {}
