package server

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// builder appends BSON to a buffer that is used again for the next reply. A
// document is opened, filled, and closed with the offset that opening it gave.
type builder struct{ b []byte }

// open starts a document that is no element of another one.
func (w *builder) open() int {
	at := len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	return at
}

// close ends the document or array that was opened at an offset.
func (w *builder) close(at int) {
	w.b = append(w.b, 0)
	binary.LittleEndian.PutUint32(w.b[at:], uint32(len(w.b)-at))
}

func (w *builder) head(t bson.Type, key string) {
	w.b = append(w.b, byte(t))
	w.b = append(w.b, key...)
	w.b = append(w.b, 0)
}

func (w *builder) doc(key string) int {
	w.head(bson.TypeEmbeddedDocument, key)
	return w.open()
}

func (w *builder) array(key string) int {
	w.head(bson.TypeArray, key)
	return w.open()
}

// index starts an element of an array.
func (w *builder) index(t bson.Type, i int) {
	w.b = append(w.b, byte(t))
	w.b = strconv.AppendInt(w.b, int64(i), 10)
	w.b = append(w.b, 0)
}

func (w *builder) docAt(i int) int {
	w.index(bson.TypeEmbeddedDocument, i)
	return w.open()
}

func (w *builder) rawAt(i int, doc []byte) {
	w.index(bson.TypeEmbeddedDocument, i)
	w.b = append(w.b, doc...)
}

func (w *builder) valueAt(i int, v bson.RawValue) {
	w.index(v.Type, i)
	w.b = append(w.b, v.Value...)
}

func (w *builder) stringAt(i int, s string) {
	w.index(bson.TypeString, i)
	w.text(s)
}

func (w *builder) int32At(i int, n int32) {
	w.index(bson.TypeInt32, i)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(n))
}

func (w *builder) int64At(i int, n int64) {
	w.index(bson.TypeInt64, i)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(n))
}

func (w *builder) text(s string) {
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(s)+1))
	w.b = append(w.b, s...)
	w.b = append(w.b, 0)
}

func (w *builder) int32(key string, n int32) {
	w.head(bson.TypeInt32, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(n))
}

func (w *builder) int64(key string, n int64) {
	w.head(bson.TypeInt64, key)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(n))
}

func (w *builder) double(key string, f float64) {
	w.head(bson.TypeDouble, key)
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(f))
}

func (w *builder) bool(key string, v bool) {
	w.head(bson.TypeBoolean, key)
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *builder) string(key, s string) {
	w.head(bson.TypeString, key)
	w.text(s)
}

func (w *builder) strings(key string, list []string) {
	at := w.array(key)
	for i, s := range list {
		w.stringAt(i, s)
	}
	w.close(at)
}

func (w *builder) null(key string) { w.head(bson.TypeNull, key) }

func (w *builder) objectID(key string, id bson.ObjectID) {
	w.head(bson.TypeObjectID, key)
	w.b = append(w.b, id[:]...)
}

func (w *builder) timestamp(key string, ts bson.Timestamp) {
	w.head(bson.TypeTimestamp, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, ts.I)
	w.b = binary.LittleEndian.AppendUint32(w.b, ts.T)
}

func (w *builder) date(key string, t time.Time) {
	w.head(bson.TypeDateTime, key)
	ms := int64(0) // the zero time is a date no client can print
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(ms))
}

func (w *builder) binary(key string, subtype byte, data []byte) {
	w.head(bson.TypeBinary, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(data)))
	w.b = append(w.b, subtype)
	w.b = append(w.b, data...)
}

func (w *builder) raw(key string, doc []byte) {
	w.head(bson.TypeEmbeddedDocument, key)
	w.b = append(w.b, doc...)
}

func (w *builder) value(key string, v bson.RawValue) {
	w.head(v.Type, key)
	w.b = append(w.b, v.Value...)
}

// fields appends elements that the driver's own encoder writes: for the few
// places that hold them as a bson.D.
func (w *builder) fields(d bson.D) {
	if len(d) == 0 {
		return
	}
	doc, err := bson.Marshal(d)
	if err != nil {
		return // an error's extra fields; the error itself says enough
	}
	w.b = append(w.b, doc[4:len(doc)-1]...)
}
