package server

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

func TestWhatIsNotUnderstoodIsRefusedAndTheConnectionStays(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.refused("test", bson.D{{Key: "frobnicate", Value: 1}}, codeCommandNotFound)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "foo", Value: 1}}, codeUnknownField)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "limit", Value: "1"}}, codeTypeMismatch)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "limit", Value: -1}}, codeBadValue)
	w.refused("test", bson.D{{Key: "find", Value: ""}}, codeInvalidNamespace)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "awaitData", Value: true}}, codeFailedToParse)
	w.ok("test", bson.D{{Key: "find", Value: "none"}, {Key: "tailable", Value: true}, {Key: "awaitData", Value: true}})
	w.ok("test", bson.D{{Key: "create", Value: "uncapped"}})
	w.refused("test", bson.D{{Key: "find", Value: "uncapped"}, {Key: "tailable", Value: true}}, codeBadValue)
	for _, of := range []any{"c", 1} {
		w.refused("test", bson.D{{Key: "aggregate", Value: of}, {Key: "cursor", Value: bson.D{}},
			{Key: "pipeline", Value: bson.A{bson.D{{Key: "$changeStream", Value: bson.D{}}}}}}, codeNotImplemented)
	}
	w.refused("te.st", bson.D{{Key: "find", Value: "c"}}, codeInvalidNamespace)
	w.refused("test", bson.D{{Key: "insert", Value: "c"}}, codeMissingField)
	w.refused("test", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{}}}, codeInvalidLength)
	w.refused("test", bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{}}}, codeFailedToParse)
	w.refused("test", bson.D{{Key: "replSetGetStatus", Value: 1}}, codeUnauthorized)
	w.refused("test", bson.D{{Key: "ping", Value: 1}, {Key: "maxTimeMS", Value: -1}}, codeBadValue)
	w.refused("test", bson.D{{Key: "ping", Value: 1}, {Key: "apiVersion", Value: "2"}}, codeAPIVersionError)
	w.refused("test", bson.D{{Key: "distinct", Value: "c"}, {Key: "key", Value: "a"}, {Key: "apiVersion", Value: "1"}, {Key: "apiStrict", Value: true}}, codeAPIStrictError)
	if reply := w.run("test", bson.D{{Key: "find", Value: "c"}}, sequence{name: "filter"}); reply.Lookup("code").Int32() != codeUnknownField {
		t.Error(reply)
	}
	w.send(0, bson.D{{Key: "ping", Value: 1}})
	if _, reply := w.receive(); reply.Lookup("code").Int32() != 40571 {
		t.Error(reply)
	}
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
}

func TestBytesThatAreNoMessageEndTheConnection(t *testing.T) {
	s := start(t, "rs0")
	head := func(length, opcode, flags uint32) []byte {
		b := make([]byte, headerSize)
		binary.LittleEndian.PutUint32(b, length)
		binary.LittleEndian.PutUint32(b[12:], opcode)
		return binary.LittleEndian.AppendUint32(b, flags)
	}
	for name, b := range map[string][]byte{
		"too short":          head(15, opMsg, 0)[:16],
		"too long":           head(maxMessageSize+1, opMsg, 0)[:16],
		"an unknown opcode":  head(20, 2012, 0),
		"an unknown flag":    head(20, opMsg, 1<<5),
		"another's protocol": []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			w := s.dial()
			w.write(b)
			w.t = t
			w.gone()
		})
	}
}

func TestAMessageOfMoreToComeIsNotAnswered(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.send(flagMoreToCome, bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}}}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 0}}}, {Key: "$db", Value: "test"}})
	reply := w.ok("test", bson.D{{Key: "count", Value: "c"}})
	if n := reply.Lookup("n").Int32(); n != 1 {
		t.Errorf("n: %d", n)
	}
}

func TestAFrozenServerAnswersNothingAndCatchesUpAfterwards(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
	s.srv.Freeze()
	s.srv.Freeze()
	w.send(0, bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{}}}, {Key: "$db", Value: "test"}})
	w.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := readMessage(w.nc, nil); err == nil {
		t.Fatal("a frozen server answered")
	} else if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatal(err)
	}
	if n := s.srv.Counters().Writes; n != 0 {
		t.Errorf("a frozen server executed %d writes", n)
	}
	w.nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	s.srv.Unfreeze()
	if _, reply := w.receive(); reply.Lookup("n").Int32() != 1 {
		t.Error(reply)
	}
}

func TestACloseGetsThroughToAFrozenConnection(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
	s.srv.Freeze()
	w.send(0, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "test"}})
	s.srv.CloseConnections()
	w.gone()
	s.srv.Close()
	s.srv.Close()
	if err := s.srv.Serve(w.nc); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestSlowDelaysOnlyTheCommandItNames(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	s.srv.Slow("find", time.Hour)
	w.ok("test", bson.D{{Key: "count", Value: "c"}})
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "maxTimeMS", Value: 20}}, codeMaxTimeMSExpired)
	s.srv.Slow("find", 0)
	s.srv.Slow("", time.Hour)
	w.refused("test", bson.D{{Key: "ping", Value: 1}, {Key: "maxTimeMS", Value: 20}}, codeMaxTimeMSExpired)
	s.srv.Slow("", 0)
	w.ok("test", bson.D{{Key: "find", Value: "c"}})
}

