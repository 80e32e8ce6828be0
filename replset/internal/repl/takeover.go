package repl

import (
	"math/rand/v2"
	"time"
)

// How far behind the newest entry it knows of a member may be to take over from a
// primary of lower priority: the server's priorityTakeoverFreshnessWindowSeconds, and
// as many entries where the clock has stood still
// (TopologyCoordinator::_amIFreshEnoughForPriorityTakeover).
const (
	freshSeconds = 2
	freshEntries = 1000
)

// planTakeover plans to stand against a primary of lower priority: after as many
// election time-outs as there are members with still higher priority, and one, and a
// random part of one more (ReplSetConfig::getPriorityTakeoverDelay). The caller must
// hold p.mu.
func (p *process) planTakeover(now time.Time) {
	cfg := p.disk.cfg
	leader, me := cfg.find(p.primary), p.member()
	if leader == nil || me == nil || leader.Priority >= me.Priority {
		p.takeoverAt = time.Time{}
		return
	}
	if !p.takeoverAt.IsZero() {
		return
	}
	rank := time.Duration(1)
	for _, m := range cfg.members {
		if m.Priority > me.Priority {
			rank++
		}
	}
	delay := rank * cfg.timing.election
	if cfg.timing.takeover > 0 {
		delay = cfg.timing.takeover
	}
	p.takeoverAt = now.Add(delay + rand.N(cfg.timing.election*15/100+1))
}

// takesOver says that the time of a planned takeover has come, and that this member has
// caught up enough for it. Else it is planned anew. The caller must hold p.mu.
func (p *process) takesOver(now time.Time) bool {
	if p.takeoverAt.IsZero() || now.Before(p.takeoverAt) {
		return false
	}
	p.takeoverAt = time.Time{}
	if p.fresh() {
		return true
	}
	p.planTakeover(now)
	return false
}

// fresh says that this member is close to the newest entry it knows of. The caller
// must hold p.mu.
func (p *process) fresh() bool {
	mine := p.disk.log.top()
	newest := mine
	for _, q := range p.peers {
		if q.up && newest.Before(q.top) {
			newest = q.top
		}
	}
	switch {
	case mine.Term != newest.Term:
		return false
	case mine.TS.T == newest.TS.T:
		return mine.TS.I+freshEntries >= newest.TS.I
	}
	return mine.TS.T+freshSeconds >= newest.TS.T
}
