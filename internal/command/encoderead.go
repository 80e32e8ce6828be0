package command

import (
	"errors"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// Read encodes a read. Its error is a *messages.InvalidError, which names the field
// that is wrong, or matches messages.ErrNotARead.
func (e *Encoder) Read(m *messages.Read) (*Read, error) {
	if err := checkToken(m.After); err != nil {
		return nil, err
	}
	r := &Read{Database: m.Database, Collection: m.Collection, Class: Range, TakesReadConcern: true}
	if err := e.read(r, m); err != nil {
		return nil, err
	}
	return r, nil
}

func (e *Encoder) read(r *Read, m *messages.Read) error {
	switch op := m.Operation.(type) {
	case nil:
		return invalid("Operation", errors.New("it is nil; use messages.FindOne, Find, Count, EstimatedCount, Distinct, Aggregate, GetMore, CloseCursor or Command"))
	case messages.FindOne:
		return e.findOne(r, op)
	case messages.Find:
		return e.find(r, op)
	case messages.Count:
		return e.count(r, op)
	case messages.EstimatedCount:
		return e.estimatedCount(r, op)
	case messages.Distinct:
		return e.distinct(r, op)
	case messages.Aggregate:
		return e.aggregate(r, op)
	case messages.GetMore:
		return e.getMore(r, op)
	case messages.CloseCursor:
		return e.closeCursor(r, op)
	case messages.Command:
		return e.readCommand(r, op)
	}
	return invalid("Operation", fmt.Errorf("%T is passed by pointer or is unknown; pass the operation by value", m.Operation))
}

// checkToken refuses what no reply's token looks like. The driver's sessions do not
// look at what they are given, and panic on some of it.
func checkToken(t messages.Token) error {
	switch {
	case len(t.ClusterTime) == 0:
		return nil
	case t.OperationTime.IsZero():
		return invalid("After", errors.New("it has a cluster time and no operation time; pass on a whole Token"))
	}
	if err := valid(t.ClusterTime); err != nil {
		return invalid("After", fmt.Errorf("its cluster time is broken: %w", err))
	}
	if find(findDocument(t.ClusterTime, "$clusterTime"), "clusterTime").Type != bson.TypeTimestamp {
		return invalid("After", errors.New("its cluster time is not {$clusterTime: {clusterTime: …, signature: …}}; pass on a whole Token"))
	}
	return nil
}

// one is the limit of a FindOne, as the driver has it.
var one int64 = -1

func (e *Encoder) findOne(r *Read, op messages.FindOne) error {
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	filter, projection, err := e.findCommand(r, op.Filter, &options.FindOptions{
		Limit: &one, AllowPartialResults: o.AllowPartialResults, Collation: o.Collation, Comment: o.Comment, Hint: o.Hint,
		Max: o.Max, Min: o.Min, OplogReplay: o.OplogReplay, Projection: o.Projection, ReturnKey: o.ReturnKey,
		ShowRecordID: o.ShowRecordID, Skip: o.Skip, Sort: o.Sort,
	})
	if err != nil {
		return err
	}
	r.Kind = KindOne
	o.Comment, o.Projection = nil, nil
	if id := exactID(filter); !id.IsZero() && showsID(projection) && isZero(&o) {
		r.Class, r.ID = Point, id
	}
	return nil
}

func (e *Encoder) find(r *Read, op messages.Find) error {
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	_, _, err = e.findCommand(r, op.Filter, &o)
	return err
}

// findCommand encodes all but MaxAwaitTime, which is for GetMore.
func (e *Encoder) findCommand(r *Read, f any, o *options.FindOptions) (filter, projection bson.Raw, err error) {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return nil, nil, err
	}
	d := newBody(len(r.Collection) + 160)
	d.str("find", r.Collection)
	filter = d.filter(e, "filter", f)
	if o.Skip != nil {
		d.int64("skip", *o.Skip)
	}
	if o.Limit != nil {
		// As for the driver: a negative limit wants one batch and no cursor.
		limit := *o.Limit
		if limit < 0 {
			limit = -limit
			d.bool("singleBatch", true)
			r.single = true
		}
		d.int64("limit", limit)
	}
	r.tail = len(d.b)
	if o.BatchSize != nil {
		size := *o.BatchSize
		if o.Limit != nil && *o.Limit == int64(size) && size < math.MaxInt32 {
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
	d.optBool("allowPartialResults", o.AllowPartialResults)
	d.optBool("oplogReplay", o.OplogReplay)
	d.optBool("returnKey", o.ReturnKey)
	d.optBool("showRecordId", o.ShowRecordID)
	d.optOrdered(e, "sort", "Sort", o.Sort)
	projection = d.optDoc(e, "projection", "Projection", o.Projection)
	d.hint(e, o.Hint)
	d.collation(o.Collation)
	d.comment(e, o.Comment)
	d.optDoc(e, "let", "Let", o.Let)
	// The driver lets maps of several keys through here, and the server, to which
	// these are bounds of an index with its order of keys, then answers at random.
	d.optOrdered(e, "max", "Max", o.Max)
	d.optOrdered(e, "min", "Min", o.Min)
	if r.Body, err = d.command(); err != nil {
		return nil, nil, err
	}
	r.Name, r.Kind = "find", KindBatch
	return filter, projection, nil
}

func (e *Encoder) estimatedCount(r *Read, op messages.EstimatedCount) error {
	if err := namespace(r.Database, r.Collection, true); err != nil {
		return err
	}
	o, err := resolve(op.Options)
	if err != nil {
		return err
	}
	d := newBody(len(r.Collection) + 64)
	d.str("count", r.Collection)
	d.comment(e, o.Comment)
	if r.Body, err = d.command(); err != nil {
		return err
	}
	r.Name, r.Kind = "count", KindCount
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
	d := newBody(len(r.Collection) + len(op.Field) + 128)
	d.str("distinct", r.Collection)
	d.str("key", op.Field)
	d.filter(e, "query", op.Filter)
	d.collation(o.Collation)
	d.comment(e, o.Comment)
	d.hint(e, o.Hint)
	if r.Body, err = d.command(); err != nil {
		return err
	}
	r.Name, r.Kind = "distinct", KindDistinct
	return nil
}
