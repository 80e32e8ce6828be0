package router

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

var errEOF = errors.New("EOF")

// floor is many desks, of which it can tell who has a read.
type floor struct {
	t     *testing.T
	r     *Router
	desks []*desk
	seen  map[*desk]int // of its offers, how many were looked at
}

func newFloor(t *testing.T, r *Router, n int) *floor {
	f := &floor{t: t, r: r, seen: map[*desk]int{}}
	for range n {
		f.open()
	}
	return f
}

// open lets one more join.
func (f *floor) open() *desk {
	n := len(f.desks)
	d := &desk{name: string(rune('a'+n)) + ":1", inc: uint64(n + 1)}
	f.desks = append(f.desks, d)
	f.r.Join(d, request.Member{})
	return d
}

// next is the desk that was offered a read since the last call, nil for none.
func (f *floor) next() *desk {
	synctest.Wait()
	for _, d := range f.desks {
		d.mu.Lock()
		offers := len(d.got)
		d.mu.Unlock()
		if offers > f.seen[d] {
			f.seen[d] = offers
			return d
		}
	}
	return nil
}

// lose fails what d has, as a host does that seems to be lost.
func (f *floor) lose(d *desk) {
	read, _ := d.last(f.t)
	f.r.Failed(read, d, &messages.NotLiveError{Host: d.name, Err: errEOF})
}

// loseAll does so with everyone who is offered a read, until nobody is, and counts them.
func (f *floor) loseAll() (asked int) {
	for d := f.next(); d != nil; d = f.next() {
		f.lose(d)
		asked++
	}
	return asked
}

func TestAReadOutlivesTheLossOfAllHostsThatNobodyHasNoticedYet(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		f := newFloor(t, r, 8)
		done := asking(t.Context(), r, byID(1))
		if n := f.loseAll(); n != 2 {
			t.Fatalf("%d hosts were asked before anybody could notice that all are lost", n)
		}
		for _, d := range f.desks {
			r.Leave(d)
		}
		time.Sleep(time.Second)
		if d := f.next(); d != nil || r.Stat().Parked != 1 {
			t.Fatalf("offered to %v, %+v", d, r.Stat())
		}
		back := f.open()
		if f.next() != back {
			t.Fatal("the host that came back was not asked")
		}
		read, _ := back.last(t)
		read.Reply(&messages.ReadReply{Attempts: read.Attempts + 1})
		if rep := now(t, done); rep.Err != nil || rep.Attempts != 3 {
			t.Errorf("got %+v", rep)
		}
	})
}

func TestAReadWhoseSocketBrokeAtTheOnlyHostGoesThereAgainAfterAPause(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		f := newFloor(t, r, 1)
		done := asking(t.Context(), r, byID(1))
		var pauses []time.Duration
		for len(pauses) < DefaultReadAttempts-1 {
			f.lose(f.next())
			from := time.Now()
			for f.next() == nil {
				time.Sleep(time.Millisecond)
			}
			f.seen[f.desks[0]]--
			pauses = append(pauses, time.Since(from))
		}
		for i, want := range []time.Duration{restFirst, restFirst, 2 * restFirst} {
			if pauses[i] != want {
				t.Errorf("pauses of %v", pauses)
			}
		}
		f.lose(f.next())
		if rep := now(t, done); !errors.Is(rep.Err, messages.ErrNotLive) || !errors.Is(rep.Err, errEOF) || !messages.Retryable(rep.Err) || rep.Attempts != DefaultReadAttempts {
			t.Errorf("got %+v", rep)
		}
	})
}

func TestReadsOfALostHostThatHaveNoRetryLeftWaitForOne(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		for r.budget.spend(time.Now(), 1) {
		}
		f := newFloor(t, r, 2)
		done := asking(t.Context(), r, byID(1))
		f.lose(f.next())
		if d := f.next(); d != nil {
			t.Fatal("sent again without a retry left")
		}
		time.Sleep(restFirst + restLook)
		d := f.next()
		if d == nil {
			t.Fatal("not sent again although the budget has a retry since")
		}
		read, _ := d.last(t)
		read.Reply(&messages.ReadReply{})
		if rep := now(t, done); rep.Err != nil {
			t.Errorf("got %+v", rep)
		}
	})
}

func TestAReadThatRestsEndsWithItsDeadlineAndWithStop(t *testing.T) {
	for _, stop := range []bool{false, true} {
		inHall(t, func(t *testing.T, r *Router) {
			f := newFloor(t, r, 8)
			m := byID(1)
			m.Deadline = time.Now().Add(restFirst / 2)
			done := asking(t.Context(), r, m)
			f.loseAll()
			if stop {
				r.Stop()
				if rep := now(t, done); !errors.Is(rep.Err, messages.ErrStopped) {
					t.Errorf("got %+v", rep)
				}
				return
			}
			time.Sleep(restFirst / 2)
			if rep := now(t, done); !errors.Is(rep.Err, messages.ErrDeadline) || !errors.Is(rep.Err, errEOF) || errors.Is(rep.Err, messages.ErrNoLiveHost) {
				t.Errorf("got %+v", rep)
			}
		})
	}
}
