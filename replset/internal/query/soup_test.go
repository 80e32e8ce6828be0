package query

import (
	"math/rand/v2"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// soup makes documents of the words of all the languages, so that well-formed
// nonsense gets further into the parsers than random bytes do.
type soup struct{ r *rand.Rand }

var soupWords = []string{
	"a", "b", "a.b", "a.0", "0", "_id", "a.$", "a.$[]", "a.$[e]", "", ".", "$", "$a", "e",
	"$eq", "$ne", "$gt", "$lte", "$in", "$nin", "$exists", "$type", "$size", "$all", "$elemMatch", "$mod", "$regex", "$options", "$not",
	"$and", "$or", "$nor", "$comment", "$expr", "$bitsAllSet", "$ref", "$id",
	"$set", "$unset", "$inc", "$mul", "$min", "$max", "$rename", "$currentDate", "$push", "$addToSet", "$pull", "$pop", "$pullAll",
	"$setOnInsert", "$bit", "$each", "$slice", "$sort", "$position", "$natural",
	"$match", "$skip", "$limit", "$project", "$count", "$group", "$unwind", "$addFields", "$sample", "$sum", "$avg", "$first", "$last",
	"$literal", "path", "size", "includeArrayIndex", "and", "x",
	"$add", "$subtract", "$multiply", "$divide", "$abs", "$floor", "$cond", "$ifNull", "$switch", "$concat", "$toLower", "$substrCP", "$split", "$arrayElemAt", "$concatArrays", "$range",
	"$filter", "$map", "$reduce", "$let", "$mergeObjects", "$objectToArray", "$arrayToObject", "$setUnion", "$setDifference", "$indexOfArray", "$reverseArray", "$replaceWith", "$sortByCount",
	"input", "cond", "in", "vars", "initialValue", "branches", "case", "then", "default", "if", "else", "newRoot", "$$this", "$$ROOT", "$$NOW",
}

func (s soup) value(depth int) bson.RawValue {
	switch s.r.IntN(8) {
	case 0, 1, 2:
		if depth > 0 {
			return documentValue(s.document(depth - 1))
		}
	case 3:
		if depth > 0 {
			var items []bson.RawValue
			for range s.r.IntN(3) {
				items = append(items, s.value(depth-1))
			}
			return arrayValue(items)
		}
	case 4:
		return stringValue([]string{"", "$"}[s.r.IntN(2)] + soupWords[s.r.IntN(len(soupWords))])
	case 5:
		return int32Value(int32(s.r.IntN(4) - 1))
	}
	return randomValue(s.r, 0)
}

func (s soup) document(depth int) bson.Raw {
	dst, start := openDocument(nil)
	for range s.r.IntN(4) {
		dst = appendElement(dst, soupWords[s.r.IntN(len(soupWords))], s.value(depth))
	}
	return closeDocument(dst, start)
}

func TestWellFormedNonsenseIsReadOrRefused(t *testing.T) {
	s := soup{rand.New(rand.NewPCG(5, 6))}
	compiled := map[string]int{}
	count := func(what string, err error) bool {
		if err == nil {
			compiled[what]++
			return true
		}
		if e, ok := err.(*Error); !ok || e.Code == 0 || e.Name == "" || e.Message == "" {
			t.Errorf("%s: %#v", what, err)
		}
		return false
	}
	for range 30000 {
		spec, d := s.document(3), s.document(3)
		f, err := CompileFilter(spec)
		if count("filter", err) {
			f.Match(d)
			f.position(d)
		}
		u, err := CompileUpdate(documentValue(spec), UpdateOptions{ArrayFilters: []bson.Raw{doc(`{e: {$gt: 0}}`)}[:s.r.IntN(2)]})
		if steps, err := CompileUpdate(arrayValue([]bson.RawValue{documentValue(s.stage(spec))}), UpdateOptions{}); count("steps", err) {
			if after, _, err := steps.Apply(d); count("stepped", err) && after.Validate() != nil {
				t.Errorf("%v of %v is malformed", spec, d)
			}
		}
		if x, err := parseExpression(documentValue(spec)); count("expression", err) {
			at := &scope{root: d}
			if v := x.eval(at); count("evaluated", at.failure()) && !missing(v) && documentOfOne(v).Validate() != nil {
				t.Errorf("%v of %v is malformed", spec, d)
			}
		}
		if count("update", err) {
			if after, _, err := u.ApplyMatched(d, f); count("update", err) && after.Validate() != nil {
				t.Errorf("%v of %v is malformed", spec, d)
			}
			if made, err := u.Upsert(d); count("upsert", err) && made.Validate() != nil {
				t.Errorf("%v for %v is malformed", spec, d)
			}
		}
		p, err := CompileProjection(spec)
		if count("projection", err) {
			if shown, err := p.Apply(d); count("projected", err) && shown.Validate() != nil {
				t.Errorf("%v of %v is malformed", spec, d)
			}
		}
		order, err := CompileSort(spec)
		if count("sort", err) {
			count("sorted", order.Sort([]bson.Raw{d, spec}))
		}
		pipeline, err := CompilePipeline([]bson.Raw{s.stage(spec)})
		if count("pipeline", err) {
			next, _ := feed([]bson.Raw{d, spec})
			out, err := pipeline.Run(next)
			count("run", err)
			for _, o := range out {
				if o.Validate() != nil {
					t.Errorf("%v of %v is malformed", spec, d)
				}
			}
		}
	}
	for _, what := range []string{"filter", "update", "upsert", "projection", "sort", "pipeline", "run", "steps", "stepped", "expression", "evaluated"} {
		if compiled[what] < 100 {
			t.Errorf("only %d of kind %s went through: the nonsense is too wild", compiled[what], what)
		}
	}
}

// documentOfOne is a document of one value.
func documentOfOne(v bson.RawValue) bson.Raw {
	dst, start := openDocument(nil)
	return closeDocument(appendElement(dst, "v", v), start)
}

func (s soup) stage(spec bson.Raw) bson.Raw {
	names := []string{"$match", "$sort", "$project", "$addFields", "$group", "$unwind", "$sample", "$replaceWith", "$sortByCount"}
	dst, start := openDocument(nil)
	dst = appendElement(dst, names[s.r.IntN(len(names))], documentValue(spec))
	return closeDocument(dst, start)
}
