package slave

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
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

func TestAHostIsEjectedWhenThreeReadsGetNoReplyFor400Milliseconds(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		w.told()
		c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) }) // Pings are answered.
		reads := w.offered(target, 7, pointRead)                                                  // 4 on the wire, 3 wait.
		w.pass(399 * time.Millisecond)
		w.is(h, Live)
		w.pass(101 * time.Millisecond)
		w.is(h, Ejected)
		events := w.events()
		ejected, ok := events[0].(messages.HostEjected)
		if len(events) != 1 || !ok || ejected.Evacuated != 7 || ejected.Floor {
			t.Errorf("told %v, want that 7 reads were moved", events)
		}
		sent, waited := 0, 0
		for _, r := range reads {
			switch rep := w.got(r); {
			case rep != nil && errors.Is(rep.Err, errEvacuated):
				sent++
			case rep != nil && errors.Is(rep.Err, errUnserved):
				waited++
			}
		}
		if sent != 4 || waited != 3 {
			t.Errorf("%d reads came back as evacuated and %d as unserved, want 4 and 3", sent, waited)
		}
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d reads count as pending", n)
		}
		if err := offer(target, ask(pointRead)); !errors.Is(err, messages.ErrNotLive) {
			t.Errorf("it takes reads: %v", err)
		}
	})
}

func TestOneSilentReadAndASilentPingEjectAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, 1, pointRead)
		w.pass(800 * time.Millisecond)
		w.is(h, Ejected)
	})
}

func TestASlowReadIsNoReasonWhilePingsAreAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
		var pings atomic.Int64
		c.pings(func(context.Context) error { pings.Add(1); return nil })
		w.offered(target, 2, rangeRead)
		w.pass(4 * time.Second)
		w.is(h, Live)
		// It is asked again and again: it may hang in the middle of a slow read.
		if n := pings.Load(); n < 5 || n > 11 {
			t.Errorf("%d pings in 4 s", n)
		}
		c.pings(hang)
		w.pass(time.Second)
		w.is(h, Ejected)
	})
}

func TestACopyAtAnotherHostEndsWithThatHostsConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.Paces = NewPaces()
		_, other, there := w.live("b:1")
		other.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return reply(), nil })
		w.offered(there, 1, pointRead)
		h, c, target := w.live("a:1")
		c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
		asked := make(chan struct{})
		other.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { close(asked); return nil, hang(ctx) })
		w.offered(target, 1, pointRead)
		<-asked
		other.obs.Lost(errReset) // fakeConn.Close looks for what is under way.
		w.pass(time.Second)
		// That the copy came to nothing there is no reason.
		w.is(h, Live)
	})
}

func TestAPointReadThatIsSilentHereAndAnsweredElsewhereEjectsAHostWhosePingsAreAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		answers   int64 // of the finds, those behind so many are answered
		read      *command.Read
		elsewhere bool // another host answers
		want      State
	}{
		"a point read":                          {math.MaxInt64, pointRead, true, Ejected},
		"whose copy is answered":                {1, pointRead, true, Live},
		"whose copy gets no reply anywhere":     {math.MaxInt64, pointRead, false, Live},
		"a range, which may honestly take long": {math.MaxInt64, rangeRead, true, Live},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.cfg.Paces = NewPaces()
				_, other, there := w.live("b:1")
				other.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return reply(), nil })
				w.offered(there, 1, pointRead)
				h, conn, target := w.live("a:1")
				var finds atomic.Int64
				conn.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) {
					if finds.Add(1) > c.answers {
						return reply(), nil
					}
					return nil, hang(ctx)
				})
				other.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) {
					if c.elsewhere {
						return reply(), nil
					}
					return nil, hang(ctx)
				})
				r := w.offered(target, 1, c.read)[0]
				w.pass(750 * time.Millisecond)
				w.is(h, Live)
				w.pass(200 * time.Millisecond)
				w.is(h, c.want)
				if rep := w.got(r); (rep != nil && errors.Is(rep.Err, errEvacuated)) != (c.want == Ejected) {
					t.Errorf("the read got %+v", rep)
				}
				w.pass(3 * time.Second)
			})
		})
	}
}

