package evenkeel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// liar is a dialer. What goes to one host passes through it, and while it lies, replies to
// finds are what lie makes of them. All else is true, so that the host can be found out by its
// lies only.
type liar struct {
	host  string
	lie   func(reply []byte) []byte
	lying atomic.Bool
	told  atomic.Int64 // lies
}

func (l *liar) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil || addr != l.host {
		return nc, err
	}
	return &lyingConn{Conn: nc, l: l}, nil
}

// lyingConn is a socket of the driver's, which writes whole messages.
type lyingConn struct {
	net.Conn
	l    *liar
	find atomic.Bool // the latest request is one
	mu   sync.Mutex
	in   []byte // received, less than a message
	out  []byte // to be passed on
}

func (c *lyingConn) Write(p []byte) (int, error) {
	c.find.Store(len(p) > 31 && string(p[26:31]) == "find\x00")
	return c.Conn.Write(p)
}

func (c *lyingConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 {
		need := 16
		if len(c.in) >= 16 {
			need = int(binary.LittleEndian.Uint32(c.in))
		}
		if len(c.in) < need {
			buf := make([]byte, need-len(c.in))
			n, err := c.Conn.Read(buf)
			c.in = append(c.in, buf[:n]...)
			if n == 0 && err != nil {
				return 0, err
			}
			continue
		}
		if need == 16 {
			continue
		}
		c.out, c.in = c.in, nil
		if c.find.Load() && c.l.lying.Load() {
			c.l.told.Add(1)
			c.out = c.l.lie(c.out)
			if c.out == nil {
				return 0, io.EOF
			}
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// says is a reply with another document.
func says(reply []byte, doc bson.D) []byte {
	raw, err := bson.Marshal(doc)
	if err != nil {
		panic(err)
	}
	b := append(bytes.Clone(reply[:21]), raw...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func batchOf(id int64, docs ...any) bson.D {
	return bson.D{
		{Key: "cursor", Value: bson.D{
			{Key: "firstBatch", Value: append(bson.A{}, docs...)}, {Key: "id", Value: id}, {Key: "ns", Value: "game.players"},
		}},
		{Key: "ok", Value: 1.0},
	}
}

func TestAHostThatLiesHarmsNobody(t *testing.T) {
	them := bson.D{{Key: "_id", Value: players + 7}, {Key: "owner", Value: "them"}}
	set := func(at int, n uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[at:], n)
			return b
		}
	}
	c := ownSet(t, "a member that lies", primaryFirst(3))
	c.seed(t, "us")
	for name, lie := range map[string]func(reply []byte) []byte{
		"replies to other requests":           func(b []byte) []byte { b[8]++; return b },
		"lengths that never come":             set(0, 40_000_000),
		"garbage":                             func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 100) },
		"documents that nobody has asked for": func(b []byte) []byte { return says(b, batchOf(0, them)) },
		"more documents than asked": func(b []byte) []byte {
			docs := make(bson.A, 1000)
			for i := range docs {
				docs[i] = them
			}
			return says(b, batchOf(0, docs...))
		},
		"no batch":          func(b []byte) []byte { return says(b, bson.D{{Key: "ok", Value: 1.0}}) },
		"BSON that is none": func(b []byte) []byte { b[25] = 0x7e; return b },
		"hanging up":        func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &liar{host: c.host(2), lie: lie}
			g := c.play(t, app.Config{ClientOptions: func(o *options.ClientOptions) { o.SetDialer(l) }})
			g.steady(t, 3)
			crowd := g.crowd(t, 3, unhurried, nil)
			crowd.moreAt(t, l.host, 20)
			mark := g.events.mark()

			l.lying.Store(true)
			eventually(t, "the host lies", func() bool { return l.told.Load() > 0 })
			crowd.more(t, 300)
			if rep := g.write(t, g.insert("log", bson.D{{Key: "_id", Value: name}})); rep.Outcome != messages.Applied {
				t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
			}
			l.lying.Store(false)
			crowd.moreAt(t, l.host, 20)
			crowd.mustBeFine(t)
			for _, e := range g.events.all()[mark:] {
				switch e.Kind() {
				case messages.KindHostLost, messages.KindWrongHost, messages.KindHostRestarting:
					if e.Head().Host != l.host {
						t.Errorf("another host is concerned: %v", e)
					}
				}
				if len(e.String()) > 2000 {
					t.Errorf("an event of %d bytes", len(e.String()))
				}
			}
			var text strings.Builder
			if err := g.Dump(&text); err != nil || strings.Contains(text.String(), "panic") {
				t.Errorf("something has panicked (%v):\n%s", err, text.String())
			}
		})
	}
}
