package server

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestIndexesThatClashAreRefused(t *testing.T) {
	w := start(t, "rs0").dial()
	index := func(specs ...bson.D) bson.D {
		list := bson.A{}
		for _, s := range specs {
			list = append(list, s)
		}
		return bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: list}}
	}
	spec := func(field string, direction any, name string, more ...bson.E) bson.D {
		return append(bson.D{{Key: "key", Value: bson.D{{Key: field, Value: direction}}}, {Key: "name", Value: name}}, more...)
	}
	unique := bson.E{Key: "unique", Value: true}
	reply := w.ok("test", index(spec("a", 1, "a_1")))
	if reply.Lookup("numIndexesBefore").Int32() != 1 || reply.Lookup("numIndexesAfter").Int32() != 2 || !reply.Lookup("createdCollectionAutomatically").Boolean() {
		t.Error(reply)
	}
	if reply := w.ok("test", index(spec("a", 1.0, "a_1"), spec("_id", 1, "_id_"))); reply.Lookup("note").StringValue() != "all indexes already exist" {
		t.Error(reply)
	}
	w.refused("test", index(spec("b", 1, "a_1")), 86)
	w.refused("test", index(spec("a", 1, "a_1", unique)), 86)
	w.refused("test", index(spec("a", 1, "other")), 85)
	w.refused("test", index(spec("b", 1, "b"), spec("b", 1, "b")), 68)
	w.refused("test", index(spec("_id", 1, "_id_", unique)), 197)
	w.refused("test", index(spec("b", 0, "b")), codeCannotCreateIndex)
	w.refused("test", index(spec("b", 1, "")), codeCannotCreateIndex)
	w.refused("test", index(spec("b", "text", "b")), codeNotImplemented)
	w.refused("test", index(spec("b", 1, "b", bson.E{Key: "frob", Value: 1})), 197)
	reply = w.refused("test", index(bson.D{{Key: "key", Value: bson.D{{Key: "v", Value: 1}}}}), codeFailedToParse)
	if got, want := reply.Lookup("errmsg").StringValue(), "Error in specification { key: { v: 1 } } :: caused by :: The 'name' field is a required property of an index specification"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.refused("test", index(), codeBadValue)
	drop := func(what any) bson.D {
		return bson.D{{Key: "dropIndexes", Value: "c"}, {Key: "index", Value: what}}
	}
	w.refused("test", drop("none"), codeIndexNotFound)
	w.refused("test", drop("_id_"), codeInvalidOptions)
	w.refused("test", drop(bson.D{{Key: "z", Value: 1}}), codeIndexNotFound)
	w.refused("test", bson.D{{Key: "dropIndexes", Value: "none"}, {Key: "index", Value: "*"}}, codeNamespaceNotFound)
	w.refused("test", bson.D{{Key: "listIndexes", Value: "none"}}, codeNamespaceNotFound)
	w.refused("test", bson.D{{Key: "find", Value: "c"}, {Key: "hint", Value: "none"}}, codeBadValue)
	w.ok("test", bson.D{{Key: "find", Value: "c"}, {Key: "hint", Value: bson.D{{Key: "a", Value: 1}}}})
	if reply := w.ok("test", drop("*")); reply.Lookup("nIndexesWas").Int32() != 2 {
		t.Error(reply)
	}
}

func TestIndexesOnOneKeyMayDifferInBeingUniqueOrSparse(t *testing.T) {
	spec := func(name string, options ...bson.E) bson.D {
		return bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{
			append(bson.D{{Key: "key", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "name", Value: name}}, options...),
		}}}
	}
	unique, sparse := bson.E{Key: "unique", Value: true}, bson.E{Key: "sparse", Value: true}
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", spec("basic"))
	w.ok("test", spec("u", unique))
	w.ok("test", spec("s", sparse))
	w.ok("test", spec("us", unique, sparse))
	w.refused("test", spec("basic", sparse), 86)
	w.refused("test", spec("u"), 86)
	w.refused("test", spec("other", sparse), 85)
	old := start(t, "rs0", as(t, "4.4")).dial()
	old.ok("test", spec("basic"))
	old.refused("test", spec("u", unique), 85)
	old.refused("test", spec("basic", sparse), 86)
}

