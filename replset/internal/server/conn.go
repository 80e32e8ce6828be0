package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"time"
)

// keepBuffer is the largest buffer a connection keeps between requests.
const keepBuffer = 1 << 20

// handshakeTimeout is how long a client may take for its TLS handshake.
const handshakeTimeout = 10 * time.Second

// conn is one client's connection. Its fields belong to the goroutine that
// serves it, except those that hangUp and cut use.
type conn struct {
	s      *Server
	raw    net.Conn // the socket, which cut closes
	nc     net.Conn // what is spoken through: the socket, or TLS over it
	br     *bufio.Reader
	id     int32
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	once   sync.Once

	in    []byte // the request, whole
	msg   message
	req   request
	opCtx context.Context // ends with the command: ctx, or sooner
	out   builder
	blow  blow  // what the faults do to the command
	sent  int32 // the replies' own request ids

	appName     string
	astray      bool // it meant to reach another server
	greeted     bool // it has said hello
	tally       *tally
	loggedIn    bool
	user        string
	userDB      string // where the user is
	subject     string // of the client's certificate, "" for none
	login       *login
	wroteBefore bool // a write has succeeded on this connection
	helloOk     bool // the client knows hello by that name
	stream      helloStream
}

func newConn(s *Server, nc net.Conn, astray bool) *conn {
	c := &conn{s: s, raw: nc, nc: nc, id: s.nextID.Add(1), astray: astray}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.tally = s.counters.of(client{astray: astray})
	return c
}

// hangUp closes the connection from any goroutine. A command that is under way
// goes on to its end.
func (c *conn) hangUp() { c.once.Do(func() { c.raw.Close() }) }

// cut is hangUp, and gives up what is under way.
func (c *conn) cut() {
	c.cancel()
	c.hangUp()
}

func (c *conn) serve() error {
	if err := c.handshake(); err != nil {
		return err
	}
	c.br = bufio.NewReaderSize(c.nc, 16<<10)
	for {
		var err error
		c.in, err = readMessage(c.br, c.in)
		if err != nil {
			return err
		}
		if err := c.s.gate.pass(c.ctx); err != nil {
			return err
		}
		if err := c.answer(); err != nil {
			return err
		}
		if c.req.retain || cap(c.in) > keepBuffer {
			c.in = nil
		}
		if cap(c.out.b) > keepBuffer {
			c.out.b = nil
		}
	}
}

// handshake makes the connection a TLS one where the server asks for that.
func (c *conn) handshake() error {
	if c.s.tls == nil {
		return nil
	}
	if err := c.s.gate.pass(c.ctx); err != nil {
		return err
	}
	tc := tls.Server(c.raw, c.s.tls)
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.nc = tc
	c.subject = subjectOf(tc)
	return nil
}

// answer executes the request in c.in and sends what there is to say.
func (c *conn) answer() error {
	if err := parseMessage(c.in, &c.msg); err != nil {
		if errors.Is(err, errConnection) {
			return err
		}
		return c.answerMalformed(err)
	}
	if opcode := c.msg.retired(); opcode != "" {
		return c.answerRetired(opcode)
	}
	c.stream.on = false
	for {
		c.beginReply()
		c.blow = blow{}
		if err := c.execute(); err != nil {
			return err
		}
		if c.blow.cut == CutAfter || c.blow.cut == CutWithin && !c.msg.wantsReply() {
			return errCut
		}
		if !c.msg.wantsReply() {
			return nil
		}
		more := c.req.more && c.msg.flags&flagExhaust != 0
		if err := c.endReply(more); err != nil || !more {
			return err
		}
		// The next reply of the stream answers this one.
		c.msg.requestID = c.sent
		if err := c.s.gate.pass(c.ctx); err != nil {
			return err
		}
	}
}

// answerMalformed answers what is no request at all.
func (c *conn) answerMalformed(err error) error {
	if !c.msg.wantsReply() {
		return nil
	}
	c.req = request{msg: &c.msg, args: c.req.args[:0]}
	c.beginReply()
	at := c.out.open()
	st := c.s.node.Status()
	c.appendError(&c.req, asError(err), nil, &st)
	c.appendTimes(&c.req, &st)
	c.out.close(at)
	return c.endReply(false)
}

// answerRetired refuses an opcode in the way that clients which use it understand: as
// the failure of an OP_QUERY.
func (c *conn) answerRetired(opcode string) error {
	if !c.msg.wantsReply() {
		return nil
	}
	c.beginReply()
	binary.LittleEndian.PutUint32(c.out.b[headerSize:], replyFailure)
	at := c.out.open()
	c.out.string("$err", opcode+" is no longer supported. The client driver may require an upgrade. For more details see https://dochub.mongodb.org/core/legacy-opcode-removal")
	c.out.int32("code", codeRetiredOpcode)
	c.out.double("ok", 0)
	c.out.close(at)
	return c.endReply(false)
}

func (c *conn) beginReply() {
	c.sent++
	beginReply(&c.out, &c.msg, c.sent)
}

// endReply sends the reply in c.out, when the server is not frozen.
func (c *conn) endReply(more bool) error {
	endReply(&c.out, &c.msg, more)
	if err := c.s.gate.pass(c.ctx); err != nil {
		return err
	}
	reply := c.out.b
	if c.blow.cut == CutWithin {
		reply = reply[:len(reply)/2]
	}
	if _, err := c.nc.Write(reply); err != nil {
		return err
	}
	if c.blow.cut == CutWithin {
		return errCut
	}
	return nil
}

// isCommandCollection says whether an OP_QUERY is a command.
func isCommandCollection(name string) bool {
	return strings.HasSuffix(name, ".$cmd") && len(name) > len(".$cmd")
}
