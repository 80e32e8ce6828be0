package server

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

func TestHelloOfAPrimaryHasWhatDriversRead(t *testing.T) {
	s := start(t, "rs0")
	reply := s.dial().ok("admin", bson.D{{Key: "hello", Value: 1}})
	for key, want := range map[string]bson.Type{
		"topologyVersion": bson.TypeEmbeddedDocument, "hosts": bson.TypeArray, "setName": bson.TypeString,
		"setVersion": bson.TypeInt32, "isWritablePrimary": bson.TypeBoolean, "secondary": bson.TypeBoolean,
		"primary": bson.TypeString, "me": bson.TypeString, "electionId": bson.TypeObjectID,
		"lastWrite": bson.TypeEmbeddedDocument, "maxBsonObjectSize": bson.TypeInt32, "maxMessageSizeBytes": bson.TypeInt32,
		"maxWriteBatchSize": bson.TypeInt32, "localTime": bson.TypeDateTime, "logicalSessionTimeoutMinutes": bson.TypeInt32,
		"connectionId": bson.TypeInt32, "minWireVersion": bson.TypeInt32, "maxWireVersion": bson.TypeInt32,
		"readOnly": bson.TypeBoolean, "ok": bson.TypeDouble, "$clusterTime": bson.TypeEmbeddedDocument, "operationTime": bson.TypeTimestamp,
	} {
		if got := reply.Lookup(key).Type; got != want {
			t.Errorf("%s is a %v, want %v", key, got, want)
		}
	}
	if got := reply.Lookup("me").StringValue(); got != s.addr {
		t.Errorf("me is %s, want %s", got, s.addr)
	}
	for _, path := range [][]string{{"lastWrite", "opTime", "ts"}, {"lastWrite", "majorityOpTime", "t"}, {"$clusterTime", "signature", "keyId"}, {"topologyVersion", "counter"}} {
		if _, err := reply.LookupErr(path...); err != nil {
			t.Errorf("%v: %v", path, err)
		}
	}
}

func TestHelloOfAStandaloneNamesNoSet(t *testing.T) {
	s := start(t, "")
	reply := s.dial().ok("admin", bson.D{{Key: "isMaster", Value: 1}, {Key: "helloOk", Value: true}})
	if !reply.Lookup("ismaster").Boolean() || !reply.Lookup("helloOk").Boolean() {
		t.Error(reply)
	}
	for _, key := range []string{"setName", "hosts", "me", "secondary", "$clusterTime", "operationTime"} {
		if _, err := reply.LookupErr(key); err == nil {
			t.Errorf("a standalone says %s: %v", key, reply)
		}
	}
}

func TestHelloOfMembersInOtherStates(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	for _, c := range []struct {
		role      repl.Role
		writable  bool
		secondary bool
		info      bool
	}{
		{repl.Secondary, false, true, false},
		{repl.Recovering, false, false, false},
		{repl.Startup2, false, false, false},
		{repl.Removed, false, false, true},
		{repl.Startup, false, false, true},
		{repl.Primary, false, true, false}, // it drains still
	} {
		s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = c.role, c.writable })
		reply := w.ok("admin", bson.D{{Key: "hello", Value: 1}})
		_, noInfo := reply.LookupErr("info")
		if reply.Lookup("isWritablePrimary").Boolean() || reply.Lookup("secondary").Boolean() != c.secondary || (noInfo == nil) != c.info {
			t.Errorf("role %d: %v", c.role, reply)
		}
		if _, err := reply.LookupErr("electionId"); err == nil {
			t.Errorf("role %d says an election id: %v", c.role, reply)
		}
	}
}

// topology asks hello to wait for a change of what reply says.
func topology(reply bson.Raw, wait time.Duration) bson.D {
	return bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: reply.Lookup("topologyVersion")}, {Key: "maxAwaitTimeMS", Value: wait.Milliseconds()}}
}

func TestAwaitableHelloAnswersAtOnceWhenTheTopologyChanges(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	first := w.ok("admin", bson.D{{Key: "hello", Value: 1}})
	w.send(0, append(topology(first, 25*time.Second), bson.E{Key: "$db", Value: "admin"}))
	s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
	_, reply := w.receive()
	if !reply.Lookup("secondary").Boolean() {
		t.Error(reply)
	}
	// What the client knows is old already: no waiting.
	if reply := w.ok("admin", topology(first, 25*time.Second)); !reply.Lookup("secondary").Boolean() {
		t.Error(reply)
	}
}

func TestAwaitableHelloAnswersWhenItsTimeIsUp(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	first := w.ok("admin", bson.D{{Key: "hello", Value: 1}})
	again := w.ok("admin", topology(first, time.Millisecond))
	if again.Lookup("topologyVersion").String() != first.Lookup("topologyVersion").String() {
		t.Errorf("the topology version changed: %v, then %v", first, again)
	}
}

func TestAwaitableHelloNeedsBothFields(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.refused("admin", bson.D{{Key: "hello", Value: 1}, {Key: "maxAwaitTimeMS", Value: 1}}, 31373)
	first := w.ok("admin", bson.D{{Key: "hello", Value: 1}})
	w.refused("admin", bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: first.Lookup("topologyVersion")}}, 31368)
	ahead := bson.D{{Key: "processId", Value: first.Lookup("topologyVersion", "processId")}, {Key: "counter", Value: int64(1000)}}
	w.refused("admin", bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: ahead}, {Key: "maxAwaitTimeMS", Value: 1}}, 31382)
}

func TestExhaustHelloStreamsEachChange(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	first := w.ok("admin", bson.D{{Key: "hello", Value: 1}})
	w.send(flagExhaust, append(topology(first, 25*time.Second), bson.E{Key: "$db", Value: "admin"}))
	answers := w.id
	for i := range 3 {
		s.node.change(func(st *repl.Status) { st.SetVersion = int32(10 + i) })
		m, reply := w.receive()
		if m.flags&flagMoreToCome == 0 || m.responseTo != answers {
			t.Fatalf("reply %d: flags %#x, to %d, want %d", i, m.flags, m.responseTo, answers)
		}
		if got := reply.Lookup("setVersion").Int32(); got != int32(10+i) {
			t.Fatalf("reply %d has version %d", i, got)
		}
		answers = m.requestID
	}
}

func TestAMessageWithAChecksumIsCheckedAndAnsweredWithOne(t *testing.T) {
	s := start(t, "rs0")
	ping := func(sum func(uint32) uint32) *wire {
		w := s.dial()
		b := make([]byte, headerSize)
		binary.LittleEndian.PutUint32(b[12:], opMsg)
		b = append(b, flagChecksum, 0, 0, 0, 0)
		b = append(b, doc(t, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "admin"}})...)
		binary.LittleEndian.PutUint32(b, uint32(len(b)+4))
		b = binary.LittleEndian.AppendUint32(b, sum(crc32.Checksum(b, castagnoli)))
		w.write(b)
		return w
	}
	m, _ := ping(func(s uint32) uint32 { return s }).receive()
	if m.flags&flagChecksum == 0 {
		t.Errorf("flags %#x", m.flags)
	}
	ping(func(s uint32) uint32 { return s + 1 }).gone()
}
