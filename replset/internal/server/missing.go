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

// searchCommands are those of Atlas, which every server that knows them refuses where there is no Atlas.
var searchCommands = map[string]bool{"createSearchIndexes": true, "dropSearchIndex": true, "updateSearchIndex": true}

var errNoSearch = refuse(codeSearchNotEnabled, "Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires additional configuration. "+
	"Please connect to Atlas or an AtlasCLI local deployment to enable. For more information on how to connect, see https://dochub.mongodb.org/core/atlas-cli-deploy-local-reqs.")

// misses reports whether servers of the version have a command that this one has not.
func (v Version) misses(name string) bool {
	since, missing := missingCommands[name]
	return missing && since <= v.series
}

// failMissing does what failCommand is to do to a command that a server has and this one has not.
func (c *conn) failMissing() (*failure, error) {
	fail := c.failCommand(&command{name: c.req.name})
	if fail == nil {
		return nil, nil
	}
	ctx, cancel := c.limited()
	defer cancel()
	return fail, fail.act(ctx)
}

// refuseUnknown refuses a command that there is none of here.
func (r *request) refuseUnknown(v Version) error {
	switch {
	case !v.misses(r.name):
		return refuse(codeCommandNotFound, "no such command: '%s'", r.name)
	case searchCommands[r.name]:
		return errNoSearch
	}
	return refuse(codeNotImplemented, "The command %s is not supported by this server", r.name)
}