func TestTheReplyToCreateIndexesSaysWhatWasThere(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	index := func(quorum any, fields ...string) bson.D {
		var list bson.A
		for _, f := range fields {
			list = append(list, bson.D{{Key: "key", Value: bson.D{{Key: f, Value: 1}}}, {Key: "name", Value: f}})
		}
		cmd := bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: list}}
		if quorum != nil {
			cmd = append(cmd, bson.E{Key: "commitQuorum", Value: quorum})
		}
		return cmd
	}
	shown := func(reply bson.Raw) string {
		var out []string
		for _, key := range []string{"createdCollectionAutomatically", "commitQuorum", "note"} {
			if v, err := reply.LookupErr(key); err == nil {
				out = append(out, key+"="+v.String())
			}
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		cmd  bson.D
		want string
	}{
		{index(nil, "a"), `createdCollectionAutomatically=true commitQuorum="votingMembers"`},
		{index(nil, "a"), `commitQuorum="votingMembers" note="all indexes already exist"`},
		{index(1, "a", "b"), `createdCollectionAutomatically=false commitQuorum={"$numberInt":"1"} note="index already exists"`},
		{index("majority", "d"), `createdCollectionAutomatically=false commitQuorum="majority"`},
	} {
		if got := shown(w.ok("test", c.cmd)); got != c.want {
			t.Errorf("%v: %s, want %s", c.cmd, got, c.want)
		}
	}
}

func TestAHintDecidesTheOrderAndWhatASparseIndexDoesNotHave(t *testing.T) {
	s := start(t, "rs0")
	w := s.dial()
	w.ok("test", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{
		bson.D{{Key: "_id", Value: 3}, {Key: "a", Value: 1}}, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 3}, {Key: "x", Value: 1}}, bson.D{{Key: "_id", Value: 2}, {Key: "a", Value: 2}},
	}}})
	w.ok("test", bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{
		bson.D{{Key: "key", Value: bson.D{{Key: "a", Value: -1}}}, {Key: "name", Value: "a"}},
		bson.D{{Key: "key", Value: bson.D{{Key: "x", Value: 1}}}, {Key: "name", Value: "x"}, {Key: "sparse", Value: true}},
	}}})
	ids := func(filter bson.D, more ...bson.E) (out []int32) {
		reply := w.ok("test", append(bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: filter}}, more...))
		values, _ := reply.Lookup("cursor", "firstBatch").Array().Values()
		for _, v := range values {
			out = append(out, v.Document().Lookup("_id").Int32())
		}
		return out
	}
	hint := func(name string) bson.E { return bson.E{Key: "hint", Value: name} }
	above0 := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: 0}}}}
	for _, c := range []struct {
		got, want []int32
	}{
		{ids(bson.D{}), []int32{3, 1, 2}},
		{ids(bson.D{}, hint("a")), []int32{1, 2, 3}},
		{ids(bson.D{}, hint("x")), []int32{1}},
		{ids(bson.D{}, hint("_id_")), []int32{1, 2, 3}},
		{ids(above0, bson.E{Key: "limit", Value: 2}), []int32{1, 2}},
		{ids(above0, bson.E{Key: "hint", Value: bson.D{{Key: "$natural", Value: 1}}}), []int32{3, 1, 2}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
	if n := w.ok("test", bson.D{{Key: "count", Value: "c"}, hint("x")}).Lookup("n").Int32(); n != 1 {
		t.Errorf("%d are counted by the sparse index", n)
	}
	reply := w.ok("test", bson.D{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: above0}, {Key: "remove", Value: true}})
	if id := reply.Lookup("value", "_id").Int32(); id != 1 {
		t.Errorf("%d was removed", id)
	}
}
