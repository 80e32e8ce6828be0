package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/backoff"
	"github.com/evenkeel/evenkeel/messages"
)

// place is where a write is on its way, or what has become of it.
type place string

const (
	isHeld       place = "held"       // behind the closed gate
	isQueued     place = "queued"     // behind another one
	isConnecting place = "connecting" // on the wire, for which the driver looks for a server
	isSent       place = "sent"
	isSettling   place = "settling" // its reply is lost; the fence is under way
	isPausing    place = "pausing"  // refused for now; the lane waits a little
	isUnknown    place = "unknown"  // so answered; the lane looks for it
	isApplied    place = "applied"
	isNotApplied place = "not applied"
	wasApplied   place = "told applied" // answered Unknown, and told of by an event
	wasNotThere  place = "told not applied"

	same  place = "·" // it stays where it is
	never place = ""  // it cannot happen there
)

// columns are those of the table in ARCHITECTURE.md.
var columns = []place{isHeld, isQueued, isConnecting, isSent, isSettling, isPausing, isUnknown}

// edge is a row of the table: what happens, and what becomes of a write at each place.
type edge struct {
	what string
	do   func(*way)
	want [7]place
	// stops says that no write is taken any more.
	stops bool
}

var edges = []edge{
	{what: "what is before it is answered", do: func(w *way) { w.before() },
		want: [7]place{never, isConnecting, never, never, never, never, never}},
	{what: "a server is found", do: func(w *way) { w.begins() },
		want: [7]place{never, never, isSent, never, never, never, never}},
	{what: "none is found in time", do: func(w *way) { w.ends(unsent, context.DeadlineExceeded) },
		want: [7]place{never, never, isPausing, never, never, never, never}},
	{what: "the driver refuses it", do: func(w *way) { w.ends(unsent, errTooLarge) },
		want: [7]place{never, never, isNotApplied, never, never, never, never}},
	{what: "the driver's login is refused", do: func(w *way) { w.ends(unsent, refusedBy("a:1")) },
		want: [7]place{never, never, isHeld, never, never, never, never}},
	{what: "the server has executed it", do: func(w *way) { w.ends(replied, nil) },
		want: [7]place{never, never, never, isApplied, never, never, never}},
	{what: "the server refuses it", do: func(w *way) { w.ends(replied, duplicateKey) },
		want: [7]place{never, never, never, isNotApplied, never, never, never}},
	{what: "the server is not the primary", do: func(w *way) { w.ends(refused, serverError(10107)) },
		want: [7]place{never, never, never, isPausing, never, never, never}},
	{what: "the server was interrupted", do: func(w *way) { w.ends(interrupted, serverError(11602)) },
		want: [7]place{never, never, never, isSettling, never, never, never}},
	{what: "the connection breaks", do: func(w *way) { w.ends(lost, networkError()) },
		want: [7]place{never, never, never, isSettling, never, never, never}},
	{what: "the fence holds, and it is there", do: func(w *way) { w.executeLost(); w.fenceEnds(nil) },
		want: [7]place{never, never, never, never, isApplied, never, wasApplied}},
	{what: "the fence holds, and it is not there", do: func(w *way) { w.fenceEnds(nil) },
		want: [7]place{never, never, never, never, isNotApplied, never, wasNotThere}},
	{what: "the fence fails", do: func(w *way) { w.fenceEnds(networkError()) },
		want: [7]place{never, never, never, never, isUnknown, never, same}},
	{what: "the lane has waited", do: func(w *way) { time.Sleep(firstPause) },
		want: [7]place{never, never, never, never, never, isConnecting, never}},
	{what: "there is no primary", do: func(w *way) { w.PrimaryChanged("") },
		want: [7]place{same, isHeld, same, same, same, isHeld, same}},
	{what: "there is another primary", do: func(w *way) { w.PrimaryChanged("b:1") },
		want: [7]place{isConnecting, same, same, same, same, isConnecting, same}},
	{what: "a login is refused", do: func(w *way) { w.LoginRefused(refusedBy("a:1")) },
		want: [7]place{same, isHeld, same, same, same, isHeld, same}},
	{what: "the login is let in", do: func(w *way) { w.letIn() },
		want: [7]place{isConnecting, never, never, never, never, never, never}},
	{what: "its asker gives it up", do: func(w *way) { w.l().giveUp(w.it, context.Canceled) },
		want: [7]place{isNotApplied, isNotApplied, isNotApplied, isUnknown, isUnknown, isNotApplied, same}},
	{what: "its deadline passes", do: func(w *way) { time.Sleep(time.Until(w.it.Deadline)) },
		want: [7]place{isNotApplied, isNotApplied, isNotApplied, isUnknown, isUnknown, isNotApplied, same}},
	{what: "the wire panics", do: func(w *way) { w.panics() },
		want: [7]place{never, never, isNotApplied, isUnknown, isUnknown, never, same}},
	{what: "the actor is restarted", do: func(w *way) { w.restart() },
		want: [7]place{same, same, same, same, same, same, same}},
	{what: "the app stops", do: func(w *way) { w.drain(time.Hour) }, stops: true,
		want: [7]place{same, same, same, same, same, same, same}},
	{what: "the time for that is over", do: func(w *way) { w.drain(0) }, stops: true,
		want: [7]place{isNotApplied, isNotApplied, isNotApplied, isUnknown, isUnknown, isNotApplied, same}},
}

