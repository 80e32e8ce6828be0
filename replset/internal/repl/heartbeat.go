package repl

import (
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// pulse is what a heartbeat and its reply say of their sender.
type pulse struct {
	from      int32
	term      int64
	role      Role
	top       OpTime
	topWall   time.Time
	commit    OpTime
	clock     bson.Timestamp
	cfg       *config
	electable bool
	source    int32
	elected   bson.Timestamp
}

// beat exchanges heartbeats with every other member.
func (p *process) beat() {
	if p.enter(p.ctx) != nil {
		return
	}
	mine := p.pulse()
	others := p.others(mine.cfg)
	p.mu.Unlock()
	for _, id := range others {
		var theirs pulse
		answered := false
		err := p.net.call(p, id, func(q *process) { theirs, answered = q.heartbeat(mine) })
		if p.enter(p.ctx) != nil {
			return
		}
		switch {
		case err == nil && answered:
			p.take(theirs)
		case errors.Is(err, errSilence):
			p.lost(id, false)
		default:
			p.lost(id, true)
		}
		// The next member hears what this one has just learned.
		mine = p.pulse()
		p.mu.Unlock()
	}
}

// others returns the other members of a config, which is nil for a member that
// has heard of none. A removed member goes on asking: it may be added again.
func (p *process) others(cfg *config) []int32 {
	if cfg == nil {
		return nil
	}
	var ids []int32
	for _, m := range cfg.members {
		if m.ID != p.id {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// pulse is what this member says of itself. The caller must hold p.mu.
func (p *process) pulse() pulse {
	now, committed := p.disk.hist.now(), p.disk.hist.committed()
	return pulse{
		from: p.id, term: p.disk.term, role: p.role, top: p.disk.log.top(), topWall: now.wall, commit: committed.op,
		clock: p.clock.read(), cfg: p.disk.cfg, electable: p.electable(time.Now()), source: p.source, elected: p.electedAt,
	}
}

// heartbeat answers another member's heartbeat.
func (p *process) heartbeat(theirs pulse) (mine pulse, ok bool) {
	if !p.answerable() {
		return pulse{}, false
	}
	defer p.mu.Unlock()
	p.take(theirs)
	return p.pulse(), true
}

// take takes over what another member has said of itself. The caller must hold
// p.mu.
func (p *process) take(in pulse) {
	p.install(in.cfg)
	cfg := p.disk.cfg
	if cfg == nil || in.cfg == nil || cfg.name != in.cfg.name || cfg.find(in.from) == nil {
		return
	}
	now := time.Now()
	shown := p.shownAs()
	q := p.peers[in.from]
	if q == nil {
		q = &peer{}
		p.peers[in.from] = q
	}
	moved := q.top != in.top || !q.up
	if !q.up {
		q.since = now
	}
	q.pulse, q.seen, q.up = in, now, true
	p.clock.advance(in.clock)
	if in.term > p.disk.term {
		p.enterTerm(in.term)
	}
	switch {
	case in.role == Primary && in.term == p.disk.term && p.role != Primary:
		if p.primary != in.from {
			p.primary = in.from
			p.takeoverAt = time.Time{}
			poke(p.pull)
		}
		p.yielded = 0
		p.hear(now)
	case p.primary == in.from && in.role != Primary:
		p.primary = nobody
	}
	if p.shownAs() != shown {
		p.announce()
	}
	p.reach(in.from, in.top)
	p.recount()
	p.learn(in.commit)
	p.moved()
	if m := cfg.find(in.from); p.role == Primary && p.writable && !p.admitting && p.admissible(m) {
		p.admitting = true
		p.wg.Go(p.admit)
	}
	if moved && p.worthPulling(in.from) {
		poke(p.pull)
	}
}

// worthPulling says that news of a peer's oplog may matter to tail: a primary that
// leads needs none, and whoever reaches the primary only that one's. The caller must hold
// p.mu.
func (p *process) worthPulling(from int32) bool {
	if p.role == Primary {
		return !p.catchUpTo.IsZero()
	}
	leader := p.peers[p.primary]
	return leader == nil || !leader.up || p.primary == from
}

// face is what of a member may change by a heartbeat, and shows.
type face struct {
	role    Role
	primary int32
	term    int64
}

func (p *process) shownAs() face { return face{p.role, p.primary, p.disk.term} }

// lost notes a call that did not get through. A refused one says that there is no
// such process any more; of silence nothing is known until it has lasted. The caller must
// hold p.mu.
func (p *process) lost(id int32, refused bool) {
	q := p.peers[id]
	if q == nil {
		return
	}
	q.up = false
	if p.primary == id && (refused || time.Since(q.seen) > p.timing().election) {
		p.primary = nobody
		p.announce()
	}
	if refused {
		q.role = Down
	}
}

// healthy says that a peer has been heard of lately. The caller must hold p.mu.
func (p *process) healthy(q *peer, now time.Time) bool {
	return q != nil && (q.up || q.role != Down && now.Sub(q.seen) <= p.timing().election)
}

// hasMajority says that a primary has heard of enough voters, itself included,
// within an election time-out. The caller must hold p.mu.
func (p *process) hasMajority(now time.Time) bool {
	n := 0
	for _, m := range p.disk.cfg.members {
		if m.Votes == 0 {
			continue
		}
		if q := p.peers[m.ID]; m.ID == p.id || q != nil && now.Sub(q.seen) <= p.disk.cfg.timing.election {
			n++
		}
	}
	return n >= p.disk.cfg.majority()
}

// install takes over a newer config. The caller must hold p.mu.
func (p *process) install(cfg *config) {
	have := p.disk.cfg
	if cfg == nil || have != nil && (have.name != cfg.name || !cfg.newer(have)) {
		return
	}
	p.disk.cfg = cfg
	member := have != nil && have.find(p.id) != nil
	switch now := cfg.find(p.id) != nil; {
	case now && !member, !now && member:
		p.abdicate()
		p.primary = nobody
		p.enterConfig()
		p.reschedule(time.Now())
		if !now {
			p.hangUps++
		}
	}
	for id := range p.peers {
		if cfg.find(id) == nil {
			delete(p.peers, id)
		}
	}
	if p.role == Primary {
		p.recount()
		p.moved()
	}
	p.announce()
	poke(p.wake)
	poke(p.pull)
}
