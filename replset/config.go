package replset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// MemberConfig is what the set's config says of a member, in so far as it can change. Who
// is an arbiter stays one.
type MemberConfig struct {
	// Priority is 0 for a member that never becomes primary, which one that is hidden,
	// delayed or without a vote must not.
	Priority  float64
	Hidden    bool
	Delay     time.Duration
	NonVoting bool
	Tags      map[string]string
}

// check refuses what a server refuses, with its text where there is one.
func (mc *MemberConfig) check() error {
	switch {
	case mc.Priority < 0 || mc.Priority > 1000:
		return fmt.Errorf("the priority %v is not from 0 to 1000", mc.Priority)
	case mc.Delay < 0:
		return fmt.Errorf("the delay %v is negative", mc.Delay)
	case mc.Priority == 0:
		return nil
	case mc.NonVoting:
		return errors.New("priority must be 0 when non-voting (votes:0)")
	case mc.Delay > 0:
		return errors.New("priority must be 0 when secondaryDelaySecs is used")
	case mc.Hidden:
		return errors.New("priority must be 0 when hidden=true")
	}
	return nil
}

// Config is what the set's config says of a member, or would if it were not removed.
func (s *Set) Config(i int) MemberConfig {
	s.config.Lock()
	defer s.config.Unlock()
	return s.Member(i).public()
}

// public is m.config. The caller must hold the set's config.
func (m *Member) public() MemberConfig {
	return MemberConfig{
		Priority: m.config.Priority, Hidden: m.config.Hidden, Delay: m.config.Delay, NonVoting: m.config.Votes == 0, Tags: maps.Clone(m.config.Tags),
	}
}

// Configure changes what the set's config says of a member, in one new version of it,
// and returns when a majority has that. A primary that could not stay one is made to
// step down before. As in a server, one with a higher priority than the primary's takes
// over after a while.
func (s *Set) Configure(ctx context.Context, i int, change func(*MemberConfig)) error {
	s.config.Lock()
	defer s.config.Unlock()
	m := s.Member(i)
	switch {
	case s.opts.Standalone:
		return errors.New("replset: a standalone has no config")
	case m.removed.Load():
		return fmt.Errorf("replset: %v has been removed", m)
	case m.config.Arbiter:
		return fmt.Errorf("replset: %v is an arbiter", m)
	}
	mc := m.public()
	change(&mc)
	if err := mc.check(); err != nil {
		return fmt.Errorf("replset: changing %v: %w", m, err)
	}
	next := m.config
	next.Priority, next.Hidden, next.Delay, next.Votes, next.Tags = mc.Priority, mc.Hidden, mc.Delay, 1, maps.Clone(mc.Tags)
	if mc.NonVoting {
		next.Votes = 0
	}
	if next.Priority == 0 {
		if err := s.depose(ctx, m); err != nil {
			return err
		}
	}
	err := s.reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		at := slices.IndexFunc(members, func(mc repl.MemberConfig) bool { return mc.ID == int32(i) })
		if at < 0 {
			return nil, errors.New("the config does not list it: its removal was not waited for to the end")
		}
		members[at] = next
		return members, nil
	})
	if err != nil {
		return fmt.Errorf("replset: changing %v: %w", m, err)
	}
	m.list(next)
	return nil
}

// Hide makes a member one that clients do not learn of, with priority 0, or one
// like the others again, with the priority that Options gave it. A primary is made to
// step down before.
func (s *Set) Hide(ctx context.Context, i int, hidden bool) error {
	return s.Configure(ctx, i, func(mc *MemberConfig) {
		mc.Hidden = hidden
		s.suit(i, mc)
	})
}

// Delay makes a member stay that far behind the primary on purpose, with priority 0, or
// for 0 be like the others again, with the priority that Options gave it: unlike with
// Member.Lag, the set and its clients know. A primary is made to step down before.
func (s *Set) Delay(ctx context.Context, i int, d time.Duration) error {
	return s.Configure(ctx, i, func(mc *MemberConfig) {
		mc.Delay = max(d, 0)
		s.suit(i, mc)
	})
}

