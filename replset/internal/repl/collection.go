package repl

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// collection holds documents by record number, which is natural order, and finds
// them by _id. It is a Collection as soon as the edit that made it is dropped: from then on
// it never changes.
type collection struct {
	edit *edit
	db   string
	info CollectionInfo

	docs sequence[bson.Raw]
	byID hashMap[uint64] // record numbers by query.IDKey of the _id
	next uint64          // the next record number

	// indexes are in order of creation, that of _id first. The slice is replaced, never
	// changed; the entries of unique ones are in entries, by name.
	indexes []*index
	entries map[string]hashMap[uint64]
}

func newCollection(e *edit, db string, info CollectionInfo) *collection {
	return &collection{edit: e, db: db, info: info, indexes: []*index{idIndex}}
}

// own returns c, or a copy of it, such that e may change it.
func (c *collection) own(e *edit) *collection {
	if c.edit == e {
		return c
	}
	mine := *c
	mine.edit = e
	if c.entries != nil {
		mine.entries = make(map[string]hashMap[uint64], len(c.entries))
		for name, entries := range c.entries {
			mine.entries[name] = entries
		}
	}
	return &mine
}

func (c *collection) Info() CollectionInfo { return c.info }

func (c *collection) Len() int { return c.docs.n }

func (c *collection) ByID(id bson.RawValue) (bson.Raw, bool) {
	return c.byKey(query.IDKey(id))
}

func (c *collection) byKey(key string) (bson.Raw, bool) {
	rec, ok := c.byID.get(key)
	if !ok {
		return nil, false
	}
	return c.docs.get(rec)
}

func (c *collection) Each(yield func(bson.Raw) bool) {
	for _, doc := range c.docs.all() {
		if !yield(doc) {
			return
		}
	}
}

func (c *collection) Indexes() []IndexInfo {
	infos := make([]IndexInfo, len(c.indexes))
	for i, ix := range c.indexes {
		infos[i] = ix.info
	}
	return infos
}

// insert adds a document. The caller must own c. When it fails, c is as before.
func (c *collection) insert(doc bson.Raw) error {
	id := doc.Lookup("_id")
	key := query.IDKey(id)
	if _, there := c.byID.get(key); there {
		return c.duplicate(idIndex, []bson.RawValue{id})
	}
	rec := c.next
	if err := c.index(rec, nil, doc, true); err != nil {
		return err
	}
	c.next++
	c.byID.set(c.edit, key, rec)
	c.docs.set(c.edit, rec, doc)
	return nil
}

// replace puts doc in the place of the one with that _id. The caller must own
// c. When it fails, c is as before.
func (c *collection) replace(id bson.RawValue, doc bson.Raw) error {
	key := query.IDKey(id)
	rec, ok := c.byID.get(key)
	if !ok {
		return refuse(codeNoMatchingDocument, "no document with _id: %s in %s.%s", query.Text(id), c.db, c.info.Name)
	}
	if now := doc.Lookup("_id"); query.IDKey(now) != key {
		return refuse(codeImmutableField, "After applying the update, the (immutable) field '_id' was found to have been altered to _id: %s", query.Text(now))
	}
	old, _ := c.docs.get(rec)
	if err := c.index(rec, old, doc, true); err != nil {
		return err
	}
	c.docs.set(c.edit, rec, doc)
	return nil
}

// delete takes the document with that _id away, and reports whether it was
// there. The caller must own c.
func (c *collection) delete(id bson.RawValue) bool {
	key := query.IDKey(id)
	rec, ok := c.byID.get(key)
	if !ok {
		return false
	}
	old, _ := c.docs.get(rec)
	c.unindex(rec, old)
	c.byID.delete(c.edit, key)
	c.docs.delete(c.edit, rec)
	return true
}

