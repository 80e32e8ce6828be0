package query

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var objectOperators = map[string]operator{
	"$mergeObjects": {0, -1, func(s *scope, x *invocation) bson.RawValue {
		m := &mergedFields{}
		for i := range x.args {
			v := x.arg(s, i)
			switch {
			case s.err != nil:
				return bson.RawValue{}
			case nullish(v):
			case !isObject(v):
				return s.fail(40400, "$mergeObjects requires object inputs, but input %s is of type %s", text(v), TypeName(v.Type))
			default:
				m.take(v.Value)
			}
		}
		return m.result()
	}},
	"$objectToArray": {1, 1, func(s *scope, x *invocation) bson.RawValue {
		v := x.arg(s, 0)
		switch {
		case nullish(v):
			return nullValue()
		case !isObject(v):
			return s.fail(40390, "$objectToArray requires a document input, found: %s", TypeName(v.Type))
		}
		var pairs []bson.RawValue
		e := elementsOf(v.Value)
		for {
			key, item, ok := e.next()
			if !ok {
				return arrayValue(pairs)
			}
			dst, start := openDocument(nil)
			dst = appendElement(dst, "k", stringValue(string(key)))
			dst = appendElement(dst, "v", item)
			pairs = append(pairs, documentValue(closeDocument(dst, start)))
		}
	}},
	"$arrayToObject": {1, 1, evalArrayToObject},
}

// mergedFields is $mergeObjects: the fields of all documents, each at its first place with its last
// value.
type mergedFields struct {
	names  []string
	values []bson.RawValue
	at     map[string]int
}

func (m *mergedFields) put(name string, v bson.RawValue) {
	if m.at == nil {
		m.at = map[string]int{}
	}
	if i, ok := m.at[name]; ok {
		m.values[i] = v
		return
	}
	m.at[name] = len(m.names)
	m.names, m.values = append(m.names, name), append(m.values, v)
}

func (m *mergedFields) take(doc []byte) {
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			return
		}
		m.put(string(key), v)
	}
}

func (m *mergedFields) result() bson.RawValue {
	dst, start := openDocument(nil)
	for i, name := range m.names {
		dst = appendElement(dst, name, m.values[i])
	}
	return documentValue(closeDocument(dst, start))
}

// evalArrayToObject is $arrayToObject of [key, value] or of {k: key, v: value}; the first
// item says of which.
func evalArrayToObject(s *scope, x *invocation) bson.RawValue {
	v := x.arg(s, 0)
	switch {
	case nullish(v):
		return nullValue()
	case !isArray(v):
		return s.fail(40386, "$arrayToObject requires an array input, found: %s", TypeName(v.Type))
	}
	m := &mergedFields{}
	items := arrayItems(v.Value)
	for i, item := range items {
		if i == 0 && !isArray(item) && !isObject(item) {
			return s.fail(40398, "Unrecognised input type format for $arrayToObject: %s", TypeName(item.Type))
		}
		var key, value bson.RawValue
		if isArray(items[0]) {
			if !isArray(item) {
				return s.fail(40396, "$arrayToObject requires a consistent input format. Elements mustall be arrays or all be objects. Array was detected, now found: %s", TypeName(item.Type))
			}
			parts := arrayItems(item.Value)
			if len(parts) != 2 {
				return s.fail(40397, "$arrayToObject requires an array of size 2 arrays,found array of size: %d", len(parts))
			}
			if key, value = parts[0], parts[1]; key.Type != bson.TypeString {
				return s.fail(40395, "$arrayToObject requires an array of key-value pairs, where the key must be of type string. Found key type: %s", TypeName(key.Type))
			}
		} else {
			if !isObject(item) {
				return s.fail(40391, "$arrayToObject requires a consistent input format. Elements mustall be arrays or all be objects. Object was detected, now found: %s", TypeName(item.Type))
			}
			if n := fieldCount(item.Value); n != 2 {
				return s.fail(40392, "$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:%d", n)
			}
			key, value = lookup(item.Value, "k"), lookup(item.Value, "v")
			switch {
			case missing(key) || missing(value):
				return s.fail(40393, "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys from: %s", text(item))
			case key.Type != bson.TypeString:
				return s.fail(40394, "$arrayToObject requires an object with keys 'k' and 'v', where the value of 'k' must be of type string. Found type: %s", TypeName(key.Type))
			}
		}
		name := readString(key)
		if bytes.IndexByte(name, 0) >= 0 {
			return s.fail(4940400, "Key field cannot contain an embedded null byte")
		}
		m.put(string(name), value)
	}
	return m.result()
}

func fieldCount(doc []byte) int {
	n := 0
	for e := elementsOf(doc); ; n++ {
		if _, _, ok := e.next(); !ok {
			return n
		}
	}
}
