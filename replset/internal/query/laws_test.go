package query

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// world makes documents, paths and values of so few different ones that they meet.
type world struct{ r *rand.Rand }

var (
	worldNames = []string{"a", "b", "c"}
	worldPaths = []string{"a", "b", "c", "a.b", "a.a", "b.a", "a.0", "b.1", "a.b.c", "a.0.b", "b.c.0"}
	worldAtoms = slices.Collect(func(yield func(bson.RawValue) bool) {
		for _, s := range []string{
			"null", "0", "1", "2", "Long(1)", "Long(2)", "1.0", "1.5", `Dec("1")`, `Dec("1.50")`, "NaN", "-0.0", `""`, `"a"`, `"b"`, "true", "false",
			`OID("01")`, "Date(0)", "Date(1)", "TS(0, 1)", `Bin(0, "00")`, "MinKey", "MaxKey", "{}", "[]",
		} {
			if !yield(val(s)) {
				return
			}
		}
	})
)

func (w world) pick(list []string) string { return list[w.r.IntN(len(list))] }

func (w world) value(depth int) bson.RawValue {
	switch w.r.IntN(5) {
	case 0:
		if depth > 0 {
			return documentValue(w.fields(depth-1, w.r.IntN(3)))
		}
	case 1:
		if depth > 0 {
			items := make([]bson.RawValue, w.r.IntN(4))
			for i := range items {
				items[i] = w.value(depth - 1)
			}
			return arrayValue(items)
		}
	}
	return worldAtoms[w.r.IntN(len(worldAtoms))]
}

// found is what is at a path, or in an array there, or any value: conditions are to be met now
// and then.
func (w world) found(d bson.Raw, p string) bson.RawValue {
	at := documentValue(d)
	for _, name := range strings.Split(p, ".") {
		if at.Type != bson.TypeEmbeddedDocument && at.Type != bson.TypeArray {
			break
		}
		if at = lookup(at.Value, name); missing(at) {
			break
		}
	}
	if at.Type == bson.TypeArray && w.r.IntN(2) == 0 {
		if items := arrayItems(at.Value); len(items) > 0 {
			at = items[w.r.IntN(len(items))]
		}
	}
	if missing(at) || w.r.IntN(2) == 0 {
		return w.value(2)
	}
	return at
}

// fields is a document of up to so many of the names, each once.
func (w world) fields(depth, most int) bson.Raw {
	dst, start := openDocument(nil)
	for _, i := range w.r.Perm(len(worldNames))[:min(most, len(worldNames))] {
		dst = appendElement(dst, worldNames[i], w.value(depth))
	}
	return closeDocument(dst, start)
}

// document has an _id, as what is updated has.
func (w world) document() bson.Raw {
	dst, start := openDocument(nil)
	dst = appendElement(dst, "_id", int32Value(1))
	for _, i := range w.r.Perm(len(worldNames)) {
		if w.r.IntN(4) > 0 {
			dst = appendElement(dst, worldNames[i], w.value(3))
		}
	}
	return closeDocument(dst, start)
}

// of is a document of one field.
func of(name string, v bson.RawValue) bson.RawValue {
	dst, start := openDocument(nil)
	return documentValue(closeDocument(appendElement(dst, name, v), start))
}

func array(v ...bson.RawValue) bson.RawValue { return arrayValue(v) }

// both is a document of the fields of several.
func both(all ...bson.RawValue) bson.RawValue {
	dst, start := openDocument(nil)
	for _, d := range all {
		e := elementsOf(d.Value)
		for {
			key, v, ok := e.next()
			if !ok {
				break
			}
			dst = appendElement(dst, string(key), v)
		}
	}
	return documentValue(closeDocument(dst, start))
}

// condition is an operator with its operand, of those that any value fits.
func (w world) condition() bson.RawValue {
	v := w.value(2)
	switch op := w.pick([]string{"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$size", "$all", "$elemMatch", "$type", "$mod"}); op {
	case "$in", "$nin", "$all":
		return of(op, array(v, w.value(2)))
	case "$exists":
		return of(op, boolValue(w.r.IntN(2) == 0))
	case "$size":
		return of(op, int32Value(int32(w.r.IntN(3))))
	case "$mod":
		return of(op, array(int32Value(2), int32Value(int32(w.r.IntN(2)))))
	case "$type":
		return of(op, stringValue(w.pick([]string{"number", "string", "object", "array", "null", "int", "double"})))
	case "$elemMatch":
		return of(op, of(w.pick([]string{"$eq", "$gt", "$lte", "$exists"}), int32Value(1)))
	default:
		return of(op, v)
	}
}

