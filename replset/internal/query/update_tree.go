package query

import (
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxPadding is how many nulls an update adds at most to reach an index beyond
// an array's end.
const maxPadding = 1500000

// updateNode is one name in the tree of paths that an update touches; a leaf holds
// the modifier. Siblings are in the order in which missing ones are created:
// by name, numbers by value.
type updateNode struct {
	name  string
	index int    // the array position name spells, or -1
	path  string // from the root to here
	op    modifier
	kids  []*updateNode
	// matched is the kid named by the positional operator; its number is known
	// only with the document.
	matched *updateNode
	// items, instead of kids, apply to the items of an array: $[] and $[identifier].
	items []*updateNode
	// filter says which items an item node applies to, nil for all.
	filter *arrayFilter
}

// modifier is what an update does at one path.
type modifier interface {
	// update gives the value that takes the place of v, of type 0 for none.
	update(st *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error)
	// create gives the value of a path that is not there yet, of type 0 for none.
	create(st *applyState) (bson.RawValue, error)
	// onBlocked says what becomes of a path that a scalar ends early.
	onBlocked(insert bool) blockedPath
}

type blockedPath int

const (
	refusedCreating   blockedPath = iota // the operator would have created it
	refusedTraversing                    // the operator wants it to be possible
	ignored
)

// applyDocument appends doc, as the kids of n leave it, to dst.
func (n *updateNode) applyDocument(st *applyState, doc, dst []byte, root bool) (out []byte, changed bool, err error) {
	dst, start := openDocument(dst)
	var seen kidSet
	seen.init(len(n.kids))
	left := len(n.kids)
	e := elementsOf(doc)
	for {
		if left == 0 {
			dst = append(dst, e.rest...)
			break
		}
		raw, keyLen := e.nextRaw()
		if raw == nil {
			break
		}
		i := n.kidNamed(raw[1 : 1+keyLen])
		if i < 0 || seen.has(i) {
			dst = append(dst, raw...)
			continue
		}
		seen.add(i)
		left--
		var did bool
		if dst, did, err = n.kids[i].applyElement(st, raw, keyLen, dst, false); err != nil {
			return nil, false, err
		}
		if did && root && n.kids[i].name == "_id" {
			return nil, false, refuse(immutableField, "Performing an update on the path '%s' would modify the immutable field '_id'", n.kids[i].firstLeaf().path)
		}
		changed = changed || did
	}
	for i, k := range n.kids {
		if left == 0 {
			break
		}
		if seen.has(i) {
			continue
		}
		left--
		var did bool
		if dst, did, err = k.createElement(st, dst, k.name); err != nil {
			return nil, false, err
		}
		changed = changed || did
	}
	return closeDocument(dst, start), changed, nil
}

func (n *updateNode) kidNamed(name []byte) int {
	for i, k := range n.kids {
		if len(k.name) == len(name) && k.name == string(name) {
			return i
		}
	}
	return -1
}

// applyElement appends an element as n leaves it: changed, as it was, or not at
// all. An item that would go away becomes null instead, so that the others keep
// their places.
func (n *updateNode) applyElement(st *applyState, raw []byte, keyLen int, dst []byte, item bool) (out []byte, changed bool, err error) {
	v := elementValue(raw, keyLen)
	key := raw[1 : 1+keyLen]
	if n.op != nil {
		nv, err := n.op.update(st, n, v)
		if err != nil {
			return nil, false, err
		}
		if missing(nv) {
			if !item {
				return dst, true, nil
			}
			nv = nullValue()
		}
		if nv.Type == v.Type && string(nv.Value) == string(v.Value) {
			return append(dst, raw...), false, nil
		}
		dst = append(append(append(dst, byte(nv.Type)), key...), 0)
		return append(dst, nv.Value...), true, nil
	}
	if n.items != nil {
		if v.Type != bson.TypeArray {
			return nil, false, refuse(badValue, "Cannot apply array updates to non-array element %s", elementText(string(key), v))
		}
		dst = append(dst, raw[:keyLen+2]...)
		return n.applyItems(st, v.Value, dst)
	}
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		dst = append(dst, raw[:keyLen+2]...)
		return n.applyDocument(st, v.Value, dst, false)
	case bson.TypeArray:
		dst = append(dst, raw[:keyLen+2]...)
		return n.applyArray(st, key, v.Value, dst)
	}
	if err := n.blocked(st, string(key), v); err != nil {
		return nil, false, err
	}
	return append(dst, raw...), false, nil
}

