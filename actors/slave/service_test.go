package slave

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// gate lets commands through one after the other.
type gate struct{ c chan struct{} }

func (w *world) gate(c *fakeConn) *gate {
	g := &gate{make(chan struct{})}
	c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) {
		select {
		case <-g.c:
			return reply(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return g
}

func (g *gate) pass(n int) {
	for range n {
		g.c <- struct{}{}
		synctest.Wait()
	}
}

func TestReadsBeyondTheWorkersWaitInOrderAndEachSortHasItsOwn(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		g := w.gate(c)
		points := w.offered(target, testPointWorkers+3, pointRead)
		heavies := w.offered(target, DefaultOtherWorkers+2, heavyRead)
		if st := h.Stat(); st.Active != testPointWorkers+DefaultOtherWorkers || st.Queued != 5 {
			t.Errorf("%d on the wire and %d queued, want %d and 5", st.Active, st.Queued, testPointWorkers+DefaultOtherWorkers)
		}
		g.pass(len(points) + len(heavies))
		for _, r := range append(points, heavies...) {
			if rep := w.got(r); rep == nil || rep.Err != nil || rep.Host != "a:1" || rep.Attempts != 1 {
				t.Errorf("got %+v", rep)
			}
		}
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d pending", n)
		}
		if st := h.Stat(); st.Served != int64(len(points)+len(heavies)) || st.Active != 0 || st.Queued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAQueueIsServedInItsOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.PointWorkers = 1
		_, c, target := w.live("a:1")
		g := w.gate(c)
		reads := w.offered(target, 20, pointRead)
		for i, r := range reads {
			if w.got(r) != nil {
				t.Fatalf("read %d was answered before its turn", i)
			}
			g.pass(1)
			if w.got(r) == nil {
				t.Fatalf("read %d was not the next", i)
			}
		}
	})
}

func TestAFullQueueRefusesWithItsLimitAndTellsSo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.HostQueue = 2
		_, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, testPointWorkers+2, pointRead)
		w.told()
		for range 5 {
			err := offer(target, ask(pointRead))
			var full *messages.OverloadedError
			if !errors.As(err, &full) || full.Limit != "HostQueue" || full.Max != 2 || full.Pending != 2 || full.Host != "a:1" {
				t.Fatalf("refused with %#v", err)
			}
		}
		if err := offer(target, ask(heavyRead)); err != nil {
			t.Errorf("the other queue is full too: %v", err)
		}
		if n := target.Load().Pending(); n != testPointWorkers+3 {
			t.Errorf("%d pending, want %d", n, testPointWorkers+3)
		}
		w.pass(time.Second)
		var refused int64
		for _, e := range w.events(messages.KindOverloaded) {
			o := e.(messages.Overloaded)
			if o.Host != "a:1" || o.Limit != "HostQueue" || o.Max != 2 {
				t.Errorf("%+v", o)
			}
			refused += o.Refused
		}
		if refused != 5 {
			t.Errorf("%d refusals were told, want 5", refused)
		}
	})
}

func TestReadsThatWereGivenUpLeaveTheQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.HostQueue = 100
		h, c, target := w.live("a:1")
		c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
		w.offered(target, testPointWorkers-1, pointRead)
		last := w.offered(target, 1, pointRead)[0]
		queued := w.offered(target, 100, pointRead)
		for _, r := range queued[:60] {
			r.Fail(messages.ErrStopped)
		}
		if st := h.Stat(); st.Queued != 40 {
			t.Errorf("%d queued, want 40", st.Queued)
		}
		w.offered(target, 60, pointRead) // Room for as many again, and no more.
		if err := offer(target, ask(pointRead)); !errors.Is(err, messages.ErrOverloaded) {
			t.Errorf("one more: %v", err)
		}
		if n := target.Load().Pending(); n != testPointWorkers+100 {
			t.Errorf("%d pending, want %d", n, testPointWorkers+100)
		}
		// Those that a worker comes to are never sent.
		sent := len(c.commands())
		for _, r := range queued[60:] {
			r.Fail(messages.ErrStopped)
		}
		last.Fail(messages.ErrStopped)
		synctest.Wait()
		if n := len(c.commands()) - sent; n != 1 {
			t.Errorf("%d commands were sent for the place that came free, want 1", n)
		}
	})
}

