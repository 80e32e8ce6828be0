package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// rawMessage is an OP_MSG around sections.
func rawMessage(flags uint32, sections ...byte) []byte {
	b := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(b[12:], opMsg)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, sections...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// FuzzWireDecoder feeds any bytes to the decoder: it never panics, never reads
// past its input, and what it takes for a message has whole documents in it.
func FuzzWireDecoder(f *testing.F) {
	body := doc(f, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "a"}})
	f.Add(rawMessage(0, append([]byte{0}, body...)...))
	f.Add(rawMessage(flagChecksum, append([]byte{0}, body...)...))
	seq := append([]byte{1, 0, 0, 0, 0, 'd', 0}, body...)
	binary.LittleEndian.PutUint32(seq[1:], uint32(len(seq)-1))
	f.Add(rawMessage(0, append(append([]byte{0}, body...), seq...)...))
	f.Add(append(binary.LittleEndian.AppendUint32(nil, maxMessageSize), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := readMessage(bytes.NewReader(data), nil)
		if err != nil {
			return
		}
		var m message
		if err := parseMessage(b, &m); err != nil {
			return
		}
		if m.retired() != "" {
			return // answered by its opcode alone: nothing of it is read
		}
		docs := []bson.Raw{m.body}
		for _, s := range m.seqs {
			docs = append(docs, s.docs...)
		}
		for _, d := range docs {
			if n, err := checkDocument(d); err != nil || n != len(d) {
				t.Fatalf("a message with a bad document: %d of %d, %v", n, len(d), err)
			}
			count := 0
			for s := scan(d); ; count++ {
				if _, ok := s.next(); !ok {
					break
				}
			}
			if all, err := d.Elements(); err == nil && len(all) != count {
				t.Fatalf("%d elements, and %d to the driver's reader", count, len(all))
			}
		}
	})
}

// maker makes documents of the words that commands are made of out of a fuzzer's
// bytes, which alone would hardly ever be BSON.
type maker struct{ bytes []byte }

func (m *maker) next(n int) int {
	if len(m.bytes) == 0 {
		return 0
	}
	b := m.bytes[0]
	m.bytes = m.bytes[1:]
	return int(b) % n
}

var words = []string{
	"_id", "a", "a.b", "a.$", "a.0", "", "$set", "$inc", "$push", "$each", "$unset", "$setOnInsert", "$gt", "$in", "$and", "$or", "$not", "$exists",
	"$elemMatch", "$regex", "$natural", "$match", "$sort", "$limit", "$skip", "$project", "$group", "$sum", "$count", "$unwind", "$out",
	"filter", "sort", "projection", "hint", "skip", "limit", "batchSize", "singleBatch", "collation", "locale", "let", "query", "update", "fields",
	"new", "remove", "upsert", "multi", "q", "u", "arrayFilters", "updates", "deletes", "documents", "ordered", "pipeline", "cursor", "key", "name",
	"unique", "indexes", "index", "lsid", "id", "txnNumber", "autocommit", "startTransaction", "readConcern", "level", "majority", "local",
	"afterClusterTime", "writeConcern", "w", "j", "wtimeout", "$readPreference", "mode", "secondary", "$clusterTime", "clusterTime", "maxTimeMS",
	"comment", "collection", "cursors", "client", "application", "topologyVersion", "processId", "counter", "saslSupportedMechs", "admin.a",
	"speculativeAuthenticate", "mechanism", "SCRAM-SHA-256", "payload", "conversationId", "apiVersion", "1", "apiStrict", "data", "failCommands",
	"errorCode", "times", "off", "c", "*", "simple", "nameOnly", "force", "secondaryCatchUpPeriodSecs", "n,,n=a,r=b", "listCollections",
	"ops", "nsInfo", "ns", "insert", "delete", "document", "filter", "updateMods", "constants", "errorsOnly", "collectionUUID", "stmtId", "stmtIds", "admin.c",
}

func (m *maker) word() string { return words[m.next(len(words))] }

func (m *maker) value(depth int) any {
	numbers := []any{int32(0), int32(1), int32(-1), int64(1), int64(math.MinInt64), int64(math.MaxInt64), math.NaN(), math.Inf(1), 1.5, -1e300}
	switch k := m.next(20); {
	case k < 5 && depth < 6:
		return m.document(depth + 1)
	case k < 8 && depth < 6:
		list := bson.A{}
		for range m.next(4) {
			list = append(list, m.value(depth+1))
		}
		return list
	case k < 11:
		return m.word()
	case k == 11:
		return nil
	case k == 12:
		return m.next(2) == 1
	case k == 13:
		return bson.Timestamp{T: uint32(m.next(3)), I: uint32(m.next(3))}
	case k == 14:
		return bson.Binary{Subtype: 4, Data: make([]byte, 16*m.next(2))}
	case k == 15:
		return []any{bson.NewObjectID(), bson.MinKey{}, bson.Undefined{}, bson.Regex{Pattern: "^a(", Options: "i"}, bson.DateTime(5), bson.Decimal128{}, bson.JavaScript("x"), bson.Symbol("y")}[m.next(8)]
	}
	return numbers[m.next(len(numbers))]
}

