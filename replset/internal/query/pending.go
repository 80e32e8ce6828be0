package query

import "go.mongodb.org/mongo-driver/v2/bson"

var errPending = refuse(notImplemented, "not yet understood by this server")

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