var (
	errTooLarge  = errors.New("the document is too large")
	duplicateKey = mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000, Message: "duplicate key"}}}
)

func (e edge) String() string {
	cells := make([]string, len(e.want))
	for i, p := range e.want {
		cells[i] = string(p)
	}
	return "| " + e.what + " | " + strings.Join(cells, " | ") + " |"
}

// way is a lane with a write somewhere on it, over a wire on which nothing happens but what a test
// has happen, until all is well.
type way struct {
	*rig
	wire     *slowWire
	it       *item
	reply    chan *messages.WriteReply
	first    chan *messages.WriteReply // of the write before it
	login    atomic.Pointer[error]     // what becomes of the next one
	restarts *tally
	// drained is closed when a drain has ended.
	drained chan struct{}
}

// slowWire is a server that waits for its next step.
type slowWire struct {
	*fakeWire
	steps  chan step  // for what is on the wire
	fences chan error // for the fence; errBang is a panic
	well   chan struct{}

	mu       sync.Mutex
	at       place
	executed []bson.RawValue
}

// step is what happens on the wire next: an attempt begins, ends, or the code panics.
type step struct {
	begin, panics bool
	end           state
	err           error
}

var errBang = errors.New("bang")

func (s *slowWire) is(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
}

func (s *slowWire) execute(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.executed = append(s.executed, it.Cmd.ID)
}

func (s *slowWire) executions(it *item) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.executed {
		if id.Equal(it.Cmd.ID) {
			n++
		}
	}
	return n
}

func (s *slowWire) run(ctx context.Context, b *batch) result {
	s.is(isConnecting)
	defer s.is("")
	begun := false
	begin := func() {
		b.attempts.start(attempt{id: 1, fenced: true})
		begun = true
		s.is(isSent)
	}
	for {
		select {
		case <-s.well:
			if !begun {
				begin()
			}
			if ctx.Err() != nil {
				b.attempts.end(1, lost, ctx.Err())
				return result{err: ctx.Err()}
			}
			s.execute(b.first())
			b.attempts.end(1, replied, nil)
			return result{value: &mongo.InsertOneResult{}}
		case <-ctx.Done():
			if begun {
				b.attempts.end(1, lost, networkError())
			}
			return result{err: ctx.Err()}
		case next := <-s.steps:
			switch {
			case next.panics:
				panic(errBang)
			case next.begin:
				begin()
				continue
			case begun:
				b.attempts.end(1, next.end, next.err)
			}
			return result{err: next.err}
		}
	}
}

