package slave

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// sessions hands out real sessions of a client that reaches nobody.
type sessions struct {
	client *mongo.Client
	mu     sync.Mutex
	all    []*mongo.Session // mu
}

type nobody struct{}

func (nobody) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

// withSessions runs a test in a world whose connections start sessions. The client
// lives outside: it has a time of its own.
func withSessions(t *testing.T, f func(w *world, s *sessions)) {
	t.Helper()
	client, err := mongo.Connect(options.Client().SetHosts([]string{"a:1"}).SetDialer(nobody{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	s := &sessions{client: client}
	inWorld(t, func(w *world) { f(w, s) })
}

func (s *sessions) start() (*mongo.Session, error) {
	sess, err := s.client.StartSession()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, sess)
	return sess, err
}

// open is how many sessions have not ended.
func (s *sessions) open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.all {
		if ended(sess) {
			continue
		}
		n++
	}
	return n
}

func ended(sess *mongo.Session) bool { return sess.AdvanceOperationTime(&bson.Timestamp{T: 1}) != nil }

// serving lets each find and aggregate open a cursor, the next getMores continue it, and
// all commands wait for their turn when gated.
func (w *world) serving(c *fakeConn, s *sessions) {
	c.mu.Lock()
	c.session = s.start
	c.mu.Unlock()
	var next int64
	c.runs(func(_ context.Context, cmd bson.Raw) (bson.Raw, error) {
		switch first := cmd.Index(0); first.Key() {
		case "getMore":
			id := first.Value().Int64()
			return raw(bson.D{{Key: "cursor", Value: bson.D{
				{Key: "nextBatch", Value: bson.A{bson.D{{Key: "_id", Value: 8}}}}, {Key: "id", Value: id}, {Key: "ns", Value: "game.players"},
			}}, {Key: "ok", Value: 1}}), nil
		case "killCursors":
			return raw(bson.D{{Key: "ok", Value: 1}}), nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		next++
		return reply(next), nil
	})
}

// more and done are commands on a cursor.
func more(c *messages.Cursor) *command.Read {
	return &command.Read{Database: c.Database, Collection: c.Collection, Name: "getMore", Class: command.Pinned, Kind: command.KindBatch, Cursor: c,
		Body: raw(bson.D{{Key: "getMore", Value: c.ID}, {Key: "collection", Value: c.Collection}})}
}

func done(c *messages.Cursor) *command.Read {
	return &command.Read{Database: c.Database, Collection: c.Collection, Name: "killCursors", Class: command.Pinned, Kind: command.KindDone, Cursor: c,
		Body: raw(bson.D{{Key: "killCursors", Value: c.Collection}, {Key: "cursors", Value: bson.A{c.ID}}})}
}

// opened opens a cursor.
func (w *world) opened(h *Host) *messages.Cursor {
	w.t.Helper()
	rep := w.got(w.offered(w.router.target(h.name), 1, rangeRead)[0])
	if rep == nil || rep.Err != nil || rep.Cursor == nil {
		w.t.Fatalf("got %+v, want a cursor", rep)
	}
	return rep.Cursor
}

func TestACursorIsContinuedUnderItsOwnSessionWhichEndsWithIt(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		one, two := w.opened(h), w.opened(h)
		if one.Host != "a:1" || one.Incarnation != target.Incarnation() || one.ID == two.ID || one.Collection != "players" {
			t.Errorf("%+v and %+v", one, two)
		}
		for _, cur := range []*messages.Cursor{two, one, one} {
			rep := w.got(w.offered(target, 1, more(cur))[0])
			if rep == nil || rep.Err != nil || rep.Cursor == nil || *rep.Cursor != *cur {
				t.Fatalf("got %+v", rep)
			}
		}
		c.mu.Lock()
		used := slices.Clone(c.sessions)
		c.mu.Unlock()
		if used[2] != used[1] || used[3] != used[0] || used[4] != used[0] || used[0] == used[1] {
			t.Error("a getMore ran under another session than its find")
		}
		if h.Stat().Cursors != 2 || s.open() != 2 {
			t.Errorf("%d cursors and %d sessions are open, want 2", h.Stat().Cursors, s.open())
		}
		for _, cur := range []*messages.Cursor{one, two, one} { // Closing twice is fine.
			if rep := w.got(w.offered(target, 1, done(cur))[0]); rep == nil || rep.Err != nil {
				t.Errorf("closing got %+v", rep)
			}
		}
		if h.Stat().Cursors != 0 || s.open() != 0 {
			t.Errorf("%d cursors and %d sessions are left", h.Stat().Cursors, s.open())
		}
		if rep := w.got(w.offered(target, 1, more(one))[0]); !errors.Is(rep.Err, messages.ErrCursorLost) {
			t.Errorf("a getMore of a closed cursor got %+v", rep)
		}
	})
}

