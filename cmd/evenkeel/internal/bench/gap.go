package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// gapRate is how many inserts a second each side makes while the primary goes.
	gapRate = 500
	// gapLead is how long both sides write before.
	gapLead = 500 * time.Millisecond
	// gapSettled is how long after the fault a write must have been meant to count as
	// one of the time after, and gapAfter how many of those must be acknowledged.
	gapSettled = 200 * time.Millisecond
	gapAfter   = gapRate / 5
	// gapLimit bounds the wait for them.
	gapLimit = 30 * time.Second
)

func stepDownGap() scenario {
	return gapScenario("write_gap_stepdown_ms", "the primary steps down", func(sv *server, set *Settings) string {
		if sv.child == nil && !set.StepDown {
			return "it makes the primary step down, which is only done to the built-in set, or where --stepdown allows it"
		}
		return ""
	}, stepDown)
}

func killGap() scenario {
	return gapScenario("write_gap_kill_ms", "the primary is killed", needsChild, killPrimary)
}

func gapScenario(id, when string, needs func(*server, *Settings) string, fault func(context.Context, *stage) (func(context.Context) error, error)) scenario {
	return scenario{
		rows:  []Row{{id, fmt.Sprintf("the longest time without an acknowledged InsertOne, of %d a second, while %s; both sides at once", gapRate, when), millis, true}},
		fewer: 3, needs: needs,
		open: func(st *stage) (contest, error) {
			return &gapContest{together: together{stage: st}, id: id, fault: fault}, nil
		},
	}
}

// stepDown makes the primary give up its role.
func stepDown(ctx context.Context, st *stage) (func(context.Context) error, error) {
	nothing := func(context.Context) error { return nil }
	if c := st.server.child; c != nil {
		_, err := c.obey(ctx, "stepdown")
		return nothing, err
	}
	return nothing, st.judge.stepDown(ctx)
}

// killPrimary kills the primary, as kill -9 does.
func killPrimary(ctx context.Context, st *stage) (func(context.Context) error, error) {
	c := st.server.child
	m, err := c.one(ctx, statePrimary, 0)
	if err != nil {
		return nil, err
	}
	_, err = c.obey(ctx, "kill %d", m.Index)
	return func(ctx context.Context) error {
		_, err := c.obey(ctx, "restart %d", m.Index)
		return err
	}, err
}

type gapContest struct {
	together
	id string
	// fault does it, and returns how it is taken back.
	fault func(context.Context, *stage) (undo func(context.Context) error, err error)
}

// gap follows one side's acknowledgements. Safe for concurrent use.
type gap struct {
	mu      sync.Mutex
	last    time.Time     // mu; the latest acknowledgement, or since when there was none
	longest time.Duration // mu
	acked   int64         // mu
	since   time.Time     // mu; writes meant after it are those of the time after; zero for not yet
	after   int           // mu; how many of these were acknowledged
	failed  int64         // mu
	err     error         // mu
	enough  chan struct{} // closed when gapAfter were
}

func newGap(now time.Time) *gap { return &gap{last: now, enough: make(chan struct{})} }

func (g *gap) done(intended, answered time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.failed++
		g.err = err
		return
	}
	g.acked++
	if answered.After(g.last) { // They may come in another order than they were timed in.
		g.longest = max(g.longest, answered.Sub(g.last))
		g.last = answered
	}
	if g.since.IsZero() || !intended.After(g.since) {
		return
	}
	if g.after++; g.after == gapAfter {
		close(g.enough)
	}
}

// mark begins the time after.
func (g *gap) mark(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since = t
}

// outcome is what the side has shown at the end.
func (g *gap) outcome(id string, now time.Time) outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := max(g.longest, now.Sub(g.last))
	return outcome{values: map[string]float64{id: milliseconds(longest)}, errors: g.failed, err: g.err}
}

func (c *gapContest) round(ctx context.Context, _ bool) (r round, err error) {
	st := c.stage
	if c.sides.ours == nil {
		if c.sides, err = st.openSides(ctx, 1, EqualPool); err != nil {
			return r, err
		}
	}
	if err := c.steady(ctx); err != nil {
		return r, err
	}
	if err := st.judge.empty(ctx, st.place); err != nil {
		return r, err
	}
	c.both(func(s side) { closedLoop(ctx, 4, st.warm(), false, insertOne(st, s)) })

	gaps := map[side]*gap{c.sides.ours: newGap(time.Now()), c.sides.driver: newGap(time.Now())}
	loading, end := context.WithCancel(ctx)
	defer end()
	fault := make(chan error, 1)
	var over time.Time
	var undo func(context.Context) error
	go func() {
		defer end()
		fault <- func() (err error) {
			if err := pause(ctx, gapLead); err != nil {
				return err
			}
			if undo, err = c.fault(ctx, st); err != nil {
				return err
			}
			after := time.Now().Add(gapSettled)
			for _, g := range gaps {
				g.mark(after)
			}
			limit, cancel := context.WithTimeout(ctx, gapLimit)
			defer cancel()
			for _, g := range gaps {
				select {
				case <-g.enough:
				case <-limit.Done():
				}
			}
			over = time.Now()
			return ctx.Err()
		}()
	}()
	c.both(func(s side) {
		wait, stop := newWaiter()
		defer stop()
		l := &openLoop{rate: gapRate, wait: wait, done: gaps[s].done}
		l.run(ctx, loading, gapLead+2*gapLimit, insertOne(st, s))
	})
	err = <-fault
	for s, g := range gaps {
		*r.of(s) = g.outcome(c.id, over)
	}
	if undo != nil {
		err = errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	c.note = fmt.Sprintf("%d inserts/s", gapRate)
	return r, err
}