func TestCallersLessPatientThanTheLimitDoNotKeepASilentHostIn(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		for range 20 {
			for range 2 {
				if r := askWithin(pointRead, &messages.Read{}, 100*time.Millisecond); h.Stat().State == Live {
					if err := offer(target, r); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.pass(110 * time.Millisecond)
		}
		w.is(h, Ejected)
	})
}

func TestRepliesOfAnySortKeepAHostIn(t *testing.T) {
	refused := mongo.CommandError{Code: 2, Message: "BadValue"}
	for what, answer := range map[string]func() (bson.Raw, error){
		"a document":     func() (bson.Raw, error) { return reply(), nil },
		"a server error": func() (bson.Raw, error) { return nil, refused },
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, c, target := w.live("a:1")
				var n atomic.Int64
				c.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) {
					if n.Add(1) <= 3 {
						return nil, hang(ctx) // Three slow ones.
					}
					return answer()
				})
				w.offered(target, 3, pointRead)
				for range 20 {
					w.pass(200 * time.Millisecond)
					w.offered(target, 1, pointRead)
				}
				w.is(h, Live)
			})
		})
	}
}

func TestReadsThatMayHonestlyTakeLongEjectNobody(t *testing.T) {
	waits := &messages.Read{After: messages.Token{OperationTime: bson.Timestamp{T: 1}}}
	for what, read := range map[string]func() *asked{
		"aggregates":                   func() *asked { return ask(heavyRead) },
		"commands":                     func() *asked { return ask(anyRead) },
		"reads that wait for a member": func() *asked { return askWithin(pointRead, waits, 5*time.Second) },
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, c, target := w.live("a:1")
				c.hangs()
				for range 4 {
					if err := offer(target, read()); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(4 * time.Second)
				w.is(h, Live)
			})
		})
	}
}

func TestWhereTooFewWouldRemainItIsToldNowAndThenAndTheReadsStay(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		w.told()
		w.router.keeps(true)
		c.hangs()
		reads := make([]*asked, 4)
		for i := range reads {
			reads[i] = askWithin(pointRead, &messages.Read{}, 25*time.Second)
		}
		if err := offer(target, reads...); err != nil {
			t.Fatal(err)
		}
		w.pass(24 * time.Second)
		w.is(h, Live)
		events := w.events()
		if len(events) != 3 {
			t.Fatalf("told %d times in 24 s, want each 10 s", len(events))
		}
		for _, e := range events {
			if !e.(messages.HostEjected).Floor {
				t.Errorf("told %v", e)
			}
		}
		if w.got(reads[0]) != nil {
			t.Error("a read was taken from it")
		}
		c.thaws()
	})
}

func TestAnEjectedHostIsProbedWithAReadThatHungAndRestored(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, 2, rangeRead)
		w.offered(target, 1, pointRead)
		w.pass(500 * time.Millisecond)
		w.is(h, Ejected)
		w.told()
		sent := len(c.commands())
		w.pass(10 * time.Second)
		w.is(h, Ejected)
		probes := len(c.commands()) - sent
		if probes < 7 || probes > 16 {
			t.Errorf("%d probes in 10 s, want one in 0.5 to 1 s after the first, and the 0.4 s each waits", probes)
		}
		c.thaws()
		w.pass(probeMax + testHungAfter)
		w.is(h, Live)
		events := w.events()
		restored, ok := events[0].(messages.HostRestored)
		if len(events) != 1 || !ok || restored.After < 10*time.Second {
			t.Errorf("told %v", events)
		}
		if again := w.router.target("a:1"); again == nil || again.Incarnation() != target.Incarnation() {
			t.Error("it is not back in rotation as the same incarnation")
		}
		if rep := w.got(w.offered(target, 1, pointRead)[0]); rep == nil || rep.Err != nil {
			t.Errorf("a read got %+v", rep)
		}
		w.pass(time.Minute)
		w.is(h, Live)
	})
}

