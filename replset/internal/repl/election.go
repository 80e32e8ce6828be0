package repl

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// idleNoop is how often a primary without writes writes a no-op, as the server
// does, so that secondaries can tell being up to date from being cut off.
const idleNoop = 10 * time.Second

// longest bounds how long run sleeps when nothing is due.
const longest = time.Minute

// decide acts on the time that has passed. It returns whether to start over at
// once, and else for how long there is nothing to do.
func (p *process) decide() (again bool, wait time.Duration) {
	if p.enter(p.ctx) != nil {
		return false, longest
	}
	now := time.Now()
	stand, handoff := false, false
	switch p.role {
	case Primary:
		again = p.reign(now)
	case Secondary:
		stand, handoff = p.due(now)
	default:
		p.standNow = false
	}
	wait = p.next(now)
	p.mu.Unlock()
	if stand {
		return p.stand(handoff), wait
	}
	return again, wait
}

// next is how long run may sleep. The caller must hold p.mu.
func (p *process) next(now time.Time) time.Duration {
	wait := longest
	until := func(t time.Time) {
		if !t.IsZero() {
			wait = min(wait, max(t.Sub(now), time.Millisecond))
		}
	}
	if cfg := p.disk.cfg; cfg != nil && (len(cfg.members) > 1 || p.role == Removed) {
		until(now.Add(cfg.timing.heartbeat))
	}
	switch p.role {
	case Primary:
		until(p.catchUpTo)
		until(p.disk.hist.now().wall.Add(idleNoop))
	case Secondary:
		at := p.electionAt
		if p.standFrom.After(at) {
			at = p.standFrom
		}
		if p.candidate() {
			until(at)
		}
		until(p.takeoverAt)
	}
	return wait
}

// reign is what a primary does when it looks up. The caller must hold p.mu.
func (p *process) reign(now time.Time) (again bool) {
	switch {
	case !p.hasMajority(now):
		p.abdicate()
		p.announce()
		return true
	case !p.catchUpTo.IsZero():
		if p.ahead() == nobody || !now.Before(p.catchUpTo) {
			p.ascend()
			return true
		}
	case p.writable && now.Sub(p.disk.hist.now().wall) >= idleNoop:
		p.append(nil, p.disk.hist.now().data)
	}
	return false
}

// ahead returns the member within reach that is furthest ahead of this one, or
// nobody. One that is recovering counts: it may hold the only other copy of an
// entry that nobody can be elected without. The caller must hold p.mu.
func (p *process) ahead() int32 {
	best, top := int32(nobody), p.disk.log.top()
	for _, m := range p.disk.cfg.members {
		q := p.peers[m.ID]
		if q == nil || !q.up || q.role != Secondary && q.role != Primary && q.role != Recovering {
			continue
		}
		if top.Before(q.top) {
			best, top = m.ID, q.top
		}
	}
	return best
}

// candidate says that the config lets this member become primary at all. The
// caller must hold p.mu.
func (p *process) candidate() bool {
	m := p.member()
	return m != nil && m.Priority > 0 && m.Votes > 0
}

// electable says that this member would stand for election now. The caller must
// hold p.mu.
func (p *process) electable(now time.Time) bool {
	return p.role == Secondary && p.candidate() && !now.Before(p.standFrom) && !p.disk.log.top().IsZero()
}

// member is this member's own entry in the config, or nil. The caller must hold
// p.mu.
func (p *process) member() *MemberConfig {
	if p.disk.cfg == nil {
		return nil
	}
	return p.disk.cfg.find(p.id)
}

// due says whether a secondary is to stand for election now, and whether another
// member has handed over to it. The caller must hold p.mu.
func (p *process) due(now time.Time) (stand, handoff bool) {
	handoff, p.standNow = p.standNow, false
	if !p.electable(now) {
		if !now.Before(p.electionAt) {
			p.reschedule(now)
		}
		p.takeoverAt = time.Time{}
		return false, false
	}
	p.planTakeover(now)
	switch {
	case handoff:
		return true, true
	case len(p.disk.cfg.members) == 1, !now.Before(p.electionAt):
		p.reschedule(now)
		return true, false
	case p.takesOver(now):
		return true, false
	}
	return false, false
}

// ballot is a candidate's request for a vote.
type ballot struct {
	from int32
	term int64
	top  OpTime
	cfg  *config
	dry  bool // asks how the vote would be, before a term is spent on it
}

// reply is a voter's answer. Ahead says that the voter has entries that the
// candidate lacks, and could stand itself.
type reply struct {
	yes   bool
	ahead bool
	term  int64
}

