package query

import "go.mongodb.org/mongo-driver/v2/bson"

var errPending = refuse(notImplemented, "not yet understood by this server")

type Filter struct{}

func CompileFilter(f bson.Raw) (*Filter, error)        { return nil, errPending }
func (*Filter) Match(doc bson.Raw) bool                { return false }
func (*Filter) IDs() (ids []bson.RawValue, exact bool) { return nil, false }

type Update struct{}

type UpdateOptions struct {
	Multi, Upsert bool
	ArrayFilters  []bson.Raw
}

func CompileUpdate(u bson.RawValue, opts UpdateOptions) (*Update, error) { return nil, errPending }
func (*Update) IsReplacement() bool                                      { return false }
func (*Update) Apply(doc bson.Raw) (newDoc bson.Raw, changed bool, err error) {
	return nil, false, errPending
}
func (*Update) Upsert(filter bson.Raw) (doc bson.Raw, err error) { return nil, errPending }

type Projection struct{}

func CompileProjection(p bson.Raw) (*Projection, error) { return nil, errPending }
func (*Projection) Apply(doc bson.Raw) bson.Raw         { return doc }

type Sort struct{}

func CompileSort(s bson.Raw) (*Sort, error)     { return nil, errPending }
func (*Sort) Compare(a, b bson.Raw) int         { return 0 }
func (*Sort) Sort(docs []bson.Raw) error        { return errPending }
func (*Sort) Natural() (direction int, ok bool) { return 0, false }

type Pipeline struct{}

func CompilePipeline(stages []bson.Raw) (*Pipeline, error) { return nil, errPending }
func (*Pipeline) Filter() *Filter                          { return nil }
func (*Pipeline) Run(next func() (bson.Raw, bool)) ([]bson.Raw, error) {
	return nil, errPending
}

func DistinctValues(path string, each func(yield func(bson.Raw) bool)) []bson.RawValue { return nil }

func ValidateDocument(doc bson.Raw, forInsert bool) error { return nil }
func WithID(doc bson.Raw) bson.Raw                        { return doc }
