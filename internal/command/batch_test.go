package command

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// byID is a FindOne of an _id.
func byID(t testing.TB, id any, opts ...options.Lister[options.FindOneOptions]) *Read {
	t.Helper()
	r, err := new(Encoder).Read(&messages.Read{Database: "game", Collection: "players", Operation: messages.FindOne{Filter: doc("_id", id), Options: opts}})
	if err != nil {
		t.Fatalf("%v: %v", id, err)
	}
	return r
}

func TestShapesAreEqualWhereTheCommandsDifferInTheIDAlone(t *testing.T) {
	one := options.FindOne
	with := func(o *options.FindOneOptionsBuilder) *Read { return byID(t, 1, o) }
	elsewhere := func(db, coll string) *Read {
		r := *byID(t, 1)
		r.Database, r.Collection = db, coll
		return &r
	}
	groups := [][]*Read{
		{byID(t, 1), byID(t, "a"), byID(t, doc("a", 1)), byID(t, strings.Repeat("x", 1000)), with(one().SetProjection(nil))},
		{with(one().SetComment("c")), byID(t, 2, one().SetComment("c"))},
		{with(one().SetComment("d"))}, {with(one().SetComment(nil))}, {with(one().SetComment(1))},
		{with(one().SetProjection(doc("a", 1))), byID(t, "x", one().SetProjection(doc("a", 1)))},
		{with(one().SetProjection(doc("a", 1.0)))}, {with(one().SetProjection(doc("a", 0)))}, {with(one().SetProjection(doc()))},
		{with(one().SetProjection(doc("a", 1)).SetComment("c"))},
		{elsewhere("game", "guilds")}, {elsewhere("other", "players")},
	}
	for i, group := range groups {
		for _, a := range group {
			shape, ok := a.Shape()
			if !ok {
				t.Errorf("%v has no shape", a.Body)
			}
			for j, other := range groups {
				for _, b := range other {
					if got, _ := b.Shape(); (got == shape) != (i == j) {
						t.Errorf("%.200v and %.200v: equal shapes: %v", a.Body, b.Body, got == shape)
					}
				}
			}
		}
	}
}

func TestReadsThatGoAloneHaveNoShape(t *testing.T) {
	one := options.FindOne
	for i, r := range []*Read{
		byID(t, decimal("1")), byID(t, bson.Symbol("a")), byID(t, bson.MinKey{}), byID(t, bson.JavaScript("a")), byID(t, doc("a", bson.Regex{Pattern: "a"})),
		byID(t, nil), byID(t, bson.A{1}), byID(t, bson.Regex{Pattern: "a"}), byID(t, doc("$gt", 1)), byID(t, doc("$in", bson.A{1})),
		byID(t, 1, one().SetCollation(&options.Collation{Locale: "en"})), byID(t, 1, one().SetSkip(0)), byID(t, 1, one().SetSort(doc("a", 1))),
		byID(t, 1, one().SetHint("_id_")), byID(t, 1, one().SetShowRecordID(true)), byID(t, 1, one().SetReturnKey(true)),
		byID(t, 1, one().SetMax(doc("_id", 1))), byID(t, 1, one().SetMin(doc("_id", 1))), byID(t, 1, one().SetAllowPartialResults(false)),
		byID(t, 1, one().SetProjection(doc("_id", 0))), byID(t, 1, one().SetProjection(doc("_id.a", 1))), byID(t, 1, one().SetProjection(doc("a", 1, "_id", false))),
		byID(t, 1, one().SetProjection(doc("_id", "x"))), byID(t, 1, one().SetProjection(doc("_id", doc("$literal", 1)))),
		byID(t, 1, one().SetComment(strings.Repeat("x", maxRest))), byID(t, 1, one().SetProjection(doc(strings.Repeat("x", maxRest), 1))),
		encodeRead(t, new(Encoder), "players", messages.FindOne{Filter: doc("name", "ann")}),
		encodeRead(t, new(Encoder), "players", messages.FindOne{Filter: doc("_id", 1, "name", "ann")}),
		encodeRead(t, new(Encoder), "players", messages.FindOne{Filter: doc()}),
		encodeRead(t, new(Encoder), "players", messages.Find{Filter: doc("_id", 1)}),
		encodeRead(t, new(Encoder), "players", messages.Count{Filter: doc("_id", 1)}),
		encodeRead(t, new(Encoder), "", messages.Command{Document: doc("find", "players", "filter", doc("_id", 1))}),
		{},
	} {
		if s, ok := r.Shape(); ok {
			t.Errorf("%d: %v has the shape %q", i, r.Body, s)
		}
	}
}

