package repl

import (
	"strings"
	"testing"
	"testing/synctest"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// shown returns the documents of a collection of a member's database local.
func (c *cluster) shown(i int, level ReadLevel, coll string) []bson.Raw {
	c.t.Helper()
	var docs []bson.Raw
	err := c.node(i).View(level, func(s Snapshot) error {
		in := s.Collection(localDB, coll)
		in.Each(func(doc bson.Raw) bool {
			docs = append(docs, doc)
			return true
		})
		if len(docs) != in.Len() {
			c.t.Errorf("%s says that it has %d documents, and has %d", coll, in.Len(), len(docs))
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return docs
}

func (c *cluster) does(fn func(w Writer) error) {
	c.t.Helper()
	if _, err := c.node(0).Write(c.ctx, fn); err != nil {
		c.t.Fatal(err)
	}
}

func TestTheOplogIsShownAsAServersIs(t *testing.T) {
	const lsid = "00112233-4455-6677-8899-aabbccddeeff"
	inCluster(t, 3, func(c *cluster) {
		doc := func(d bson.D) bson.Raw { return raw(append(bson.D{{Key: "_id", Value: 1}}, d...)) }
		for _, fn := range []func(w Writer) error{
			func(w Writer) error { return w.CreateCollection("game", "c", nil) },
			func(w Writer) error {
				if err := w.Insert("game", "c", doc(nil)); err != nil {
					return err
				}
				return w.Remember(lsid, 7, RetryRecord{StmtID: 3})
			},
			func(w Writer) error { return w.Replace("game", "c", idOf(1), doc(bson.D{{Key: "a", Value: 5}})) },
			func(w Writer) error {
				_, err := w.CreateIndex("game", "c", raw(bson.D{{Key: "v", Value: 2}, {Key: "key", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "name", Value: "a_1"}}))
				return err
			},
			func(w Writer) error { return w.DropIndex("game", "c", "a_1") },
			func(w Writer) error {
				if err := w.Delete("game", "c", idOf(1)); err != nil {
					return err
				}
				return w.Insert("game", "c", doc(nil))
			},
			func(w Writer) error { return w.DropCollection("game", "c") },
		} {
			c.does(fn)
		}
		synctest.Wait()
		got := c.shown(0, Local, oplogColl)
		got = got[len(got)-7:]
		for i, want := range []string{
			`{"op": "c","ns": "game.$cmd","o": {"create": "c"},`,
			`{"lsid": {"id": {"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}},"txnNumber": {"$numberLong":"7"},"stmtId": {"$numberInt":"3"},"op": "i","ns": "game.c","o": {"_id": {"$numberInt":"1"}},"o2": {"_id": {"$numberInt":"1"}},`,
			`{"op": "u","ns": "game.c","o": {"_id": {"$numberInt":"1"},"a": {"$numberInt":"5"}},"o2": {"_id": {"$numberInt":"1"}},`,
			`{"op": "c","ns": "game.$cmd","o": {"createIndexes": "c","v": {"$numberInt":"2"},"key": {"a": {"$numberInt":"1"}},"name": "a_1"},`,
			`{"op": "c","ns": "game.$cmd","o": {"dropIndexes": "c","index": "a_1"},`,
			`{"op": "c","ns": "admin.$cmd","o": {"applyOps": [{"op": "d","ns": "game.c","o": {"_id": {"$numberInt":"1"}}},{"op": "i","ns": "game.c","o": {"_id": {"$numberInt":"1"}},"o2": {"_id": {"$numberInt":"1"}}}]},`,
			`{"op": "c","ns": "game.$cmd","o": {"drop": "c"},`,
		} {
			if text := got[i].String(); !strings.HasPrefix(text, want) {
				t.Errorf("entry %d is\n%s and not\n%s", i, text, want)
			}
		}
		last := got[6]
		if ts, i := last.Lookup("ts").Timestamp(); (bson.Timestamp{T: ts, I: i}) != c.node(0).Status().LastApplied.TS || last.Lookup("t").Int64() != 1 || last.Lookup("v").Int64() != 2 {
			t.Errorf("the last entry is %v", last)
		}
		for i := 1; i < 3; i++ {
			if theirs := c.shown(i, Local, oplogColl); theirs[len(theirs)-1].String() != last.String() {
				t.Errorf("the last entry of member %d is %v", i, theirs[len(theirs)-1])
			}
		}
	})
}

func TestAnOperationOfTheOplogNamesItsCollectionsUUID(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		c.insert(0, "x")
		got := c.shown(0, Local, oplogColl)
		ops, _ := got[len(got)-1].Lookup("o", "applyOps").Array().Values()
		_, id := ops[1].Document().Lookup("ui").Binary()
		_ = c.node(0).View(Local, func(s Snapshot) error {
			if want := s.Collections("game")[0].UUID.Data; string(id) != string(want) {
				t.Errorf("ui is %x, not %x", id, want)
			}
			return nil
		})
	})
}

func TestWhatIsShownOfTheOplogEndsWhereTheReadDoes(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		c.save(0, "x")
		c.Partition([]int32{0})
		c.insert(0, "uncommitted")
		committed, all := c.shown(0, Majority, oplogColl), c.shown(0, Local, oplogColl)
		if len(all) != len(committed)+1 {
			t.Errorf("a majority read sees %d entries, a local one %d", len(committed), len(all))
		}
	})
}

func TestTheDatabaseLocalHoldsTheConfigAndIsOnlyRead(t *testing.T) {
	inCluster(t, 3, func(c *cluster) {
		if got := c.shown(2, Local, configColl); len(got) != 1 || got[0].String() != c.node(2).Config().String() {
			t.Errorf("the config is shown as %v", got)
		}
		err := c.node(2).View(Local, func(s Snapshot) error {
			if _, ok := s.Collection(localDB, configColl).ByID(idOf("rs0")); !ok {
				t.Error("the config is not found by its name")
			}
			if got := s.Databases(); len(got) != 1 || got[0] != localDB {
				t.Errorf("the databases are %v", got)
			}
			if got := s.Collections(localDB); len(got) != 2 || got[0].Name != oplogColl {
				t.Errorf("its collections are %v", got)
			}
			if s.Collection(localDB, "none") != nil {
				t.Error("it has a collection that it has not")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for _, fn := range []func(w Writer) error{
			func(w Writer) error { return w.Insert(localDB, "x", raw(bson.D{{Key: "_id", Value: 1}})) },
			func(w Writer) error { return w.CreateCollection(localDB, "x", nil) },
		} {
			_, err := c.node(0).Write(c.ctx, fn)
			c.wantCode(err, codeNotImplemented)
		}
	})
}

func TestAStandaloneThatWasNeverAMemberHasNoDatabaseLocal(t *testing.T) {
	s := NewSet(Options{Standalone: true})
	s.Start()
	defer s.Stop()
	_ = s.Member(0).Node().View(Local, func(s Snapshot) error {
		if got := s.Databases(); len(got) != 0 {
			t.Errorf("its databases are %v", got)
		}
		if got := s.Collections(localDB); len(got) != 0 || s.Collection(localDB, oplogColl) != nil {
			t.Errorf("its database local has %v", got)
		}
		return nil
	})
}
