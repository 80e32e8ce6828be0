package server

import (
	"encoding/binary"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// legacy sends an OP_QUERY, or, since the fields that matter are in the same place,
// another message of its age.
func (w *wire) legacy(opcode uint32, ns string, d bson.D) {
	w.t.Helper()
	w.id++
	b := make([]byte, headerSize+4)
	binary.LittleEndian.PutUint32(b[4:], uint32(w.id))
	binary.LittleEndian.PutUint32(b[12:], opcode)
	b = append(append(b, ns...), 0)
	b = append(b, 0, 0, 0, 0, 255, 255, 255, 255)
	b = append(b, doc(w.t, d)...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	w.write(b)
}

// answered receives the OP_REPLY to the last message.
func (w *wire) answered() (flags uint32, reply bson.Raw) {
	w.t.Helper()
	m, reply := w.receive()
	if m.opcode != opReply || m.responseTo != w.id {
		w.t.Fatalf("%+v", m.header)
	}
	return m.flags, reply
}

func TestOpQueryIsAnsweredWithOpReply(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	query := func(ns string, d bson.D) bson.Raw {
		w.legacy(opQuery, ns, d)
		flags, reply := w.answered()
		if flags != replyAwaitCapable {
			t.Errorf("%s %v: flags %#x", ns, d, flags)
		}
		return reply
	}
	if reply := query("admin.$cmd", bson.D{{Key: "isMaster", Value: 1}}); !reply.Lookup("ismaster").Boolean() {
		t.Error(reply)
	}
	if reply := query("admin.$cmd", bson.D{{Key: "$query", Value: bson.D{{Key: "hello", Value: 1}}}}); !reply.Lookup("isWritablePrimary").Boolean() {
		t.Error(reply)
	}
	if reply := query("test.$cmd", bson.D{{Key: "find", Value: "c"}}); reply.Lookup("code").Int32() != codeUnsupportedOpQuery {
		t.Error(reply)
	}
}

func TestOpcodesThatTheServerHasGivenUpAreNoResultsOfAQuery(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	for opcode, name := range map[uint32]string{opQuery: "OP_QUERY", opGetMore: "OP_GET_MORE"} {
		w.legacy(opcode, "test.c", bson.D{{Key: "a", Value: 1}})
		flags, reply := w.answered()
		if flags != replyFailure || reply.Lookup("code").Int32() != codeRetiredOpcode || !strings.HasPrefix(reply.Lookup("$err").StringValue(), name+" is no longer supported") {
			t.Errorf("%s: flags %#x, %v", name, flags, reply)
		}
	}
	for _, opcode := range []uint32{2001, 2002, 2006, 2007} {
		w.legacy(opcode, "test.c", bson.D{{Key: "_id", Value: 1}})
	}
	if reply := w.ok("test", bson.D{{Key: "count", Value: "c"}}); reply.Lookup("n").Int32() != 0 {
		t.Errorf("an OP_INSERT was executed: %v", reply)
	}
}

func TestClientsThatDoNotKnowHelloAreRefusedInTheirOwnWords(t *testing.T) {
	s := start(t, "rs0")
	s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
	find := bson.D{{Key: "find", Value: "c"}}
	insert := bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{}}}}
	for _, c := range []struct {
		hello       bson.D
		write, read string
	}{
		{bson.D{{Key: "isMaster", Value: 1}}, "not master", "not master and slaveOk=false"},
		{bson.D{{Key: "isMaster", Value: 1}, {Key: "helloOk", Value: true}}, "not primary", "not primary and secondaryOk=false"},
	} {
		w := s.dial()
		w.ok("admin", c.hello)
		if reply := w.refused("test", insert, codeNotWritablePrimary); reply.Lookup("errmsg").StringValue() != c.write {
			t.Errorf("a write after %v: %v", c.hello, reply)
		}
		if reply := w.refused("test", find, codeNotPrimaryNoSecondaryOk); reply.Lookup("errmsg").StringValue() != c.read {
			t.Errorf("a read after %v: %v", c.hello, reply)
		}
	}
}
