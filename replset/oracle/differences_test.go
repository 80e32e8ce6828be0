package oracle

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What FerretDB 1.24 does otherwise than MongoDB, and replset as MongoDB does. Each has the reason, and where
// MongoDB says so.

// difference is one of them: where it may show, and why.
type difference struct {
	why string
	// where says that it may show in what is asked, and of which document.
	where func(question, d bson.D) bool
}

func known(list []difference, question, d bson.D) string {
	for _, k := range list {
		if k.where(question, d) {
			return k.why
		}
	}
	return ""
}

// inFinds are those of filters.
var inFinds = []difference{
	{
		// manual, $mod: "… rounds decimal inputs towards zero"; and as all operators of fields it is true of an array
		// of which an item matches (Query an Array).
		"$mod looks at the items of arrays, and at fractions",
		func(q, d bson.D) bool {
			return has(q, "$mod", anything) && (has(d, "", isArray) || has(d, "", isDouble))
		},
	},
	{
		// manual, $in: "if the field holds an array, then the $in operator selects the documents whose field holds an
		// array that contains at least one element that matches a value in the specified array". So do $eq, $ne and $all.
		"documents are found in arrays, and by $in, too",
		func(q, d bson.D) bool {
			return has(q, "$in", holdsDocument) || has(q, "$nin", holdsDocument) || has(q, "$all", holdsDocument) ||
				(has(q, "$eq", isDocument) || has(q, "$ne", isDocument)) && has(d, "", isArray)
		},
	},
	{
		// jstests/core/null2.js of the server: {"a.b": null} finds a: [{}], and neither a: [] nor a: [5].
		"null below an array means a document there without the field",
		func(q, d bson.D) bool { return throughArray(q, d) && has(q, "", isNull) },
	},
	{
		// manual, $elemMatch: "at least one element that matches all the specified query criteria".
		"$elemMatch asks for an item, whatever of",
		func(q, d bson.D) bool {
			return has(q, "$elemMatch", func(v any) bool { return has(v, "$exists", anything) }) && has(d, "", isArray)
		},
	},
}

// inUpdates are those of updates.
var inUpdates = []difference{
	{
		// manual, Update Operators: error 40, ConflictingUpdateOperators: "Updating the path 'x' would create a conflict".
		"$rename conflicts with what else is done to the same field",
		func(q, _ bson.D) bool { return has(q, "$rename", anything) && len(q) > 1 },
	},
	{
		// manual, $rename: "$rename does not work on embedded documents in arrays"; the server: "The source field
		// cannot be an array element".
		"$rename is of no item of an array",
		func(q, d bson.D) bool { return has(q, "$rename", anything) && throughArray(q, d) },
	},
	{
		// The field is made as the empty array that it is to be after none was added.
		"$push and $addToSet of none make the array",
		func(q, _ bson.D) bool { return has(q, "$each", isEmptyArray) },
	},
	{
		// manual, $unset: "When used with $ to match an array element, $unset replaces the matching element with null
		// rather than removing the matching element from the array."
		"$unset leaves null in an array",
		func(q, d bson.D) bool { return has(q, "$unset", anything) && throughArray(q, d) },
	},
	{
		"$set of a document for one with other names is a change",
		func(q, d bson.D) bool {
			return has(q, "$set", func(v any) bool { return has(v, "", isDocument) }) && has(d, "", isDocument)
		},
	},
	{
		"FerretDB keeps no array that is directly in another",
		func(q, d bson.D) bool {
			return throughArray(q, d) && (has(q, "", isArray) || has(q, "$push", anything) || has(q, "$addToSet", anything))
		},
	},
}

func anything(any) bool       { return true }
func isNull(v any) bool       { return v == nil }
func isArray(v any) bool      { _, ok := v.(bson.A); return ok }
func isEmptyArray(v any) bool { a, ok := v.(bson.A); return ok && len(a) == 0 }
func isDouble(v any) bool     { _, ok := v.(float64); return ok }

func isDocument(v any) bool { _, ok := v.(bson.D); return ok }

func holdsDocument(v any) bool {
	a, _ := v.(bson.A)
	for _, item := range a {
		if _, ok := item.(bson.D); ok {
			return true
		}
	}
	return false
}

// has looks in all depths for a field of that name, "" for any value, of which something is true.
func has(v any, name string, is func(any) bool) bool {
	switch v := v.(type) {
	case bson.D:
		for _, e := range v {
			if (name == "" || e.Key == name) && is(e.Value) || has(e.Value, name, is) {
				return true
			}
		}
	case bson.A:
		for _, item := range v {
			if name == "" && is(item) || has(item, name, is) {
				return true
			}
		}
	}
	return false
}

// throughArray says that a path of the question leads through, or into, an array of the document.
func throughArray(question, d bson.D) bool {
	through := false
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case bson.D:
			for _, e := range v {
				through = through || arrayOnTheWay(d, strings.Split(e.Key, "."))
				walk(e.Value)
			}
		case bson.A:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(question)
	return through
}

func arrayOnTheWay(v any, path []string) bool {
	if len(path) == 0 {
		return false
	}
	if _, ok := v.(bson.A); ok {
		return true
	}
	d, _ := v.(bson.D)
	for _, e := range d {
		if e.Key == path[0] {
			return arrayOnTheWay(e.Value, path[1:])
		}
	}
	return false
}

// refused are filters that only one of the two refuses.
var refused = []difference{}
