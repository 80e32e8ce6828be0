package server

import (
	"slices"
	"strings"
)

// systemCollections are the collections named system.… that a server has a use for, by
// database; those of "" are of any. Taken from its source (isLegalClientSystemNS).
var systemCollections = map[string][]string{
	"":       {"system.users", "system.js", "system.views", "system.profile"},
	"admin":  {"system.roles", "system.version", "system.keys", "system.backup_users", "system.new_users"},
	"config": {"system.sessions", "system.indexBuilds", "system.sharding_ddl_coordinators", "system.preimages", "system.change_collection"},
	"local":  {"system.replset", "system.healthlog", "system.collections_to_restore"},
}

// systemPrefixes begin the names of the collections that it has any number of.
var systemPrefixes = []string{"system.resharding.", "system.buckets.", "system.statistics."}

// checkWriteName refuses the collections that no client may write to. (A 4.4 server makes
// views of what is written to system.views. There are none here.)
func checkWriteName(db, coll string) error {
	if coll == "system.views" || coll == "system.profile" {
		return refuse(codeInvalidNamespace, "cannot write to %s.%s", db, coll)
	}
	return checkCreateName(db, coll)
}

// checkCreateName refuses the collections that no client may create.
func checkCreateName(db, coll string) error {
	switch {
	case strings.HasPrefix(coll, "system."):
		if !systemCollection(db, coll) {
			return refuse(codeInvalidNamespace, "Invalid system namespace: %s.%s", db, coll)
		}
	case strings.Contains(coll, ".system.") && (db != "config" || !strings.HasPrefix(coll, "cache.chunks.")):
		return refuse(codeBadValue, "Invalid namespace: %s.%s", db, coll)
	}
	return nil
}

func systemCollection(db, coll string) bool {
	return slices.Contains(systemCollections[""], coll) || slices.Contains(systemCollections[db], coll) ||
		slices.ContainsFunc(systemPrefixes, func(prefix string) bool { return strings.HasPrefix(coll, prefix) })
}