func (s *slowWire) fence(ctx context.Context, _ namespace) error {
	s.is(isSettling)
	defer s.is("")
	select {
	case <-s.well:
		return nil
	case err := <-s.fences:
		if errors.Is(err, errBang) {
			panic(err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowWire) find(_ context.Context, _ namespace, _ any, _ want, each func(bson.Raw)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.executed {
		each(mustMarshal(bson.D{{Key: "_id", Value: id}}))
	}
	return nil
}

// onTheWay runs a test with a write at a place.
func onTheWay(t *testing.T, at place, f func(w *way)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		slow := &slowWire{fakeWire: &fakeWire{}, steps: make(chan step), fences: make(chan error), well: make(chan struct{})}
		w := &way{rig: rigWithoutPrimary(t, Config{MaxBatch: 1}, slow.fakeWire), wire: slow, restarts: &tally{}}
		w.l().attach(func() wire { return slow })
		w.logins.try = func(context.Context) error { return *w.login.Load() }
		w.login.Store(new(error))
		super := w.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				ctx.Spawn(w.Props())
			}
		}, actor.WithSupervisor(w.restarts)))
		defer func() {
			_ = w.system.Root.StopFuture(super).Wait()
			time.Sleep(time.Second) // In the bubble's time: the framework's dead letter throttle ends.
		}()
		w.reach(at)
		w.mustBe(at)
		f(w)
	})
}

func (w *way) l() *lane { return w.lanes[0] }

// submit accepts a write that anything may become of.
func (w *way) submit(m *messages.Write) (*item, chan *messages.WriteReply) {
	reply := make(chan *messages.WriteReply, 1)
	it, _ := w.accept(m, nil, func(rep *messages.WriteReply) {
		select {
		case reply <- rep:
		default:
			w.t.Errorf("a second reply: %+v", rep)
		}
	})
	return it, reply
}

// reach brings a write to a place.
func (w *way) reach(at place) {
	if at != isHeld {
		w.PrimaryChanged("a:1")
	}
	if at == isQueued {
		_, w.first = w.submit(until(insertAnonymous(), time.Hour))
		synctest.Wait()
	}
	w.it, w.reply = w.submit(insertAnonymous())
	synctest.Wait()
	switch at {
	case isSent, isSettling, isPausing, isUnknown:
		w.begins()
	}
	switch at {
	case isPausing:
		w.ends(refused, serverError(10107))
	case isSettling, isUnknown:
		w.ends(lost, networkError())
	}
	if at == isUnknown {
		w.fenceEnds(networkError())
	}
}

// happens tells the wire what happens next, which must wait for it.
func happens[T any](w *way, on chan<- T, what T) {
	w.t.Helper()
	select {
	case on <- what:
	default:
		w.t.Fatalf("nothing waits for %v", what)
	}
	synctest.Wait()
}

func (w *way) step(s step) { w.t.Helper(); happens(w, w.wire.steps, s) }

func (w *way) begins()                 { w.step(step{begin: true}) }
func (w *way) ends(s state, err error) { w.note(s, err); w.step(step{end: s, err: err}) }
func (w *way) before()                 { w.begins(); w.step(step{end: replied}) }

// note has the server execute what it says that it has executed.
func (w *way) note(s state, err error) {
	if s == replied && err == nil {
		w.wire.execute(w.it)
	}
}

// executeLost has the server have executed the write whose reply was lost.
func (w *way) executeLost() { w.wire.execute(w.it) }

func (w *way) fenceEnds(err error) { w.t.Helper(); happens(w, w.wire.fences, err) }

func (w *way) panics() {
	if at := w.at(); at == isSettling || at == isUnknown {
		w.fenceEnds(errBang)
		return
	}
	w.step(step{panics: true})
}

// letIn has the primary refuse the login, and then not.
func (w *way) letIn() {
	w.t.Helper()
	w.LoginRefused(refusedBy("a:1"))
	w.PrimaryChanged("a:1")
	w.mustBe(isHeld)
	w.refuseLogins(nil)
	time.Sleep(backoff.Base)
}

func (w *way) refuseLogins(err error) { w.login.Store(&err) }

