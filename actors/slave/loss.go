package slave

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// steadyAfter is how long a host must have been live for its earlier failures to
// be forgotten.
const steadyAfter = 10 * time.Second

// outage is the time since a host was last live.
type outage struct {
	since    time.Time
	attempts int
	dialled  bool                    // HostDialing was emitted
	lost     string                  // the kind of failure that HostLost was emitted for
	wrong    messages.WrongHostError // that WrongHost was emitted for
	barred   bool                    // HostStandby was emitted for a quarantine
}

// onWrong: a socket led to somebody else, to a server that is not a member, or to one that sends
// what no server sends.
func (i *incarnation) onWrong(err error) {
	if i.conn == nil {
		return
	}
	if !errors.Is(err, messages.ErrWrongHost) && !errors.Is(err, messages.ErrProtocol) {
		i.lost(err)
		return
	}
	now := time.Now()
	i.h.pruneWrong(now)
	i.h.wrong = append(i.h.wrong, now)
	i.fail(err)
}

// onLost: a heartbeat failed, a login was refused, or the driver gave up.
func (i *incarnation) onLost(err error) {
	if i.conn == nil {
		return
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		// The driver called its heartbeat off since a socket broke, and closed the heartbeat's
		// own: whichever the heartbeat has noticed first. Whether the host is still there is
		// worth knowing before the next one.
		if i.state == Live && i.wait == 0 {
			i.suspect(false)
		}
		return
	}
	i.lost(err)
}

// lost restarts a slave that had its host, and dials again for one that had not
// yet.
func (i *incarnation) lost(err error) {
	if i.state == Dialing || i.state == Checking {
		i.redial(err)
		return
	}
	i.fail(err)
}

// redial gives up this attempt and waits for the next one, in the same
// incarnation: nothing was there that a restart would make anew.
func (i *incarnation) redial(err error) {
	i.disconnect()
	delay := i.h.backoff(err)
	i.h.tellLost(err)
	i.enter(Waiting, messages.RoleUnknown, err.Error())
	i.after(delay)
}

// fail ends this incarnation: the supervisor restarts it at once, and the next one
// waits out the backoff.
func (i *incarnation) fail(err error) {
	h := i.h
	// Before the supervisor hears of it: no read must find a slave that has failed.
	i.disconnect()
	h.delay = h.backoff(err)
	f := &Failure{Host: h.name, Err: err, Restarts: int(h.restarts.Add(1)), Backoff: h.delay}
	var wrong *messages.WrongHostError
	if errors.As(err, &wrong) {
		same := *wrong
		same.Remote = ""
		f.Repeated = h.outage.wrong == same
		h.outage.wrong = same
	} else {
		h.tellLost(err)
	}
	i.enter(Waiting, messages.RoleUnknown, err.Error())
	panic(f)
}

// onRestarting: this incarnation is over. When it was not by its own fail, a panic
// has ended it.
func (i *incarnation) onRestarting() {
	if i.state == Waiting || i.state == Leaving {
		return
	}
	i.disconnect()
	i.h.restarts.Add(1)
	i.h.delay = i.h.backoff(messages.ErrPanicked)
	i.h.tellLost(messages.ErrPanicked)
	i.enter(Waiting, messages.RoleUnknown, messages.ErrPanicked.Error())
}

// backoff counts a failure and returns the wait after it.
func (h *Host) backoff(err error) time.Duration {
	if mongoconn.IsAuth(err) {
		return h.logins.Next()
	}
	return h.dials.Next()
}

// tellLost emits HostLost, once in an outage for each sort of reason.
func (h *Host) tellLost(err error) {
	kind := "unreachable"
	if mongoconn.IsAuth(err) {
		kind = "login"
	}
	if h.outage.lost == kind {
		return
	}
	h.outage.lost = kind
	h.emit(messages.HostLost{Header: h.header(), Err: err, Reason: err.Error()})
}