// filter is one of a path, or of some filters.
func (w world) filter(depth int) bson.RawValue {
	if depth > 0 && w.r.IntN(3) == 0 {
		return of(w.pick([]string{"$and", "$or", "$nor"}), array(w.filter(depth-1), w.filter(depth-1)))
	}
	return of(w.pick(worldPaths), w.condition())
}

// laws holds what is true of all filters, whatever they ask, against one document.
type laws struct {
	t *testing.T
	d bson.Raw
}

func (l laws) match(filter bson.RawValue) bool {
	f, err := CompileFilter(filter.Value)
	if err != nil {
		l.t.Fatalf("%v: %v", bson.Raw(filter.Value), err)
	}
	return f.Match(l.d)
}

func (l laws) same(law string, left bson.RawValue, right bool) {
	l.t.Helper()
	if got := l.match(left); got != right {
		l.t.Errorf("%s: %s is %v for %s", law, bson.Raw(left.Value), got, l.d)
	}
}

func checkFilterLaws(t *testing.T, w world, d bson.Raw) {
	l := laws{t, d}
	p, c := w.pick(worldPaths), w.condition()
	f, g, v, u := w.filter(2), w.filter(2), w.found(d, p), w.found(d, p)
	mf, mg := l.match(f), l.match(g)

	l.same("$not", of(p, of("$not", c)), !l.match(of(p, c)))
	l.same("$and", of("$and", array(f, g)), mf && mg)
	l.same("$or", of("$or", array(f, g)), mf || mg)
	l.same("$nor", of("$nor", array(f, g)), !mf && !mg)
	l.same("De Morgan, of $and", of("$nor", array(of("$and", array(f, g)))), l.match(of("$or", array(of("$nor", array(f)), of("$nor", array(g))))))
	l.same("De Morgan, of $or", of("$nor", array(of("$or", array(f, g)))), l.match(of("$and", array(of("$nor", array(f)), of("$nor", array(g))))))
	l.same("the order of $and", of("$and", array(f, g)), l.match(of("$and", array(g, f))))
	l.same("the order of $or", of("$or", array(f, g)), l.match(of("$or", array(g, f))))
	l.same("an implicit $and", of(p, both(of("$gt", v), of("$lte", u))), l.match(of(p, of("$gt", v))) && l.match(of(p, of("$lte", u))))

	eqV, eqU := l.match(of(p, of("$eq", v))), l.match(of(p, of("$eq", u)))
	if !(v.Type == bson.TypeEmbeddedDocument && len(v.Value) > 5 && v.Value[5] == '$') {
		l.same("an implicit $eq", of(p, v), eqV)
	}
	l.same("$in", of(p, of("$in", array(v, u))), eqV || eqU)
	many, any := make([]bson.RawValue, 10), false // More than are tried one by one.
	for i := range many {
		many[i] = w.value(2)
		any = any || l.match(of(p, of("$eq", many[i])))
	}
	l.same("$in of many", of(p, of("$in", array(many...))), any)
	l.same("$in of one", of(p, of("$in", array(v))), eqV)
	l.same("$in of none", of(p, of("$in", array())), false)
	l.same("$nin", of(p, of("$nin", array(v, u))), !eqV && !eqU)
	l.same("$ne", of(p, of("$ne", v)), !eqV)
	l.same("$all of one", of(p, of("$all", array(v))), eqV)
	l.same("$all", of(p, of("$all", array(v, u))), eqV && eqU)
	l.same("$all of none", of(p, of("$all", array())), false)
	l.same("$gte", of(p, of("$gte", v)), l.match(of(p, of("$gt", v))) || eqV)
	l.same("$lte", of(p, of("$lte", v)), l.match(of(p, of("$lt", v))) || eqV)
	if x := w.found(d, p); x.Type != bson.TypeArray {
		alone, n := laws{t, of("a", x).Value}, 0
		for _, op := range []string{"$lt", "$eq", "$gt"} {
			if alone.match(of("a", of(op, v))) {
				n++
			}
		}
		if n > 1 {
			t.Errorf("%v is two of below, equal to and above %v", x, v)
		}
	}
	l.same("$exists", of(p, of("$exists", boolValue(false))), !l.match(of(p, of("$exists", boolValue(true)))))
	l.same("$type of two", of(p, of("$type", array(stringValue("number"), stringValue("array")))),
		l.match(of(p, of("$type", stringValue("number")))) || l.match(of(p, of("$type", stringValue("array")))))
	if l.match(of(p, of("$elemMatch", both(of("$gt", v), of("$lt", u))))) && !l.match(of(p, both(of("$gt", v), of("$lt", u)))) {
		t.Errorf("$elemMatch: one item of %s in %s is between %v and %v, and none is above one and none below the other", p, d, v, u)
	}
}

