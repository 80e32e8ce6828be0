package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
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

// FuzzCommand runs any document as a command: there is one reply, a whole
// document with ok, or the connection ends because a fail point says so.
func FuzzCommand(f *testing.F) {
	for _, cmd := range commandList {
		f.Add(cmd.name, []byte(doc(f, bson.D{{Key: cmd.name, Value: "c"}})))
		f.Add(cmd.name, []byte(doc(f, bson.D{{Key: cmd.name, Value: 1}})))
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
		{{Key: "getMore", Value: int64(1)}, {Key: "collection", Value: "c"}},
		{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: "x"}}}}}},
		{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: scramSHA256}, {Key: "payload", Value: []byte("n,,n=a,r=b")}},
	} {
		f.Add("", []byte(doc(f, d)))
	}
	s := start(f, "rs0", func(c *Config) {})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		n, err := checkDocument(data)
		if err != nil || n != len(data) || len(data) > 1<<20 {
			return
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