func (w *way) restart() {
	w.t.Helper()
	w.laneFailed(asPanicError("bang"))
	if synctest.Wait(); w.restarts.restarts.Load() != 1 {
		w.t.Error("the actor was not restarted")
	}
}

// drain has the app stop, with so much time for it.
func (w *way) drain(d time.Duration) {
	w.drained = make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), d)
	go func() {
		defer close(w.drained)
		defer cancel()
		w.Drain(ctx)
	}()
	synctest.Wait()
}

// at is where the write is.
func (w *way) at() place {
	synctest.Wait()
	if len(w.reply) > 0 {
		rep := <-w.reply
		w.reply <- rep
		switch rep.Outcome {
		case messages.Applied:
			return isApplied
		case messages.NotApplied:
			return isNotApplied
		}
		switch told := w.cleared(); {
		case len(told) == 0:
			return isUnknown
		case told[0].Outcome == messages.Applied:
			return wasApplied
		}
		return wasNotThere
	}
	l := w.l()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case w.it.phase == onWire:
		w.wire.mu.Lock()
		defer w.wire.mu.Unlock()
		return w.wire.at
	case !w.hold.open():
		return isHeld
	case l.paused != nil:
		return isPausing
	}
	return isQueued
}

func (w *way) mustBe(want place) {
	w.t.Helper()
	if got := w.at(); got != want {
		w.t.Fatalf("the write is %s, want %s", got, want)
	}
}

// mustEnd lets all be well: each write has one reply, which is true, and the lane goes on, in order.
func (w *way) mustEnd(stops bool) {
	w.t.Helper()
	var nextItem *item
	var next chan *messages.WriteReply
	if !stops {
		nextItem, next = w.submit(until(insertAnonymous(), time.Hour))
	}
	w.refuseLogins(nil)
	close(w.wire.well)
	w.PrimaryChanged("b:1")
	rep := w.get(w.reply)
	if w.first != nil {
		w.get(w.first)
	}
	if stops {
		<-w.drained
		if _, refused := w.submit(insertAnonymous()); !errors.Is(w.get(refused).Err, messages.ErrStopped) {
			w.t.Error("a write is taken after the stop")
		}
	} else if rep := w.get(next); rep.Outcome != messages.Applied {
		w.t.Errorf("the next write: %+v", rep)
	}
	time.Sleep(time.Hour) // In the bubble's time: all later looks.
	n := w.wire.executions(w.it)
	if n > 1 || rep.Outcome == messages.Applied != (n == 1) && rep.Outcome != messages.Unknown {
		w.t.Errorf("the write was executed %d times, and its reply was %v", n, rep.Outcome)
	}
	for _, e := range w.cleared() {
		if e.Outcome == messages.Applied != (n == 1) {
			w.t.Errorf("the write was executed %d times, and told of as %v", n, e.Outcome)
		}
	}
	if last := w.wire.executed[max(len(w.wire.executed)-1, 0):]; !stops && (len(last) == 0 || !last[0].Equal(nextItem.Cmd.ID)) {
		w.t.Error("the next write was not executed last")
	}
	if st := w.Stat(); st.Queued+st.OnWire != 0 || st.Bytes != 0 {
		w.t.Errorf("something is left: %+v", st)
	}
}

func TestEachEdgeOfALaneIsTaken(t *testing.T) {
	for _, e := range edges {
		for i, from := range columns {
			if e.want[i] == never {
				continue
			}
			t.Run(fmt.Sprintf("%s, %s", e.what, from), func(t *testing.T) {
				onTheWay(t, from, func(w *way) {
					e.do(w)
					to := e.want[i]
					if to == same {
						to = from
					}
					w.mustBe(to)
					w.mustEnd(e.stops)
				})
			})
		}
	}
}

func TestTheTableOfEdgesIsThatOfTheArchitecture(t *testing.T) {
	var want []string
	for _, e := range edges {
		want = append(want, e.String())
	}
	if got := tableOf(t, "### Where a write is"); !slices.Equal(got, want) {
		t.Errorf("ARCHITECTURE.md has\n%s\nand should have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