func TestACursorAtItsEndIsForgotten(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		cur := w.opened(h)
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) {
			return raw(bson.D{{Key: "cursor", Value: bson.D{{Key: "nextBatch", Value: bson.A{}}, {Key: "id", Value: int64(0)}}}, {Key: "ok", Value: 1}}), nil
		})
		if rep := w.got(w.offered(target, 1, more(cur))[0]); rep.Err != nil || rep.Cursor != nil {
			t.Errorf("got %+v", rep)
		}
		if h.Stat().Cursors != 0 || s.open() != 0 {
			t.Errorf("%d cursors and %d sessions are left", h.Stat().Cursors, s.open())
		}
	})
}

func TestASecondGetMoreIsRefusedWhileOneIsOnTheWireAndACloseWaitsForIt(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		cur := w.opened(h)
		serve := c.run
		turn := make(chan struct{})
		c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
			if cmd.Index(0).Key() == "getMore" {
				<-turn
			}
			return serve(ctx, cmd)
		})
		first := w.offered(target, 1, more(cur))[0]
		if rep := w.got(w.offered(target, 1, more(cur))[0]); !errors.Is(rep.Err, messages.ErrInvalid) {
			t.Errorf("a second getMore got %+v", rep)
		}
		if rep := w.got(w.offered(target, 1, done(cur))[0]); rep.Err != nil {
			t.Errorf("closing got %+v", rep)
		}
		if h.Stat().Cursors != 1 {
			t.Error("it was closed under the getMore")
		}
		close(turn)
		if rep := w.got(first); rep.Err != nil || len(rep.Documents) != 1 {
			t.Errorf("the getMore got %+v", rep)
		}
		if ran := c.commands(); ran[len(ran)-1] != "killCursors" || h.Stat().Cursors != 0 || s.open() != 0 {
			t.Errorf("ran %v; %d cursors and %d sessions are left", ran, h.Stat().Cursors, s.open())
		}
	})
}

func TestABatchThatNobodyGotIsTheEndOfItsCursor(t *testing.T) {
	for _, first := range []bool{true, false} {
		withSessions(t, func(w *world, s *sessions) {
			h, c, target := w.live("a:1")
			w.serving(c, s)
			serve := c.run
			turn := make(chan struct{})
			c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
				if cmd.Index(0).Key() != "killCursors" {
					<-turn // Deaf to cancellation: the reply is just ahead of it.
				}
				return serve(ctx, cmd)
			})
			r := ask(rangeRead)
			if !first {
				c.runs(serve)
				r = ask(more(w.opened(h)))
				c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
					if cmd.Index(0).Key() != "killCursors" {
						<-turn
					}
					return serve(ctx, cmd)
				})
			}
			if err := offer(target, r); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.Fail(messages.ErrDeadline)
			close(turn)
			synctest.Wait()
			if ran := c.commands(); ran[len(ran)-1] != "killCursors" || h.Stat().Cursors != 0 || s.open() != 0 {
				t.Errorf("first batch %v: ran %v; %d cursors and %d sessions are left", first, ran, h.Stat().Cursors, s.open())
			}
		})
	}
}

