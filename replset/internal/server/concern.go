package server

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// maxClockAhead is how far beyond this machine's clock a client may push the
// cluster time, as in the server: a year.
const maxClockAhead = 365 * 24 * time.Hour

// advanceClusterTime takes over the cluster time that the client has seen.
func (c *conn) advanceClusterTime() error {
	ts := c.req.clusterTime
	if ts == (bson.Timestamp{}) || c.s.users != nil && !c.loggedIn {
		return nil
	}
	if int64(ts.T) > time.Now().Add(maxClockAhead).Unix() {
		return refuse(codeClusterTimeTooFarAhead, "New cluster time, %d, is too far from this node's wall clock time, %d.", ts.T, time.Now().Unix())
	}
	c.s.node.AdvanceClusterTime(ts)
	return nil
}

// awaitReadConcern checks the read concern and waits until this member has what
// it asks for.
func (c *conn) awaitReadConcern(ctx context.Context) error {
	r := &c.req
	if r.readConcern == nil {
		return nil
	}
	level := ""
	var after bson.Timestamp
	p := read("readConcern", r.readConcern)
	for p.next() {
		switch string(p.f.key) {
		case "level":
			level = p.text()
		case "afterClusterTime":
			if p.f.value.Type != bson.TypeTimestamp {
				p.fail(errType("readConcern", "afterClusterTime", p.f.value.Type, "timestamp"))
				break
			}
			after.T, after.I = p.f.value.Timestamp()
			if after == (bson.Timestamp{}) {
				p.fail(refuse(codeInvalidOptions, "afterClusterTime cannot be a null timestamp"))
			}
		case "provenance":
			p.text()
		case "atClusterTime":
			p.fail(refuse(codeInvalidOptions, "readConcern.atClusterTime must be used with level snapshot, which is not supported"))
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	switch level {
	case "", "local", "available":
	case "majority":
		r.readLevel = repl.Majority
	case "linearizable", "snapshot":
		return refuse(codeInvalidOptions, "Command %s does not support { readConcern: { level: \"%s\", provenance: \"clientSupplied\" } } :: caused by :: read concern not supported", r.name, level)
	default:
		return refuse(codeBadValue, "Enumeration value '%s' for field 'readConcern.level' is not a valid value.", level)
	}
	if !r.cmd.readable && level != "" && level != "local" {
		return refuse(codeInvalidOptions, "Command %s does not support { readConcern: { level: \"%s\", provenance: \"clientSupplied\" } } :: caused by :: read concern not supported", r.name, level)
	}
	if after == (bson.Timestamp{}) {
		return nil
	}
	if r.cmd == getMoreCommand {
		return refuse(codeInvalidOptions, "afterClusterTime is not allowed for this command")
	}
	if level == "available" {
		return refuse(codeInvalidOptions, "readConcern afterClusterTime can be specified only with readConcern level 'majority', 'local' or 'snapshot'")
	}
	if c.s.node.Status().Role == repl.Standalone {
		return refuse(codeNotAReplicaSet, "node needs to be a replica set member to use read concern")
	}
	if now := c.s.node.ClusterTime(); now.Before(after) {
		return refuse(codeInvalidOptions, "readConcern afterClusterTime value must not be greater than the current clusterTime. Requested clusterTime: { ts: Timestamp(%d, %d) }; current clusterTime: { ts: Timestamp(%d, %d) }", after.T, after.I, now.T, now.I)
	}
	if !c.s.node.Status().LastApplied.TS.Before(after) && r.readLevel == repl.Local {
		return nil
	}
	return c.patiently(ctx, func(ctx context.Context) error {
		return c.s.node.AwaitApplied(ctx, after, r.readLevel)
	})
}

// writeConcern is how far a write must have got before it is answered.
type writeConcern struct {
	given    bool
	majority bool
	n        int
	tag      string
	journal  bool
	hasJ     bool
	timeout  time.Duration
}

// majorityByDefault says whether a write that names no write concern waits for a
// majority: since 5.0, where that could not keep a set from writing.
func (c *conn) majorityByDefault() bool {
	return c.s.version.wire >= wire50 && c.s.node.Status().Votes.MajorityByDefault()
}

// parseWriteConcern reads the command's write concern; without one it is the
// server's own default.
func (c *conn) parseWriteConcern() (writeConcern, error) {
	r := &c.req
	wc := writeConcern{majority: true}
	if r.cmd.writeConcern && !c.majorityByDefault() {
		wc = writeConcern{n: 1}
	}
	if r.writeCon == nil {
		return wc, nil
	}
	if r.cmd.name == "aggregate" {
		if err := r.checkWritingStages(c.s.version.series); err != nil {
			return wc, err
		}
	}
	if !r.cmd.writeConcern {
		return wc, refuse(codeInvalidOptions, "Command does not support writeConcern")
	}
	p := read("writeConcern", r.writeCon)
	for p.next() {
		v := p.f.value
		switch string(p.f.key) {
		case "w":
			wc.given = true
			p.fail(wc.takeW(v))
		case "j":
			wc.journal, wc.hasJ = p.flag(), true
		case "fsync":
			p.flag()
		case "wtimeout":
			n, ok := integral(v)
			if !ok {
				p.fail(errType(p.where, "wtimeout", v.Type, "long", "int", "decimal", "double"))
			}
			wc.timeout = time.Duration(min(max(n, 0), int64(24*time.Hour/time.Millisecond))) * time.Millisecond
		case "provenance":
			p.text()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return wc, p.err
	}
	if c.s.node.Status().Role == repl.Standalone && (wc.n > 1 || wc.tag != "") {
		if wc.tag != "" {
			return wc, refuse(codeBadValue, "cannot use non-majority 'w' mode \"%s\" when a host is not a member of a replica set", wc.tag)
		}
		return wc, refuse(codeBadValue, "cannot use 'w' > 1 when a host is not replicated")
	}
	return wc, nil
}

func (wc *writeConcern) takeW(v bson.RawValue) error {
	wc.majority, wc.n = false, 0 // instead of the default
	if v.Type == bson.TypeString {
		if tag := string(text(v)); tag == "majority" {
			wc.majority = true
		} else {
			wc.tag = tag
		}
		return nil
	}
	n, ok := integral(v)
	if !ok {
		return refuse(codeFailedToParse, "w has to be a number, string, or object; found: %s", query.TypeName(v.Type))
	}
	if n < 0 || n > 50 {
		return refuse(codeFailedToParse, "w has to be a non-negative number and not greater than 50; found: %d", n)
	}
	wc.n = int(n)
	return nil
}

// extra is what an error tells of the concern that was not met.
func (wc *writeConcern) extra(timedOut bool) bson.D {
	d := bson.D{}
	switch {
	case wc.majority:
		d = append(d, bson.E{Key: "w", Value: "majority"})
	case wc.tag != "":
		d = append(d, bson.E{Key: "w", Value: wc.tag})
	default:
		d = append(d, bson.E{Key: "w", Value: int32(wc.n)})
	}
	if wc.hasJ {
		d = append(d, bson.E{Key: "j", Value: wc.journal})
	}
	provenance := "implicitDefault"
	if wc.given {
		provenance = "clientSupplied"
	}
	d = append(d,
		bson.E{Key: "wtimeout", Value: int32(wc.timeout.Milliseconds())},
		bson.E{Key: "provenance", Value: provenance})
	info := bson.D{}
	if timedOut {
		info = append(info, bson.E{Key: "wtimeout", Value: true})
	}
	info = append(info, bson.E{Key: "writeConcern", Value: d})
	return bson.D{{Key: "errInfo", Value: info}}
}

// awaitWriteConcern waits for the command's write concern, and returns why it
// was not met. What the command did is done in any case.
func (c *conn) awaitWriteConcern(ctx context.Context, wc writeConcern) error {
	if c.s.node.Status().Role == repl.Standalone {
		return nil
	}
	if wc.tag != "" {
		e := refuse(codeUnknownReplWriteConcern, "No write concern mode named '%s' found in replica set configuration", wc.tag)
		e.Extra = wc.extra(false)
		return e
	}
	if !wc.majority && wc.n <= 1 {
		return nil
	}
	bearers := 0
	for _, m := range c.s.node.MembersStatus() {
		if !m.Arbiter {
			bearers++
		}
	}
	if wc.n > bearers {
		e := refuse(codeUnsatisfiableWriteConcern, "Not enough data-bearing nodes")
		e.Extra = wc.extra(false)
		return e
	}
	op := c.req.wroteUpTo
	if op == (repl.OpTime{}) {
		op = c.s.node.Status().LastApplied
	}
	waitCtx, cancel := ctx, func() {}
	if wc.timeout > 0 {
		waitCtx, cancel = context.WithTimeout(ctx, wc.timeout)
	}
	defer cancel()
	err := c.patiently(waitCtx, func(ctx context.Context) error {
		return c.s.node.AwaitReplication(ctx, op, wc.n)
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		e := refuse(codeWriteConcernFailed, "waiting for replication timed out")
		e.Extra = wc.extra(true)
		return e
	}
	var e *query.Error
	if errors.As(err, &e) && e.Extra == nil {
		withInfo := *e
		withInfo.Extra = wc.extra(false)
		return &withInfo
	}
	return err
}
