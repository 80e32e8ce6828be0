package query

import "go.mongodb.org/mongo-driver/v2/bson"

// missingStages are those that a server has and this package has not, by the series of
// releases in which they are first: the manual's list as of 8.0, and the stages of Atlas that
// every server knows by name.
var missingStages = map[string]string{
	"$bucket": "4.4", "$bucketAuto": "4.4", "$changeStream": "4.4", "$currentOp": "4.4", "$facet": "4.4",
	"$geoNear": "4.4", "$graphLookup": "4.4", "$indexStats": "4.4", "$listLocalSessions": "4.4", "$listSessions": "4.4",
	"$lookup": "4.4", "$merge": "4.4", "$out": "4.4", "$planCacheStats": "4.4", "$redact": "4.4", "$unionWith": "4.4",
	"$setWindowFields": "5.0",
	"$densify":         "6.0", "$documents": "6.0", "$fill": "6.0", "$shardedDataDistribution": "6.0",
	"$changeStreamSplitLargeEvent": "7.0", "$listSampledQueries": "7.0", "$listSearchIndexes": "7.0", "$queryStats": "7.0",
	"$search": "7.0", "$searchMeta": "7.0", "$vectorSearch": "7.0",
	"$querySettings": "8.0",
}

// misses reports whether servers of the series have a stage that this package has not.
func misses(name, series string) bool {
	since, missing := missingStages[name]
	return missing && since <= series
}

// HasStage reports whether servers of the series have a stage.
func HasStage(name, series string) bool {
	return stageCompilers[name] != nil || name == "$collStats" || misses(name, series)
}

// CheckStageNames refuses a list of stages with one that no server of the series has.
func CheckStageNames(list []byte, series string) error {
	for _, item := range arrayItems(list) {
		if !isObject(item) {
			continue
		}
		e := elementsOf(item.Value)
		key, _, ok := e.next()
		if !ok || len(e.rest) > 0 {
			return errStage
		}
		if !HasStage(string(key), series) {
			return UnknownStage(string(key))
		}
	}
	return nil
}

// CheckStages refuses pipelines with a stage that a server of the series, such as "8.0", has
// and this package has not. It comes before CompilePipeline, which knows of no versions and
// takes those stages for ones that no server has: a gap must not look like a typing error.
func CheckStages(stages []bson.Raw, series string) error {
	for _, doc := range stages {
		e := elementsOf(doc)
		key, _, _ := e.next()
		if misses(string(key), series) {
			return notSupported("The stage " + string(key))
		}
	}
	return nil
}