func TestAHostThatGaveNoRepliesIsProbedAtOnceWhenItIsNeeded(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, 2, pointRead)
		w.pass(500 * time.Millisecond)
		w.pass(10 * time.Second) // Its probes are far between by now.
		w.is(h, Ejected)
		for { // Until it waits for the next one.
			sent := len(c.commands())
			if w.pass(testHungAfter / 2); len(c.commands()) > sent {
				break
			}
		}
		w.pass(2 * testHungAfter) // The probe, and the ping after it.
		c.thaws()
		target.Recall()
		synctest.Wait()
		w.is(h, Live)
		if e := w.events(); e[len(e)-1].(messages.HostRestored).Floor {
			t.Error("it is said to be slow")
		}
	})
}

func TestASlowHostServesWhenTheOthersAreLost(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.load(2*time.Second, a, b)
		b.takes.Store(int64(50 * time.Millisecond))
		w.load(2*time.Second, a, b)
		w.is(b.Host, Ejected)
		a.Leave("removed")
		synctest.Wait()
		w.told()
		b.target.Recall()
		synctest.Wait()
		w.is(b.Host, Live)
		if e, ok := w.events()[0].(messages.HostRestored); !ok || !e.Floor {
			t.Errorf("told %+v", e)
		}
		w.load(time.Second, b)
		w.is(b.Host, Live)
	})
}

func TestAProbeTellsWhetherTheHostAnswersNotWhetherItLikesTheQuestion(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want State
	}{
		{"its own error on the query", mongo.CommandError{Code: 2, Message: "BadValue"}, Live},
		{"it is no secondary any more", mongo.CommandError{Code: 13436, Message: "NotPrimaryOrSecondary"}, Ejected},
		{"no reply", mongo.CommandError{Message: "connection reset", Labels: []string{"NetworkError"}}, Ejected},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, conn, target := w.live("a:1")
				conn.hangs()
				w.offered(target, 3, pointRead)
				w.pass(500 * time.Millisecond)
				w.is(h, Ejected)
				conn.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return nil, c.err })
				w.pass(2 * time.Second)
				w.is(h, c.want)
			})
		})
	}
}

func TestACursorThatAProbeOpensIsClosed(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { time.Sleep(time.Millisecond); return reply(), nil })
		w.offered(target, 1, rangeRead) // Which the probe repeats.
		w.pass(time.Millisecond)
		c.hangs()
		w.offered(target, 3, rangeRead)
		w.pass(3 * testHungAfter)
		w.is(h, Ejected)
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return reply(99), nil })
		w.pass(2 * probeMax)
		w.is(h, Live)
		if ran := c.commands(); ran[len(ran)-1] != "killCursors" {
			t.Errorf("ran %v, want killCursors after the probe", ran)
		}
	})
}

func TestAnEjectedHostFollowsWhatItsServerSays(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, 3, pointRead)
		w.pass(500 * time.Millisecond)
		w.is(h, Ejected)
		c.hello(mongoconn.Primary)
		w.is(h, Ejected)
		if w.router.target("a:1") != nil {
			t.Fatal("a change of role has brought it back")
		}
		c.thaws()
		w.pass(2 * time.Second)
		if w.is(h, Live); !w.router.isPrimary("a:1") {
			t.Error("it is restored as a secondary")
		}
	})
}

func TestAHeartbeatThatTheDriverCallsOffIsFollowedByAPing(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, _ := w.live("a:1")
		var pings atomic.Int64
		c.pings(func(ctx context.Context) error { pings.Add(1); return ctx.Err() })
		c.obs.Lost(context.Canceled)
		w.is(h, Live)
		if n := pings.Load(); n != 1 {
			t.Errorf("%d pings, want 1", n)
		}
		// The driver closes the heartbeat's socket as well, which may be seen first.
		c.obs.Lost(fmt.Errorf("heartbeat: %w", &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}))
		w.is(h, Live)
		if n := pings.Load(); n != 2 {
			t.Errorf("%d pings, want 2", n)
		}
		c.pings(hang)
		c.obs.Lost(context.Canceled)
		c.obs.Lost(context.Canceled)
		w.pass(testHungAfter)
		w.is(h, Ejected)
		c.thaws()
		w.pass(time.Second)
		w.is(h, Live)
		c.hello(mongoconn.Recovering)
		c.obs.Lost(context.Canceled)
		w.is(h, Standby)
	})
}

