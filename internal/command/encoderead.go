package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// Read encodes a read. Its error is a *messages.InvalidError, which names the field
// that is wrong, or matches messages.ErrNotARead.
func (e *Encoder) Read(m *messages.Read) (*Read, error) {
	r := &Read{Database: m.Database, Collection: m.Collection, Class: Range, TakesReadConcern: true}
	if after := m.After; after.OperationTime.IsZero() && len(after.ClusterTime) > 0 {
		return nil, invalid("After", errors.New("it has a cluster time and no operation time; pass on a whole Token"))
	}
	switch op := m.Operation.(type) {
	case nil:
		return nil, invalid("Operation", errors.New("it is nil; use messages.FindOne, Find, Count, EstimatedCount, Distinct, Aggregate, GetMore, CloseCursor or Command"))
	case messages.FindOne:
		return r, e.findOne(r, op)
	case messages.Find:
		return r, e.find(r, op)
	case messages.Count:
		return r, e.count(r, op)
	case messages.EstimatedCount:
		return r, e.estimatedCount(r, op)
	case messages.Distinct:
		return r, e.distinct(r, op)
	case messages.Aggregate:
		return r, e.aggregate(r, op)
	case messages.GetMore:
		return r, e.getMore(r, op)
	case messages.CloseCursor:
		return r, e.closeCursor(r, op)
	case messages.Command:
		return r, e.readCommand(r, op)
	}
	return nil, invalid("Operation", fmt.Errorf("%T is passed by pointer or is unknown; pass the operation by value", m.Operation))
}

func (e *Encoder) findOne(r *Read, op messages.FindOne) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	filter, err := e.document("Filter", op.Filter)
	if err != nil {
		return err
	}
	d := newBody(len(filter) + 96)
	d.str("find", r.Collection)
	d.doc("filter", filter)
	d.int64("limit", 1)
	d.bool("singleBatch", true)
	if o.Skip != nil {
		d.int64("skip", *o.Skip)
	}
	e.findFields(d, o.AllowPartialResults, o.Collation, o.Comment, o.Hint, o.Max, o.Min, o.OplogReplay, o.Projection, o.ReturnKey, o.ShowRecordID, o.Sort)
	if d.err != nil {
		return d.err
	}
	if id := exactID(filter); !id.IsZero() && o.Skip == nil && o.Hint == nil && o.Max == nil && o.Min == nil &&
		o.ReturnKey == nil && o.ShowRecordID == nil && o.AllowPartialResults == nil && o.OplogReplay == nil && o.Sort == nil {
		r.Class, r.ID = Point, id
	}
	r.Name, r.Kind, r.Body = "find", KindOne, d.end()
	return nil
}

func (e *Encoder) findFields(d *body, partial *bool, coll *options.Collation, comment, hint, maxKey, minKey any, oplog *bool, projection any, returnKey, recordID *bool, sort any) {
	d.optDoc(e, "sort", "Sort", sort, true)
	d.optDoc(e, "projection", "Projection", projection, false)
	d.hint(e, hint)
	d.collation(coll)
	d.optValue(e, "comment", "Comment", comment)
	d.optDoc(e, "max", "Max", maxKey, true)
	d.optDoc(e, "min", "Min", minKey, true)
	d.optBool("allowPartialResults", partial)
	d.optBool("oplogReplay", oplog)
	d.optBool("returnKey", returnKey)
	d.optBool("showRecordId", recordID)
}

