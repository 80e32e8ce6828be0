package server

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var helloCommands = []*command{
	{name: "hello", run: runHello, noAuth: true, inV1: true, greets: true},
	{name: "isMaster", aliases: []string{"ismaster"}, run: runHello, noAuth: true, greets: true},
}

// helloStream remembers, during an exhaust stream, what its client knows by the
// last reply.
type helloStream struct {
	on      bool
	process bson.ObjectID
	counter int64
}

// helloRequest are the fields of a hello.
type helloRequest struct {
	await       bool
	process     bson.ObjectID
	counter     int64
	maxAwait    time.Duration
	mechanisms  string // the user to list them for: "db.user"
	speculative bson.Raw
}

func runHello(c *conn, r *request) error {
	h, err := c.parseHello(r)
	if err != nil {
		return err
	}
	st, err := c.awaitTopology(r, h)
	if err != nil {
		return err
	}
	w := &c.out
	legacy := r.cmd.name != "hello"
	if legacy && c.helloOk {
		w.bool("helloOk", true)
	}
	c.appendRole(&st, legacy)
	w.int32("maxBsonObjectSize", maxDocument)
	w.int32("maxMessageSizeBytes", maxMessageSize)
	w.int32("maxWriteBatchSize", maxBatch)
	w.date("localTime", time.Now())
	w.int32("logicalSessionTimeoutMinutes", int32(sessionTimeout/time.Minute))
	w.int32("connectionId", c.id)
	w.int32("minWireVersion", minWireVersion)
	w.int32("maxWireVersion", int32(c.s.version.wire))
	w.bool("readOnly", false)
	if h.mechanisms != "" {
		c.appendMechanisms(h.mechanisms)
	}
	if h.speculative != nil {
		c.appendSpeculative(h.speculative)
	}
	if h.await {
		r.more = true
		c.stream = helloStream{on: true, process: st.ProcessID, counter: st.TopologyCounter}
	}
	return nil
}

// parseHello reads a hello. The first one of a connection tells who the client
// is.
func (c *conn) parseHello(r *request) (h helloRequest, err error) {
	first := !c.greeted
	var topology, client bson.Raw
	hasTopology, hasAwait, hasClient := false, false, false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "helloOk":
			if p.flag() {
				c.helloOk = true
			}
		case "client":
			client, hasClient = p.document(), true
		case "topologyVersion":
			topology, hasTopology = p.document(), true
		case "maxAwaitTimeMS":
			h.maxAwait, hasAwait = time.Duration(p.count())*time.Millisecond, true
		case "saslSupportedMechs":
			h.mechanisms = p.userName()
		case "speculativeAuthenticate":
			h.speculative = p.document()
		case "compression":
			p.textList() // none of them is spoken here: the reply offers none
		case "loadBalanced":
			if p.flag() {
				p.fail(refuse(354, "The server is being accessed through a load balancer, but this feature is not enabled"))
			}
		}
		// What else a client says of itself is ignored, as in the server: newer
		// drivers greet older servers too.
	}
	if p.err != nil {
		return h, p.err
	}
	switch {
	case hasTopology && !hasAwait:
		return h, refuse(31368, "A request with 'topologyVersion' must include 'maxAwaitTimeMS'")
	case hasAwait && !hasTopology:
		return h, refuse(31373, "A request with 'maxAwaitTimeMS' must include a 'topologyVersion'")
	case hasTopology:
		h.await = true
		if h.process, h.counter, err = parseTopologyVersion(topology); err != nil {
			return h, err
		}
	}
	if r.msg.flags&flagExhaust != 0 && r.msg.opcode == opMsg && !h.await {
		return h, refuse(51756, "An exhaust hello request must specify 'maxAwaitTimeMS' and 'topologyVersion'")
	}
	c.greeted = true
	if hasClient && !c.stream.on {
		if !first {
			return h, refuse(codeClientMetadataMutated, "The client metadata document may only be sent in the first hello")
		}
		if err := c.takeMetadata(client); err != nil {
			return h, err
		}
	}
	return h, nil
}

