package mongoconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Of the wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
const (
	headerSize   = 16 // messageLength, requestID, responseTo, opCode
	opReply      = 1
	opQuery      = 2004
	opCompressed = 2012
	opMsg        = 2013

	replySize    = 20 // responseFlags, cursorID, startingFrom, numberReturned
	replyFailure = 1 << 1

	msgChecksum = 1 << 0
	// msgRequired are the flag bits that a receiver must know, of which there are
	// two: checksumPresent and moreToCome.
	msgRequired = 1<<16 - 1
	msgMore     = 1 << 1
	msgExhaust  = 1 << 16

	// seen is what is looked at of each message: the header, and of an OP_MSG its flags, the kind
	// of its first section and the length of the document in it; of an OP_COMPRESSED
	// the opcode, the size and the compressor.
	seen = headerSize + 9

	// maxMessage is a server's maxMessageSizeBytes. Whatever a hello says, no server sends more.
	maxMessage = 48_000_000
	// maxHello is many times what a set of 50 members with long names and tags says.
	maxHello = 1 << 20
)

// A request as Write notes it: its number, what a reply to it must be, and in the upper bits
// a count that tells it from the one before.
const (
	wholeRequest      uint64 = 1 << (32 + iota) // it was one message, as the driver writes them
	legacyRequest                               // OP_QUERY
	compressedRequest                           // OP_COMPRESSED
	helloRequest
	exhaustRequest // may be answered by a stream of replies

	requestCount = 1 << 40
)

func requestOf(p []byte, before uint64) uint64 {
	r := before&^(requestCount-1) + requestCount
	if len(p) < headerSize || uint64(binary.LittleEndian.Uint32(p)) != uint64(len(p)) {
		return r
	}
	r |= wholeRequest | uint64(binary.LittleEndian.Uint32(p[4:]))
	switch binary.LittleEndian.Uint32(p[12:]) {
	case opQuery:
		r |= legacyRequest | helloRequest // The driver has no other use for it.
	case opCompressed:
		r |= compressedRequest
	case opMsg:
		if len(p) < seen+1 {
			break
		}
		if binary.LittleEndian.Uint32(p[headerSize:])&msgExhaust != 0 {
			r |= exhaustRequest
		}
		// The first section has the command, whose first field is its name.
		name, _, _ := bytes.Cut(p[seen+1:], []byte{0})
		switch string(name) {
		case "hello", "isMaster", "ismaster":
			r |= helloRequest
		}
	}
	return r
}

type header struct {
	size, opcode   int
	id, responseTo uint32
}

func headerOf(b []byte) header {
	return header{
		size: int(int32(binary.LittleEndian.Uint32(b))), id: binary.LittleEndian.Uint32(b[4:]),
		responseTo: binary.LittleEndian.Uint32(b[8:]), opcode: int(int32(binary.LittleEndian.Uint32(b[12:]))),
	}
}

// check says what is wrong with a header of a reply, "" for nothing.
func (h header) check(limit int) string {
	switch {
	case h.opcode != opReply && h.opcode != opMsg && h.opcode != opCompressed:
		return fmt.Sprintf("a reply with opcode %d", h.opcode)
	case h.size < seen || h.size > limit:
		return fmt.Sprintf("a reply of %d bytes", h.size)
	}
	return ""
}

// asked is what is known of the requests and replies of a socket: the driver writes a request, and
// reads all of its reply, before it writes the next one.
type asked struct {
	request uint64 // the latest that was answered
	reply   uint32 // the latest reply's own number
	more    bool   // another reply follows it
	hellos  int    // replies to hello since second
	second  time.Time
}

// checkReply looks at the part of a reply that must have arrived, and says what is wrong with
// it, "" for nothing:
//   - it answers the latest request, or, where that has asked for a stream, goes on with it;
//   - it is one document of the length that is left for it, so that what the driver makes
//     of it can only be that document; no server sends a driver anything else;
//   - it is compressed only if the request was, and of the opcode that the request asks for;
//   - there are not more replies to hello than a server has reason to send.
func (a *asked) checkReply(h header, b []byte, request uint64, first bool) string {
	whole := request&wholeRequest != 0
	if whole {
		switch {
		case a.more && request == a.request:
			// Within a stream each reply answers the one before.
			if h.responseTo != a.reply && h.responseTo != uint32(request) {
				return "a stream goes on with a reply to something else"
			}
		case request == a.request:
			return "a reply to nothing"
		case h.responseTo != uint32(request):
			return fmt.Sprintf("a reply to request %d, not to %d", h.responseTo, uint32(request))
		}
	}
	more := false
	switch h.opcode {
	case opMsg:
		flags, got := checkMsg(b, h.size)
		if got != "" {
			return got
		}
		more = flags&msgMore != 0
		if more && whole && request&exhaustRequest == 0 {
			return "a stream that nobody has asked for"
		}
	case opReply:
		if whole && request&legacyRequest == 0 {
			return "a legacy reply"
		}
		if _, err := replyDocument(b[:h.size]); err != nil {
			return "a reply where " + err.Error()
		}
	case opCompressed:
		if first || request&compressedRequest == 0 {
			return "a compressed reply"
		}
	}
	if request&helloRequest != 0 {
		now := time.Now()
		if now.Sub(a.second) >= time.Second {
			a.second, a.hellos = now, 0
		}
		if a.hellos++; a.hellos > maxHellos {
			return fmt.Sprintf("more than %d replies to hello within a second", maxHellos)
		}
	}
	a.request, a.reply, a.more = request, h.id, more
	return ""
}

// checkMsg looks at the first bytes of an OP_MSG of that size.
func checkMsg(b []byte, size int) (flags uint32, got string) {
	flags = binary.LittleEndian.Uint32(b[headerSize:])
	if unknown := flags & msgRequired &^ (msgChecksum | msgMore); unknown != 0 {
		return 0, fmt.Sprintf("a reply where flags %#x are set", unknown)
	}
	if kind := b[headerSize+4]; kind != 0 {
		return 0, fmt.Sprintf("a reply where the first section is of kind %d", kind)
	}
	left := size - headerSize - 5
	if flags&msgChecksum != 0 {
		left -= 4
	}
	if n := int(int32(binary.LittleEndian.Uint32(b[headerSize+5:]))); n != left || n < 5 {
		return 0, "a reply where " + errLayout.Error()
	}
	return flags, ""
}

var errLayout = errors.New("its parts do not add up")

// soleDocument returns the document of a whole message that checkReply has let pass.
func soleDocument(msg []byte) (bson.Raw, error) {
	if headerOf(msg).opcode == opReply {
		return replyDocument(msg)
	}
	doc := msg[headerSize+5:]
	return bson.Raw(doc[:binary.LittleEndian.Uint32(doc)]), nil
}

// replyDocument returns the document of a whole OP_REPLY.
func replyDocument(msg []byte) (bson.Raw, error) {
	body := msg[headerSize:]
	if len(body) < replySize+5 {
		return nil, errLayout
	}
	// After a failure what follows is {$err: …}, which the check does not take for a hello.
	failed := binary.LittleEndian.Uint32(body)&replyFailure != 0
	if n := binary.LittleEndian.Uint32(body[16:]); n != 1 && !failed {
		return nil, fmt.Errorf("there are %d documents", n)
	}
	doc := body[replySize:]
	if uint64(binary.LittleEndian.Uint32(doc)) != uint64(len(doc)) {
		return nil, errLayout
	}
	return bson.Raw(doc), nil
}
