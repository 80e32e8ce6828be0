package server

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// These are cases of the drivers' own tests, which are written against servers.

func TestOfAFailPointsModeOneFieldDecides(t *testing.T) {
	w := start(t, "rs0").dial()
	ping := d("ping", 1)
	data := d("failCommands", bson.A{"ping"}, "errorCode", 2)
	w.ok("admin", failCommand(d("times", 1, "skip", 0), data)) // As the Go driver's tests send it.
	w.refused("admin", ping, 2)
	w.ok("admin", ping)
	w.ok("admin", failCommand(d("skip", 1, "activationProbability", 0.0), data))
	w.ok("admin", ping)
	w.refused("admin", ping, 2)
	w.ok("admin", failCommand(d("activationProbability", 1.0, "unknown", true), data))
	w.refused("admin", ping, 2)
	w.ok("admin", failCommand("off", d()))
	w.refused("admin", failCommand(d("unknown", 1), data), codeBadValue)
	w.refused("admin", failCommand(d("times", 1.5), data), codeBadValue)
	w.refused("admin", failCommand(d("times", int64(1)<<31), data), codeBadValue)
	w.refused("admin", failCommand(1, data), codeTypeMismatch)
	w.refused("admin", failCommand("sometimes", data), codeBadValue)
}

func TestZeroTimestampsMayBeKept(t *testing.T) {
	zero := bson.Timestamp{}
	isZero := func(w *wire, id any) bool {
		t.Helper()
		doc := w.ok("test", d("find", "c", "filter", d("_id", id))).Lookup("cursor", "firstBatch", "0").Document()
		at, i, ok := doc.Lookup("at").TimestampOK()
		if !ok {
			t.Fatalf("%v is %v", id, doc)
		}
		return at == 0 && i == 0
	}
	for _, series := range Versions() {
		w := start(t, "rs0", as(t, series)).dial()
		insert := d("insert", "c", "documents", bson.A{d("_id", 1, "at", zero)})
		update := d("update", "c", "updates", bson.A{d("q", d("_id", 1), "u", d("at", zero))})
		modify := d("findAndModify", "c", "query", d("_id", 1), "update", d("at", zero))
		cmds := []bson.D{insert, update, modify}
		if series == "8.0" {
			cmds = append(cmds, d("bulkWrite", 1, "ops", bson.A{d("update", 0, "filter", d("_id", 1), "updateMods", d("at", zero))}, "nsInfo", bson.A{d("ns", "test.c")}))
		}
		for _, cmd := range cmds {
			db := "test"
			if cmd[0].Key == "bulkWrite" {
				db = "admin"
			}
			keep := with(cmd, "bypassEmptyTsReplacement", true)
			if series == "4.4" {
				w.refused(db, keep, codeUnknownField)
				continue
			}
			w.refused(db, with(cmd, "bypassEmptyTsReplacement", "yes"), codeTypeMismatch)
			w.ok(db, keep)
			if !isZero(w, 1) {
				t.Errorf("%s: %s stamps it", series, cmd[0].Key)
			}
			if cmd[0].Key == "insert" {
				continue // It is there now.
			}
			w.ok(db, with(cmd, "bypassEmptyTsReplacement", false))
			if isZero(w, 1) {
				t.Errorf("%s: %s does not stamp it", series, cmd[0].Key)
			}
		}
	}
}

func TestAnIndexedPathHasNoDollarSigns(t *testing.T) {
	w := start(t, "rs0").dial()
	index := func(path string) bson.D {
		return d("createIndexes", "c", "indexes", bson.A{d("key", d(path, 1), "name", "n")})
	}
	for _, path := range []string{"$a", "a.$b", "a.$b.c", "a.$", "$a.$**"} {
		w.refused("test", index(path), codeCannotCreateIndex)
	}
	for _, path := range []string{"$**", "a.$**"} {
		w.refused("test", index(path), codeNotImplemented)
	}
	for _, path := range []string{"a.$id", "a.$ref", "a.$db", "a$b"} {
		w.ok("test", index(path))
		w.ok("test", d("dropIndexes", "c", "index", "n"))
	}
}

