package server

import (
	"bytes"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var catalogCommands = []*command{
	{name: "create", run: runCreate, where: primaryOnly, writeConcern: true, inV1: true},
	{name: "drop", run: runDrop, where: primaryOnly, writeConcern: true, inV1: true},
	{name: "dropDatabase", run: runDropDatabase, where: primaryOnly, writeConcern: true, inV1: true},
	{name: "listCollections", run: listCollections, where: optIn, readable: true, inV1: true},
	{name: "listDatabases", run: listDatabases, where: optIn, readable: true, admin: true, inV1: true},
}

func runCreate(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	p := r.fields()
	for p.next() {
		switch key := string(p.f.key); key {
		case "collation":
			p.simpleCollation()
		case "autoIndexId", "capped":
			if on := p.flag(); on == (key == "capped") {
				p.fail(refuse(codeNotImplemented, "create with %s is not supported", key))
			}
		case "validator", "viewOn", "pipeline", "timeseries", "clusteredIndex", "expireAfterSeconds", "size", "max",
			"validationLevel", "validationAction", "storageEngine", "indexOptionDefaults", "changeStreamPreAndPostImages", "encryptedFields", "idIndex":
			p.fail(refuse(codeNotImplemented, "create with %s is not supported", key))
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if err := checkCreateName(r.db, coll); err != nil {
		return err
	}
	return c.write(r, func(w repl.Writer) error {
		// To create what is there with the same options has been no error since 7.0. There
		// are no others: what would make them differ is refused above.
		if c.s.version.wire >= wire70 && w.Collection(r.db, coll) != nil {
			return nil
		}
		return w.CreateCollection(r.db, coll, nothingMore)
	})
}

func runDrop(c *conn, r *request) error {
	coll, err := r.collection()
	if err != nil {
		return err
	}
	if err := r.noFields(); err != nil {
		return err
	}
	indexes := 0
	err = c.write(r, func(w repl.Writer) error {
		if have := w.Collection(r.db, coll); have != nil {
			indexes = len(have.Indexes())
			return w.DropCollection(r.db, coll)
		}
		indexes = 0
		if c.s.version.wire < wire70 { // a server has passed over what is not there since
			return refuse(codeNamespaceNotFound, "ns not found")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if indexes > 0 {
		c.out.int32("nIndexesWas", int32(indexes))
		c.out.string("ns", r.db+"."+coll)
	}
	return nil
}

func runDropDatabase(c *conn, r *request) error {
	if n, ok := integral(r.first); !ok || n != 1 {
		return refuse(5255100, "Have to pass 1 as 'dropDatabase' parameter")
	}
	if err := r.noFields(); err != nil {
		return err
	}
	switch r.db {
	case "admin", "local", "config":
		return refuse(codeIllegalOperation, "Dropping the '%s' database is prohibited.", r.db)
	}
	there := false
	err := c.write(r, func(w repl.Writer) error {
		if there = slices.Contains(w.Databases(), r.db); !there {
			return nil
		}
		return w.DropDatabase(r.db)
	})
	if err != nil {
		return err
	}
	if there {
		c.out.string("dropped", r.db)
	}
	return nil
}

func listCollections(c *conn, r *request) error {
	nameOnly := false
	var filter bson.Raw
	size := int64(-1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "nameOnly":
			nameOnly = p.flag()
		case "filter":
			filter = p.document()
		case "cursor":
			size = p.cursorOptions()
		case "authorizedCollections":
			p.flag()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	var docs []bson.Raw
	err := c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		for _, info := range s.Collections(r.db) {
			var w builder
			at := w.open()
			w.string("name", info.Name)
			w.string("type", "collection")
			if !nameOnly {
				options := info.Options
				if len(options) < 5 {
					options = nothingMore
				}
				w.raw("options", options)
				in := w.doc("info")
				w.bool("readOnly", false)
				w.binary("uuid", info.UUID.Subtype, info.UUID.Data)
				w.close(in)
				if coll := s.Collection(r.db, info.Name); coll != nil && len(coll.Indexes()) > 0 {
					in = w.doc("idIndex")
					w.int32("v", 2)
					key := w.doc("key")
					w.int32("_id", 1)
					w.close(key)
					w.string("name", "_id_")
					w.close(in)
				}
			}
			w.close(at)
			docs = append(docs, w.b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(docs, func(a, b bson.Raw) int {
		x, _ := lookup(a, "name")
		y, _ := lookup(b, "name")
		return bytes.Compare(text(x), text(y))
	})
	if docs, err = filterDocs(docs, filter); err != nil {
		return err
	}
	return c.appendCursor(r, "$cmd.listCollections", results{docs: docs}, size, false, false)
}

func listDatabases(c *conn, r *request) error {
	nameOnly := false
	var filter bson.Raw
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "nameOnly":
			nameOnly = p.flag()
		case "filter":
			filter = p.document()
		case "authorizedDatabases":
			p.flag()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	var docs []bson.Raw
	total := int64(0)
	err := c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		names := slices.Clone(s.Databases())
		slices.Sort(names)
		for _, name := range names {
			size := int64(0)
			if !nameOnly {
				for _, info := range s.Collections(name) {
					if coll := s.Collection(name, info.Name); coll != nil {
						coll.Each(func(doc bson.Raw) bool {
							size += int64(len(doc))
							return true
						})
					}
				}
			}
			var w builder
			at := w.open()
			w.string("name", name)
			if !nameOnly {
				w.int64("sizeOnDisk", size)
				w.bool("empty", size == 0)
			}
			w.close(at)
			docs = append(docs, w.b)
			total += size
		}
		return nil
	})
	if err != nil {
		return err
	}
	if docs, err = filterDocs(docs, filter); err != nil {
		return err
	}
	at := c.out.array("databases")
	for i, doc := range docs {
		c.out.rawAt(i, doc)
	}
	c.out.close(at)
	if !nameOnly {
		c.out.int64("totalSize", total)
		c.out.int64("totalSizeMb", total>>20)
	}
	return nil
}

// cursorOptions reads {batchSize: n}; -1 is the default.
func (p *fieldReader) cursorOptions() int64 {
	doc := p.document()
	size := int64(-1)
	in := read("cursor", doc)
	for in.next() {
		switch string(in.f.key) {
		case "batchSize":
			size = in.countOr(-1)
		default:
			in.unknown()
		}
	}
	if in.err != nil {
		p.fail(in.err)
	}
	return size
}
