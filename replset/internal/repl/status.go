package repl

import (
	"time"
)

// announce works out what hello says, and wakes those that wait for it to say
// something else. The caller must hold p.mu.
func (p *process) announce() {
	next := &Status{HangUps: p.hangUps, Role: p.role, ProcessID: p.self, WritablePrimary: p.standalone || p.role == Primary && p.writable}
	if cfg := p.disk.cfg; cfg != nil && !p.standalone {
		next.SetName, next.SetVersion, next.Term = cfg.name, cfg.version, p.disk.term
		next.Votes, next.Heartbeat = cfg.votes(), cfg.timing.heartbeat
		for _, m := range cfg.members {
			switch {
			case m.Hidden || m.Delay > 0: // Clients do not hear of it.
			case m.Arbiter:
				next.Arbiters = append(next.Arbiters, m.Host)
			case m.Priority > 0:
				next.Hosts = append(next.Hosts, m.Host)
			default:
				next.Passives = append(next.Passives, m.Host)
			}
		}
		if me := cfg.find(p.id); me != nil {
			next.Me, next.Hidden, next.Tags = me.Host, me.Hidden, me.Tags
			next.NewlyAdded = me.wanted != nil
			next.Passive, next.SecondaryDelaySecs = me.Priority == 0 && !me.Arbiter, me.delaySecs()
		}
		next.Primary = cfg.host(p.primary)
		if p.role == Primary {
			next.ElectionID = electionID(p.disk.term)
		}
	}
	last := p.shown.Load()
	if last == nil {
		p.shown.Store(next)
		return
	}
	next.TopologyCounter = last.TopologyCounter
	if same := sameHello(last, next); !same {
		next.TopologyCounter++
		p.shown.Store(next)
		close(p.changed)
		p.changed = make(chan struct{})
	} else if last.Term != next.Term {
		p.shown.Store(next)
	}
}

// sameHello says that hello shows the same of both.
func sameHello(a, b *Status) bool {
	return a.Role == b.Role && a.WritablePrimary == b.WritablePrimary && a.Primary == b.Primary &&
		a.SetName == b.SetName && a.SetVersion == b.SetVersion && a.Me == b.Me && a.ElectionID == b.ElectionID
}

// Status implements Node.
func (p *process) Status() Status {
	st := *p.shown.Load()
	if p.standalone {
		return st
	}
	v := p.seen.Load()
	st.LastApplied, st.LastAppliedWall = v.now.op, v.now.wall
	st.MajorityCommitted, st.MajorityCommittedAt = v.committed.op, v.committed.wall
	return st
}

// StatusChanged implements Node.
func (p *process) StatusChanged() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// MembersStatus implements Node.
func (p *process) MembersStatus() []MemberStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	cfg := p.disk.cfg
	if cfg == nil || p.standalone {
		return nil
	}
	now := time.Now()
	list := make([]MemberStatus, 0, len(cfg.members))
	for _, m := range cfg.members {
		one := MemberStatus{ID: m.ID, Host: m.Host, Arbiter: m.Arbiter}
		switch q := p.peers[m.ID]; {
		case m.ID == p.id:
			top := p.disk.hist.now()
			one.Self, one.Health, one.Role, one.OpTime, one.OpTimeAt = true, true, p.role, top.op, top.wall
			one.SyncFrom, one.Elected = cfg.host(p.source), p.electedAt
			one.ConfigVersion, one.ConfigTerm = cfg.version, cfg.term
		case p.healthy(q, now):
			one.Health, one.Role, one.OpTime, one.OpTimeAt = true, q.role, q.top, q.topWall
			one.SyncFrom, one.Elected = cfg.host(q.source), q.elected
			one.UpSince, one.Heard = q.since, q.seen
			if q.cfg != nil {
				one.ConfigVersion, one.ConfigTerm = q.cfg.version, q.cfg.term
			}
		default:
			one.Role, one.ConfigVersion, one.ConfigTerm = Down, -1, -1
			one.Message = "Couldn't get a connection within the time limit"
			if q != nil {
				one.Heard = q.seen
				if q.role == Down {
					one.Message = "Error connecting to " + m.Host + " :: caused by :: Connection refused"
				}
			}
		}
		list = append(list, one)
	}
	return list
}
