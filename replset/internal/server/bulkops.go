package server

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// bulkKind is what an operation of a bulkWrite does; its first field says it.
type bulkKind uint8

const (
	bulkInsert bulkKind = iota
	bulkUpdate
	bulkDelete
)

// bulkOp is one operation of a bulkWrite.
type bulkOp struct {
	kind     bulkKind
	space    int64 // its namespace, by its place in nsInfo
	document bson.Raw
	update   *updateStatement
	delete   *deleteStatement
}

func (op *bulkOp) multi() bool {
	return op.update != nil && op.update.multi || op.delete != nil && op.delete.many
}

// bulkSpace is one entry of nsInfo. err is why nothing can be written to it, which matters
// once an operation is to.
type bulkSpace struct {
	namespace
	err error
}

// parseBulk reads a bulkWrite as a whole: what is malformed anywhere in it is refused before
// anything is written.
func parseBulk(b *batch) (*bulkRequest, error) {
	q := &bulkRequest{batch: maxMessageSize} // all that fits
	r := b.r
	var ops, spaces []bson.Raw
	hasOps, hasSpaces := false, false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "ops":
			ops, hasOps = p.documents(), p.given()
		case "nsInfo":
			spaces, hasSpaces = p.documents(), p.given()
		case "cursor":
			if size := p.cursorOptions(); size >= 0 {
				q.batch = min(size, q.batch)
			}
		case "errorsOnly":
			q.errorsOnly = p.strictFlag()
		case "let":
			p.refuseVariables(b.c.s.version.wire, nil)
		default:
			if !b.option(&p) {
				p.unknown()
			}
		}
	}
	if docs, ok := r.sequence("ops"); ok {
		ops, hasOps = docs, true
	}
	if docs, ok := r.sequence("nsInfo"); ok {
		spaces, hasSpaces = docs, true
	}
	if p.err != nil {
		return nil, p.err
	}
	var err error
	if hasOps {
		q.ops = make([]bulkOp, len(ops))
		for i, doc := range ops {
			if q.ops[i], err = parseBulkOp(doc); err != nil {
				return nil, err
			}
		}
	}
	q.spaces = make([]bulkSpace, len(spaces))
	names := make([]string, len(spaces))
	for i, doc := range spaces {
		if names[i], q.spaces[i].uuid, err = parseBulkSpace(doc); err != nil {
			return nil, err
		}
	}
	switch {
	case !hasOps:
		return nil, errMissing(r.name, "ops")
	case !hasSpaces:
		return nil, errMissing(r.name, "nsInfo")
	}
	if err := b.checkLength(len(q.ops)); err != nil {
		return nil, err
	}
	for i, name := range names {
		if err := q.spaces[i].take(name); err != nil {
			return nil, err
		}
	}
	for i := range q.ops {
		if q.ops[i].space >= int64(len(q.spaces)) {
			return nil, refuse(codeBadValue, "BulkWrite ops entry %s has an invalid nsInfo index.", query.Text(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: ops[i]}))
		}
	}
	return q, nil
}

// parseBulkOp reads an operation. The fields of an update and of a delete have other names
// here than in those commands.
func parseBulkOp(doc bson.Raw) (op bulkOp, err error) {
	p := read("bulkWrite.ops", doc)
	kind := ""
	if len(p.fields) > 0 {
		kind = string(p.fields[0].key)
	}
	switch kind {
	case "insert":
		op.kind = bulkInsert
		err = op.parseInsert(&p)
	case "update":
		op.kind = bulkUpdate
		err = op.parseUpdate(&p)
	case "delete":
		op.kind = bulkDelete
		err = op.parseDelete(&p)
	default:
		return op, errUnknownField("bulkWrite", kind)
	}
	return op, err
}

// place reads an operation's first field, which names its namespace.
func (op *bulkOp) place(p *fieldReader) {
	if !p.given() {
		p.fail(errMissing(p.where, string(p.f.key)))
	}
	op.space = p.count()
}

