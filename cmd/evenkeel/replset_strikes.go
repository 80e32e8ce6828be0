package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/evenkeel/evenkeel/replset"
)

// strike begins a fault that calm ends.
func (c *console) strike(member, command string, of func(*replset.Member, replset.Target) *replset.Fault, t replset.Target) error {
	i, err := c.index(member)
	if err != nil {
		return err
	}
	if command != "" {
		name, err := commandName(command)
		if err != nil {
			return err
		}
		if name != "" {
			t.Commands = []string{name}
		}
	}
	if c.strikes == nil {
		c.strikes = map[int][]*replset.Fault{}
	}
	c.strikes[i] = append(c.strikes[i], of(c.set.Member(i), t))
	return nil
}

func strikeCut(_ context.Context, c *console, args []string, _ *reply) error {
	phase, ok := map[string]replset.Phase{
		"before": replset.BeforeExecution, "reply": replset.BeforeReply, "within": replset.WithinReply,
	}[args[2]]
	if !ok {
		return fmt.Errorf("%q is none of before, reply, within", args[2])
	}
	times, err := strconv.Atoi(args[3])
	if err != nil || times < 0 {
		return fmt.Errorf("%q is no number of times; 0 is always", args[3])
	}
	return c.strike(args[0], args[1], func(m *replset.Member, t replset.Target) *replset.Fault { return m.Cut(t, phase) }, replset.Target{Times: times})
}

func strikeOverload(_ context.Context, c *console, args []string, _ *reply) error {
	share, err := strconv.ParseFloat(args[2], 64)
	if err != nil || !(share > 0 && share <= 1) {
		return fmt.Errorf("share %q must be more than 0 and up to 1", args[2])
	}
	return c.strike(args[0], args[1], (*replset.Member).Overload, replset.Target{Share: share})
}

func strikeRefuse(_ context.Context, c *console, args []string, _ *reply) error {
	return c.strike(args[0], "", (*replset.Member).RefuseConnections, replset.Target{})
}

func calmDown(_ context.Context, c *console, args []string, _ *reply) error {
	i, err := c.index(args[0])
	if err != nil {
		return err
	}
	for _, f := range c.strikes[i] {
		f.End()
	}
	delete(c.strikes, i)
	return nil
}
