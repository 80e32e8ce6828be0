package query

import "fmt"

// refuse is an error with one of the server's named codes.
func refuse(code int32, format string, args ...any) *Error {
	name, ok := codeNames[code]
	if !ok {
		name = fmt.Sprintf("Location%d", code)
	}
	return &Error{Code: code, Name: name, Message: fmt.Sprintf(format, args...)}
}

// The codes this package refuses with; the others are numbers of a place in the
// server's source, and are named after that.
const (
	badValue                  = 2
	failedToParse             = 9
	typeMismatch              = 14
	overflow                  = 15
	invalidBSON               = 22
	pathNotViable             = 28
	cannotBackfillArray       = 34
	conflictingUpdates        = 40
	dollarPrefixedFieldName   = 52
	invalidIDField            = 53
	notSingleValueField       = 54
	notExactValueField        = 111
	emptyFieldName            = 56
	immutableField            = 66
	invalidOptions            = 72
	exceededMemoryLimit       = 146
	invalidPipelineOperator   = 168
	queryFeatureNotAllowed    = 224
	notImplemented            = 238
	bsonObjectTooLarge        = 10334
	updatedDocumentTooLarge   = 17419
	upsertedDocumentTooLarge  = 17420
	invalidRegex              = 51091
	unrecognizedPipelineStage = 40324
)

var codeNames = map[int32]string{
	badValue:                "BadValue",
	failedToParse:           "FailedToParse",
	typeMismatch:            "TypeMismatch",
	overflow:                "Overflow",
	invalidBSON:             "InvalidBSON",
	pathNotViable:           "PathNotViable",
	cannotBackfillArray:     "CannotBackfillArray",
	conflictingUpdates:      "ConflictingUpdateOperators",
	dollarPrefixedFieldName: "DollarPrefixedFieldName",
	invalidIDField:          "InvalidIdField",
	notSingleValueField:     "NotSingleValueField",
	notExactValueField:      "NotExactValueField",
	emptyFieldName:          "EmptyFieldName",
	immutableField:          "ImmutableField",
	invalidOptions:          "InvalidOptions",
	exceededMemoryLimit:     "ExceededMemoryLimit",
	invalidPipelineOperator: "InvalidPipelineOperator",
	queryFeatureNotAllowed:  "QueryFeatureNotAllowed",
	notImplemented:          "NotImplemented",
	bsonObjectTooLarge:      "BSONObjectTooLarge",
}