func (op *bulkOp) parseInsert(p *fieldReader) error {
	for p.next() {
		switch string(p.f.key) {
		case "insert":
			op.place(p)
		case "document":
			op.document = p.document()
		default:
			p.unknown()
		}
	}
	if p.err == nil && op.document == nil {
		p.err = errMissing(p.where, "document")
	}
	return p.err
}

func (op *bulkOp) parseUpdate(p *fieldReader) error {
	u := &updateStatement{}
	op.update = u
	for p.next() {
		switch string(p.f.key) {
		case "update":
			op.place(p)
		case "filter":
			u.filter = p.document()
		case "updateMods":
			u.update = p.modification()
		case "constants":
			u.constants = p.document()
		case "multi":
			u.multi = p.strictFlag()
		case "upsert":
			u.upsert = p.strictFlag()
		case "upsertSupplied":
			u.supplied = p.strictFlag()
		case "sort":
			u.sort = p.document()
		case "arrayFilters":
			u.arrayFilters = p.documents()
		case "collation":
			p.simpleCollation()
		case "hint":
			u.hint = p.hint()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
	case u.filter == nil:
		p.err = errMissing(p.where, "filter")
	case u.update.Type == 0:
		p.err = errMissing(p.where, "updateMods")
	}
	return p.err
}

func (op *bulkOp) parseDelete(p *fieldReader) error {
	d := &deleteStatement{}
	op.delete = d
	for p.next() {
		switch string(p.f.key) {
		case "delete":
			op.place(p)
		case "filter":
			d.filter = p.document()
		case "multi":
			d.many = p.strictFlag()
		case "collation":
			p.simpleCollation()
		case "hint":
			d.hint = p.hint()
		default:
			p.unknown()
		}
	}
	if p.err == nil && d.filter == nil {
		p.err = errMissing(p.where, "filter")
	}
	return p.err
}

func parseBulkSpace(doc bson.Raw) (name string, uuid []byte, err error) {
	named := false
	p := read("bulkWrite.nsInfo", doc)
	for p.next() {
		switch key := string(p.f.key); key {
		case "ns":
			name, named = p.text(), p.given()
		case "collectionUUID":
			uuid = p.uuid()
		case "isTimeseriesNamespace":
			if p.strictFlag() {
				p.fail(refuse(7934201, "'isTimeseriesNamespace' parameter can only be set when the request is sent on 'system.buckets' namespace to each shard"))
			}
		case "encryptionInformation", "shardVersion", "databaseVersion":
			if p.given() {
				p.fail(refuse(codeNotImplemented, "bulkWrite with %s is not supported", key))
			}
		default:
			p.unknown()
		}
	}
	if p.err == nil && !named {
		p.err = errMissing(p.where, "ns")
	}
	return name, uuid, p.err
}

// uuid reads a UUID; null is none.
func (p *fieldReader) uuid() []byte {
	if p.f.value.Type != bson.TypeBinary {
		p.wrongType("binData")
		return nil
	}
	subtype, data := p.f.value.Binary()
	if subtype != bson.TypeBinaryUUID || len(data) != 16 {
		p.fail(refuse(codeInvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype"))
		return nil
	}
	return data
}

// take reads an entry's name. What is no namespace at all is refused at once.
func (s *bulkSpace) take(name string) error {
	s.db, s.coll, _ = strings.Cut(name, ".")
	if s.coll == "" {
		name = s.db
	}
	if s.coll == "" || checkDatabaseName(s.db) != nil {
		return refuse(codeInvalidNamespace, "Invalid namespace specified for bulkWrite: '%s'", name)
	}
	if s.err = checkCollectionName(s.db, []byte(s.coll)); s.err == nil {
		s.err = checkWriteName(s.db, s.coll)
	}
	if s.err == nil {
		s.err = checkWritable(s.db)
	}
	return nil
}
