package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// bulkMaker makes operations that often do something out of a fuzzer's bytes.
type bulkMaker struct{ maker }

func (m *bulkMaker) some(chance int) bool { return m.next(chance) == 1 }

func (m *bulkMaker) id() any {
	return []any{int32(0), int32(1), int32(2), int64(1), 2.0, "s", nil}[m.next(7)]
}

func (m *bulkMaker) filter() bson.D {
	return []bson.D{{}, id(m.id()), {{Key: "a", Value: int32(m.next(3))}}, {{Key: "a", Value: bson.D{{Key: "$gte", Value: int32(m.next(3))}}}}, {{Key: "$bad", Value: 1}}}[m.next(5)]
}

func (m *bulkMaker) mods() any {
	return []any{
		set("a", int32(m.next(3))), bson.D{{Key: "$inc", Value: bson.D{{Key: "a", Value: int32(1)}}}}, bson.D{{Key: "a", Value: int32(m.next(3))}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "_id", Value: int32(m.next(3))}}}}, bson.D{{Key: "$bad", Value: 1}}, bson.A{}, set("l.$[x]", int32(1)), bson.D{{Key: "$push", Value: bson.D{{Key: "a", Value: 1}}}},
	}[m.next(8)]
}

// op makes an operation, and the command that does the same.
func (m *bulkMaker) op() (op, single bson.D) {
	ns := m.next(2)
	coll := []string{"c", "d"}[ns]
	both := func(list, one *bson.D, key, singleKey string, v any) {
		*list, *one = append(*list, bson.E{Key: key, Value: v}), append(*one, bson.E{Key: singleKey, Value: v})
	}
	kind := m.next(3)
	op = bson.D{{Key: []string{"insert", "update", "delete"}[kind], Value: int32(ns)}}
	one := bson.D{}
	if kind == 0 {
		d := bson.D{{Key: "_id", Value: m.id()}, {Key: "a", Value: int32(m.next(3))}}
		return append(op, bson.E{Key: "document", Value: d}), bson.D{{Key: "insert", Value: coll}, {Key: "documents", Value: bson.A{d}}}
	}
	both(&op, &one, "filter", "q", m.filter())
	if m.some(6) {
		both(&op, &one, "hint", "hint", []any{"_id_", "none", bson.D{{Key: "$natural", Value: 1}}}[m.next(3)])
	}
	many := m.some(3)
	if kind == 2 {
		op, one = append(op, bson.E{Key: "multi", Value: many}), append(one, bson.E{Key: "limit", Value: map[bool]int32{true: 0, false: 1}[many]})
		return op, bson.D{{Key: "delete", Value: coll}, {Key: "deletes", Value: bson.A{one}}}
	}
	both(&op, &one, "multi", "multi", many)
	both(&op, &one, "updateMods", "u", m.mods())
	if m.some(3) {
		both(&op, &one, "upsert", "upsert", true)
	}
	if !many && m.some(4) { // the two commands refuse both together each in its way
		both(&op, &one, "sort", "sort", bson.D{{Key: "a", Value: []any{1, -1, 5}[m.next(3)]}})
	}
	if m.some(8) {
		both(&op, &one, "constants", "c", bson.D{})
	}
	if m.some(8) {
		both(&op, &one, "arrayFilters", "arrayFilters", bson.A{bson.D{{Key: "x", Value: 1}}})
	}
	return op, bson.D{{Key: "update", Value: coll}, {Key: "updates", Value: bson.A{one}}}
}

// result is what an operation did, by whatever command.
type result struct {
	code, n, modified int32
	upserted          string
}

// visible hides the ids that are new each time.
func visible(v bson.RawValue) string {
	if v.Type == bson.TypeObjectID {
		return "new"
	}
	return v.String()
}

func resultOf(reply bson.Raw) (r result) {
	r.code, _ = reply.Lookup("code").Int32OK()
	if code, ok := reply.Lookup("writeErrors", "0", "code").Int32OK(); ok {
		r.code = code
		return r
	}
	r.n, _ = reply.Lookup("n").Int32OK()
	r.modified, _ = reply.Lookup("nModified").Int32OK()
	for _, path := range [][]string{{"upserted", "_id"}, {"upserted", "0", "_id"}} {
		if v, err := reply.LookupErr(path...); err == nil {
			r.upserted = visible(v)
		}
	}
	return r
}

