package command

import (
	"errors"
	"math"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
)

func readCommand(document any) (*Read, error) {
	var enc Encoder
	return enc.Read(&messages.Read{Database: "admin", Operation: messages.Command{Document: document}})
}

func writeCommand(document any) (*Write, error) {
	var enc Encoder
	return enc.Write(&messages.Write{Database: "admin", Operation: messages.Command{Document: document}})
}

func TestCommandsThatOnlyReadAreReads(t *testing.T) {
	for name := range reading {
		r, err := readCommand(doc(name, 1, "x", "y"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want, _ := bson.Marshal(doc(name, 1, "x", "y")); r.Name != name || string(r.Body) != string(want) || r.MaxTimeMS != 0 {
			t.Errorf("%s is encoded as %s: %v", name, r.Name, r.Body)
		}
		if owned[name] != "" {
			t.Errorf("%s is evenkeel's own, too", name)
		}
	}
	for name := range waiting {
		if !reading[name] {
			t.Errorf("%s waits and does not read", name)
		}
	}
}

func TestCommandsThatMayWriteAreNoReads(t *testing.T) {
	for _, name := range []string{
		"insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite", "mapReduce", "create", "drop", "dropDatabase", "createIndexes", "dropIndexes",
		"renameCollection", "collMod", "validate", "profile", "setParameter", "replSetStepDown", "replSetReconfig", "configureFailPoint",
		"shutdown", "fsync", "killOp", "compact", "convertToCapped", "applyOps", "eval", "createUser", "noSuchCommand", "$eval", "",
	} {
		r, err := readCommand(doc(name, 1))
		if !errors.Is(err, messages.ErrNotARead) || r != nil {
			t.Errorf("%q: got %v", name, err)
		}
		if name == "" {
			continue
		}
		if w, err := writeCommand(doc(name, 1)); err != nil || w.Class != Other {
			t.Errorf("%q as a write: %v", name, err)
		}
	}
}

func TestAMisspelledReadIsToldItsSpelling(t *testing.T) {
	for name, want := range map[string]string{"Find": "find", "AGGREGATE": "aggregate", "BuildInfo": "buildInfo", "DBSTATS": "dbStats", "replsetgetstatus": "replSetGetStatus"} {
		_, err := readCommand(doc(name, 1))
		if !errors.Is(err, messages.ErrInvalid) || !strings.Contains(err.Error(), `"`+want+`"`) {
			t.Errorf("%s: got %v, want %s named", name, err, want)
		}
	}
}

func TestCommandsThatEvenkeelAnswersForAreRefused(t *testing.T) {
	names := []string{"commitTransaction", "abortTransaction", "getMore", "killCursors", "endSessions", "saslStart"}
	for name := range owned {
		names = append(names, name)
	}
	for _, name := range names {
		_, asRead := readCommand(doc(name, 1))
		_, asWrite := writeCommand(doc(name, 1))
		if !errors.Is(asRead, messages.ErrInvalid) || !errors.Is(asWrite, messages.ErrInvalid) {
			t.Errorf("%s: got %v as a read and %v as a write", name, asRead, asWrite)
		}
	}
	for _, field := range []string{"$db", "lsid", "txnNumber", "autocommit", "startTransaction", "$clusterTime", "$readPreference"} {
		_, asRead := readCommand(doc("find", "a", "x", 1, field, 1))
		_, asWrite := writeCommand(doc("insert", "a", "x", 1, field, 1))
		if !errors.Is(asRead, messages.ErrInvalid) || !errors.Is(asWrite, messages.ErrInvalid) {
			t.Errorf("%s: got %v as a read and %v as a write", field, asRead, asWrite)
		}
	}
	for _, document := range []any{nil, doc(), bson.M{}, bson.M{"find": 1, "filter": doc()}, 7, bson.Raw{5, 0, 0, 0, 1}} {
		_, asRead := readCommand(document)
		_, asWrite := writeCommand(document)
		var r, w *messages.InvalidError
		if !errors.As(asRead, &r) || !errors.As(asWrite, &w) || r.Field != "Document" || w.Field != "Document" {
			t.Errorf("%v: got %v as a read and %v as a write", document, asRead, asWrite)
		}
	}
}

func TestAPipelineThatWritesIsNoRead(t *testing.T) {
	var enc Encoder
	match, group := doc("$match", doc()), doc("$group", doc("_id", 1))
	for _, stage := range []bson.D{doc("$out", "x"), doc("$out", doc("db", "a", "coll", "b")), doc("$merge", doc("into", "x"))} {
		for _, pipeline := range [][]bson.D{{stage}, {match, stage}, {stage, match}, {match, stage, group}} {
			_, array, err := bson.MarshalValue(pipeline)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []any{pipeline, mongo.Pipeline(pipeline), bson.RawArray(array), ownValue(array)} {
				r, err := enc.Read(&messages.Read{Database: "game", Collection: "players", Operation: messages.Aggregate{Pipeline: p}})
				if !errors.Is(err, messages.ErrNotARead) || r != nil {
					t.Errorf("%T %v: got %v", p, pipeline, err)
				}
			}
			for _, cmd := range []any{
				doc("aggregate", "players", "pipeline", pipeline, "cursor", doc()),
				doc("explain", doc("aggregate", "players", "pipeline", pipeline, "cursor", doc())),
				doc("explain", doc("explain", doc("aggregate", "players", "pipeline", pipeline))),
				doc("aggregate", "players", "pipeline", bson.A{}, "pipeline", pipeline),
			} {
				if _, err := readCommand(cmd); !errors.Is(err, messages.ErrNotARead) {
					t.Errorf("%v: got %v", cmd, err)
				}
				if _, err := writeCommand(cmd); err != nil {
					t.Errorf("%v as a write: %v", cmd, err)
				}
			}
		}
	}
	// What only looks like it; the server has its own opinion on the last ones.
	for _, pipeline := range []bson.A{
		{}, {doc("$match", doc("$out", 1))}, {doc("$set", doc("$merge", 1))}, {doc("$project", doc("x", "$out"))},
		{doc("$facet", doc("a", bson.A{doc("$out", "x")}))}, {doc("$match", doc(), "$out", "x")},
	} {
		if _, err := enc.Read(&messages.Read{Database: "game", Collection: "players", Operation: messages.Aggregate{Pipeline: pipeline}}); err != nil {
			t.Errorf("%v: %v", pipeline, err)
		}
		for _, cmd := range []bson.D{doc("aggregate", "players", "pipeline", pipeline), doc("explain", doc("aggregate", "players", "pipeline", pipeline)), doc("explain", 1), doc("explain", doc())} {
			if _, err := readCommand(cmd); err != nil {
				t.Errorf("%v: %v", cmd, err)
			}
		}
	}
}

func TestAReadCommandWaitsWhereItCanAndIsNotToldBetter(t *testing.T) {
	after := bson.Timestamp{T: 7, I: 1}
	for _, c := range []struct{ cmd, want bson.D }{
		{doc("find", "players"), doc("find", "players", "readConcern", doc("afterClusterTime", after))},
		{doc("aggregate", 1), doc("aggregate", 1, "readConcern", doc("afterClusterTime", after))},
		{doc("count", "players"), doc("count", "players", "readConcern", doc("afterClusterTime", after))},
		{doc("distinct", "players"), doc("distinct", "players", "readConcern", doc("afterClusterTime", after))},
		{doc("find", "players", "readConcern", doc("level", "local")), doc("find", "players", "readConcern", doc("level", "local"))},
		{doc("listCollections", 1), doc("listCollections", 1)},
	} {
		r, err := readCommand(c.cmd)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Wire(Concern{Level: "majority", After: after}, 0); string(got) != string(marshal(t, c.want)) {
			t.Errorf("sent %v, want %v", got, marshal(t, c.want))
		}
		if got := r.Wire(Concern{Level: "majority"}, 0); string(got) != string(marshal(t, c.cmd)) {
			t.Errorf("with nothing to wait for, sent %v", got)
		}
	}
}

func TestUnacknowledgedWritesAreRefused(t *testing.T) {
	var enc Encoder
	yes, no := true, false
	for i, c := range []struct {
		wc   *writeconcern.WriteConcern
		good bool
	}{
		{nil, true}, {&writeconcern.WriteConcern{}, true}, {writeconcern.W1(), true}, {writeconcern.Majority(), true},
		{writeconcern.Custom("tag"), true}, {writeconcern.Journaled(), true}, {&writeconcern.WriteConcern{W: 3}, true},
		{writeconcern.Unacknowledged(), false}, {&writeconcern.WriteConcern{W: 0, Journal: &no}, false}, {&writeconcern.WriteConcern{W: 0, Journal: &yes}, false},
		{&writeconcern.WriteConcern{W: -1}, false}, {&writeconcern.WriteConcern{W: int64(0)}, false}, {&writeconcern.WriteConcern{W: 1.5}, false},
	} {
		for _, op := range []messages.WriteOperation{messages.InsertOne{Document: doc()}, messages.DeleteMany{Filter: doc()}, messages.Command{Document: doc("create", "x")}} {
			_, err := enc.Write(&messages.Write{Database: "game", Collection: "players", Operation: op, WriteConcern: c.wc})
			var invalid *messages.InvalidError
			if c.good != (err == nil) || !c.good && (!errors.As(err, &invalid) || invalid.Field != "WriteConcern") {
				t.Errorf("%d: %T with %+v: got %v", i, op, c.wc, err)
			}
		}
	}
	decimal := func(s string) bson.Decimal128 {
		d, err := bson.ParseDecimal128(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, w := range []any{0, int64(0), 0.0, math.Copysign(0, -1), 0.5, math.NaN(), -1, math.Inf(-1), decimal("0"), decimal("0E+3"), decimal("-0.00"), decimal("0.5"), decimal("NaN")} {
		_, err := writeCommand(doc("insert", "players", "documents", bson.A{doc()}, "writeConcern", doc("wtimeout", 1, "w", w)))
		var invalid *messages.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "Document" {
			t.Errorf("w: %v: got %v", w, err)
		}
	}
	for _, wc := range []any{doc(), doc("w", 1), doc("w", int64(2)), doc("w", 1.0), doc("w", decimal("3")), doc("w", "majority"), doc("w", "0"), doc("w", doc("dc", 0)), doc("j", true), 0, nil} {
		if _, err := writeCommand(doc("insert", "players", "documents", bson.A{doc()}, "writeConcern", wc)); err != nil {
			t.Errorf("writeConcern: %v: %v", wc, err)
		}
	}
}

func TestWhatIsTooLargeForTheServerIsRefused(t *testing.T) {
	var enc Encoder
	filling := strings.Repeat("x", 17<<20)
	// sized is a document of n bytes that begins with the elements of first.
	sized := func(n int, first ...any) bson.Raw {
		start := marshal(t, doc(first...))
		raw := &body{b: append(make([]byte, 0, n), start[:len(start)-1]...)}
		raw.str("x", filling[:n-len(start)-8])
		if got := raw.end(); len(got) != n {
			t.Fatal(len(got))
		}
		return raw.b
	}
	set := func(n int) bson.Raw {
		raw := newBody(n)
		raw.doc("$set", sized(n-11))
		return raw.end()
	}
	const mib16 = 16 << 20
	for i, c := range []struct {
		op    messages.WriteOperation
		field string
	}{
		{messages.InsertOne{Document: sized(mib16, "_id", 1)}, ""},
		{messages.InsertOne{Document: sized(mib16+1, "_id", 1)}, "Document"},
		{messages.InsertOne{Document: sized(mib16 - 17)}, ""},
		{messages.InsertOne{Document: sized(mib16 - 16)}, "Document"},
		{messages.InsertMany{Documents: []bson.Raw{sized(mib16, "_id", 1), sized(mib16, "_id", 2)}}, ""},
		{messages.InsertMany{Documents: []bson.Raw{sized(100), sized(mib16 - 16)}}, "Documents[1]"},
		{messages.ReplaceOne{Filter: doc(), Replacement: sized(mib16)}, ""},
		{messages.ReplaceOne{Filter: doc(), Replacement: sized(mib16 + 1)}, "Replacement"},
		{messages.FindOneAndReplace{Filter: doc(), Replacement: sized(mib16 + 1)}, "Replacement"},
		{messages.UpdateOne{Filter: doc(), Update: set(mib16)}, ""},
		{messages.UpdateOne{Filter: sized(8 << 20), Update: set(9 << 20)}, "Operation"},
		{messages.DeleteMany{Filter: sized(17 << 20)}, "Operation"},
		{messages.Command{Document: sized(17<<20, "create", "x")}, "Operation"},
	} {
		_, err := enc.Write(&messages.Write{Database: "game", Collection: "players", Operation: c.op})
		var invalid *messages.InvalidError
		if errors.As(err, &invalid) != (c.field != "") || invalid != nil && invalid.Field != c.field {
			t.Errorf("%d: %T: got %v, want %q refused", i, c.op, err, c.field)
		}
	}
}
