package master

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// documentOf returns an InsertOne's document.
func documentOf(op messages.WriteOperation) (bson.Raw, bool) {
	one, ok := op.(messages.InsertOne)
	if !ok {
		return nil, false
	}
	doc, ok := one.Document.(bson.Raw)
	return doc, ok
}

// documentsOf returns an InsertMany's documents; false for anything else.
func documentsOf(op messages.WriteOperation) ([]bson.Raw, bool) {
	many, ok := op.(messages.InsertMany)
	if !ok {
		return nil, false
	}
	switch docs := many.Documents.(type) {
	case []bson.Raw:
		return docs, true
	case []any:
		return rawsOf(docs), true
	case bson.A:
		return rawsOf(docs), true
	}
	return nil, true
}

// rawsOf returns nil unless every document is encoded.
func rawsOf(docs []any) []bson.Raw {
	raws := make([]bson.Raw, len(docs))
	for i, d := range docs {
		raw, ok := d.(bson.Raw)
		if !ok {
			return nil
		}
		raws[i] = raw
	}
	return raws
}

// sameDocument compares bytes, except that the server stores _id first wherever
// it was.
func sameDocument(a, b bson.Raw) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	x, errX := idFirst(a)
	y, errY := idFirst(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func idFirst(doc bson.Raw) ([]byte, error) {
	elems, err := doc.Elements()
	if err != nil {
		return nil, err
	}
	var id, rest []byte
	for _, e := range elems {
		if e.Key() == "_id" && id == nil {
			id = e
			continue
		}
		rest = append(rest, e...)
	}
	return append(id[:len(id):len(id)], rest...), nil
}
