package server

import (
	"context"
	"errors"
	"slices"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// where says on which members a command runs.
type where uint8

const (
	anywhere    where = iota
	primaryOnly       // 10107 elsewhere
	optIn             // on a secondary only with a read preference that allows it
)

// kind sorts commands into those that Counters adds up.
type kind uint8

const (
	other kind = iota
	readKind
	writeKind
)

// command is one command of the server. run appends the reply's own fields to
// c.out; an error takes back whatever it appended.
type command struct {
	name    string
	aliases []string
	run     func(c *conn, r *request) error
	where   where
	kind    kind
	// sequences names the arrays that may come as document sequences.
	sequences []string
	// readable says that it reads data: not while the member is recovering, and
	// with any read concern.
	readable bool
	// writeConcern says that it takes one, and waits for it.
	writeConcern bool
	// retryable says that it takes a transaction number.
	retryable bool
	admin     bool        // only against the database admin
	noAuth    bool        // also before a login
	endsTxn   bool        // commits or aborts a transaction
	greets    bool        // a client says with it who it is
	leaves    bool        // what it has left of its maxTimeMS is its cursor's
	inV1      bool        // in the stable API's version 1
	since     wireVersion // the first version that has it; 0 for all

	index int // its place in commandList
}

var (
	commandList    []*command
	commandsByName = map[string]*command{}
)

func init() {
	for _, group := range [][]*command{
		helloCommands, authCommands, readCommands, cursorCommands, writeCommands,
		catalogCommands, indexCommands, sessionCommands, replicationCommands, adminCommands, statsCommands,
	} {
		for _, cmd := range group {
			cmd.index = len(commandList)
			commandList = append(commandList, cmd)
			for _, name := range append([]string{cmd.name}, cmd.aliases...) {
				if commandsByName[name] != nil {
					panic("server: two commands named " + name)
				}
				commandsByName[name] = cmd
			}
		}
	}
}

// execute runs the command of c.req and appends the whole reply document to
// c.out. It fails only when the connection must be cut.
func (c *conn) execute() error {
	r := &c.req
	at := c.out.open()
	mark := len(c.out.b)
	var fail *failure
	err := r.parse(&c.msg, c.s.version.wire)
	if err == nil {
		fail, err = c.dispatch()
	}
	if errors.Is(err, errConnection) {
		return err
	}
	if gone := c.ctx.Err(); gone != nil {
		return gone
	}
	status := c.s.node.Status()
	if err != nil {
		c.out.b = c.out.b[:mark]
		c.appendError(r, c.s.version.word(asError(err)), fail, &status)
	} else {
		c.appendSuccess(r, fail, &status)
	}
	c.appendTimes(r, &status)
	c.out.close(at)
	return nil
}

// dispatch makes every check that comes before a command runs, in the server's
// order, runs it, and waits for its write concern.
func (c *conn) dispatch() (*failure, error) {
	r := &c.req
	if r.cmd == nil {
		if c.s.version.misses(r.name) {
			if err := r.checkAPI(false); err != nil {
				return nil, err
			}
			if fail, err := c.failMissing(); err != nil {
				return fail, err
			}
		}
		return nil, r.refuseUnknown(c.s.version)
	}
	if err := r.checkAPI(r.cmd.inV1); err != nil {
		return nil, err
	}
	if r.msg.opcode == opQuery && !r.cmd.noAuth && c.s.version.wire >= wire51 {
		return nil, refuse(codeUnsupportedOpQuery, "Unsupported OP_QUERY command: %s. The client driver may require an upgrade. For more details see https://dochub.mongodb.org/core/legacy-opcode-removal", r.name)
	}
	if c.s.users != nil && !c.loggedIn && !r.cmd.noAuth {
		return nil, refuse(codeUnauthorized, "Command %s requires authentication", r.name)
	}
	if r.cmd.admin && r.db != "admin" {
		return nil, refuse(codeUnauthorized, "%s may only be run against the admin database.", r.name)
	}
	for i := range r.msg.seqs {
		if name := r.msg.seqs[i].name; !slices.Contains(r.cmd.sequences, name) {
			return nil, errUnknownField(r.name, name)
		}
	}
	if err := c.advanceClusterTime(); err != nil {
		return nil, err
	}
	ctx, cancel := c.limited()
	defer cancel()
	c.opCtx = ctx
	fail, err := c.runLimited(ctx)
	if r.cmd == getMoreCommand && errors.Is(err, context.DeadlineExceeded) {
		c.s.cursors.expire(r)
	}
	return fail, err
}

// runLimited is the part of dispatch for which a command has its time.
func (c *conn) runLimited(ctx context.Context) (*failure, error) {
	r := &c.req
	if d := c.s.slow.of(r.cmd.name); d > 0 {
		if err := sleep(ctx, d); err != nil {
			return nil, err
		}
	}
	if r.cmd.greets {
		c.preload(r)
	}
	c.blow = c.s.faults.strike(r.cmd, c.appName)
	if err := c.suffer(ctx, c.blow); err != nil {
		return nil, err
	}
	fail := c.failCommand(r.cmd)
	if fail != nil {
		if err := fail.act(ctx); err != nil {
			return fail, err
		}
	}
	if err := c.checkSession(); err != nil {
		return fail, err
	}
	if err := c.checkRole(); err != nil {
		return fail, err
	}
	if err := c.awaitReadConcern(ctx); err != nil {
		return fail, err
	}
	wc, err := c.parseWriteConcern()
	if err != nil {
		return fail, err
	}
	r.unacknowledged = wc.given && !wc.majority && wc.tag == "" && wc.n == 0
	if ctx.Err() != nil {
		return fail, ctx.Err()
	}
	c.s.sessions.touch(r.session)
	c.tally.commands[r.cmd.index].Add(1)
	if r.cmd.kind == readKind {
		c.tally.reads.Add(1)
	}
	if err := c.runChecked(ctx); err != nil {
		// What it has written before it failed is waited for all the same, unless this is no primary to wait any more.
		if r.cmd.writeConcern && r.wrote && ctx.Err() == nil && !errors.Is(err, errConnection) && !retriable(asError(err).Code) && fail.concernError(r) == nil {
			r.writeError = c.awaitWriteConcern(ctx, wc)
		}
		return fail, err
	}
	if r.cmd.writeConcern && r.wrote && fail.concernError(r) == nil {
		r.writeError = c.awaitWriteConcern(ctx, wc)
	}
	return fail, nil
}

// runChecked runs the command, alone in its session when it is a retryable
// write: a later one of the same session waits until this one is done.
func (c *conn) runChecked(ctx context.Context) error {
	r := &c.req
	if r.hasTxn {
		release, err := c.s.sessions.checkOut(ctx, r.session)
		if err != nil {
			return err
		}
		defer release()
	}
	return r.cmd.run(c, r)
}

// checkRole refuses what this member cannot do in the role it has.
func (c *conn) checkRole() error {
	r := &c.req
	if r.cmd.where == anywhere && !r.cmd.readable {
		return nil
	}
	st := c.s.node.Status()
	if st.Role == repl.Standalone || st.Role == repl.Primary && st.WritablePrimary {
		return nil
	}
	// Clients that do not know hello by its name find out by the old words that they
	// must look for the primary anew.
	switch {
	case r.cmd.where == primaryOnly && c.helloOk:
		return refuse(codeNotWritablePrimary, "not primary")
	case r.cmd.where == primaryOnly:
		return refuse(codeNotWritablePrimary, "not master")
	case r.cmd.where != optIn || r.secondaryOk:
	case c.helloOk:
		return refuse(codeNotPrimaryNoSecondaryOk, "not primary and secondaryOk=false")
	default:
		return refuse(codeNotPrimaryNoSecondaryOk, "not master and slaveOk=false")
	}
	switch {
	case !r.cmd.readable || st.Role == repl.Secondary || st.Role == repl.Primary:
		return nil
	case st.Role == repl.Recovering:
		return refuse(codeNotPrimaryOrSecondary, "node is recovering")
	}
	return refuse(codeNotPrimaryOrSecondary, "node is not in primary or recovering state")
}

// checkSession refuses transactions and the transaction numbers that do not
// belong to a retryable write.
func (c *conn) checkSession() error {
	r := &c.req
	if !r.hasTxn {
		return nil
	}
	if c.s.node.Status().Role == repl.Standalone {
		return refuse(codeIllegalOperation, "Transaction numbers are only allowed on a replica set member or mongos")
	}
	if r.inTxn && r.cmd.endsTxn {
		return refuse(251, "Given transaction number %d does not match any in-progress transactions. The active transaction number is -1", r.txnNumber)
	}
	if r.inTxn {
		// No command runs in a transaction here. 20, the code of a server that has no
		// transactions at all, would make drivers advise against retryable writes,
		// which there are.
		return refuse(263, "Cannot run '%s' in a multi-document transaction. Transactions are not supported by this server", r.name)
	}
	if !r.cmd.retryable {
		return refuse(codeNotARetryableWrite, "txnNumber may only be provided for multi-document transactions and retryable write commands. autocommit:false was not provided, and %s is not a retryable write command.", r.name)
	}
	return nil
}

// checkAPI enforces the stable API, of which there is version 1, and in which the command is or is not.
func (r *request) checkAPI(inV1 bool) error {
	switch {
	case r.apiVersion == "":
		if r.hasAPI {
			return refuse(4886600, "Provided apiStrict and/or apiDeprecationErrors without passing apiVersion")
		}
	case r.apiVersion != "1":
		return refuse(codeAPIVersionError, "API version must be \"1\"")
	case r.apiStrict && !inV1:
		return refuse(codeAPIStrictError, "Provided apiStrict:true, but the command %s is not in API Version 1. Information on supported commands and migrations in API Version 1 can be found at https://dochub.mongodb.org/core/manual-versioned-api.", r.name)
	}
	return nil
}

// asError puts any error into the server's terms.
func asError(err error) *query.Error {
	var e *query.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(codeMaxTimeMSExpired, "operation exceeded time limit")
	case errors.Is(err, context.Canceled):
		return refuse(codeInterrupted, "operation was interrupted")
	}
	return refuse(codeInternalError, "%s", err.Error())
}
