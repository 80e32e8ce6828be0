package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
		t.AppName = c.only
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

func strikeLatency(_ context.Context, c *console, args []string, _ *reply) error {
	if len(args) < 3 {
		return errors.New("write quantiles like 0.5=2ms 0.99=40ms")
	}
	values, highest := map[float64]time.Duration{}, time.Duration(0)
	for last, words := -1.0, args[2:]; len(words) > 0; words = words[1:] {
		left, right, _ := strings.Cut(words[0], "=")
		part, err := strconv.ParseFloat(left, 64)
		if err != nil || !(part >= 0 && part <= 1) || part <= last {
			return fmt.Errorf("quantile %q is none, or not after the one before; write them like 0.5=2ms 0.99=40ms", words[0])
		}
		d, err := duration(right)
		if err != nil {
			return err
		}
		if d < highest {
			return fmt.Errorf("quantile %q is less than the one before", words[0])
		}
		values[part], last, highest = d, part, d
	}
	latency := replset.Quantiles(values)
	return c.strike(args[0], args[1], func(m *replset.Member, t replset.Target) *replset.Fault { return m.Delay(t, latency) }, replset.Target{})
}

func strikeOnly(_ context.Context, c *console, args []string, _ *reply) error {
	c.only = args[0]
	if c.only == "*" {
		c.only = ""
	}
	return nil
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
