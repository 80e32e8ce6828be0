package replset

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// socket is a connection whose messages a test writes and reads itself.
type socket struct {
	t  testing.TB
	nc net.Conn
	id uint32
}

func dial(t testing.TB, m *Member) *socket {
	t.Helper()
	nc, err := net.DialTimeout("tcp", m.Host(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &socket{t: t, nc: nc}
}

func (s *socket) send(db string, cmd bson.D) {
	s.t.Helper()
	body, err := bson.Marshal(append(cmd, bson.E{Key: "$db", Value: db}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.id++
	msg := binary.LittleEndian.AppendUint32(nil, uint32(21+len(body)))
	msg = binary.LittleEndian.AppendUint32(msg, s.id)
	msg = binary.LittleEndian.AppendUint32(msg, 0)
	msg = binary.LittleEndian.AppendUint32(msg, 2013)
	msg = append(binary.LittleEndian.AppendUint32(msg, 0), 0)
	if _, err := s.nc.Write(append(msg, body...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) receive() bson.Raw {
	s.t.Helper()
	_ = s.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	head := make([]byte, 21)
	if _, err := io.ReadFull(s.nc, head); err != nil {
		s.t.Fatal(err)
	}
	body := make([]byte, binary.LittleEndian.Uint32(head)-21)
	if _, err := io.ReadFull(s.nc, body); err != nil {
		s.t.Fatal(err)
	}
	if to := binary.LittleEndian.Uint32(head[8:]); to != s.id {
		s.t.Fatalf("a reply to %d, not to %d", to, s.id)
	}
	return body
}

func (s *socket) run(db string, cmd bson.D) bson.Raw {
	s.t.Helper()
	s.send(db, cmd)
	return s.receive()
}

// silent fails when anything arrives within a while, be it an end.
func (s *socket) silent(while time.Duration) {
	s.t.Helper()
	_ = s.nc.SetReadDeadline(time.Now().Add(while))
	if _, err := s.nc.Read(make([]byte, 1)); !isTimeout(err) {
		s.t.Fatalf("it is not silent: %v", err)
	}
}

func setLink(t testing.TB, m *Member, l Link) {
	t.Helper()
	if err := m.SetLink(l); err != nil {
		t.Fatal(err)
	}
}

var (
	pingCommand = bson.D{{Key: "ping", Value: 1}}
	oneInsert   = bson.D{{Key: "insert", Value: "players"}, {Key: "documents", Value: bson.A{bson.D{}}}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 1}}}}
)

func TestWhatIsSentIntoABlackHoleIsExecutedWhenItIsOver(t *testing.T) {
	set := steady(t, Options{})
	m := primaryOf(t, set)
	s := dial(t, m)
	s.run("admin", pingCommand)
	setLink(t, m, LinkBlackHole)
	s.send("game", oneInsert)
	s.silent(50 * time.Millisecond)
	if n := m.Counters().Writes; n != 0 {
		t.Errorf("%d writes were executed", n)
	}
	if !m.IsPrimary() {
		t.Error("the other members have lost it too")
	}
	setLink(t, m, LinkWhole)
	if reply := s.receive(); reply.Lookup("n").Int32() != 1 {
		t.Error(reply)
	}
	s.run("admin", pingCommand)
}

func TestAMuteMemberExecutesAndItsRepliesComeLater(t *testing.T) {
	set := steady(t, Options{})
	m := primaryOf(t, set)
	s, other := dial(t, m), dial(t, m)
	s.run("admin", pingCommand)
	other.run("admin", pingCommand)
	setLink(t, m, LinkMute)
	s.send("game", oneInsert)
	eventually(t, "the write is executed", func() bool { return m.Counters().Writes == 1 })
	other.silent(10 * time.Millisecond)
	s.silent(50 * time.Millisecond)
	// The next one is executed too: that the reply is lost, the member cannot know.
	s.send("game", oneInsert)
	eventually(t, "the next write is executed", func() bool { return m.Counters().Writes == 2 })
	setLink(t, m, LinkWhole)
	s.id--
	s.receive()
	s.id++
	if reply := s.receive(); reply.Lookup("n").Int32() != 1 {
		t.Error(reply)
	}
	other.run("admin", pingCommand)
}

func TestADeafMemberGoesOnWithWhatIsUnderWay(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute}) // StepDown has ten of them for an heir
	m := primaryOf(t, set)
	s, waits := dial(t, m), dial(t, m)
	topology := s.run("admin", bson.D{{Key: "hello", Value: 1}}).Lookup("topologyVersion")
	waits.send("admin", bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: topology}, {Key: "maxAwaitTimeMS", Value: 60_000}})
	eventually(t, "both are received", func() bool { return m.Counters().Commands["hello"] == 2 })
	setLink(t, m, LinkDeaf)
	s.send("admin", pingCommand)
	if err := set.StepDown(soon(t)); err != nil {
		t.Fatal(err)
	}
	if reply := waits.receive(); reply.Lookup("isWritablePrimary").Boolean() {
		t.Error(reply)
	}
	s.silent(50 * time.Millisecond)
	setLink(t, m, LinkWhole)
	s.receive()
}

