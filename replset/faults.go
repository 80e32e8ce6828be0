package replset

import (
	"context"
	"errors"
	"fmt"
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