// put is insert or replace as a secondary does them: what the primary has
// accepted is not judged again, and doing it twice is doing it once.
func (c *collection) put(doc bson.Raw) {
	key := query.IDKey(doc.Lookup("_id"))
	rec, ok := c.byID.get(key)
	if !ok {
		rec = c.next
		c.next++
		c.byID.set(c.edit, key, rec)
	}
	old, _ := c.docs.get(rec)
	// Without the check for duplicates nothing is left to fail but the keys of old
	// and doc, which the primary has made too.
	_ = c.index(rec, old, doc, false)
	c.docs.set(c.edit, rec, doc)
}

// index makes the unique indexes' entries of a record those of doc instead of
// those of old, which is nil for a new one. All is checked before anything is
// changed.
func (c *collection) index(rec uint64, old, doc bson.Raw, check bool) error {
	type change struct {
		name        string
		drop, claim []indexKey
	}
	var changes []change
	for _, ix := range c.indexes {
		if ix == idIndex || !ix.info.Unique {
			continue
		}
		now, err := ix.keys(doc)
		if err != nil {
			return err
		}
		if check {
			for _, k := range now {
				if holder, taken := c.entries[ix.info.Name].get(k.key); taken && holder != rec {
					return c.duplicate(ix, k.values)
				}
			}
		}
		one := change{name: ix.info.Name, claim: now}
		if old != nil {
			one.drop, _ = ix.keys(old) // it was indexed: its keys can be made
		}
		changes = append(changes, one)
	}
	for _, one := range changes {
		entries := c.entries[one.name]
		for _, k := range one.drop {
			if holder, there := entries.get(k.key); there && holder == rec {
				entries.delete(c.edit, k.key)
			}
		}
		for _, k := range one.claim {
			entries.set(c.edit, k.key, rec)
		}
		c.entries[one.name] = entries
	}
	return nil
}

func (c *collection) unindex(rec uint64, old bson.Raw) {
	for name, entries := range c.entries {
		i := slices.IndexFunc(c.indexes, func(ix *index) bool { return ix.info.Name == name })
		keys, _ := c.indexes[i].keys(old)
		for _, k := range keys {
			if holder, there := entries.get(k.key); there && holder == rec {
				entries.delete(c.edit, k.key)
			}
		}
		c.entries[name] = entries
	}
}

// addIndex builds an index over what is there. The caller must own c.
func (c *collection) addIndex(ix *index, check bool) error {
	if ix.info.Unique {
		var entries hashMap[uint64]
		for rec, doc := range c.docs.all() {
			keys, err := ix.keys(doc)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if holder, taken := entries.get(k.key); check && taken && holder != rec {
					return c.duplicate(ix, k.values)
				}
				entries.set(c.edit, k.key, rec)
			}
		}
		if c.entries == nil {
			c.entries = map[string]hashMap[uint64]{}
		}
		c.entries[ix.info.Name] = entries
	}
	c.indexes = append(slices.Clip(c.indexes), ix)
	return nil
}

// dropIndex takes an index away. The caller must own c.
func (c *collection) dropIndex(name string) {
	c.indexes = slices.DeleteFunc(slices.Clone(c.indexes), func(ix *index) bool { return ix.info.Name == name })
	delete(c.entries, name)
}

// duplicate is the server's refusal of a second document with the same key.
func (c *collection) duplicate(ix *index, values []bson.RawValue) error {
	var keyValue bson.D
	text := ""
	for i, field := range ix.fields {
		keyValue = append(keyValue, bson.E{Key: field, Value: values[i]})
		if i > 0 {
			text += ","
		}
		text += " " + field + ": " + query.Text(values[i])
	}
	err := refuse(codeDuplicateKey, "E11000 duplicate key error collection: %s.%s index: %s dup key: {%s }", c.db, c.info.Name, ix.info.Name, text)
	err.Extra = bson.D{{Key: "keyPattern", Value: ix.info.Key}, {Key: "keyValue", Value: keyValue}}
	return err
}