func TestAStageThatThereIsNoneOfFailsTheUpdateWhenItIsDone(t *testing.T) {
	w := start(t, "rs0").dial()
	w.ok("test", insertOf(1, 2))
	statement := func(id int, u any) bson.D { return d("q", d("_id", id), "u", u) }
	update := d("update", "c", "ordered", false, "updates", bson.A{
		statement(1, bson.A{d("$invalidOperator", true)}), statement(2, d("$set", d("x", 1))),
	})
	w.refused("test", update, 40324)
	if n := w.ok("test", d("count", "c", "query", d("x", 1))).Lookup("n").AsInt64(); n != 1 {
		t.Errorf("%d documents were updated", n)
	}
	// Ones that are not for updates are the statement's own error.
	for _, stage := range []string{"$match", "$listSearchIndexes"} {
		reply := w.ok("test", d("update", "c", "updates", bson.A{statement(1, bson.A{d(stage, d())})}))
		if code := reply.Lookup("writeErrors", "0", "code").AsInt64(); code != int64(codeInvalidOptions) {
			t.Errorf("%s: %v", stage, reply)
		}
	}
	// What was written before is waited for.
	reply := w.refused("test", with(update, "writeConcern", d("w", 5)), 40324)
	if code, _ := reply.Lookup("writeConcernError", "code").AsInt64OK(); code != int64(codeUnsatisfiableWriteConcern) {
		t.Errorf("w: 5: %v", reply)
	}
}

func TestSearchIndexesAreRefusedAsWithoutAtlas(t *testing.T) {
	cmds := []bson.D{
		d("createSearchIndexes", "c", "indexes", bson.A{d("definition", d("mappings", d("dynamic", true)))}),
		d("dropSearchIndex", "c", "name", "n"),
		d("updateSearchIndex", "c", "name", "n", "definition", d()),
	}
	w := start(t, "rs0").dial()
	for _, cmd := range cmds {
		if reply := w.refused("test", cmd, 31082); reply.Lookup("codeName").StringValue() != "SearchNotEnabled" {
			t.Error(reply)
		}
	}
	w.refused("test", aggregateOf("c", "$listSearchIndexes"), 31082)
	old := start(t, "rs0", as(t, "6.0")).dial()
	old.refused("test", cmds[0], codeCommandNotFound)
	old.refused("test", aggregateOf("c", "$listSearchIndexes"), 40324)
}

func TestOldServersKnowNoVariables(t *testing.T) {
	let := d("x", 1)
	update := bson.A{d("q", d(), "u", d("$set", d("a", 1)))}
	for says, cmd := range map[string]bson.D{
		"'update.let' is an unknown field":          d("update", "c", "updates", update, "let", let),
		"'delete.let' is an unknown field":          d("delete", "c", "deletes", bson.A{d("q", d(), "limit", 1)}, "let", let),
		"field 'let' is an unknown field":           d("findAndModify", "c", "remove", true, "let", let),
		"Failed to parse: Unrecognized field 'let'": d("find", "c", "let", let),
		"unrecognized field 'let'":                  d("aggregate", "c", "pipeline", bson.A{}, "cursor", d(), "let", let),
	} {
		code := codeFailedToParse
		switch cmd[0].Key {
		case "update", "delete":
			code = codeUnknownField
		case "findAndModify":
			code = 51177
		}
		old := start(t, "rs0", as(t, "4.4")).dial()
		if got := old.refused("test", cmd, code).Lookup("errmsg").StringValue(); !strings.Contains(got, says) {
			t.Errorf("%s: %s", cmd[0].Key, got)
		}
		start(t, "rs0", as(t, "5.0")).dial().refused("test", cmd, codeNotImplemented)
	}
}

