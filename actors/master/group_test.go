package master

import (
	"container/list"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// Writes to one document of players, in the order of their names.
func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

func op(kind string, id any) *messages.Write {
	w := &messages.Write{Database: "game", Collection: "players"}
	switch kind {
	case "insert":
		w.Operation = messages.InsertOne{Document: byID(id)}
	case "update":
		w.Operation = messages.UpdateOne{Filter: byID(id), Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 1}}}}}
	case "replace":
		w.Operation = messages.ReplaceOne{Filter: byID(id), Replacement: bson.D{{Key: "v", Value: 1}}}
	case "delete":
		w.Operation = messages.DeleteOne{Filter: byID(id)}
	case "many":
		w.Operation = messages.UpdateMany{Filter: byID(id), Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 1}}}}}
	case "find":
		w.Operation = messages.FindOneAndDelete{Filter: byID(id)}
	case "command":
		w.Collection, w.Operation = "", messages.Command{Document: bson.D{{Key: "create", Value: "x"}}}
	}
	return w
}

func bare(w *messages.Write) *messages.Write { w.ErrorsOnly = true; return w }

func elsewhere(w *messages.Write, database, collection string) *messages.Write {
	w.Database, w.Collection = database, collection
	return w
}

// itemOf is a queued item of the write as the real encoder leaves it.
func itemOf(t testing.TB, w *messages.Write) *item {
	t.Helper()
	cmd, err := (&command.Encoder{}).Write(w)
	if err != nil {
		t.Fatal(err)
	}
	return &item{Write: newWrite(w, cmd)}
}

func (k kinds) String() string {
	return map[kinds]string{0: "alone", inserts: "insert", updates: "update", deletes: "delete", bulk: "bulkWrite"}[k]
}

// batches are what a queue of those writes is sent as.
func batches(t testing.TB, most limits, items ...*item) (sent []string) {
	t.Helper()
	queue := list.New()
	for _, it := range items {
		it.elem = queue.PushBack(it)
	}
	for queue.Len() > 0 {
		b := take(queue, most)
		b.cancel()
		sent = append(sent, fmt.Sprintf("%d %s", len(b.items), b.kind))
	}
	return sent
}

var (
	young = limits{writes: 1000, bytes: 16 << 20, known: inserts | updates | deletes | bulk}
	old   = limits{writes: 1000, bytes: 16 << 20, known: inserts | updates | deletes}
)

