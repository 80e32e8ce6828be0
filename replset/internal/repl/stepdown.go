package repl

import (
	"context"
	"errors"
	"time"
)

// StepDown implements Node. Writes are refused from the beginning on; when nobody
// catches up in time, and it is not forced, they are taken again.
func (p *process) StepDown(ctx context.Context, secs, catchUp time.Duration, force bool) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	switch {
	case p.role != Primary:
		p.mu.Unlock()
		return errNotPrimary()
	case p.stepping:
		p.mu.Unlock()
		return refuse(codeConflictingOperation, "a step down is in progress already")
	}
	term, writable := p.disk.term, p.writable
	p.stepping, p.writable = true, false
	p.announce()
	p.mu.Unlock()

	heir := int32(nobody)
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	err := p.await(wait, &waiter{leading: true, term: term, ready: func(*view) bool {
		heir = p.heir()
		return heir != nobody
	}})

	// Also when the caller has gone: the member must not stay as it is.
	if err := p.enter(p.ctx); err != nil {
		return err
	}
	if p.role != Primary || p.disk.term != term {
		p.mu.Unlock()
		return errInterrupted() // deposed meanwhile
	}
	late := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	if err != nil && !(late && force) {
		p.stepping, p.writable = false, writable
		p.announce()
		p.mu.Unlock()
		if late {
			return refuse(codeExceededTimeLimit, "No electable secondaries caught up as of %s. Please use the replSetStepDown command with the argument {force: true} to force node to step down.", time.Now().UTC().Format(time.RFC3339))
		}
		return err
	}
	p.standFrom = time.Now().Add(secs)
	p.abdicate()
	p.announce()
	p.mu.Unlock()
	if heir != nobody {
		// When the call does not get through, there is an election after the time-out.
		_ = p.net.call(p, heir, (*process).stands)
	}
	return nil
}

// heir returns an electable member that has all of this primary's entries, when
// also a majority has them; else nobody. The caller must hold p.mu.
func (p *process) heir() int32 {
	top := p.disk.log.top()
	if p.holders(top, true) < p.disk.cfg.bearers() {
		return nobody
	}
	best, priority := int32(nobody), 0.0
	for _, m := range p.disk.cfg.members {
		q := p.peers[m.ID]
		if q != nil && q.up && q.electable && m.Priority > priority && !p.position(m.ID).Before(top) {
			best, priority = m.ID, m.Priority
		}
	}
	return best
}

// stands makes a member stand for election at once.
func (p *process) stands() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standNow = true
	poke(p.wake)
}

// Freeze keeps a secondary from standing for election for the given time, as
// replSetFreeze does; 0 lets it stand again.
func (p *process) Freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standFrom = time.Now().Add(d)
	poke(p.wake)
}
