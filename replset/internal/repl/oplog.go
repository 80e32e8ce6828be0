package repl

import (
	"slices"
	"time"
)

// entry is one Write in the oplog: it is applied whole or not at all.
type entry struct {
	op      OpTime
	wall    time.Time
	changes []change
}

// oplog is a member's history of entries, oldest first. The first one stands for
// all that came before it: whoever is at it or after it can go on from here,
// whoever is not needs a copy of the data.
type oplog struct{ entries []*entry }

func (l *oplog) top() OpTime {
	if len(l.entries) == 0 {
		return OpTime{}
	}
	return l.entries[len(l.entries)-1].op
}

// find returns the position of an entry.
func (l *oplog) find(op OpTime) (int, bool) {
	return slices.BinarySearchFunc(l.entries, op, func(e *entry, op OpTime) int { return e.op.Compare(op) })
}

// newestOf returns the newest of the given positions, oldest first, that is in
// the log.
func (l *oplog) newestOf(ops []OpTime) (OpTime, bool) {
	for _, op := range slices.Backward(ops) {
		if _, ok := l.find(op); ok {
			return op, true
		}
	}
	return OpTime{}, false
}

// after returns up to most entries that follow the one at position i. They are
// shared and must not be changed; the slice is the caller's.
func (l *oplog) after(i, most int) []*entry {
	rest := l.entries[i+1:]
	return slices.Clone(rest[:min(len(rest), most)])
}

// truncate takes away what follows op, and returns how many entries that were.
func (l *oplog) truncate(op OpTime) int {
	i, ok := l.find(op)
	if ok {
		i++
	}
	n := len(l.entries) - i
	clear(l.entries[i:])
	l.entries = l.entries[:i]
	return n
}

// keepAlways is how many entries trim leaves even when every member has them.
const keepAlways = 1024

// trim forgets the oldest entries: those up to safe, which every member has, and when
// there are more than limit also those up to commit, whether every member
// has them or not. The last one that is forgotten stays as the base.
func (l *oplog) trim(safe, commit OpTime, limit int) {
	if len(l.entries) < 2*keepAlways && len(l.entries) <= limit {
		return
	}
	cut := func(op OpTime, most int) {
		i, ok := l.find(earlier(op, commit))
		if !ok {
			i--
		}
		if i = min(i, most); i <= 0 {
			return
		}
		// A new array: readers of the old one are left alone, and it can be freed.
		l.entries = slices.Clone(l.entries[i:])
		base := *l.entries[0]
		base.changes = nil
		l.entries[0] = &base
	}
	if len(l.entries) >= 2*keepAlways {
		cut(safe, len(l.entries)-keepAlways)
	}
	if len(l.entries) > limit {
		// A quarter more than must be, so that this is not done again for each entry.
		cut(commit, len(l.entries)-limit+limit/4)
	}
}

// moment is the state that a member had after an entry.
type moment struct {
	op   OpTime
	wall time.Time
	data *state
}

// history is what a member's data was after each entry since the newest one that
// is majority committed, oldest first. The first is what majority reads see, the
// last is the present; the ones between are what a rollback goes back to. There is
// always one.
type history struct{ moments []moment }

func (h *history) committed() *moment { return &h.moments[0] }
func (h *history) now() *moment       { return &h.moments[len(h.moments)-1] }

func (h *history) add(m moment) { h.moments = append(h.moments, m) }

// commit forgets what came before the newest moment that is not after op.
func (h *history) commit(op OpTime) {
	i := h.at(op)
	if i <= 0 {
		return
	}
	// The array is kept as long as it is at least half in use.
	clear(h.moments[:i])
	h.moments = h.moments[i:]
}

// at returns the position of the newest moment that is not after op, -1 for none.
func (h *history) at(op OpTime) int {
	i, ok := slices.BinarySearchFunc(h.moments, op, func(m moment, op OpTime) int { return m.op.Compare(op) })
	if !ok {
		i--
	}
	return i
}

// rewind forgets what came after op, which must be among the moments.
func (h *history) rewind(op OpTime) {
	i := h.at(op)
	clear(h.moments[i+1:])
	h.moments = h.moments[:i+1]
}