func TestWhatGoesTogetherAndAsWhat(t *testing.T) {
	weaker := func(w *messages.Write) *messages.Write { w.WriteConcern = writeconcern.W1(); return w }
	for _, c := range []struct {
		name       string
		queue      func() []*messages.Write
		young, old []string
	}{
		{"inserts into one collection", func() []*messages.Write {
			return []*messages.Write{op("insert", 1), op("insert", 2), bare(op("insert", 3))}
		}, []string{"3 insert"}, []string{"3 insert"}},
		{"inserts into two collections", func() []*messages.Write {
			return []*messages.Write{op("insert", 1), elsewhere(op("insert", 1), "game", "log"), elsewhere(op("insert", 1), "other", "players")}
		}, []string{"3 bulkWrite"}, []string{"1 alone", "1 alone", "1 alone"}},
		{"one of each", func() []*messages.Write {
			return []*messages.Write{op("insert", 1), op("update", 1), op("replace", 1), op("delete", 1)}
		}, []string{"4 bulkWrite"}, []string{"1 alone", "1 alone", "1 alone", "1 alone"}},
		{"updates of which only errors are wanted", func() []*messages.Write {
			return []*messages.Write{bare(op("update", 1)), bare(op("replace", 2)), bare(op("update", 3))}
		}, []string{"3 update"}, []string{"3 update"}},
		{"deletes of which only errors are wanted", func() []*messages.Write {
			return []*messages.Write{bare(op("delete", 1)), bare(op("delete", 2))}
		}, []string{"2 delete"}, []string{"2 delete"}},
		{"one of each, of which only errors are wanted", func() []*messages.Write {
			return []*messages.Write{bare(op("insert", 1)), bare(op("insert", 2)), bare(op("update", 1)), bare(op("update", 2)), bare(op("delete", 1)), bare(op("delete", 2))}
		}, []string{"6 bulkWrite"}, []string{"2 insert", "2 update", "2 delete"}},
		{"an update whose result is wanted among others", func() []*messages.Write {
			return []*messages.Write{bare(op("update", 1)), op("update", 2), bare(op("update", 3)), bare(op("update", 4))}
		}, []string{"4 bulkWrite"}, []string{"1 alone", "1 alone", "2 update"}},
		{"such updates in two collections", func() []*messages.Write {
			return []*messages.Write{bare(op("update", 1)), bare(elsewhere(op("update", 1), "game", "log"))}
		}, []string{"2 bulkWrite"}, []string{"1 alone", "1 alone"}},
		{"what always goes alone", func() []*messages.Write {
			return []*messages.Write{op("insert", 1), op("many", 1), op("update", 1), op("find", 1), op("update", 2), op("command", 0), op("update", 3), op("update", 4)}
		}, []string{"1 alone", "1 alone", "1 alone", "1 alone", "1 alone", "1 alone", "2 bulkWrite"}, slices.Repeat([]string{"1 alone"}, 8)},
		{"another write concern", func() []*messages.Write {
			return []*messages.Write{op("insert", 1), op("insert", 2), weaker(op("insert", 3)), weaker(op("insert", 4)), op("update", 1)}
		}, []string{"2 insert", "2 insert", "1 alone"}, []string{"2 insert", "2 insert", "1 alone"}},
		{"names that the server may not take", func() []*messages.Write {
			return []*messages.Write{op("update", 1), elsewhere(op("insert", 1), "game", "a$b"), op("update", 1), elsewhere(op("insert", 1), "game", strings.Repeat("x", 300)), op("update", 1)}
		}, slices.Repeat([]string{"1 alone"}, 5), slices.Repeat([]string{"1 alone"}, 5)},
		{"collections of the server's own", func() []*messages.Write {
			return []*messages.Write{
				op("update", 1), elsewhere(op("update", 1), "game", "system.js"), op("update", 1), elsewhere(op("update", 1), "config", "players"), op("update", 1), op("update", 2),
				elsewhere(op("insert", 1), "local", "players"), elsewhere(op("insert", 2), "local", "players"),
			}
		}, []string{"1 alone", "1 alone", "1 alone", "1 alone", "2 bulkWrite", "2 insert"}, []string{"1 alone", "1 alone", "1 alone", "1 alone", "1 alone", "1 alone", "2 insert"}},
	} {
		for _, server := range []struct {
			name string
			most limits
			want []string
		}{{"8.0", young, c.young}, {"7.0", old, c.old}} {
			var items []*item
			for _, w := range c.queue() {
				items = append(items, itemOf(t, w))
			}
			if got := batches(t, server.most, items...); !slices.Equal(got, server.want) {
				t.Errorf("%s, on %s: %v, want %v", c.name, server.name, got, server.want)
			}
		}
	}
}

func TestAnOptionOfAWholeCommandKeepsItsWriteAlone(t *testing.T) {
	with := func(o *options.UpdateOneOptionsBuilder) *messages.Write {
		return &messages.Write{Database: "game", Collection: "players", ErrorsOnly: true, Operation: messages.UpdateOne{
			Filter: byID(1), Update: bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: 1}}}},
			Options: []options.Lister[options.UpdateOneOptions]{o},
		}}
	}
	for _, c := range []struct {
		name     string
		options  *options.UpdateOneOptionsBuilder
		together bool
	}{
		{"none", options.UpdateOne(), true},
		{"upsert", options.UpdateOne().SetUpsert(true), true},
		{"arrayFilters", options.UpdateOne().SetArrayFilters([]any{bson.D{{Key: "i", Value: 1}}}), true},
		{"collation", options.UpdateOne().SetCollation(&options.Collation{Locale: "en"}), true},
		{"hint", options.UpdateOne().SetHint("_id_"), true},
		{"sort", options.UpdateOne().SetSort(bson.D{{Key: "v", Value: 1}}), true},
		{"comment", options.UpdateOne().SetComment("mine"), false},
		{"let", options.UpdateOne().SetLet(bson.D{{Key: "x", Value: 1}}), false},
		{"bypassDocumentValidation", options.UpdateOne().SetBypassDocumentValidation(true), false},
		{"a hint that is refused", options.UpdateOne().SetHint(1), false},
	} {
		want := []string{"2 update", "2 delete"}
		if !c.together {
			want = []string{"1 alone", "1 alone", "2 delete"}
		}
		items := []*item{itemOf(t, bare(op("update", 1))), itemOf(t, with(c.options)), itemOf(t, bare(op("delete", 1))), itemOf(t, bare(op("delete", 2)))}
		if got := batches(t, old, items...); !slices.Equal(got, want) {
			t.Errorf("%s, on 7.0: %v, want %v", c.name, got, want)
		}
		want = []string{"3 bulkWrite"}
		if !c.together {
			want = []string{"1 alone", "1 alone", "1 alone"}
		}
		items = []*item{itemOf(t, op("update", 1)), itemOf(t, with(c.options)), itemOf(t, op("delete", 1))}
		if got := batches(t, young, items...); !slices.Equal(got, want) {
			t.Errorf("%s, on 8.0: %v, want %v", c.name, got, want)
		}
	}
}

