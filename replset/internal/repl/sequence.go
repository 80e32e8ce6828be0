package repl

import (
	"iter"
	"slices"
)

// sequence is a persistent sparse array: numbers to values, in the order of the
// numbers. As with hashMap, a copy of the value is a snapshot. The zero value is
// empty.
type sequence[V any] struct {
	root   *seqNode[V]
	height int // levels below the root
	n      int
}

// seqNode has up to 32 values at the lowest level, and up to 32 nodes above it.
type seqNode[V any] struct {
	edit  *edit
	used  uint32
	items []V
	nodes []*seqNode[V]
}

func (s sequence[V]) get(i uint64) (v V, ok bool) {
	if s.root == nil || s.beyond(i) {
		return v, false
	}
	n := s.root
	for level := s.height; ; level-- {
		bit := uint32(1) << (i >> (level * slotBits) & slotMask)
		if n.used&bit == 0 {
			return v, false
		}
		at := below(n.used, bit)
		if level == 0 {
			return n.items[at], true
		}
		n = n.nodes[at]
	}
}

// beyond says that i is more than the present height reaches.
func (s sequence[V]) beyond(i uint64) bool {
	bits := (s.height + 1) * slotBits
	return bits < 64 && i>>bits != 0
}

// set gives i a value, in the caller's copy of the sequence.
func (s *sequence[V]) set(e *edit, i uint64, v V) {
	if s.root == nil {
		s.height = 0
	}
	for s.beyond(i) {
		if s.root != nil {
			s.root = &seqNode[V]{edit: e, used: 1, nodes: []*seqNode[V]{s.root}}
		}
		s.height++
	}
	var added bool
	s.root, added = s.root.set(e, s.height, i, v)
	if added {
		s.n++
	}
}

// delete takes i away from the caller's copy of the sequence.
func (s *sequence[V]) delete(e *edit, i uint64) {
	if _, ok := s.get(i); !ok {
		return
	}
	s.root = s.root.delete(e, s.height, i)
	s.n--
}

// all yields the values in order.
func (s sequence[V]) all() iter.Seq2[uint64, V] {
	return func(yield func(uint64, V) bool) { s.root.each(s.height, 0, yield) }
}

func (n *seqNode[V]) each(level int, base uint64, yield func(uint64, V) bool) bool {
	if n == nil {
		return true
	}
	at := 0
	for slot := range uint64(slotMask + 1) {
		if n.used&(1<<slot) == 0 {
			continue
		}
		i := base | slot<<(level*slotBits)
		if level == 0 {
			if !yield(i, n.items[at]) {
				return false
			}
		} else if !n.nodes[at].each(level-1, i, yield) {
			return false
		}
		at++
	}
	return true
}

func (n *seqNode[V]) own(e *edit) *seqNode[V] {
	if n == nil {
		return &seqNode[V]{edit: e}
	}
	if n.edit == e {
		return n
	}
	return &seqNode[V]{edit: e, used: n.used, items: slices.Clone(n.items), nodes: slices.Clone(n.nodes)}
}

func (n *seqNode[V]) set(e *edit, level int, i uint64, v V) (_ *seqNode[V], added bool) {
	n = n.own(e)
	bit := uint32(1) << (i >> (level * slotBits) & slotMask)
	at := below(n.used, bit)
	switch {
	case level > 0 && n.used&bit != 0:
		n.nodes[at], added = n.nodes[at].set(e, level-1, i, v)
	case level > 0:
		var sub *seqNode[V]
		sub, added = sub.set(e, level-1, i, v)
		n.nodes = slices.Insert(n.nodes, at, sub)
	case n.used&bit != 0:
		n.items[at] = v
	default:
		n.items, added = slices.Insert(n.items, at, v), true
	}
	n.used |= bit
	return n, added
}

// delete takes away a number that is there. It returns nil for a node that has
// become empty.
func (n *seqNode[V]) delete(e *edit, level int, i uint64) *seqNode[V] {
	n = n.own(e)
	bit := uint32(1) << (i >> (level * slotBits) & slotMask)
	at := below(n.used, bit)
	if level > 0 {
		if sub := n.nodes[at].delete(e, level-1, i); sub != nil {
			n.nodes[at] = sub
			return n
		}
		n.nodes = slices.Delete(n.nodes, at, at+1)
	} else {
		n.items = slices.Delete(n.items, at, at+1)
	}
	n.used &^= bit
	if n.used == 0 {
		return nil
	}
	return n
}