func TestAReadIsCalledOffWithItsAskerAndAtItsAttemptsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		_, c, target := w.live("a:1")
		c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
		given := w.offered(target, 1, pointRead)[0]
		given.Fail(messages.ErrStopped)
		synctest.Wait()
		if n := target.Load().Pending(); n != 0 {
			t.Error("a read goes on after its asker has given up")
		}
		late := ask(pointRead)
		late.AttemptDeadline = time.Now().Add(300 * time.Millisecond)
		start := time.Now()
		if err := offer(target, late); err != nil {
			t.Fatal(err)
		}
		for w.got(late) == nil {
			w.pass(time.Millisecond)
		}
		if took := time.Since(start); took > 301*time.Millisecond || !errors.Is(w.got(late).Err, context.DeadlineExceeded) {
			t.Errorf("came back after %v with %v", took, w.got(late).Err)
		}
		if len(w.router.failed) != 1 {
			t.Errorf("the router got back %v", w.router.failed)
		}
	})
}

func TestWhatAnotherHostMayServeGoesBackAndWhatItWouldRepeatDoesNot(t *testing.T) {
	network := mongo.CommandError{Message: "connection reset", Labels: []string{"NetworkError"}}
	for _, c := range []struct {
		err        error
		back, gone bool
	}{
		{mongo.CommandError{Code: 2, Message: "BadValue"}, false, false},
		{fmt.Errorf("the attempt is over: %w", context.DeadlineExceeded), true, false},
		{mongo.CommandError{Code: 134, Message: "ReadConcernMajorityNotAvailableYet"}, true, false},
		{mongo.CommandError{Code: 13436, Message: "NotPrimaryOrSecondary"}, true, true},
		{network, true, true},
		{&messages.WrongHostError{Address: "a:1", Field: "me"}, true, true},
		{fmt.Errorf("something of the driver's"), false, false},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, conn, target := w.live("a:1")
				conn.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return nil, c.err })
				r := w.offered(target, 1, pointRead)[0]
				rep := w.got(r)
				want := c.err
				if c.gone {
					want = &messages.NotLiveError{Host: "a:1", Err: c.err}
				}
				if rep == nil || rep.Err.Error() != want.Error() || errors.Is(rep.Err, messages.ErrNotLive) != c.gone || (len(w.router.failed) == 1) != c.back {
					t.Errorf("got %+v, and the router %v", rep, w.router.failed)
				}
				if st := h.Stat(); st.Failed != 1 || st.Served != 0 || target.Load().Pending() != 0 {
					t.Errorf("%+v, %d pending", st, target.Load().Pending())
				}
			})
		})
	}
}