func TestABatchAsksForEachIDOnce(t *testing.T) {
	opt := options.FindOne().SetProjection(doc("a", 1)).SetComment("why")
	var reads []*Read
	for _, id := range []any{7, "x", int64(7), 7.0, doc("a", 1), "x", doc("a", 1.0), doc("a", 2), ""} {
		reads = append(reads, byID(t, id, opt))
	}
	before := string(reads[0].Body)
	b := NewBatch(reads).Read
	want := marshal(t, doc(
		"find", "players", "filter", doc("_id", doc("$in", bson.A{7, "x", doc("a", 1), doc("a", 2), ""})), "batchSize", 6,
		"projection", doc("a", 1), "comment", "why"))
	if !bytes.Equal(b.Body, want) {
		t.Errorf("got  %v\nwant %v", b.Body, want)
	}
	if b.Database != "game" || b.Collection != "players" || b.Name != "find" || b.Class != Point || b.Kind != KindBatch || !b.TakesReadConcern {
		t.Errorf("got %+v", b)
	}
	wire := b.Wire(Concern{Level: "majority", After: bson.Timestamp{T: 7}}, 0)
	if valid(wire) != nil || wire.Lookup("readConcern", "level").StringValue() != "majority" {
		t.Errorf("on the wire it is %v", wire)
	}
	if string(reads[0].Body) != before {
		t.Error("a read was changed")
	}
}

func TestALargeBatchIsOneTheServerTakes(t *testing.T) {
	var reads []*Read
	comment := options.FindOne().SetComment(strings.Repeat("c", maxRest-100))
	for i := range MaxBatch { // All as long as they may be.
		reads = append(reads, byID(t, strconv.Itoa(i)+strings.Repeat("x", MaxBatchBytes/MaxBatch-10), comment))
	}
	b := NewBatch(reads).Read
	if err := valid(b.Body); err != nil || len(b.Body) > maxCommand {
		t.Errorf("%d bytes: %v", len(b.Body), err)
	}
	if ids, err := b.Body.Lookup("filter", "_id", "$in").Array().Values(); err != nil || len(ids) != MaxBatch {
		t.Errorf("it asks for %d _ids, %v", len(ids), err)
	}
	// The server takes 200 levels.
	id := deep(maxDepth - 1)
	if err := valid(byID(t, id).Body); err == nil {
		t.Fatal("it might be deeper")
	}
	deepest := NewBatch([]*Read{byID(t, id), byID(t, 1)}).Read.Body
	if n := levels(deepest); n > 200 {
		t.Errorf("a batch of an _id of %d levels has %d", maxDepth-1, n)
	}
}

// levels is how deep a document is.
func levels(doc []byte) (n int) {
	for w := walk(doc); w.next(); {
		if w.typ == bson.TypeEmbeddedDocument || w.typ == bson.TypeArray {
			n = max(n, levels(w.value))
		}
	}
	return n + 1
}

// match makes a batch and matches a reply.
func match(t *testing.T, ids []any, docs ...any) (found []string, strange, text bool) {
	t.Helper()
	var reads []*Read
	for _, id := range ids {
		reads = append(reads, byID(t, id))
	}
	var raws []bson.Raw
	for _, d := range docs {
		raws = append(raws, marshal(t, d))
	}
	got, strange, text := NewBatch(reads).Match(raws)
	for _, d := range got {
		if d == nil {
			found = append(found, "-")
		} else {
			found = append(found, d.Lookup("n").String())
		}
	}
	return found, strange, text
}

