package server

import (
	"bytes"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var indexCommands = []*command{
	{name: "createIndexes", run: createIndexes, sequences: []string{"indexes"}, where: primaryOnly, writeConcern: true, inV1: true},
	{name: "listIndexes", run: listIndexes, where: optIn, readable: true, inV1: true},
	{name: "dropIndexes", aliases: []string{"deleteIndexes"}, run: dropIndexes, where: primaryOnly, writeConcern: true, inV1: true},
}

func createIndexes(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	var specs []bson.Raw
	given := false
	var quorum bson.RawValue
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "indexes":
			specs, given = p.documents(), p.given()
		case "commitQuorum":
			// An index is there on each member as soon as its oplog entry is applied.
			quorum = p.f.value
			if _, ok := integral(quorum); !ok && quorum.Type != bson.TypeString {
				p.fail(refuse(codeFailedToParse, "commitQuorum has to be a number or a string"))
			}
		case "ignoreUnknownIndexOptions":
			if p.flag() {
				p.fail(refuse(codeNotImplemented, "ignoreUnknownIndexOptions is not supported"))
			}
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if specs, err = r.indexSpecs(specs, given); err != nil {
		return err
	}
	if err := checkWriteName(r.db, coll); err != nil {
		return err
	}
	for i := range specs {
		if specs[i], err = indexSpec(specs[i]); err != nil {
			return err
		}
		for _, earlier := range specs[:i] {
			if bytes.Equal(earlier, specs[i]) {
				name, _ := lookup(earlier, "name")
				return refuse(68, "Identical index already exists: %s", text(name))
			}
		}
	}
	before, after, made := 0, 0, false
	err = c.write(r, func(w repl.Writer) error {
		have := w.Collection(r.db, coll)
		if made = have == nil; made {
			if err := w.CreateCollection(r.db, coll, nothingMore); err != nil {
				return err
			}
			have = w.Collection(r.db, coll)
		}
		before = len(have.Indexes())
		for _, spec := range specs {
			if c.s.version.wire < wire50 {
				if err := sameSignature(have.Indexes(), spec); err != nil {
					return err
				}
			}
			if _, err := w.CreateIndex(r.db, coll, spec); err != nil {
				if e := asError(err); e.Code == codeDuplicateKey && !made {
					id := newUUID()
					e.Message = fmt.Sprintf("Index build failed: %s: Collection %s.%s ( %s ) :: caused by :: %s", uuidText(id[:]), r.db, coll, uuidText(have.Info().UUID.Data), e.Message)
				}
				return err
			}
			have = w.Collection(r.db, coll)
		}
		after = len(have.Indexes())
		return nil
	})
	if err != nil {
		return err
	}
	c.out.int32("numIndexesBefore", int32(before))
	c.out.int32("numIndexesAfter", int32(after))
	if before < after {
		c.out.bool("createdCollectionAutomatically", made)
	}
	if c.s.node.Status().Role != repl.Standalone {
		if quorum.Type != 0 {
			c.out.value("commitQuorum", quorum)
		} else {
			c.out.string("commitQuorum", "votingMembers")
		}
	}
	switch {
	case before == after:
		c.out.string("note", "all indexes already exist")
	case after < before+len(specs):
		c.out.string("note", "index already exists")
	}
	return nil
}

// sameSignature refuses an index that differs from one on the same key only in being unique or sparse:
// before 5.0 these were no part of what tells indexes apart.
func sameSignature(have []repl.IndexInfo, spec bson.Raw) error {
	name, _ := lookup(spec, "name")
	key, _ := lookup(spec, "key")
	for _, ix := range have {
		differs := isTrue(spec, "unique") != ix.Unique || isTrue(spec, "sparse") != ix.Sparse
		switch {
		case !differs || !sameKeys(ix.Key, key.Value) || ix.Name == idIndexName:
		case ix.Name == string(text(name)):
			return refuse(86, "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: %s, existing index: %s", shown(spec), shown(ix.Spec))
		default:
			return refuse(85, "Index already exists with a different name: %s", ix.Name)
		}
	}
	return nil
}

const idIndexName = "_id_"

// uuidText is a UUID as it is written.
func uuidText(id []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func isTrue(doc bson.Raw, key string) bool {
	v, ok := lookup(doc, key)
	return ok && query.Truthy(v)
}

func (r *request) indexSpecs(specs []bson.Raw, given bool) ([]bson.Raw, error) {
	for i := range r.msg.seqs {
		specs, given = r.msg.seqs[i].docs, true // dispatch has checked the name
	}
	if !given {
		return nil, errMissing(r.name, "indexes")
	}
	if len(specs) == 0 {
		return nil, refuse(codeBadValue, "Must specify at least one index to create")
	}
	return specs, nil
}

// idIndexKey is { _id: 1 }.
var idIndexKey = []byte{14, 0, 0, 0, byte(bson.TypeInt32), '_', 'i', 'd', 0, 1, 0, 0, 0, 0}

// indexSpec checks an index and returns it as listIndexes will show it.
func indexSpec(spec bson.Raw) (bson.Raw, error) {
	var key bson.Raw
	name, hasName, version := "", false, int64(2)
	var options builder
	bad := func(code int32, format string, args ...any) error {
		e := refuse(code, format, args...)
		e.Message = "Error in specification " + shown(spec) + " :: caused by :: " + e.Message
		return e
	}
	p := read("createIndexes.indexes", spec)
	for p.next() {
		switch k := string(p.f.key); k {
		case "key":
			if p.f.value.Type != bson.TypeEmbeddedDocument {
				return nil, bad(codeTypeMismatch, "The field 'key' must be an object, but got %s", query.TypeName(p.f.value.Type))
			}
			key = p.document()
		case "name":
			if p.f.value.Type != bson.TypeString {
				return nil, bad(codeTypeMismatch, "The field 'name' must be a string, but got %s", query.TypeName(p.f.value.Type))
			}
			name, hasName = p.text(), true
		case "v":
			n, ok := integral(p.f.value)
			if !ok || n != 1 && n != 2 {
				return nil, bad(codeCannotCreateIndex, "Invalid index specification; cannot create an index with v=%d", n)
			}
			version = n
		case "ns", "background":
		case "unique", "hidden", "sparse":
			if p.flag() {
				options.bool(k, true)
			}
		case "expireAfterSeconds", "partialFilterExpression", "collation", "storageEngine", "weights", "default_language",
			"language_override", "textIndexVersion", "2dsphereIndexVersion", "bits", "min", "max", "wildcardProjection", "prepareUnique", "bucketSize":
			return nil, bad(codeNotImplemented, "the index option '%s' is not supported", k)
		default:
			return nil, bad(197, "The field '%s' is not valid for an index specification.", k)
		}
	}
	switch {
	case p.err != nil:
		return nil, p.err
	case key == nil:
		return nil, bad(codeFailedToParse, "The 'key' field is a required property of an index specification")
	case !hasName:
		return nil, bad(codeFailedToParse, "The 'name' field is a required property of an index specification")
	case name == "":
		return nil, bad(codeCannotCreateIndex, "index name cannot be empty")
	}
	if err := checkIndexKey(key); err != nil {
		return nil, bad(err.Code, "%s", err.Message)
	}
	if len(options.b) > 0 && sameKeys(key, idIndexKey) {
		option, _ := cstring(options.b[1:])
		return nil, refuse(197, "The field '%s' is not valid for an _id index specification. Specification: %s", option, shown(spec))
	}
	w := builder{}
	at := w.open()
	w.int32("v", int32(version))
	w.raw("key", key)
	w.string("name", name)
	w.b = append(w.b, options.b...)
	w.close(at)
	return w.b, nil
}

// shown is a document as the server writes it in a message.
func shown(doc []byte) string {
	return query.Text(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc})
}

func checkIndexKey(key bson.Raw) *query.Error {
	n := 0
	for s := scan(key); ; n++ {
		f, ok := s.next()
		if !ok {
			break
		}
		if f.value.Type == bson.TypeString {
			return refuse(codeNotImplemented, "indexes of type '%s' are not supported", text(f.value))
		}
		direction, ok := number(f.value)
		if !ok {
			return refuse(codeCannotCreateIndex, "Values in v:2 index key pattern cannot be of type %s. Only numbers > 0, numbers < 0, and strings are allowed.", query.TypeName(f.value.Type))
		}
		if direction == 0 {
			return refuse(codeCannotCreateIndex, "Values in the index key pattern cannot be 0.")
		}
		if len(f.key) == 0 || strings.Contains("."+string(f.key)+".", "..") {
			return refuse(codeCannotCreateIndex, "Index keys cannot contain an empty field.")
		}
		if err := checkIndexPath(string(f.key)); err != nil {
			return err
		}
	}
	if n == 0 {
		return refuse(codeCannotCreateIndex, "Index keys cannot be an empty object")
	}
	return nil
}

// checkIndexPath refuses names with a dollar sign in a path that is to be indexed, but for those of a reference.
func checkIndexPath(path string) *query.Error {
	parts := strings.Split(path, ".")
	wildcard := parts[len(parts)-1] == "$**"
	if wildcard {
		parts = parts[:len(parts)-1]
	}
	for i, part := range parts {
		if strings.HasPrefix(part, "$") && !(i > 0 && (part == "$db" || part == "$id" || part == "$ref")) {
			return refuse(codeCannotCreateIndex, "Index key contains an illegal field name: field name starts with '$'.")
		}
	}
	if wildcard {
		return refuse(codeNotImplemented, "wildcard indexes are not supported")
	}
	return nil
}

// sameKeys compares index keys: the same fields in the same order and direction.
func sameKeys(a, b []byte) bool {
	x, y := scan(a), scan(b)
	for {
		f, ok1 := x.next()
		g, ok2 := y.next()
		if !ok1 || !ok2 {
			return ok1 == ok2
		}
		m, _ := number(f.value)
		n, _ := number(g.value)
		if string(f.key) != string(g.key) || m != n {
			return false
		}
	}
}

func listIndexes(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	size := int64(-1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "cursor":
			size = p.cursorOptions()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	var docs []bson.Raw
	err = c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		have := s.Collection(r.db, coll)
		if have == nil {
			return refuse(codeNamespaceNotFound, "ns does not exist: %s.%s", r.db, coll)
		}
		for _, ix := range have.Indexes() {
			docs = append(docs, ix.Spec)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.appendCursor(r, coll, results{docs: docs}, size, false, false)
}

func dropIndexes(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	var index bson.RawValue
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "index":
			index = p.f.value
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if index.Type == 0 {
		return errMissing(r.name, "index")
	}
	before, all := 0, false
	err = c.write(r, func(w repl.Writer) error {
		have := w.Collection(r.db, coll)
		if have == nil {
			return refuse(codeNamespaceNotFound, "ns not found %s.%s", r.db, coll)
		}
		indexes := have.Indexes()
		before = len(indexes)
		names, every, err := droppable(indexes, index)
		if err != nil {
			return err
		}
		all = every
		for _, name := range names {
			if err := w.DropIndex(r.db, coll, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.out.int32("nIndexesWas", int32(before))
	if all {
		c.out.string("msg", "non-_id indexes dropped for collection")
	}
	return nil
}

// droppable returns the names of the indexes that dropIndexes' argument means: a
// name, "*", a key, or several names.
func droppable(have []repl.IndexInfo, index bson.RawValue) (names []string, all bool, err error) {
	byName := func(name string) error {
		if name == "_id_" {
			return refuse(codeInvalidOptions, "cannot drop _id index")
		}
		for _, ix := range have {
			if ix.Name == name {
				names = append(names, name)
				return nil
			}
		}
		return refuse(codeIndexNotFound, "index not found with name [%s]", name)
	}
	switch index.Type {
	case bson.TypeString:
		name := string(text(index))
		if name != "*" {
			err := byName(name)
			return names, false, err
		}
		for _, ix := range have {
			if ix.Name != "_id_" {
				names = append(names, ix.Name)
			}
		}
		return names, true, nil
	case bson.TypeArray:
		for s := scan(index.Value); ; {
			f, ok := s.next()
			if !ok {
				return names, false, nil
			}
			if f.value.Type != bson.TypeString {
				return nil, false, refuse(codeTypeMismatch, "BSON field 'dropIndexes.index' is the wrong type 'array', expected types '[string']")
			}
			if err := byName(string(text(f.value))); err != nil {
				return nil, false, err
			}
		}
	case bson.TypeEmbeddedDocument:
		for _, ix := range have {
			if sameKeys(ix.Key, index.Value) {
				err := byName(ix.Name)
				return names, false, err
			}
		}
		return nil, false, refuse(codeIndexNotFound, "can't find index with key: %s", shown(index.Value))
	}
	return nil, false, errType("dropIndexes", "index", index.Type, "string", "object")
}
