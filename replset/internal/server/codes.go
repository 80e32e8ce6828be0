package server

import (
	"fmt"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// The server's error codes that this package answers with.
const (
	codeInternalError              int32 = 1
	codeBadValue                   int32 = 2
	codeFailedToParse              int32 = 9
	codeUnauthorized               int32 = 13
	codeTypeMismatch               int32 = 14
	codeOverflow                   int32 = 15
	codeInvalidLength              int32 = 16
	codeProtocolError              int32 = 17
	codeAuthenticationFailed       int32 = 18
	codeIllegalOperation           int32 = 20
	codeInvalidBSON                int32 = 22
	codeNamespaceNotFound          int32 = 26
	codeIndexNotFound              int32 = 27
	codeCursorNotFound             int32 = 43
	codeNamespaceExists            int32 = 48
	codeMaxTimeMSExpired           int32 = 50
	codeCommandNotFound            int32 = 59
	codeWriteConcernFailed         int32 = 64
	codeCannotCreateIndex          int32 = 67
	codeInvalidOptions             int32 = 72
	codeInvalidNamespace           int32 = 73
	codeUnknownReplWriteConcern    int32 = 79
	codeShutdownInProgress         int32 = 91
	codeInvalidReplicaSetConfig    int32 = 93
	codeNotYetInitialized          int32 = 94
	codeNotSecondary               int32 = 95
	codeOperationFailed            int32 = 96
	codeUnsatisfiableWriteConcern  int32 = 100
	codeCommandFailed              int32 = 125
	codeExceededMemoryLimit        int32 = 146
	codeClientMetadataMutated      int32 = 186
	codePrimarySteppedDown         int32 = 189
	codeInvalidUUID                int32 = 207
	codeClusterTimeTooFarAhead     int32 = 209
	codeQueryFeatureNotAllowed     int32 = 224
	codeTransactionTooOld          int32 = 225
	codeNotImplemented             int32 = 238
	codeMechanismUnavailable       int32 = 334
	codeIngressRateLimit           int32 = 462
	codeAPIVersionError            int32 = 322
	codeAPIStrictError             int32 = 323
	codeUnsupportedOpQuery         int32 = 352
	codeCollectionUUIDMismatch     int32 = 361
	codeNoReplicationEnabled       int32 = 76
	codeInterrupted                int32 = 11601
	codeDuplicateKey               int32 = 11000
	codeNotWritablePrimary         int32 = 10107
	codeInterruptedAtShutdown      int32 = 11600
	codeInterruptedReplStateChange int32 = 11602
	codeNotPrimaryNoSecondaryOk    int32 = 13435
	codeNotPrimaryOrSecondary      int32 = 13436
	codeNotARetryableWrite         int32 = 50768
	codeUnknownField               int32 = 40415
	codeMissingField               int32 = 40414
	codeDuplicateField             int32 = 40413
	codeOutOfBounds                int32 = 51024
	codeRetiredOpcode              int32 = 5739101
)

// codeNames are the names that go with codes. A code that is a number of a place
// in the server's source has none; its name is LocationN.
var codeNames = map[int32]string{
	1: "InternalError", 2: "BadValue", 4: "NoSuchKey", 6: "HostUnreachable", 7: "HostNotFound", 8: "UnknownError",
	9: "FailedToParse", 10: "CannotMutateObject", 11: "UserNotFound", 13: "Unauthorized", 14: "TypeMismatch",
	15: "Overflow", 16: "InvalidLength", 17: "ProtocolError", 18: "AuthenticationFailed", 20: "IllegalOperation",
	22: "InvalidBSON", 24: "LockTimeout", 26: "NamespaceNotFound", 27: "IndexNotFound", 28: "PathNotViable",
	34: "RolesNotRelated", 40: "ConflictingUpdateOperators", 43: "CursorNotFound", 46: "LockBusy",
	48: "NamespaceExists", 50: "MaxTimeMSExpired", 52: "DollarPrefixedFieldName", 53: "InvalidIdField",
	54: "NotSingleValueField", 55: "InvalidDBRef", 56: "EmptyFieldName", 57: "DottedFieldName",
	59: "CommandNotFound", 61: "ShardKeyNotFound", 62: "OplogOperationUnsupported", 63: "StaleShardVersion",
	64: "WriteConcernFailed", 66: "ImmutableField", 67: "CannotCreateIndex", 68: "IndexAlreadyExists",
	70: "ShardNotFound", 71: "ReplicaSetNotFound", 72: "InvalidOptions", 73: "InvalidNamespace",
	74: "NodeNotFound", 75: "WriteConcernLegacyOK", 76: "NoReplicationEnabled", 79: "UnknownReplWriteConcern",
	85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 89: "NetworkTimeout", 91: "ShutdownInProgress",
	93: "InvalidReplicaSetConfig", 94: "NotYetInitialized", 95: "NotSecondary", 96: "OperationFailed",
	100: "UnsatisfiableWriteConcern", 103: "NewReplicaSetConfigurationIncompatible", 112: "WriteConflict",
	115: "CommandNotSupported", 117: "ConflictingOperationInProgress", 121: "DocumentValidationFailure",
	125: "CommandFailed", 133: "FailedToSatisfyReadPreference", 134: "ReadConcernMajorityNotAvailableYet",
	136: "CappedPositionLost", 146: "ExceededMemoryLimit", 148: "ReadConcernMajorityNotEnabled",
	166: "CommandNotSupportedOnView",
	168: "InvalidPipelineOperator", 175: "QueryPlanKilled", 186: "ClientMetadataCannotBeMutated",
	189: "PrimarySteppedDown", 197: "InvalidIndexSpecificationOption", 202: "NetworkInterfaceExceededTimeLimit",
	206: "NoSuchSession", 207: "InvalidUUID", 209: "ClusterTimeFailsRateLimiter", 211: "KeyNotFound", 217: "IncompleteTransactionHistory",
	222: "CloseChangeStream", 223: "IllegalOpMsgFlag", 224: "QueryFeatureNotAllowed", 225: "TransactionTooOld",
	234: "RetryChangeStream", 237: "CursorKilled", 238: "NotImplemented", 239: "SnapshotTooOld",
	241: "ConversionFailure", 244: "TransactionAborted", 246: "SnapshotUnavailable", 251: "NoSuchTransaction",
	256: "TransactionCommitted", 257: "TransactionTooLarge", 262: "ExceededTimeLimit",
	263: "OperationNotSupportedInTransaction", 280: "ChangeStreamFatalError", 286: "ChangeStreamHistoryLost",
	290: "TransactionExceededLifetimeLimitSeconds", 291: "NoQueryExecutionPlans", 292: "QueryExceededMemoryLimitNoDiskUseAllowed",
	322: "APIVersionError", 323: "APIStrictError", 324: "APIDeprecationError",
	334: "MechanismUnavailable", 352: "UnsupportedOpQueryCommand", 391: "ReauthenticationRequired",
	361: "CollectionUUIDMismatch", 462: "IngressRequestRateLimitExceeded", 9001: "SocketException", 10003: "CannotGrowDocumentInCappedNamespace",
	10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey", 11600: "InterruptedAtShutdown",
	11601: "Interrupted", 11602: "InterruptedDueToReplStateChange", 12586: "BackgroundOperationInProgressForDatabase",
	12587: "BackgroundOperationInProgressForNamespace", 13113: "MergeStageNoMatchingDocument",
	13297: "DatabaseDifferCase", 13388: "StaleConfig", 13435: "NotPrimaryNoSecondaryOk", 13436: "NotPrimaryOrSecondary",
	14031: "OutOfDiskSpace", 46841: "ClientMarkedKilled", 50768: "NotARetryableWriteCommand",
}

// codeName returns the name that a reply gives with a code.
func codeName(code int32) string {
	if name, ok := codeNames[code]; ok {
		return name
	}
	return fmt.Sprintf("Location%d", code)
}

// refuse makes an error in the server's terms.
func refuse(code int32, format string, args ...any) *query.Error {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return &query.Error{Code: code, Name: codeName(code), Message: msg}
}

func errInvalidBSON(msg string) *query.Error { return refuse(codeInvalidBSON, "%s", msg) }

func errBatchSize(n int) *query.Error {
	return refuse(codeInvalidLength, "Write batch sizes must be between 1 and %d. Got %d operations.", maxBatch, n)
}
