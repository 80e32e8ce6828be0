package mongoconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake speaks just enough of the wire protocol for the driver to take it for a
// server: hello, streamed too, and whatever reply answers.
type fake struct {
	t    testing.TB
	ln   net.Listener
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	hello    func(socket int) bson.D // the document for the socket of that number
	reply    func(name string, cmd bson.Raw) bson.D
	greeting []byte // sent in place of any reply
	// lie sends something in place of a reply, and says whether it has; an error hangs up.
	lie     func(nc net.Conn, id uint32, name string, cmd bson.Raw) (bool, error)
	silent  bool // nothing is answered
	changed chan struct{}
	stopped bool
	sockets int
	conns   map[net.Conn]bool
	counts  map[string]int
	got     []bson.Raw
}

// serve starts a fake member whose name is its own address, until the test ends.
func serve(t testing.TB, cfg *tls.Config) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, cfg)
}

func serveOn(t testing.TB, ln net.Listener, cfg *tls.Config) *fake {
	f := &fake{t: t, ln: ln, addr: ln.Addr().String(), changed: make(chan struct{}), conns: map[net.Conn]bool{}, counts: map[string]int{}}
	me := member(f.addr, "rs0")
	f.hello = func(int) bson.D { return me }
	f.reply = func(string, bson.Raw) bson.D { return bson.D{{Key: "ok", Value: 1}} }
	f.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			raw := nc
			if cfg != nil {
				nc = tls.Server(nc, cfg)
			}
			f.mu.Lock()
			if f.stopped { // Accepted just before, and hung up by nobody else.
				f.mu.Unlock()
				raw.Close()
				return
			}
			f.sockets++
			n := f.sockets
			f.conns[raw] = true
			f.mu.Unlock()
			f.wg.Go(func() {
				f.talk(nc, n)
				raw.Close()
				f.mu.Lock()
				delete(f.conns, raw)
				f.mu.Unlock()
			})
		}
	})
	t.Cleanup(f.stop)
	return f
}

// stop refuses new sockets and closes those there are.
func (f *fake) stop() {
	f.ln.Close()
	f.change(func() { f.stopped = true }) // streams notice
	f.hangUp()
	f.wg.Wait()
}

func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for nc := range f.conns {
		nc.Close()
	}
}

// change alters the fake and wakes whoever waits for a change.
func (f *fake) change(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.changed)
	f.changed = make(chan struct{})
}

// says makes doc the hello for every socket.
func (f *fake) says(doc bson.D) { f.change(func() { f.hello = func(int) bson.D { return doc } }) }

func (f *fake) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[name]
}

func (f *fake) talk(nc net.Conn, socket int) {
	r := bufio.NewReader(nc)
	for {
		var head [16]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		id := binary.LittleEndian.Uint32(head[4:])
		legacy := binary.LittleEndian.Uint32(head[12:]) == 2004
		body := make([]byte, binary.LittleEndian.Uint32(head[:])-16)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		var cmd bson.Raw
		var flags uint32
		if legacy {
			end := slices.Index(body[4:], 0)
			cmd = bson.Raw(body[4+end+1+8:])
		} else {
			flags = binary.LittleEndian.Uint32(body)
			cmd = bson.Raw(body[5:])
		}
		first, err := cmd.IndexErr(0)
		if err != nil {
			return
		}
		name := first.Key()
		f.mu.Lock()
		f.counts[name]++
		f.got = append(f.got, cmd)
		silent, greeting, lie := f.silent, f.greeting, f.lie
		f.mu.Unlock()
		if silent {
			continue
		}
		if greeting != nil {
			nc.Write(greeting)
			return
		}
		if lie != nil {
			lied, err := lie(nc, id, name, cmd)
			if err != nil {
				return
			}
			if lied {
				continue
			}
		}
		if err := f.answer(nc, socket, id, legacy, flags, name, cmd); err != nil {
			return
		}
	}
}

func (f *fake) answer(nc net.Conn, socket int, id uint32, legacy bool, flags uint32, name string, cmd bson.Raw) error {
	if name != "hello" && name != "isMaster" && name != "ismaster" {
		f.mu.Lock()
		reply := f.reply
		f.mu.Unlock()
		doc := reply(name, cmd)
		if doc == nil {
			return io.EOF
		}
		return send(nc, id, legacy, 0, doc)
	}
	wait, stream := cmd.Lookup("maxAwaitTimeMS").AsInt64OK()
	for {
		f.mu.Lock()
		doc, changed := f.hello(socket), f.changed
		f.mu.Unlock()
		if doc == nil {
			return io.EOF
		}
		if !stream {
			return send(nc, id, legacy, 0, doc)
		}
		timer := time.NewTimer(time.Duration(wait) * time.Millisecond)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		}
		f.mu.Lock()
		doc = f.hello(socket)
		if f.stopped {
			doc = nil
		}
		f.mu.Unlock()
		if doc == nil {
			return io.EOF
		}
		if flags&(1<<16) == 0 {
			return send(nc, id, false, 0, doc)
		}
		if err := send(nc, id, false, msgMore, doc); err != nil {
			return err
		}
	}
}