func (e *Encoder) find(r *Read, op messages.Find) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	filter, err := e.document("Filter", op.Filter)
	if err != nil {
		return err
	}
	d := newBody(len(filter) + 96)
	d.str("find", r.Collection)
	d.doc("filter", filter)
	if o.Skip != nil {
		d.int64("skip", *o.Skip)
	}
	if o.Limit != nil {
		// As for the driver: a negative limit wants one batch and no cursor.
		limit := *o.Limit
		if limit < 0 {
			limit = -limit
			d.bool("singleBatch", true)
		}
		d.int64("limit", limit)
	}
	if o.BatchSize != nil {
		size := *o.BatchSize
		if o.Limit != nil && *o.Limit == int64(size) {
			size++ // Or the server would leave a cursor open behind the last document.
		}
		d.int32("batchSize", size)
	}
	if o.CursorType != nil {
		switch *o.CursorType {
		case options.Tailable:
			d.bool("tailable", true)
		case options.TailableAwait:
			d.bool("tailable", true)
			d.bool("awaitData", true)
		}
	}
	d.optBool("noCursorTimeout", o.NoCursorTimeout)
	d.optBool("allowDiskUse", o.AllowDiskUse)
	d.optDoc(e, "let", "Let", o.Let, false)
	e.findFields(d, o.AllowPartialResults, o.Collation, o.Comment, o.Hint, o.Max, o.Min, o.OplogReplay, o.Projection, o.ReturnKey, o.ShowRecordID, o.Sort)
	if d.err != nil {
		return d.err
	}
	r.Name, r.Kind, r.Body = "find", KindBatch, d.end()
	return nil
}

// count is the driver's CountDocuments: an aggregation, which is exact.
func (e *Encoder) count(r *Read, op messages.Count) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	filter, err := e.document("Filter", op.Filter)
	if err != nil {
		return err
	}
	match := newBody(len(filter) + 16)
	match.doc("$match", filter)
	stages := []bson.Raw{match.end()}
	stage := func(name string, n int64) {
		s := newBody(24)
		s.int64(name, n)
		stages = append(stages, s.end())
	}
	if o.Skip != nil {
		stage("$skip", *o.Skip)
	}
	if o.Limit != nil {
		stage("$limit", *o.Limit)
	}
	stages = append(stages, countAll)
	d := newBody(len(filter) + 160)
	d.str("aggregate", r.Collection)
	d.array("pipeline", stages...)
	d.doc("cursor", empty)
	d.collation(o.Collation)
	d.optValue(e, "comment", "Comment", o.Comment)
	d.hint(e, o.Hint)
	if d.err != nil {
		return d.err
	}
	r.Name, r.Kind, r.Body = "aggregate", KindAggCount, d.end()
	return nil
}

var (
	empty    = newBody(5).end()
	countAll = func() bson.Raw {
		sum := newBody(16)
		sum.int32("$sum", 1)
		group := newBody(48)
		group.int32("_id", 1)
		group.doc("n", sum.end())
		d := newBody(64)
		d.doc("$group", group.end())
		return d.end()
	}()
)

func (e *Encoder) estimatedCount(r *Read, op messages.EstimatedCount) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	d := newBody(64)
	d.str("count", r.Collection)
	d.optValue(e, "comment", "Comment", o.Comment)
	if d.err != nil {
		return d.err
	}
	r.Name, r.Kind, r.Body = "count", KindCount, d.end()
	return nil
}

func (e *Encoder) distinct(r *Read, op messages.Distinct) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	if op.Field == "" {
		return invalid("Field", errors.New("it is empty; name the field whose values are wanted"))
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	filter, err := e.document("Filter", op.Filter)
	if err != nil {
		return err
	}
	d := newBody(len(filter) + 96)
	d.str("distinct", r.Collection)
	d.str("key", op.Field)
	d.doc("query", filter)
	d.collation(o.Collation)
	d.optValue(e, "comment", "Comment", o.Comment)
	d.hint(e, o.Hint)
	if d.err != nil {
		return d.err
	}
	r.Name, r.Kind, r.Body = "distinct", KindDistinct, d.end()
	return nil
}

