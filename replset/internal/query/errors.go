package query

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Error is a refusal in the server's own terms.
type Error struct {
	Code    int32  // e.g. 9
	Name    string // e.g. "FailedToParse"
	Message string
	// Labels are errorLabels of the reply, if any.
	Labels []string
	// Extra holds further fields of the error document, such as keyPattern and
	// keyValue of a duplicate key.
	Extra bson.D
}

func (e *Error) Error() string { return fmt.Sprintf("(%s) %s", e.Name, e.Message) }
