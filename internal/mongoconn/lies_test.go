package mongoconn

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// question is a request as the driver writes it.
func question(id uint32, flags uint32, name string) []byte {
	b := message(0, false, flags, bson.D{{Key: name, Value: 1}})
	binary.LittleEndian.PutUint32(b[4:], id)
	return b
}

// as changes the fields of a message's header and flags.
func as(msg []byte, change func(b []byte)) []byte {
	msg = bytes.Clone(msg)
	change(msg)
	return msg
}

func sized(n uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b, n) }
}

func opcode(n uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[12:], n) }
}

// packed makes an OP_COMPRESSED of a message. It says that it holds size bytes, or what it
// holds for -1.
func packed(msg []byte, compressor byte, size int) []byte {
	body, b := msg[headerSize:], bytes.Clone(msg[:headerSize])
	if size < 0 {
		size = len(body)
	}
	opcode(opCompressed)(b)
	b = append(b, msg[12:16]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = append(b, compressor)
	switch compressor {
	case 0:
		b = append(b, body...)
	case 1:
		b = append(b, snappy.Encode(nil, body)...)
	case 2:
		var out bytes.Buffer
		w := zlib.NewWriter(&out)
		w.Write(body)
		w.Close()
		b = append(b, out.Bytes()...)
	case 3:
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		b = append(b, w.EncodeAll(body, nil)...)
		w.Close()
	}
	sized(uint32(len(b)))(b)
	return b
}

// A good reply to request 2, and a stream's.
var (
	good   = message(2, false, 0, bson.D{{Key: "ok", Value: 1}})
	goesOn = message(2, false, msgMore, bson.D{{Key: "ok", Value: 1}})
	bomb   = message(2, false, 0, bson.D{{Key: "zeros", Value: make([]byte, 10<<20)}})
)

func TestWhatIsNoReplyToTheRequestIsNotPassedOn(t *testing.T) {
	find, hello, stream := question(2, 0, "find"), question(2, 0, "hello"), question(2, msgExhaust, "hello")
	squeezed := packed(find, 1, -1)
	for name, tt := range map[string]struct {
		ask, got []byte
		fine     bool
		want     string
	}{
		"a reply":                           {ask: find, got: good, fine: true},
		"a reply to another request":        {ask: find, got: message(3, false, 0, bson.D{}), want: "to request 3"},
		"a negative length":                 {ask: find, got: as(good, sized(1<<31+9)), want: "bytes"},
		"a length of 4":                     {ask: find, got: as(good, sized(4)), want: "4 bytes"},
		"a length of 20":                    {ask: find, got: as(good, sized(20)), want: "20 bytes"},
		"a length beyond all bounds":        {ask: find, got: as(good, sized(maxMessage+1)), want: "48000001 bytes"},
		"a length that its document lacks":  {ask: find, got: as(good, sized(uint32(len(good)+1))), want: "add up"},
		"a hello of many megabytes":         {ask: hello, got: as(good, sized(maxHello+1)), want: "bytes"},
		"garbage":                           {ask: find, got: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), want: "opcode"},
		"a request":                         {ask: find, got: as(good, opcode(opQuery)), want: "opcode"},
		"a legacy reply":                    {ask: find, got: message(2, true, 0, bson.D{}), want: "legacy"},
		"a section of documents":            {ask: find, got: as(good, func(b []byte) { b[20] = 1 }), want: "kind 1"},
		"an unknown flag":                   {ask: find, got: as(good, func(b []byte) { b[16] = 1 << 4 }), want: "flags"},
		"a stream that was asked for":       {ask: stream, got: goesOn, fine: true},
		"a stream that was not":             {ask: hello, got: goesOn, want: "nobody has asked"},
		"compressed as asked: not":          {ask: squeezed, got: packed(good, 0, -1), fine: true},
		"compressed as asked: snappy":       {ask: squeezed, got: packed(good, 1, -1), fine: true},
		"compressed as asked: zlib":         {ask: squeezed, got: packed(good, 2, -1), fine: true},
		"compressed as asked: zstd":         {ask: squeezed, got: packed(good, 3, -1), fine: true},
		"compressed, unasked":               {ask: find, got: packed(good, 1, -1), want: "compressed"},
		"compressed in an unknown way":      {ask: squeezed, got: packed(good, 9, -1), want: "compressor"},
		"compressed twice":                  {ask: squeezed, got: packed(packed(good, 1, -1), 1, -1), want: "opcode"},
		"a negative size inside":            {ask: squeezed, got: packed(good, 2, 1<<31+3), want: "bytes"},
		"a size inside beyond all bounds":   {ask: squeezed, got: packed(good, 2, maxMessage), want: "bytes"},
		"a bomb: not compressed":            {ask: squeezed, got: packed(bomb, 0, 100), want: "size"},
		"a bomb: snappy":                    {ask: squeezed, got: packed(bomb, 1, 100), want: "size"},
		"a bomb: zstd":                      {ask: squeezed, got: packed(bomb, 3, 100), want: "decompressed"},
		"less than it says: zlib":           {ask: squeezed, got: packed(good, 2, 1000), want: "decompressed"},
		"less than it says: zstd":           {ask: squeezed, got: packed(good, 3, 1000), want: "size"},
		"a bomb whose beginning is a reply": {ask: squeezed, got: packed(bomb, 2, 100), want: "add up"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := &sliced{slices: [][]byte{message(1, false, 0, bson.D{{Key: "right", Value: true}})}}
			c := checked(t, nc)
			c.Write(question(1, 0, "hello"))
			if _, err := readMessage(c, 9); err != nil {
				t.Fatal(err)
			}
			c.Write(tt.ask)
			nc.slices = [][]byte{tt.got}
			before := allocated()
			got, err := readMessage(c, 9)
			if cost := allocated() - before; cost > 1<<20+4*int64(len(tt.got)) {
				t.Errorf("it cost %d bytes, of %d that came", cost, len(tt.got))
			}
			if tt.fine {
				want := good
				if bytes.Equal(tt.got, goesOn) {
					want = goesOn
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
				return
			}
			var broken *messages.ProtocolError
			if !errors.As(err, &broken) || broken.Host != "a.test:27017" || !strings.Contains(broken.Reason, tt.want) {
				t.Errorf("got %v, want a reason with %q", err, tt.want)
			}
			if len(got) > 0 || !nc.closed {
				t.Errorf("%d bytes were passed on, the socket is closed: %v", len(got), nc.closed)
			}
			if _, again := c.Read(make([]byte, 1)); again != err {
				t.Errorf("the next Read fails with %v", again)
			}
		})
	}
}

