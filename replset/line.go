package replset

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

// sendBuffer is how much a line takes while nothing gets out, as the kernel's buffer
// does.
const sendBuffer = 4 << 20

// line is a client's connection to a member, on the member's side. What the link
// holds back is kept here or, on its way in, in the kernel.
//
// Its fields are guarded by the link's lock, but for free.
type line struct {
	net.Conn
	link *link
	free atomic.Bool // nothing is held back

	deadline time.Time     // of reads, as the server has set it; the kernel may have another
	nudged   chan struct{} // closed and replaced when a held back call must look again
	unsent   []byte
	flushing bool
	closed   bool
	reset    bool // to be closed by a reset
}

func newLine(nc net.Conn, k *link) *line {
	l := &line{Conn: nc, link: k, nudged: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines[l] = struct{}{}
	l.kernelDeadline()
	l.settle()
	return l
}

// settle works out free. The caller must hold the link's lock.
func (l *line) settle() {
	l.free.Store(l.link.state == LinkWhole && !l.flushing && !l.closed)
}

// kernelDeadline makes the kernel return a read that is under way when nothing may
// get in, and wait as long as the server wants else. The caller must hold the
// link's lock.
func (l *line) kernelDeadline() {
	at := l.deadline
	if l.link.deaf() {
		at = longGone
	}
	_ = l.Conn.SetReadDeadline(at)
}

func (l *line) nudge() {
	close(l.nudged)
	l.nudged = make(chan struct{})
}

func (l *line) SetReadDeadline(at time.Time) error {
	l.link.mu.Lock()
	defer l.link.mu.Unlock()
	l.deadline = at
	l.kernelDeadline()
	l.nudge()
	return nil
}

// SetDeadline sets that of reads only: a write is never held up for long.
func (l *line) SetDeadline(at time.Time) error { return l.SetReadDeadline(at) }

func (l *line) Read(b []byte) (int, error) {
	for {
		if !l.free.Load() {
			if err := l.hear(); err != nil {
				return 0, err
			}
		}
		n, err := l.Conn.Read(b)
		if n > 0 || err == nil {
			return n, err
		}
		// What ended the read is that the client is gone, which is not known while
		// nothing gets in, or a deadline: the server's, or the one that a change of the
		// link has set.
		l.link.mu.Lock()
		again := l.link.deaf() || isTimeout(err) && !l.late()
		l.link.mu.Unlock()
		if !again {
			return 0, err
		}
	}
}

// hear waits until something may get in.
func (l *line) hear() error {
	for {
		l.link.mu.Lock()
		deaf, late, closed, deadline := l.link.deaf(), l.late(), l.closed, l.deadline
		changed, nudged := l.link.changed, l.nudged
		l.link.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !deaf:
			return nil
		case late:
			return os.ErrDeadlineExceeded
		}
		var expired <-chan time.Time
		if !deadline.IsZero() {
			expired = time.After(time.Until(deadline))
		}
		select {
		case <-changed:
		case <-nudged:
		case <-expired:
		}
	}
}

// late says that the server's deadline has passed. The caller must hold the link's
// lock.
func (l *line) late() bool { return !l.deadline.IsZero() && !time.Now().Before(l.deadline) }

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func (l *line) Write(b []byte) (int, error) {
	if l.free.Load() {
		return l.Conn.Write(b)
	}
	for {
		l.link.mu.Lock()
		closed, held := l.closed, l.link.mute() || l.flushing
		changed, nudged := l.link.changed, l.nudged
		taken := held && !closed && len(l.unsent) < sendBuffer
		if taken {
			l.unsent = append(l.unsent, b...)
		}
		l.link.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case taken:
			return len(b), nil
		case !held:
			return l.Conn.Write(b)
		}
		select {
		case <-changed:
		case <-nudged:
		}
	}
}

// flush sends what has been held back, and closes the connection if that has been
// held back too.
func (l *line) flush() {
	for {
		l.link.mu.Lock()
		if l.flushing = !l.link.mute() && len(l.unsent) > 0 && !l.reset; !l.flushing {
			if l.closed && !l.link.mute() {
				l.hangUp()
			}
			l.nudge()
			l.settle()
			l.link.mu.Unlock()
			return
		}
		b := l.unsent
		l.unsent = nil
		l.link.mu.Unlock()
		if _, err := l.Conn.Write(b); err != nil {
			l.link.mu.Lock()
			l.flushing, l.unsent = false, nil
			l.hangUp()
			l.link.mu.Unlock()
			return
		}
	}
}

// Close closes the connection as soon as the client can hear of it.
func (l *line) Close() error { return l.end(false) }

// abort is Close with a reset.
func (l *line) abort() { _ = l.end(true) }

func (l *line) end(reset bool) error {
	l.link.mu.Lock()
	defer l.link.mu.Unlock()
	l.reset = l.reset || reset && !l.closed
	l.closed = true
	l.nudge()
	l.settle()
	if l.link.mute() {
		// The read that is under way must end all the same.
		_ = l.Conn.SetReadDeadline(longGone)
		return nil
	}
	if l.flushing && !l.reset {
		return nil // flush closes it
	}
	return l.hangUp()
}

// hangUp closes the connection. The caller must hold the link's lock.
func (l *line) hangUp() error {
	delete(l.link.lines, l)
	if l.reset {
		reset(l.Conn)
		return nil
	}
	return l.Conn.Close()
}
