package mongoconn

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

const (
	// buffered is what a socket's buffer holds: most replies as a whole.
	buffered = 4 << 10
	// promised is the largest message whose length is passed on as soon as it is known. The
	// driver makes room for all of a message when it sees that. A larger one must have
	// arrived by an eighth before, so that a few bytes of a liar's cost no more than this.
	promised = 1 << 20
	// maxHellos is how many replies to hello a socket may bring within a second. A server
	// sends one for each change in its set, and the driver asks for the next at once.
	maxHellos = 500
)

// Conn is a socket that passes nothing on before its first reply was read whole
// and verified, and from then on only messages that can be the reply to what was written last: see
// checkReply. When a message is something else, the socket is closed, and every Read fails with the
// reason. The buffer makes up for the cost: a small reply takes one read of the socket where the
// driver's own way takes two.
type Conn struct {
	net.Conn
	d    *Dialer
	at   netip.Addr // where it leads, zero when that is not the Dialer's to say
	born time.Time
	// wrote is when the last byte before the first reply was written, since born.
	wrote    atomic.Int64
	request  atomic.Uint64 // the latest that was written
	verified atomic.Bool
	refused  atomic.Bool // somebody has answered, who is not the one

	// mu guards the fields below. A Read holds it while it waits, so that Close must
	// not take it.
	mu    sync.Mutex
	in    []byte // received, from next on not passed on
	next  int
	rest  int  // bytes of the present message that are not passed on
	stray bool // there was more than the present message
	asked asked
	err   error // refused: why
}

// Read reads from the socket.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.rest == 0 {
		// After a time-out the next Read goes on where this one stopped.
		if err := c.begin(); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), c.rest)]
	if c.next < len(c.in) {
		n = copy(p, c.in[c.next:])
		c.next += n
	} else {
		n, err = c.Conn.Read(p)
	}
	c.rest -= n
	if c.next == len(c.in) {
		c.empty()
	} else if c.rest == 0 {
		// It has come before the next request could be written.
		c.stray = !c.asked.more
	}
	return n, err
}

// Write writes to the socket, and notes which request it is that must be answered next.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.verified.Load() {
		c.wrote.Store(int64(time.Since(c.born)))
	}
	c.request.Store(requestOf(p, c.request.Load()))
	return c.Conn.Write(p)
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.d.untrack(c)
	return c.Conn.Close()
}

func (c *Conn) raw() net.Conn {
	if tc, ok := c.Conn.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.Conn
}

// begin reads as much of the next message as must be seen before any of it is passed on.
func (c *Conn) begin() error {
	if c.stray {
		return c.refuse("bytes came that answer nothing")
	}
	if err := c.receive(headerSize); err != nil {
		return err
	}
	first := !c.verified.Load()
	limit := maxMessage
	request := c.request.Load()
	if first || request&helloRequest != 0 {
		limit = maxHello
	}
	h := headerOf(c.in[c.next:])
	if got := h.check(limit); got != "" {
		return c.refuse(got)
	}
	need := seen
	switch {
	case first || h.opcode != opMsg:
		need = h.size
	case h.size > promised:
		need = h.size / 8
	}
	if err := c.receive(need); err != nil {
		return err
	}
	if got := c.asked.checkReply(h, c.in[c.next:], request, first); got != "" {
		return c.refuse(got)
	}
	if h.opcode == opCompressed {
		plain, err := decompress(c.in[c.next:c.next+h.size], limit)
		if err != nil {
			return c.refuse("a reply that can not be decompressed: " + err.Error())
		}
		rest := c.in[c.next+h.size:]
		c.in, c.next, h.size = append(plain, rest...), 0, len(plain)
	}
	if first {
		if err := c.verify(c.in[c.next : c.next+h.size]); err != nil {
			return c.fail(err)
		}
		c.verified.Store(true)
	}
	c.rest = h.size
	return nil
}

// receive reads until there are n bytes that were not passed on.
func (c *Conn) receive(n int) error {
	for empty := 0; len(c.in)-c.next < n; {
		if len(c.in) == cap(c.in) {
			// It grows with what has arrived, not with what a length promises.
			have := c.in[c.next:]
			bigger := make([]byte, len(have), max(buffered, 2*len(have)))
			copy(bigger, have)
			c.in, c.next = bigger, 0
		}
		got, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+got]
		switch {
		case got > 0:
			// An error that came along comes again.
			empty = 0
		case err == io.EOF && len(c.in) > c.next:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		default:
			if empty++; empty == 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// empty makes the buffer ready for the next message.
func (c *Conn) empty() {
	c.in, c.next = c.in[:0], 0
	if cap(c.in) > buffered {
		c.in = nil
	}
}

// verify looks at the whole first reply.
func (c *Conn) verify(reply []byte) error {
	rtt := time.Since(c.born) - time.Duration(c.wrote.Load())
	hello, err := soleDocument(reply)
	if err == nil {
		err = hello.Validate()
	}
	if err != nil {
		return c.d.stranger(c, "something else (a first reply where "+err.Error()+")")
	}
	if err := c.d.cfg.Check(hello, c.RemoteAddr()); err != nil {
		return err
	}
	if err := c.d.accept(c); err != nil {
		return err
	}
	if c.d.cfg.Verified != nil {
		c.d.cfg.Verified(rtt)
	}
	return nil
}

// refuse ends the socket for what has come over it.
func (c *Conn) refuse(got string) error {
	if !c.verified.Load() {
		return c.fail(c.d.stranger(c, "something else ("+got+")"))
	}
	return c.fail(&messages.ProtocolError{Host: c.d.cfg.Host, Remote: c.RemoteAddr().String(), Reason: got})
}

func (c *Conn) fail(err error) error {
	c.err, c.in = err, nil
	c.refused.Store(IsRefusal(err))
	c.Close()
	if c.refused.Load() {
		c.d.refuse(c, err)
	}
	return err
}