func TestEachReadGetsItsOwnDocument(t *testing.T) {
	d := func(id any, n int) bson.D { return doc("n", n, "_id", id) } // Not first, after a projection.
	uuid := bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
	for i, c := range []struct {
		ids           []any
		docs          []any
		found         string
		strange, text bool
	}{
		{[]any{1, 2, 3}, []any{d(3, 3), d(1, 1)}, "1 - 3", false, false},
		{[]any{1, 1.0, int64(1)}, []any{d(int64(1), 7)}, "7 7 7", false, false},
		{[]any{1, 2}, nil, "- -", false, false},
		{[]any{"a", "b", uuid}, []any{d(uuid, 3), d("b", 2)}, "- 2 3", false, true},
		{[]any{1, 2}, []any{d(decimal("1"), 1), d(2, 2)}, "- 2", true, false},
		{[]any{"a", "b"}, []any{d(bson.Symbol("a"), 1), d("b", 2)}, "- 2", true, true},
		{[]any{"ann", "ANN", 1}, []any{d("Ann", 1), d(1, 2)}, "- - 2", true, false}, // A collation.
		{[]any{"ann", "ANN"}, []any{d("ann", 1)}, "1 -", false, true},
		{[]any{doc("a", "x"), 1}, []any{d(doc("a", "x"), 1)}, "1 -", false, true},
		{[]any{doc("a", bson.A{doc("b", "x")}), 1}, []any{d(doc("a", bson.A{doc("b", "x")}), 1)}, "1 -", false, true},
		{[]any{1, 2}, []any{d(1, 1), d(1.0, 2)}, "1 -", true, false}, // A view may have two.
		{[]any{1, 2}, []any{doc("n", 1), d(2, 2)}, "- 2", true, false},
	} {
		found, strange, text := match(t, c.ids, c.docs...)
		if got := strings.Join(found, " "); strings.ReplaceAll(got, `"`, "") != numbers(c.found) || strange != c.strange || text != c.text {
			t.Errorf("%d: found %s, strange %v, text %v", i, got, strange, text)
		}
	}
}

// numbers writes numbers as BSON's extended JSON does.
func numbers(s string) string {
	fields := strings.Fields(s)
	for i, f := range fields {
		if f != "-" {
			fields[i] = fmt.Sprintf("{$numberInt:%s}", f)
		}
	}
	return strings.Join(fields, " ")
}

func TestADocumentThatIsKeptDoesNotKeepTheReply(t *testing.T) {
	b := NewBatch([]*Read{byID(t, 1), byID(t, 2), byID(t, 1)})
	reply := slices.Concat(marshal(t, doc("_id", 1)), marshal(t, doc("_id", 2)))
	n := len(reply) / 2
	found, _, _ := b.Match([]bson.Raw{reply[:n], reply[n:]})
	clear(reply)
	clear(found[0])
	if id := find(found[2], "_id"); len(found[2]) == 0 || id.Type != bson.TypeInt32 || id.Int32() != 1 {
		t.Errorf("a read's document is another one's too: %v", found)
	}
}

func TestABatchOfRandomIDsAnswersEachAsIfItWereAlone(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		ids := make([]bson.RawValue, 1+r.IntN(20))
		for i := range ids {
			ids[i] = value(t, someID(r, 2))
		}
		checkBatch(t, ids, r)
	}
}

// FuzzBatch makes _ids of the elements that it is given.
func FuzzBatch(f *testing.F) {
	add := func(d bson.D) {
		raw := marshal(f, d)
		f.Add([]byte(raw[4:len(raw)-1]), uint64(1))
	}
	add(everyType)
	add(doc("", 1, "", 1.0, "", "ann", "", "ANN", "", doc("a", "x"), "", doc("a", "X")))
	for _, group := range oneID {
		d := bson.D{}
		for _, v := range group {
			if s, ok := v.(string); !ok || len(s) < 100 {
				d = append(d, bson.E{Key: "", Value: v}, bson.E{Key: "", Value: doc("a", v)})
			}
		}
		add(d)
	}
	f.Fuzz(func(t *testing.T, elements []byte, seed uint64) {
		raw := wrapped(elements)
		if valid(raw) != nil {
			return
		}
		var ids []bson.RawValue
		for w := walk(raw); w.next() && len(ids) < 300; {
			ids = append(ids, w.raw())
		}
		if len(ids) > 0 {
			checkBatch(t, ids, rand.New(rand.NewPCG(seed, 3)))
		}
	})
}

