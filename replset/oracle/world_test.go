package oracle

import (
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// world makes documents, filters and updates of so few different names and values that they meet. There is
// nothing in it that FerretDB does not store: no decimals, no NaN, no keys beyond all others, no array that
// is directly in another.
type world struct{ r *rand.Rand }

var (
	names = []string{"a", "b", "c"}
	paths = []string{"a", "b", "c", "a.b", "a.a", "b.a", "a.0", "b.1", "a.b.c", "a.0.b"}
	atoms = []any{
		nil, int32(0), int32(1), int32(2), int64(1), int64(3), 1.0, 1.5, -2.5, "", "a", "b", "ab", true, false,
		bson.ObjectID{1}, bson.NewDateTimeFromTime(time.UnixMilli(0)), bson.NewDateTimeFromTime(time.UnixMilli(5)), bson.Binary{Data: []byte{1}}, bson.D{},
	}
)

func (w world) one(list []string) string { return list[w.r.IntN(len(list))] }

func (w world) value(depth int, arrays bool) any {
	if depth > 0 {
		switch w.r.IntN(5) {
		case 0:
			return w.fields(depth-1, w.r.IntN(3))
		case 1:
			if arrays {
				return w.array(depth - 1)
			}
		}
	}
	return atoms[w.r.IntN(len(atoms))]
}

func (w world) array(depth int) bson.A {
	a := bson.A{}
	for range w.r.IntN(4) {
		a = append(a, w.value(depth, false))
	}
	return a
}

func (w world) fields(depth, most int) bson.D {
	d := bson.D{}
	for _, i := range w.r.Perm(len(names))[:min(most, len(names))] {
		d = append(d, bson.E{Key: names[i], Value: w.value(depth, true)})
	}
	return d
}

func (w world) document(id int) bson.D {
	return append(bson.D{{Key: "_id", Value: int32(id)}}, w.fields(3, 1+w.r.IntN(3))...)
}

func of(k string, v any) bson.D { return bson.D{{Key: k, Value: v}} }

func (w world) condition() bson.D {
	switch op := w.one([]string{"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$size", "$all", "$elemMatch", "$type", "$mod", "$regex", "$not"}); op {
	case "$in", "$nin", "$all":
		return of(op, bson.A{w.value(1, false), w.value(1, false)})
	case "$exists":
		return of(op, w.r.IntN(2) == 0)
	case "$size":
		return of(op, int32(w.r.IntN(3)))
	case "$mod":
		return of(op, bson.A{int32(2), int32(w.r.IntN(2))})
	case "$type":
		return of(op, w.one([]string{"number", "string", "object", "array", "null", "int", "long", "double", "bool", "date", "objectId"}))
	case "$regex":
		return of(op, w.one([]string{"a", "^b", "b$"}))
	case "$elemMatch":
		return of(op, of(w.one([]string{"$eq", "$gt", "$lte", "$exists"}), int32(1)))
	case "$not":
		return of(op, of(w.one([]string{"$eq", "$gt", "$lte", "$in"}), bson.A{w.value(0, false)}))
	default:
		return of(op, w.value(2, true))
	}
}

func (w world) filter(depth int) bson.D {
	if depth > 0 && w.r.IntN(4) == 0 {
		return of(w.one([]string{"$and", "$or", "$nor"}), bson.A{w.filter(depth - 1), w.filter(depth - 1)})
	}
	return of(w.one(paths), w.condition())
}

func (w world) update() bson.D {
	number := []any{int32(1), int32(-3), int64(2), 1.5}[w.r.IntN(4)]
	p := w.one(paths)
	change := func() bson.D {
		switch op := w.one([]string{"$set", "$unset", "$inc", "$mul", "$min", "$max", "$push", "$addToSet", "$pull", "$pullAll", "$pop", "$rename", "$setOnInsert", "$bit"}); op {
		case "$inc", "$mul":
			return of(op, of(p, number))
		case "$pullAll":
			return of(op, of(p, bson.A{w.value(1, false), w.value(1, false)}))
		case "$pop":
			return of(op, of(p, int32(1-2*w.r.IntN(2))))
		case "$rename":
			return of(op, of(p, w.one([]string{"x", "y.z"})))
		case "$bit":
			return of(op, of(p, of(w.one([]string{"and", "or", "xor"}), int32(w.r.IntN(8)))))
		case "$push", "$addToSet":
			if w.r.IntN(2) == 0 {
				return of(op, of(p, of("$each", w.array(1))))
			}
			return of(op, of(p, w.value(1, false)))
		case "$pull":
			return of(op, of(p, w.value(1, false)))
		default:
			return of(op, of(p, w.value(2, true)))
		}
	}
	u := change()
	if w.r.IntN(4) == 0 {
		p = w.one(paths)
		if more := change(); more[0].Key != u[0].Key {
			u = append(u, more...)
		}
	}
	return u
}
