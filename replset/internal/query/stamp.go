package query

import (
	"encoding/binary"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// StampTimes sets the zero timestamps among a document's own fields, but for the _id, to
// now, as the server does in what is inserted and in replacements. It changes doc.
func StampTimes(doc bson.Raw, now time.Time) {
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			return
		}
		if v.Type == bson.TypeTimestamp && string(key) != "_id" && binary.LittleEndian.Uint64(v.Value) == 0 {
			// The value aliases the document.
			binary.LittleEndian.PutUint32(v.Value, 1)
			binary.LittleEndian.PutUint32(v.Value[4:], uint32(now.Unix()))
		}
	}
}
