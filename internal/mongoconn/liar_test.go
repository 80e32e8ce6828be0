package mongoconn

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// lies makes a fake answer finds with what make returns.
func (f *fake) lies(make func(id uint32) []byte) {
	f.change(func() {
		f.lie = func(nc net.Conn, id uint32, name string, cmd bson.Raw) (bool, error) {
			if name != "find" {
				return false, nil
			}
			_, err := nc.Write(make(id))
			return true, err
		}
	})
}

var findIt = func() bson.Raw {
	raw, err := bson.Marshal(bson.D{{Key: "find", Value: "players"}})
	if err != nil {
		panic(err)
	}
	return raw
}()

// dialed is a direct client of a fake that has answered, for which boundless hellos are no matter.
func dialed(t *testing.T, f *fake) (*Direct, *heard) {
	t.Helper()
	// A driver that believes its server makes room for as much as that says it may send.
	f.says(with(member(f.addr, "rs0"), bson.E{Key: "maxMessageSizeBytes", Value: int32(1<<31 - 1)}))
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "the first hello")
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	return d, h
}

func TestALyingHostIsToldOfByNameAndCostsLittle(t *testing.T) {
	ok := bson.D{{Key: "ok", Value: 1}}
	for name, lie := range map[string]func(id uint32) []byte{
		"a reply to another request": func(id uint32) []byte { return message(id+1, false, 0, ok) },
		"a reply to nothing":         func(uint32) []byte { return message(0, false, 0, ok) },
		"a length of gigabytes":      func(id uint32) []byte { return as(message(id, false, 0, ok), sized(1<<31-1)) },
		"a negative length":          func(id uint32) []byte { return as(message(id, false, 0, ok), sized(1<<31+1)) },
		"a length of a few bytes":    func(id uint32) []byte { return as(message(id, false, 0, ok), sized(4)) },
		"a document beyond the end": func(id uint32) []byte {
			return as(message(id, false, 0, ok), func(b []byte) { b[21] = 200 })
		},
		"a document that is none": func(id uint32) []byte {
			return as(message(id, false, 0, bson.D{{Key: "ok", Value: "text"}}), func(b []byte) { b[29] = 200 })
		},
		"an unknown opcode":   func(id uint32) []byte { return as(message(id, false, 0, ok), opcode(77)) },
		"a legacy reply":      func(id uint32) []byte { return message(id, true, 0, ok) },
		"a compressed bomb":   func(id uint32) []byte { return packed(bomb, 3, -1) },
		"an unasked stream":   func(id uint32) []byte { return message(id, false, msgMore, ok) },
		"garbage":             func(uint32) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"zeros":               func(uint32) []byte { return make([]byte, 1000) },
		"two replies at once": func(id uint32) []byte { return append(message(id, false, 0, ok), message(id+1, false, 0, ok)...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			d, h := dialed(t, f)
			f.lies(lie)
			_, err := d.Run(patient(t), "game", findIt, nil)
			if err == nil { // The second reply is found out when the next one is read.
				f.change(func() { f.lie = nil })
				_, err = d.Run(patient(t), "game", findIt, nil)
			}
			var broken *messages.ProtocolError
			if !errors.As(err, &broken) || broken.Host != f.addr || !OtherHostMayServe(err) {
				t.Fatalf("a read gets %v", err)
			}
			if name != "a document that is none" { // That is for who has asked.
				if told := next(t, h.wrong, "the socket's refusal"); !errors.As(told, &broken) || broken.Host != f.addr {
					t.Errorf("told of %v", told)
				}
			}
			// It costs no more than the socket. The driver clears its pool for that, which those who
			// are just taking another one are told of.
			f.change(func() { f.lie = nil })
			ctx := patient(t)
			_, err = d.Run(ctx, "game", findIt, nil)
			for err != nil && isUnsent(err) && ctx.Err() == nil {
				_, err = d.Run(ctx, "game", findIt, nil)
			}
			if err != nil {
				t.Errorf("the next read gets %v", err)
			}
		})
	}
}