// after is the document as the update leaves it; ok is false when it was refused.
func after(t *testing.T, d bson.Raw, update ...bson.RawValue) (after bson.Raw, changed, ok bool) {
	t.Helper()
	for _, spec := range update {
		u, err := CompileUpdate(spec, UpdateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", bson.Raw(spec.Value), err)
		}
		if d, changed, err = u.Apply(d); err != nil {
			return nil, false, false
		}
	}
	return d, changed, true
}

func checkUpdateLaws(t *testing.T, w world, d bson.Raw) {
	p := w.pick(worldPaths)
	v := w.found(d, p)
	n := int32Value(int32(w.r.IntN(1000) - 500))
	set := func(op string, v bson.RawValue) bson.RawValue { return of(op, of(p, v)) }
	each := func(items ...bson.RawValue) bson.RawValue { return of("$each", array(items...)) }

	for _, update := range []bson.RawValue{
		set("$set", v), set("$unset", v), set("$min", v), set("$max", v), set("$addToSet", v), set("$addToSet", each(v, w.value(2))), set("$pull", v), set("$pullAll", array(v)),
		set("$mul", int32Value(1)), set("$inc", int32Value(0)), set("$bit", of("or", int32Value(5))), set("$bit", of("and", int32Value(6))),
	} {
		once, _, ok := after(t, d, update)
		if !ok {
			continue
		}
		twice, changed, ok := after(t, once, update)
		if !ok || changed || !bytes.Equal(once, twice) {
			t.Errorf("twice: %s makes %s of %s, and then %s (%v, %v)", bson.Raw(update.Value), once, d, twice, ok, changed)
		}
		if !bytes.Equal(lookupBytes(once, "_id"), lookupBytes(d, "_id")) {
			t.Errorf("%s makes %s of %s", bson.Raw(update.Value), once, d)
		}
	}

	one, _, ok := after(t, d, set("$addToSet", v))
	if two, _, ok2 := after(t, d, set("$addToSet", each(v, v))); ok != ok2 || !bytes.Equal(one, two) {
		t.Errorf("$addToSet of %v makes %s of %s, and twice at once %s", v, one, d, two)
	}
	if set, _, ok := after(t, d, set("$set", v)); ok {
		if !(laws{t, set}).match(of(p, of("$eq", v))) {
			t.Errorf("$set: %s is not %v in %s", p, v, set)
		}
		if unset, _, ok := after(t, set, of("$unset", of(p, v))); !ok {
			t.Errorf("$unset of %s is refused by %s", p, set)
		} else if parents, _, _ := after(t, d, of("$unset", of(p, v))); !strings.Contains(p, ".") && !bytes.Equal(unset, parents) {
			t.Errorf("$set and $unset of %s make %s of %s, and $unset alone %s", p, unset, d, parents)
		}
	}
	// A field that is there is changed in its place, so that what undoes it leaves no trace.
	there := (laws{t, d}).match(of(p, of("$exists", boolValue(true))))
	undo := func(law string, updates ...bson.RawValue) {
		t.Helper()
		if got, _, ok := after(t, d, updates...); ok && there && !sameNumbers(got, d) {
			t.Errorf("%s of %s makes %s of %s", law, p, got, d)
		}
	}
	if isInteger(d, p) {
		minus := int32Value(-int32(binary.LittleEndian.Uint32(n.Value)))
		undo("$inc there and back", set("$inc", n), set("$inc", minus))
		undo("$bit xor twice", set("$bit", of("xor", n)), set("$bit", of("xor", n)))
	}
	if _, _, array := after(t, d, set("$pop", int32Value(1))); array && there {
		undo("$push and $pop", set("$push", v), set("$pop", int32Value(1)))
		undo("$push in front and $pop there", set("$push", both(each(v), of("$position", int32Value(0)))), set("$pop", int32Value(-1)))
		undo("$push of none", set("$push", each()))
		left, _, ok := after(t, d, set("$push", v), set("$push", n))
		right, _, ok2 := after(t, d, set("$push", each(v, n)))
		if ok != ok2 || !bytes.Equal(left, right) {
			t.Errorf("$push one after the other makes %s of %s, and together %s", left, d, right)
		}
		if pulled, _, ok := after(t, d, set("$pull", n)); ok && (laws{t, pulled}).match(of(p, of("$elemMatch", of("$eq", n)))) {
			t.Errorf("$pull of %v leaves %s", n, pulled)
		}
	}
	if there {
		if got, changed, ok := after(t, d, of("$setOnInsert", of(p, v))); !ok || changed || !bytes.Equal(got, d) {
			t.Errorf("$setOnInsert makes %s of %s", got, d)
		}
	}
	if missing(lookup(d, "z")) {
		if back, _, ok := after(t, d, of("$rename", of("a", stringValue("z"))), of("$rename", of("z", stringValue("a")))); !ok || !sameFields(back, d) {
			t.Errorf("$rename there and back makes %s of %s", back, d)
		}
	}
	// Since MongoDB 5.0 names are processed in their own order, not in that of the update.
	q, u := w.pick(worldPaths), w.value(1)
	if p != q && !within(p, q) && !within(q, p) {
		for _, pair := range [][2]bson.RawValue{
			{of("$set", both(of(p, v), of(q, u))), of("$set", both(of(q, u), of(p, v)))},
			{both(of("$set", of(p, v)), of("$inc", of(q, n))), both(of("$inc", of(q, n)), of("$set", of(p, v)))},
			{both(of("$unset", of(p, v)), of("$set", of(q, u))), both(of("$set", of(q, u)), of("$unset", of(p, v)))},
		} {
			left, _, ok := after(t, d, pair[0])
			right, _, ok2 := after(t, d, pair[1])
			if ok != ok2 || !bytes.Equal(left, right) {
				t.Errorf("%s makes %s of %s, and in another order %s", bson.Raw(pair[0].Value), left, d, right)
			}
		}
	}
	// What $min leaves is not above either, and what $max leaves not below.
	for op, sign := range map[string]int{"$min": 1, "$max": -1} {
		name := w.pick(worldNames)
		got, _, ok := after(t, d, of(op, of(name, v)))
		if !ok {
			t.Errorf("%s is refused", op)
			continue
		}
		if Compare(lookup(got, name), v)*sign > 0 || !missing(lookup(d, name)) && Compare(lookup(got, name), lookup(d, name))*sign > 0 {
			t.Errorf("%s of %s and %v leaves %s", op, d, v, got)
		}
	}
}

