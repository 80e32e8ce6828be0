package slave

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// offerInline gives a read to a host whose asker would do the work.
func (w *world) offerInline(to *service, r *asked) (run func()) {
	w.t.Helper()
	to.load.Begin(r.LoadClass(), time.Now())
	run, err := to.Offer(r.Read, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

func TestAnAskerDoesAFreeWorkersWork(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		host := target.(*service)
		s := shelve(c, numbered(9)...)
		s.opens()
		for _, cmd := range []*command.Read{byID(7), rangeRead, heavyRead, anyRead} {
			r := ask(cmd)
			run := w.offerInline(host, r)
			if run == nil {
				t.Fatalf("%s: a worker was free", cmd.Name)
			}
			if synctest.Wait(); w.got(r) != nil {
				t.Errorf("%s: somebody else has done it", cmd.Name)
			}
			run()
			if len(r.replies) != 1 { // Now, and not a moment later.
				t.Errorf("%s: got %d replies", cmd.Name, len(r.replies))
			}
		}
		w.settled(h, host)
	})
}

func TestAnAskersPlaceGoesToThoseThatWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.PointWorkers = 1
		h, c, target := w.live("a:1")
		host := target.(*service)
		s := shelve(c, numbered(9)...)
		first := ask(byID(0))
		run := w.offerInline(host, first)
		second := ask(byID(1))
		if w.offerInline(host, second) != nil {
			t.Fatal("two at the place of one worker")
		}
		others := w.asks(host, 2, 3)
		back := make(chan struct{})
		go func() { defer close(back); run() }()
		synctest.Wait()
		if got := s.asked(); len(got) != 1 {
			t.Fatalf("asked for %v at the place of one worker", got)
		}
		s.lets(1)
		select {
		case <-back:
		default:
			t.Error("the asker works for the others, too")
		}
		w.finds(first, 0)
		s.lets(1)
		w.finds(second, 1)
		w.finds(others[0], 2)
		w.finds(others[1], 3)
		w.settled(h, host)
		// And the place is free again.
		last := ask(byID(4))
		s.opens()
		if run = w.offerInline(host, last); run == nil {
			t.Fatal("the place is lost")
		}
		run()
		w.finds(last, 4)
		w.settled(h, host)
	})
}

func TestAnAskerWhoGivesUpIsNotKeptByItsCursor(t *testing.T) {
	for what, on := range map[string]func(*messages.Cursor) *command.Read{"getMore": more, "killCursors": done} {
		t.Run(what, func(t *testing.T) {
			withSessions(t, func(w *world, s *sessions) {
				h, c, target := w.live("a:1")
				w.serving(c, s)
				r := ask(on(w.opened(h)))
				c.hangs() // What closes the cursor gets no reply either.
				run := w.offerInline(target.(*service), r)
				back := make(chan struct{})
				go func() {
					defer close(back)
					if run != nil {
						run()
					}
				}()
				synctest.Wait()
				r.Fail(messages.ErrStopped)
				synctest.Wait()
				select {
				case <-back:
				default:
					t.Error("it waits until the cursor is closed")
				}
				<-back
				w.pass(killTimeout)
				w.settled(h, target.(*service))
			})
		})
	}
}

func TestAnAskerIsNotKeptByACursorThatNobodyWillAskOf(t *testing.T) {
	for why, max := range map[string]int{"there are too many": 1, "its asker has given up": 9} {
		t.Run(why, func(t *testing.T) {
			withSessions(t, func(w *world, s *sessions) {
				w.cfg.MaxCursors, w.cfg.OtherWorkers = max, 1
				h, c, target := w.live("a:1")
				host := target.(*service)
				w.serving(c, s)
				w.opened(h)
				r := ask(rangeRead)
				serve := c.run
				c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
					if cmd.Index(0).Key() == "killCursors" {
						return nil, hang(ctx)
					}
					if max > 1 {
						r.Fail(messages.ErrStopped)
					}
					return serve(ctx, cmd)
				})
				run := w.offerInline(host, r)
				began := time.Now()
				run()
				if took := time.Since(began); took > 0 || w.got(r) == nil {
					t.Errorf("its asker was kept for %v and got %+v", took, w.got(r))
				}
				// But nobody else is served in the meantime: what is closed at one time is bounded.
				next := ask(rangeRead)
				if w.offerInline(host, next) != nil || h.Stat().Active != 1 {
					t.Error("the worker's place is free")
				}
				w.pass(killTimeout)
				if w.got(next) == nil {
					t.Error("the place is lost")
				}
				w.pass(killTimeout) // Here it is closed as well.
				w.settled(h, host)
				if n := h.Stat().Cursors; n != s.open() || n > 2 || max == 1 && n != 1 {
					t.Errorf("%d cursors and %d sessions are open", n, s.open())
				}
			})
		})
	}
}

func TestWorkThatAnAskerBeginsAfterTheEndIsNotDone(t *testing.T) {
	for how, end := range map[string]func(*service){"closed": (*service).close, "ejected": func(s *service) { s.evacuate(command.Point) }} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, c, target := w.live("a:1")
				host := target.(*service)
				r := ask(byID(1))
				run := w.offerInline(host, r)
				end(host)
				run()
				if rep := w.got(r); rep == nil || !errors.Is(rep.Err, errUnserved) {
					t.Errorf("got %+v", rep)
				}
				if n := len(c.commands()); n != 0 {
					t.Errorf("%d commands were sent", n)
				}
				w.settled(h, host)
			})
		})
	}
}

func TestAPanicInAnAskersWorkLeavesThePlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.PointWorkers = 1
		h, c, target := w.live("a:1")
		host := target.(*service)
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { panic("a monitor of the game's") })
		for range 3 {
			r := ask(byID(1))
			run := w.offerInline(host, r)
			if run == nil {
				t.Fatal("the place is lost")
			}
			run()
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, messages.ErrPanicked) {
				t.Errorf("got %+v", rep)
			}
		}
		w.settled(h, host)
	})
}
