package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/replset"
)

// The causes for which a host goes and comes back.
const (
	causeStranger    = "wrong host"
	causeMaintenance = "maintenance"
	causeFreeze      = "freeze"
	causeStepDown    = "step-down"
)

// fault is one thing that is done to the set.
type fault struct {
	cause string
	// from and to are when it begins and ends, in thirtieths of the demo's length.
	from, to float64
	begin    func(context.Context) error
	// end takes it back, also when the demo is interrupted; nil for what happens at
	// once.
	end func() error
}

// announcement says what is done now.
type announcement struct {
	at   time.Time
	text string
	// returned names a host that can serve again from this moment on, and cause says
	// after what; both are "" for other news.
	returned, cause string
}

// faults is the schedule for a set. It is used by one goroutine.
type faults struct {
	stage *stage
	say   func(announcement)
	used  map[*replset.Member]bool
	steps []fault
}

func newFaults(s *stage, say func(announcement)) *faults {
	f := &faults{stage: s, say: say, used: map[*replset.Member]bool{}}
	f.steps = []fault{f.stranger(2, 4), f.maintenance(7, 10), f.freeze(12, 20), f.stepDown(23)}
	return f
}

// run does everything in turn within length. It returns early when ctx ends, with
// everything taken back.
func (f *faults) run(ctx context.Context, length time.Duration) error {
	start := time.Now()
	at := func(thirtieths float64) error {
		return sleepUntil(ctx, start.Add(time.Duration(thirtieths/30*float64(length))))
	}
	for _, step := range f.steps {
		if at(step.from) != nil {
			return nil
		}
		if err := step.begin(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.cause, err)
		}
		if step.end == nil {
			continue
		}
		interrupted := at(step.to) != nil
		if err := step.end(); err != nil {
			return fmt.Errorf("end of %s: %w", step.cause, err)
		}
		if interrupted {
			return nil
		}
	}
	return nil
}

// victim is a secondary that nothing was done to yet.
func (f *faults) victim() (*replset.Member, error) {
	for _, m := range f.stage.set.Members() {
		if m.IsSecondary() && !f.used[m] {
			f.used[m] = true
			return m, nil
		}
	}
	return nil, errors.New("no secondary is left to do it to")
}

func (f *faults) announce(format string, args ...any) {
	f.say(announcement{at: time.Now(), text: fmt.Sprintf(format, args...)})
}

func (f *faults) back(m *replset.Member, cause, text string) {
	f.say(announcement{at: time.Now(), text: m.Host() + text, returned: m.Host(), cause: cause})
}

func (f *faults) stranger(from, to float64) fault {
	var m *replset.Member
	return fault{causeStranger, from, to,
		func(context.Context) (err error) {
			if m, err = f.victim(); err != nil {
				return err
			}
			stranger, err := f.stage.stranger()
			if err != nil {
				return err
			}
			f.announce("%s will reach a stranger: a secondary of another set of the same name", m.Host())
			return f.stage.set.Impersonate(m.Index(), stranger)
		},
		func() error {
			err := f.stage.set.RestoreAddresses()
			f.back(m, causeStranger, " reaches its own member again")
			return err
		},
	}
}

func (f *faults) maintenance(from, to float64) fault {
	var m *replset.Member
	return fault{causeMaintenance, from, to,
		func(context.Context) (err error) {
			if m, err = f.victim(); err != nil {
				return err
			}
			f.announce("%s is taken away for maintenance", m.Host())
			return m.SetMaintenance(true)
		},
		func() error {
			if err := m.SetMaintenance(false); err != nil {
				return err
			}
			// The promise's clock runs from when the member answers as a secondary.
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for !m.IsSecondary() {
				if err := sleepUntil(ctx, time.Now().Add(time.Millisecond)); err != nil {
					return fmt.Errorf("%v did not become a secondary again: %w", m, err)
				}
			}
			f.back(m, causeMaintenance, " is back from maintenance and answers as a secondary")
			return nil
		},
	}
}

func (f *faults) freeze(from, to float64) fault {
	var m *replset.Member
	return fault{causeFreeze, from, to,
		func(context.Context) (err error) {
			if m, err = f.victim(); err != nil {
				return err
			}
			f.announce("%s freezes: it takes connections and answers nothing", m.Host())
			m.Freeze()
			return nil
		},
		func() error {
			m.Unfreeze()
			f.back(m, causeFreeze, " thaws")
			return nil
		},
	}
}

func (f *faults) stepDown(from float64) fault {
	return fault{cause: causeStepDown, from: from,
		begin: func(ctx context.Context) error {
			primary := f.stage.set.Primary()
			if primary == nil {
				return replset.ErrNoPrimary
			}
			f.announce("the primary %s steps down", primary.Host())
			if err := f.stage.set.StepDown(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil // Of an interruption nothing is to be taken back.
		},
	}
}

// sleepUntil waits for a moment; its error is that of a ctx that ends first.
func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
