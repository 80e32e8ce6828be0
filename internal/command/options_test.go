package command

import (
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestAnUnknownOptionOfTheDriverIsNoticed(t *testing.T) {
	known := map[reflect.Type]string{
		reflect.TypeFor[options.FindOneOptions]():                "AllowPartialResults Collation Comment Hint Max Min OplogReplay Projection ReturnKey ShowRecordID Skip Sort Internal",
		reflect.TypeFor[options.FindOptions]():                   "AllowPartialResults Collation Comment Hint Max MaxAwaitTime Min OplogReplay Projection ReturnKey ShowRecordID Skip Sort AllowDiskUse BatchSize CursorType Let Limit NoCursorTimeout Internal",
		reflect.TypeFor[options.CountOptions]():                  "Collation Comment Hint Limit Skip Internal",
		reflect.TypeFor[options.EstimatedDocumentCountOptions](): "Comment Internal",
		reflect.TypeFor[options.DistinctOptions]():               "Collation Comment Hint Internal",
		reflect.TypeFor[options.AggregateOptions]():              "AllowDiskUse BatchSize BypassDocumentValidation Collation MaxAwaitTime Comment Hint Let Custom Internal",
		reflect.TypeFor[options.Collation]():                     "Locale CaseLevel CaseFirst Strength NumericOrdering Alternate MaxVariable Normalization Backwards",
		reflect.TypeFor[options.InsertOneOptions]():              "BypassDocumentValidation Comment Internal",
		reflect.TypeFor[options.InsertManyOptions]():             "BypassDocumentValidation Comment Ordered Internal",
		reflect.TypeFor[options.UpdateOneOptions]():              "ArrayFilters BypassDocumentValidation Collation Comment Hint Upsert Let Sort Internal",
		reflect.TypeFor[options.UpdateManyOptions]():             "ArrayFilters BypassDocumentValidation Collation Comment Hint Upsert Let Internal",
		reflect.TypeFor[options.ReplaceOptions]():                "BypassDocumentValidation Collation Comment Hint Upsert Let Sort Internal",
		reflect.TypeFor[options.DeleteOneOptions]():              "Collation Comment Hint Let Internal",
		reflect.TypeFor[options.DeleteManyOptions]():             "Collation Comment Hint Let Internal",
		reflect.TypeFor[options.FindOneAndUpdateOptions]():       "ArrayFilters BypassDocumentValidation Collation Comment Projection ReturnDocument Sort Upsert Hint Let Internal",
		reflect.TypeFor[options.FindOneAndReplaceOptions]():      "BypassDocumentValidation Collation Comment Projection ReturnDocument Sort Upsert Hint Let Internal",
		reflect.TypeFor[options.FindOneAndDeleteOptions]():       "Collation Comment Projection Sort Hint Let Internal",
	}
	for typ, fields := range known {
		want := map[string]bool{}
		for _, f := range strings.Fields(fields) {
			want[f] = true
		}
		for i := range typ.NumField() {
			if name := typ.Field(i).Name; !want[name] {
				t.Errorf("%v has a field %s that is not encoded", typ, name)
			}
		}
	}
}
