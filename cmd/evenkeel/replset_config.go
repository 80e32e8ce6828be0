package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/evenkeel/evenkeel/replset"
)

// configure is a command that changes what the set's config says of a member.
func configure(read func(args []string) (func(*replset.MemberConfig), error)) act {
	return func(ctx context.Context, c *console, args []string, _ *reply) error {
		i, err := c.index(args[0])
		if err != nil {
			return err
		}
		change, err := read(args[1:])
		if err != nil {
			return err
		}
		return c.set.Configure(ctx, i, change)
	}
}

func configPriority(args []string) (func(*replset.MemberConfig), error) {
	p, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return nil, fmt.Errorf("priority %q is no number from 0 to 1000", args[0])
	}
	return func(mc *replset.MemberConfig) { mc.Priority = p }, nil
}

func configVote(args []string) (func(*replset.MemberConfig), error) {
	on, err := onOrOff(args[0])
	return func(mc *replset.MemberConfig) { mc.NonVoting = !on }, err
}

func configTags(args []string) (func(*replset.MemberConfig), error) {
	tags := map[string]string{}
	for _, word := range args {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("tag %q is none; write KEY=VALUE", word)
		}
		tags[key] = value
	}
	return func(mc *replset.MemberConfig) { mc.Tags = tags }, nil
}

func hide(ctx context.Context, c *console, args []string, _ *reply) error {
	i, err := c.index(args[0])
	if err != nil {
		return err
	}
	on, err := onOrOff(args[1])
	if err != nil {
		return err
	}
	return c.set.Hide(ctx, i, on)
}

func delay(ctx context.Context, c *console, args []string, _ *reply) error {
	i, err := c.index(args[0])
	if err != nil {
		return err
	}
	d, err := duration(args[1])
	if err != nil {
		return err
	}
	return c.set.Delay(ctx, i, d)
}

func resync(_ context.Context, c *console, args []string, _ *reply) error {
	m, err := c.member(args[0])
	if err != nil {
		return err
	}
	d, err := duration(args[1])
	if err != nil {
		return err
	}
	return m.Resync(d)
}

// links are the states of a member's link by their names.
var links = map[string]replset.Link{
	"whole": replset.LinkWhole, "hole": replset.LinkBlackHole, "mute": replset.LinkMute, "deaf": replset.LinkDeaf,
}

func link(_ context.Context, c *console, args []string, _ *reply) error {
	m, err := c.member(args[0])
	if err != nil {
		return err
	}
	l, ok := links[args[1]]
	if !ok {
		return fmt.Errorf("%q is none of whole, hole, mute, deaf", args[1])
	}
	return m.SetLink(l)
}

func onOrOff(word string) (bool, error) {
	if word != "on" && word != "off" {
		return false, fmt.Errorf("%q is neither on nor off", word)
	}
	return word == "on", nil
}
