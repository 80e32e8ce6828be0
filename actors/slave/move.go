package slave

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// A host's name may come to mean another address while the sockets at the old one are as
// good as ever. All sockets go to one address, so that they move together or not at all, and
// they move only to where the right member has proven to be: a second connection is
// opened, which resolves the name anew, and is checked as the first one was. When it has passed, it
// takes the first one's place, and what is on the wire over that comes back. When it has not,
// because the name was changed by mistake or before the member is there, nothing has
// happened; the name is watched on, and the next report tries again.

// errMoveTimeout is why a second connection is given up that says nothing.
var errMoveTimeout = errors.New("evenkeel: nobody has answered there in time")

// move is a second connection while it is checked.
type move struct {
	why    *mongoconn.MovedError
	conn   *line
	number uint64
	hello  mongoconn.Hello
	asked  time.Time     // when the ping was sent; zero before
	took   time.Duration // by it
	late   *time.Timer   // ends the time that it has
}

// nextMsg is the end of a second connection's check.
type nextMsg struct {
	internal
	conn uint64
	err  error
}

// moving reports whether that is the number of the second connection.
func (i *incarnation) moving(number uint64) bool { return i.next != nil && i.next.number == number }

// onMoved: the name has come to mean other addresses than the one that the sockets go to.
func (i *incarnation) onMoved(why *mongoconn.MovedError) {
	switch i.state {
	case Live, Ejected, Standby:
	default:
		return // It is being connected anew.
	}
	if i.next != nil {
		return
	}
	h, self := i.h, i.self
	n := &move{why: why, number: numbers.Add(1)}
	conn, err := h.open(&observer{h, self, n.number})
	if err != nil {
		h.stay(why, err)
		return
	}
	n.conn = conn
	msg := nextMsg{conn: n.number, err: errMoveTimeout}
	// As long as for a first hello and for a ping.
	n.late = time.AfterFunc(2*h.cfg.CheckTimeout, func() { h.send(self, msg) })
	i.next = n
}

// onNextHello: the right member has answered there.
func (i *incarnation) onNextHello(hello mongoconn.Hello) {
	n := i.next
	n.hello = hello
	if reason := cannotServe(hello.Kind); reason != "" && i.state == Live {
		i.stay(fmt.Errorf("evenkeel: %s", reason))
		return
	}
	if !n.asked.IsZero() {
		return
	}
	n.asked = time.Now()
	h, self, msg := i.h, i.self, nextMsg{conn: n.number}
	go func() {
		ctx, cancel := context.WithTimeout(n.conn.life, h.cfg.CheckTimeout)
		defer cancel()
		msg.err = guarded(func() error { return n.conn.Ping(ctx) })
		h.send(self, msg)
	}()
}

func (i *incarnation) onNextAnswer(err error) {
	n := i.next
	if err != nil {
		i.stay(err)
		return
	}
	n.took = time.Since(n.asked)
	if i.state != Live {
		// Nobody reads over the old connection: a restart is simpler, and takes the new
		// address.
		why := n.why
		i.endMove()
		i.h.moved(why)
		i.fail(why)
	}
	if owner := i.h.cfg.Claims.claim(n.hello.ProcessID, i.h); owner != "" {
		i.stay(fmt.Errorf("evenkeel: the server there is the same as %s", owner))
		return
	}
	i.swap()
}

// swap puts the second connection in the first one's place.
func (i *incarnation) swap() {
	h, n, svc, conn := i.h, i.next, i.svc, i.conn
	n.late.Stop()
	i.next = nil
	i.unwait() // A suspicion is of the old one.
	before := i.hello
	i.conn, i.number, i.hello, i.opening = n.conn, n.number, n.hello, n.took
	i.svc = i.serviceOf(n.conn)
	h.live.Store(i.svc)
	// It joins before the other one leaves: there is no moment without one of them.
	h.cfg.Router.Join(i.svc, i.member())
	h.cfg.Router.Leave(svc)
	svc.drain(conn.Close)
	h.moved(n.why)
	i.follow(before)
	i.noteLag()
}

// stay gives the second connection up, for that reason. The first one goes on.
func (i *incarnation) stay(err error) {
	if errors.Is(err, context.Canceled) {
		return // A heartbeat that the driver has called off: the ping will tell.
	}
	i.h.stay(i.next.why, err)
	i.endMove()
}

// endMove closes the second connection, if there is one.
func (i *incarnation) endMove() {
	if n := i.next; n != nil {
		i.next = nil
		n.late.Stop()
		n.conn.Close()
	}
}

// moved tells that the sockets go to another address now.
func (h *Host) moved(why *mongoconn.MovedError) {
	h.stays = ""
	h.emit(messages.AddressChanged{Header: h.header(), From: why.From.String(), To: addresses(why)})
}

// stay tells that they do not, and why; the same is told once.
func (h *Host) stay(why *mongoconn.MovedError, err error) {
	same := why.Error() + sortOf(err)
	if h.stays == same {
		return
	}
	h.stays = same
	h.emit(messages.AddressChanged{Header: h.header(), From: why.From.String(), To: addresses(why), Stays: err.Error()})
}

// sortOf is what of an error is the same the next time.
func sortOf(err error) string {
	var wrong *messages.WrongHostError
	switch {
	case errors.As(err, &wrong):
		return wrong.Field + wrong.Got
	case mongoconn.IsAuth(err):
		return "login"
	}
	return "unreachable"
}

func addresses(why *mongoconn.MovedError) []string {
	list := make([]string, len(why.To))
	for i, ip := range why.To {
		list[i] = ip.String()
	}
	return list
}
