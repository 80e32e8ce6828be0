package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The limits that hello announces.
const (
	maxMessageSize = 48_000_000
	maxDocument    = 16 << 20
	maxBatch       = 100_000
)

// The opcodes spoken here. OP_COMPRESSED is not: no compressor is offered.
const (
	opReply   = 1
	opQuery   = 2004
	opGetMore = 2005 // refused
	opMsg     = 2013
)

// retiredOpcodes are those that the server has given up; it knows them only to say so.
// Nobody waits for an answer to the ones that write.
var retiredOpcodes = map[int32]string{
	2001: "OP_UPDATE", 2002: "OP_INSERT", opGetMore: "OP_GET_MORE", 2006: "OP_DELETE", 2007: "OP_KILL_CURSORS",
}

// The flags of an OP_MSG. The lower half are those a receiver must know.
const (
	flagChecksum   = 1 << 0
	flagMoreToCome = 1 << 1
	flagExhaust    = 1 << 16
	flagsRequired  = 0xffff
	flagsKnown     = flagChecksum | flagMoreToCome
)

// The flags of an OP_QUERY and an OP_REPLY.
const (
	querySecondaryOk  = 1 << 2
	replyFailure      = 1 << 1 // the document is an error
	replyAwaitCapable = 1 << 3
)

const headerSize = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errConnection is wrapped by what makes the server hang up instead of answer:
// bytes that are no message, or one that it must not guess the meaning of.
var errConnection = errors.New("server: broken connection")

type header struct {
	length     int
	requestID  int32
	responseTo int32
	opcode     int32
}

// message is a request as it came; everything in it aliases the buffer it was
// read into.
type message struct {
	header
	flags uint32
	body  bson.Raw
	seqs  []sequence
	query string // the collection's full name, for an OP_QUERY
}

// sequence is a document sequence: documents of the body's array of that name,
// sent beside it.
type sequence struct {
	name string
	docs []bson.Raw
}

// wantsReply is false for a message that must not be answered.
func (m *message) wantsReply() bool {
	if m.opcode == opMsg {
		return m.flags&flagMoreToCome == 0
	}
	return m.opcode == opQuery || m.opcode == opGetMore
}

// retired is the name of the opcode of a message that the server does not serve any
// more, "" for any other. An OP_QUERY is one when it is no command.
func (m *message) retired() string {
	if m.opcode == opQuery && !isCommandCollection(m.query) {
		return "OP_QUERY"
	}
	return retiredOpcodes[m.opcode]
}

// readMessage reads one message into buf, which it returns grown as needed.
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var head [headerSize]byte
	if cap(buf) < headerSize {
		buf = make([]byte, 0, 4096)
	}
	buf = buf[:headerSize]
	if _, err := io.ReadFull(r, buf); err != nil {
		return buf, err
	}
	copy(head[:], buf)
	n := int(int32(binary.LittleEndian.Uint32(head[:])))
	if n < headerSize || n > maxMessageSize {
		return buf, fmt.Errorf("%w: message of %d bytes", errConnection, n)
	}
	// The length is only a claim: the buffer grows with what really comes.
	for have := headerSize; have < n; {
		step := min(n, max(2*have, 64<<10))
		if cap(buf) < step {
			grown := make([]byte, have, step)
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:step]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
		have = step
	}
	return buf, nil
}

// parseMessage takes a whole message apart. An error that is not an
// errConnection is to be answered; m.header and m.flags are then valid.
func parseMessage(b []byte, m *message) error {
	seqs := m.seqs[:0]
	*m = message{seqs: seqs}
	if len(b) < headerSize {
		return fmt.Errorf("%w: message of %d bytes", errConnection, len(b))
	}
	m.header = header{
		length:     int(int32(binary.LittleEndian.Uint32(b))),
		requestID:  int32(binary.LittleEndian.Uint32(b[4:])),
		responseTo: int32(binary.LittleEndian.Uint32(b[8:])),
		opcode:     int32(binary.LittleEndian.Uint32(b[12:])),
	}
	if m.length != len(b) {
		return fmt.Errorf("%w: message of %d bytes claims %d", errConnection, len(b), m.length)
	}
	switch m.opcode {
	case opMsg:
		return m.parseMsg(b)
	case opQuery:
		return m.parseQuery(b[headerSize:])
	}
	if m.retired() != "" {
		return nil
	}
	return fmt.Errorf("%w: opcode %d", errConnection, m.opcode)
}