func TestAWaitingCommandOutlastsABlackHole(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute}) // Nothing else is to change its topology.
	m := set.Member(0)
	s := dial(t, m)
	topology := s.run("admin", bson.D{{Key: "hello", Value: 1}}).Lookup("topologyVersion")
	s.send("admin", bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: topology}, {Key: "maxAwaitTimeMS", Value: 60_000}})
	eventually(t, "it is received", func() bool { return m.Counters().Commands["hello"] == 2 })
	setLink(t, m, LinkBlackHole)
	// Longer than it takes until the member looks whether the client is still there.
	s.silent(600 * time.Millisecond)
	if err := set.Configure(soon(t), m.Index(), func(mc *MemberConfig) { mc.Tags = map[string]string{"dc": "east"} }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its reply is held back", func() bool {
		m.link.mu.Lock()
		defer m.link.mu.Unlock()
		for l := range m.link.lines {
			if len(l.unsent) > 0 {
				return true
			}
		}
		return false
	})
	setLink(t, m, LinkWhole)
	s.receive()
	s.run("admin", pingCommand)
}

func TestNoDialIsAnsweredByAMemberInABlackHole(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system's kernel answers dials all the same")
	}
	for _, state := range []Link{LinkBlackHole, LinkMute, LinkDeaf} {
		set := steady(t, Options{})
		m := set.Member(1)
		total := m.Counters().TotalConnections
		setLink(t, m, state)
		setLink(t, m, state)
		for range 3 {
			if nc, err := net.DialTimeout("tcp", m.Host(), 30*time.Millisecond); !isTimeout(err) {
				t.Fatalf("%v: a dial got %v, %v", state, nc, err)
			}
		}
		// A process that ends there is heard of no sooner, and one that starts there neither.
		m.Kill()
		if nc, err := net.DialTimeout("tcp", m.Host(), 30*time.Millisecond); !isTimeout(err) {
			t.Fatalf("%v: after its end, a dial got %v, %v", state, nc, err)
		}
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
		if nc, err := net.DialTimeout("tcp", m.Host(), 30*time.Millisecond); !isTimeout(err) {
			t.Fatalf("%v: after its return, a dial got %v, %v", state, nc, err)
		}
		setLink(t, m, LinkWhole)
		dial(t, m).run("admin", pingCommand)
		if n := m.Counters().TotalConnections; n != total+1 {
			t.Errorf("%v: the member has seen %d connections, not one", state, n-total)
		}
		m.Kill()
		if nc, err := net.DialTimeout("tcp", m.Host(), 10*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v: a dial to a killed member got %v, %v", state, nc, err)
		}
		set.Stop()
	}
}

func TestADialThatBeganInABlackHoleEndsWellAfterIt(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(1)
	setLink(t, m, LinkBlackHole)
	connected := make(chan *socket, 1)
	go func() {
		defer close(connected) // also where the dial has failed the test
		connected <- dial(t, m)
	}()
	time.AfterFunc(50*time.Millisecond, func() { _ = m.SetLink(LinkWhole) })
	if s := <-connected; s != nil {
		s.run("admin", pingCommand)
	}
}

func TestAKillInABlackHoleIsHeardOfAfterIt(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(1)
	s := dial(t, m)
	s.run("admin", pingCommand)
	setLink(t, m, LinkBlackHole)
	m.Kill()
	s.silent(50 * time.Millisecond)
	setLink(t, m, LinkWhole)
	_ = s.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := s.nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v", err)
	}
	if nc, err := net.DialTimeout("tcp", m.Host(), 10*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dial got %v, %v", nc, err)
	}
}

func TestAClientThatGivesUpInABlackHoleIsMissedAfterIt(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(1)
	s := dial(t, m)
	s.run("admin", pingCommand)
	open := m.Counters().Connections
	setLink(t, m, LinkBlackHole)
	s.nc.Close()
	if n := m.Counters().Connections; n != open {
		t.Errorf("%d of %d connections are left", n, open)
	}
	setLink(t, m, LinkWhole)
	eventually(t, "the member notices", func() bool { return m.Counters().Connections == open-1 })
}

func TestASetCanBeStoppedInABlackHole(t *testing.T) {
	set := steady(t, Options{})
	s := dial(t, set.Member(0))
	s.run("admin", pingCommand)
	for _, m := range set.Members() {
		setLink(t, m, LinkBlackHole)
	}
	set.Stop()
	_ = s.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := s.nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestTheLinkIsThatOfEveryAddressThatReachesTheMember(t *testing.T) {
	set := steady(t, Options{})
	a, b := set.Member(0), set.Member(1)
	if err := set.SwapAddresses(0, 1); err != nil {
		t.Fatal(err)
	}
	atA, atB := dial(t, a), dial(t, b)
	atA.run("admin", pingCommand)
	atB.run("admin", pingCommand)
	setLink(t, a, LinkBlackHole)
	atA.run("admin", pingCommand)
	atB.send("admin", pingCommand)
	atB.silent(30 * time.Millisecond)
	setLink(t, a, LinkWhole)
	atB.receive()
}

func TestTLSSurvivesABlackHole(t *testing.T) {
	set := steady(t, Options{TLS: TLSServer})
	m := primaryOf(t, set)
	client := connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTLSConfig(set.ClientTLS()) })
	if _, err := players(client).InsertOne(soon(t), bson.D{}); err != nil {
		t.Fatal(err)
	}
	setLink(t, m, LinkMute)
	done := make(chan error, 1)
	go func() {
		_, err := players(client).InsertOne(soon(t), bson.D{})
		done <- err
	}()
	eventually(t, "the write is executed", func() bool { return m.Counters().Writes == 2 })
	setLink(t, m, LinkWhole)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := number(t, players(client), bson.D{}); n != 2 {
		t.Errorf("there are %d documents", n)
	}
}
