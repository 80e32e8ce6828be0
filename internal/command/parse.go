package command

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

// Parse reads a server's reply into rep, without copying: what rep then holds are
// parts of reply. It returns the cursor's number, 0 when there is none or it is at its
// end. An error means that the reply is not what the protocol says.
func (r *Read) Parse(reply bson.Raw, rep *messages.ReadReply) (cursorID int64, err error) {
	elements, err := reply.Elements()
	if err != nil {
		return 0, fmt.Errorf("evenkeel: malformed reply to %s: %w", r.Name, err)
	}
	var main bson.RawValue
	want := map[Kind]string{KindOne: "cursor", KindBatch: "cursor", KindAggCount: "cursor", KindCount: "n", KindDistinct: "values"}[r.Kind]
	for _, el := range elements {
		switch key := el.Key(); key {
		case want:
			main = el.Value()
		case "operationTime":
			if v := el.Value(); v.Type == bson.TypeTimestamp {
				rep.Token.OperationTime.T, rep.Token.OperationTime.I, _ = v.TimestampOK()
			}
		case "$clusterTime":
			rep.Token.ClusterTime, _ = el.Value().DocumentOK()
		}
	}
	if rep.Token.OperationTime.IsZero() {
		rep.Token = messages.Token{} // A standalone has neither.
	}
	switch r.Kind {
	case KindCommand:
		rep.Document = reply
		return 0, nil
	case KindDone:
		return 0, nil
	case KindCount:
		n, ok := main.AsInt64OK()
		if !ok {
			return 0, r.malformed("n")
		}
		rep.Count = n
		return 0, nil
	case KindDistinct:
		values, ok := main.ArrayOK()
		if !ok || values.Validate() != nil {
			return 0, r.malformed("values")
		}
		rep.Values = values
		return 0, nil
	}
	cursor, ok := main.DocumentOK()
	if !ok {
		return 0, r.malformed("cursor")
	}
	docs, id, err := r.batch(cursor)
	if err != nil {
		return 0, err
	}
	switch r.Kind {
	case KindOne:
		if len(docs) == 0 {
			rep.Err = mongo.ErrNoDocuments
		} else {
			rep.Document = docs[0]
		}
		return 0, nil
	case KindAggCount:
		if len(docs) > 0 {
			n, ok := docs[0].Lookup("n").AsInt64OK()
			if !ok {
				return 0, r.malformed("n")
			}
			rep.Count = n
		}
		return 0, nil
	}
	rep.Documents = docs
	return id, nil
}

// batch reads a cursor document.
func (r *Read) batch(cursor bson.Raw) (docs []bson.Raw, id int64, err error) {
	elements, err := cursor.Elements()
	if err != nil {
		return nil, 0, r.malformed("cursor")
	}
	found := false
	for _, el := range elements {
		switch el.Key() {
		case "id":
			var ok bool
			if id, ok = el.Value().Int64OK(); !ok {
				return nil, 0, r.malformed("cursor.id")
			}
		case "firstBatch", "nextBatch":
			array, ok := el.Value().ArrayOK()
			if !ok {
				return nil, 0, r.malformed("cursor." + el.Key())
			}
			values, err := array.Values()
			if err != nil {
				return nil, 0, r.malformed("cursor." + el.Key())
			}
			docs = make([]bson.Raw, len(values))
			for i, v := range values {
				doc, ok := v.DocumentOK()
				if !ok {
					return nil, 0, r.malformed("cursor." + el.Key())
				}
				docs[i] = doc
			}
			found = true
		}
	}
	if !found {
		return nil, 0, r.malformed("cursor")
	}
	return docs, id, nil
}

var errMalformed = errors.New("it is missing or of the wrong type")

func (r *Read) malformed(field string) error {
	return fmt.Errorf("evenkeel: malformed reply to %s: %s: %w", r.Name, field, errMalformed)
}
