package repl

import (
	"iter"
	"math/bits"
	"slices"
)

// edit is the licence of one unfinished write to change in place the nodes that
// it has made itself. Once the write is published its edit is dropped, and with it
// everyone's licence: published nodes never change. (It has a size so that two
// edits never share an address.)
type edit struct{ _ byte }

// hashMap is a persistent hash array mapped trie: a copy of the value is a
// snapshot, and a change copies only the nodes on its way, of which there are at
// most six in a map of a billion keys. The zero value is an empty map.
type hashMap[V any] struct {
	root *hashNode[V]
	n    int
}

// hashNode has, for each of 32 slots, nothing, a leaf or a node one level down.
// Below the last bit of the hash all keys of a node collide, and its leaves are
// a plain list.
type hashNode[V any] struct {
	edit     *edit
	leafBits uint32
	nodeBits uint32
	leaves   []*hashLeaf[V] // never changed: a copy of a node shares them
	nodes    []*hashNode[V]
}

type hashLeaf[V any] struct {
	hash uint64
	key  string
	val  V
}

const (
	slotBits = 5
	slotMask = 1<<slotBits - 1
	hashBits = 64
)

// hashOf is FNV-1a with a finisher, so that keys that differ in their last byte
// part at the root.
func hashOf(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (m hashMap[V]) get(key string) (v V, ok bool) {
	h := hashOf(key)
	n := m.root
	for shift := 0; n != nil; shift += slotBits {
		if shift >= hashBits {
			for i := range n.leaves {
				if n.leaves[i].key == key {
					return n.leaves[i].val, true
				}
			}
			return v, false
		}
		bit := uint32(1) << (h >> shift & slotMask)
		if n.leafBits&bit != 0 {
			leaf := n.leaves[below(n.leafBits, bit)]
			if leaf.hash == h && leaf.key == key {
				return leaf.val, true
			}
			return v, false
		}
		if n.nodeBits&bit == 0 {
			return v, false
		}
		n = n.nodes[below(n.nodeBits, bit)]
	}
	return v, false
}

// set gives key a value, in the caller's copy of the map.
func (m *hashMap[V]) set(e *edit, key string, v V) {
	var added bool
	m.root, added = m.root.set(e, &hashLeaf[V]{hashOf(key), key, v}, 0)
	if added {
		m.n++
	}
}

// delete takes key away from the caller's copy of the map, and reports whether
// it was there.
func (m *hashMap[V]) delete(e *edit, key string) bool {
	if _, ok := m.get(key); !ok {
		return false
	}
	m.root = m.root.delete(e, hashOf(key), key, 0)
	m.n--
	return true
}

// all yields every key and value, in no order that means anything.
func (m hashMap[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { m.root.each(yield) }
}

func (n *hashNode[V]) each(yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.leaves {
		if !yield(n.leaves[i].key, n.leaves[i].val) {
			return false
		}
	}
	for _, sub := range n.nodes {
		if !sub.each(yield) {
			return false
		}
	}
	return true
}

// below counts the slots in use before the one of bit.
func below(used, bit uint32) int { return bits.OnesCount32(used & (bit - 1)) }

// own returns n, or a copy of it, such that e may change it.
func (n *hashNode[V]) own(e *edit) *hashNode[V] {
	if n == nil {
		return &hashNode[V]{edit: e}
	}
	if n.edit == e {
		return n
	}
	return &hashNode[V]{
		edit: e, leafBits: n.leafBits, nodeBits: n.nodeBits,
		leaves: roomy(n.leaves), nodes: roomy(n.nodes),
	}
}

// roomy is a copy with room for one more.
func roomy[E any](s []E) []E {
	if len(s) == 0 {
		return nil
	}
	return append(make([]E, 0, len(s)+1), s...)
}

func (n *hashNode[V]) set(e *edit, leaf *hashLeaf[V], shift int) (_ *hashNode[V], added bool) {
	n = n.own(e)
	if shift >= hashBits {
		for i := range n.leaves {
			if n.leaves[i].key == leaf.key {
				n.leaves[i] = leaf
				return n, false
			}
		}
		n.leaves = append(n.leaves, leaf)
		return n, true
	}
	bit := uint32(1) << (leaf.hash >> shift & slotMask)
	switch {
	case n.nodeBits&bit != 0:
		i := below(n.nodeBits, bit)
		n.nodes[i], added = n.nodes[i].set(e, leaf, shift+slotBits)
		return n, added
	case n.leafBits&bit != 0:
		i := below(n.leafBits, bit)
		there := n.leaves[i]
		if there.hash == leaf.hash && there.key == leaf.key {
			n.leaves[i] = leaf
			return n, false
		}
		// Two keys want the slot: both move one level down.
		var sub *hashNode[V]
		sub, _ = sub.set(e, there, shift+slotBits)
		sub, _ = sub.set(e, leaf, shift+slotBits)
		n.leafBits &^= bit
		n.leaves = slices.Delete(n.leaves, i, i+1)
		n.nodes = slices.Insert(n.nodes, below(n.nodeBits, bit), sub)
		n.nodeBits |= bit
		return n, true
	}
	n.leaves = slices.Insert(n.leaves, below(n.leafBits, bit), leaf)
	n.leafBits |= bit
	return n, true
}

// delete takes away a key that is there. It returns nil for a node that has
// become empty.
func (n *hashNode[V]) delete(e *edit, hash uint64, key string, shift int) *hashNode[V] {
	n = n.own(e)
	if shift >= hashBits {
		n.leaves = slices.DeleteFunc(n.leaves, func(l *hashLeaf[V]) bool { return l.key == key })
		if len(n.leaves) == 0 {
			return nil
		}
		return n
	}
	bit := uint32(1) << (hash >> shift & slotMask)
	if n.leafBits&bit != 0 {
		i := below(n.leafBits, bit)
		n.leaves = slices.Delete(n.leaves, i, i+1)
		n.leafBits &^= bit
	} else {
		i := below(n.nodeBits, bit)
		sub := n.nodes[i].delete(e, hash, key, shift+slotBits)
		switch {
		case sub != nil && (len(sub.leaves) != 1 || len(sub.nodes) > 0):
			n.nodes[i] = sub
		default:
			// A node is there to tell keys apart: the last one of them moves up.
			n.nodes = slices.Delete(n.nodes, i, i+1)
			n.nodeBits &^= bit
			if sub != nil {
				n.leaves = slices.Insert(n.leaves, below(n.leafBits, bit), sub.leaves[0])
				n.leafBits |= bit
			}
		}
	}
	if len(n.leaves) == 0 && len(n.nodes) == 0 {
		return nil
	}
	return n
}
