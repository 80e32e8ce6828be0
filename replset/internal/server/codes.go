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
	codeNotAReplicaSet             int32 = 123
	codeCommandFailed              int32 = 125
	codeExceededMemoryLimit        int32 = 146
	codeCursorInUse                int32 = 143
	codeAppNameTooLarge            int32 = 184
	codeClientMetadataTooLarge     int32 = 185
	codeQueryPlanKilled            int32 = 175
	codeClientMetadataMutated      int32 = 186
	codePrimarySteppedDown         int32 = 189
	codeInvalidUUID                int32 = 207
	codeClusterTimeTooFarAhead     int32 = 205
	codeQueryFeatureNotAllowed     int32 = 224
	codeTransactionTooOld          int32 = 225
	codeNotImplemented             int32 = 238
	codeFailPointSetFailed         int32 = 266
	codeMechanismUnavailable       int32 = 334
	codeIngressRateLimit           int32 = 462
	codeAPIVersionError            int32 = 322
	codeAPIStrictError             int32 = 323
	codeUnsupportedOpQuery         int32 = 352
	codeCollectionUUIDMismatch     int32 = 361
	codeNoReplicationEnabled       int32 = 76
	codeSearchNotEnabled           int32 = 31082
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
// in the server's source has none; its name is LocationN. They are those of the server's error_codes.yml,
// but for codes that never leave a server.
var codeNames = map[int32]string{
	1: "InternalError", 2: "BadValue", 4: "NoSuchKey", 5: "GraphContainsCycle", 6: "HostUnreachable",
	7: "HostNotFound", 8: "UnknownError", 9: "FailedToParse", 10: "CannotMutateObject", 11: "UserNotFound",
	12: "UnsupportedFormat", 13: "Unauthorized", 14: "TypeMismatch", 15: "Overflow", 16: "InvalidLength",
	17: "ProtocolError", 18: "AuthenticationFailed", 19: "CannotReuseObject", 20: "IllegalOperation",
	21: "EmptyArrayOperation", 22: "InvalidBSON", 23: "AlreadyInitialized", 24: "LockTimeout",
	25: "RemoteValidationError", 26: "NamespaceNotFound", 27: "IndexNotFound", 28: "PathNotViable",
	29: "NonExistentPath", 30: "InvalidPath", 31: "RoleNotFound", 32: "RolesNotRelated", 33: "PrivilegeNotFound",
	34: "CannotBackfillArray", 35: "UserModificationFailed", 36: "RemoteChangeDetected",
	40: "ConflictingUpdateOperators", 42: "LogWriteFailed", 43: "CursorNotFound", 45: "UserDataInconsistent",
	46: "LockBusy", 47: "NoMatchingDocument", 48: "NamespaceExists", 49: "InvalidRoleModification",
	50: "MaxTimeMSExpired", 51: "ManualInterventionRequired", 52: "DollarPrefixedFieldName", 53: "InvalidIdField",
	54: "NotSingleValueField", 55: "InvalidDBRef", 56: "EmptyFieldName", 57: "DottedFieldName",
	58: "RoleModificationFailed", 59: "CommandNotFound", 61: "ShardKeyNotFound", 62: "OplogOperationUnsupported",
	63: "StaleShardVersion", 64: "WriteConcernFailed", 65: "MultipleErrorsOccurred", 66: "ImmutableField",
	67: "CannotCreateIndex", 68: "IndexAlreadyExists", 69: "AuthSchemaIncompatible", 70: "ShardNotFound",
	71: "ReplicaSetNotFound", 72: "InvalidOptions", 73: "InvalidNamespace", 74: "NodeNotFound",
	75: "WriteConcernLegacyOK", 76: "NoReplicationEnabled", 77: "OperationIncomplete",
	78: "CommandResultSchemaViolation", 79: "UnknownReplWriteConcern", 80: "RoleDataInconsistent",
	85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 89: "NetworkTimeout", 90: "CallbackCanceled",
	91: "ShutdownInProgress", 92: "SecondaryAheadOfPrimary", 93: "InvalidReplicaSetConfig",
	94: "NotYetInitialized", 95: "NotSecondary", 96: "OperationFailed", 97: "NoProjectionFound",
	98: "DBPathInUse", 100: "UnsatisfiableWriteConcern", 101: "OutdatedClient", 102: "IncompatibleAuditMetadata",
	103: "NewReplicaSetConfigurationIncompatible", 104: "NodeNotElectable", 105: "IncompatibleShardingMetadata",
	107: "LockFailed", 108: "InconsistentReplicaSetNames", 109: "ConfigurationInProgress",
	110: "CannotInitializeNodeWithData", 111: "NotExactValueField", 112: "WriteConflict",
	113: "InitialSyncFailure", 114: "InitialSyncOplogSourceMissing", 115: "CommandNotSupported",
	116: "DocTooLargeForCapped", 117: "ConflictingOperationInProgress", 118: "NamespaceNotSharded",
	119: "InvalidSyncSource", 120: "OplogStartMissing", 121: "DocumentValidationFailure", 123: "NotAReplicaSet",
	124: "IncompatibleElectionProtocol", 125: "CommandFailed", 126: "RPCProtocolNegotiationFailed",
	127: "UnrecoverableRollbackError", 128: "LockNotFound", 129: "LockStateChangeFailed", 130: "SymbolNotFound",
	133: "FailedToSatisfyReadPreference", 134: "ReadConcernMajorityNotAvailableYet", 135: "StaleTerm",
	136: "CappedPositionLost", 137: "IncompatibleShardingConfigVersion", 138: "RemoteOplogStale",
	139: "JSInterpreterFailure", 140: "InvalidSSLConfiguration", 141: "SSLHandshakeFailed", 143: "CursorInUse",
	144: "IncompatibleCatalogManager", 145: "PooledConnectionsDropped", 146: "ExceededMemoryLimit",
	147: "ZLibError", 148: "ReadConcernMajorityNotEnabled", 149: "NoConfigPrimary", 150: "StaleEpoch",
	151: "OperationCannotBeBatched", 152: "OplogOutOfOrder", 153: "ChunkTooBig", 154: "InconsistentShardIdentity",
	155: "CannotApplyOplogWhilePrimary", 158: "MustUpgrade", 159: "DurationOverflow",
	160: "MaxStalenessOutOfRange", 161: "IncompatibleCollationVersion", 162: "CollectionIsEmpty",
	164: "InitialSyncActive", 165: "ViewDepthLimitExceeded", 166: "CommandNotSupportedOnView",
	167: "OptionNotSupportedOnView", 168: "InvalidPipelineOperator", 170: "TooManyMatchingDocuments",
	171: "CannotIndexParallelArrays", 175: "QueryPlanKilled", 178: "RangeOverlapConflict",
	181: "AmbiguousIndexKeyPattern", 182: "InvalidViewDefinition", 183: "ClientMetadataMissingField",
	184: "ClientMetadataAppNameTooLarge", 185: "ClientMetadataDocumentTooLarge",
	186: "ClientMetadataCannotBeMutated", 187: "LinearizableReadConcernError", 188: "IncompatibleServerVersion",
	189: "PrimarySteppedDown", 192: "FailPointEnabled", 194: "BalancerInterrupted",
	195: "ViewPipelineMaxSizeExceeded", 197: "InvalidIndexSpecificationOption", 201: "CannotBuildIndexKeys",
	202: "NetworkInterfaceExceededTimeLimit", 203: "ShardingStateNotInitialized", 204: "TimeProofMismatch",
	205: "ClusterTimeFailsRateLimiter", 206: "NoSuchSession", 207: "InvalidUUID", 208: "TooManyLocks",
	209: "StaleClusterTime", 210: "CannotVerifyAndSignLogicalTime", 211: "KeyNotFound",
	212: "IncompatibleRollbackAlgorithm", 213: "DuplicateSession", 214: "AuthenticationRestrictionUnmet",
	215: "DatabaseDropPending", 216: "ElectionInProgress", 217: "IncompleteTransactionHistory",
	218: "UpdateOperationFailed", 221: "IndexModified", 222: "CloseChangeStream", 223: "IllegalOpMsgFlag",
	224: "QueryFeatureNotAllowed", 225: "TransactionTooOld", 226: "AtomicityFailure",
	227: "CannotImplicitlyCreateCollection", 229: "MustDowngrade", 232: "MaxSubPipelineDepthExceeded",
	233: "TooManyDocumentSequences", 234: "RetryChangeStream", 235: "InternalErrorNotSupported",
	237: "CursorKilled", 238: "NotImplemented", 239: "SnapshotTooOld", 241: "ConversionFailure",
	242: "CannotCreateCollection", 244: "TransactionAborted", 246: "SnapshotUnavailable", 249: "StaleDbVersion",
	250: "StaleChunkHistory", 251: "NoSuchTransaction", 256: "TransactionCommitted", 257: "TransactionTooLarge",
	258: "UnknownFeatureCompatibilityVersion", 260: "InvalidResumeToken", 261: "TooManyLogicalSessions",
	262: "ExceededTimeLimit", 263: "OperationNotSupportedInTransaction", 264: "TooManyFilesOpen",
	266: "FailPointSetFailed", 267: "PreparedTransactionInProgress", 268: "CannotBackup",
	272: "MigrationConflict", 276: "IndexBuildAborted", 278: "UnsatisfiableCommitQuorum", 279: "ClientDisconnect",
	280: "ChangeStreamFatalError", 281: "TransactionCoordinatorSteppingDown",
	282: "TransactionCoordinatorReachedAbortDecision", 283: "WouldChangeOwningShard",
	285: "IndexBuildAlreadyInProgress", 286: "ChangeStreamHistoryLost", 288: "ChecksumMismatch",
	290: "TransactionExceededLifetimeLimitSeconds", 291: "NoQueryExecutionPlans",
	292: "QueryExceededMemoryLimitNoDiskUseAllowed", 301: "DataCorruptionDetected", 303: "SplitHorizonChange",
	308: "CurrentConfigNotCommittedYet", 309: "ExhaustCommandFinished", 314: "ObjectIsBusy",
	322: "APIVersionError", 323: "APIStrictError", 324: "APIDeprecationError", 326: "OplogQueryMinTsMissing",
	334: "MechanismUnavailable", 346: "ChangeStreamInvalidated", 347: "APIMismatchError",
	349: "KeyPatternShorterThanBound", 352: "UnsupportedOpQueryCommand", 354: "LoadBalancerSupportMismatch",
	355: "InterruptedDueToStorageChange", 356: "TxnRetryCounterTooOld", 357: "InvalidBSONType",
	358: "InternalTransactionNotSupported", 359: "CannotConvertIndexToUnique", 361: "CollectionUUIDMismatch",
	363: "RetryableTransactionInProgress", 365: "TemporarilyUnavailable", 371: "UserWritesBlocked",
	376: "ChangeStreamNotEnabled", 378: "NonConformantBSON", 388: "TransactionTooLargeForCache",
	390: "InvalidSignature", 391: "ReauthenticationRequired", 402: "ResourceExhausted",
	462: "IngressRequestRateLimitExceeded", 9001: "SocketException", 10003: "CannotGrowDocumentInCappedNamespace",
	10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey",
	11600: "InterruptedAtShutdown", 11601: "Interrupted", 11602: "InterruptedDueToReplStateChange",
	12586: "BackgroundOperationInProgressForDatabase", 12587: "BackgroundOperationInProgressForNamespace",
	13113: "MergeStageNoMatchingDocument", 13297: "DatabaseDifferCase", 13388: "StaleConfig",
	13435: "NotPrimaryNoSecondaryOk", 13436: "NotPrimaryOrSecondary", 14031: "OutOfDiskSpace", 31082: "SearchNotEnabled",
	46841: "ClientMarkedKilled", 50768: "NotARetryableWriteCommand",
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
