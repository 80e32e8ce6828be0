package query

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// creating is part of the modifiers that create the path they are to change.
type creating struct{}

func (creating) onBlocked(bool) blockedPath { return refusedCreating }

// changing is part of the modifiers that leave a missing path alone.
type changing struct{}

func (changing) onBlocked(bool) blockedPath                { return refusedTraversing }
func (changing) create(*applyState) (bson.RawValue, error) { return bson.RawValue{}, nil }

type set struct{ v bson.RawValue }

func (m *set) update(*applyState, *updateNode, bson.RawValue) (bson.RawValue, error) { return m.v, nil }
func (m *set) create(*applyState) (bson.RawValue, error)                             { return m.v, nil }
func (m *set) onBlocked(bool) blockedPath                                            { return refusedCreating }

type setOnInsert struct{ v bson.RawValue }

func (m *setOnInsert) update(st *applyState, _ *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if st.insert {
		return m.v, nil
	}
	return v, nil
}

func (m *setOnInsert) create(st *applyState) (bson.RawValue, error) {
	if st.insert {
		return m.v, nil
	}
	return bson.RawValue{}, nil
}

func (m *setOnInsert) onBlocked(insert bool) blockedPath {
	if insert {
		return refusedCreating
	}
	return ignored
}

type unset struct{}

func (unset) update(*applyState, *updateNode, bson.RawValue) (bson.RawValue, error) {
	return bson.RawValue{}, nil
}
func (unset) create(*applyState) (bson.RawValue, error) { return bson.RawValue{}, nil }
func (unset) onBlocked(bool) blockedPath                { return ignored }

// bound is $min and $max.
type bound struct {
	creating
	v   bson.RawValue
	max bool
}

func (m *bound) update(_ *applyState, _ *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if c := Compare(m.v, v); c != 0 && (c > 0) == m.max {
		return m.v, nil
	}
	return v, nil
}

func (m *bound) create(*applyState) (bson.RawValue, error) { return m.v, nil }

// arithmetic is $inc and $mul.
type arithmetic struct {
	creating
	op string
	v  bson.RawValue
}

func parseArithmetic(op, name string, v bson.RawValue) (modifier, error) {
	if !isNumber(v) {
		verb := "increment"
		if op == "$mul" {
			verb = "multiply"
		}
		return nil, refuse(typeMismatch, "Cannot %s with non-numeric argument: {%s}", verb, elementText(name, v))
	}
	return &arithmetic{op: op, v: v}, nil
}

func (m *arithmetic) update(st *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error) {
	if !isNumber(v) {
		return v, refuse(typeMismatch, "Cannot apply %s to a value of non-numeric type. {%s} has the field '%s' of non-numeric type %s", m.op, st.id(), n.name, TypeName(v.Type))
	}
	var result bson.RawValue
	var ok bool
	if m.op == "$inc" {
		result, ok = addNumbers(v, m.v)
	} else {
		result, ok = mulNumbers(v, m.v)
	}
	if !ok {
		return v, refuse(badValue, "Failed to apply %s operations to current value ((NumberLong)%s) for document {%s}", m.op, text(v), st.id())
	}
	if result.Type == v.Type && Compare(result, v) == 0 {
		return v, nil // Also -0.0 for 0.0, and 1.50 for 1.5: the server leaves what is equal as it is.
	}
	return result, nil
}

func (m *arithmetic) create(*applyState) (bson.RawValue, error) {
	if m.op == "$inc" {
		return m.v, nil
	}
	zero, _ := mulNumbers(m.v, int32Value(0))
	return zero, nil
}

type currentDate struct {
	creating
	timestamp bool
}

func parseCurrentDate(v bson.RawValue) (modifier, error) {
	switch v.Type {
	case bson.TypeBoolean:
		return &currentDate{}, nil
	case bson.TypeEmbeddedDocument:
	default:
		return nil, refuse(badValue, "%s is not valid type for $currentDate. Please use a boolean ('true') or a $type expression ({$type: 'timestamp/date'}).", TypeName(v.Type))
	}
	m := &currentDate{}
	found := false
	e := elementsOf(v.Value)
	for {
		key, t, ok := e.next()
		if !ok {
			break
		}
		if string(key) != "$type" {
			return nil, refuse(badValue, "Unrecognized $currentDate option: %s", key)
		}
		if t.Type != bson.TypeString {
			continue
		}
		switch string(readString(t)) {
		case "date":
			m.timestamp, found = false, true
		case "timestamp":
			m.timestamp, found = true, true
		}
	}
	if !found {
		return nil, refuse(badValue, "The '$type' string field is required to be 'date' or 'timestamp': {$currentDate: {field : {$type: 'date'}}}")
	}
	return m, nil
}

func (m *currentDate) update(st *applyState, _ *updateNode, _ bson.RawValue) (bson.RawValue, error) {
	return m.create(st)
}

func (m *currentDate) create(st *applyState) (bson.RawValue, error) {
	now := st.update.now()
	v := int64Value(now.UnixMilli())
	v.Type = bson.TypeDateTime
	if m.timestamp {
		// Microseconds as the ordinal keep timestamps of one second apart.
		ordinal := int64(now.Nanosecond())/int64(time.Microsecond) + 1
		v = int64Value(now.Unix()<<32 | ordinal)
		v.Type = bson.TypeTimestamp
	}
	return v, nil
}

// bit is $bit.
type bit struct {
	creating
	steps []bitStep
}

type bitStep struct {
	op string
	v  bson.RawValue
}

func parseBit(v bson.RawValue) (modifier, error) {
	if !isObject(v) {
		return nil, refuse(badValue, "The $bit modifier is not compatible with a %s. You must pass in an embedded document: {$bit: {field: {and/or/xor: #}}", TypeName(v.Type))
	}
	m := &bit{}
	e := elementsOf(v.Value)
	for {
		key, operand, ok := e.next()
		if !ok {
			break
		}
		op := string(key)
		if op != "and" && op != "or" && op != "xor" {
			return nil, refuse(badValue, "The $bit modifier only supports 'and', 'or', and 'xor', not '%s' which is an unknown operator: {%s}", op, elementText(op, operand))
		}
		if _, ok := asInt(operand); !ok {
			return nil, refuse(badValue, "The $bit modifier field must be an Integer(32/64 bit); a '%s' is not supported here: {%s}", TypeName(operand.Type), elementText(op, operand))
		}
		m.steps = append(m.steps, bitStep{op, operand})
	}
	if len(m.steps) == 0 {
		return nil, refuse(badValue, "You must pass in at least one bitwise operation. The format is: {$bit: {field: {and/or/xor: #}}")
	}
	return m, nil
}

func (m *bit) update(st *applyState, n *updateNode, v bson.RawValue) (bson.RawValue, error) {
	result, ok := asInt(v)
	if !ok {
		return v, refuse(badValue, "Cannot apply $bit to a value of non-integral type.%s has the field %s of non-integer type %s", st.id(), n.name, TypeName(v.Type))
	}
	long := v.Type == bson.TypeInt64
	for _, s := range m.steps {
		operand, _ := asInt(s.v)
		long = long || s.v.Type == bson.TypeInt64
		switch s.op {
		case "and":
			result &= operand
		case "or":
			result |= operand
		case "xor":
			result ^= operand
		}
	}
	if long {
		return int64Value(result), nil
	}
	return int32Value(int32(result)), nil
}

func (m *bit) create(st *applyState) (bson.RawValue, error) {
	return m.update(st, nil, int32Value(0))
}