// takeMetadata reads the application's name from what the client says of itself.
func (c *conn) takeMetadata(doc bson.Raw) error {
	if len(doc) > 512 {
		return refuse(codeClientMetadataTooLarge, "The client metadata document must be less then or equal to 512 bytes")
	}
	if app, ok := lookup(doc, "application"); ok {
		if app.Type != bson.TypeEmbeddedDocument {
			return refuse(codeTypeMismatch, "The 'application' field is required to be a BSON document in the client metadata document")
		}
		if name, ok := lookup(app.Value, "name"); ok {
			if name.Type != bson.TypeString {
				return refuse(codeTypeMismatch, "The 'application.name' field must be a string in the client metadata document")
			}
			if len(text(name)) > 128 {
				return refuse(codeAppNameTooLarge, "The 'application.name' field must be less then or equal to 128 bytes in the client metadata document")
			}
			c.appName = string(text(name))
		}
	}
	c.tally = c.s.counters.of(client{app: c.appName, astray: c.astray})
	return nil
}

// preload takes the application's name from the first hello before that is
// executed, so that a fail point for the application meets it already.
func (c *conn) preload(r *request) {
	if c.greeted {
		return
	}
	for _, f := range r.args {
		if string(f.key) != "client" || f.value.Type != bson.TypeEmbeddedDocument {
			continue
		}
		if app, ok := lookup(f.value.Value, "application"); ok && app.Type == bson.TypeEmbeddedDocument {
			if name, ok := lookup(app.Value, "name"); ok && name.Type == bson.TypeString {
				c.appName = string(text(name))
			}
		}
	}
}

