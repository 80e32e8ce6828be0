package server

import (
	"context"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// checkEvery is how many documents are looked at between two looks at whether the
// command's time is up.
const checkEvery = 1024

// eachMatch yields a collection's documents that match, until yield returns
// false. A filter that pins _id costs one look-up for each value, however large
// the collection. A collection that does not exist has no documents.
//
// With an index that was hinted at, or a filter that asks for a range of _id, they come in its order, and
// only those that it has.
func eachMatch(ctx context.Context, coll repl.Collection, f *query.Filter, hinted *repl.IndexInfo, yield func(bson.Raw) bool) error {
	if coll == nil {
		return nil
	}
	if hinted == nil && f != nil && f.RangesOverID() {
		hinted = &repl.IndexInfo{Key: idIndexKey}
	}
	if hinted != nil && hinted != naturally {
		return eachOfIndex(ctx, coll, f, hinted, yield)
	}
	if f != nil {
		if ids, ok := f.IDs(); ok {
			for _, id := range ids {
				doc, ok := coll.ByID(id)
				if !ok {
					continue
				}
				if ok, err := f.TryMatch(doc); err != nil || ok && !yield(doc) {
					return err
				}
			}
			return nil
		}
	}
	var err error
	n := 0
	coll.Each(func(doc bson.Raw) bool {
		if n++; n%checkEvery == 0 {
			if err = ctx.Err(); err != nil {
				return false
			}
		}
		if f != nil {
			ok := false
			if ok, err = f.TryMatch(doc); err != nil || !ok {
				return err == nil
			}
		}
		return yield(doc)
	})
	return err
}

// naturally stands for no index at all, where one might be used.
var naturally = &repl.IndexInfo{}

// eachOfIndex is eachMatch by an index.
func eachOfIndex(ctx context.Context, coll repl.Collection, f *query.Filter, ix *repl.IndexInfo, yield func(bson.Raw) bool) error {
	sort, err := query.CompileSort(ix.Key)
	if err != nil {
		return err
	}
	var docs []bson.Raw
	n, failed := 0, error(nil)
	coll.Each(func(doc bson.Raw) bool {
		if n++; n%checkEvery == 0 {
			if failed = ctx.Err(); failed != nil {
				return false
			}
		}
		if f != nil {
			ok, err := f.TryMatch(doc)
			if failed = err; err != nil || !ok {
				return err == nil
			}
		}
		if !ix.Sparse || query.HasAny(doc, ix.Key) {
			docs = append(docs, doc)
		}
		return true
	})
	if failed != nil {
		return failed
	}
	if err := sort.Sort(docs); err != nil {
		return err
	}
	for _, doc := range docs {
		if !yield(doc) {
			return nil
		}
	}
	return nil
}

// firstMatches returns the matching documents in the order of sort, at most limit
// of them (0: all), after skip ones.
func firstMatches(ctx context.Context, coll repl.Collection, f *query.Filter, hinted *repl.IndexInfo, sort *query.Sort, backwards bool, skip, limit int64) ([]bson.Raw, error) {
	var docs []bson.Raw
	enough := int64(-1)
	if sort == nil && !backwards && limit > 0 && skip < math.MaxInt64-limit {
		enough = skip + limit
	}
	err := eachMatch(ctx, coll, f, hinted, func(doc bson.Raw) bool {
		docs = append(docs, doc)
		return int64(len(docs)) != enough
	})
	if err != nil {
		return nil, err
	}
	if backwards {
		slices.Reverse(docs)
	}
	if sort != nil {
		if err := sort.Sort(docs); err != nil {
			return nil, err
		}
	}
	docs = docs[min(skip, int64(len(docs))):]
	if limit > 0 {
		docs = docs[:min(limit, int64(len(docs)))]
	}
	return docs, nil
}

// filterDocs is the filter of a listing.
func filterDocs(docs []bson.Raw, filter bson.Raw) ([]bson.Raw, error) {
	if len(filter) <= 5 {
		return docs, nil
	}
	f, err := query.CompileFilter(filter)
	if err != nil {
		return nil, err
	}
	var kept []bson.Raw
	for _, doc := range docs {
		ok, err := f.TryMatch(doc)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, doc)
		}
	}
	return kept, nil
}

// hint is the index that a client wants used.
type hint struct {
	name string
	key  bson.Raw
}

// hint reads a hint: an index's name or its key.
func (p *fieldReader) hint() *hint {
	switch p.f.value.Type {
	case bson.TypeString:
		return &hint{name: p.text()}
	case bson.TypeEmbeddedDocument:
		if doc := p.document(); len(doc) > 5 {
			return &hint{key: doc}
		}
		return nil
	}
	p.fail(refuse(codeFailedToParse, "Hint must be a string or an object"))
	return nil
}

// natural says that a hint asks for the natural order, and in which direction.
func (h *hint) natural() (direction int, ok bool) {
	if h == nil || h.key == nil {
		return 0, false
	}
	v, ok := lookup(h.key, "$natural")
	if !ok {
		return 0, false
	}
	if n, _ := number(v); n < 0 {
		return -1, true
	}
	return 1, true
}

// index returns the index, nil where there is no hint at one, and refuses one that does not exist.
func (h *hint) index(db, name string, coll repl.Collection) (*repl.IndexInfo, error) {
	if h == nil || coll == nil {
		return nil, nil
	}
	if _, ok := h.natural(); ok {
		return naturally, nil
	}
	for _, ix := range coll.Indexes() {
		if h.key == nil && ix.Name == h.name || h.key != nil && sameKeys(ix.Key, h.key) {
			return &ix, nil
		}
	}
	return nil, refuse(codeBadValue, "error processing query: ns=%s.%s planner returned error :: caused by :: hint provided does not correspond to an existing index", db, name)
}
