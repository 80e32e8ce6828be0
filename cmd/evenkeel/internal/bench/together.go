package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// togetherPart is the part of the rate of reads at which each side is loaded where both
// run at the same time.
const togetherPart = 0.25

// needsChild is for what only the built-in set can have done to it.
func needsChild(sv *server, _ *Settings) string {
	if sv.child == nil {
		return "it needs the built-in set, since it takes a member away; leave --uri out"
	}
	return ""
}

// together runs both sides at the same time, so that they survive the same fault.
type together struct {
	stage *stage
	sides sides
	turn  int // rounds so far
	note  string
}

// both does something for each of the two at the same time.
func (t *together) both(do func(side)) {
	var wg sync.WaitGroup
	for _, s := range t.sides.order(true) {
		wg.Go(func() { do(s) })
	}
	wg.Wait()
}

func (t *together) finish(results []Result) {
	for i := range results {
		results[i].Note = t.note
	}
	t.sides.close()
}

// steady waits until the built-in set is in its steady state and evenkeel knows.
func (t *together) steady(ctx context.Context) error {
	if c := t.stage.server.child; c != nil {
		if _, err := c.obey(ctx, "await"); err != nil {
			return err
		}
	}
	t.stage.settle(ctx, t.sides.ours)
	return nil
}

const (
	// freezeFor is how long a member is frozen.
	freezeFor = 8 * time.Second
	// freezeLead is how long both sides read before.
	freezeLead = time.Second
	// freezeShock is how long after the beginning of the fault reads may still be as they like.
	freezeShock = 500 * time.Millisecond
)

func frozenMember() scenario {
	return scenario{
		rows: []Row{
			{"frozen_member_max", fmt.Sprintf("the longest FindOne by _id of those at a fixed rate while a secondary is frozen for %v; both sides at once", freezeFor), millis, true},
			{"frozen_member_p99", fmt.Sprintf("the 99 %% quantile of those that were due %v or more after the freeze began, over that of those before; both sides at once", freezeShock), factor, true},
		},
		// It takes as long as it takes.
		fewer: 2, needs: needsChild,
		open: func(st *stage) (contest, error) { return &frozenContest{together{stage: st}}, nil },
	}
}

type frozenContest struct{ together }

func (c *frozenContest) round(ctx context.Context, _ bool) (r round, err error) {
	st := c.stage
	if c.sides.ours == nil {
		if c.sides, err = st.openSides(ctx, 1, EqualPool); err != nil {
			return r, err
		}
		c.both(func(s side) { gather(ctx, ctx, st.settings.Rate*togetherPart, st.warm(), readOne(st, s)) })
	}
	if err := c.steady(ctx); err != nil {
		return r, err
	}
	rate := st.settings.Rate * togetherPart
	victim, err := st.server.child.one(ctx, stateSecondary, c.turn)
	if err != nil {
		return r, err
	}
	c.turn++
	loading, end := context.WithCancel(ctx)
	defer end()
	fault := make(chan error, 1)
	var began atomic.Pointer[time.Time]
	go func() {
		defer end()
		fault <- func() error {
			if err := pause(ctx, freezeLead); err != nil {
				return err
			}
			if _, err := st.server.child.obey(ctx, "freeze %d", victim.Index); err != nil {
				return err
			}
			now := time.Now()
			began.Store(&now)
			interrupted := pause(ctx, freezeFor)
			if _, err := st.server.child.obey(context.WithoutCancel(ctx), "unfreeze %d", victim.Index); err != nil {
				return err
			}
			return interrupted
		}()
	}()
	var mu sync.Mutex
	var late time.Duration
	c.both(func(s side) {
		before, after := newLatencies(), newLatencies()
		times, out, lag := gather(ctx, loading, rate, freezeLead+freezeFor+settleTimeout, readOne(st, s), func(intended, answered time.Time) {
			switch from := began.Load(); {
			case from == nil || answered.Before(*from):
				before.record(answered.Sub(intended))
			case intended.Sub(*from) >= freezeShock:
				after.record(answered.Sub(intended))
			}
		})
		mu.Lock()
		defer mu.Unlock()
		late = max(late, lag)
		out.values = map[string]float64{}
		if d, ok := times.most(); ok {
			out.values["frozen_member_max"] = milliseconds(d)
		}
		was, read := before.at(99)
		is, readOn := after.at(99)
		if read && readOn {
			out.values["frozen_member_p99"] = float64(is) / float64(was)
		}
		*r.of(s) = *out
	})
	c.note = rateNote(rate, late)
	return r, <-fault
}