func TestCountersTellApplicationsApart(t *testing.T) {
	s := start(t, "rs0")
	for _, app := range []string{"a", "b"} {
		w := s.dial()
		w.ok("admin", bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: app}}}}}})
		w.ok("test", bson.D{{Key: "find", Value: "c"}})
		w.ok("test", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{}, bson.D{}}}})
	}
	got := s.srv.Counters()
	if got.Commands["find"] != 2 || got.Reads != 2 || got.Writes != 4 || got.TotalConnections != 2 {
		t.Errorf("%+v", got)
	}
	if a := got.ByApp["a"]; a.Commands["insert"] != 1 || a.Reads != 1 || a.Writes != 2 {
		t.Errorf("a: %+v", a)
	}
}

func TestOnlyWhatTheRoleAllowsIsExecuted(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	find := bson.D{{Key: "find", Value: "c"}}
	secondaryFind := append(find, bson.E{Key: "$readPreference", Value: bson.D{{Key: "mode", Value: "secondaryPreferred"}}})
	insert := bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{}}}}
	s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
	w.refused("test", find, codeNotPrimaryNoSecondaryOk)
	w.ok("test", secondaryFind)
	reply := w.refused("test", insert, codeNotWritablePrimary)
	if _, err := reply.LookupErr("topologyVersion", "counter"); err != nil {
		t.Errorf("no topology version: %v", reply)
	}
	if _, err := reply.LookupErr("errorLabels"); err == nil {
		t.Errorf("labels on a write that is not retryable: %v", reply)
	}
	s.node.change(func(st *repl.Status) { st.Role = repl.Recovering })
	w.refused("test", find, codeNotPrimaryNoSecondaryOk)
	w.refused("test", secondaryFind, codeNotPrimaryOrSecondary)
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
}

func TestTheGoDriverWritesAndReads(t *testing.T) {
	for _, set := range []string{"rs0", ""} {
		s := start(t, set)
		coll := s.driver().Database("test").Collection("c")
		ctx := context.Background()
		const n = 250
		docs := make([]any, n)
		for i := range docs {
			docs[i] = bson.D{{Key: "_id", Value: i}}
		}
		if set != "" { // a standalone takes no retryable writes, and the driver knows
			if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "one"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := coll.InsertMany(ctx, docs); err != nil {
			t.Fatal(err)
		}
		cur, err := coll.Find(ctx, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var all []bson.D
		if err := cur.All(ctx, &all); err != nil {
			t.Fatal(err)
		}
		if want := s.srv.Counters().Writes; int64(len(all)) != want {
			t.Errorf("set %q: %d documents, want %d", set, len(all), want)
		}
	}
}

func TestACommandIsGivenUpWhenItsClientHangsUp(t *testing.T) {
	s := start(t, "rs0")
	s.node.members = 3
	s.node.replicated = make(chan struct{})
	w := s.dial()
	w.send(0, append(withConcern(bson.D{{Key: "w", Value: 3}}), bson.E{Key: "$db", Value: "test"}))
	eventually(t, "the insert is executed", func() bool { return s.srv.Counters().Writes == 1 })
	w.nc.Close()
	eventually(t, "the connection is gone", func() bool { return s.srv.Counters().Connections == 0 })
}

func TestAWriteThatWasReceivedIsExecutedAlsoForAClientThatIsGone(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	s, _ := faulty(t, FaultSpec{Commands: []string{"insert"}, Times: 1, Latency: func(*rand.Rand) time.Duration {
		close(entered)
		<-release
		return 0
	}})
	defer goOn()
	w := s.dial()
	// Its client is gone when the fail point begins to hold it.
	w.ok("admin", failCommand(bson.D{{Key: "times", Value: 1}}, bson.D{{Key: "failCommands", Value: bson.A{"insert"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 2 * patience.Milliseconds()}}))
	w.send(0, append(insertOf(1), bson.E{Key: "$db", Value: "test"}))
	eventually(t, "the insert is held", func() bool {
		select {
		case <-entered:
			return true
		default:
			return false
		}
	})
	s.srv.CloseConnections()
	w.gone()
	goOn()
	eventually(t, "the insert is executed", func() bool { return s.srv.Counters().Writes == 1 })
}

func TestARequestSentDuringAWaitIsAnsweredAfterIt(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	s.srv.Slow("ping", 2*patience)
	for range 3 {
		w.send(0, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "test"}})
	}
	for i := range int32(3) {
		if m, reply := w.receive(); m.responseTo != i+1 || reply.Lookup("ok").Double() != 1 {
			t.Errorf("%+v: %v", m.header, reply)
		}
	}
	s.srv.Slow("ping", patience)
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
	s.srv.Slow("ping", 0)
	w.ok("test", bson.D{{Key: "ping", Value: 1}})
}

// eventually polls until something can be observed.
func eventually(t *testing.T, what string, seen func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !seen() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