func (e *Encoder) aggregate(r *Read, op messages.Aggregate) error {
	if err := namespace(r.Database, r.Collection, false); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	stages, err := e.pipeline("Pipeline", op.Pipeline)
	if err != nil {
		return err
	}
	if name := writingStage(stages); name != "" {
		return fmt.Errorf("%w: the pipeline has %s; send it to the master as a Command", messages.ErrNotARead, name)
	}
	d := newBody(256)
	if r.Collection == "" {
		d.int32("aggregate", 1)
	} else {
		d.str("aggregate", r.Collection)
	}
	d.array("pipeline", stages...)
	cursor := newBody(24)
	if o.BatchSize != nil {
		cursor.int32("batchSize", *o.BatchSize)
	}
	d.doc("cursor", cursor.end())
	d.optBool("allowDiskUse", o.AllowDiskUse)
	d.optBool("bypassDocumentValidation", o.BypassDocumentValidation)
	d.collation(o.Collation)
	d.optValue(e, "comment", "Comment", o.Comment)
	d.hint(e, o.Hint)
	d.optDoc(e, "let", "Let", o.Let, false)
	if d.err != nil {
		return d.err
	}
	r.Class, r.Name, r.Kind, r.Body = Heavy, "aggregate", KindBatch, d.end()
	return nil
}

// writingStage names a stage that writes, wherever it stands: the server refuses
// it anywhere but last, but that is not for a secondary to say.
func writingStage(stages []bson.Raw) string {
	for _, s := range stages {
		if first, err := s.IndexErr(0); err == nil && (first.Key() == "$out" || first.Key() == "$merge") {
			return first.Key()
		}
	}
	return ""
}

func (e *Encoder) getMore(r *Read, op messages.GetMore) error {
	c := op.Cursor
	if c == nil || c.ID == 0 {
		return invalid("Cursor", errors.New("it is nil; pass ReadReply.Cursor, which is nil too when there is no more"))
	}
	if op.BatchSize < 0 {
		return invalid("BatchSize", fmt.Errorf("%d is negative", op.BatchSize))
	}
	d := newBody(96)
	d.int64("getMore", c.ID)
	d.str("collection", c.Collection)
	if op.BatchSize > 0 {
		d.int32("batchSize", op.BatchSize)
	}
	if op.MaxAwaitTime > 0 {
		d.int64("maxTimeMS", milliseconds(op.MaxAwaitTime))
	}
	d.optValue(e, "comment", "Comment", op.Comment)
	if d.err != nil {
		return d.err
	}
	e.pin(r, c)
	r.Name, r.Kind, r.Body = "getMore", KindBatch, d.end()
	return nil
}

func (e *Encoder) closeCursor(r *Read, op messages.CloseCursor) error {
	c := op.Cursor
	if c == nil || c.ID == 0 {
		return invalid("Cursor", errors.New("it is nil; there is nothing to close"))
	}
	ids := newBody(24)
	ids.int64("0", c.ID)
	d := newBody(64)
	d.str("killCursors", c.Collection)
	d.key(bson.TypeArray, "cursors")
	d.b = append(d.b, ids.end()...)
	e.pin(r, c)
	r.Name, r.Kind, r.Body = "killCursors", KindDone, d.end()
	return nil
}

func (e *Encoder) pin(r *Read, c *messages.Cursor) {
	copied := *c
	r.Database, r.Collection, r.Cursor = c.Database, c.Collection, &copied
	r.Class, r.TakesReadConcern = Pinned, false
}

// exactID returns v of a filter that is exactly {_id: v}, with v neither a regex nor a
// document of operators; else the zero value.
func exactID(filter bson.Raw) bson.RawValue {
	elements, err := filter.Elements()
	if err != nil || len(elements) != 1 || elements[0].Key() != "_id" {
		return bson.RawValue{}
	}
	v := elements[0].Value()
	switch v.Type {
	case bson.TypeRegex:
		return bson.RawValue{}
	case bson.TypeEmbeddedDocument:
		if first, err := v.Document().IndexErr(0); err == nil && strings.HasPrefix(first.Key(), "$") {
			return bson.RawValue{}
		}
	}
	return v
}

// milliseconds rounds up: a limit of less than one is one, as zero means none to
// the server.
func milliseconds(d time.Duration) int64 {
	return max(1, int64((d+time.Millisecond-1)/time.Millisecond))
}
