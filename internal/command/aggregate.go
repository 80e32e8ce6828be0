package command

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// databaseCursor is what the server calls the collection of a cursor that belongs to a
// whole database: a getMore must name it.
const databaseCursor = "$cmd.aggregate"

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
		return fmt.Errorf("%w: the pipeline has %s; use RunWriteCommand, or send the master a Command", messages.ErrNotARead, name)
	}
	d := newBody(256)
	if r.Collection == "" {
		d.int32("aggregate", 1)
		r.Collection = databaseCursor
	} else {
		d.str("aggregate", r.Collection)
	}
	d.array("pipeline", stages...)
	start := d.open(bson.TypeEmbeddedDocument, "cursor")
	if o.BatchSize != nil {
		d.int32("batchSize", *o.BatchSize)
	}
	d.close(start)
	d.optBool("allowDiskUse", o.AllowDiskUse)
	d.ifTrue("bypassDocumentValidation", o.BypassDocumentValidation != nil && *o.BypassDocumentValidation)
	d.collation(o.Collation)
	d.comment(e, o.Comment)
	d.hint(e, o.Hint)
	d.optDoc(e, "let", "Let", o.Let)
	if r.Body, err = d.command(); err != nil {
		return err
	}
	r.Class, r.Name, r.Kind = Heavy, "aggregate", KindBatch
	return nil
}

// writingStage names a stage that writes, wherever it stands: the server refuses
// it anywhere but last, but that is not for a secondary to say. In the pipelines inside
// $facet, $lookup and $unionWith the server takes none of them, nor a stage of two
// keys, and answers so itself.
func writingStage(stages []bson.Raw) string {
	for _, s := range stages {
		if name, ok := firstKey(s); ok && (name == "$out" || name == "$merge") {
			return name
		}
	}
	return ""
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
	match := newBody(64)
	match.filter(e, "$match", op.Filter)
	if match.err != nil {
		return match.err
	}
	stages := append(make([]bson.Raw, 0, 4), match.end())
	for _, s := range []struct {
		name string
		n    *int64
	}{{"$skip", o.Skip}, {"$limit", o.Limit}} {
		if s.n != nil {
			d := newBody(24)
			d.int64(s.name, *s.n)
			stages = append(stages, d.end())
		}
	}
	stages = append(stages, countAll)
	d := newBody(len(stages[0]) + 192)
	d.str("aggregate", r.Collection)
	d.array("pipeline", stages...)
	d.doc("cursor", empty)
	d.collation(o.Collation)
	d.comment(e, o.Comment)
	d.hint(e, o.Hint)
	if r.Body, err = d.command(); err != nil {
		return err
	}
	r.Name, r.Kind = "aggregate", KindAggCount
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
