package command

import (
	"encoding/binary"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// body builds a document front to back.
type body struct {
	b   []byte
	err error // the first
}

func newBody(capacity int) *body {
	return &body{b: append(make([]byte, 0, capacity), 0, 0, 0, 0)}
}

func (d *body) key(t bson.Type, key string) {
	d.b = append(d.b, byte(t))
	d.b = append(d.b, key...)
	d.b = append(d.b, 0)
}

func (d *body) str(key, v string) {
	d.key(bson.TypeString, key)
	d.b = binary.LittleEndian.AppendUint32(d.b, uint32(len(v)+1))
	d.b = append(d.b, v...)
	d.b = append(d.b, 0)
}

func (d *body) bool(key string, v bool) {
	d.key(bson.TypeBoolean, key)
	if v {
		d.b = append(d.b, 1)
	} else {
		d.b = append(d.b, 0)
	}
}

func (d *body) optBool(key string, v *bool) {
	if v != nil {
		d.bool(key, *v)
	}
}

func (d *body) int32(key string, v int32) {
	d.key(bson.TypeInt32, key)
	d.b = binary.LittleEndian.AppendUint32(d.b, uint32(v))
}

func (d *body) int64(key string, v int64) {
	d.key(bson.TypeInt64, key)
	d.b = binary.LittleEndian.AppendUint64(d.b, uint64(v))
}

func (d *body) doc(key string, v bson.Raw) {
	d.key(bson.TypeEmbeddedDocument, key)
	d.b = append(d.b, v...)
}

func (d *body) value(key string, v bson.RawValue) {
	d.key(v.Type, key)
	d.b = append(d.b, v.Value...)
}

// array appends an array of documents.
func (d *body) array(key string, docs ...bson.Raw) {
	d.key(bson.TypeArray, key)
	start := len(d.b)
	d.b = append(d.b, 0, 0, 0, 0)
	for i, doc := range docs {
		d.doc(strconv.Itoa(i), doc)
	}
	d.b = append(d.b, 0)
	binary.LittleEndian.PutUint32(d.b[start:], uint32(len(d.b)-start))
}

// The following append an option where it is set, encoded.

func (d *body) optDoc(e *Encoder, key, field string, v any, inOrder bool) {
	if v == nil || d.err != nil {
		return
	}
	encode := e.document
	if inOrder {
		encode = e.ordered
	}
	raw, err := encode(field, v)
	if err != nil {
		d.err = err
		return
	}
	d.doc(key, raw)
}

func (d *body) optValue(e *Encoder, key, field string, v any) {
	if v == nil || d.err != nil {
		return
	}
	raw, err := e.value(field, v)
	if err != nil {
		d.err = err
		return
	}
	d.value(key, raw)
}

func (d *body) hint(e *Encoder, v any) {
	if v == nil || d.err != nil {
		return
	}
	if unordered(v) {
		_, d.err = e.ordered("Hint", v)
		return
	}
	d.optValue(e, "hint", "Hint", v)
}

func (d *body) collation(c *options.Collation) {
	if c == nil || d.err != nil {
		return
	}
	raw, err := bson.Marshal(c)
	if err != nil {
		d.err = invalid("Collation", err)
		return
	}
	d.doc("collation", renamed(raw))
}

// renamed gives a collation's fields the server's names: the driver's struct has no
// tags for them, and its encoder lower-cases.
func renamed(c bson.Raw) bson.Raw {
	names := map[string]string{
		"caselevel": "caseLevel", "casefirst": "caseFirst", "numericordering": "numericOrdering", "maxvariable": "maxVariable",
	}
	elements, err := c.Elements()
	if err != nil {
		return c
	}
	d := newBody(len(c))
	for _, el := range elements {
		key := el.Key()
		if n, ok := names[key]; ok {
			key = n
		}
		d.value(key, el.Value())
	}
	return d.end()
}

func (d *body) end() bson.Raw {
	d.b = append(d.b, 0)
	binary.LittleEndian.PutUint32(d.b, uint32(len(d.b)))
	return d.b
}

// readLength reads a document's length and reports whether b holds that many
// bytes.
func readLength(b []byte) (n int, rest []byte, ok bool) {
	if len(b) < 5 {
		return 0, nil, false
	}
	l := int(int32(binary.LittleEndian.Uint32(b)))
	if l < 5 || l > len(b) {
		return 0, nil, false
	}
	return l, b[l:], true
}