func TestACursorIsHeldUntilItsBatchIsCertainToBeDelivered(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		_, c, target := w.live("a:1")
		w.serving(c, s)
		svc := target.(*service)
		r := ask(rangeRead)
		rep := &messages.ReadReply{}
		if err := svc.ask(context.Background(), r.Read, &result{rep: rep}); err != nil {
			t.Fatal(err)
		}
		// Between the server's reply and its delivery: its asker's time may be up now.
		if next := w.got(w.offered(target, 1, more(rep.Cursor))[0]); !errors.Is(next.Err, messages.ErrInvalid) {
			t.Errorf("the batch after one that nobody has received was given to %+v", next)
		}
		if svc.deliver(r.Read, rep) != nil {
			t.Error("it is to be closed")
		}
		if next := w.got(w.offered(target, 1, more(rep.Cursor))[0]); next.Err != nil {
			t.Errorf("then a getMore got %+v", next)
		}
	})
}

func TestAGetMoreThatFailsEndsItsCursorAndIsNotSentTwice(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		lost bool
	}{
		"no reply":      {mongo.CommandError{Message: "reset", Labels: []string{"NetworkError"}}, false},
		"not found":     {mongo.CommandError{Code: 43, Message: "CursorNotFound"}, true},
		"its own error": {mongo.CommandError{Code: 2, Message: "BadValue"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withSessions(t, func(w *world, s *sessions) {
				h, conn, target := w.live("a:1")
				w.serving(conn, s)
				cur := w.opened(h)
				conn.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return nil, c.err })
				rep := w.got(w.offered(target, 1, more(cur))[0])
				if rep == nil || rep.Err == nil || errors.Is(rep.Err, messages.ErrCursorLost) != c.lost {
					t.Errorf("got %+v", rep)
				}
				if h.Stat().Cursors != 0 || s.open() != 0 {
					t.Errorf("%d cursors and %d sessions are left", h.Stat().Cursors, s.open())
				}
				if n := len(slices.DeleteFunc(conn.commands(), func(s string) bool { return s != "getMore" })); n != 1 {
					t.Errorf("%d getMores were sent", n)
				}
			})
		})
	}
}

func TestAPanicInAGetMoreEndsItsCursor(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		cur := w.opened(h)
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { panic("bomb") })
		if rep := w.got(w.offered(target, 1, more(cur))[0]); !errors.Is(rep.Err, messages.ErrPanicked) {
			t.Errorf("got %+v", rep)
		}
		if h.Stat().Cursors != 0 || s.open() != 0 {
			t.Errorf("%d cursors and %d sessions are left", h.Stat().Cursors, s.open())
		}
	})
}

func TestCursorsBeyondTheLimitAreRefusedAndClosedOnTheServer(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		w.cfg.MaxCursors = 3
		h, c, target := w.live("a:1")
		w.serving(c, s)
		for range 3 {
			w.opened(h)
		}
		w.told()
		rep := w.got(w.offered(target, 1, rangeRead)[0])
		var full *messages.OverloadedError
		if !errors.As(rep.Err, &full) || full.Limit != "MaxCursors" || full.Max != 3 || full.Host != "a:1" {
			t.Errorf("got %+v", rep)
		}
		if got := w.told(); !slices.Equal(got, []string{"Overloaded a:1"}) {
			t.Errorf("told %v", got)
		}
		if ran := c.commands(); ran[len(ran)-1] != "killCursors" || h.Stat().Cursors != 3 || s.open() != 3 {
			t.Errorf("ran %v; %d cursors and %d sessions are open, want 3", ran, h.Stat().Cursors, s.open())
		}
		// Those that nobody has asked of for as long as the server keeps them make room.
		w.pass(cursorIdle + time.Second)
		w.opened(h)
		if h.Stat().Cursors != 1 || s.open() != 1 {
			t.Errorf("%d cursors and %d sessions are open, want the new one", h.Stat().Cursors, s.open())
		}
	})
}

