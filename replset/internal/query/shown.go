package query

import "go.mongodb.org/mongo-driver/v2/bson"

// Text is v as the server writes values in its messages: { a: 1, b: "c" }.
func Text(v bson.RawValue) string { return text(v) }