func TestWhenAHostIsLostWhatWaitsWasNotSentAndWhatWasSentHasFailed(t *testing.T) {
	inWorld(t, func(w *world) {
		_, c, target := w.live("a:1")
		c.hangs()
		reads := w.offered(target, testPointWorkers+5, pointRead)
		commands := w.offered(target, DefaultOtherWorkers+2, anyRead)
		c.obs.Lost(errReset)
		unserved, failed := 0, 0
		for _, r := range append(reads, commands...) {
			switch rep := w.got(r); {
			case rep == nil:
				t.Fatal("a read was lost with its host")
			case errors.Is(rep.Err, errUnserved):
				unserved++
			case errors.Is(rep.Err, messages.ErrNotLive):
				failed++
			}
		}
		if unserved != 7 || failed != testPointWorkers+DefaultOtherWorkers {
			t.Errorf("%d unserved and %d failed", unserved, failed)
		}
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

func TestAReadThatAWorkerComesToAfterTheEndWasNotSent(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		s := target.(*service)
		s.close()
		for _, cmd := range []*asked{ask(pointRead), ask(heavyRead), ask(anyRead)} {
			s.load.Begin(cmd.LoadClass(), time.Now())
			s.serve([]*request.Read{cmd.Read}) // It was taken off the queue just before.
			if rep := w.got(cmd); rep == nil || !errors.Is(rep.Err, errUnserved) {
				t.Errorf("got %+v, want that it comes back unserved", rep)
			}
		}
		if ran := c.commands(); len(ran) != 0 || s.load.Pending() != 0 {
			t.Errorf("sent %v, %d pending", ran, s.load.Pending())
		}
		w.is(h, Live)
	})
}

func TestAPanicInAReadIsAnsweredAndCountedBack(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { panic("a codec of the game's") })
		for _, cmd := range []*asked{ask(pointRead), ask(rangeRead), ask(heavyRead), ask(anyRead), ask(pointRead), ask(pointRead)} {
			if err := offer(target, cmd); err != nil {
				t.Fatal(err)
			}
			rep := w.got(cmd)
			var p *messages.PanicError
			if rep == nil || !errors.As(rep.Err, &p) || p.Value != "a codec of the game's" || len(p.Stack) == 0 {
				t.Fatalf("got %+v", rep)
			}
		}
		if n := target.Load().Pending(); n != 0 || len(w.router.failed) != 0 {
			t.Errorf("%d pending, and the router got back %v", n, w.router.failed)
		}
		if st := h.Stat(); st.Active != 0 {
			t.Errorf("%d workers are stuck", st.Active)
		}
		// They do not count as silent: nothing is on the wire.
		c.thaws()
		w.offered(target, 1, pointRead)
		w.pass(time.Minute)
		w.is(h, Live)
		if s := target.(*service); s.health.flying != 0 || len(s.flying) != 0 {
			t.Errorf("%d on the wire for the health, %d for an evacuation", s.health.flying, len(s.flying))
		}
	})
}

// A defect of our own, beside what is the game's, must not be the end of those who wait.
func TestAPanicOfTheWorkersOwnAnswersItsReads(t *testing.T) {
	inWorld(t, func(w *world) {
		_, c, target := w.live("a:1")
		target.(*service).broken = func(error) { panic("a defect") }
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return nil, &messages.ProtocolError{Host: "a:1"} })
		for range testPointWorkers + 1 {
			r := ask(pointRead)
			if err := offer(target, r); err != nil {
				t.Fatal(err)
			}
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, messages.ErrPanicked) {
				t.Fatalf("got %+v", rep)
			}
		}
	})
}

func TestAPanicOfAReplysReceiverDoesNotEndTheWorker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.PointWorkers = 1
		_, c, target := w.live("a:1")
		var bombs atomic.Int64
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return reply(), nil })
		r := ask(pointRead)
		nothing := func() {}
		r.SetAttempt(&nothing) // Replaced by the worker.
		bomb := askPanicking(&bombs)
		if err := offer(target, bomb, r); err != nil {
			t.Fatal(err)
		}
		if rep := w.got(r); rep == nil || rep.Err != nil || bombs.Load() != 1 {
			t.Errorf("got %+v after %d panics", rep, bombs.Load())
		}
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

func TestAReadSeesNothingOlderThanItsToken(t *testing.T) {
	inWorld(t, func(w *world) {
		_, c, target := w.live("a:1")
		var sent bson.Raw
		c.runs(func(_ context.Context, cmd bson.Raw) (bson.Raw, error) { sent = slices.Clone(cmd); return reply(), nil })
		cmd := *pointRead
		cmd.TakesReadConcern = true
		r := askWithin(&cmd, &messages.Read{After: messages.Token{OperationTime: bson.Timestamp{T: 5, I: 6}}}, time.Second)
		if err := offer(target, r); err != nil {
			t.Fatal(err)
		}
		if rep := w.got(r); rep == nil || rep.Err != nil {
			t.Fatalf("got %+v", rep)
		}
		if ts, i, ok := sent.Lookup("readConcern", "afterClusterTime").TimestampOK(); !ok || ts != 5 || i != 6 {
			t.Errorf("sent %v", sent)
		}
	})
}

