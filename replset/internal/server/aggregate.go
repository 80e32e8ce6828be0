package server

import (
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

func runAggregate(c *conn, r *request) error {
	var stages []bson.Raw
	var h *hint
	size := int64(-1)
	hasPipeline, hasCursor := false, false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "pipeline":
			hasPipeline = true
			stages = p.pipeline()
		case "cursor":
			if p.f.value.Type != bson.TypeEmbeddedDocument {
				p.fail(refuse(codeTypeMismatch, "cursor field must be missing or an object"))
				break
			}
			hasCursor = true
			size = p.cursorOptions()
		case "explain":
			if p.flag() {
				p.fail(refuse(codeNotImplemented, "aggregate with explain is not supported"))
			}
		case "hint":
			h = p.hint()
		case "collation":
			p.simpleCollation()
		case "let":
			p.refuseVariables(c.s.version.wire, refuse(codeFailedToParse, "unrecognized field 'let'"))
		case "allowDiskUse", "bypassDocumentValidation":
			p.flag()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return p.err
	case !hasPipeline:
		return errMissing(r.name, "pipeline")
	case !hasCursor:
		return refuse(codeFailedToParse, "The 'cursor' option is required, except for aggregate with the explain argument")
	}
	if err := r.checkStages(stages, c.s.version); err != nil {
		return err
	}
	if err := query.CheckStages(stages, c.s.version.series); err != nil {
		return err
	}
	if r.first.Type != bson.TypeString {
		return r.refuseCollectionless(stages, c.s.version.series)
	}
	name, err := r.collection()
	if err != nil {
		return err
	}
	about := takeStage(&stages, "$collStats")
	pipeline, err := query.CompilePipeline(stages)
	if err != nil {
		return err
	}
	var res results
	err = c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		coll := s.Collection(r.db, name)
		hinted, err := h.index(r.db, name, coll)
		if err != nil {
			return err
		}
		if about != nil {
			doc, err := c.collStatsStage(s, r.db, name, *about)
			if err != nil {
				return err
			}
			res.docs, err = pipeline.Run(once(doc))
			return err
		}
		if coll != nil {
			res.of = coll.Info().UUID.Data
		}
		// The leading $match, if any, finds by _id; it is run once more with the rest.
		var scanned error
		next, stop := iter.Pull(func(yield func(bson.Raw) bool) {
			scanned = eachMatch(c.opCtx, coll, pipeline.Filter(), hinted, yield)
		})
		defer stop()
		docs, err := pipeline.Run(next)
		if err == nil {
			err = scanned
		}
		res.docs = docs
		return err
	})
	if err != nil {
		return err
	}
	res.openEnd = true
	return c.appendCursor(r, name, res, size, false, false)
}

// outOfV1 are the stages that are not in the stable API's version 1.
var outOfV1 = map[string]bool{
	"$currentOp": true, "$indexStats": true, "$listLocalSessions": true, "$listSampledQueries": true, "$listSearchIndexes": true,
	"$listSessions": true, "$planCacheStats": true, "$queryStats": true, "$querySettings": true, "$search": true,
	"$searchMeta": true, "$shardedDataDistribution": true, "$vectorSearch": true,
}

// checkStages refuses the stages that this client, or this server, is not to have.
func (r *request) checkStages(stages []bson.Raw, v Version) error {
	for _, doc := range stages {
		s := scan(doc)
		f, ok := s.next()
		switch name := string(f.key); {
		case ok && r.apiStrict && outOfV1[name] && query.HasStage(name, v.series):
			return refuse(codeAPIStrictError, "stage %s is not allowed with 'apiStrict: true' in API Version %s", name, r.apiVersion)
		case ok && r.apiStrict && name == "$collStats" && hasAny(f.value, "latencyStats", "storageStats", "queryExecStats"):
			return refuse(codeAPIStrictError, "only the 'count' option to $collStats is supported in API Version 1")
		case ok && name == "$listSearchIndexes" && query.HasStage(name, v.series):
			return errNoSearch
		}
	}
	return nil
}

// hasAny reports whether a value is a document with one of those fields.
func hasAny(v bson.RawValue, names ...string) bool {
	if v.Type != bson.TypeEmbeddedDocument {
		return false
	}
	for _, name := range names {
		if _, has := lookup(v.Value, name); has {
			return true
		}
	}
	return false
}

// takeStage takes a pipeline's leading stage away if it has that name, and returns
// what it says; else nil.
func takeStage(stages *[]bson.Raw, name string) *bson.RawValue {
	if len(*stages) == 0 {
		return nil
	}
	s := scan((*stages)[0])
	f, ok := s.next()
	if _, second := s.next(); !ok || second || string(f.key) != name {
		return nil
	}
	*stages = (*stages)[1:]
	return &f.value
}

// once gives a single document.
func once(doc bson.Raw) func() (bson.Raw, bool) {
	given := false
	return func() (bson.Raw, bool) {
		defer func() { given = true }()
		return doc, !given
	}
}

// pipeline reads the stages of an aggregation.
func (p *fieldReader) pipeline() []bson.Raw {
	if p.f.value.Type != bson.TypeArray {
		p.fail(refuse(codeTypeMismatch, "'pipeline' option must be specified as an array"))
		return nil
	}
	var stages []bson.Raw
	for s := scan(p.f.value.Value); ; {
		e, ok := s.next()
		if !ok {
			return stages
		}
		if e.value.Type != bson.TypeEmbeddedDocument {
			p.fail(refuse(codeTypeMismatch, "Each element of the 'pipeline' array must be an object"))
			return nil
		}
		stages = append(stages, bson.Raw(e.value.Value))
	}
}

// refuseCollectionless refuses an aggregate of no collection, which needs stages
// that make documents of their own. There are none here.
func (r *request) refuseCollectionless(stages []bson.Raw, series string) error {
	if n, ok := integral(r.first); !ok || n != 1 {
		return refuse(codeFailedToParse, "Invalid command format: the 'aggregate' field must specify a collection name or 1")
	}
	if len(stages) == 0 {
		return refuse(codeInvalidNamespace, "{aggregate: 1} is not valid for an empty pipeline.")
	}
	s := scan(stages[0])
	f, _ := s.next()
	name := string(f.key)
	if !query.HasStage(name, series) {
		return query.UnknownStage(name)
	}
	return refuse(codeInvalidNamespace, "{aggregate: 1} is not valid for '%s'; a collection is required.", name)
}

// checkWritingStages refuses a pipeline that writes. Such a one takes a write concern, which
// must not be what is complained about.
func (r *request) checkWritingStages(series string) error {
	for _, f := range r.args {
		if string(f.key) != "pipeline" || f.value.Type != bson.TypeArray {
			continue
		}
		for s := scan(f.value.Value); ; {
			e, ok := s.next()
			if !ok {
				return nil
			}
			if e.value.Type != bson.TypeEmbeddedDocument {
				continue
			}
			for _, name := range []string{"$out", "$merge"} {
				if _, there := lookup(e.value.Value, name); there {
					return query.CheckStages([]bson.Raw{e.value.Value}, series)
				}
			}
		}
	}
	return nil
}
