package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

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

// Neither the time to open a socket nor a server that says too early that time is up is the read's deadline.
func TestACommandThatEndsBeforeItsDeadlineIsNotLate(t *testing.T) {
	for _, err := range []error{
		&messages.NotLiveError{Host: "a:1", Err: fmt.Errorf("no socket: %w", context.DeadlineExceeded)},
		fmt.Errorf("too late: %w", context.DeadlineExceeded),
	} {
		inHall(t, func(t *testing.T, r *Router) {
			f := newFloor(t, r, 2)
			done := asking(t.Context(), r, &messages.Read{Database: "game", Operation: messages.Command{Document: bson.D{{Key: "dbStats", Value: 1}}}})
			first := f.next()
			read, _ := first.last(t)
			r.Failed(read, first, err)
			if rep := now(t, done); errors.Is(rep.Err, messages.ErrDeadline) || !errors.Is(rep.Err, err) || f.next() != nil {
				t.Errorf("got %v", rep.Err)
			}
		})
	}
}

func TestAReadThatFailsAtItsDeadlineIsLate(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		f := newFloor(t, r, 2)
		m := byID(1)
		m.Deadline = time.Now().Add(time.Second)
		done := asking(t.Context(), r, m)
		first := f.next()
		read, _ := first.last(t)
		read.Deadline = time.Now() // Its own timer is still to come.
		r.Failed(read, first, &messages.NotLiveError{Host: first.name, Err: errEOF})
		if rep := now(t, done); !errors.Is(rep.Err, messages.ErrDeadline) || !errors.Is(rep.Err, errEOF) {
			t.Errorf("got %v", rep.Err)
		}
	})
}

// An attempt's time is over and no reply has come: while the read has time left it is not late, whether the budget has
// a retry left for it or not, and whether there is a host that has not had it or not.
func TestAReadThatGotNoReplyInAnAttemptIsNotLateBeforeItsDeadline(t *testing.T) {
	for _, hosts := range []int{1, 2, 8} {
		for _, retries := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d hosts, retries %v", hosts, retries), func(t *testing.T) {
				inHall(t, func(t *testing.T, r *Router) {
					f := newFloor(t, r, hosts)
					const lasts = 10 * time.Second
					m, began := byID(1), time.Now()
					m.Deadline = began.Add(lasts)
					done := asking(t.Context(), r, m)
					asked := 0
					for time.Since(began) < lasts {
						d := f.next()
						if d == nil {
							select {
							case rep := <-done:
								t.Fatalf("after %v and %d attempts: %v", time.Since(began), asked, rep.Err)
							case <-time.After(time.Millisecond):
								continue
							}
						}
						asked++
						read, _ := d.last(t)
						end := time.Until(read.AttemptDeadline)
						time.Sleep(end)
						for !retries && r.budget.spend(time.Now(), 1) {
						}
						r.Failed(read, d, fmt.Errorf("no reply: %w", context.DeadlineExceeded))
					}
					rep := now(t, done)
					var late *messages.DeadlineError
					if !errors.As(rep.Err, &late) || late.Phase != "sent" || asked == 0 || asked > DefaultReadAttempts {
						t.Errorf("after %d attempts: %v", asked, rep.Err)
					}
				})
			})
		}
	}
}

// Where none of those that may serve is live at the deadline, that is what is told, though others are, and the read
// was silent at one before.
func TestAReadThatGotNoReplyAndHasNoHostSinceIsHeld(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		r.Join(&desk{name: "p:1", inc: 100}, request.Member{Primary: true})
		f := newFloor(t, r, 2)
		m := byID(1)
		m.From, m.Deadline = messages.FromSecondariesOnly, time.Now().Add(time.Second)
		done := asking(t.Context(), r, m)
		d := f.next()
		read, _ := d.last(t)
		for _, d := range f.desks {
			r.Leave(d)
		}
		r.Failed(read, d, fmt.Errorf("no reply: %w", context.DeadlineExceeded))
		time.Sleep(time.Second)
		var none *messages.NoLiveHostError
		if rep := now(t, done); !errors.As(rep.Err, &none) || !messages.Retryable(rep.Err) {
			t.Errorf("got %v", rep.Err)
		}
	})
}

// Very many may have got no reply. A host that joins is no reason to send them all there: that takes a retry each.
func TestReadsThatGotNoReplyAndHaveNoRetryAreNotAllSentToAHostThatJoins(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		f := newFloor(t, r, 1)
		const asked = 100
		var replies []<-chan *messages.ReadReply
		for range asked {
			m := byID(1)
			m.Deadline = time.Now().Add(restFirst / 2)
			replies = append(replies, asking(t.Context(), r, m))
		}
		synctest.Wait()
		d := f.desks[0]
		d.mu.Lock()
		reads := slices.Clone(d.got)
		d.mu.Unlock()
		for r.budget.spend(time.Now(), 1) {
		}
		for _, read := range reads {
			r.Failed(read, d, fmt.Errorf("no reply: %w", context.DeadlineExceeded))
		}
		joined := f.open()
		synctest.Wait()
		joined.mu.Lock()
		defer joined.mu.Unlock()
		if len(reads) != asked || len(joined.got) != 0 || r.Stat().Parked != asked {
			t.Errorf("of %d reads %d went to the host that joined, %d wait", len(reads), len(joined.got), r.Stat().Parked)
		}
		time.Sleep(restFirst)
		for _, done := range replies {
			if rep := now(t, done); !errors.Is(rep.Err, messages.ErrDeadline) {
				t.Errorf("got %v", rep.Err)
			}
		}
	})
}