// suit gives a member the priority that it may have.
func (s *Set) suit(i int, mc *MemberConfig) {
	mc.Priority = 0
	if !mc.Hidden && mc.Delay == 0 && !mc.NonVoting {
		mc.Priority = s.opts.chosenPriority(i)
	}
}

// Add starts one more member, takes it into the config, and returns when a
// majority knows of it. It copies the data from another member, before which it is no
// secondary, and, since 5.0, has no vote: see AwaitSecondaries. Options may say what it
// is to be by its index, which is the next one.
//
// Where ctx or the primary's term ends while the config spreads, the config may come to be
// the set's or not: Add returns the member, which runs on, with the error, and Return takes
// it in for certain. If the config is refused, the member is killed.
func (s *Set) Add(ctx context.Context) (*Member, error) {
	s.config.Lock()
	defer s.config.Unlock()
	if s.opts.Standalone {
		return nil, errors.New("replset: a standalone has no members to add to")
	}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil, ErrStopped
	}
	index := len(s.members)
	m, err := newMember(s, index)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	m.removed.Store(true) // until the config has it
	m.repl = s.inner.Add(m.config)
	m.repl.InitialSync(s.opts.InitialSync)
	s.members = append(s.members, m)
	s.mu.Unlock()
	if err := m.Restart(); err != nil {
		return nil, err
	}
	err = s.enlist(ctx, m)
	if err != nil && !errors.Is(err, repl.ErrUnconfirmed) {
		m.Kill()
		return nil, err
	}
	return m, err
}

// Return takes a member into the config that was removed, as it was, or whose Add was not
// waited for to the end.
func (s *Set) Return(ctx context.Context, i int) error {
	s.config.Lock()
	defer s.config.Unlock()
	m := s.Member(i)
	if !m.removed.Load() {
		return fmt.Errorf("replset: %v has not been removed", m)
	}
	return s.enlist(ctx, m)
}

func (s *Set) enlist(ctx context.Context, m *Member) error {
	err := s.reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		// It is listed if its addition was not waited for to the end.
		members = slices.DeleteFunc(members, func(mc repl.MemberConfig) bool { return mc.ID == m.config.ID })
		if len(members) == MaxMembers {
			return nil, fmt.Errorf("the set has %d members already", MaxMembers)
		}
		return append(members, m.config), nil
	})
	if err != nil {
		return fmt.Errorf("replset: adding %v: %w", m, err)
	}
	m.removed.Store(false)
	return nil
}

// depose makes a member step down, if it is the primary, and waits for another one.
func (s *Set) depose(ctx context.Context, m *Member) error {
	if s.Primary() != m {
		return nil
	}
	if err := s.StepDown(ctx); err != nil {
		return err
	}
	_, err := s.AwaitPrimary(ctx)
	return err
}

// Remove takes a member out of the set's config and returns when a majority knows
// that. The member hangs up on its clients and runs on, as one that belongs to no set. A
// primary is made to step down before.
func (s *Set) Remove(ctx context.Context, i int) error {
	s.config.Lock()
	defer s.config.Unlock()
	m := s.Member(i)
	if m.removed.Load() {
		return fmt.Errorf("replset: %v has been removed already", m)
	}
	if err := s.depose(ctx, m); err != nil {
		return err
	}
	err := s.reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		return slices.DeleteFunc(members, func(mc repl.MemberConfig) bool { return mc.ID == int32(i) }), nil
	})
	if err != nil {
		return fmt.Errorf("replset: removing %v: %w", m, err)
	}
	m.removed.Store(true)
	return nil
}

func (s *Set) reconfigure(ctx context.Context, change func([]repl.MemberConfig) ([]repl.MemberConfig, error)) error {
	err := s.inner.Reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		members, err := change(members)
		if err != nil {
			return nil, err
		}
		voters := 0
		for _, m := range members {
			voters += m.Votes
		}
		if voters > MaxVoters {
			return nil, fmt.Errorf("%d members would vote, and at most %d may", voters, MaxVoters)
		}
		return members, nil
	})
	if errors.Is(err, repl.ErrNoPrimary) {
		return ErrNoPrimary
	}
	return err
}