func (m *maker) document(depth int) bson.D {
	d := bson.D{}
	for range m.next(5) {
		d = append(d, bson.E{Key: m.word(), Value: m.value(depth)})
	}
	return d
}

func (m *maker) command() bson.D {
	first := []any{"c", int32(1), m.value(0)}
	d := bson.D{{Key: commandList[m.next(len(commandList))].name, Value: first[m.next(3)]}}
	return append(d, m.document(0)...)
}

// FuzzCommand runs any document as a command: there is exactly one reply, which
// says whether it went well.
func FuzzCommand(f *testing.F) {
	for i, cmd := range commandList {
		f.Add([]byte(doc(f, bson.D{{Key: cmd.name, Value: "c"}})))
		f.Add([]byte(doc(f, bson.D{{Key: cmd.name, Value: 1}})))
		for j := range 4 {
			seed := make([]byte, 60)
			for k := range seed {
				seed[k] = byte(i*31 + j*57 + k*(7+j))
			}
			seed[0] = byte(i)
			f.Add(seed)
		}
	}
	for _, d := range []bson.D{
		append(insertOf(1), bson.E{Key: "ordered", Value: false}),
		retryable(insertOf(1, 1), 3),
		{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}}, {Key: "upsert", Value: true}}}}},
		{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "limit", Value: 0}}}}},
		{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: bson.D{}}, {Key: "update", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}}},
		{{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "a", Value: bson.D{{Key: "$gt", Value: 1}}}}}, {Key: "sort", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "batchSize", Value: 1}},
		{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{}}}}}, {Key: "cursor", Value: bson.D{}}},
		{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{bson.D{{Key: "key", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "name", Value: "a_1"}}}}},
		bulkOf(insertOp(0, 1), updateOp(1, bson.D{}, set("a", 1), upserts), deleteOp(0, bson.D{}, multi)),
		with(retryable(bulkOf(updateOp(0, id(1), set("a", 1)), insertOp(1, 1)), 4), "cursor", batchSize(1)),
		{{Key: "getMore", Value: int64(1)}, {Key: "collection", Value: "c"}},
		{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: "x"}}}}}},
		{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: scramSHA256}, {Key: "payload", Value: []byte("n,,n=a,r=b")}},
	} {
		f.Add([]byte(doc(f, d)))
	}
	s := start(f, "rs0")
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := checkDocument(data); err != nil || n != len(data) {
			made, err := bson.Marshal((&maker{data}).command())
			if err != nil {
				return
			}
			data = made
		}
		// Nothing here may take long by what it asks for itself.
		if v, ok := lookup(data, "maxAwaitTimeMS"); ok {
			if ms, _ := integral(v); ms > 50 {
				return
			}
		}
		if bytes.Contains(data, []byte("blockConnection")) || bytes.Contains(data, []byte("closeConnection")) {
			return
		}
		var w builder
		at := w.open()
		for sc := scan(data); ; {
			e, ok := sc.next()
			if !ok {
				break
			}
			if string(e.key) != "$db" && string(e.key) != "afterClusterTime" {
				w.value(string(e.key), e.value)
			}
		}
		w.string("$db", "admin")
		w.int32("maxTimeMS", 200)
		w.close(at)
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := nc.Write(rawMessage(0, append([]byte{0}, w.b...)...)); err != nil {
			t.Fatal(err)
		}
		b, err := readMessage(nc, nil)
		if err != nil {
			t.Fatalf("no reply to %v: %v", bson.Raw(w.b), err)
		}
		var m message
		if err := parseMessage(b, &m); err != nil {
			t.Fatalf("a bad reply to %v: %v", bson.Raw(w.b), err)
		}
		if v, ok := lookup(m.body, "ok"); !ok || v.Type != bson.TypeDouble {
			t.Fatalf("a reply without ok to %v: %v", bson.Raw(w.b), m.body)
		}
		nc.SetReadDeadline(time.Now())
		if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("more than one reply to %v: %v", bson.Raw(w.b), err)
		}
	})
}