// applyArray appends arr, as the kids of n leave the items they number, to dst.
func (n *updateNode) applyArray(st *applyState, key, arr, dst []byte) (out []byte, changed bool, err error) {
	for _, k := range n.kids {
		if k.index < 0 {
			if err := k.blockedAt(st, k.name, string(key), bson.RawValue{Type: bson.TypeArray, Value: arr}); err != nil {
				return nil, false, err
			}
		}
	}
	dst, start := openDocument(dst)
	e := elementsOf(arr)
	next := 0 // kids with numbers are in rising order
	skip := func() {
		for next < len(n.kids) && n.kids[next].index < 0 {
			next++
		}
	}
	skip()
	size := 0
	for ; ; size++ {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			break
		}
		if next == len(n.kids) || n.kids[next].index != size {
			dst = append(dst, raw...)
			continue
		}
		var did bool
		if dst, did, err = n.kids[next].applyElement(st, raw, keyLen, dst, true); err != nil {
			return nil, false, err
		}
		changed = changed || did
		next++
		skip()
	}
	for ; next < len(n.kids); skip() {
		k := n.kids[next]
		next++
		mark := len(dst)
		pad := k.index - size
		if pad > maxPadding {
			return nil, false, refuse(cannotBackfillArray, "can't backfill more than %d elements", maxPadding)
		}
		for i := range pad {
			dst = appendItem(dst, size+i, nullValue())
		}
		var did bool
		if dst, did, err = k.createElement(st, dst, strconv.Itoa(k.index)); err != nil {
			return nil, false, err
		}
		if !did {
			dst = dst[:mark]
			continue
		}
		size, changed = k.index+1, true
	}
	return closeDocument(dst, start), changed, nil
}

// createElement appends what n creates where there is nothing yet.
func (n *updateNode) createElement(st *applyState, dst []byte, key string) (out []byte, created bool, err error) {
	if n.op != nil {
		v, err := n.op.create(st)
		if err != nil || missing(v) {
			return dst, false, err
		}
		return appendElement(dst, key, v), true, nil
	}
	if n.items != nil {
		return nil, false, refuse(badValue, "The path '%s' must exist in the document in order to apply array updates.", n.path)
	}
	mark := len(dst)
	dst = appendKey(dst, bson.TypeEmbeddedDocument, key)
	dst, start := openDocument(dst)
	for _, k := range n.kids {
		var did bool
		if dst, did, err = k.createElement(st, dst, k.name); err != nil {
			return nil, false, err
		}
		created = created || did
	}
	if !created {
		return dst[:mark], false, nil
	}
	return closeDocument(dst, start), true, nil
}

// blocked is the error, if any, of kids whose path the element ends.
func (n *updateNode) blocked(st *applyState, key string, v bson.RawValue) error {
	for _, k := range n.kids {
		if err := k.blockedAt(st, k.name, key, v); err != nil {
			return err
		}
	}
	return nil
}

// blockedAt is the error, if any, of the modifiers at n and below, whose path
// cannot go on with the given part.
func (n *updateNode) blockedAt(st *applyState, part, key string, v bson.RawValue) error {
	if n.op != nil {
		switch n.op.onBlocked(st.insert) {
		case refusedCreating:
			return refuse(pathNotViable, "Cannot create field '%s' in element {%s}", part, elementText(key, v))
		case refusedTraversing:
			return refuse(pathNotViable, "Cannot use the part (%s) of (%s) to traverse the element ({%s})", part, n.path, elementText(key, v))
		}
		return nil
	}
	if n.items != nil {
		return refuse(badValue, "The path '%s' must exist in the document in order to apply array updates.", n.path)
	}
	for _, k := range n.kids {
		if err := k.blockedAt(st, part, key, v); err != nil {
			return err
		}
	}
	return nil
}

// firstLeaf is the first path with a modifier at n or below it.
func (n *updateNode) firstLeaf() *updateNode {
	for n.op == nil {
		switch {
		case len(n.kids) > 0:
			n = n.kids[0]
		case len(n.items) > 0:
			n = n.items[0]
		default:
			return n
		}
	}
	return n
}

// kidSet remembers which kids were met; most nodes have fewer than 64.
type kidSet struct {
	bits uint64
	more []bool
}

func (s *kidSet) init(n int) {
	if n > 64 {
		s.more = make([]bool, n)
	}
}

func (s *kidSet) has(i int) bool {
	if s.more != nil {
		return s.more[i]
	}
	return s.bits>>i&1 == 1
}

func (s *kidSet) add(i int) {
	if s.more != nil {
		s.more[i] = true
		return
	}
	s.bits |= 1 << i
}
