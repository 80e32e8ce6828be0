package server

import (
	"bytes"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// The messages below are those of the server's generated parsers, which name a
// field by its place: "find.limit".

func errType(where, name string, got bson.Type, want ...string) *query.Error {
	if len(want) == 1 {
		return refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'", where, name, query.TypeName(got), want[0])
	}
	// The quote inside the bracket is the server's.
	return refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected types '[%s']", where, name, query.TypeName(got), strings.Join(want, ", "))
}

func errUnknownField(where, name string) *query.Error {
	return refuse(codeUnknownField, "BSON field '%s.%s' is an unknown field.", where, name)
}

func errMissing(where, name string) *query.Error {
	return refuse(codeMissingField, "BSON field '%s.%s' is missing but a required field", where, name)
}

// fieldReader reads the fields of a command, or of a document in one, each at
// most once and of the type it must be:
//
//	for p.next() {
//		switch string(p.f.key) { … default: p.unknown() }
//	}
//
// The first error ends it and stays.
type fieldReader struct {
	where  string // names the fields in messages
	fields []field
	at     int
	f      field
	err    error
}

// read reads a document's fields; where is its place in the command.
func read(where string, doc []byte) fieldReader {
	p := fieldReader{where: where}
	for s := scan(doc); ; {
		f, ok := s.next()
		if !ok {
			return p
		}
		p.fields = append(p.fields, f)
	}
}

func (p *fieldReader) next() bool {
	if p.err != nil || p.at == len(p.fields) {
		return false
	}
	p.f = p.fields[p.at]
	for i := range p.at {
		if bytes.Equal(p.fields[i].key, p.f.key) {
			p.fail(refuse(codeDuplicateField, "BSON field '%s.%s' is a duplicate field", p.where, p.f.key))
			return false
		}
	}
	p.at++
	return true
}

func (p *fieldReader) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// given says that the field has a value: to the server's parsers null is none.
func (p *fieldReader) given() bool {
	return p.f.value.Type != bson.TypeNull && p.f.value.Type != bson.TypeUndefined
}

// wrongType notes that the field is none of the types it could be.
func (p *fieldReader) wrongType(want ...string) {
	if p.given() {
		p.fail(errType(p.where, string(p.f.key), p.f.value.Type, want...))
	}
}

func (p *fieldReader) unknown() { p.fail(errUnknownField(p.where, string(p.f.key))) }

func (p *fieldReader) document() bson.Raw {
	if p.f.value.Type != bson.TypeEmbeddedDocument {
		p.wrongType("object")
		return nil
	}
	return bson.Raw(p.f.value.Value)
}

func (p *fieldReader) text() string {
	if p.f.value.Type != bson.TypeString {
		p.wrongType("string")
		return ""
	}
	return string(text(p.f.value))
}

// flag reads a boolean, for which the server takes a number too.
func (p *fieldReader) flag() bool {
	switch p.f.value.Type {
	case bson.TypeBoolean, bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return query.Truthy(p.f.value)
	}
	p.wrongType("bool", "long", "int", "decimal", "double")
	return false
}

// strictFlag reads a boolean where the server takes nothing else.
func (p *fieldReader) strictFlag() bool {
	if p.f.value.Type != bson.TypeBoolean {
		p.wrongType("bool")
		return false
	}
	return p.f.value.Boolean()
}

// strictInt reads an int where the server takes no other number.
func (p *fieldReader) strictInt() int32 {
	if p.f.value.Type != bson.TypeInt32 {
		p.wrongType("int")
		return 0
	}
	return p.f.value.Int32()
}

// strictInts reads an array of those; it is not nil when there is one.
func (p *fieldReader) strictInts() []int32 {
	if p.f.value.Type != bson.TypeArray {
		p.wrongType("array")
		return nil
	}
	list := []int32{}
	for s := scan(p.f.value.Value); ; {
		e, ok := s.next()
		if !ok {
			return list
		}
		if e.value.Type != bson.TypeInt32 {
			p.fail(errType(p.where+"."+string(p.f.key), string(e.key), e.value.Type, "int"))
			return nil
		}
		list = append(list, e.value.Int32())
	}
}

