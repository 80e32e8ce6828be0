package mongoconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// sliced is a socket whose bytes arrive in given slices; a slice of length 0 is
// a time-out.
type sliced struct {
	net.Conn
	slices [][]byte
	closed bool
}

func (s *sliced) Read(p []byte) (int, error) {
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case len(s.slices) == 0:
		return 0, io.EOF
	case len(s.slices[0]) == 0:
		s.slices = s.slices[1:]
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, s.slices[0])
	if s.slices[0] = s.slices[0][n:]; len(s.slices[0]) == 0 {
		s.slices = s.slices[1:]
	}
	return n, nil
}
func (s *sliced) Write(p []byte) (int, error) { return len(p), nil }
func (s *sliced) Close() error                { s.closed = true; return nil }
func (s *sliced) RemoteAddr() net.Addr        { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 27017} }

// checked is a Conn over nc that takes every hello which says so itself.
func checked(t testing.TB, nc net.Conn) *Conn {
	t.Helper()
	d, err := NewDialer(DialerConfig{Host: "a.test:27017", Check: func(hello bson.Raw, _ net.Addr) error {
		if right, _ := hello.Lookup("right").BooleanOK(); !right {
			return errTest
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &Conn{Conn: nc, d: d, born: time.Now()}
}

// cut cuts b into pieces of the sizes, repeating, with a time-out before each.
func cut(b []byte, sizes []byte) (out [][]byte) {
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, 1+int(sizes[i%len(sizes)]))
			if sizes[i%len(sizes)]%5 == 0 {
				out = append(out, nil)
			}
		}
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// drain reads c to its end, through time-outs.
func drain(c *Conn, buf int) (got []byte, err error) {
	p := make([]byte, buf)
	for {
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return got, err
		}
	}
}

func TestARightServersBytesArePassedOnUnchanged(t *testing.T) {
	for _, legacy := range []bool{true, false} {
		stream := message(7, legacy, 0, bson.D{{Key: "right", Value: true}})
		for _, sizes := range [][]byte{nil, {0}, {3}, {15, 0, 200}, {1, 4}} {
			for _, buf := range []int{1, 4, 16, 4096} {
				c := checked(t, &sliced{slices: cut(stream, sizes)})
				got, err := drain(c, buf)
				if err != io.EOF || !bytes.Equal(got, stream) {
					t.Fatalf("legacy %v, slices %v, buffer %d: %d of %d bytes, then %v", legacy, sizes, buf, len(got), len(stream), err)
				}
			}
		}
	}
}

func TestOfAStrangerNotOneByteIsPassedOnAndItsSocketIsClosed(t *testing.T) {
	sum := message(1, false, msgChecksum, bson.D{{Key: "right", Value: true}})
	garbled := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	garbled[len(garbled)-8] = 0xff
	compressed := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	binary.LittleEndian.PutUint32(compressed[12:], opCompressed)
	huge := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	binary.LittleEndian.PutUint32(huge, maxHello+1)
	two := message(1, true, 0, bson.D{{Key: "right", Value: true}})
	two[32] = 2
	section := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	section[20] = 1
	for name, msg := range map[string][]byte{
		"another member":              message(1, false, 0, bson.D{{Key: "right", Value: false}}),
		"another member, legacy":      message(1, true, 0, bson.D{{Key: "right", Value: false}}),
		"HTTP":                        []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
		"a compressed reply":          compressed,
		"a huge length":               huge,
		"a length below the header's": {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0},
		"two documents":               two,
		"a document sequence":         section,
		"an unknown required flag":    message(1, false, 1<<5, bson.D{{Key: "right", Value: true}}),
		"a checksum cut off":          sum,
		"broken BSON":                 garbled,
	} {
		t.Run(name, func(t *testing.T) {
			nc := &sliced{slices: [][]byte{msg}}
			c := checked(t, nc)
			p := make([]byte, 100)
			n, err := c.Read(p)
			if n != 0 || err == nil || err == io.EOF {
				t.Fatalf("Read returns %d, %v", n, err)
			}
			if !errors.Is(err, errTest) && !errors.Is(err, messages.ErrWrongHost) {
				t.Errorf("the error is %v", err)
			}
			if !nc.closed {
				t.Error("the socket is open")
			}
			if _, again := c.Read(p); again != err {
				t.Errorf("the next Read fails with %v, not %v", again, err)
			}
		})
	}
}

func TestAChecksummedFirstReplyIsRead(t *testing.T) {
	msg := append(message(1, false, msgChecksum, bson.D{{Key: "right", Value: true}}), 1, 2, 3, 4)
	binary.LittleEndian.PutUint32(msg, uint32(len(msg)))
	got, err := drain(checked(t, &sliced{slices: [][]byte{msg}}), 64)
	if err != io.EOF || !bytes.Equal(got, msg) {
		t.Errorf("%d of %d bytes, then %v", len(got), len(msg), err)
	}
}

func TestAFirstReplyCutOffIsNoStranger(t *testing.T) {
	msg := message(1, false, 0, bson.D{{Key: "right", Value: true}})
	for n := range len(msg) {
		got, err := drain(checked(t, &sliced{slices: cut(msg[:n], nil)}), 64)
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if len(got) != 0 || err != want {
			t.Fatalf("after %d bytes: %d passed on, then %v", n, len(got), err)
		}
	}
}

func TestALengthThatPromisesMuchTakesNoMemoryBeforeItArrives(t *testing.T) {
	for _, came := range []int{1, 2 * buffered} {
		msg := message(1, false, 0, bson.D{{Key: "right", Value: true}, {Key: "pad", Value: make([]byte, came)}})
		binary.LittleEndian.PutUint32(msg, maxHello)
		c := checked(t, &sliced{slices: [][]byte{msg}})
		if _, err := drain(c, 64); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
		if cap(c.in) > max(buffered, 4*len(msg)) {
			t.Errorf("%d bytes are held for %d that came", cap(c.in), len(msg))
		}
	}
}

func BenchmarkRead(b *testing.B) {
	msg := message(1, false, 0, bson.D{{Key: "right", Value: true}, {Key: "pad", Value: make([]byte, 300)}})
	for _, open := range []bool{false, true} {
		name := "socket"
		if open {
			name = "checked"
		}
		b.Run(name, func(b *testing.B) {
			nc := &repeating{msg: msg}
			var c io.ReadWriter = nc
			if open {
				c = checked(b, nc)
			}
			ask, buf := question(1, 0, "find"), make([]byte, len(msg))
			for b.Loop() {
				c.Write(ask)
				io.ReadFull(c, buf[:4])
				io.ReadFull(c, buf[4:])
			}
		})
	}
}

// repeating is a socket that answers each Write with the same message.
type repeating struct {
	sliced
	msg  []byte
	left []byte
}

func (r *repeating) Write(p []byte) (int, error) {
	r.left = r.msg
	return len(p), nil
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
