package repl

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// index is an index's definition; it never changes. Only unique ones have
// entries.
type index struct {
	info   IndexInfo
	fields []string // the dotted paths of the key
}

// idIndex is the one that every collection has.
var idIndex = func() *index {
	key := mustMarshal(bson.D{{Key: "_id", Value: int32(1)}})
	return &index{
		info: IndexInfo{
			Name: "_id_", Key: key, Unique: true,
			Spec: mustMarshal(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: key}, {Key: "name", Value: "_id_"}}),
		},
		fields: []string{"_id"},
	}
}()

func mustMarshal(d bson.D) bson.Raw {
	raw, err := bson.Marshal(d)
	if err != nil {
		panic(err) // only for documents made here
	}
	return raw
}

// newIndex reads a specification that package server has checked.
func newIndex(spec bson.Raw) (*index, error) {
	ix := &index{info: IndexInfo{Spec: spec}}
	key, ok := spec.Lookup("key").DocumentOK()
	if !ok {
		return nil, refuse(codeCannotCreateIndex, "an index needs a key: %s", spec)
	}
	ix.info.Key = key
	if ix.info.Name, ok = spec.Lookup("name").StringValueOK(); !ok || ix.info.Name == "" {
		return nil, refuse(codeCannotCreateIndex, "an index needs a name: %s", spec)
	}
	ix.info.Unique = isTrue(spec.Lookup("unique"))
	ix.info.Sparse = isTrue(spec.Lookup("sparse"))
	elements, err := key.Elements()
	if err != nil || len(elements) == 0 {
		return nil, refuse(codeCannotCreateIndex, "an index needs a field in its key: %s", spec)
	}
	for _, el := range elements {
		ix.fields = append(ix.fields, el.Key())
	}
	return ix, nil
}

func isTrue(v bson.RawValue) bool {
	b, ok := v.BooleanOK()
	return ok && b
}

// sameKey says that two indexes are over the same fields in the same order and
// directions.
func (ix *index) sameKey(other *index) bool {
	if !slices.Equal(ix.fields, other.fields) {
		return false
	}
	a, _ := ix.info.Key.Values()
	b, _ := other.info.Key.Values()
	return slices.EqualFunc(a, b, func(a, b bson.RawValue) bool { return query.Compare(a, b) == 0 })
}

// indexKey is one entry of a document: a map key and the values it is made of.
type indexKey struct {
	key    string
	values []bson.RawValue
}

// null stands in an index for a field that is not there.
var null = bson.RawValue{Type: bson.TypeNull}

// keys returns a document's entries: one, or as many as an array on the way of
// the fields has items. A sparse index has none for a document without any of the
// fields.
func (ix *index) keys(doc bson.Raw) ([]indexKey, error) {
	b := keyBuilder{ix: ix, values: make([]bson.RawValue, len(ix.fields))}
	if err := b.expand(doc, slices.Clone(ix.fields)); err != nil {
		return nil, err
	}
	if ix.info.Sparse && !b.found {
		return nil, nil
	}
	return b.out, nil
}

type keyBuilder struct {
	ix     *index
	values []bson.RawValue
	found  bool // some field is there
	out    []indexKey
}

// expand adds the entries of what the rest of each path reaches in doc. An empty
// path has its value already.
func (b *keyBuilder) expand(doc bson.Raw, paths []string) error {
	var array bson.Raw // that paths go through
	through := ""      // the field, from doc, that holds it
	rests := make([]string, len(paths))
	waiting := make([]bool, len(paths)) // for the items of array
	for i, path := range paths {
		if path == "" {
			continue
		}
		at, in, rest := "", doc, path
		for {
			name, deeper, more := strings.Cut(rest, ".")
			v := in.Lookup(name)
			at += "." + name
			if v.Type == bson.TypeEmbeddedDocument && more {
				in, rest = v.Value, deeper
				continue
			}
			if v.Type != bson.TypeArray {
				b.take(i, v, more)
				break
			}
			if item, ok := itemNamed(v, deeper, more); ok {
				// The path says which item it means.
				_, deeper, more = strings.Cut(deeper, ".")
				if !more || item.Type != bson.TypeEmbeddedDocument {
					b.take(i, item, more)
					break
				}
				in, rest, at = item.Value, deeper, at+".#"
				continue
			}
			if array != nil && through != at {
				return refuse(codeCannotIndexParallelArrays, "cannot index parallel arrays [%s] [%s]", lastName(at), lastName(through))
			}
			array, through, rests[i], waiting[i] = v.Value, at, deeper, true
			b.found = true
			break
		}
	}
	if array == nil {
		b.emit()
		return nil
	}
	items, err := array.Values()
	if err != nil {
		return refuse(codeBadValue, "%v", err)
	}
	if len(items) == 0 {
		for i := range paths {
			if waiting[i] {
				b.values[i] = null
				if rests[i] == "" {
					b.values[i] = bson.RawValue{Type: bson.TypeUndefined}
				}
			}
		}
		b.emit()
		return nil
	}
	for _, item := range items {
		next := make([]string, len(paths))
		inside := bson.Raw(nil)
		for i := range paths {
			switch {
			case !waiting[i]:
			case rests[i] == "":
				b.values[i] = item
			case item.Type == bson.TypeEmbeddedDocument:
				next[i], inside = rests[i], item.Value
			default:
				b.values[i] = null
			}
		}
		if err := b.expand(inside, next); err != nil {
			return err
		}
	}
	return nil
}

// take gives field i its value, which is null when its path ends early.
func (b *keyBuilder) take(i int, v bson.RawValue, early bool) {
	if early || v.Type == 0 {
		b.values[i] = null
		return
	}
	b.values[i] = v
	b.found = true
}

func (b *keyBuilder) emit() {
	var key []byte
	for _, v := range b.values {
		one := query.IDKey(v)
		key = binary.AppendUvarint(key, uint64(len(one)))
		key = append(key, one...)
	}
	for i := range b.out {
		if b.out[i].key == string(key) {
			return
		}
	}
	b.out = append(b.out, indexKey{string(key), slices.Clone(b.values)})
}

// itemNamed returns the item of an array that the next name of a path says by
// its position, as long as no item is a document that has a field of that name.
func itemNamed(array bson.RawValue, path string, more bool) (bson.RawValue, bool) {
	name, _, _ := strings.Cut(path, ".")
	n, err := strconv.ParseUint(name, 10, 31)
	if !more || err != nil || strconv.FormatUint(n, 10) != name {
		return bson.RawValue{}, false
	}
	items, err := bson.Raw(array.Value).Values()
	if err != nil {
		return bson.RawValue{}, false
	}
	for _, item := range items {
		if item.Type == bson.TypeEmbeddedDocument && bytes.Contains(item.Value, append([]byte(name), 0)) {
			if _, err := bson.Raw(item.Value).LookupErr(name); err == nil {
				return bson.RawValue{}, false
			}
		}
	}
	if n >= uint64(len(items)) {
		return bson.RawValue{}, true
	}
	return items[n], true
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
