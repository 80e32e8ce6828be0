package server

import (
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var statsCommands = []*command{
	{name: "dbStats", aliases: []string{"dbstats"}, run: dbStats, where: optIn, readable: true},
	{name: "collStats", aliases: []string{"collstats"}, run: collStats, where: optIn, readable: true},
	{name: "getDefaultRWConcern", run: getDefaultRWConcern, admin: true, where: optIn, readable: true},
}

// sizes are what a collection takes. There is no storage that would need more than the
// documents themselves, and an index that is not unique takes nothing.
type sizes struct {
	collections, indexes int
	objects, data        int64
}

func (z *sizes) add(coll repl.Collection) {
	if coll == nil {
		return
	}
	z.collections++
	z.indexes += len(coll.Indexes())
	z.objects += int64(coll.Len())
	coll.Each(func(doc bson.Raw) bool {
		z.data += int64(len(doc))
		return true
	})
}

func (z *sizes) average() float64 {
	if z.objects == 0 {
		return 0
	}
	return float64(z.data) / float64(z.objects)
}

// scale reads the unit to give sizes in.
func (p *fieldReader) scale() int64 {
	f, ok := number(p.f.value)
	if !ok {
		p.wrongType("long", "int", "decimal", "double")
		return 1
	}
	if f < 1 || f > math.MaxInt32 {
		p.fail(refuse(codeOutOfBounds, "BSON field 'scale' value must be >= 1, actual value '%v'", f))
		return 1
	}
	return int64(f)
}

func dbStats(c *conn, r *request) error {
	scale := int64(1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "scale":
			scale = p.scale()
		case "freeStorage":
			p.count() // there is none
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	var z sizes
	err := c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		for _, info := range s.Collections(r.db) {
			z.add(s.Collection(r.db, info.Name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	w := &c.out
	data := float64(z.data / scale)
	w.string("db", r.db)
	w.int64("collections", int64(z.collections))
	w.int64("views", 0)
	w.int64("objects", z.objects)
	w.double("avgObjSize", z.average())
	w.double("dataSize", data)
	w.double("storageSize", data)
	w.int64("indexes", int64(z.indexes))
	w.double("indexSize", 0)
	w.double("totalSize", data)
	w.int64("scaleFactor", scale)
	return nil
}

func collStats(c *conn, r *request) error {
	name, err := r.collection()
	if err != nil {
		return err
	}
	scale := int64(1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "scale":
			scale = p.scale()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	return c.s.node.View(r.readLevel, func(s repl.Snapshot) error {
		c.out.string("ns", r.db+"."+name)
		appendStorageStats(&c.out, s.Collection(r.db, name), scale)
		return nil
	})
}

// appendStorageStats tells of a collection, which may be none: that is an empty one.
func appendStorageStats(w *builder, coll repl.Collection, scale int64) {
	var z sizes
	z.add(coll)
	w.int64("size", z.data/scale)
	w.int64("count", z.objects)
	if z.objects > 0 {
		w.int64("avgObjSize", int64(z.average()))
	}
	w.int64("numOrphanDocs", 0)
	w.int64("storageSize", z.data/scale)
	w.int64("freeStorageSize", 0)
	appendCapped(w, coll)
	w.int32("nindexes", int32(z.indexes))
	w.strings("indexBuilds", nil)
	w.int64("totalIndexSize", 0)
	w.int64("totalSize", z.data/scale)
	at := w.doc("indexSizes")
	if coll != nil {
		for _, index := range coll.Indexes() {
			w.int64(index.Name, 0)
		}
	}
	w.close(at)
	w.int32("scaleFactor", int32(scale))
}

// appendCapped tells how large a collection may become: only the oplog has a limit.
func appendCapped(w *builder, coll repl.Collection) {
	if coll == nil || !capped(coll) {
		w.bool("capped", false)
		return
	}
	w.bool("capped", true)
	for _, of := range [][2]string{{"max", "max"}, {"maxSize", "size"}} {
		if v, ok := lookup(coll.Info().Options, of[1]); ok {
			w.value(of[0], v)
		}
	}
}

func capped(coll repl.Collection) bool {
	v, ok := lookup(coll.Info().Options, "capped")
	return ok && query.Truthy(v)
}

// collStatsStage is the document that a pipeline's leading $collStats makes.
func (c *conn) collStatsStage(s repl.Snapshot, db, name string, spec bson.RawValue) (bson.Raw, error) {
	if spec.Type != bson.TypeEmbeddedDocument {
		return nil, refuse(40601, "$collStats must take a nested object but found a type that is %s", query.TypeName(spec.Type))
	}
	coll := s.Collection(db, name)
	var w builder
	at := w.open()
	w.string("ns", db+"."+name)
	w.string("host", c.s.node.Status().Me)
	w.date("localTime", time.Now())
	p := read("$collStats", spec.Value)
	for p.next() {
		switch key := string(p.f.key); key {
		case "storageStats":
			scale := int64(1)
			in := read("$collStats.storageStats", p.document())
			for in.next() {
				switch string(in.f.key) {
				case "scale":
					scale = in.scale()
				default:
					in.unknown()
				}
			}
			p.fail(in.err)
			one := w.doc("storageStats")
			appendStorageStats(&w, coll, scale)
			w.close(one)
		case "count":
			p.document()
			if coll == nil {
				return nil, refuse(codeNamespaceNotFound, "Unable to retrieve count in $collStats stage :: caused by :: Collection [%s.%s] not found.", db, name)
			}
			w.int64("count", int64(coll.Len()))
		case "latencyStats", "queryExecStats", "operationStats":
			p.fail(refuse(codeNotImplemented, "$collStats with %s is not supported", key))
		default:
			p.unknown()
		}
	}
	w.close(at)
	return w.b, p.err
}

// getDefaultRWConcern tells what a set uses that nobody has told otherwise.
func getDefaultRWConcern(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "inMemory":
			p.flag()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if c.s.node.Status().Role == repl.Standalone {
		return refuse(51300, "'getDefaultRWConcern' is not supported on standalone nodes.")
	}
	w := &c.out
	w.date("localUpdateWallClockTime", time.Now())
	if c.s.version.wire < wire50 {
		return nil // there is no default but what somebody has set
	}
	at := w.doc("defaultReadConcern")
	w.string("level", "local")
	w.close(at)
	at = w.doc("defaultWriteConcern")
	if c.majorityByDefault() {
		w.string("w", "majority")
	} else {
		w.int32("w", 1)
	}
	w.int32("wtimeout", 0)
	w.close(at)
	w.string("defaultWriteConcernSource", "implicit")
	w.string("defaultReadConcernSource", "implicit")
	return nil
}
