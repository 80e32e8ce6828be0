package repl

import "time"

// initialSync is how a member without data gets it: it takes as long as it is told
// to take, from one source, and then has what that has by then. The member cannot serve
// meanwhile. What it returns is what follow does.
func (p *process) initialSync(source int32) (again bool, grew <-chan struct{}, wait time.Duration) {
	if p.enter(p.ctx) != nil {
		return false, nil, longest
	}
	if p.syncing.from != source || p.syncing.since.IsZero() {
		// It begins anew with another source, as in a server.
		p.syncing.from, p.syncing.since = source, time.Now()
	}
	left := time.Until(p.syncing.since.Add(time.Duration(p.syncFor.Load())))
	p.mu.Unlock()
	if left > 0 {
		return false, nil, left
	}
	return p.copyFrom(source, OpTime{}), nil, p.retry()
}

// copyFrom replaces what the member has by the source's majority committed data, if it still
// is at top: the initial sync of a new one. It returns whether that has worked.
func (p *process) copyFrom(source int32, top OpTime) bool {
	if p.enter(p.ctx) != nil {
		return false
	}
	if p.role == Primary {
		p.catchUpTo = time.Now()
		poke(p.wake)
		p.mu.Unlock()
		return false
	}
	p.mu.Unlock()
	var from moment
	err := p.net.call(p, source, func(q *process) {
		if q.answerable() {
			from = *q.disk.hist.committed()
			q.mu.Unlock()
		}
	})
	if err != nil {
		p.losing(source, err)
		return true
	}
	if from.op.IsZero() || p.enter(p.ctx) != nil {
		return false
	}
	defer p.mu.Unlock()
	if p.disk.log.top() != top || p.upstream() != source || from.op.Before(p.disk.hist.committed().op) {
		return false
	}
	p.role = Startup2
	p.announce()
	p.clock.advance(from.op.TS)
	p.disk.begin(from)
	p.enterConfig()
	p.moved()
	p.announce()
	return true
}

// begin makes m all that the disk has.
func (d *disk) begin(m moment) {
	d.log = oplog{entries: []*entry{{op: m.op, wall: m.wall}}}
	d.hist = history{moments: []moment{m}}
}
