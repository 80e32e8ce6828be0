package server

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func withConcern(w bson.D) bson.D {
	return append(insertOf(bson.NewObjectID()), bson.E{Key: "writeConcern", Value: w})
}

// limited runs a command with a maxTimeMS that is to expire not before the command has been executed. On a
// busy machine it may, and then there is more of it.
func (w *wire) limited(db string, cmd bson.D) bson.Raw {
	w.t.Helper()
	for ms := 20; ; ms *= 2 {
		reply := w.run(db, append(cmd[:len(cmd):len(cmd)], bson.E{Key: "maxTimeMS", Value: ms}))
		if reply.Lookup("ok").Double() == 1 {
			return reply
		}
		if reply.Lookup("code").Int32() != codeMaxTimeMSExpired || ms > 5_000 {
			w.t.Fatalf("%v: %v", cmd, reply)
		}
	}
}

func TestAWriteWaitsForItsWriteConcern(t *testing.T) {
	s := start(t, "rs0")
	s.node.members = 3
	s.node.replicated = make(chan struct{})
	w := s.dial()
	w.ok("test", withConcern(bson.D{{Key: "w", Value: 1}}))
	for _, wc := range []bson.D{{{Key: "w", Value: "majority"}}, {{Key: "w", Value: 2}}, {}} {
		reply := w.ok("test", withConcern(append(wc, bson.E{Key: "wtimeout", Value: 5})))
		if reply.Lookup("writeConcernError", "code").Int32() != codeWriteConcernFailed || !reply.Lookup("writeConcernError", "errInfo", "wtimeout").Boolean() || reply.Lookup("n").Int32() != 1 {
			t.Errorf("%v: %v", wc, reply)
		}
	}
	// Without a write concern it is majority.
	reply := w.limited("test", insertOf(bson.NewObjectID()))
	if reply.Lookup("n").Int32() != 1 || reply.Lookup("writeConcernError", "code").Int32() != codeMaxTimeMSExpired {
		t.Error(reply)
	}
	reply = w.ok("test", withConcern(bson.D{{Key: "w", Value: 4}}))
	if reply.Lookup("writeConcernError", "code").Int32() != codeUnsatisfiableWriteConcern {
		t.Error(reply)
	}
	reply = w.ok("test", withConcern(bson.D{{Key: "w", Value: "elsewhere"}}))
	if reply.Lookup("writeConcernError", "code").Int32() != codeUnknownReplWriteConcern {
		t.Error(reply)
	}
	w.send(0, append(withConcern(bson.D{{Key: "w", Value: "majority"}}), bson.E{Key: "$db", Value: "test"}))
	close(s.node.replicated)
	if _, reply := w.receive(); reply.Lookup("ok").Double() != 1 {
		t.Error(reply)
	}
	w.refused("test", withConcern(bson.D{{Key: "w", Value: -1}}), codeFailedToParse)
	w.refused("test", withConcern(bson.D{{Key: "x", Value: 1}}), codeUnknownField)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 1}}}}, codeInvalidOptions)
}

func TestAReadWaitsForItsClusterTime(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	now := s.node.ClusterTime()
	read := func(after bson.Timestamp) bson.D {
		return bson.D{{Key: "find", Value: "c"}, {Key: "readConcern", Value: bson.D{{Key: "afterClusterTime", Value: after}}}}
	}
	w.ok("test", read(now))
	later := bson.Timestamp{T: now.T, I: now.I + 100}
	w.refused("test", read(later), codeInvalidOptions)
	gossip := bson.E{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: later}}}
	w.refused("test", append(read(later), gossip, bson.E{Key: "maxTimeMS", Value: 20}), codeMaxTimeMSExpired)
	tooFar := bson.E{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: bson.Timestamp{T: uint32(time.Now().Add(2 * maxClockAhead).Unix())}}}}
	w.refused("test", append(bson.D{{Key: "ping", Value: 1}}, tooFar), codeClusterTimeTooFarAhead)
	for level, code := range map[string]int32{"snapshot": codeInvalidOptions, "linearizable": codeInvalidOptions, "other": codeBadValue} {
		w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "readConcern", Value: bson.D{{Key: "level", Value: level}}}}, code)
	}
	w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}}}})
}
