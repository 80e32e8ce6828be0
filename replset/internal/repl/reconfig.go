package repl

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrNoPrimary is returned when a change to the config finds nobody to make it.
var ErrNoPrimary = errors.New("repl: no primary")

// ErrUnconfirmed is what an error of Reconfigure is when the config has been installed.
var ErrUnconfirmed = errors.New("the new config may come to be the set's or not")

// Reconfigure changes the config's members by way of the primary, and returns
// when a majority has the new config. The change must add or remove one voter at
// most, so that any two majorities have a voter in common.
func (s *Set) Reconfigure(ctx context.Context, change func([]MemberConfig) ([]MemberConfig, error)) error {
	leader := s.Leader()
	if leader == nil {
		return ErrNoPrimary
	}
	p := leader.proc.Load()
	if p == nil {
		return ErrNoPrimary
	}
	return p.reconfigure(ctx, change)
}

// wanted is what a newly added member gets when it has become a secondary.
type wanted struct {
	votes    int
	priority float64
}

// withhold makes a voter a newly added one, which has neither a vote nor a priority
// until it has become a secondary: else adding a member that still copies the data would
// make majorities harder to reach.
func (m *MemberConfig) withhold() {
	if m.Votes > 0 && !m.Arbiter {
		m.wanted = &wanted{m.Votes, m.Priority}
		m.Votes, m.Priority = 0, 0
	}
}

// grant ends withhold.
func (m *MemberConfig) grant() {
	if m.wanted != nil {
		m.Votes, m.Priority, m.wanted = m.wanted.votes, m.wanted.priority, nil
	}
}

// reconfigure makes a change that somebody has ordered, who sees newly added
// members as they will be.
func (p *process) reconfigure(ctx context.Context, change func([]MemberConfig) ([]MemberConfig, error)) error {
	return p.replace(ctx, func(members []MemberConfig) ([]MemberConfig, error) {
		known := map[int32]bool{} // and whether they have their vote
		for i := range members {
			known[members[i].ID] = members[i].wanted == nil
			members[i].grant()
		}
		before := (&config{members: slices.Clone(members)}).votes()
		members, err := change(members)
		if err != nil {
			return nil, err
		}
		// Since 5.0, as newly added members are.
		if after := (&config{members: members}).votes(); p.newlyAdded && before.MajorityByDefault() != after.MajorityByDefault() {
			return nil, refuse(codeNewReplicaSetConfig, "Reconfig attempted to install a config that would change the implicit default write concern. Use the setDefaultRWConcern command to set a cluster-wide write concern and try the reconfig again.")
		}
		for i := range members {
			if granted, old := known[members[i].ID]; old && !granted || !old && p.newlyAdded {
				members[i].withhold()
			}
		}
		return members, nil
	})
}

// admit gives newly added members that have become secondaries what has been withheld,
// one after the other. It is run by one goroutine of a primary at a time.
func (p *process) admit() {
	for p.ctx.Err() == nil {
		admitted := false
		err := p.replace(p.ctx, func(members []MemberConfig) ([]MemberConfig, error) {
			for i := range members {
				if p.admissible(&members[i]) {
					members[i].grant()
					admitted = true
					return members, nil
				}
			}
			return nil, errNobody
		})
		if err != nil || !admitted {
			break
		}
	}
	p.mu.Lock()
	p.admitting = false
	p.mu.Unlock()
}

var errNobody = errors.New("repl: nobody to admit")

// admissible says that a newly added member has become a secondary. The caller must
// hold p.mu.
func (p *process) admissible(m *MemberConfig) bool {
	q := p.peers[m.ID]
	return m.wanted != nil && q != nil && q.up && q.role == Secondary
}

// replace makes the next config.
func (p *process) replace(ctx context.Context, change func([]MemberConfig) ([]MemberConfig, error)) error {
	// The present config must be a majority's, and an entry of this term be
	// committed: else a config of an earlier primary could still win, and the two
	// would need no voter in common.
	err := p.await(ctx, &waiter{leading: true, ready: func(v *view) bool {
		return p.configured() && v.committed.op.Term == p.disk.term
	}})
	if err != nil {
		return err
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	if p.role != Primary || !p.writable {
		p.mu.Unlock()
		return errNotPrimary()
	}
	members, err := change(slices.Clone(p.disk.cfg.members))
	if err != nil {
		p.mu.Unlock()
		return err
	}
	next := p.disk.cfg.change(p.disk.term, members)
	if me := next.find(p.id); me == nil || me.Priority == 0 {
		p.mu.Unlock()
		return refuse(codeNodeNotElectable, "This node, %s, with _id MemberId(%d) is not electable under the new configuration with {version: %d, term: %d} for replica set %s", p.disk.cfg.host(p.id), p.id, next.version, next.term, next.name)
	}
	p.install(next)
	p.mu.Unlock()
	if err := p.await(ctx, &waiter{leading: true, ready: func(*view) bool { return p.configured() }}); err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	return nil
}

// configured says that a majority of the voters has the newest config. The caller
// must hold p.mu.
func (p *process) configured() bool {
	n := 0
	for _, m := range p.disk.cfg.members {
		if q := p.peers[m.ID]; m.Votes > 0 && (m.ID == p.id || q != nil && q.cfg == p.disk.cfg) {
			n++
		}
	}
	return n >= p.disk.cfg.majority()
}
