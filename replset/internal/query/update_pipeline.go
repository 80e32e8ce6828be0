package query

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// updateStages are the stages that an update may have.
var updateStages = map[string]bool{
	"$addFields": true, "$set": true, "$project": true, "$unset": true, "$replaceRoot": true, "$replaceWith": true,
}

// compileSteps reads an update by pipeline: stages that make the next document of the one
// before.
func (u *Update) compileSteps(list []byte, opts UpdateOptions) error {
	if len(opts.ArrayFilters) > 0 {
		return refuse(failedToParse, "arrayFilters may not be specified for pipeline-syle updates")
	}
	u.steps = []stage{}
	for _, item := range arrayItems(bytes.Clone(list)) {
		if !isObject(item) {
			return refuse(typeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		name, s, err := compileStage(item.Value)
		if _, missing := missingStages[name]; missing || err == nil && !updateStages[name] {
			return refuse(invalidOptions, "%s is not allowed to be used within an update", name)
		}
		if err != nil {
			return err
		}
		u.steps = append(u.steps, s)
	}
	return nil
}

// step is what the stages make of doc, as a replacement for it.
func (u *Update) step(doc bson.Raw) (bson.Raw, error) {
	given := false
	in := source(func() (bson.Raw, bool, error) {
		ok := !given
		given = true
		return doc, ok, nil
	})
	for _, s := range u.steps {
		in = s(in)
	}
	out, _, err := in()
	if err != nil {
		return nil, err
	}
	if err := checkStored(out); err != nil {
		return nil, err
	}
	if !missing(lookup(out, "_id")) {
		out = WithID(out)
	}
	return replaced(doc, out)
}

func (u *Update) upsertSteps(pinned []pin) (bson.Raw, error) {
	base, err := pinnedDocument(pinned)
	if err != nil {
		return nil, err
	}
	return u.step(base)
}
