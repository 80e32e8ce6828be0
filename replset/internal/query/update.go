package query

import (
	"bytes"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// UpdateOptions are what an update statement says beside its filter and its
// update.
type UpdateOptions struct {
	// Multi refuses a replacement, which can only be of one document.
	Multi bool
	// Upsert does not change how an update is read; method Upsert may be called
	// either way.
	Upsert bool
	// ArrayFilters choose the items that a $[identifier] in a path stands for.
	ArrayFilters []bson.Raw
	// NoDollars refuses to store names that begin with a dollar sign, as servers before
	// 5.0 do.
	NoDollars bool
	// KeepTimes leaves a replacement's zero timestamps as they are.
	KeepTimes bool
	// Now is the clock of $currentDate, and of a replacement's zero timestamps. Defaults
	// to time.Now.
	Now func() time.Time
}

// Update is a compiled update: a replacement document, operators, or a pipeline. It is
// immutable and may be used from any goroutine.
type Update struct {
	replacement bson.Raw    // nil for the others
	root        *updateNode // of operators
	steps       []stage     // of a pipeline; not nil
	renames     []rename
	positional  bool // some path holds the positional operator $
	deep        bool // may nest deeper than what is stored may; the result is checked
	noDollars   bool
	now         func() time.Time
}

// CompileUpdate reads the update of an update statement. It keeps no reference
// to u. A document whose first name starts with a dollar sign holds operators,
// any other is a replacement; an array is a pipeline.
func CompileUpdate(u bson.RawValue, opts UpdateOptions) (*Update, error) {
	switch u.Type {
	case bson.TypeEmbeddedDocument:
	case bson.TypeArray:
		up := &Update{noDollars: opts.NoDollars}
		return up, up.compileSteps(u.Value, opts)
	default:
		return nil, refuse(failedToParse, "Update argument must be either an object or an array")
	}
	doc := bytes.Clone(u.Value)
	deepest, err := nesting(doc)
	if err != nil {
		return nil, err
	}
	up := &Update{now: opts.Now, deep: deepest > maxStored, noDollars: opts.NoDollars}
	if up.now == nil {
		up.now = time.Now
	}
	e := elementsOf(doc)
	if key, _, ok := e.next(); !ok || !isDollar(key) {
		return up, up.compileReplacement(doc, opts)
	}
	filters, err := compileArrayFilters(opts.ArrayFilters)
	if err != nil {
		return nil, err
	}
	p := &updateParser{update: up, filters: filters}
	if err := p.parse(doc); err != nil {
		return nil, err
	}
	for _, f := range filters {
		if !f.used {
			return nil, refuse(failedToParse, "The array filter for identifier '%s' was not used in the update %s", f.identifier, text(documentValue(doc)))
		}
	}
	return up, nil
}

func (u *Update) compileReplacement(doc []byte, opts UpdateOptions) error {
	if opts.Multi {
		return refuse(failedToParse, "multi update is not supported for replacement-style update")
	}
	if len(opts.ArrayFilters) > 0 {
		return refuse(failedToParse, "arrayFilters may not be specified for replacement-style updates")
	}
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		if isDollar(key) && !opts.NoDollars { // then it is looked at where it is to be stored
			return refuse(dollarPrefixedFieldName, "The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update's replacement document. Consider using an aggregation pipeline with $replaceWith.", key, key)
		}
		if string(key) == "_id" {
			if err := checkID(v); err != nil {
				return err
			}
		}
	}
	if !missing(lookup(doc, "_id")) {
		doc = WithID(doc)
	}
	if !opts.KeepTimes {
		StampTimes(doc, u.now())
	}
	u.replacement = doc
	return nil
}

// IsReplacement reports whether the update replaces the whole document.
func (u *Update) IsReplacement() bool { return u.replacement != nil }

// Positional reports whether the update names the item that the query matched
// (a.$); such an update needs ApplyMatched.
func (u *Update) Positional() bool { return u.positional }

// Apply returns doc as the update leaves it; changed is false, and newDoc is
// doc itself, where it makes no difference. doc is not modified.
func (u *Update) Apply(doc bson.Raw) (newDoc bson.Raw, changed bool, err error) {
	return u.ApplyMatched(doc, nil)
}

// ApplyMatched is Apply for a document that f has matched, which tells the
// positional operator $ which item it stands for.
func (u *Update) ApplyMatched(doc bson.Raw, f *Filter) (newDoc bson.Raw, changed bool, err error) {
	switch {
	case u.replacement != nil:
		newDoc, err = replaced(doc, u.replacement)
	case u.steps != nil:
		newDoc, err = u.step(doc)
	default:
		st := applyState{update: u, doc: doc, matched: -1}
		if u.positional && f != nil {
			st.matched = f.position(doc)
		}
		newDoc, err = st.run()
	}
	if err != nil {
		return nil, false, err
	}
	if bytes.Equal(newDoc, doc) {
		return doc, false, nil
	}
	if err := u.checkNames(doc, newDoc); err != nil {
		return nil, false, err
	}
	if u.deep {
		if err := checkStored(newDoc); err != nil {
			return nil, false, err
		}
	}
	if len(newDoc) > MaxDocumentSize {
		return nil, false, refuse(updatedDocumentTooLarge, "Resulting document after update is larger than %d", MaxDocumentSize)
	}
	return newDoc, true, nil
}

// checkNames refuses names in what the update makes of doc. Operators answer for what they
// bring in alone: an insert may have left such a name elsewhere.
func (u *Update) checkNames(doc, newDoc bson.Raw) error {
	if !u.noDollars || u.root != nil && checkDollars(doc, "", false) != nil {
		return nil
	}
	return checkDollars(newDoc, "", false)
}

// replaced is a replacement with the _id of doc.
func replaced(doc, replacement bson.Raw) (bson.Raw, error) {
	id, own := lookup(doc, "_id"), lookup(replacement, "_id")
	switch {
	case missing(id):
		return replacement, nil
	case missing(own):
		return prependID(replacement, id), nil
	case Compare(id, own) != 0:
		return nil, refuse(immutableField, "After applying the update, the (immutable) field '_id' was found to have been altered to %s", elementText("_id", own))
	}
	return replacement, nil
}

// applyState is one application of an update to one document.
type applyState struct {
	update  *Update
	doc     []byte
	insert  bool
	matched int             // the item that $ stands for, -1 for none
	moved   []bson.RawValue // what each $rename found
}

func (st *applyState) run() (bson.Raw, error) {
	if err := st.findRenamed(); err != nil {
		return nil, err
	}
	size := len(st.doc)
	root := st.update.root
	if st.update.positional {
		if st.matched < 0 {
			return nil, refuse(badValue, "The positional operator did not find the match needed from the query.")
		}
		var err error
		if root, err = root.resolve(st.matched); err != nil {
			return nil, err
		}
	}
	out, _, err := root.applyDocument(st, st.doc, make([]byte, 0, size+size/4+64), true)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// id names the document in an error's message.
func (st *applyState) id() string {
	id := lookup(st.doc, "_id")
	if missing(id) {
		return "no id"
	}
	return elementText("_id", id)
}
