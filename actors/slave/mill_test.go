package slave

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// mill is a host under random reads, and random faults.
type mill struct {
	w    *world
	host *service
	s    *shelf

	mu sync.Mutex
	r  *rand.Rand // mu
}

func (m *mill) n(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.r.IntN(n)
}

func (m *mill) ms(n int) time.Duration { return time.Duration(m.n(n*1000)) * time.Microsecond }

// ground is one of the mill's reads.
type ground struct {
	*asked
	id      any
	bad     bool // the server refuses it
	given   time.Time
	panics  bool
	replied []time.Time // the asked's mu
}

var errBad = mongo.CommandError{Code: 2, Message: "BadValue"}

// id is one of a few, as one of several types; the server has half of them.
func (m *mill) id() (id any, bad bool) {
	n := m.n(30)
	switch m.n(6) {
	case 0:
		return float64(n), n == 13
	case 1:
		return int64(n), n == 13
	case 2:
		return fmt.Sprintf("%c%d", "aA"[m.n(2)], n%6), false
	}
	return n, n == 13
}

func (m *mill) read() *ground {
	g := &ground{asked: &asked{}}
	g.id, g.bad = m.id()
	g.panics = m.n(30) == 0
	var opts []*options.FindOneOptionsBuilder
	if m.n(4) == 0 {
		opts = append(opts, options.FindOne().SetComment("other"))
	}
	now := time.Now()
	msg := &messages.Read{NoBatch: m.n(10) == 0}
	if m.n(10) == 0 {
		msg.After = messages.Token{OperationTime: bson.Timestamp{T: uint32(1 + m.n(2))}}
	}
	g.Read = request.NewRead(msg, byID(g.id, opts...), now, now.Add(time.Millisecond+m.ms(2000)), func(rep *messages.ReadReply) {
		g.mu.Lock()
		g.replies, g.replied = append(g.replies, rep), append(g.replied, time.Now())
		g.mu.Unlock()
		// Not in a timer's goroutine.
		if g.panics && !errors.Is(rep.Err, messages.ErrDeadline) && !errors.Is(rep.Err, messages.ErrStopped) {
			panic("bomb")
		}
	})
	g.AttemptDeadline = g.Deadline
	if m.n(3) == 0 {
		g.AttemptDeadline = now.Add(g.Deadline.Sub(now) / 2)
	}
	g.OnDeadline(func() { g.Fail(&messages.DeadlineError{Phase: "sent"}) })
	return g
}

// ask gives a read to the host, as the router or as an asker that is there.
func (m *mill) ask(g *ground) {
	m.host.load.Begin(g.LoadClass(), time.Now())
	run, err := m.host.Offer(g.Read, m.n(4) == 0)
	if err != nil {
		m.host.load.Cancel(g.LoadClass(), time.Now())
		g.panics = false // It would be the test's own.
		g.Fail(err)
		return
	}
	if m.n(5) == 0 {
		time.AfterFunc(m.ms(100), func() {
			g.mu.Lock()
			g.given = time.Now()
			g.mu.Unlock()
			g.Fail(messages.ErrStopped)
		})
	}
	if run != nil {
		run()
	}
}

