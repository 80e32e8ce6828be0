package server

// missingCommands are those that a mongod has and this server has not, by the series of
// releases in which they are first: the manual's list as of 8.0.
//
// They are refused as NotImplemented, in words that say whose fault it is. CommandNotFound,
// which says that no server of that version has the command, is left to what it is true of,
// since clients draw conclusions from it: mongosh answers it to a command of mongos with the
// question whether that is what it is connected to, a driver falls back from hello to isMaster
// and from bulkWrite to what there was before, and a shell that asks for atlasVersion learns
// from it that this is not Atlas.
var missingCommands = map[string]string{}

func init() {
	for series, names := range map[string][]string{
		"4.4": {
			"appendOplogNote", "applyOps", "cloneCollectionAsCapped", "collMod", "compact", "connPoolStats", "convertToCapped",
			"createRole", "createUser", "currentOp", "dataSize", "datasize", "dbHash", "dbhash", "dropAllRolesFromDatabase", "dropAllUsersFromDatabase",
			"dropConnections", "dropRole", "dropUser", "filemd5", "fsyncUnlock", "grantPrivilegesToRole", "grantRolesToRole",
			"grantRolesToUser", "invalidateUserCache", "killAllSessionsByPattern", "killOp", "listCommands", "lockInfo", "logRotate",
			"mapReduce", "mapreduce", "planCacheClear", "planCacheClearFilters", "planCacheListFilters", "planCacheSetFilter", "profile",
			"reIndex", "renameCollection", "replSetAbortPrimaryCatchUp", "replSetInitiate", "replSetReconfig",
			"replSetResizeOplog", "replSetSyncFrom", "revokePrivilegesFromRole", "revokeRolesFromRole", "revokeRolesFromUser",
			"rolesInfo", "setDefaultRWConcern", "setFeatureCompatibilityVersion", "setIndexCommitQuorum", "setParameter",
			"shardingState", "shutdown", "top", "updateRole", "updateUser", "validate",
		},
		"5.0": {"rotateCertificates", "validateDBMetadata"},
		"6.0": {"compactStructuredEncryptionData", "getClusterParameter", "setClusterParameter", "setUserWriteBlockMode"},
		"7.0": {"analyzeShardKey", "configureQueryAnalyzer", "createSearchIndexes", "dropSearchIndex", "updateSearchIndex"},
		"8.0": {"autoCompact", "cleanupStructuredEncryptionData", "removeQuerySettings", "setQuerySettings"},
	} {
		for _, name := range names {
			missingCommands[name] = series
		}
	}
}

// refuseUnknown refuses a command that there is none of here.
func (r *request) refuseUnknown(v Version) error {
	if since, missing := missingCommands[r.name]; missing && since <= v.series {
		return refuse(codeNotImplemented, "The command %s is not supported by this server", r.name)
	}
	return refuse(codeCommandNotFound, "no such command: '%s'", r.name)
}