func send(nc net.Conn, to uint32, legacy bool, flags uint32, doc bson.D) error {
	_, err := nc.Write(message(to, legacy, flags, doc))
	return err
}

// message is a whole reply, an OP_REPLY if legacy, else an OP_MSG.
func message(to uint32, legacy bool, flags uint32, doc any) []byte {
	raw, err := bson.Marshal(doc)
	if err != nil {
		panic(err)
	}
	b := make([]byte, 16)
	binary.LittleEndian.PutUint32(b[8:], to)
	if legacy {
		binary.LittleEndian.PutUint32(b[12:], opReply)
		b = append(b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)
	} else {
		binary.LittleEndian.PutUint32(b[12:], opMsg)
		b = binary.LittleEndian.AppendUint32(b, flags)
		b = append(b, 0)
	}
	b = append(b, raw...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// member is the hello of a secondary.
func member(me, set string, change ...bson.E) bson.D {
	doc := bson.D{
		{Key: "topologyVersion", Value: bson.D{{Key: "processId", Value: bson.NewObjectID()}, {Key: "counter", Value: int64(1)}}},
		{Key: "hosts", Value: bson.A{me}},
		{Key: "setName", Value: set},
		{Key: "setVersion", Value: 1},
		{Key: "isWritablePrimary", Value: false},
		{Key: "secondary", Value: true},
		{Key: "me", Value: me},
		{Key: "lastWrite", Value: bson.D{{Key: "lastWriteDate", Value: time.UnixMilli(1_700_000_000_000)}}},
		{Key: "maxBsonObjectSize", Value: 16 << 20},
		{Key: "maxMessageSizeBytes", Value: 48_000_000},
		{Key: "maxWriteBatchSize", Value: 100_000},
		{Key: "logicalSessionTimeoutMinutes", Value: 30},
		{Key: "connectionId", Value: 1},
		{Key: "minWireVersion", Value: 0},
		{Key: "maxWireVersion", Value: 21},
		{Key: "ok", Value: 1.0},
	}
	return with(doc, change...)
}

// with replaces fields; one whose value is nil is taken out.
func with(doc bson.D, change ...bson.E) bson.D {
	doc = slices.Clone(doc)
	for _, c := range change {
		doc = slices.DeleteFunc(doc, func(e bson.E) bool { return e.Key == c.Key })
		if c.Value != nil {
			doc = append(doc, c)
		}
	}
	return doc
}

// asPrimary makes a member's hello that of a primary.
func asPrimary(election byte) []bson.E {
	return []bson.E{
		{Key: "isWritablePrimary", Value: true}, {Key: "secondary", Value: false},
		{Key: "electionId", Value: bson.ObjectID{11: election}},
	}
}

func standalone() bson.D {
	return with(member("", ""), bson.E{Key: "setName"}, bson.E{Key: "me"}, bson.E{Key: "hosts"}, bson.E{Key: "setVersion"},
		bson.E{Key: "secondary"}, bson.E{Key: "isWritablePrimary", Value: true})
}

func ghost() bson.D {
	return with(standalone(), bson.E{Key: "isreplicaset", Value: true}, bson.E{Key: "isWritablePrimary", Value: false},
		bson.E{Key: "secondary", Value: false}, bson.E{Key: "info", Value: "Does not have a valid replica set config"})
}

func raw(t testing.TB, doc any) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// heard is an Observer that keeps what it is told, of hellos the first thousand.
type heard struct {
	told   atomic.Int64 // all hellos
	hellos chan Hello
	wrong  chan error
	lost   chan error
	moved  chan *MovedError
}

func newHeard() *heard {
	return &heard{
		hellos: make(chan Hello, 1000), wrong: make(chan error, 1000),
		lost: make(chan error, 1000), moved: make(chan *MovedError, 1000),
	}
}

func (h *heard) Hello(hello Hello) {
	h.told.Add(1)
	select {
	case h.hellos <- hello:
	default:
	}
}
func (h *heard) WrongSocket(err error) { h.wrong <- err }
func (h *heard) Lost(err error)        { h.lost <- err }
func (h *heard) Moved(err *MovedError) { h.moved <- err }

const patience = 20 * time.Second

// next is the next thing from a channel.
func next[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// until is the first thing from a channel that is good.
func until[T any](t testing.TB, c <-chan T, what string, good func(T) bool) T {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case v := <-c:
			if good(v) {
				return v
			}
		case <-end:
			t.Fatalf("%s did not happen", what)
		}
	}
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// names is a Resolver.
type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	addrs, ok := n[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return slices.Clone(addrs), nil
}

var errTest = errors.New("not the one")
