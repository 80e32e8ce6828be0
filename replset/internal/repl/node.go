package repl

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// View implements Node.
func (p *process) View(level ReadLevel, fn func(Snapshot) error) error {
	v := p.seen.Load()
	at := &v.now
	if level == Majority && !p.standalone {
		at = &v.committed
	}
	return fn(snapshot{at.data, at.op, p})
}

// Write implements Node. The lock that holds off other writers is not p.mu: what
// fn does goes into a draft, and reads, heartbeats and replication go on
// meanwhile.
func (p *process) Write(ctx context.Context, fn func(Writer) error) (OpTime, error) {
	over, err := p.writing(ctx)
	if err != nil {
		return OpTime{}, err
	}
	select {
	case p.writes <- struct{}{}:
	case <-over:
		return OpTime{}, errInterrupted()
	case <-p.ctx.Done():
		return OpTime{}, errShutdown()
	case <-ctx.Done():
		return OpTime{}, ctx.Err()
	}
	defer func() { <-p.writes }()
	if err := p.enter(ctx); err != nil {
		return OpTime{}, err
	}
	if !p.leading(over) {
		p.mu.Unlock()
		return OpTime{}, errInterrupted()
	}
	from := *p.disk.hist.now()
	p.mu.Unlock()

	w := &writer{d: from.data.draft(), op: from.op}
	if err := fn(w); err != nil {
		return OpTime{}, err
	}

	if err := p.enter(ctx); err != nil {
		return OpTime{}, err
	}
	defer p.mu.Unlock()
	// Nothing but no-ops can have been added to the oplog since, unless this member
	// was deposed in between.
	if !p.leading(over) {
		return OpTime{}, errInterrupted()
	}
	switch {
	case len(w.changes) == 0:
		return p.disk.log.top(), nil
	case p.standalone:
		p.disk.hist.now().data = w.d.freeze()
		p.show()
		return OpTime{}, nil
	}
	return p.append(w.changes, w.d.freeze()), nil
}

// writing returns what is closed at the end of the present reign, or refuses when
// this member takes no writes.
func (p *process) writing(ctx context.Context) (over <-chan struct{}, err error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	if !p.standalone && (p.role != Primary || !p.writable) {
		return nil, errNotPrimary()
	}
	return p.over, nil
}

// leading says whether the reign that over is the end of still lasts and writes. The
// caller must hold p.mu.
func (p *process) leading(over <-chan struct{}) bool {
	return p.standalone || p.role == Primary && p.writable && p.over == over
}

// AwaitReplication implements Node.
func (p *process) AwaitReplication(ctx context.Context, op OpTime, n int) error {
	if p.standalone {
		return nil
	}
	return p.await(ctx, &waiter{leading: true, term: op.Term, ready: func(v *view) bool {
		if n == 0 {
			return !v.committed.op.Before(op)
		}
		return p.holders(op, false) >= n
	}})
}

// AwaitApplied implements Node. What is waited for need not be on its way: the
// cluster time is gossip, and when nothing is written nothing passes it. So
// the primary is made to write a no-op.
func (p *process) AwaitApplied(ctx context.Context, ts bson.Timestamp, level ReadLevel) error {
	if p.standalone {
		return nil
	}
	ready := func(v *view) bool {
		if level == Majority {
			return !v.committed.op.TS.Before(ts)
		}
		return !v.now.op.TS.Before(ts)
	}
	if ready(p.seen.Load()) {
		return nil
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	p.writePast(ts)
	leader := p.primary
	p.mu.Unlock()
	if leader != nobody && leader != p.id {
		// When the call does not get through, a next primary's first entry will do.
		_ = p.net.call(p, leader, func(q *process) {
			if q.answerable() {
				q.clock.advance(ts)
				q.writePast(ts)
				q.mu.Unlock()
			}
		})
	}
	return p.await(ctx, &waiter{ready: ready})
}

// writePast writes a no-op when this is a primary that has seen ts, but written
// nothing since. The caller must hold p.mu.
func (p *process) writePast(ts bson.Timestamp) {
	if p.role == Primary && p.writable && p.disk.log.top().TS.Before(ts) && !p.clock.read().Before(ts) {
		p.append(nil, p.disk.hist.now().data)
	}
}

// ClusterTime implements Node.
func (p *process) ClusterTime() bson.Timestamp { return p.clock.read() }

// AdvanceClusterTime implements Node.
func (p *process) AdvanceClusterTime(ts bson.Timestamp) { p.clock.advance(ts) }

// Config implements Node.
func (p *process) Config() bson.Raw {
	p.mu.Lock()
	cfg := p.disk.cfg
	p.mu.Unlock()
	if cfg == nil {
		return emptyDocument
	}
	return cfg.document()
}

// Session implements Node.
func (p *process) Session(lsid string) (txn int64, executed []RetryRecord, ok bool) {
	s, ok := p.seen.Load().now.data.sessions.get(lsid)
	if !ok {
		return 0, nil, false
	}
	for _, r := range s.done.all() {
		executed = append(executed, r)
	}
	return s.txn, executed, true
}
