package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestSystemCollectionsAreTheServersOwn(t *testing.T) {
	w := start(t, "rs0").dial()
	// commands are all that would write to a collection, but for create.
	commands := func(coll string) []bson.D {
		return []bson.D{
			d("insert", coll, "documents", bson.A{id(1)}),
			d("update", coll, "updates", bson.A{d("q", bson.D{}, "u", set("a", 1), "upsert", true)}),
			d("delete", coll, "deletes", bson.A{d("q", bson.D{}, "limit", 0)}),
			d("findAndModify", coll, "remove", true),
			d("createIndexes", coll, "indexes", bson.A{d("key", d("a", 1), "name", "a_1")}),
		}
	}
	for _, c := range []struct {
		db, coll string
		code     int32
		says     string
		create   bool // it may be created, though not written to
	}{
		{"test", "system.foo", codeInvalidNamespace, "Invalid system namespace: test.system.foo", false},
		{"test", "system.roles", codeInvalidNamespace, "Invalid system namespace: test.system.roles", false},
		{"test", "a.system.b", codeBadValue, "Invalid namespace: test.a.system.b", false},
		{"config", "system.version", codeInvalidNamespace, "Invalid system namespace: config.system.version", false},
		{"local", "system.foo", codeInvalidNamespace, "Invalid system namespace: local.system.foo", false},
		{"test", "system.views", codeInvalidNamespace, "cannot write to test.system.views", true},
		{"test", "system.profile", codeInvalidNamespace, "cannot write to test.system.profile", true},
	} {
		refused := commands(c.coll)
		if create := d("create", c.coll); c.create {
			w.ok(c.db, create)
		} else {
			refused = append(refused, create)
		}
		for _, cmd := range refused {
			if got := w.refused(c.db, cmd, c.code).Lookup("errmsg").StringValue(); got != c.says {
				t.Errorf("%v: %s", cmd, got)
			}
		}
		for i, op := range []bson.D{insertOp(0, 1), updateOp(0, bson.D{}, set("a", 1)), deleteOp(0, bson.D{})} {
			bulk := d("bulkWrite", 1, "ops", bson.A{op}, "nsInfo", bson.A{d("ns", c.db+"."+c.coll)})
			if i == 0 { // of which it is the whole command that fails
				w.refused("admin", bulk, c.code)
				continue
			}
			if got := batchOf(t, w.ok("admin", bulk), "firstBatch")[0].Lookup("errmsg").StringValue(); got != c.says {
				t.Errorf("%v: %s", op, got)
			}
		}
	}
	for _, ok := range [][2]string{{"test", "system.js"}, {"admin", "system.version"}, {"config", "system.sessions"}, {"test", "system.buckets.t"}, {"test", "systems"}, {"config", "cache.chunks.config.system.sessions"}} {
		w.ok(ok[0], d("create", ok[1]))
		for _, cmd := range commands(ok[1]) {
			w.ok(ok[0], cmd)
		}
	}
}

func TestCreateOfWhatIsThereIsDoneSince70(t *testing.T) {
	for series, code := range map[string]int32{"4.4": codeNamespaceExists, "6.0": codeNamespaceExists, "7.0": 0, "8.0": 0} {
		s := start(t, "rs0", as(t, series))
		w := s.dial()
		w.ok("test", insertOf(1))
		if code != 0 {
			w.refused("test", d("create", "c"), code)
			continue
		}
		w.ok("test", d("create", "c", "capped", false))
		s.node.members, s.node.replicated = 3, make(chan struct{})
		reply := w.ok("test", d("create", "c", "writeConcern", d("w", "majority", "wtimeout", 1)))
		if _, err := reply.LookupErr("writeConcernError"); err != nil {
			t.Errorf("%s does not wait for the write concern: %v", series, reply)
		}
	}
}