func TestOnlyWhatConfigCanNeverMeanIsRefused(t *testing.T) {
	w := Config{Open: func(string, mongoconn.Observer) (Conn, error) { return nil, nil }, Router: newFakeRouter(), Claims: NewClaims()}
	for name, change := range map[string]func(*Config){
		"Open": func(c *Config) { c.Open = nil }, "PointWorkers": func(c *Config) { c.PointWorkers = -1 },
		"HostQueue": func(c *Config) { c.HostQueue = -1 }, "HungAfter": func(c *Config) { c.HungAfter = -1 },
	} {
		c := w
		change(&c)
		if _, err := New(nil, "a:1", c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := w.PoolSize(); n != DefaultPointWorkers+DefaultAfterWorkers+DefaultOtherWorkers+1 {
		t.Errorf("a pool of %d sockets", n)
	}
}

func TestReadsThatWaitForAClusterTimeHoldUpNobodyWhoNeedNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) { // It lags.
			if _, err := cmd.LookupErr("readConcern", "afterClusterTime"); err == nil {
				return nil, hang(ctx)
			}
			return reply(), nil
		})
		ranges := *rangeRead
		ranges.TakesReadConcern = true
		waits := &messages.Read{After: messages.Token{OperationTime: bson.Timestamp{T: 5}}}
		for _, cmd := range []*command.Read{byID(7), &ranges} {
			for range DefaultOtherWorkers + 5 {
				r := askWithin(cmd, waits, 5*time.Second)
				r.Alone = true
				if err := offer(target, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		if st := h.Stat(); st.Active != DefaultAfterWorkers || st.Queued != 2*(DefaultOtherWorkers+5)-DefaultAfterWorkers {
			t.Errorf("%d on the wire and %d queued, want %d on the wire", st.Active, st.Queued, DefaultAfterWorkers)
		}
		for _, cmd := range []*command.Read{byID(7), rangeRead, heavyRead, anyRead} {
			if rep := w.got(w.offered(target, 1, cmd)[0]); rep == nil || rep.Err != nil {
				t.Errorf("%s got %+v", cmd.Name, rep)
			}
		}
		w.pass(6 * time.Second)
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d reads are pending", n)
		}
	})
}

func TestAHostThatFailsItsReadsLooksNoQuickOne(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		after uint32
		costs bool
	}{
		"its connections break":              {mongo.CommandError{Message: "reset", Labels: []string{"NetworkError"}}, 0, true},
		"it is no secondary":                 {mongo.CommandError{Code: 13436, Message: "NotPrimaryOrSecondary"}, 0, true},
		"a read that waited for its time":    {context.DeadlineExceeded, 5, false},
		"the query is bad, wherever it goes": {mongo.CommandError{Code: 2, Message: "BadValue"}, 0, false},
		"its asker has given it up":          {context.Canceled, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, conn, target := w.live("a:1")
				conn.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return nil, c.err })
				m := &messages.Read{}
				if c.after > 0 {
					m.After.OperationTime.T = c.after
				}
				if err := offer(target, askWithin(pointRead, m, time.Second)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if costs := target.Load().Latency(command.Point, time.Now()) > 0; costs != c.costs {
					t.Errorf("it costs something: %v", costs)
				}
			})
		})
	}
}

func TestWhatAReplySaysOfTheTimeItWasReadAtIsKeptAndAHellosLastWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		_, c, target := w.live("a:1")
		at := bson.Timestamp{T: uint32(time.Now().Unix()), I: 3}
		if target.Load().Reached(at) || target.Load().Behind(at) {
			t.Error("something is known of a host that has said nothing")
		}
		c.obs.Hello(mongoconn.Hello{Kind: mongoconn.Secondary, ProcessID: processOf("a:1"), LastWrite: time.Now().Add(-3 * time.Second)})
		synctest.Wait()
		if !target.Load().Behind(at) {
			t.Error("it is not known to be behind")
		}
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) {
			var d bson.D
			if err := bson.Unmarshal(reply(), &d); err != nil {
				t.Error(err)
			}
			return raw(append(d, bson.E{Key: "operationTime", Value: at})), nil
		})
		w.offered(target, 1, pointRead)
		if l := target.Load(); !l.Reached(at) || l.Behind(at) || l.Reached(bson.Timestamp{T: at.T, I: 4}) {
			t.Error("its reply is not kept")
		}
	})
}