// readMessage reads a message as the driver does, in pieces of at most n bytes, through time-outs.
func readMessage(r io.Reader, n int) (msg []byte, err error) {
	for need := 4; len(msg) < need; {
		p := make([]byte, min(n, need-len(msg)))
		got, err := r.Read(p)
		msg = append(msg, p[:got]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return msg, err
		}
		if need == 4 && len(msg) == 4 {
			need = int(binary.LittleEndian.Uint32(msg))
		}
	}
	return msg, nil
}

// allocated is how many bytes were ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

func TestWhatFollowsAReplyUnaskedIsNotPassedOn(t *testing.T) {
	for name, tt := range map[string]struct{ first, then []byte }{
		"together with the reply": {slices.Concat(good, good), nil},
		"a moment later":          {good, good},
		"after a stream's end":    {slices.Concat(goesOn, good), good},
	} {
		t.Run(name, func(t *testing.T) {
			nc := &sliced{slices: [][]byte{message(1, false, 0, bson.D{{Key: "right", Value: true}})}}
			c := checked(t, nc)
			c.Write(question(1, 0, "hello"))
			if _, err := readMessage(c, 100); err != nil {
				t.Fatal(err)
			}
			c.Write(question(2, msgExhaust, "hello"))
			nc.slices = [][]byte{tt.first}
			if _, err := readMessage(c, 100); err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(tt.first, goesOn) {
				if _, err := readMessage(c, 100); err != nil {
					t.Fatal(err)
				}
			}
			nc.slices = append(nc.slices, tt.then)
			// Even a reply to what is asked next, of which it could not know.
			if tt.then == nil {
				c.Write(question(2, 0, "find"))
			}
			if _, err := readMessage(c, 100); !errors.Is(err, messages.ErrProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALongReplyIsAnnouncedWhenAnEighthOfItIsThere(t *testing.T) {
	long := message(2, false, 0, bson.D{{Key: "pad", Value: bytes.Repeat([]byte("evenkeel"), 1<<18)}})
	for _, sizes := range [][]byte{nil, {255, 254}} {
		nc := &sliced{slices: [][]byte{message(1, false, 0, bson.D{{Key: "right", Value: true}})}}
		c := checked(t, nc)
		c.Write(question(1, 0, "hello"))
		if _, err := readMessage(c, 100); err != nil {
			t.Fatal(err)
		}
		c.Write(question(2, 0, "find"))
		nc.slices = cut(long[:len(long)/8-1], sizes)
		nc.slices = append(nc.slices, nil)
		var p [4]byte
		for {
			n, err := c.Read(p[:])
			if n > 0 {
				t.Fatal("its length is passed on before")
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			if len(nc.slices) == 0 {
				break
			}
		}
		nc.slices = cut(long[len(long)/8-1:], sizes)
		if got, err := readMessage(c, 512); err != nil || !bytes.Equal(got, long) {
			t.Errorf("%d of %d bytes, then %v", len(got), len(long), err)
		}
		if cap(c.in) > buffered {
			t.Errorf("%d bytes are kept", cap(c.in))
		}
	}
}

// It runs a conversation: each byte of asks is a request of some sort, and the
// stream is what the server sends to all of them.
func FuzzConnPassesNothingOnThatWasNotVerified(f *testing.F) {
	right := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	f.Add(right, []byte{3}, byte(7), []byte{0})
	f.Add(message(1, true, 0, bson.D{{Key: "right", Value: true}}), []byte{}, byte(1), []byte{4})
	f.Add(message(1, false, 0, bson.D{{Key: "right", Value: false}}), []byte{0, 9}, byte(200), []byte{0})
	f.Add(append(bytes.Clone(right), "more"...), []byte{200, 1}, byte(0), []byte{0, 1})
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), []byte{5}, byte(3), []byte{0})
	f.Add(message(1, false, msgChecksum, bson.D{{Key: "right", Value: true}}), []byte{1}, byte(16), []byte{0})
	for compressor := range byte(4) {
		f.Add(slices.Concat(right, packed(good, compressor, -1)), []byte{255, 30}, byte(250), []byte{0, 3})
	}
	f.Add(slices.Concat(right, goesOn, message(0, false, 0, bson.D{{Key: "ok", Value: 1}})), []byte{70, 5}, byte(90), []byte{0, 2, 5})
	f.Fuzz(func(t *testing.T, stream, sizes []byte, buf byte, asks []byte) {
		passed := false
		d, err := NewDialer(DialerConfig{
			Host: "a.test:27017",
			Check: func(hello bson.Raw, _ net.Addr) error {
				if err := hello.Validate(); err != nil {
					t.Fatalf("the check is given broken BSON: %v", err)
				}
				if right, _ := hello.Lookup("right").BooleanOK(); !right {
					return errTest
				}
				passed = true
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		nc := &sliced{slices: cut(stream, sizes)}
		c := &Conn{Conn: nc, d: d, born: time.Now()}
		var asked []byte // the latest request that was written
		for i, kind := range asks[:min(len(asks), 20)] {
			ask := question(uint32(i+1), 0, "find")
			switch kind % 6 {
			case 1:
				ask = question(uint32(i+1), 0, "hello")
			case 2:
				ask = question(uint32(i+1), msgExhaust, "hello")
			case 3:
				ask = packed(ask, 1, -1)
			case 4:
				opcode(opQuery)(ask)
			}
			readsOn := kind%6 == 5 && i > 0
			if readsOn {
				ask = asked
			} else {
				c.Write(ask)
			}
			asked = ask
			msg, err := readMessage(c, 1+int(buf))
			if limit := max(buffered, 2*len(stream)); cap(c.in) > limit && err != nil {
				t.Fatalf("%d bytes are held of %d that came", cap(c.in), len(stream))
			}
			if err != nil {
				refused := err != io.EOF && err != io.ErrUnexpectedEOF
				switch {
				case len(msg) > 0 && !passed:
					t.Fatalf("%d bytes passed on without a check", len(msg))
				case refused && len(msg) > 0:
					t.Fatalf("%d bytes passed on of what was refused with %v", len(msg), err)
				case refused && !nc.closed:
					t.Fatalf("refused with %v, and the socket is open", err)
				}
				if _, again := c.Read(make([]byte, 1)); refused && again != err {
					t.Fatalf("refused with %v, then %v", err, again)
				}
				return
			}
			if !passed {
				t.Fatalf("%d bytes passed on without a check", len(msg))
			}
			if err := isReply(msg, ask); err != nil {
				t.Fatalf("passed on: %v", err)
			}
			if readsOn && !streams(ask) {
				t.Fatalf("a second reply to one request is passed on")
			}
		}
	})
}

// isReply reads a message in the simplest way.
func isReply(msg, ask []byte) error {
	h := headerOf(msg)
	doc := msg[headerSize:]
	switch {
	case h.size != len(msg):
		return fmt.Errorf("%d bytes that say they are %d", len(msg), h.size)
	case h.opcode == opReply:
		if headerOf(ask).opcode != opQuery {
			return errors.New("a legacy reply")
		}
		doc = doc[replySize:]
	case h.opcode != opMsg:
		return fmt.Errorf("opcode %d", h.opcode)
	default:
		flags := binary.LittleEndian.Uint32(doc)
		doc = doc[5:]
		if flags&msgChecksum != 0 {
			doc = doc[:len(doc)-4]
		}
		if flags&(msgRequired&^(msgChecksum|msgMore)) != 0 {
			return fmt.Errorf("flags %#x", flags)
		}
	}
	if n := binary.LittleEndian.Uint32(doc); int(n) != len(doc) {
		return fmt.Errorf("a document of %d bytes in %d", n, len(doc))
	}
	if asked := headerOf(ask); !streams(ask) && h.responseTo != asked.id {
		return fmt.Errorf("a reply to %d, not %d", h.responseTo, asked.id)
	}
	return nil
}

// streams reports whether a request may be answered by a stream of replies.
func streams(ask []byte) bool {
	return headerOf(ask).opcode == opMsg && binary.LittleEndian.Uint32(ask[headerSize:])&msgExhaust != 0
}