// serve is the server: slow, now and then hung or cut off, and refusing what is bad.
func (m *mill) serve(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
	took := m.ms(20)
	switch m.n(60) {
	case 0:
		took = time.Hour
	case 1:
		return nil, errReset
	case 2:
		return nil, mongo.CommandError{Message: "connection reset", Labels: []string{"NetworkError"}}
	case 3:
		panic("a monitor of the game's")
	case 4:
		took = m.ms(500)
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return m.s.run(ctx, cmd)
}

func TestRandomReadsUnderRandomFaultsAreEachAnsweredOnceInTimeAndAsIfAlone(t *testing.T) {
	seeds := uint64(60)
	if raceDetector || testing.Short() {
		seeds = 15
	}
	answers, batched := 0, int64(0)
	for seed := range seeds {
		inWorld(t, func(w *world) {
			m := &mill{w: w, r: rand.New(rand.NewPCG(seed, 4))}
			w.cfg.PointWorkers, w.cfg.HostQueue = 1+m.n(3), 1+m.n(150)
			w.cfg.NoBatch = m.n(10) == 0
			w.router.elsewhere = m.n(2) == 0
			h, c, target := w.live("a:1")
			m.host = target.(*service)
			m.s = shelve(c)
			m.s.set(func(s *shelf) {
				s.open, s.most = true, []int{0, 0, 1, 4, -1}[m.n(5)]
				if m.n(2) == 0 {
					s.same = fold
				}
				s.bad = func(ids []any) error {
					for _, id := range ids {
						if id == 13.0 {
							return errBad
						}
					}
					return nil
				}
				for n := range 30 {
					for _, id := range []any{n, fmt.Sprint("a", n)} {
						if m.n(2) == 0 {
							s.docs = append(s.docs, raw(bson.D{{Key: "_id", Value: id}}))
						}
					}
				}
			})
			c.runs(m.serve)

			var all []*ground
			var wg sync.WaitGroup
			for range 40 {
				for range m.n(20) {
					g := m.read()
					all = append(all, g)
					wg.Go(func() { m.ask(g) })
				}
				time.Sleep(m.ms(30))
				switch m.n(12) {
				case 0:
					m.host.evacuate(command.Point)
				case 1, 2:
					m.host.reopen()
				}
			}
			if m.n(3) == 0 {
				m.host.close()
			}
			wg.Wait()
			w.pass(5 * time.Second)
			for i, g := range all {
				if t := m.check(g); t != "" {
					w.t.Fatalf("seed %d, read %d of %v: %s", seed, i, g.id, t)
				}
				if len(g.replies) > 0 && g.replies[0].Document != nil {
					answers++
				}
			}
			batched += h.Stat().Batched
			w.settled(h, m.host)
		})
	}
	t.Logf("%d documents were found, %d reads were in batches", answers, batched)
	if answers < 10*int(seeds) || batched < 20*int64(seeds) {
		t.Errorf("%d documents were found, and %d reads were in batches: it has tested nothing", answers, batched)
	}
}

// check says what is wrong with a read's replies.
func (m *mill) check(g *ground) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.replies) != 1 {
		return fmt.Sprintf("%d replies", len(g.replies))
	}
	if late := g.replied[0].Sub(g.Deadline); late > 0 {
		return fmt.Sprintf("answered %v late", late)
	}
	rep := g.replies[0]
	if moved := slices.Contains(m.w.router.evacuated, g.Read); moved && m.w.router.elsewhere &&
		!errors.Is(rep.Err, messages.ErrDeadline) && !errors.Is(rep.Err, messages.ErrStopped) {
		return fmt.Sprintf("it is another host's, and got %+v here", rep)
	}
	var want bson.Raw
	for _, d := range m.s.docs {
		if m.s.same(idOf(d), plain(g.Cmd.ID)) {
			want = d
		}
	}
	var refused mongo.CommandError
	var panicked *messages.PanicError
	switch {
	case rep.Err == nil && string(rep.Document) != string(want):
		return fmt.Sprintf("got %v, and alone %v", rep.Document, want)
	case rep.Err == nil:
	case rep.Err == mongo.ErrNoDocuments && want != nil:
		return fmt.Sprintf("got none, and alone %v", want)
	case rep.Err == mongo.ErrNoDocuments, errors.Is(rep.Err, errUnserved), errors.Is(rep.Err, errEvacuated), errors.Is(rep.Err, errReset):
	case errors.Is(rep.Err, context.DeadlineExceeded):
	case errors.Is(rep.Err, messages.ErrStopped) && !g.given.IsZero():
	case errors.Is(rep.Err, messages.ErrNotLive), errors.Is(rep.Err, messages.ErrOverloaded):
	case errors.As(rep.Err, &refused) && (refused.Code == 0 || g.bad):
	case errors.As(rep.Err, &panicked) && panicked.Value != "bomb":
	default:
		return fmt.Sprintf("failed with %v", rep.Err)
	}
	return ""
}