// parseTopologyVersion reads what a client knows already.
func parseTopologyVersion(doc bson.Raw) (process bson.ObjectID, counter int64, err error) {
	hasProcess, hasCounter := false, false
	p := read("TopologyVersion", doc)
	for p.next() {
		v := p.f.value
		switch string(p.f.key) {
		case "processId":
			if v.Type != bson.TypeObjectID {
				return process, 0, errType(p.where, "processId", v.Type, "objectId")
			}
			process, hasProcess = v.ObjectID(), true
		case "counter":
			if v.Type != bson.TypeInt64 {
				return process, 0, errType(p.where, "counter", v.Type, "long")
			}
			counter, _ = integral(v)
			hasCounter = true
			if counter < 0 {
				return process, 0, refuse(31372, "topologyVersion must have a non-negative counter")
			}
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
	case !hasProcess:
		p.err = errMissing(p.where, "processId")
	case !hasCounter:
		p.err = errMissing(p.where, "counter")
	}
	return process, counter, p.err
}

// awaitTopology returns the member's status: at once, or when the client has
// asked to hear of a change, then.
func (c *conn) awaitTopology(r *request, h helloRequest) (repl.Status, error) {
	changed := c.s.node.StatusChanged()
	st := c.s.node.Status()
	if !h.await {
		return st, nil
	}
	if c.stream.on {
		h.process, h.counter = c.stream.process, c.stream.counter
	}
	if h.process != st.ProcessID {
		return st, nil // the client speaks of an earlier process
	}
	if h.counter > st.TopologyCounter {
		return st, refuse(31382, "Received a topology version with counter: %d which is greater than the server topology version counter: %d", h.counter, st.TopologyCounter)
	}
	if h.counter < st.TopologyCounter {
		return st, nil
	}
	err := c.patiently(c.opCtx, func(ctx context.Context) error {
		wait, cancel := context.WithTimeout(ctx, h.maxAwait)
		defer cancel()
		for h.counter == st.TopologyCounter {
			select {
			case <-changed:
				changed = c.s.node.StatusChanged()
				st = c.s.node.Status()
			case <-wait.Done():
				st = c.s.node.Status()
				return ctx.Err()
			}
		}
		return nil
	})
	return st, err
}

// appendRole appends what a member says of itself and its set.
func (c *conn) appendRole(st *repl.Status, legacy bool) {
	w := &c.out
	primaryKey := "isWritablePrimary"
	if legacy {
		primaryKey = "ismaster"
	}
	switch {
	case st.SetName == "" && st.Role == repl.Standalone:
		w.bool(primaryKey, true)
		appendTopologyVersion(w, st)
		return
	case st.Role == repl.Startup || st.Role == repl.Removed:
		appendTopologyVersion(w, st)
		w.bool(primaryKey, false)
		w.bool("secondary", false)
		w.string("info", "Does not have a valid replica set config")
		w.bool("isreplicaset", true)
		return
	}
	appendTopologyVersion(w, st)
	w.strings("hosts", st.Hosts)
	if len(st.Passives) > 0 {
		w.strings("passives", st.Passives)
	}
	if len(st.Arbiters) > 0 {
		w.strings("arbiters", st.Arbiters)
	}
	w.string("setName", st.SetName)
	w.int32("setVersion", st.SetVersion)
	writable := st.Role == repl.Primary && st.WritablePrimary
	w.bool(primaryKey, writable)
	// A primary that does not take writes yet, or any more, shows as a secondary.
	w.bool("secondary", st.Role == repl.Secondary || st.Role == repl.Primary && !writable)
	if st.Primary != "" {
		w.string("primary", st.Primary)
	}
	if st.Role == repl.Arbiter {
		w.bool("arbiterOnly", true)
	}
	if st.Passive {
		w.bool("passive", true)
	}
	if st.Hidden {
		w.bool("hidden", true)
	}
	if st.SecondaryDelaySecs > 0 {
		name := "secondaryDelaySecs"
		if legacy || c.s.version.wire < wire50 {
			name = "slaveDelay"
		}
		w.int64(name, st.SecondaryDelaySecs)
	}
	if len(st.Tags) > 0 {
		at := w.doc("tags")
		for _, key := range slices.Sorted(maps.Keys(st.Tags)) {
			w.string(key, st.Tags[key])
		}
		w.close(at)
	}
	w.string("me", st.Me)
	if writable {
		w.objectID("electionId", st.ElectionID)
	}
	at := w.doc("lastWrite")
	appendOpTime(w, "opTime", st.LastApplied)
	w.date("lastWriteDate", epoch(st.LastAppliedWall))
	if st.MajorityCommitted != (repl.OpTime{}) {
		appendOpTime(w, "majorityOpTime", st.MajorityCommitted)
		w.date("majorityWriteDate", st.MajorityCommittedAt)
	}
	w.close(at)
}

// appendOpTime appends an op time. That of a member without data is of the term -1.
func appendOpTime(w *builder, key string, op repl.OpTime) {
	if op == (repl.OpTime{}) {
		op.Term = -1
	}
	at := w.doc(key)
	w.timestamp("ts", op.TS)
	w.int64("t", op.Term)
	w.close(at)
}

// userName reads saslSupportedMechs: a user as "db.name", or in two fields.
func (p *fieldReader) userName() string {
	switch p.f.value.Type {
	case bson.TypeString:
		name := text(p.f.value)
		if bytes.IndexByte(name, '.') < 0 {
			p.fail(refuse(codeBadValue, "UserName must contain a '.' separated database.user pair"))
		}
		return string(name)
	case bson.TypeEmbeddedDocument:
		db, ok1 := lookup(p.f.value.Value, "db")
		user, ok2 := lookup(p.f.value.Value, "user")
		if !ok1 || !ok2 || db.Type != bson.TypeString || user.Type != bson.TypeString {
			p.fail(refuse(codeBadValue, "UserName must contain a string field named: user"))
			return ""
		}
		return string(text(db)) + "." + string(text(user))
	}
	p.fail(refuse(codeBadValue, "UserName must be either a string or an object"))
	return ""
}
