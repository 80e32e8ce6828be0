package repl

import (
	"errors"
	"time"
)

// batchSize bounds how many entries one call brings.
const batchSize = 500

// batch is a source's answer to a member that asks what comes after an entry.
type batch struct {
	from    pulse
	known   bool // the source has that entry, and what follows is all that it has
	entries []*entry
	grew    <-chan struct{} // closed when there is more to tell
}

// tail pulls another member's oplog until the process dies.
func (p *process) tail() {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		// Taken before the network is used, so that no change to it is missed.
		changed := p.net.watch()
		again, grew, wait := p.follow()
		if again {
			if p.ctx.Err() != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-p.pull:
		case <-grew:
		case <-changed:
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// follow takes over one batch from the member to pull from. It returns whether to
// go on at once, and else what to wait for and for how long.
func (p *process) follow() (again bool, grew <-chan struct{}, wait time.Duration) {
	if p.enter(p.ctx) != nil {
		return false, nil, longest
	}
	source := p.upstream()
	if p.source != source {
		p.source = source
	}
	if source == nobody {
		p.syncing.since = time.Time{}
	}
	mine, from := p.pulse(), *p.disk.hist.now()
	p.mu.Unlock()
	if source == nobody {
		return false, nil, longest
	}
	if from.op.IsZero() {
		return p.initialSync(source)
	}
	var b batch
	answered := false
	err := p.net.call(p, source, func(q *process) { b, answered = q.serve(mine, from.op) })
	if err != nil || !answered {
		p.losing(source, err)
		return true, nil, 0
	}
	if !b.known {
		if from.op.Before(b.from.top) {
			return p.reconcile(source, from.op), nil, p.retry()
		}
		p.hearFrom(b.from)
		return false, b.grew, longest // it is behind: it will catch up or roll back
	}
	// Asked only now: a lag that was set while the call was under way holds for what was
	// written after that, and the batch may have it.
	if p.enter(p.ctx) != nil {
		return false, nil, longest
	}
	lag := p.behind()
	p.mu.Unlock()
	fit, due := ripe(b.entries, lag)
	moments := from.after(fit)
	if !p.absorb(source, from.op, b.from, fit, moments) || len(fit) > 0 {
		return true, nil, 0
	}
	if len(b.entries) > 0 {
		return false, nil, due // they lie in wait until the lag is over
	}
	return false, b.grew, longest
}

// retry is after how long to try again what a source could not do.
func (p *process) retry() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timing().heartbeat
}

// losing notes that a source does not answer, so that it is not chosen again before it
// has given a sign of life.
func (p *process) losing(source int32, err error) {
	if p.enter(p.ctx) != nil {
		return
	}
	defer p.mu.Unlock()
	p.lost(source, !errors.Is(err, errSilence))
}

func (p *process) hearFrom(in pulse) {
	if p.enter(p.ctx) != nil {
		return
	}
	defer p.mu.Unlock()
	p.take(in)
}

// upstream is the member to pull from: the primary, or else whoever is furthest
// ahead. A primary pulls only while it is new and catches up. The caller must hold
// p.mu.
func (p *process) upstream() int32 {
	if me := p.member(); me == nil || me.Arbiter {
		return nobody
	}
	if p.role == Primary && p.catchUpTo.IsZero() {
		return nobody
	}
	if q := p.peers[p.primary]; p.role != Primary && q != nil && q.up {
		return p.primary
	}
	return p.ahead()
}

// behind is how long after the primary this member applies what it has written: as
// its config or a fault says, whichever is more. The caller must hold p.mu.
func (p *process) behind() time.Duration {
	lag := time.Duration(p.lag.Load())
	if me := p.member(); me != nil {
		lag = max(lag, me.Delay)
	}
	return lag
}

// ripe returns those of the entries that may be applied by now, with that lag, and
// how long it is until the next one may.
func ripe(entries []*entry, lag time.Duration) (fit []*entry, wait time.Duration) {
	if lag == 0 {
		return entries, 0
	}
	now := time.Now()
	for i, e := range entries {
		if wait := e.wall.Add(lag).Sub(now); wait > 0 {
			return entries[:i], wait
		}
	}
	return entries, 0
}

// serve answers a member that pulls from this one. What it says of itself is heard
// like a heartbeat: that is how a primary learns how far its entries have got.
func (p *process) serve(theirs pulse, after OpTime) (b batch, ok bool) {
	if !p.answerable() {
		return batch{}, false
	}
	defer p.mu.Unlock()
	p.take(theirs)
	var at int
	if at, b.known = p.disk.log.find(after); b.known {
		b.entries = p.disk.log.after(at, batchSize)
	}
	b.from = p.pulse()
	b.grew, p.awaited = p.grew, true
	return b, true
}

// after works out the states that the entries lead to. It needs no lock: only
// the tailing goroutine adds to the oplog of a member that is not primary, and absorb
// looks whether the member still is where it was.
func (m moment) after(entries []*entry) []moment {
	moments := make([]moment, len(entries))
	d := m.data.draft()
	for i, e := range entries {
		for j := range e.changes {
			d.apply(&e.changes[j])
		}
		moments[i] = moment{op: e.op, wall: e.wall, data: d.freeze()}
	}
	return moments
}

// absorb adds entries that follow on from to the oplog. It is false when the member is not at
// from any more, or must not follow the source any more.
func (p *process) absorb(source int32, from OpTime, theirs pulse, entries []*entry, moments []moment) bool {
	if p.enter(p.ctx) != nil {
		return false
	}
	defer p.mu.Unlock()
	p.take(theirs)
	if p.disk.log.top() != from || p.upstream() != source {
		return false
	}
	for i, e := range entries {
		p.clock.advance(e.op.TS)
		p.disk.log.entries = append(p.disk.log.entries, e)
		p.disk.hist.add(moments[i])
	}
	p.learn(theirs.commit)
	p.moved()
	if p.role == Primary && len(entries) > 0 {
		poke(p.wake) // it has caught up further
	}
	return true
}

// learn takes over another member's commit point, if this one has a log with it:
// when the newest entry is of the same term, both have the one log of that term's
// primary. The caller must hold p.mu and call moved after it.
func (p *process) learn(commit OpTime) {
	if top := p.disk.log.top(); p.role != Primary && commit.Term == top.Term {
		p.disk.hist.commit(earlier(commit, top))
	}
}

// reconcile gets this member's log onto the source's, which is newer but lacks
// the entry at top. Those that the source has not are rolled back; they cannot be majority
// committed, since then every later primary would have them. A member that the
// source's log does not reach back to copies the data. It returns whether anything
// has come of it.
func (p *process) reconcile(source int32, top OpTime) bool {
	if p.enter(p.ctx) != nil {
		return false
	}
	mine := make([]OpTime, len(p.disk.hist.moments))
	for i := range mine {
		mine[i] = p.disk.hist.moments[i].op
	}
	p.mu.Unlock()
	var common OpTime
	newer, found := false, false
	err := p.net.call(p, source, func(q *process) {
		if q.answerable() {
			defer q.mu.Unlock()
			newer = top.Before(q.disk.log.top())
			common, found = q.disk.log.newestOf(mine)
		}
	})
	if err != nil {
		p.losing(source, err)
		return true
	}
	if !newer {
		return false
	}
	if !found {
		return p.copyFrom(source, top)
	}
	if p.enter(p.ctx) != nil {
		return false
	}
	defer p.mu.Unlock()
	if p.disk.log.top() != top || p.upstream() != source || common == top {
		return true // it has changed meanwhile
	}
	if p.role == Primary {
		// A new primary that cannot catch up from this one leads with what it has.
		p.catchUpTo = time.Now()
		poke(p.wake)
		return false
	}
	p.role = Rollback
	p.hangUps++
	p.announce()
	p.disk.log.truncate(common)
	p.disk.hist.rewind(common)
	p.enterConfig()
	p.moved()
	p.announce()
	return true
}