func TestAFailPointInATransactionSaysThatItMayBeTriedAgain(t *testing.T) {
	w := start(t, "rs0").dial()
	in := func(cmd bson.D, n int64, start bool) bson.D {
		cmd = append(retryable(cmd, n), bson.E{Key: "autocommit", Value: false})
		if start {
			cmd = append(cmd, bson.E{Key: "startTransaction", Value: true})
		}
		return cmd
	}
	for code, want := range map[int32][]string{
		112: {labelTransient}, 251: {labelTransient}, codeNotWritablePrimary: {labelTransient}, 11000: nil,
	} {
		w.ok("admin", failCommand(d("times", 1), d("failCommands", bson.A{"insert"}, "errorCode", code)))
		if got := labels(t, w.refused("test", in(insertOf(1), int64(code), true), code)); !slices.Equal(got, want) {
			t.Errorf("insert, %d: %v", code, got)
		}
	}
	for code, want := range map[int32][]string{251: {labelTransient}, codeNotWritablePrimary: {labelRetryable}, 11000: nil} {
		w.ok("admin", failCommand(d("times", 1), d("failCommands", bson.A{"commitTransaction"}, "errorCode", code)))
		if got := labels(t, w.refused("admin", in(d("commitTransaction", 1), int64(code), false), code)); !slices.Equal(got, want) {
			t.Errorf("commitTransaction, %d: %v", code, got)
		}
	}
	if got := labels(t, w.refused("admin", in(d("commitTransaction", 1), 1<<39, false), 251)); !slices.Equal(got, []string{labelTransient}) {
		t.Errorf("without a fail point: %v", got)
	}
	says := w.refused("test", in(insertOf(1), 1<<40, true), 263).Lookup("errmsg").StringValue()
	if !strings.Contains(says, "not supported") {
		t.Error(says)
	}
}

func TestAFailPointStrikesCommandsThatAreNotThere(t *testing.T) {
	w := start(t, "rs0").dial()
	w.ok("admin", failCommand("alwaysOn", d("failCommands", bson.A{"createUser", "noSuchCommand"}, "errorCode", 50)))
	w.refused("admin", d("createUser", "u"), 50)
	w.refused("admin", d("updateUser", "u"), codeNotImplemented)
	w.refused("admin", d("noSuchCommand", 1), codeCommandNotFound)
	w.refused("admin", with(with(d("createUser", "u"), "apiVersion", "1"), "apiStrict", true), codeAPIStrictError)
	w.ok("admin", failCommand("alwaysOn", d("failCommands", bson.A{"createSearchIndexes"}, "errorCode", 50)))
	w.refused("test", d("createSearchIndexes", "c", "indexes", bson.A{}), 50)
	w.ok("admin", failCommand("alwaysOn", d("failCommands", bson.A{"createUser"}, "closeConnection", true)))
	w.send(0, d("createUser", "u", "$db", "admin"))
	w.gone()
}

func TestTheStableAPIHasNotAllStages(t *testing.T) {
	strict := func(cmd bson.D) bson.D { return with(with(cmd, "apiVersion", "1"), "apiStrict", true) }
	w := start(t, "rs0").dial()
	sessions := d("aggregate", 1, "pipeline", bson.A{d("$listLocalSessions", d()), d("$limit", 1)}, "cursor", d())
	w.refused("admin", strict(sessions), codeAPIStrictError)
	w.refused("admin", sessions, codeNotImplemented)
	w.refused("test", strict(aggregateOf("c", "$lookup")), codeNotImplemented)
	w.ok("test", insertOf(1))
	stats := func(of string) bson.D {
		return d("aggregate", "c", "pipeline", bson.A{d("$collStats", d(of, d()))}, "cursor", d())
	}
	w.refused("test", strict(stats("storageStats")), codeAPIStrictError)
	w.ok("test", strict(stats("count")))
	old := start(t, "rs0", as(t, "5.0")).dial()
	old.refused("test", strict(aggregateOf("c", "$queryStats")), 40324)
}

func aggregateOf(coll, stage string) bson.D {
	return d("aggregate", coll, "pipeline", bson.A{d(stage, d())}, "cursor", d())
}