func TestSessionsEndWithReadsThatOpenNoCursorAndWithTheirHost(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		serve := c.run
		for name, run := range map[string]func(context.Context, bson.Raw) (bson.Raw, error){
			"one batch":   func(context.Context, bson.Raw) (bson.Raw, error) { return reply(), nil },
			"an error":    func(context.Context, bson.Raw) (bson.Raw, error) { return nil, errReset },
			"a panic":     func(context.Context, bson.Raw) (bson.Raw, error) { panic("bomb") },
			"not a reply": func(context.Context, bson.Raw) (bson.Raw, error) { return raw(bson.D{{Key: "ok", Value: 1}}), nil },
		} {
			c.runs(run)
			w.offered(target, 1, heavyRead) // Not a find: for one that is not answered the host would be restarted.
			if n := s.open(); n != 0 {
				t.Errorf("%s: %d sessions are left", name, n)
			}
		}
		c.runs(serve)
		cur := w.opened(h)
		w.opened(h)
		turn := make(chan struct{})
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { <-turn; return nil, errReset })
		w.offered(target, 1, more(cur))
		c.obs.Lost(errReset)
		synctest.Wait()
		if n := s.open(); n != 1 {
			t.Errorf("%d sessions are open after the loss, want that of the getMore", n)
		}
		close(turn)
		synctest.Wait()
		if n := s.open(); n != 0 {
			t.Errorf("%d sessions are left after the loss", n)
		}
	})
}

func TestOpenCursorsGoOnAtAHostThatIsOut(t *testing.T) {
	for how, out := range map[string]func(w *world, h *Host, c *fakeConn, target *service){
		"for its lag": func(w *world, h *Host, c *fakeConn, _ *service) {
			c.obs.Hello(mongoconn.Hello{Kind: mongoconn.Secondary, ProcessID: processOf(c.host), LastWrite: time.Now().Add(-time.Minute)})
		},
		"as slow": func(_ *world, _ *Host, _ *fakeConn, s *service) { s.slow(command.Point, "slow") },
	} {
		t.Run(how, func(t *testing.T) {
			withSessions(t, func(w *world, s *sessions) {
				tell := w.lags(time.Second)
				w.opens(func(_ string, c *fakeConn) error { tell(c, mongoconn.Primary, 0); return nil })
				w.spawn("p:1")
				w.cfg.OtherWorkers = 1
				h, c, target := w.live("a:1")
				w.serving(c, s)
				one, two := w.opened(h), w.opened(h)
				gate := make(chan struct{})
				serve := c.run
				c.runs(func(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
					select {
					case <-gate:
						return serve(ctx, cmd)
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				})
				busy := w.offered(target, 1, rangeRead)
				waits, read := w.offered(target, 1, more(one)), w.offered(target, 1, rangeRead)
				out(w, h, c, target.(*service))
				w.is(h, Ejected)
				if rep := w.got(read[0]); rep == nil || !errors.Is(rep.Err, errUnserved) {
					t.Errorf("a read that waits got %+v", rep)
				}
				if err := offer(target, ask(rangeRead)); !errors.Is(err, messages.ErrNotLive) {
					t.Errorf("a read that comes is answered with %v", err)
				}
				if rep := w.got(waits[0]); rep != nil {
					t.Errorf("a getMore that waits got %+v", rep)
				}
				close(gate)
				if rep := w.got(waits[0]); rep == nil || rep.Err != nil || rep.Cursor == nil {
					t.Errorf("a getMore that waits got %+v", rep)
				}
				w.got(busy[0])
				for _, r := range []*asked{w.offered(target, 1, more(one))[0], w.offered(target, 1, done(one))[0], w.offered(target, 1, done(two))[0]} {
					if rep := w.got(r); rep == nil || rep.Err != nil {
						t.Errorf("%s: got %+v", r.Cmd.Name, rep)
					}
				}
				if n := len(slices.DeleteFunc(c.commands(), func(name string) bool { return name != "killCursors" })); n < 2 {
					t.Errorf("%d cursors are closed, want 2", n)
				}
				c.obs.Lost(errReset)
				synctest.Wait()
				if err := offer(target, ask(more(two))); !errors.Is(err, messages.ErrNotLive) {
					t.Errorf("a getMore at a host that is lost is answered with %v", err)
				}
			})
		})
	}
}

func TestAGetMoreAtAHungHostEndsAtItsDeadline(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		r := ask(more(w.opened(h)))
		c.hangs()
		w.offered(target, 3, rangeRead)
		w.pass(2 * testHungAfter)
		w.is(h, Ejected)
		began := time.Now()
		if err := offer(target, r); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Until(r.Deadline))
		if rep := w.got(r); rep == nil || !errors.Is(rep.Err, messages.ErrDeadline) {
			t.Errorf("after %v it got %+v", time.Since(began), rep)
		}
		w.pass(killTimeout)
		w.settled(h, target.(*service))
	})
}
