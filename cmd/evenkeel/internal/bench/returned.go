package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
)

const (
	// awayFor is how long the member is away at the least; up to awayMore is added, so that
	// no side's heartbeats are in step with it.
	awayFor, awayMore = 800 * time.Millisecond, 500 * time.Millisecond
	// shareEvery is how often shares are looked at, shareWindow over how many looks they
	// are taken, and sharePart the part of its fair share at which a member counts
	// as restored.
	shareEvery  = 20 * time.Millisecond
	shareWindow = 10
	sharePart   = 0.9
	// stateEvery is how often the member is asked whether it is a secondary.
	stateEvery = 5 * time.Millisecond
	// returnLimit is how long a side's share is waited for.
	returnLimit = 15 * time.Second
)

func returnedMember() scenario {
	return scenario{
		rows:  []Row{{"returned_member_ms", "a secondary is killed and brought back: the time from its answer that it is one to 90 % of its fair share of FindOne by _id, over the last 200 ms; both sides at once", millis, true}},
		fewer: 3, needs: needsChild,
		open: func(st *stage) (contest, error) { return newReturnedContest(st), nil },
	}
}

// shares counts the reads that each host has answered, by the commands that the driver
// reports. Both sides have one. A find that answers several reads at once counts as many.
// Safe for concurrent use.
type shares struct {
	mu    sync.Mutex
	reads map[string]int64 // mu; since take was last called
}

func newShares() *shares { return &shares{reads: map[string]int64{}} }

func (s *shares) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) {
		if e.CommandName != "find" {
			return
		}
		batch, _ := e.Reply.Lookup("cursor", "firstBatch").ArrayOK()
		docs, _ := batch.Values()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reads[hostOf(e.ConnectionID)] += int64(len(docs))
	}}
}

// hostOf is the address in the driver's name of a connection, host:port[-n].
func hostOf(connection string) string {
	host, _, _ := strings.Cut(connection, "[-")
	return host
}

func (s *shares) take() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.reads
	s.reads = map[string]int64{}
	return taken
}

// window is the latest looks at one side's shares. At first it reaches back before the
// return, so that the time is never too short.
type window struct{ looks []map[string]int64 }

// has says whether a host has its share, one of so many that serve.
func (w *window) has(host string, serving int, look map[string]int64) bool {
	if w.looks = append(w.looks, look); len(w.looks) > shareWindow {
		w.looks = w.looks[1:]
	}
	var own, all int64
	for _, l := range w.looks {
		own += l[host]
		for _, n := range l {
			all += n
		}
	}
	return len(w.looks) == shareWindow && all > 0 && float64(own) >= sharePart*float64(all)/float64(serving)
}

type returnedContest struct {
	together
	ours, driver *shares
}

func newReturnedContest(st *stage) *returnedContest {
	return &returnedContest{together{stage: st}, newShares(), newShares()}
}

func (c *returnedContest) round(ctx context.Context, _ bool) (r round, err error) {
	st := c.stage
	if c.sides.ours == nil {
		if c.sides, err = st.openWatched(ctx, 1, EqualPool, c.ours.monitor(), c.driver.monitor()); err != nil {
			return r, err
		}
	}
	if err := c.steady(ctx); err != nil {
		return r, err
	}
	rate := st.settings.Rate * togetherPart
	loading, end := context.WithCancel(ctx)
	defer end()
	took := map[side]time.Duration{} // negative for a side that never came so far
	fault := make(chan error, 1)
	go func() {
		defer end()
		fault <- c.awayAndBack(ctx, took)
	}()
	var mu sync.Mutex
	c.both(func(s side) {
		_, out, _ := gather(ctx, loading, rate, 3*returnLimit, readOne(st, s))
		mu.Lock()
		defer mu.Unlock()
		*r.of(s) = *out
	})
	if err := <-fault; err != nil {
		return r, err
	}
	for s, d := range took {
		if d < 0 {
			r.of(s).failed(1, fmt.Errorf("%s did not read its share from the member within %v", s.name(), returnLimit))
		}
		r.of(s).values = map[string]float64{"returned_member_ms": milliseconds(d.Abs())}
	}
	c.note = fmt.Sprintf("%.0f reads/s", rate)
	return r, nil
}

// awayAndBack takes a secondary away and brings it back, and notes how long each side
// takes to use it again.
func (c *returnedContest) awayAndBack(ctx context.Context, took map[side]time.Duration) error {
	set := c.stage.server.child
	if err := pause(ctx, freezeLead); err != nil {
		return err
	}
	m, err := set.one(ctx, stateSecondary, c.turn)
	if err != nil {
		return err
	}
	c.turn++
	if _, err := set.obey(ctx, "kill %d", m.Index); err != nil {
		return err
	}
	interrupted := pause(ctx, awayFor+rand.N(awayMore))
	if _, err := set.obey(context.WithoutCancel(ctx), "restart %d", m.Index); err != nil || interrupted != nil {
		return errors.Join(err, interrupted)
	}
	serving := 0
	for {
		r, err := set.obey(ctx, "status")
		if err != nil {
			return err
		}
		back := false
		serving = 0
		for _, one := range r.Members {
			if one.State == stateSecondary {
				serving++
				back = back || one.Index == m.Index
			}
		}
		if back {
			break
		}
		if err := pause(ctx, stateEvery); err != nil {
			return err
		}
	}
	start := time.Now()
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	sources := map[side]*shares{c.sides.ours: c.ours, c.sides.driver: c.driver}
	windows := map[side]*window{c.sides.ours: {}, c.sides.driver: {}}
	for _, s := range sources {
		s.take()
	}
	for len(took) < len(sources) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		since := time.Since(start)
		for s, source := range sources {
			switch has := windows[s].has(m.Host, serving, source.take()); {
			case took[s] != 0:
			case has:
				took[s] = since
			case since > returnLimit:
				took[s] = -since
			}
		}
	}
	return nil
}
