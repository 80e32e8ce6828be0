package repl

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// localDB is the database that is each member's own. It shows what a member keeps of
// replication, as a server's does, and can only be read.
const (
	localDB    = "local"
	oplogColl  = "oplog.rs"
	configColl = "system.replset"
)

// local is what a member's database local holds at one moment; nil for a server
// that has never been a member.
type local struct{ colls []*localCollection }

// localCollection is a Collection that is made when it is looked at.
type localCollection struct {
	info CollectionInfo
	n    int
	doc  func(i int) bson.Raw
}

func (c *localCollection) Info() CollectionInfo { return c.info }
func (c *localCollection) Len() int             { return c.n }

// Indexes are none, not even by _id, which oplog entries do not have.
func (c *localCollection) Indexes() []IndexInfo { return nil }

func (c *localCollection) ByID(id bson.RawValue) (found bson.Raw, ok bool) {
	c.Each(func(doc bson.Raw) bool {
		v, err := doc.LookupErr("_id")
		if ok = err == nil && v.Equal(id); ok {
			found = doc
		}
		return !ok
	})
	return found, ok
}

func (c *localCollection) Each(yield func(bson.Raw) bool) {
	for i := range c.n {
		if !yield(c.doc(i)) {
			return
		}
	}
}

// local returns the member's database local, up to an entry of the oplog.
func (p *process) local(upTo OpTime) *local {
	p.mu.Lock()
	defer p.mu.Unlock()
	cfg := p.disk.cfg
	if cfg == nil {
		return nil
	}
	entries := p.disk.log.entries
	i, ok := p.disk.log.find(upTo)
	if ok {
		i++
	}
	entries = slices.Clone(entries[:i]) // a rollback clears the array's end
	data := p.disk.hist.now().data
	uuid := func(n byte) bson.Binary {
		id := slices.Concat(cfg.id[:], []byte{0, 0, 0, n}) // the same in each view
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: id}
	}
	return &local{[]*localCollection{
		{
			info: CollectionInfo{Name: oplogColl, UUID: uuid(1), Options: mustMarshal(bson.D{
				{Key: "capped", Value: true}, {Key: "size", Value: int64(p.limit) * query.MaxDocumentSize}, {Key: "max", Value: int64(p.limit)}, {Key: "autoIndexId", Value: false},
			})},
			n:   len(entries),
			doc: func(i int) bson.Raw { return entries[i].document(data) },
		},
		{
			info: CollectionInfo{Name: configColl, UUID: uuid(2), Options: emptyDocument},
			n:    1,
			doc:  func(int) bson.Raw { return cfg.document() },
		},
	}}
}

// document is an entry as the oplog of a server has it: one operation, or several
// that are applied together.
func (e *entry) document(data *state) bson.Raw {
	var ops []bson.D
	var session bson.D
	for i := range e.changes {
		ch := &e.changes[i]
		switch ch.kind {
		case noop, beginTxn:
		case rememberStmt:
			if session == nil {
				session = append(ch.session(), bson.E{Key: "stmtId", Value: ch.record.StmtID})
			}
		default:
			ops = append(ops, ch.document(data))
		}
	}
	var doc bson.D
	switch len(ops) {
	case 0:
		doc = bson.D{{Key: "op", Value: "n"}, {Key: "ns", Value: ""}, {Key: "o", Value: bson.D{{Key: "msg", Value: "periodic noop"}}}}
	case 1:
		doc = ops[0]
	default:
		doc = bson.D{{Key: "op", Value: "c"}, {Key: "ns", Value: "admin.$cmd"}, {Key: "o", Value: bson.D{{Key: "applyOps", Value: ops}}}}
	}
	return mustMarshal(append(append(session, doc...),
		bson.E{Key: "ts", Value: e.op.TS}, bson.E{Key: "t", Value: e.op.Term}, bson.E{Key: "v", Value: int64(2)},
		bson.E{Key: "wall", Value: bson.NewDateTimeFromTime(e.wall.Truncate(time.Millisecond))}))
}

// session is the logical session of a statement's record.
func (ch *change) session() bson.D {
	id, err := hex.DecodeString(strings.ReplaceAll(ch.name, "-", ""))
	if err != nil {
		return nil // not named by a UUID
	}
	return bson.D{
		{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: id}}}},
		{Key: "txnNumber", Value: ch.txn},
	}
}

// document is a change as an operation of an oplog entry.
func (ch *change) document(data *state) bson.D {
	ns, uuid := ch.db+"."+ch.coll, bson.D(nil)
	if c, ok := data.colls.get(nsKey(ch.db, ch.coll)); ok {
		uuid = bson.D{{Key: "ui", Value: c.info.UUID}}
	}
	op := func(op, ns string, o any, o2 ...bson.E) bson.D {
		d := append(bson.D{{Key: "op", Value: op}, {Key: "ns", Value: ns}}, uuid...)
		return append(append(d, bson.E{Key: "o", Value: o}), o2...)
	}
	cmd := func(o bson.D) bson.D { return op("c", ch.db+".$cmd", o) }
	switch ch.kind {
	case insertDoc:
		return op("i", ns, ch.doc, bson.E{Key: "o2", Value: bson.D{{Key: "_id", Value: ch.doc.Lookup("_id")}}})
	case replaceDoc:
		return op("u", ns, ch.doc, bson.E{Key: "o2", Value: bson.D{{Key: "_id", Value: ch.doc.Lookup("_id")}}})
	case deleteDoc:
		return op("d", ns, bson.D{{Key: "_id", Value: ch.id}})
	case createColl:
		return cmd(bson.D{{Key: "create", Value: ch.coll}})
	case dropColl:
		return cmd(bson.D{{Key: "drop", Value: ch.coll}})
	case createIndex:
		spec := bson.D{{Key: "createIndexes", Value: ch.coll}}
		if elements, err := ch.index.info.Spec.Elements(); err == nil {
			for _, e := range elements {
				spec = append(spec, bson.E{Key: e.Key(), Value: e.Value()})
			}
		}
		return cmd(spec)
	default: // dropIndex
		return cmd(bson.D{{Key: "dropIndexes", Value: ch.coll}, {Key: "index", Value: ch.name}})
	}
}
