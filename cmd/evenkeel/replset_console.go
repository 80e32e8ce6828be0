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

// commandTimeout bounds each command, so that a set that cannot obey says so, and
// one whose parent has gone ends all the same.
const commandTimeout = 10 * time.Second

// reply is the answer to a command: an error, members, or a text, which may be "".
type reply struct {
	command string
	err     error
	text    string
	members []memberSummary // of status
	quit    bool
}

// memberSummary is a member as status shows it.
type memberSummary struct {
	Index       int    `json:"index"`
	Host        string `json:"host"`
	State       string `json:"state"`
	Connections int    `json:"connections"`
	Reads       int64  `json:"reads"`
	Writes      int64  `json:"writes"`
}

// console does to a set what lines say. It is used by one goroutine.
type console struct {
	set       *replset.Set
	options   replset.Options
	strangers *replset.Set // nil until the first is needed
	strikes   map[int][]*replset.Fault
	only      string // the application that strikes are for; "" for all
}

func (c *console) close() {
	if c.strangers != nil {
		c.strangers.Stop()
	}
}

// obey executes a line, which is not blank.
func (c *console) obey(ctx context.Context, line string) reply {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	words := strings.Fields(line)
	r := reply{command: strings.Join(words, " ")}
	for _, command := range consoleCommands() {
		form := strings.Fields(command.form)
		if form[0] != words[0] {
			continue
		}
		if open := form[len(form)-1] == "…"; !open && len(words) != len(form) || open && len(words) < len(form)-1 {
			r.err = fmt.Errorf("write: %s", command.form)
			return r
		}
		r.err = command.run(ctx, c, words[1:], &r)
		return r
	}
	r.err = fmt.Errorf("there is no command %q; \"help\" lists them", words[0])
	return r
}

type consoleCommand struct {
	form, does string // "…" at a form's end: any number of words
	run        act
}

// consoleCommands are all commands, in the order in which they are shown.
func consoleCommands() []consoleCommand {
	return []consoleCommand{
		{"status", "every member, its address and state", func(_ context.Context, c *console, _ []string, r *reply) error {
			r.members = c.status()
			return nil
		}},
		{"kill N", "as kill -9 does; its data stays", toMember(func(m *replset.Member) error { m.Kill(); return nil })},
		{"restart N", "a killed member, or a running one, on its data", toMember((*replset.Member).Restart)},
		{"standalone N", "restarts it without replication, as for a repair", toMember((*replset.Member).RestartStandalone)},
		{"freeze N", "it takes connections and answers nothing", toMember(func(m *replset.Member) error { m.Freeze(); return nil })},
		{"unfreeze N", "it works off what was sent meanwhile", toMember(func(m *replset.Member) error { m.Unfreeze(); return nil })},
		{"slow N COMMAND DURATION", "each execution takes longer; 0 ends it", slow},
		{"cut N COMMAND PHASE TIMES", "closes the command's connection; 0 times is always", strikeCut},
		{"overload N COMMAND SHARE", "refuses a share of them, up to 1, as an overloaded 8.2 does", strikeOverload},
		{"refuse N", "closes new connections at once", strikeRefuse},
		{"latency N COMMAND …", "draws how much longer each takes, from 0.5=2ms 0.99=40ms 1=1s", strikeLatency},
		{"only APP", "whom cut, overload and latency are for from now on, by appName; * is all", strikeOnly},
		{"calm N", "ends cut, overload, refuse and latency", calmDown},
		{"link N LINK", "whole, hole (nothing gets in or out), mute or deaf; no end, no reset", link},
		{"lag N DURATION", "it applies writes so long after they were made; 0 ends it", lag},
		{"maintenance N on|off", "a secondary becomes RECOVERING and refuses reads", maintenance},
		{"stepdown", "the primary gives its role to a secondary", func(ctx context.Context, c *console, _ []string, _ *reply) error {
			return c.set.StepDown(ctx)
		}},
		{"partition N,N …", "cuts the members into groups; the others are one more", partition},
		{"heal", "ends the partition", func(_ context.Context, c *console, _ []string, _ *reply) error {
			c.set.Heal()
			return nil
		}},
		{"swap A B", "the addresses of A and B reach each other's member", addresses(func(c *console, i []int) error {
			return c.set.SwapAddresses(i[0], i[1])
		})},
		{"alternate A B C", "new connections to A's address reach B and C in turn", addresses(func(c *console, i []int) error {
			return c.set.Alternate(i[0], i[1], i[2])
		})},
		{"stranger N", "N's address reaches a secondary of another set of the same name", stranger},
		{"restore", "every address reaches its own member again", func(_ context.Context, c *console, _ []string, _ *reply) error {
			return c.set.RestoreAddresses()
		}},
		{"add", "one more member", func(ctx context.Context, c *console, _ []string, r *reply) error {
			m, err := c.set.Add(ctx)
			if err == nil {
				r.text = fmt.Sprint(m)
			}
			return err
		}},
		{"remove N", "takes a member out of the set's config; it runs on", toConfig((*replset.Set).Remove)},
		{"return N", "takes it in again", toConfig((*replset.Set).Return)},
		{"resync N DURATION", "restarts it without data, which it copies for so long", resync},
		{"priority N P", "0 to 1000; the highest takes over", configure(configPriority)},
		{"hide N on|off", "clients do not learn of it", hide},
		{"delay N DURATION", "it stays behind on purpose, and the config says so; 0 ends it", delay},
		{"vote N on|off", "off only with priority 0", configure(configVote)},
		{"tag N …", "its tags, KEY=VALUE; without any it has none", configure(configTags)},
		{"await", "answers when the set is in its steady state", func(ctx context.Context, c *console, _ []string, _ *reply) error {
			return c.set.AwaitSecondaries(ctx)
		}},
		{"help", "all commands, in one line", func(_ context.Context, _ *console, _ []string, r *reply) error {
			var forms []string
			for _, command := range consoleCommands() {
				forms = append(forms, command.form)
			}
			r.text = strings.Join(forms, "; ")
			return nil
		}},
		{"quit", "ends the set", func(_ context.Context, _ *console, _ []string, r *reply) error {
			r.quit = true
			return nil
		}},
	}
}

