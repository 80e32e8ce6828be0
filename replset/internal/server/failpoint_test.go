package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

func failCommand(mode any, data bson.D) bson.D {
	return bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data}}
}

func retryable(cmd bson.D, txn int64) bson.D {
	return append(cmd[:len(cmd):len(cmd)],
		bson.E{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}},
		bson.E{Key: "txnNumber", Value: txn})
}

func insertOf(ids ...any) bson.D {
	var docs bson.A
	for _, id := range ids {
		docs = append(docs, bson.D{{Key: "_id", Value: id}})
	}
	return bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: docs}}
}

func labels(t *testing.T, reply bson.Raw) (list []string) {
	t.Helper()
	v, err := reply.LookupErr("errorLabels")
	if err != nil {
		return nil
	}
	if err := v.Unmarshal(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAFailPointFailsAsOftenAsItIsToldTo(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("admin", failCommand(bson.D{{Key: "times", Value: 2}}, bson.D{{Key: "failCommands", Value: bson.A{"find"}}, {Key: "errorCode", Value: 91}}))
	find := bson.D{{Key: "find", Value: "c"}}
	for range 2 {
		reply := w.refused("test", find, codeShutdownInProgress)
		if reply.Lookup("codeName").StringValue() != "ShutdownInProgress" {
			t.Error(reply)
		}
		w.ok("test", bson.D{{Key: "ping", Value: 1}})
	}
	w.ok("test", find)
	w.ok("admin", failCommand(bson.D{{Key: "skip", Value: 1}}, bson.D{{Key: "failCommands", Value: bson.A{"find"}}, {Key: "errorCode", Value: 6}}))
	w.ok("test", find)
	w.refused("test", find, 6)
	w.refused("test", find, 6)
	w.ok("admin", failCommand("off", nil))
	w.ok("test", find)
	w.refused("admin", bson.D{{Key: "configureFailPoint", Value: "other"}, {Key: "mode", Value: "off"}}, 266)
}

func TestAFailPointIsForTheApplicationItNames(t *testing.T) {
	s := start(t, "rs0")
	w, other := s.dial(), s.dial()
	w.ok("admin", bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: "a"}}}}}})
	w.ok("admin", failCommand("alwaysOn", bson.D{{Key: "failCommands", Value: bson.A{"ping"}}, {Key: "appName", Value: "a"}, {Key: "closeConnection", Value: true}}))
	other.ok("test", bson.D{{Key: "ping", Value: 1}})
	w.ok("admin", failCommand("alwaysOn", bson.D{{Key: "failCommands", Value: bson.A{"ping", "hello"}}, {Key: "appName", Value: "a"}, {Key: "closeConnection", Value: true}}))
	first := s.dial()
	first.send(0, bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: "a"}}}}}, {Key: "$db", Value: "admin"}})
	first.gone()
	w.send(0, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "test"}})
	w.gone()
}

func TestARetryableWriteThatFailsIsLabelled(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	fail := func(data bson.D) {
		t.Helper()
		w.ok("admin", failCommand(bson.D{{Key: "times", Value: 1}}, append(data, bson.E{Key: "failCommands", Value: bson.A{"insert"}})))
	}
	fail(bson.D{{Key: "errorCode", Value: 11602}})
	if got := labels(t, w.refused("test", retryable(insertOf(1), 1), codeInterruptedReplStateChange)); len(got) != 1 || got[0] != labelRetryable {
		t.Error(got)
	}
	fail(bson.D{{Key: "errorCode", Value: 11602}})
	if got := labels(t, w.refused("test", insertOf(1), codeInterruptedReplStateChange)); got != nil {
		t.Error(got)
	}
	fail(bson.D{{Key: "errorCode", Value: 11602}, {Key: "errorLabels", Value: bson.A{}}})
	if got := labels(t, w.refused("test", retryable(insertOf(1), 2), codeInterruptedReplStateChange)); got != nil {
		t.Error(got)
	}
	fail(bson.D{{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 91}, {Key: "errmsg", Value: "m"}}}})
	reply := w.ok("test", retryable(insertOf(1), 3))
	if got := labels(t, reply); len(got) != 1 || reply.Lookup("n").Int32() != 1 || reply.Lookup("writeConcernError", "code").Int32() != 91 {
		t.Error(reply)
	}
	// Once it has written, the server also says when an attempt has not.
	s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
	if got := labels(t, w.refused("test", retryable(insertOf(2), 4), codeNotWritablePrimary)); len(got) != 2 || got[1] != labelNoWrites {
		t.Error(got)
	}
}

func TestAnErrorOfAShutdownCarriesNoTopologyVersionForAFailPointsSake(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	for code, want := range map[int32]bool{91: false, 11600: false, 10107: true, 189: true} {
		w.ok("admin", failCommand(bson.D{{Key: "times", Value: 1}}, bson.D{{Key: "failCommands", Value: bson.A{"find"}}, {Key: "errorCode", Value: code}}))
		_, err := w.refused("test", bson.D{{Key: "find", Value: "c"}}, code).LookupErr("topologyVersion")
		if has := err == nil; has != want {
			t.Errorf("%d: it has a topology version: %v, want %v", code, has, want)
		}
	}
}
