package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// memNode is a member of a set of one, or a standalone, in memory: enough of a
// repl.Node to put a server in front of. Its role can be set by hand.
type memNode struct {
	mu       sync.RWMutex
	st       repl.Status
	changed  chan struct{}
	colls    map[string]map[string]*memColl
	sessions map[string]*memSession
	cluster  bson.Timestamp
	// replicated holds back AwaitReplication while it is open.
	replicated chan struct{}
	members    int
}

type memSession struct {
	txn  int64
	done map[int32]repl.RetryRecord
}

type memColl struct {
	info    repl.CollectionInfo
	indexes []repl.IndexInfo
	byID    map[string]bson.Raw
	order   []string
}

func newMemNode(set string) *memNode {
	n := &memNode{
		changed:    make(chan struct{}),
		colls:      map[string]map[string]*memColl{},
		sessions:   map[string]*memSession{},
		replicated: make(chan struct{}),
		members:    1,
	}
	close(n.replicated)
	n.st = repl.Status{Role: repl.Standalone, ProcessID: bson.NewObjectID(), WritablePrimary: true}
	if set != "" {
		n.st.Role, n.st.SetName, n.st.SetVersion, n.st.Term = repl.Primary, set, 1, 1
		n.st.ElectionID = bson.ObjectID{0: 0x7f, 1: 0xff, 2: 0xff, 3: 0xff, 11: 1}
		n.cluster = bson.Timestamp{T: uint32(time.Now().Unix()), I: 1}
		n.advance()
	}
	return n
}

// at names the address that the set's config knows this member by.
func (n *memNode) at(addr string) {
	n.change(func(st *repl.Status) { st.Me, st.Primary, st.Hosts = addr, addr, []string{addr} })
}

// change alters the status as an election would.
func (n *memNode) change(fn func(*repl.Status)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(&n.st)
	n.st.TopologyCounter++
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *memNode) Status() repl.Status {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.st
}

func (n *memNode) StatusChanged() <-chan struct{} {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.changed
}

func (n *memNode) View(_ repl.ReadLevel, fn func(repl.Snapshot) error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return fn(memView{n})
}

// advance makes the next op time. The caller must hold n.mu.
func (n *memNode) advance() repl.OpTime {
	n.cluster.I++
	op := repl.OpTime{TS: n.cluster, Term: n.st.Term}
	n.st.LastApplied, n.st.LastAppliedWall = op, time.Now()
	n.st.MajorityCommitted, n.st.MajorityCommittedAt = op, time.Now()
	return op
}

func (n *memNode) Write(_ context.Context, fn func(repl.Writer) error) (repl.OpTime, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.st.WritablePrimary {
		return repl.OpTime{}, refuse(codeNotWritablePrimary, "not primary")
	}
	before := map[string]map[string]*memColl{}
	for db, colls := range n.colls {
		before[db] = map[string]*memColl{}
		for name, c := range colls {
			kept := *c
			kept.byID = make(map[string]bson.Raw, len(c.byID))
			for k, v := range c.byID {
				kept.byID[k] = v
			}
			kept.order = slices.Clone(c.order)
			before[db][name] = &kept
		}
	}
	if err := fn(memWriter{memView{n}}); err != nil {
		n.colls = before
		return repl.OpTime{}, err
	}
	return n.advance(), nil
}

func (n *memNode) AwaitReplication(ctx context.Context, _ repl.OpTime, _ int) error {
	n.mu.RLock()
	done := n.replicated
	n.mu.RUnlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *memNode) AwaitApplied(ctx context.Context, ts bson.Timestamp, _ repl.ReadLevel) error {
	if n.Status().LastApplied.TS.Before(ts) {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (n *memNode) ClusterTime() bson.Timestamp {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.cluster
}

func (n *memNode) AdvanceClusterTime(ts bson.Timestamp) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cluster.Before(ts) {
		n.cluster = ts
	}
}

func (n *memNode) StepDown(context.Context, time.Duration, time.Duration, bool) error {
	n.change(func(st *repl.Status) { st.Role, st.Primary, st.WritablePrimary = repl.Secondary, "", false })
	return nil
}

func (n *memNode) Config() bson.Raw {
	doc, err := bson.Marshal(bson.D{{Key: "_id", Value: n.st.SetName}, {Key: "version", Value: int32(1)}})
	if err != nil {
		panic(err)
	}
	return doc
}

func (n *memNode) MembersStatus() []repl.MemberStatus {
	st := n.Status()
	members := []repl.MemberStatus{{Host: st.Me, Role: st.Role, Health: true, OpTime: st.LastApplied, OpTimeAt: st.LastAppliedWall, Self: true}}
	for len(members) < n.members {
		members = append(members, repl.MemberStatus{ID: int32(len(members)), Host: "elsewhere:1", Role: repl.Down})
	}
	return members
}

func (n *memNode) Session(string) (int64, []repl.RetryRecord, bool) { return 0, nil, false }

type memView struct{ n *memNode }

func (v memView) Databases() []string {
	var names []string
	for name := range v.n.colls {
		names = append(names, name)
	}
	return names
}

func (v memView) Collections(db string) []repl.CollectionInfo {
	var infos []repl.CollectionInfo
	for _, c := range v.n.colls[db] {
		infos = append(infos, c.info)
	}
	return infos
}

func (v memView) Collection(db, name string) repl.Collection {
	if c := v.n.colls[db][name]; c != nil {
		return c
	}
	return nil
}

func (v memView) OpTime() repl.OpTime { return v.n.st.LastApplied }

func (c *memColl) Info() repl.CollectionInfo { return c.info }
func (c *memColl) Indexes() []repl.IndexInfo { return c.indexes }
func (c *memColl) Len() int                  { return len(c.byID) }

func (c *memColl) ByID(id bson.RawValue) (bson.Raw, bool) {
	doc, ok := c.byID[query.IDKey(id)]
	return doc, ok
}

func (c *memColl) Each(yield func(bson.Raw) bool) {
	for _, key := range c.order {
		if !yield(c.byID[key]) {
			return
		}
	}
}

type memWriter struct{ memView }

func (w memWriter) coll(db, name string) *memColl {
	if w.n.colls[db] == nil {
		w.n.colls[db] = map[string]*memColl{}
	}
	c := w.n.colls[db][name]
	if c == nil {
		id := newUUID()
		c = &memColl{info: repl.CollectionInfo{Name: name, UUID: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: id[:]}}, byID: map[string]bson.Raw{}}
		key, _ := bson.Marshal(bson.D{{Key: "_id", Value: int32(1)}})
		spec, _ := bson.Marshal(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.Raw(key)}, {Key: "name", Value: "_id_"}})
		c.indexes = []repl.IndexInfo{{Name: "_id_", Key: key, Unique: true, Spec: spec}}
		w.n.colls[db][name] = c
	}
	return c
}

