package command

import (
	"encoding/binary"
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
// sends it.
func (r *Read) Wire(c Concern, maxTime time.Duration) bson.Raw {
	concern := r.TakesReadConcern && (c.Level != "" || !c.After.IsZero())
	limit := maxTime > 0 && r.Class != Pinned && r.MaxTimeMS == 0
	if !concern && !limit {
		return r.Body
	}
	d := &body{b: make([]byte, 0, len(r.Body)+len(c.Level)+80)}
	d.b = append(d.b, r.Body[:len(r.Body)-1]...)
	if concern {
		d.key(bson.TypeEmbeddedDocument, "readConcern")
		start := len(d.b)
		d.b = append(d.b, 0, 0, 0, 0)
		if c.Level != "" {
			d.str("level", c.Level)
		}
		if !c.After.IsZero() {
			d.key(bson.TypeTimestamp, "afterClusterTime")
			d.b = binary.LittleEndian.AppendUint32(d.b, c.After.I)
			d.b = binary.LittleEndian.AppendUint32(d.b, c.After.T)
		}
		d.b = append(d.b, 0)
		binary.LittleEndian.PutUint32(d.b[start:], uint32(len(d.b)-start))
	}
	if limit {
		d.int64("maxTimeMS", milliseconds(maxTime))
	}
	return d.end()
}
