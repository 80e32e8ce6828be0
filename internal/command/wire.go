package command

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Concern is the read concern of one attempt.
type Concern struct {
	// Level is "" for the server's default.
	Level string
	// After is the operation time that the member must have reached; zero for none.
	After bson.Timestamp
}

// Wire is the command for one attempt: the body, with the read concern and the
// time the server may take. Zero maxTime adds none, and leaves that to whoever
// sends it. A Command is not given the level, which is up to its document.
func (r *Read) Wire(c Concern, maxTime time.Duration) bson.Raw {
	if r.Kind == KindCommand {
		c.Level = ""
	}
	concern := r.TakesReadConcern && (c.Level != "" || !c.After.IsZero())
	limit := maxTime > 0 && r.Class != Pinned && r.MaxTimeMS == 0 && !r.limited
	if !concern && !limit {
		return r.Body
	}
	d := &body{b: make([]byte, 0, len(r.Body)+len(c.Level)+96)}
	d.b = append(d.b, r.Body[:len(r.Body)-1]...)
	if concern {
		start := d.open(bson.TypeEmbeddedDocument, "readConcern")
		d.nonEmpty("level", c.Level)
		if !c.After.IsZero() {
			d.timestamp("afterClusterTime", c.After)
		}
		d.close(start)
	}
	if limit {
		d.int64("maxTimeMS", milliseconds(maxTime))
	}
	return d.end()
}

// milliseconds rounds up: a limit of less than one is one, as zero means none to
// the server.
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(1, ms)
}
