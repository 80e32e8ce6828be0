package server

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// failPoint is one of the two there are: failCommand, and onPrimaryTransactionalWrite.
type failPoint struct {
	active atomic.Bool // read by every command before the lock is taken
	mu     sync.Mutex
	mode   failMode
	what   *failure
	count  int64 // how often it has fired
}

// failMode is when a fail point fires.
type failMode struct {
	on          bool
	times       int64 // left; -1 for ever
	skip        int64 // matches left to let through
	probability float64
}

// failure is what failCommand does to a command, or onPrimaryTransactionalWrite to a write with a
// transaction number that is about to be committed.
type failure struct {
	commands          []string
	all               bool
	appName           string
	hasAppName        bool
	namespace         string
	code              int32
	hasCode           bool
	extra             bson.Raw
	closeConnection   bool
	block             time.Duration
	blocks            bool
	labels            []string // nil: the server's own
	writeConcernError bson.Raw
}

func (f *failPoint) set(mode failMode, what *failure) (count int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.what = mode, what
	f.active.Store(mode.on)
	return f.count
}

// failCommand returns what to do to the command, or nil.
func (c *conn) failCommand(cmd *command) *failure {
	if cmd == configureFailPointCommand {
		return nil
	}
	return c.s.fails.fire(func(w *failure) bool { return w.matches(cmd, c.appName, &c.req) })
}

// fire returns what to do, or nil, and uses up one of the fail point's times. It is not in vain where
// it is for what has come.
func (f *failPoint) fire(isFor func(*failure) bool) *failure {
	if !f.active.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mode.on || !isFor(f.what) {
		return nil
	}
	if f.mode.skip > 0 {
		f.mode.skip--
		return nil
	}
	if p := f.mode.probability; p < 1 && rand.Float64() >= p {
		return nil
	}
	if f.mode.times > 0 {
		if f.mode.times--; f.mode.times == 0 {
			f.mode.on = false
			f.active.Store(false)
		}
	}
	f.count++
	return f.what
}

func (w *failure) matches(cmd *command, app string, r *request) bool {
	if w.hasAppName && w.appName != app || w.namespace != "" && w.namespace != r.namespace() {
		return false
	}
	if !w.hasCode && !w.closeConnection && !w.blocks && (w.writeConcernError == nil || !cmd.writeConcern) {
		return false // nothing to do to it
	}
	return w.all || slices.Contains(w.commands, cmd.name) ||
		slices.ContainsFunc(cmd.aliases, func(a string) bool { return slices.Contains(w.commands, a) })
}

// concernError is the write concern error it gives a command, if any.
func (w *failure) concernError(r *request) bson.Raw {
	if w == nil || r.cmd == nil || !r.cmd.writeConcern {
		return nil
	}
	return w.writeConcernError
}

// act does what comes before the command runs.
func (w *failure) act(ctx context.Context) error {
	if w.closeConnection {
		return fmt.Errorf("%w: closed by failCommand", errConnection)
	}
	if w.blocks {
		if err := sleep(ctx, w.block); err != nil {
			return err
		}
	}
	if w.hasCode {
		e := refuse(w.code, "Failing command via 'failCommand' failpoint")
		if w.extra != nil {
			_ = bson.Unmarshal(w.extra, &e.Extra)
		}
		return e
	}
	return nil
}

var configureFailPointCommand = &command{name: "configureFailPoint", run: configureFailPoint, admin: true}

// configureFailPoint sets a fail point, as a server does that was started with
// enableTestCommands.
func configureFailPoint(c *conn, r *request) error {
	if r.first.Type != bson.TypeString {
		return errType(r.name, r.name, r.first.Type, "string")
	}
	point, parse := &c.s.fails, parseFailure
	switch name := text(r.first); string(name) {
	case "failCommand":
	case "onPrimaryTransactionalWrite":
		point, parse = &c.s.transactionalFail, parseTransactionalFailure
	default:
		return refuse(codeFailPointSetFailed, "%s not found", name)
	}
	var mode failMode
	var data bson.Raw
	hasMode := false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "mode":
			hasMode = true
			mode, p.err = parseFailMode(p.f.value)
		case "data":
			data = p.document()
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return p.err
	case !hasMode:
		return errMissing(r.name, "mode")
	}
	what := &failure{}
	if mode.on {
		var err error
		if what, err = parse(bytes.Clone(data)); err != nil {
			return err
		}
	}
	c.out.int64("count", point.set(mode, what))
	return nil
}