// stand is one attempt to become primary; it reports whether that has worked.
func (p *process) stand(handoff bool) bool {
	if p.enter(p.ctx) != nil {
		return false
	}
	b := ballot{from: p.id, term: p.disk.term, top: p.disk.log.top(), cfg: p.disk.cfg, dry: true}
	p.mu.Unlock()
	ahead := false
	if !handoff {
		var yes int
		if yes, ahead = p.poll(b); yes < b.cfg.majority() {
			return false
		}
	}
	if p.enter(p.ctx) != nil {
		return false
	}
	// One that is ahead of a candidate that would win should win itself, and has
	// woken up by now: it has been asked. But it may be unable to for a reason that
	// it does not know, so this is not done for ever.
	if ahead && p.yielded < 2 {
		p.yielded++
		p.mu.Unlock()
		return false
	}
	if p.role != Secondary || p.disk.term != b.term || p.disk.cfg != b.cfg {
		p.mu.Unlock()
		return false
	}
	p.enterTerm(b.term + 1)
	p.disk.voted = vote{term: b.term + 1, to: p.id}
	p.announce()
	p.reschedule(time.Now())
	b = ballot{from: p.id, term: p.disk.term, top: p.disk.log.top(), cfg: p.disk.cfg}
	p.mu.Unlock()

	yes, _ := p.poll(b)
	if p.enter(p.ctx) != nil {
		return false
	}
	defer p.mu.Unlock()
	if yes < b.cfg.majority() || p.role != Secondary || p.disk.term != b.term || p.disk.cfg != b.cfg || !p.electable(time.Now()) {
		return false
	}
	p.yielded = 0
	p.accede()
	return true
}

// poll asks every voter and counts the votes, this member's own included.
func (p *process) poll(b ballot) (yes int, ahead bool) {
	for _, m := range b.cfg.members {
		if m.Votes == 0 {
			continue
		}
		if m.ID == p.id {
			yes++
			continue
		}
		var r reply
		if p.net.call(p, m.ID, func(q *process) { r = q.vote(b) }) != nil {
			continue
		}
		if r.yes {
			yes++
		}
		ahead = ahead || r.ahead
		if p.enter(p.ctx) != nil {
			return 0, false
		}
		if r.term > p.disk.term {
			p.enterTerm(r.term)
			p.announce()
		}
		if q := p.peers[m.ID]; q != nil && r != (reply{}) {
			q.seen = time.Now()
		}
		p.mu.Unlock()
	}
	return yes, ahead
}

// vote answers a candidate.
func (p *process) vote(b ballot) (r reply) {
	if !p.answerable() {
		return reply{}
	}
	defer p.mu.Unlock()
	cfg := p.disk.cfg
	if cfg == nil || b.cfg.name != cfg.name || cfg.find(b.from) == nil || cfg.find(p.id) == nil {
		return reply{term: p.disk.term}
	}
	if b.term > p.disk.term {
		p.enterTerm(b.term)
		p.announce()
	}
	now := time.Now()
	top := p.disk.log.top()
	r = reply{term: p.disk.term, ahead: b.top.Before(top) && p.electable(now)}
	switch {
	case b.term < p.disk.term, cfg.newer(b.cfg), b.top.Before(top):
		if r.ahead {
			// This one should stand. It does so as soon as it misses the primary as well.
			poke(p.wake)
		}
		return r
	case b.dry:
		r.yes = true
		return r
	case p.disk.voted.term == b.term && p.disk.voted.to != b.from:
		return r
	}
	p.disk.voted = vote{term: b.term, to: b.from}
	p.reschedule(now)
	r.yes = true
	return r
}

// enterTerm goes on to a later term, in which this member leads nobody. The caller
// must hold p.mu.
func (p *process) enterTerm(term int64) {
	p.disk.term = term
	p.primary = nobody
	p.abdicate()
}

// accede makes a candidate with a majority of the votes primary. It may not write
// before it has caught up. The caller must hold p.mu.
func (p *process) accede() {
	p.role, p.writable, p.primary = Primary, false, p.id
	p.over = make(chan struct{})
	p.electedAt = bson.Timestamp{T: uint32(time.Now().Unix()), I: 1}
	p.catchUpTo = time.Now().Add(p.disk.cfg.timing.catchUp)
	p.takeoverAt = time.Time{}
	p.disk.cfg = p.disk.cfg.inTerm(p.disk.term)
	p.announce()
	poke(p.pull)
}

// ascend ends a new primary's catching up: from its first entry on, which is a
// no-op, it writes. The caller must hold p.mu.
func (p *process) ascend() {
	p.catchUpTo = time.Time{}
	p.source = nobody
	p.writable = true
	p.append(nil, p.disk.hist.now().data)
	p.announce()
}

// abdicate makes a primary a secondary; to others it does nothing. The caller must hold p.mu, and announces it.
func (p *process) abdicate() {
	if p.role != Primary {
		return
	}
	p.role, p.writable, p.stepping = Secondary, false, false
	if p.maintenance {
		p.role = Recovering
	}
	if p.primary == p.id {
		p.primary = nobody
	}
	p.catchUpTo, p.electedAt = time.Time{}, bson.Timestamp{}
	close(p.over)
	p.waiters.depose()
	p.reschedule(time.Now())
	poke(p.wake)
	poke(p.pull)
}

// electionID is that of a primary of a term, as the server makes it.
func electionID(term int64) (id bson.ObjectID) {
	copy(id[:], []byte{0x7f, 0xff, 0xff, 0xff})
	for i := range 8 {
		id[4+i] = byte(term >> (8 * (7 - i)))
	}
	return id
}
