package repl

import (
	"context"
	"slices"
)

// waiter is a call that waits for an entry, or for news of one, to get somewhere.
// It belongs to the process, under its lock.
type waiter struct {
	ready func(*view) bool // the caller must hold the process's lock
	// leading is one that waits only as long as this member is primary; term, unless it is 0,
	// says in which term.
	leading bool
	term    int64
	done    chan error // has room for the outcome
}

type waiters []*waiter

// settle lets go whoever has what it waits for.
func (w *waiters) settle(v *view) {
	w.release(func(one *waiter) (error, bool) { return nil, one.ready(v) })
}

// depose fails those that wait for a primary that is none any more.
func (w *waiters) depose() {
	w.release(func(one *waiter) (error, bool) { return errInterrupted(), one.leading })
}

// fail fails all.
func (w *waiters) fail(err error) {
	w.release(func(*waiter) (error, bool) { return err, true })
}

func (w *waiters) release(done func(*waiter) (error, bool)) {
	if len(*w) == 0 {
		return
	}
	*w = slices.DeleteFunc(*w, func(one *waiter) bool {
		err, ok := done(one)
		if ok {
			one.done <- err
		}
		return ok
	})
}

// await waits until one is ready, or for what makes that vain.
func (p *process) await(ctx context.Context, one *waiter) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	if one.leading && (p.role != Primary || one.term != 0 && one.term != p.disk.term) {
		p.mu.Unlock()
		return errInterrupted()
	}
	if one.ready(p.seen.Load()) {
		p.mu.Unlock()
		return nil
	}
	one.done = make(chan error, 1)
	p.waiters = append(p.waiters, one)
	p.mu.Unlock()
	select {
	case err := <-one.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == one })
	p.mu.Unlock()
	select {
	case err := <-one.done: // it came just now
		return err
	default:
		return ctx.Err()
	}
}