// count reads a number that must not be negative.
func (p *fieldReader) count() int64 { return p.countOr(0) }

// countOr is count with what null stands for.
func (p *fieldReader) countOr(none int64) int64 {
	n, ok := integral(p.f.value)
	if !ok {
		p.wrongType("long", "int", "decimal", "double")
		return none
	}
	if n < 0 {
		p.fail(refuse(codeOutOfBounds, "BSON field '%s' value must be >= 0, actual value '%d'", p.f.key, n))
		return 0
	}
	return n
}

// documents reads an array of documents, or the document sequence of that name.
func (p *fieldReader) documents() []bson.Raw {
	if p.f.value.Type != bson.TypeArray {
		p.wrongType("array")
		return nil
	}
	docs := []bson.Raw{}
	for s := scan(p.f.value.Value); ; {
		e, ok := s.next()
		if !ok {
			return docs
		}
		if e.value.Type != bson.TypeEmbeddedDocument {
			p.fail(refuse(codeTypeMismatch, "BSON field '%s.%s.%s' is the wrong type '%s', expected type 'object'", p.where, p.f.key, e.key, query.TypeName(e.value.Type)))
			return nil
		}
		docs = append(docs, bson.Raw(e.value.Value))
	}
}

// simpleCollation accepts the collation that compares as this server does, and
// none other.
func (p *fieldReader) simpleCollation() {
	doc := p.document()
	if p.err != nil || len(doc) <= 5 {
		return
	}
	locale, ok := lookup(doc, "locale")
	switch {
	case !ok:
		p.fail(errMissing("collation", "locale"))
	case locale.Type != bson.TypeString:
		p.fail(errType("collation", "locale", locale.Type, "string"))
	case string(text(locale)) != "simple":
		p.fail(refuse(codeBadValue, "collation with locale '%s' is not supported, only 'simple' is", text(locale)))
	}
}

// checkDatabaseName refuses what cannot be a database.
func checkDatabaseName(db string) error {
	if len(db) == 0 || len(db) >= 64 || strings.ContainsAny(db, "/\\. \"$\x00") {
		return refuse(codeInvalidNamespace, "Invalid database name: '%s'", db)
	}
	return nil
}

// collection reads the name of the collection that a command is for.
func (r *request) collection() (string, error) {
	if r.first.Type != bson.TypeString {
		return "", refuse(codeInvalidNamespace, "collection name has invalid type %s", query.TypeName(r.first.Type))
	}
	name := text(r.first)
	if err := checkCollectionName(r.db, name); err != nil {
		return "", err
	}
	return string(name), nil
}

func checkCollectionName(db string, name []byte) error {
	bad := len(name) == 0 || name[0] == '.' || db == externalDB
	for _, c := range name {
		bad = bad || c == 0 || c == '$'
	}
	if bad {
		return refuse(codeInvalidNamespace, "Invalid namespace specified '%s.%s'", db, name)
	}
	if len(db)+1+len(name) > 255 {
		return refuse(codeInvalidNamespace, "Fully qualified namespace is too long. Namespace: %s.%s Max: 255", db, name)
	}
	return nil
}

// fields reads the command's own fields.
func (r *request) fields() fieldReader { return fieldReader{where: r.name, fields: r.args} }

// textList reads an array of strings.
func (p *fieldReader) textList() []string {
	if p.f.value.Type != bson.TypeArray {
		p.wrongType("array")
		return nil
	}
	var list []string
	for s := scan(p.f.value.Value); ; {
		e, ok := s.next()
		if !ok {
			return list
		}
		if e.value.Type != bson.TypeString {
			p.fail(errType(p.where+"."+string(p.f.key), string(e.key), e.value.Type, "string"))
			return nil
		}
		list = append(list, string(text(e.value)))
	}
}
