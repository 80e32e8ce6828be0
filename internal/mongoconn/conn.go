package mongoconn

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The states of a Conn.
const (
	unverified uint32 = iota // nothing was passed on
	passing                  // verified; not all of the first reply is passed on
	through                  // reads go straight to the socket
	refused                  // reads fail
)

// Of the wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
const (
	headerSize   = 16 // messageLength, requestID, responseTo, opCode
	opReply      = 1
	opCompressed = 2012
	opMsg        = 2013

	replySize    = 20 // responseFlags, cursorID, startingFrom, numberReturned
	replyFailure = 1 << 1

	msgChecksum = 1 << 0
	// msgRequired are the flag bits that a receiver must know, of which there are
	// two: checksumPresent and moreToCome.
	msgRequired = 1<<16 - 1
	msgMore     = 1 << 1

	// maxFirstReply is the largest document, and room for what surrounds it.
	maxFirstReply = 16<<20 + 16<<10
)

// Conn is a socket that passes nothing on before its first reply was read whole
// and verified. When it does not pass, the socket is closed, and every Read
// fails with the reason. After that reply a Read costs one atomic load more than
// the socket's own.
type Conn struct {
	net.Conn
	d    *Dialer
	at   netip.Addr // where it leads, zero when that is not the Dialer's to say
	born time.Time
	// asked is when the last byte before the first reply was written, since born.
	asked atomic.Int64
	state atomic.Uint32

	// mu guards the fields below. A Read holds it while it waits for the first
	// reply, so that Close must not take it.
	mu    sync.Mutex
	reply []byte // what was received of the first reply
	next  int    // passing: the first byte that is not passed on
	err   error  // refused: why
}

// Read reads from the socket.
func (c *Conn) Read(p []byte) (int, error) {
	if c.state.Load() == through {
		return c.Conn.Read(p)
	}
	return c.readFirst(p)
}

// Write writes to the socket. Before the first reply it notes the time.
func (c *Conn) Write(p []byte) (int, error) {
	if c.state.Load() == unverified {
		c.asked.Store(int64(time.Since(c.born)))
	}
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

func (c *Conn) readFirst(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state.Load() {
	case refused:
		return 0, c.err
	case through: // by a Read that was waited for
		return c.Conn.Read(p)
	case unverified:
		if len(p) == 0 {
			return 0, nil
		}
		// After a time-out the next Read goes on where this one stopped.
		got, err := c.receive()
		if err != nil {
			return 0, err
		}
		if err := c.verify(got); err != nil {
			c.err, c.reply = err, nil
			c.state.Store(refused)
			c.Close()
			if IsRefusal(err) {
				c.d.refuse(c, err)
			}
			return 0, err
		}
		c.state.Store(passing)
	}
	n := copy(p, c.reply[c.next:])
	if c.next += n; c.next == len(c.reply) {
		c.reply = nil
		c.state.Store(through)
	}
	return n, nil
}

// receive reads until the first reply is whole, or it is clear that it is none;
// then got says what it is instead.
func (c *Conn) receive() (got string, err error) {
	for empty := 0; ; {
		need := headerSize
		if len(c.reply) >= headerSize {
			size := binary.LittleEndian.Uint32(c.reply)
			if got := badHeader(size, binary.LittleEndian.Uint32(c.reply[12:])); got != "" {
				return got, nil
			}
			need = int(size)
			if len(c.reply) == need {
				return "", nil
			}
		}
		// The buffer grows with what has arrived, not with what the length promises.
		if len(c.reply) == cap(c.reply) {
			bigger := make([]byte, len(c.reply), max(1024, 2*len(c.reply)))
			copy(bigger, c.reply)
			c.reply = bigger
		}
		// Not a byte beyond the first reply is taken.
		n, err := c.Conn.Read(c.reply[len(c.reply):min(need, cap(c.reply))])
		c.reply = c.reply[:len(c.reply)+n]
		switch {
		case n > 0:
			// An error that came along comes again.
			empty = 0
		case err == io.EOF && len(c.reply) > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		default:
			if empty++; empty == 100 {
				return "", io.ErrNoProgress
			}
		}
	}
}

// verify looks at the whole first reply, unless got says that it is none.
func (c *Conn) verify(got string) error {
	rtt := time.Since(c.born) - time.Duration(c.asked.Load())
	var hello bson.Raw
	if got == "" {
		hello, got = helloDocument(c.reply)
	}
	if got != "" {
		return c.d.stranger(c, got)
	}
	if err := c.d.cfg.Check(hello, c.RemoteAddr()); err != nil {
		return err
	}
	if err := c.d.accept(c); err != nil {
		return err
	}
	if c.d.cfg.Verified != nil {
		c.d.cfg.Verified(hello, rtt)
	}
	return nil
}

// badHeader says what a message is that cannot be a first reply, "" for one that
// can.
func badHeader(size, opcode uint32) string {
	switch {
	case opcode == opCompressed:
		// Compression is negotiated by the first reply: it cannot be in use yet.
		return "a compressed first reply"
	case opcode != opReply && opcode != opMsg:
		return fmt.Sprintf("something else (a first reply with opcode %d)", opcode)
	case size < headerSize || size > maxFirstReply:
		return fmt.Sprintf("something else (a first reply of %d bytes)", size)
	}
	return ""
}

var errLayout = errors.New("its parts do not add up")

// helloDocument returns the document of a whole OP_REPLY or OP_MSG, or says what the
// message is instead.
func helloDocument(msg []byte) (doc bson.Raw, got string) {
	body := msg[headerSize:]
	var err error
	if binary.LittleEndian.Uint32(msg[12:]) == opReply {
		doc, err = replyDocument(body)
	} else {
		doc, err = msgDocument(body)
	}
	if err == nil {
		err = doc.Validate()
	}
	if err != nil {
		return nil, fmt.Sprintf("something else (a first reply where %v)", err)
	}
	return doc, ""
}

func replyDocument(body []byte) (bson.Raw, error) {
	if len(body) < replySize {
		return nil, errLayout
	}
	if flags := binary.LittleEndian.Uint32(body); flags&replyFailure != 0 {
		// What follows is {$err: …}, which the check does not take for a hello.
		return soleDocument(body[replySize:])
	}
	if n := binary.LittleEndian.Uint32(body[16:]); n != 1 {
		return nil, fmt.Errorf("there are %d documents", n)
	}
	return soleDocument(body[replySize:])
}

func msgDocument(body []byte) (bson.Raw, error) {
	if len(body) < 5 {
		return nil, errLayout
	}
	flags := binary.LittleEndian.Uint32(body)
	if unknown := flags & msgRequired &^ (msgChecksum | msgMore); unknown != 0 {
		return nil, fmt.Errorf("flags %#x are set", unknown)
	}
	if body[4] != 0 {
		return nil, fmt.Errorf("the first section is of kind %d", body[4])
	}
	rest := body[5:]
	if flags&msgChecksum != 0 {
		if len(rest) < 4 {
			return nil, errLayout
		}
		rest = rest[:len(rest)-4]
	}
	return soleDocument(rest)
}

// soleDocument returns b if it is one document from end to end.
func soleDocument(b []byte) (bson.Raw, error) {
	if len(b) < 5 || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) {
		return nil, errLayout
	}
	return bson.Raw(b), nil
}