func (m *message) parseMsg(whole []byte) error {
	b := whole[headerSize:]
	if len(b) < 4 {
		return fmt.Errorf("%w: OP_MSG without flags", errConnection)
	}
	m.flags = binary.LittleEndian.Uint32(b)
	b = b[4:]
	if m.flags&flagsRequired&^flagsKnown != 0 {
		return fmt.Errorf("%w: OP_MSG with flags %#x", errConnection, m.flags)
	}
	if m.flags&flagChecksum != 0 {
		if len(b) < 4 {
			return fmt.Errorf("%w: OP_MSG without its checksum", errConnection)
		}
		end := len(whole) - 4
		if crc32.Checksum(whole[:end], castagnoli) != binary.LittleEndian.Uint32(whole[end:]) {
			return fmt.Errorf("%w: OP_MSG checksum does not match contents", errConnection)
		}
		b = b[:len(b)-4]
	}
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		switch kind {
		case 0:
			if m.body != nil {
				return refuse(40430, "Multiple body sections in message")
			}
			n, err := checkDocument(b)
			if err != nil {
				return err
			}
			m.body, b = bson.Raw(b[:n:n]), b[n:]
		case 1:
			size, ok := length(b)
			if !ok || size < 5 || size > len(b) {
				return errInvalidBSON("document sequence of a wrong length")
			}
			if err := m.parseSequence(b[4:size]); err != nil {
				return err
			}
			b = b[size:]
		default:
			return refuse(40432, "Unknown section kind %d", kind)
		}
	}
	if m.body == nil {
		return refuse(40587, "OP_MSG messages must have a body")
	}
	return m.checkSequenceNames()
}

func (m *message) parseSequence(b []byte) error {
	name, ok := cstring(b)
	if !ok {
		return errInvalidBSON("document sequence without a name")
	}
	b = b[len(name)+1:]
	for i := range m.seqs {
		if m.seqs[i].name == string(name) {
			return refuse(40431, "Duplicate document sequence: %s", name)
		}
	}
	var seq sequence
	if len(m.seqs) < cap(m.seqs) {
		seq.docs = m.seqs[:len(m.seqs)+1][len(m.seqs)].docs[:0]
	}
	seq.name = string(name)
	count := 0
	for len(b) > 0 {
		n, err := checkDocument(b)
		if err != nil {
			return err
		}
		// Each document costs its slice header: millions of empty ones must not cost
		// more than the message.
		if count++; count <= maxBatch {
			seq.docs = append(seq.docs, bson.Raw(b[:n:n]))
		}
		b = b[n:]
	}
	if count > maxBatch {
		return errBatchSize(count)
	}
	m.seqs = append(m.seqs, seq)
	return nil
}

// checkSequenceNames refuses a field that is given twice, in the body and as a
// sequence.
func (m *message) checkSequenceNames() error {
	if len(m.seqs) == 0 {
		return nil
	}
	for s := scan(m.body); ; {
		f, ok := s.next()
		if !ok {
			return nil
		}
		for i := range m.seqs {
			if m.seqs[i].name == string(f.key) {
				return refuse(40433, "Duplicate field between body and document sequence %s", f.key)
			}
		}
	}
}

func (m *message) parseQuery(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%w: OP_QUERY cut short", errConnection)
	}
	m.flags = binary.LittleEndian.Uint32(b)
	name, ok := cstring(b[4:])
	if !ok {
		return fmt.Errorf("%w: OP_QUERY cut short", errConnection)
	}
	m.query = string(name)
	b = b[4+len(name)+1:]
	if len(b) < 8 {
		return fmt.Errorf("%w: OP_QUERY cut short", errConnection)
	}
	b = b[8:] // numberToSkip and numberToReturn say nothing about a command
	n, err := checkDocument(b)
	if err != nil {
		return err
	}
	m.body, b = bson.Raw(b[:n:n]), b[n:]
	if len(b) > 0 { // a projection, which a command does not have
		if n, err = checkDocument(b); err != nil {
			return err
		}
		if n != len(b) {
			return errInvalidBSON("OP_QUERY with bytes after its documents")
		}
	}
	return nil
}

// beginReply starts an answer to m in w; the caller appends one document and
// ends it with endReply.
func beginReply(w *builder, m *message, id int32) {
	w.b = append(w.b[:0], 0, 0, 0, 0)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(id))
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(m.requestID))
	if m.opcode != opMsg {
		w.b = binary.LittleEndian.AppendUint32(w.b, opReply)
		w.b = binary.LittleEndian.AppendUint32(w.b, replyAwaitCapable)
		w.b = append(w.b, 0, 0, 0, 0, 0, 0, 0, 0) // cursor id
		w.b = append(w.b, 0, 0, 0, 0)             // starting from
		w.b = append(w.b, 1, 0, 0, 0)             // one document
		return
	}
	w.b = binary.LittleEndian.AppendUint32(w.b, opMsg)
	w.b = append(w.b, 0, 0, 0, 0) // flags
	w.b = append(w.b, 0)          // section kind: body
}

// endReply fills in what is known at the end. The answer to a message with a
// checksum has one too.
func endReply(w *builder, m *message, moreToCome bool) {
	size := len(w.b)
	if m.opcode == opMsg {
		flags := uint32(0)
		if moreToCome {
			flags |= flagMoreToCome
		}
		if m.flags&flagChecksum != 0 {
			flags |= flagChecksum
			size += 4
		}
		binary.LittleEndian.PutUint32(w.b[headerSize:], flags)
	}
	binary.LittleEndian.PutUint32(w.b, uint32(size))
	if m.opcode == opMsg && m.flags&flagChecksum != 0 {
		w.b = binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b, castagnoli))
	}
}
