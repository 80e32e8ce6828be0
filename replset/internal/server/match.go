package server

import "go.mongodb.org/mongo-driver/v2/bson"

var readCommands []*command

var writeCommands = []*command{
	{name: "insert", run: runInsert, where: primaryOnly, kind: writeKind, writeConcern: true, retryable: true, inV1: true},
}

func filterDocs(docs []bson.Raw, filter bson.Raw) ([]bson.Raw, error) {
	if len(filter) > 5 {
		return nil, refuse(codeNotImplemented, "a filter is not supported here")
	}
	return docs, nil
}