func TestAPromiseCostsNoMemory(t *testing.T) {
	f := serve(t, nil)
	d, _ := dialed(t, f)
	const each, n = maxMessage - 100, 8
	f.lies(func(id uint32) []byte {
		return as(message(id, false, 0, bson.D{{Key: "ok", Value: 1}}), func(b []byte) {
			sized(each)(b)
			binary.LittleEndian.PutUint32(b[21:], each-21)
		})
	})
	before := allocated()
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := d.Run(ctx, "game", findIt, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	if cost := allocated() - before; cost > each/2 {
		t.Errorf("%d replies of %d bytes, of which nothing came, cost %d bytes", n, each, cost)
	}
}

func TestAReplyThatDribblesTakesItsReadersTimeOnly(t *testing.T) {
	f := serve(t, nil)
	d, h := dialed(t, f)
	f.change(func() {
		f.lie = func(nc net.Conn, id uint32, name string, cmd bson.Raw) (bool, error) {
			if name != "find" {
				return false, nil
			}
			msg := message(id, false, 0, bson.D{{Key: "ok", Value: 1}, {Key: "pad", Value: make([]byte, 10_000)}})
			for i := range msg {
				if _, err := nc.Write(msg[i : i+1]); err != nil {
					return true, err
				}
				time.Sleep(5 * time.Millisecond)
			}
			return true, nil
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.Run(ctx, "game", findIt, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := d.Ping(patient(t)); err != nil {
		t.Errorf("meanwhile a ping gets %v", err)
	}
	select {
	case err := <-h.wrong:
		t.Errorf("told of %v", err)
	default:
	}
}

func TestAHelloOfManyMegabytesIsRefused(t *testing.T) {
	huge := bson.E{Key: "tags", Value: bson.D{{Key: "note", Value: strings.Repeat("x", 3<<20)}}}
	t.Run("the first", func(t *testing.T) {
		f := serve(t, nil)
		f.says(with(member(f.addr, "rs0"), huge))
		_, h := open(t, DirectConfig{Host: f.addr})
		if err := next(t, h.wrong, "the refusal"); !errors.Is(err, messages.ErrWrongHost) || len(err.Error()) > 1000 {
			t.Errorf("told of %v", err)
		}
	})
	t.Run("a later one", func(t *testing.T) {
		f := serve(t, nil)
		_, h := dialed(t, f)
		f.says(with(member(f.addr, "rs0"), huge))
		until(t, h.wrong, "the refusal", func(err error) bool { return errors.Is(err, messages.ErrProtocol) })
	})
}

// Each would be read, compared and told of, as fast as they come.
func TestAFloodOfHellosIsRefused(t *testing.T) {
	f := serve(t, nil)
	_, h := dialed(t, f)
	f.change(func() {
		f.lie = func(nc net.Conn, id uint32, name string, cmd bson.Raw) (bool, error) {
			if cmd.Lookup("maxAwaitTimeMS").IsZero() {
				return false, nil
			}
			flood := message(id, false, msgMore, member(f.addr, "rs0"))
			for range 100_000 {
				if _, err := nc.Write(flood); err != nil {
					return true, err
				}
			}
			return true, io.EOF
		}
	})
	before, start := h.told.Load(), time.Now()
	f.hangUp()
	until(t, h.wrong, "the refusal", func(err error) bool {
		var broken *messages.ProtocolError
		return errors.As(err, &broken) && strings.Contains(broken.Reason, "hello")
	})
	seconds := int64(time.Since(start)/time.Second) + 1
	if n := h.told.Load() - before; n > seconds*(maxHellos+100) {
		t.Errorf("%d hellos were told, in %d seconds", n, seconds)
	}
}

// Otherwise a liar's texts of megabytes would be kept in events and snapshots.
func TestWhatAServerSaysOfItselfIsCutShort(t *testing.T) {
	long := strings.Repeat("liar ", 100_000)
	for name, change := range map[string][]bson.E{
		"its name":       {{Key: "me", Value: long}},
		"its set's name": {{Key: "setName", Value: long}},
		"an error":       {{Key: "ok", Value: 0}, {Key: "errmsg", Value: long}, {Key: "code", Value: 18}},
		"an info":        {{Key: "isreplicaset", Value: true}, {Key: "setName"}, {Key: "info", Value: long}},
		"its kind":       {{Key: "isreplicaset", Value: true}, {Key: "me", Value: long}},
	} {
		e := Expect{Address: "a:1", SetName: "rs0"}
		if _, err := e.Check(raw(t, with(member("a:1", "rs0"), change...)), nil); err == nil || len(err.Error()) > 2*maxText {
			t.Errorf("%s: %d bytes", name, len(err.Error()))
		}
	}
	f := serve(t, nil)
	d, h := dialed(t, f)
	for _, code := range []int{13, 18, 8000} {
		f.change(func() {
			f.reply = func(string, bson.Raw) bson.D {
				return bson.D{{Key: "ok", Value: 0}, {Key: "errmsg", Value: "auth " + long}, {Key: "code", Value: code}}
			}
		})
		if err := d.Ping(patient(t)); err == nil || len(err.Error()) > 2*maxText {
			t.Errorf("code %d: a ping gets %.300v", code, err)
		}
	}
	for len(h.lost) > 0 {
		if err := <-h.lost; len(err.Error()) > 2*maxText {
			t.Errorf("told of %.300v", err)
		}
	}
}
