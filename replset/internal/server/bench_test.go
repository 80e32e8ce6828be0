package server

import (
	"bufio"
	"net"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// BenchmarkFindByID is one caller's point read over a loopback connection; the
// client's side costs next to nothing.
func BenchmarkFindByID(b *testing.B) {
	s := start(b, "rs0")
	s.dial().ok("test", insertOf(1, 2, 3))
	request := rawMessage(0, append([]byte{0}, doc(b, bson.D{
		{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: 2}}}, {Key: "limit", Value: int64(1)}, {Key: "singleBatch", Value: true},
		{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}},
		{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: s.node.ClusterTime()}}},
		{Key: "$db", Value: "test"},
	})...)...)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	br := bufio.NewReader(nc)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if buf, err = readMessage(br, buf); err != nil {
			b.Fatal(err)
		}
	}
}