// within reports whether one path leads into the other.
func within(p, q string) bool { return strings.HasPrefix(p, q+".") }

func lookupBytes(d bson.Raw, name string) []byte { return lookup(d, name).Value }

// isInteger reports whether a single integer is at a path.
func isInteger(d bson.Raw, p string) bool {
	f, err := CompileFilter(of(p, both(of("$type", array(stringValue("int"), stringValue("long"))), of("$not", of("$type", stringValue("array"))))).Value)
	return err == nil && f.Match(d)
}

// sameNumbers compares documents in which an int may have become a long.
func sameNumbers(a, b bson.Raw) bool { return Compare(documentValue(a), documentValue(b)) == 0 }

// sameFields compares documents without the order of their fields.
func sameFields(a, b bson.Raw) bool {
	sorted := func(d bson.Raw) (all []string) {
		e := elementsOf(d)
		for {
			key, v, ok := e.next()
			if !ok {
				slices.Sort(all)
				return all
			}
			all = append(all, string(key)+" "+v.Type.String()+string(v.Value))
		}
	}
	return slices.Equal(sorted(a), sorted(b))
}

// unique reports whether no name is twice in one document: what then happens nobody promises.
func unique(d []byte) bool {
	seen := map[string]bool{}
	e := elementsOf(d)
	for {
		key, v, ok := e.next()
		switch {
		case !ok:
			return true
		case seen[string(key)], (v.Type == bson.TypeEmbeddedDocument || v.Type == bson.TypeArray) && !unique(v.Value):
			return false
		}
		seen[string(key)] = true
	}
}

// given is the document of a fuzz input, or one that the seed makes.
func (w world) given(raw []byte) bson.Raw {
	if len(raw) < 5 || checkNesting(raw) != nil || bson.Raw(raw).Validate() != nil || !unique(raw) {
		return w.document()
	}
	return WithID(bytes.Clone(raw))
}

var lawSeeds = []string{`{_id: 1, a: [1, {b: 2}], b: {c: 1}}`, `{_id: 1, a: null, b: [[1]], c: NaN}`, `{_id: 1, a: {b: [1, 2, {c: 3}]}}`, `{_id: 1, b: [null, []]}`}

func FuzzFilterLaws(f *testing.F) { fuzzLaws(f, 1, checkFilterLaws) }

func FuzzUpdateLaws(f *testing.F) { fuzzLaws(f, 2, checkUpdateLaws) }

func fuzzLaws(f *testing.F, stream uint64, check func(*testing.T, world, bson.Raw)) {
	for i, s := range lawSeeds {
		f.Add(uint64(i), []byte(doc(s)))
	}
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		w := world{rand.New(rand.NewPCG(seed, stream))}
		check(t, w, w.given(raw))
	})
}

func TestFiltersAndUpdatesObeyTheirLaws(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 8))}
	for range 3000 {
		checkFilterLaws(t, w, w.document())
		checkUpdateLaws(t, w, w.document())
		if t.Failed() {
			return
		}
	}
}