func TestAWriteThatWasRefusedInCompanyGoesAlone(t *testing.T) {
	marked := itemOf(t, op("insert", 2))
	marked.alone = true
	got := batches(t, young, itemOf(t, op("insert", 1)), marked, itemOf(t, op("insert", 3)), itemOf(t, op("insert", 4)))
	if want := []string{"1 alone", "1 alone", "2 insert"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// sized is a write that counts as so many bytes.
func sized(t testing.TB, kind string, id, bytes int) *item {
	it := itemOf(t, op(kind, id))
	cmd := *it.Cmd
	cmd.Bytes = bytes
	it.Write = newWrite(&messages.Write{}, &cmd)
	return it
}

func TestABatchHasTheSizeOfOneCommandAndOneReply(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		most  limits
		kind  string
		sizes []int
		want  []string
	}{
		{"by number", limits{writes: 2, bytes: mib, known: young.known}, "update", []int{1, 1, 1, 1, 1}, []string{"2 bulkWrite", "2 bulkWrite", "1 alone"}},
		{"one is one", limits{writes: 1, bytes: mib, known: young.known}, "insert", []int{1, 1}, []string{"1 alone", "1 alone"}},
		{"by bytes", limits{writes: 9, bytes: mib, known: young.known}, "insert", []int{mib / 2, mib / 2, 1, 1}, []string{"2 insert", "2 insert"}},
		{"one that is larger goes alone", limits{writes: 9, bytes: mib, known: young.known}, "update", []int{2 * mib, 1, 1}, []string{"1 alone", "2 bulkWrite"}},
		{"what a command holds, whatever is configured", limits{writes: 9, bytes: 1000 * mib, known: young.known}, "insert", []int{16 * mib, 16 * mib, 16 * mib, 1}, []string{"2 insert", "2 insert"}},
		{"what a bulkWrite's reply holds", limits{writes: 9, bytes: 1000 * mib, known: young.known}, "update", []int{6 * mib, 6 * mib, 1, 1}, []string{"2 bulkWrite", "2 bulkWrite"}},
		{"more writes than a bulkWrite's reply holds", limits{writes: 1e6, bytes: mib, known: young.known}, "update", make([]int, maxBulkWrites+1), []string{"25000 bulkWrite", "1 alone"}},
		{"more writes than a command holds", limits{writes: 1e6, bytes: mib, known: young.known}, "insert", make([]int, maxCommandWrites+1), []string{"100000 insert", "1 alone"}},
	} {
		var items []*item
		for n, bytes := range c.sizes {
			items = append(items, sized(t, c.kind, n, bytes))
		}
		if got := batches(t, c.most, items...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The write that waits longest decides how long a batch may take.
func TestTimeIsKeptToSettleABatchIfAnyOfItCanBeSettled(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		last *messages.Write
		want time.Duration
	}{
		{"none can", op("update", 2), 10 * time.Millisecond},
		{"the last one can", op("insert", 2), 500 * time.Millisecond},
	} {
		queue := list.New()
		for _, w := range []*messages.Write{op("update", 1), c.last} {
			it := itemOf(t, w)
			it.Deadline = now.Add(time.Minute)
			queue.PushBack(it)
		}
		b := take(queue, young)
		b.cancel()
		wire, _ := b.wire.Deadline()
		if kept := b.latest.Sub(wire); kept != c.want {
			t.Errorf("%s: %v are kept, want %v", c.name, kept, c.want)
		}
	}
}
