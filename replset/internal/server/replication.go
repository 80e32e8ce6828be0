package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var replicationCommands = []*command{
	{name: "replSetGetStatus", run: replSetGetStatus, admin: true},
	{name: "replSetGetConfig", run: replSetGetConfig, admin: true},
	{name: "replSetStepDown", run: replSetStepDown, admin: true},
	{name: "replSetFreeze", run: replSetFreeze, admin: true},
	{name: "replSetMaintenance", run: replSetMaintenance, admin: true},
}

// member refuses a command on what is no member of a set.
func (c *conn) member() (repl.Status, error) {
	st := c.s.node.Status()
	switch st.Role {
	case repl.Standalone:
		return st, refuse(codeNoReplicationEnabled, "not running with --replSet")
	case repl.Startup:
		return st, refuse(codeNotYetInitialized, "no replset config has been received")
	case repl.Removed:
		return st, refuse(codeInvalidReplicaSetConfig, "Our replica set config is invalid or we are not a member of it")
	}
	return st, nil
}

func replSetGetConfig(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "commitmentStatus":
			if p.flag() {
				p.fail(refuse(codeNotImplemented, "commitmentStatus is not supported"))
			}
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if _, err := c.member(); err != nil {
		return err
	}
	c.out.raw("config", c.s.node.Config())
	return nil
}

func replSetStepDown(c *conn, r *request) error {
	secs, ok := integral(r.first)
	if !ok {
		if query.Truthy(r.first) || r.first.Type == 0 {
			return refuse(codeTypeMismatch, "Expected field \"replSetStepDown\" to have numeric type, but found %s", query.TypeName(r.first.Type))
		}
		secs = 0
	}
	if secs == 0 {
		secs = 60
	}
	force := false
	catchUp := int64(-1)
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "force":
			force = p.flag()
		case "secondaryCatchUpPeriodSecs":
			catchUp = p.count()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	switch {
	case secs < 0:
		return refuse(codeBadValue, "stepdown period must be a positive integer")
	case catchUp > secs:
		return refuse(codeBadValue, "stepdown period must be longer than secondaryCatchUpPeriodSecs")
	case catchUp < 0 && force:
		catchUp = 0
	case catchUp < 0:
		catchUp = min(10, secs)
	}
	st, err := c.member()
	if err != nil {
		return err
	}
	if st.Role != repl.Primary {
		return refuse(codeNotWritablePrimary, "not primary so can't step down")
	}
	const most = int64(365 * 24 * time.Hour / time.Second)
	err = c.s.node.StepDown(c.opCtx, time.Duration(min(secs, most))*time.Second, time.Duration(min(catchUp, most))*time.Second, force)
	if err != nil && c.opCtx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return refuse(262, "%s", fmt.Sprintf("No electable secondaries caught up as of %s. Please use the replSetStepDown command with the argument {force: true} to force node to step down.", time.Now().UTC().Format(time.RFC3339)))
	}
	return err
}

func replSetFreeze(c *conn, r *request) error {
	secs, ok := integral(r.first)
	if !ok {
		return refuse(codeTypeMismatch, "Expected field \"replSetFreeze\" to have numeric type, but found %s", query.TypeName(r.first.Type))
	}
	if err := r.noFields(); err != nil {
		return err
	}
	st, err := c.member()
	if err != nil {
		return err
	}
	if st.Role == repl.Primary {
		return refuse(codeNotSecondary, "cannot freeze node when primary or running for election. state: Primary")
	}
	return c.freezeElections(time.Duration(min(max(secs, 0), 1<<31)) * time.Second)
}

// freezeElections keeps this member from standing for election.
func (c *conn) freezeElections(d time.Duration) error {
	f, ok := c.s.node.(interface{ Freeze(time.Duration) })
	if !ok {
		return refuse(codeNotImplemented, "replSetFreeze is not supported by this member")
	}
	f.Freeze(d)
	return nil
}

func replSetMaintenance(c *conn, r *request) error {
	if err := r.noFields(); err != nil {
		return err
	}
	st, err := c.member()
	if err != nil {
		return err
	}
	on := query.Truthy(r.first)
	switch {
	case st.Role == repl.Primary:
		return refuse(codeNotSecondary, "primaries can't modify maintenance mode")
	case !on && st.Role != repl.Recovering:
		return refuse(codeOperationFailed, "already out of maintenance mode")
	}
	m, ok := c.s.node.(interface{ SetMaintenance(bool) error })
	if !ok {
		return refuse(codeNotImplemented, "replSetMaintenance is not supported by this member")
	}
	return m.SetMaintenance(on)
}
