package query

import "go.mongodb.org/mongo-driver/v2/bson"

// DistinctValues collects the different values at path in the documents that
// each yields, in the order they are met. The items of an array at the end of the path count,
// not the array; an array on the way is gone through, or numbered by the path. The
// values are slices of the documents.
func DistinctValues(path string, each func(yield func(bson.Raw) bool)) []bson.RawValue {
	d := &distinct{keys: map[string]struct{}{}}
	p := splitPath(path)
	each(func(doc bson.Raw) bool {
		d.collect(documentValue(doc), p)
		return true
	})
	return d.values
}

type distinct struct {
	keys   map[string]struct{}
	values []bson.RawValue
	buf    []byte
}

func (d *distinct) collect(v bson.RawValue, p path) {
	switch {
	case len(p) == 0:
		if !isArray(v) {
			d.add(v)
			return
		}
		for _, item := range arrayItems(v.Value) {
			d.add(item)
		}
	case isObject(v):
		d.collect(lookup(v.Value, p[0].name), p[1:])
	case isArray(v) && p[0].index >= 0:
		d.collect(lookup(v.Value, p[0].name), p[1:])
	case isArray(v):
		for _, item := range arrayItems(v.Value) {
			if isObject(item) {
				d.collect(item, p)
			}
		}
	}
}

func (d *distinct) add(v bson.RawValue) {
	if missing(v) {
		return
	}
	d.buf = appendIDKey(d.buf[:0], v, 0)
	if _, ok := d.keys[string(d.buf)]; ok {
		return
	}
	d.keys[string(d.buf)] = struct{}{}
	d.values = append(d.values, v)
}
