package query

import (
	"bytes"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// equals is $eq.
type equals struct{ v bson.RawValue }

func (t *equals) of(v bson.RawValue) bool {
	if v.Type == t.v.Type && bytes.Equal(v.Value, t.v.Value) {
		return true
	}
	switch t.v.Type {
	case bson.TypeString, bson.TypeObjectID, bson.TypeDateTime, bson.TypeTimestamp, bson.TypeBoolean:
		if v.Type == t.v.Type {
			return t.v.Type == bson.TypeBoolean && readBool(v) == readBool(t.v)
		}
	case bson.TypeNull:
		return missing(v)
	}
	return rank(v.Type) == rank(t.v.Type) && !missing(v) && Compare(v, t.v) == 0
}

// in is $in: a few values are tried in turn, many are looked up.
type in struct {
	sorted  []bson.RawValue // each value once
	few     []equals
	keys    map[string]struct{}
	null    bool
	regexes []*matchesRegex
}

const fewValues = 8

func newIn(values []bson.RawValue, regexes []*matchesRegex) *in {
	t := &in{sorted: sortedOnce(values), regexes: regexes}
	for _, v := range t.sorted {
		if v.Type == bson.TypeNull {
			t.null = true
		}
	}
	if len(t.sorted) <= fewValues {
		for _, v := range t.sorted {
			t.few = append(t.few, equals{v})
		}
		return t
	}
	t.keys = make(map[string]struct{}, len(t.sorted))
	for _, v := range t.sorted {
		t.keys[string(appendIDKey(nil, v, 0))] = struct{}{}
	}
	return t
}

func (t *in) of(v bson.RawValue) bool {
	if missing(v) {
		return t.null
	}
	for i := range t.few {
		if t.few[i].of(v) {
			return true
		}
	}
	if t.keys != nil {
		var buf [64]byte
		if _, ok := t.keys[string(appendIDKey(buf[:0], v, 0))]; ok {
			return true
		}
	}
	for _, re := range t.regexes {
		if re.of(v) {
			return true
		}
	}
	return false
}

// ordered is $gt, $gte, $lt or $lte. Only values of the operand's own kind
// compare, except that every value lies between MinKey and MaxKey.
type ordered struct {
	v       bson.RawValue
	less    bool // $lt, $lte
	orEqual bool
}

func (t *ordered) of(v bson.RawValue) bool {
	if rank(v.Type) != rank(t.v.Type) {
		switch t.v.Type {
		case bson.TypeNull:
			return t.orEqual && missing(v)
		case bson.TypeMinKey:
			return !t.less
		case bson.TypeMaxKey:
			return t.less
		}
		return false
	}
	if isNaN(v) || isNaN(t.v) {
		return t.orEqual && isNaN(v) && isNaN(t.v)
	}
	c := Compare(v, t.v)
	if c == 0 {
		return t.orEqual
	}
	return (c < 0) == t.less
}

func isNaN(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeDouble:
		return math.IsNaN(readDouble(v))
	case bson.TypeDecimal128:
		return exactly(v).class == notANumber
	}
	return false
}

type exists struct{}

func (exists) of(v bson.RawValue) bool { return !missing(v) }

type hasType struct {
	number bool
	types  [256]bool
}

func (t *hasType) of(v bson.RawValue) bool {
	return t.types[byte(v.Type)] || t.number && isNumber(v)
}

type hasSize struct{ n int64 }

func (t *hasSize) of(v bson.RawValue) bool {
	if !isArray(v) {
		return false
	}
	e := elementsOf(v.Value)
	n := int64(0)
	for {
		if raw, _ := e.nextRaw(); raw == nil {
			return n == t.n
		}
		n++
	}
}

type modulo struct{ divisor, remainder int64 }

func (t *modulo) of(v bson.RawValue) bool {
	if !isNumber(v) {
		return false
	}
	n, ok := truncated(v)
	if !ok {
		return false
	}
	if t.divisor == -1 { // the least int64 divided by -1 would overflow
		return t.remainder == 0
	}
	return n%t.divisor == t.remainder
}

// matchesItem is $elemMatch on documents: an item that is a document (or an
// array, whose positions are its names) and matches.
type matchesItem struct{ m matcher }

func (t *matchesItem) of(v bson.RawValue) bool { return anyOf(v, t.holds) }

func (t *matchesItem) holds(item bson.RawValue) bool {
	return (isObject(item) || isArray(item)) && t.m.match(item.Value, nil)
}

// matchesValue is $elemMatch on values: an item for which all conditions hold.
type matchesValue struct{ p predicate }

func (t *matchesValue) of(v bson.RawValue) bool { return anyOf(v, t.p.of) }

func anyOf(v bson.RawValue, f func(bson.RawValue) bool) bool {
	if !isArray(v) {
		return false
	}
	e := elementsOf(v.Value)
	for {
		_, item, ok := e.next()
		if !ok {
			return false
		}
		if f(item) {
			return true
		}
	}
}

// bitTest is $bitsAllSet and its kin, on integers of any type and on binary data.
type bitTest struct {
	positions []uint32 // rising
	set       bool     // looks for ones, else for zeros
	all       bool
}

func (t *bitTest) of(v bson.RawValue) bool {
	var bit func(pos uint32) bool
	if v.Type == bson.TypeBinary {
		_, data := readBinary(v)
		bit = func(pos uint32) bool {
			return int(pos/8) < len(data) && data[pos/8]>>(pos%8)&1 == 1
		}
	} else {
		if !isNumber(v) {
			return false
		}
		n, ok := wholeNumber(v)
		if !ok {
			return false
		}
		bit = func(pos uint32) bool { return n>>min(pos, 63)&1 == 1 } // the sign goes on for ever
	}
	for _, pos := range t.positions {
		if (bit(pos) == t.set) != t.all {
			return !t.all
		}
	}
	return t.all
}
