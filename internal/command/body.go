package command

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// maxDocument is the server's limit of a document that is stored.
	maxDocument = 16 << 20
	// maxCommand bounds a command. The server takes 16 KiB more than maxDocument, and
	// ends the connection of one that is larger; half of that is left for what an
	// attempt adds.
	maxCommand = maxDocument + 8<<10
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

func (d *body) objectID(key string, v bson.ObjectID) {
	d.key(bson.TypeObjectID, key)
	d.b = append(d.b, v[:]...)
}

func (d *body) timestamp(key string, v bson.Timestamp) {
	d.key(bson.TypeTimestamp, key)
	d.b = binary.LittleEndian.AppendUint32(d.b, v.I)
	d.b = binary.LittleEndian.AppendUint32(d.b, v.T)
}

func (d *body) doc(key string, v bson.Raw) {
	d.key(bson.TypeEmbeddedDocument, key)
	d.b = append(d.b, v...)
}

func (d *body) value(key string, v bson.RawValue) {
	d.key(v.Type, key)
	d.b = append(d.b, v.Value...)
}

// open begins a document or an array inside, which close ends.
func (d *body) open(t bson.Type, key string) (start int) {
	d.key(t, key)
	start = len(d.b)
	d.b = append(d.b, 0, 0, 0, 0)
	return start
}

func (d *body) close(start int) {
	d.b = append(d.b, 0)
	binary.LittleEndian.PutUint32(d.b[start:], uint32(len(d.b)-start))
}

// array appends an array of documents.
func (d *body) array(key string, docs ...bson.Raw) {
	start := d.open(bson.TypeArray, key)
	for i, doc := range docs {
		d.doc(strconv.Itoa(i), doc)
	}
	d.close(start)
}

// The following append what is encoded first. They do nothing after an error, nor
// for an option that is not set.

// filter appends a filter, which must be set, and returns it.
func (d *body) filter(e *Encoder, key string, v any) bson.Raw {
	mark := len(d.b)
	start := d.open(bson.TypeEmbeddedDocument, key)
	if d.equality(e, v) {
		d.close(start)
		return d.b[start:]
	}
	d.b = d.b[:mark]
	raw, err := e.document("Filter", v)
	if err != nil {
		d.fail(err)
		return nil
	}
	d.doc(key, raw)
	return raw
}

// equality appends the one element of a filter such as {_id: "ann"}. Most of what a
// game reads is asked for so, and the driver's encoder takes a dozen allocations
// to encode it. It reports false for any other filter, which that one encodes.
func (d *body) equality(e *Encoder, filter any) bool {
	if e.Registry != nil || e.BSON != nil && e.BSON.IntMinSize {
		return false // Somebody wants it otherwise.
	}
	var el bson.E
	switch f := filter.(type) {
	case bson.D:
		if len(f) != 1 {
			return false
		}
		el = f[0]
	case bson.M:
		if len(f) != 1 {
			return false
		}
		for k, v := range f {
			el = bson.E{Key: k, Value: v}
		}
	default:
		return false
	}
	if strings.IndexByte(el.Key, 0) >= 0 {
		return false
	}
	switch v := el.Value.(type) {
	case string:
		d.str(el.Key, v)
	case bson.ObjectID:
		d.objectID(el.Key, v)
	case int64:
		d.int64(el.Key, v)
	case int32:
		d.int32(el.Key, v)
	case int:
		if v < math.MinInt32 || v > math.MaxInt32 {
			d.int64(el.Key, int64(v))
		} else {
			d.int32(el.Key, int32(v))
		}
	default:
		return false
	}
	return true
}

func (d *body) optDoc(e *Encoder, key, field string, v any) (encoded bson.Raw) {
	return d.optWith(e.document, key, field, v)
}

// optOrdered is optDoc for documents whose order matters.
func (d *body) optOrdered(e *Encoder, key, field string, v any) {
	d.optWith(e.ordered, key, field, v)
}

func (d *body) optWith(encode func(string, any) (bson.Raw, error), key, field string, v any) bson.Raw {
	if v == nil || d.err != nil {
		return nil
	}
	raw, err := encode(field, v)
	if err != nil {
		d.err = err
		return nil
	}
	d.doc(key, raw)
	return raw
}

func (d *body) optValue(e *Encoder, key, field string, v any) {
	if v == nil || d.err != nil {
		return
	}
	raw, err := e.Value(field, v)
	if err != nil {
		d.err = err
		return
	}
	d.value(key, raw)
}

func (d *body) comment(e *Encoder, v any) { d.optValue(e, "comment", "Comment", v) }

// hint appends an index's name or its keys.
func (d *body) hint(e *Encoder, v any) {
	if unordered(v) {
		d.fail(notOrdered("Hint"))
		return
	}
	d.optValue(e, "hint", "Hint", v)
}

// collation appends what is not zero, as the driver does.
func (d *body) collation(c *options.Collation) {
	if c == nil {
		return
	}
	start := d.open(bson.TypeEmbeddedDocument, "collation")
	d.nonEmpty("locale", c.Locale)
	d.ifTrue("caseLevel", c.CaseLevel)
	d.nonEmpty("caseFirst", c.CaseFirst)
	if c.Strength != 0 {
		d.int32("strength", int32(c.Strength))
	}
	d.ifTrue("numericOrdering", c.NumericOrdering)
	d.nonEmpty("alternate", c.Alternate)
	d.nonEmpty("maxVariable", c.MaxVariable)
	d.ifTrue("normalization", c.Normalization)
	d.ifTrue("backwards", c.Backwards)
	d.close(start)
}

func (d *body) nonEmpty(key, v string) {
	if v != "" {
		d.str(key, v)
	}
}

func (d *body) ifTrue(key string, v bool) {
	if v {
		d.bool(key, true)
	}
}

func (d *body) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// end closes a document.
func (d *body) end() bson.Raw {
	d.close(0)
	return d.b
}

// command closes a command.
func (d *body) command() (bson.Raw, error) {
	if d.err != nil {
		return nil, d.err
	}
	if err := fits(len(d.b)); err != nil {
		return nil, err
	}
	return d.end(), nil
}

func fits(size int) error {
	if size > maxCommand {
		return invalid("Operation", fmt.Errorf("it has %d bytes as a command; the server takes %d", size, maxCommand))
	}
	return nil
}
