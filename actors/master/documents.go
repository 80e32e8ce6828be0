package master

import (
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
