package replset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// ErrNoPrimary is returned by what only a primary can do, when there is none.
var ErrNoPrimary = errors.New("replset: there is no primary")

// Partition cuts the network between the members into groups of indexes; the
// members that no group names are one more group. Clients still reach every
// member. It replaces an earlier partition.
func (s *Set) Partition(groups ...[]int) {
	ids := make([][]int32, len(groups))
	for i, g := range groups {
		for _, index := range g {
			ids[i] = append(ids[i], int32(s.Member(index).index))
		}
	}
	s.inner.Partition(ids...)
}

// Heal ends Partition.
func (s *Set) Heal() { s.inner.Heal() }

// standAgain is for how many election time-outs a member that StepDown has deposed does
// not stand for election.
const standAgain = 10

// StepDown makes the primary give up its role, as the command replSetStepDown
// does: as soon as a secondary that may take it over has caught up. That one stands
// for election at once; the old primary not before ten election time-outs have passed.
func (s *Set) StepDown(ctx context.Context) error {
	primary := s.Primary()
	if primary == nil {
		return ErrNoPrimary
	}
	node := primary.repl.Node()
	if node == nil {
		return ErrNoPrimary
	}
	patience := 10 * s.opts.ElectionTimeout
	if err := node.StepDown(ctx, standAgain*s.opts.ElectionTimeout, patience, false); err != nil {
		return fmt.Errorf("replset: stepping %v down: %w", primary, err)
	}
	return nil
}

// Add starts one more member, takes it into the config, and returns when a
// majority knows of it. It copies the data from another member, before which it is no
// secondary: see AwaitSecondaries.
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
	config := s.opts.member(index, m.Host())
	m.repl = s.inner.Add(config)
	s.members = append(s.members, m)
	s.mu.Unlock()
	if err := m.Restart(); err != nil {
		return nil, err
	}
	if err := s.enlist(ctx, m, config); err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}

// Return takes a member that was removed into the config again.
func (s *Set) Return(ctx context.Context, i int) error {
	s.config.Lock()
	defer s.config.Unlock()
	m := s.Member(i)
	if !m.removed.Load() {
		return fmt.Errorf("replset: %v has not been removed", m)
	}
	return s.enlist(ctx, m, s.opts.member(i, m.Host()))
}

func (s *Set) enlist(ctx context.Context, m *Member, config repl.MemberConfig) error {
	err := s.reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		if len(members) == MaxMembers {
			return nil, fmt.Errorf("the set has %d members already", MaxMembers)
		}
		return append(members, config), nil
	})
	if err != nil {
		return fmt.Errorf("replset: adding %v: %w", m, err)
	}
	m.removed.Store(false)
	m.list(config)
	return nil
}

// Hide makes a member one that clients do not learn of, with priority 0, or one
// like the others again, by a change of the config. A primary is made to step down
// before.
func (s *Set) Hide(ctx context.Context, i int, hidden bool) error {
	return s.adjust(ctx, i, func(mc *repl.MemberConfig) { mc.Hidden = hidden })
}

// Delay makes a member stay that far behind the primary on purpose, 0 to be like the
// others again, by a change of the config: unlike with Member.Lag, the set and its
// clients know. A primary is made to step down before.
func (s *Set) Delay(ctx context.Context, i int, d time.Duration) error {
	return s.adjust(ctx, i, func(mc *repl.MemberConfig) { mc.Delay = max(d, 0) })
}

// adjust changes what the config says of one member.
func (s *Set) adjust(ctx context.Context, i int, change func(*repl.MemberConfig)) error {
	s.config.Lock()
	defer s.config.Unlock()
	m := s.Member(i)
	if m.removed.Load() {
		return fmt.Errorf("replset: %v has been removed", m)
	}
	if s.opts.Arbiters[i] {
		return fmt.Errorf("replset: %v is an arbiter", m)
	}
	var now repl.MemberConfig
	if err := s.depose(ctx, m); err != nil {
		return err
	}
	err := s.reconfigure(ctx, func(members []repl.MemberConfig) ([]repl.MemberConfig, error) {
		at := slices.IndexFunc(members, func(mc repl.MemberConfig) bool { return mc.ID == int32(i) })
		change(&members[at])
		members[at].Priority = 0
		if !members[at].Hidden && members[at].Delay == 0 {
			members[at].Priority = s.opts.chosenPriority(i)
		}
		now = members[at]
		return members, nil
	})
	if err != nil {
		return fmt.Errorf("replset: changing %v: %w", m, err)
	}
	m.list(now)
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
// that. The member runs on, as one that belongs to no set. A primary is made to step
// down before.
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
	err := s.inner.Reconfigure(ctx, change)
	if errors.Is(err, repl.ErrNoPrimary) {
		return ErrNoPrimary
	}
	return err
}

// SwapAddresses makes the address of each of two members reach the other, and
// resets the connections that were made to either.
func (s *Set) SwapAddresses(a, b int) error {
	first, second := s.Member(a), s.Member(b)
	if err := errors.Join(first.door.lead(second), second.door.lead(first)); err != nil {
		return fmt.Errorf("replset: swapping the addresses of %v and %v: %w", first, second, err)
	}
	everyone := func(*line, *Member) bool { return true }
	first.door.reset(everyone)
	second.door.reset(everyone)
	return nil
}

// Alternate makes each new connection to the address of member addr reach the
// other one of the members a and b, beginning with a. Connections that there are
// stay.
func (s *Set) Alternate(addr, a, b int) error {
	return s.lead(addr, s.Member(a), s.Member(b))
}

// Impersonate makes the address of member addr reach other, a member of another
// set, and resets the connections made to it before.
func (s *Set) Impersonate(addr int, other *Member) error {
	if err := s.lead(addr, other); err != nil {
		return err
	}
	s.Member(addr).door.reset(func(*line, *Member) bool { return true })
	return nil
}

func (s *Set) lead(addr int, targets ...*Member) error {
	m := s.Member(addr)
	if err := m.door.lead(targets...); err != nil {
		return fmt.Errorf("replset: address of %v: %w", m, err)
	}
	return nil
}

// RestoreAddresses makes every address reach its own member again, and resets the
// connections that reach another one.
func (s *Set) RestoreAddresses() error {
	for _, m := range s.Members() {
		if err := s.lead(m.index, m); err != nil {
			return err
		}
		m.door.reset(func(_ *line, to *Member) bool { return to != m })
	}
	return nil
}