func (c *console) status() []memberSummary {
	all := []memberSummary{}
	for _, m := range c.set.Members() {
		counted := m.Counters()
		all = append(all, memberSummary{
			Index: m.Index(), Host: m.Host(), State: m.State(),
			Connections: counted.Connections, Reads: counted.Reads, Writes: counted.Writes,
		})
	}
	return all
}

func (c *console) index(word string) (int, error) {
	i, err := strconv.Atoi(word)
	if n := len(c.set.Members()); err != nil || i < 0 || i >= n {
		return 0, fmt.Errorf("member %q is none; use 0 to %d", word, n-1)
	}
	return i, nil
}

func (c *console) indexes(words []string) ([]int, error) {
	var all []int
	for _, word := range words {
		i, err := c.index(word)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

func (c *console) member(word string) (*replset.Member, error) {
	i, err := c.index(word)
	if err != nil {
		return nil, err
	}
	return c.set.Member(i), nil
}

// act is what a consoleCommand does.
type act = func(ctx context.Context, c *console, args []string, r *reply) error

func toMember(do func(*replset.Member) error) act {
	return func(_ context.Context, c *console, args []string, _ *reply) error {
		m, err := c.member(args[0])
		if err != nil {
			return err
		}
		return do(m)
	}
}

func toConfig(do func(*replset.Set, context.Context, int) error) act {
	return func(ctx context.Context, c *console, args []string, _ *reply) error {
		i, err := c.index(args[0])
		if err != nil {
			return err
		}
		return do(c.set, ctx, i)
	}
}

func addresses(do func(*console, []int) error) act {
	return func(_ context.Context, c *console, args []string, _ *reply) error {
		i, err := c.indexes(args)
		if err != nil {
			return err
		}
		return do(c, i)
	}
}

// duration reads one that is not negative; a bare 0 needs no unit.
func duration(word string) (time.Duration, error) {
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("duration %q is none; write one like 50ms or 1.5s", word)
	}
	return d, nil
}

func slow(_ context.Context, c *console, args []string, _ *reply) error {
	m, err := c.member(args[0])
	if err != nil {
		return err
	}
	d, err := duration(args[2])
	if err != nil {
		return err
	}
	command, err := commandName(args[1])
	if err != nil {
		return err
	}
	m.Slow(command, d)
	return nil
}

// commandName reads a command's name; "all" is "".
func commandName(word string) (string, error) {
	if word == "all" {
		return "", nil
	}
	if !replset.IsCommand(word) {
		return "", fmt.Errorf("the members know no command %q; write its name as in the server's manual, or all", word)
	}
	return word, nil
}

func lag(_ context.Context, c *console, args []string, _ *reply) error {
	m, err := c.member(args[0])
	if err != nil {
		return err
	}
	d, err := duration(args[1])
	if err != nil {
		return err
	}
	m.Lag(d)
	return nil
}

func maintenance(_ context.Context, c *console, args []string, _ *reply) error {
	m, err := c.member(args[0])
	if err != nil {
		return err
	}
	on, err := onOrOff(args[1])
	if err != nil {
		return err
	}
	return m.SetMaintenance(on)
}

func partition(_ context.Context, c *console, args []string, _ *reply) error {
	var groups [][]int
	for _, word := range args {
		group, err := c.indexes(strings.Split(word, ","))
		if err != nil {
			return err
		}
		groups = append(groups, group)
	}
	c.set.Partition(groups...)
	return nil
}

// stranger leads an address to another set, which is started for the first.
func stranger(ctx context.Context, c *console, args []string, _ *reply) error {
	i, err := c.index(args[0])
	if err != nil {
		return err
	}
	if c.strangers == nil {
		o := c.options
		o.Members = 2
		if c.strangers, err = replset.Start(o); err != nil {
			return err
		}
	}
	if err := c.strangers.AwaitSecondaries(ctx); err != nil {
		return err
	}
	for _, m := range c.strangers.Members() {
		if m.IsSecondary() {
			return c.set.Impersonate(i, m)
		}
	}
	return errors.New("the strangers have no secondary")
}