func TestALateReplyOfAnEvacuatedReadIsDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		thaw := make(chan struct{})
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { <-thaw; return reply(), nil }) // Deaf to cancellation.
		reads := w.offered(target, 3, pointRead)
		w.pass(500 * time.Millisecond)
		w.is(h, Ejected)
		close(thaw)
		for _, r := range reads {
			if rep := w.got(r); rep == nil || !errors.Is(rep.Err, errEvacuated) {
				t.Errorf("got %+v", rep)
			}
		}
		if n := target.Load().Pending(); n != 0 {
			t.Errorf("%d reads count as pending", n)
		}
		if st := h.Stat(); st.Served != 0 || st.Active != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// moving is a router that moves evacuated reads to another target at once.
type moving struct {
	*fakeRouter
	to request.Target
}

func (m *moving) Evacuated(read *request.Read, host request.Target) {
	read.Tried = append(read.Tried, host.Incarnation())
	m.to.Load().Begin(read.LoadClass(), time.Now())
	if _, err := m.to.Offer(read, false); err != nil {
		read.Fail(err)
	}
}

func TestAnEvacuatedReadIsCalledOffWhereItIsNow(t *testing.T) {
	inWorld(t, func(w *world) {
		_, b, to := w.live("b:1")
		m := &moving{w.router, to}
		w.cfg.Router = m
		h, a, from := w.live("a:1")
		a.hangs()
		b.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
		reads := w.offered(from, 3, pointRead)
		w.pass(500 * time.Millisecond)
		w.is(h, Ejected)
		if n := to.Load().Pending(); n != 3 {
			t.Fatalf("%d reads are at b, want 3", n)
		}
		for _, r := range reads {
			r.Fail(messages.ErrStopped) // Its asker gives up.
		}
		synctest.Wait()
		if n := to.Load().Pending(); n != 0 {
			t.Errorf("%d of them are still on the wire to b", n)
		}
	})
}

// ranged lets hosts answer what is asked of them: a find of this collection after that time.
func (p *paced) ranged(slow string, takes time.Duration) {
	p.conn.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
		d := time.Duration(p.takes.Load())
		if cmd.Lookup("find").StringValue() == slow {
			d = takes
		}
		select {
		case <-time.After(d):
			return reply(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

// slowRange is a range over the collection of that name.
func slowRange(collection string) *command.Read {
	return &command.Read{Database: "game", Collection: collection, Name: "find", Class: command.Range, Kind: command.KindBatch, Body: raw(bson.D{{Key: "find", Value: collection}})}
}

func TestRangesThatHonestlyTakeLongEjectNobodyHoweverManyTheyAre(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		for _, p := range []*paced{a, b} {
			p.ranged("log", 2*time.Second)
		}
		w.told()
		reads := w.offered(a.target, testHungReads, slowRange("log"))
		for i := range 44 { // Others answer, and it answers nothing else.
			w.pass(40 * time.Millisecond)
			w.offered(b.target, 1, pointRead)
			if i == 36 { // Until a point read comes, which takes its time.
				a.takes.Store(int64(200 * time.Millisecond))
				w.offered(a.target, 1, pointRead)
			}
		}
		w.pass(300 * time.Millisecond)
		w.tells()
		for _, r := range reads {
			if rep := w.got(r); rep == nil || rep.Err != nil {
				t.Errorf("a range got %+v", rep)
			}
		}
		w.pass(time.Second)
		if n := len(b.conn.commands()); n < 45 || n > 46 {
			t.Errorf("b was sent %d finds, want the 44, and a copy of a range, and of the point read at most", n)
		}
	})
}

func TestAHostWhoseRangesAloneHangIsFoundOutWhileItsPingsAreAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		w.offered(a.target, 1, rangeRead)
		w.offered(b.target, 1, rangeRead)
		w.pass(10 * time.Millisecond)
		a.takes.Store(int64(time.Hour))
		w.offered(a.target, testHungReads, rangeRead)
		w.pass(2*testHungAfter + testHungAfter/4)
		w.is(a.Host, Ejected)
		for range 20 { // Its pings do not bring it back.
			w.pass(time.Second)
			w.is(a.Host, Ejected)
		}
		a.takes.Store(int64(time.Millisecond))
		w.pass(2 * time.Second)
		w.is(a.Host, Live)
	})
}