// parseTransactionalFailure reads what onPrimaryTransactionalWrite is to do.
func parseTransactionalFailure(data bson.Raw) (*failure, error) {
	w := &failure{closeConnection: true}
	if data == nil {
		return w, nil
	}
	p := read("data", data)
	for p.next() {
		switch string(p.f.key) {
		case "closeConnection":
			w.closeConnection = p.flag()
		case "failBeforeCommitExceptionCode":
			w.code, w.hasCode = int32(p.count()), true
		default:
			p.unknown()
		}
	}
	return w, p.err
}

func parseFailMode(v bson.RawValue) (failMode, error) {
	bad := func() (failMode, error) {
		return failMode{}, refuse(codeBadValue, "'mode' must be one of 'off', 'alwaysOn', 'times', 'skip' and 'activationProbability'")
	}
	on := failMode{on: true, times: -1, probability: 1}
	if v.Type == bson.TypeString {
		switch string(text(v)) {
		case "off":
			return failMode{}, nil
		case "alwaysOn":
			return on, nil
		}
		return bad()
	}
	if v.Type != bson.TypeEmbeddedDocument {
		return failMode{}, refuse(codeTypeMismatch, "'mode' must be a string or JSON object")
	}
	// The first of these that it has decides, whatever else it has.
	var key string
	var value bson.RawValue
	for _, key = range []string{"times", "skip", "activationProbability"} {
		var has bool
		if value, has = lookup(v.Value, key); has {
			break
		}
		key = ""
	}
	x, isNumber := number(value)
	n, _ := integral(value)
	switch key {
	case "times", "skip":
		if !isNumber {
			return failMode{}, refuse(codeTypeMismatch, "'%s' option to 'mode' must be a number", key)
		}
		switch {
		case float64(n) != x:
			return failMode{}, refuse(codeBadValue, "'%s' option to 'mode' must be a whole number", key)
		case n < 0:
			return failMode{}, refuse(codeBadValue, "'%s' option to 'mode' must be positive", key)
		case n > math.MaxInt32:
			return failMode{}, refuse(codeBadValue, "'%s' option to 'mode' is too large", key)
		}
		if key == "skip" {
			on.skip = n
			return on, nil
		}
		if n == 0 {
			return failMode{}, nil
		}
		on.times = n
	case "activationProbability":
		if !isNumber || !(x >= 0 && x <= 1) {
			return failMode{}, refuse(codeBadValue, "activationProbability must be between 0.0 and 1.0; found %v", x)
		}
		on.probability = x
	default:
		return bad()
	}
	return on, nil
}

func parseFailure(data bson.Raw) (*failure, error) {
	w := &failure{}
	hasCommands, blockTime := false, false
	p := read("data", data)
	for p.next() {
		switch key := string(p.f.key); key {
		case "failCommands":
			hasCommands = true
			w.commands = p.textList()
		case "failAllCommands":
			w.all = p.flag()
		case "appName":
			w.appName, w.hasAppName = p.text(), true
		case "namespace":
			w.namespace = p.text()
		case "errorCode":
			n := p.count()
			w.code, w.hasCode = int32(n), n != 0
		case "errorExtraInfo":
			w.extra = p.document()
		case "closeConnection":
			w.closeConnection = p.flag()
		case "blockConnection":
			w.blocks = p.flag()
		case "blockTimeMS":
			w.block, blockTime = time.Duration(p.count())*time.Millisecond, true
		case "errorLabels":
			w.labels = append([]string{}, p.textList()...)
		case "writeConcernError":
			w.writeConcernError = p.document()
		case "failInternalCommands", "failLocalClients":
			p.flag() // there are no other clients than the outside ones
		default:
			p.unknown()
		}
	}
	switch {
	case p.err != nil:
		return nil, p.err
	case !hasCommands && !w.all:
		return nil, errMissing("data", "failCommands")
	case w.blocks && !blockTime:
		return nil, refuse(codeInvalidOptions, "blockTimeMS is required when blockConnection is true")
	}
	return w, nil
}
