package server

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// served is a server on a loopback port.
type served struct {
	t    testing.TB
	node *memNode
	srv  *Server
	addr string
}

// start serves a member of set, or a standalone for "", until the test ends.
func start(t testing.TB, set string, change ...func(*Config)) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node := newMemNode(set)
	if set != "" {
		node.at(l.Addr().String())
	}
	cfg := Config{Node: node}
	for _, fn := range change {
		fn(&cfg)
	}
	s := &served{t: t, node: node, srv: New(cfg), addr: l.Addr().String()}
	done := make(chan struct{})
	var wg sync.WaitGroup // a Serve that comes after the Close is not waited for by it
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = s.srv.Serve(nc) })
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		s.srv.Close()
		wg.Wait()
	})
	return s
}

// driver connects the Go driver. Its heartbeats are as frequent as they can be: an
// operation that begins to wait for a server just as the driver finds one may miss that
// (the topology is read before the subscription to its changes), and waits for the next
// heartbeat.
func (s *served) driver(opts ...*options.ClientOptions) *mongo.Client {
	s.t.Helper()
	opts = append([]*options.ClientOptions{options.Client().ApplyURI("mongodb://" + s.addr).
		SetServerSelectionTimeout(10 * time.Second).SetHeartbeatInterval(500 * time.Millisecond)}, opts...)
	client, err := mongo.Connect(opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client
}

// wire is a connection that speaks raw messages.
type wire struct {
	t  testing.TB
	nc net.Conn
	id int32
}

func (s *served) dial(cfg ...*tls.Config) *wire {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(cfg) > 0 {
		nc = tls.Client(nc, cfg[0])
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	s.t.Cleanup(func() { nc.Close() })
	return &wire{t: s.t, nc: nc}
}

func doc(t testing.TB, d any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// send sends an OP_MSG.
func (w *wire) send(flags uint32, cmd bson.D, seqs ...sequence) {
	w.t.Helper()
	w.id++
	b := make([]byte, headerSize, 256)
	binary.LittleEndian.PutUint32(b[4:], uint32(w.id))
	binary.LittleEndian.PutUint32(b[12:], opMsg)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, 0)
	b = append(b, doc(w.t, cmd)...)
	for _, seq := range seqs {
		b = append(b, 1)
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		b = append(append(b, seq.name...), 0)
		for _, d := range seq.docs {
			b = append(b, d...)
		}
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at))
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	w.write(b)
}

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// receive reads one reply.
func (w *wire) receive() (message, bson.Raw) {
	w.t.Helper()
	b, err := readMessage(w.nc, nil)
	if err != nil {
		w.t.Fatalf("no reply: %v", err)
	}
	var m message
	if opcode := binary.LittleEndian.Uint32(b[12:]); opcode == opReply {
		return message{
			header: header{responseTo: int32(binary.LittleEndian.Uint32(b[8:])), opcode: opReply},
			flags:  binary.LittleEndian.Uint32(b[headerSize:]),
		}, bson.Raw(b[36:])
	}
	if err := parseMessage(b, &m); err != nil {
		w.t.Fatalf("bad reply: %v", err)
	}
	return m, m.body
}

// run sends a command to a database and returns its reply.
func (w *wire) run(db string, cmd bson.D, seqs ...sequence) bson.Raw {
	w.t.Helper()
	w.send(0, append(cmd, bson.E{Key: "$db", Value: db}), seqs...)
	m, reply := w.receive()
	if m.responseTo != w.id {
		w.t.Fatalf("reply to %d, want %d", m.responseTo, w.id)
	}
	return reply
}

// ok runs a command that must succeed.
func (w *wire) ok(db string, cmd bson.D, seqs ...sequence) bson.Raw {
	w.t.Helper()
	reply := w.run(db, cmd, seqs...)
	if v := reply.Lookup("ok"); v.Type != bson.TypeDouble || v.Double() != 1 {
		w.t.Fatalf("%v: %v", cmd, reply)
	}
	return reply
}

// refused runs a command that must fail with that code.
func (w *wire) refused(db string, cmd bson.D, code int32) bson.Raw {
	w.t.Helper()
	reply := w.run(db, cmd)
	if got, ok := reply.Lookup("code").Int32OK(); !ok || got != code {
		w.t.Fatalf("%v: code %d wanted: %v", cmd, code, reply)
	}
	return reply
}

// gone waits until the server has closed the connection.
func (w *wire) gone() {
	w.t.Helper()
	if _, err := w.nc.Read(make([]byte, 1)); err == nil {
		w.t.Fatal("the connection still answers")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.t.Fatal("the connection is still open")
	}
}