func TestAnEjectedHostIsProbedWithAReadThatIsQuickNotWithOneThatHonestlyTakesLong(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
		for _, p := range []*paced{a, b} {
			p.ranged("log", 2*time.Second)
			w.offered(p.target, 1, rangeRead)
		}
		w.pass(10 * time.Millisecond)
		w.told()
		w.offered(a.target, 2, slowRange("log"))
		a.conn.pings(hang)
		w.pass(3 * testHungAfter)
		w.tells("HostEjected a:1", "HostRestored a:1")
		if n := len(a.conn.commands()); n != 4 {
			t.Errorf("%d finds were sent to it, want the three, and one probe", n)
		}
	})
}

func TestAProbeThatGetsNoReplyAnywhereLeavesItToAPing(t *testing.T) {
	for name, elsewhere := range map[string]time.Duration{"anywhere": time.Hour, "here alone": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.paced("a:1", time.Millisecond), w.paced("b:1", time.Millisecond)
				w.offered(a.target, 1, pointRead)
				w.offered(b.target, 1, rangeRead)
				w.pass(10 * time.Millisecond)
				a.conn.hangs()
				w.offered(a.target, 1, pointRead)
				w.pass(3 * testHungAfter)
				w.is(a.Host, Ejected)
				a.conn.pings(nil) // And its finds still get no reply.
				b.takes.Store(int64(elsewhere))
				for range 10 {
					w.pass(time.Second)
				}
				want := Ejected
				if elsewhere == time.Hour {
					want = Live
				}
				w.is(a.Host, want)
			})
		})
	}
}

func TestAHostWithoutAnyQuickReadIsProbedWithAPing(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.hangs()
		w.offered(target, 2, rangeRead)
		w.pass(2 * testHungAfter)
		w.is(h, Ejected)
		c.pings(nil)
		w.pass(probeMax + testHungAfter)
		w.is(h, Live)
	})
}

// errNoSocket is what the driver says of a ping for which there was no socket in time.
var errNoSocket = fmt.Errorf("timed out while checking out a connection from connection pool: %w; total connections: 1, maxPoolSize: 23, idle connections: 0, wait duration: 400ms", context.DeadlineExceeded)

func TestAPingThatNeverHadASocketSaysNothingOfAHostThatIsFarAway(t *testing.T) {
	for _, c := range []struct {
		name   string
		opens  time.Duration // how long it takes to open a socket there
		second error         // of the ping that is sent again; nil is an answer
		out    bool
	}{
		{"far, and it answers", 400 * time.Millisecond, nil, false},
		{"far, and it hangs", 400 * time.Millisecond, errNoSocket, true},
		{"near: there was time enough", 10 * time.Millisecond, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.opens(func(_ string, conn *fakeConn) error {
					conn.pings(func(context.Context) error { time.Sleep(c.opens); return nil })
					conn.hello(mongoconn.Secondary)
					return nil
				})
				h := w.spawn("a:1")
				w.pass(c.opens)
				w.is(h, Live)
				conn := w.conn()
				conn.runs(func(ctx context.Context, _ bson.Raw) (bson.Raw, error) { return nil, hang(ctx) })
				var pings atomic.Int64
				conn.pings(func(ctx context.Context) error {
					if pings.Add(1) == 1 {
						_ = hang(ctx)
						return errNoSocket
					}
					if c.second != nil {
						_ = hang(ctx)
					}
					return c.second
				})
				w.offered(w.router.target("a:1"), 1, rangeRead)
				w.pass(2*testHungAfter - time.Millisecond)
				w.is(h, Live)
				w.told()
				w.pass(time.Second)
				if got := w.told(messages.KindHostEjected); len(got) > 0 != c.out {
					t.Errorf("told %v", got)
				}
			})
		})
	}
}