// checkBatch asks a collection, which has some of these _ids, for others of them, and holds
// each answer against that of the read alone.
func checkBatch(t *testing.T, ids []bson.RawValue, r *rand.Rand) {
	t.Helper()
	text := exactly
	if r.IntN(2) == 0 { // A collation, for which only the server knows what is equal.
		text = func(a, b string) bool { return strings.EqualFold(a, b) }
	}
	var stored []bson.Raw
	alone := func(id bson.RawValue) bson.Raw {
		for _, d := range stored {
			if same(find(d, "_id"), id, text) {
				return d
			}
		}
		return nil
	}
	for i, id := range ids {
		if r.IntN(3) > 0 && alone(id) == nil {
			d := newBody(len(id.Value) + 32)
			d.int32("n", int32(i))
			d.value("_id", id)
			stored = append(stored, d.end())
		}
	}
	var reads []*Read
	for range r.IntN(2 * len(ids)) {
		id := ids[r.IntN(len(ids))]
		read := byID(t, bson.RawValue{Type: id.Type, Value: id.Value})
		if _, ok := read.Shape(); ok {
			reads = append(reads, read)
		}
	}
	for rounds := 0; len(reads) > 1; rounds++ {
		if rounds > len(ids) {
			t.Fatalf("%d rounds for %d _ids", rounds, len(ids))
		}
		b := NewBatch(reads)
		asked := checkCommand(t, b, reads)
		var docs []bson.Raw
		for _, d := range stored {
			if slices.ContainsFunc(asked, func(id bson.RawValue) bool { return same(find(d, "_id"), id, text) }) {
				docs = append(docs, d)
			}
		}
		r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		cut := len(docs) > 0 && r.IntN(3) == 0
		if cut {
			docs = docs[:r.IntN(len(docs))]
		}
		found, strange, textFound := b.Match(docs)
		var rest []*Read
		for i, read := range reads {
			want := alone(read.ID)
			switch { // As the slave does.
			case found[i] != nil && !bytes.Equal(found[i], want):
				t.Fatalf("%v got %v, and alone %v", read.ID, found[i], want)
			case found[i] != nil, strange, cut && len(docs) == 0:
			case cut, textFound && b.HasText(i):
				rest = append(rest, read)
			case want != nil:
				t.Fatalf("%v got none, and alone %v", read.ID, want)
			}
		}
		reads = rest
	}
	checkNonsense(t, ids, r)
}

// checkCommand looks through a batch's command and returns the _ids that it asks for.
func checkCommand(t *testing.T, b *Batch, reads []*Read) (asked []bson.RawValue) {
	t.Helper()
	body := b.Read.Body
	if err := bson.Raw(body).Validate(); err != nil || levels(body) > 200 || len(body) > cap(body) {
		t.Fatalf("%v: %v", body, err)
	}
	i := 0
	for w := walk(findDocument(findDocument(body, "filter"), "_id")); w.next(); {
		for in := walk(w.value); in.next(); i++ {
			if string(in.key) != strconv.Itoa(i) {
				t.Fatalf("element %d has the index %q", i, in.key)
			}
			asked = append(asked, in.raw())
		}
	}
	for i, a := range asked {
		for _, b := range asked[:i] {
			if same(a, b, exactly) {
				t.Fatalf("%v and %v are one _id, and asked for twice", a, b)
			}
		}
		if !slices.ContainsFunc(reads, func(r *Read) bool { return r.ID.Equal(a) }) {
			t.Fatalf("%v was asked for by nobody", a)
		}
	}
	for _, r := range reads {
		if !slices.ContainsFunc(asked, func(a bson.RawValue) bool { return same(a, r.ID, exactly) }) {
			t.Fatalf("%v is not asked for", r.ID)
		}
	}
	if size := find(body, "batchSize"); size.Int32() != int32(len(asked)+1) {
		t.Fatalf("a batch size of %v for %d _ids", size, len(asked))
	}
	return asked
}

// checkNonsense matches a reply that has nothing to do with what was asked for.
func checkNonsense(t *testing.T, ids []bson.RawValue, r *rand.Rand) {
	t.Helper()
	var reads []*Read
	var docs []bson.Raw
	for _, id := range ids {
		read := byID(t, bson.RawValue{Type: id.Type, Value: id.Value})
		if _, ok := read.Shape(); ok && r.IntN(2) == 0 {
			reads = append(reads, read)
		}
		d := newBody(len(id.Value) + 32)
		d.value([]string{"_id", "_id", "_i", "n"}[r.IntN(4)], id)
		d.value("_id", ids[r.IntN(len(ids))])
		docs = append(docs, d.end())
		if id.Type == bson.TypeEmbeddedDocument {
			docs = append(docs, id.Value)
		}
	}
	if len(reads) == 0 {
		return
	}
	found, _, _ := NewBatch(reads).Match(docs)
	for i, d := range found {
		if d != nil && !same(find(d, "_id"), reads[i].ID, exactly) {
			t.Fatalf("%v got %v", reads[i].ID, d)
		}
		if d == nil && slices.ContainsFunc(docs, func(d bson.Raw) bool { return keyOf(find(d, "_id")) == keyOf(reads[i].ID) }) {
			t.Fatalf("%v is in the reply, and got none", reads[i].ID)
		}
	}
}
