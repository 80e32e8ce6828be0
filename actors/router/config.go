package router

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// The defaults of Config.
const (
	DefaultReadQueue      = 100_000
	DefaultReadQueueBytes = 256 << 20
	DefaultReadTimeout    = 5 * time.Second
	DefaultReadAttempts   = 4
	DefaultRetryRatio     = 0.2
	DefaultRetriesPerSec  = 10
	DefaultHedgeShare     = 0.05
	defaultBudgetCapacity = 100
)

// Encoder encodes a Read's BSON, in the goroutine of whoever sends it. Its errors are
// given to the asker as they are. *command.Encoder is one.
type Encoder interface {
	Read(*messages.Read) (*command.Read, error)
}

// Config is what a Router needs. All but Encoder has a default.
type Config struct {
	// Encoder encodes the reads; required.
	Encoder Encoder
	// Policy says which of the hosts that may serve a read should. Defaults to
	// Adaptive.
	Policy Policy
	// SlowStart is how long a host that came back takes to get its full share. Defaults
	// to DefaultSlowStart; negative for none.
	SlowStart time.Duration
	// From is which members answer a read that does not say. Defaults to
	// messages.FromSecondaries.
	From messages.From
	// Tags are the tag sets of a read that has none. Optional.
	Tags []messages.TagSet
	// NoPrimaryFallback keeps reads from FromSecondaries off the primary even while no
	// secondary is live.
	NoPrimaryFallback bool
	// ReadQueue is how many reads may be unanswered at one time. One more is refused
	// with an *OverloadedError. Defaults to DefaultReadQueue.
	ReadQueue int
	// ReadQueueBytes is how many bytes their commands may hold in memory together, refused in the same
	// way. Defaults to DefaultReadQueueBytes.
	ReadQueueBytes int
	// ReadTimeout is the deadline of a Read that names none. Defaults to
	// DefaultReadTimeout.
	ReadTimeout time.Duration
	// ReadAttempts is how often a read is sent to a host at most. Defaults to
	// DefaultReadAttempts.
	ReadAttempts int
	// Hedge sends a second copy of a point or range read to another host when the first has
	// not been answered for as long as 95 % of its class take of late. HedgeShare bounds the
	// copies to a part of all reads; it defaults to DefaultHedgeShare.
	Hedge      bool
	HedgeShare float64
	// Hosts describes every configured host in a line, for errors. Optional.
	Hosts func() []string
	// Recent returns the last transitions, for errors. Optional.
	Recent func() []messages.Transition
	// Emit takes the events; it must not block. Optional.
	Emit   func(messages.Event)
	Logger zerolog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Encoder == nil {
		return c, errors.New("router: Config.Encoder is nil; it encodes the reads")
	}
	if c.Policy > Random {
		return c, fmt.Errorf("router: Config.Policy is %d; use Adaptive, RoundRobin, LeastPending or Random", c.Policy)
	}
	if c.From > messages.FromPrimaryPreferred {
		return c, fmt.Errorf("router: Config.From is %d; use one of the messages.From… constants", c.From)
	}
	if c.From == messages.FromDefault {
		c.From = messages.FromSecondaries
	}
	if c.HedgeShare < 0 || c.HedgeShare > 1 || c.HedgeShare != c.HedgeShare {
		return c, fmt.Errorf("router: Config.HedgeShare is %v; it is a part of all reads, such as 0.05", c.HedgeShare)
	}
	if c.HedgeShare == 0 {
		c.HedgeShare = DefaultHedgeShare
	}
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"ReadQueue", &c.ReadQueue, DefaultReadQueue},
		{"ReadQueueBytes", &c.ReadQueueBytes, DefaultReadQueueBytes},
		{"ReadAttempts", &c.ReadAttempts, DefaultReadAttempts},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("router: Config.%s is %d; it must be positive, or 0 for the default of %d", f.name, *f.value, f.zero)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	if c.ReadTimeout < 0 {
		return c, fmt.Errorf("router: Config.ReadTimeout is %v; it must be positive, or 0 for the default of %v", c.ReadTimeout, DefaultReadTimeout)
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = DefaultReadTimeout
	}
	switch {
	case c.SlowStart == 0:
		c.SlowStart = DefaultSlowStart
	case c.SlowStart < 0:
		c.SlowStart = 0
	}
	if c.Emit == nil {
		c.Emit = func(messages.Event) {}
	}
	if c.Hosts == nil {
		c.Hosts = func() []string { return nil }
	}
	return c, nil
}