func (w memWriter) Insert(db, coll string, doc bson.Raw) error {
	c := w.coll(db, coll)
	id := docID(doc)
	key := query.IDKey(id)
	if _, ok := c.byID[key]; ok {
		e := refuse(codeDuplicateKey, "E11000 duplicate key error collection: %s.%s index: _id_ dup key: { _id: %s }", db, coll, query.Text(id))
		e.Extra = bson.D{{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "keyValue", Value: bson.D{{Key: "_id", Value: id}}}}
		return e
	}
	c.byID[key] = doc
	c.order = append(c.order, key)
	return nil
}

func (w memWriter) Replace(db, coll string, id bson.RawValue, doc bson.Raw) error {
	w.coll(db, coll).byID[query.IDKey(id)] = doc
	return nil
}

func (w memWriter) Delete(db, coll string, id bson.RawValue) error {
	c, key := w.coll(db, coll), query.IDKey(id)
	delete(c.byID, key)
	c.order = slices.DeleteFunc(c.order, func(k string) bool { return k == key })
	return nil
}

func (w memWriter) CreateCollection(db, coll string, _ bson.Raw) error {
	if w.n.colls[db][coll] != nil {
		return refuse(codeNamespaceExists, "Collection %s.%s already exists.", db, coll)
	}
	w.coll(db, coll)
	return nil
}

func (w memWriter) DropCollection(db, coll string) error {
	delete(w.n.colls[db], coll)
	return nil
}

func (w memWriter) DropDatabase(db string) error {
	delete(w.n.colls, db)
	return nil
}

func (w memWriter) CreateIndex(db, coll string, spec bson.Raw) (bool, error) {
	c := w.coll(db, coll)
	name, _ := lookup(spec, "name")
	key, _ := lookup(spec, "key")
	index := repl.IndexInfo{Name: string(text(name)), Key: key.Value, Unique: isTrue(spec, "unique"), Sparse: isTrue(spec, "sparse"), Spec: spec}
	same := func(ix repl.IndexInfo) bool {
		return sameKeys(ix.Key, index.Key) && (ix.Name == idIndexName || ix.Unique == index.Unique && ix.Sparse == index.Sparse)
	}
	if i := slices.IndexFunc(c.indexes, func(ix repl.IndexInfo) bool { return ix.Name == index.Name }); i >= 0 {
		if same(c.indexes[i]) {
			return false, nil
		}
		return false, refuse(86, "another of that name")
	}
	if i := slices.IndexFunc(c.indexes, same); i >= 0 {
		if c.indexes[i].Name == idIndexName {
			return false, nil
		}
		return false, refuse(85, "another name")
	}
	c.indexes = append(c.indexes, index)
	return true, nil
}

func (w memWriter) DropIndex(db, coll, name string) error {
	c := w.coll(db, coll)
	c.indexes = slices.DeleteFunc(c.indexes, func(ix repl.IndexInfo) bool { return ix.Name == name })
	return nil
}

func (w memWriter) Remember(lsid string, txn int64, r repl.RetryRecord) error {
	w.n.sessions[lsid].done[r.StmtID] = r
	return nil
}

func (w memWriter) BeginStatement(lsid string, txn int64, stmt int32) (*repl.RetryRecord, error) {
	s := w.n.sessions[lsid]
	switch {
	case s == nil || s.txn < txn:
		s = &memSession{txn: txn, done: map[int32]repl.RetryRecord{}}
		w.n.sessions[lsid] = s
	case s.txn > txn:
		return nil, &query.Error{Code: codeTransactionTooOld, Name: "TransactionTooOld", Message: fmt.Sprintf("txnNumber %d is older than %d", txn, s.txn)}
	}
	if r, ok := s.done[stmt]; ok {
		return &r, nil
	}
	return nil, nil
}
