package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// as makes a server speak for a series of releases.
func as(t testing.TB, series string) func(*Config) {
	t.Helper()
	v, err := ParseVersion(series)
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *Config) { cfg.Version = v }
}

func TestAServerAnnouncesItsVersionWhereverClientsAskForIt(t *testing.T) {
	for series, want := range map[string]struct {
		wire  int32
		major int32
		minor int32
	}{"4.4": {9, 4, 4}, "5.0": {13, 5, 0}, "6.0": {17, 6, 0}, "7.0": {21, 7, 0}, "8.0": {25, 8, 0}} {
		w := start(t, "rs0", as(t, series)).dial()
		for _, hello := range []string{"hello", "isMaster"} {
			reply := w.ok("admin", bson.D{{Key: hello, Value: 1}})
			if reply.Lookup("maxWireVersion").Int32() != want.wire || reply.Lookup("minWireVersion").Int32() != 0 || reply.Lookup("topologyVersion").Type != bson.TypeEmbeddedDocument {
				t.Errorf("%s: %v", series, reply)
			}
		}
		info := w.ok("admin", bson.D{{Key: "buildInfo", Value: 1}})
		if v := info.Lookup("version").StringValue(); v[:4] != series+"." {
			t.Errorf("%s: %v", series, info)
		}
		if info.Lookup("versionArray", "0").Int32() != want.major || info.Lookup("versionArray", "1").Int32() != want.minor || info.Lookup("versionArray", "3").Int32() != 0 {
			t.Errorf("%s: %v", series, info)
		}
		status := w.ok("admin", bson.D{{Key: "serverStatus", Value: 1}})
		if got := status.Lookup("version").StringValue(); got != info.Lookup("version").StringValue() {
			t.Errorf("%s: serverStatus says %s", series, got)
		}
		compat := w.ok("admin", bson.D{{Key: "getParameter", Value: 1}, {Key: "featureCompatibilityVersion", Value: 1}})
		if got := compat.Lookup("featureCompatibilityVersion", "version").StringValue(); got != series {
			t.Errorf("%s: compatible with %s", series, got)
		}
	}
	if _, err := ParseVersion("9.9"); err == nil {
		t.Error("9.9 is a version")
	}
	def := start(t, "").dial().ok("admin", bson.D{{Key: "hello", Value: 1}})
	if def.Lookup("maxWireVersion").Int32() != 25 {
		t.Error(def)
	}
}

func TestAVersionRefusesInItsOwnWords(t *testing.T) {
	name := func(reply bson.Raw) string { return reply.Lookup("codeName").StringValue() }
	for series, want := range map[string]struct{ unknown, missing, bounds string }{
		"4.4": {"Location40415", "Location40414", "Location51024"},
		"5.0": {"Location40415", "Location40414", "Location51024"},
		"7.0": {"Location40415", "Location40414", "Location51024"},
		"8.0": {"IDLUnknownField", "IDLFailedToParse", "BadValue"},
	} {
		w := start(t, "rs0", as(t, series)).dial()
		if got := name(w.refused("test", append(insertOf(1), bson.E{Key: "x", Value: 1}), codeUnknownField)); got != want.unknown {
			t.Errorf("%s: %s", series, got)
		}
		if got := name(w.refused("test", bson.D{{Key: "insert", Value: "c"}}, codeMissingField)); got != want.missing {
			t.Errorf("%s: %s", series, got)
		}
		if got := name(w.run("test", bson.D{{Key: "find", Value: "c"}, {Key: "skip", Value: -1}})); got != want.bounds {
			t.Errorf("%s: %s", series, got)
		}
	}
}

// What a driver's behaviour hangs on beside the wire version.
func TestWhatCameWithAVersionIsNotThereBefore(t *testing.T) {
	type refused = int32
	sorted := bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: bson.D{}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}}, {Key: "sort", Value: bson.D{{Key: "a", Value: 1}}},
	}}}}
	for series, want := range map[string]struct{ opQuery, api, drop, sort, hint refused }{
		"4.4": {0, codeUnknownField, codeNamespaceNotFound, codeUnknownField, codeUnknownField},
		"5.0": {0, 0, codeNamespaceNotFound, codeUnknownField, codeUnknownField},
		"6.0": {codeUnsupportedOpQuery, 0, codeNamespaceNotFound, codeUnknownField, codeUnknownField},
		"7.0": {codeUnsupportedOpQuery, 0, 0, codeUnknownField, codeUnknownField},
		"8.0": {codeUnsupportedOpQuery, 0, 0, 0, 0},
	} {
		w := start(t, "rs0", as(t, series)).dial()
		w.legacy(opQuery, "test.$cmd", bson.D{{Key: "count", Value: "c"}})
		_, counted := w.answered()
		for _, c := range []struct {
			what  string
			reply bson.Raw
			code  refused
		}{
			{"a command by OP_QUERY", counted, want.opQuery},
			{"the stable API", w.run("test", append(insertOf(1), bson.E{Key: "apiVersion", Value: "1"})), want.api},
			{"drop of what is not there", w.run("test", bson.D{{Key: "drop", Value: "none"}}), want.drop},
			{"an update with a sort", w.run("test", sorted), want.sort},
			{"distinct with a hint", w.run("test", bson.D{{Key: "distinct", Value: "c"}, {Key: "key", Value: "a"}, {Key: "hint", Value: "_id_"}}), want.hint},
		} {
			if code, _ := c.reply.Lookup("code").Int32OK(); code != c.code {
				t.Errorf("%s: %s: %v", series, c.what, c.reply)
			}
		}
	}
}

func TestAWriteThatNamesNoConcernWaitsForAMajoritySince50(t *testing.T) {
	for series, waits := range map[string]bool{"4.4": false, "5.0": true} {
		s := start(t, "rs0", as(t, series))
		s.node.members = 3
		s.node.replicated = make(chan struct{})
		reply := s.dial().limited("test", insertOf(1))
		if _, err := reply.LookupErr("writeConcernError"); (err == nil) != waits || reply.Lookup("n").Int32() != 1 {
			t.Errorf("%s: %v", series, reply)
		}
		said := s.dial().ok("admin", bson.D{{Key: "getDefaultRWConcern", Value: 1}})
		if _, err := said.LookupErr("defaultWriteConcern", "w"); (err == nil) != waits {
			t.Errorf("%s: %v", series, said)
		}
	}
}

func TestAnAttemptThatHasNotWrittenIsLabelledSince60(t *testing.T) {
	for series, labelled := range map[string]int{"5.0": 1, "6.0": 2} {
		s := start(t, "rs0", as(t, series))
		w := s.dial()
		w.ok("test", retryable(insertOf(1), 1))
		s.node.change(func(st *repl.Status) { st.Role, st.WritablePrimary = repl.Secondary, false })
		if got := labels(t, w.refused("test", retryable(insertOf(2), 2), codeNotWritablePrimary)); len(got) != labelled {
			t.Errorf("%s: %v", series, got)
		}
	}
}