// contents are a database's documents.
func contents(t testing.TB, w *wire, db string) (all []string) {
	for _, coll := range []string{"c", "d"} {
		for _, d := range batchOf(t, w.ok(db, bson.D{{Key: "find", Value: coll}}), "firstBatch") {
			all = append(all, coll+visible(d.Lookup("_id"))+d.Lookup("a").String()+d.Lookup("l").String())
		}
	}
	return all
}

// FuzzBulkWrite executes operations as one bulkWrite and one by one: they have the same
// results and leave the same documents behind.
func FuzzBulkWrite(f *testing.F) {
	for i := range uint64(200) {
		random := rand.New(rand.NewPCG(i, 0))
		seed := make([]byte, 120)
		for k := range seed {
			seed[k] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	s := start(f, "rs0")
	w := s.dial()
	txn := int64(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		w.t = t
		w.nc.SetDeadline(time.Now().Add(20 * time.Second))
		for _, db := range []string{"one", "two"} {
			w.ok(db, bson.D{{Key: "dropDatabase", Value: 1}})
		}
		m := &bulkMaker{maker{data}}
		ordered, inSession, bodies, size := m.some(2), m.some(3), m.some(2), m.next(5)
		var ops []bson.D
		var want []result
		ended := false
		for range 1 + m.next(10) {
			op, single := m.op()
			ops = append(ops, op)
			if ended {
				continue
			}
			if inSession {
				txn++
				single = retryable(single, txn)
			}
			got := resultOf(w.run("two", single))
			want = append(want, got)
			ended = ordered && got.code != 0
		}
		cmd := bson.D{{Key: "bulkWrite", Value: 1}, {Key: "ordered", Value: ordered}}
		if size < 4 {
			cmd = with(cmd, "cursor", batchSize(size))
		}
		spaces := []bson.D{{{Key: "ns", Value: "one.c"}}, {{Key: "ns", Value: "one.d"}}}
		if inSession {
			txn++
			cmd = retryable(cmd, txn)
		}
		var reply bson.Raw
		if bodies {
			reply = w.ok("admin", with(with(cmd, "ops", ops), "nsInfo", spaces))
		} else {
			seqs := []sequence{{name: "nsInfo"}, {name: "ops"}}
			for _, d := range spaces {
				seqs[0].docs = append(seqs[0].docs, doc(t, d))
			}
			for _, d := range ops {
				seqs[1].docs = append(seqs[1].docs, doc(t, d))
			}
			reply = w.ok("admin", cmd, seqs...)
		}
		var got []result
		counts := sums(reply)
		batch := batchOf(t, reply, "firstBatch")
		for {
			for _, d := range batch {
				if d.Lookup("idx").Int32() != int32(len(got)) {
					t.Fatalf("result %d is %v", len(got), d)
				}
				got = append(got, resultOf(d))
			}
			id := reply.Lookup("cursor", "id").Int64()
			if id == 0 {
				break
			}
			more := bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "$cmd.bulkWrite"}, {Key: "batchSize", Value: 2}}
			if inSession {
				more = retryable(more, 0)[:len(more)+1]
			}
			reply = w.ok("admin", more)
			batch = batchOf(t, reply, "nextBatch")
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v:\n%+v as one,\n%+v one by one", ops, got, want)
		}
		var sum [6]int32
		for i, r := range got {
			switch kind := ops[i][0].Key; {
			case r.code != 0:
				sum[0]++
			case kind == "insert":
				sum[1] += r.n
			case kind == "delete":
				sum[5] += r.n
			case r.upserted != "":
				sum[4] += r.n
			default:
				sum[2] += r.n
				sum[3] += r.modified
			}
		}
		if sum != counts {
			t.Fatalf("%v:\n%+v sum up to %v, not %v", ops, got, sum, counts)
		}
		if one, two := contents(t, w, "one"), contents(t, w, "two"); !slices.Equal(one, two) {
			t.Fatalf("%v:\n%q as one,\n%q one by one", ops, one, two)
		}
	})
}
