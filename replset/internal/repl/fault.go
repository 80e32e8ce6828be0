package repl

import (
	"fmt"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// The server's codes that this package refuses with.
const (
	codeInternalError             = 1
	codeBadValue                  = 2
	codeNamespaceNotFound         = 26
	codeIndexNotFound             = 27
	codeNoMatchingDocument        = 47
	codeNamespaceExists           = 48
	codeImmutableField            = 66
	codeCannotCreateIndex         = 67
	codeInvalidOptions            = 72
	codeIndexOptionsConflict      = 85
	codeIndexKeySpecsConflict     = 86
	codeShutdownInProgress        = 91
	codeUnsatisfiableWriteConcern = 100
	codeNewReplicaSetConfig       = 103
	codeNodeNotElectable          = 104
	codeNotSecondary              = 95
	codeConflictingOperation      = 117
	codeCannotIndexParallelArrays = 171
	codeTransactionTooOld         = 225
	codeNotImplemented            = 238
	codeExceededTimeLimit         = 262
	codeNotWritablePrimary        = 10107
	codeDuplicateKey              = 11000
	codeInterruptedStateChange    = 11602
	codeDatabaseDifferCase        = 13297
)

var codeNames = map[int32]string{
	codeInternalError:             "InternalError",
	codeBadValue:                  "BadValue",
	codeNamespaceNotFound:         "NamespaceNotFound",
	codeIndexNotFound:             "IndexNotFound",
	codeNoMatchingDocument:        "NoMatchingDocument",
	codeNamespaceExists:           "NamespaceExists",
	codeImmutableField:            "ImmutableField",
	codeCannotCreateIndex:         "CannotCreateIndex",
	codeInvalidOptions:            "InvalidOptions",
	codeIndexOptionsConflict:      "IndexOptionsConflict",
	codeIndexKeySpecsConflict:     "IndexKeySpecsConflict",
	codeShutdownInProgress:        "ShutdownInProgress",
	codeUnsatisfiableWriteConcern: "UnsatisfiableWriteConcern",
	codeNewReplicaSetConfig:       "NewReplicaSetConfigurationIncompatible",
	codeNodeNotElectable:          "NodeNotElectable",
	codeNotSecondary:              "NotSecondary",
	codeConflictingOperation:      "ConflictingOperationInProgress",
	codeCannotIndexParallelArrays: "CannotIndexParallelArrays",
	codeTransactionTooOld:         "TransactionTooOld",
	codeNotImplemented:            "NotImplemented",
	codeExceededTimeLimit:         "ExceededTimeLimit",
	codeNotWritablePrimary:        "NotWritablePrimary",
	codeDuplicateKey:              "DuplicateKey",
	codeDatabaseDifferCase:        "DatabaseDifferCase",
	codeInterruptedStateChange:    "InterruptedDueToReplStateChange",
}

func refuse(code int32, format string, args ...any) *query.Error {
	return &query.Error{Code: code, Name: codeNames[code], Message: fmt.Sprintf(format, args...)}
}

func errNotPrimary() error { return refuse(codeNotWritablePrimary, "not primary") }

func errInterrupted() error {
	return refuse(codeInterruptedStateChange, "operation was interrupted")
}

func errShutdown() error {
	return refuse(codeShutdownInProgress, "The server is in quiesce mode and will shut down")
}
