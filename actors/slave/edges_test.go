package slave

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// columns are the states in the order of the table in ARCHITECTURE.md.
var columns = []State{Waiting, Dialing, Checking, Live, Standby, Ejected, Leaving, Stopped}

// What stands in a cell, if it is not the state that follows.
const (
	same    = "·"       // it stays as it is
	never   = ""        // it cannot happen there
	restart = "restart" // the supervisor restarts the slave, which is Waiting then
)

// edge is a row of the table: what happens, and what becomes of a slave in each state.
type edge struct {
	what string
	// of are the cases of Receive that it goes through.
	of string
	// reach brings the slave into one state in another way than the others do.
	reach map[State]func(*stage)
	do    func(*stage)
	want  [8]string
}

const (
	toDialing  = string(Dialing)
	toChecking = string(Checking)
	toWaiting  = string(Waiting)
	toLive     = string(Live)
	toStandby  = string(Standby)
	toEjected  = string(Ejected)
	toLeaving  = string(Leaving)
	toStopped  = string(Stopped)
)

var edges = []edge{
	{"a hello: it is a secondary", "helloMsg", nil, func(s *stage) { s.conn.hello(mongoconn.Secondary) },
		[8]string{same, toChecking, same, same, toChecking, same, same, same}},
	{"a hello: it is the primary", "helloMsg", nil, func(s *stage) { s.conn.hello(mongoconn.Primary) },
		[8]string{same, toChecking, same, same, toChecking, same, same, same}},
	{"a hello: it cannot serve (recovering, hidden, an arbiter)", "helloMsg", nil, func(s *stage) { s.conn.hello(mongoconn.Hidden) },
		[8]string{same, toStandby, toStandby, toStandby, same, toStandby, same, same}},
	{"a hello: it is a server that an earlier host has", "helloMsg", nil, func(s *stage) {
		s.w.claims.claim(processOf("z:1"), s.earlier)
		s.conn.helloFrom(mongoconn.Secondary, processOf("z:1"))
	}, [8]string{same, toStandby, toStandby, toStandby, same, toStandby, same, same}},
	{"an earlier host has reached the same server", "duplicateMsg", nil, func(s *stage) {
		s.h.send(s.pid, duplicateMsg{of: "z:1", process: processOf("a:1")})
	}, [8]string{same, same, toStandby, toStandby, same, toStandby, same, same}},
	{"a hello: it is further behind than `MaxLag`", "helloMsg", nil, func(s *stage) { s.behind(time.Minute) },
		[8]string{same, toStandby, toStandby, toEjected, same, same, same, same}},
	{"a hello: what was ejected for its lag has caught up", "helloMsg", map[State]func(*stage){
		Ejected: func(s *stage) { s.reach(Live); s.behind(time.Minute); synctest.Wait() },
	}, func(s *stage) { s.behind(0) },
		[8]string{never, never, never, never, never, toLive, never, never}},
	{"a socket leads elsewhere, or breaks the protocol", "wrongMsg", nil, func(s *stage) { _ = s.conn.strange("b:1") },
		[8]string{same, restart, restart, restart, restart, restart, same, same}},
	{"a socket leads to no member", "wrongMsg", nil, func(s *stage) { s.conn.obs.WrongSocket(errors.New("not a member")) },
		[8]string{same, toWaiting, toWaiting, restart, restart, restart, same, same}},
	{"a heartbeat fails", "lostMsg", nil, func(s *stage) { s.conn.obs.Lost(errReset) },
		[8]string{same, toWaiting, toWaiting, restart, restart, restart, same, same}},
	{"a login is refused", "lostMsg", nil, func(s *stage) { s.conn.obs.Lost(authRefused()) },
		[8]string{same, toWaiting, toWaiting, restart, restart, restart, same, same}},
	{"the driver calls a heartbeat off", "lostMsg", nil, func(s *stage) { s.conn.obs.Lost(context.Canceled) },
		[8]string{same, same, same, same, same, same, same, same}},
	{"the ping, or the probe, is answered", "answerMsg", nil, func(s *stage) { s.answer(nil) },
		[8]string{never, never, toLive, same, never, toLive, never, never}},
	{"the ping, or the probe, fails", "answerMsg", nil, func(s *stage) { s.answer(context.DeadlineExceeded) },
		[8]string{never, never, toWaiting, toEjected, never, same, never, never}},
	{"the ping leads elsewhere", "answerMsg", nil, func(s *stage) {
		s.answer(&messages.WrongHostError{Address: "a:1", Field: "me", Want: "a:1", Got: "b:1"})
	}, [8]string{never, never, restart, toEjected, never, never, never, never}},
	{"the ping, or the probe, is not answered in time", "answerMsg", nil, func(s *stage) { s.silence() },
		[8]string{never, never, toWaiting, toEjected, never, same, never, never}},
	{"its wait is over", "tickMsg", nil, func(s *stage) { s.w.pass(probeFirst) },
		[8]string{toDialing, never, never, never, never, same, never, never}},
	{"its quarantine is over", "tickMsg", map[State]func(*stage){Standby: (*stage).quarantined}, func(s *stage) { s.w.pass(quarantineTime + quarantineEvery) },
		[8]string{never, never, never, never, toChecking, never, never, never}},
	{"several reads get no reply", "hungMsg", nil, func(s *stage) { s.h.send(s.pid, hungMsg{service: s.service()}) },
		[8]string{same, same, same, toEjected, same, same, same, same}},
	{"a read gets no reply", "hungMsg", nil, func(s *stage) { s.h.send(s.pid, hungMsg{service: s.service(), suspect: true}) },
		[8]string{same, same, same, same, same, same, same, same}},
	{"reads are slow", "slowMsg", nil, func(s *stage) { s.h.send(s.pid, slowMsg{service: s.service(), reason: "slow"}) },
		[8]string{same, same, same, toEjected, same, same, same, same}},
	{"too few others are left, and it has given no replies", "recallMsg", nil, func(s *stage) { s.h.send(s.pid, recallMsg{service: s.service()}) },
		[8]string{same, same, same, same, same, same, same, same}},
	{"too few others are left, and it was slow", "recallMsg", map[State]func(*stage){
		Ejected: func(s *stage) {
			s.reach(Live)
			s.h.send(s.pid, slowMsg{service: s.service(), reason: "slow"})
			synctest.Wait()
		},
	}, func(s *stage) { s.h.send(s.pid, recallMsg{service: s.service()}) },
		[8]string{never, never, never, never, never, toLive, never, never}},
	{"too few others are left, and it lags", "recallMsg", map[State]func(*stage){
		Ejected: func(s *stage) { s.reach(Live); s.behind(time.Minute); synctest.Wait() },
	}, func(s *stage) { s.h.send(s.pid, recallMsg{service: s.service()}) },
		[8]string{never, never, never, never, never, same, never, never}},
	{"a reply is not one to the question", "brokenMsg", nil, func(s *stage) {
		s.h.send(s.pid, brokenMsg{service: s.service(), err: &messages.ProtocolError{Host: "a:1", Reason: "garbage"}})
	}, [8]string{same, same, same, restart, same, restart, same, same}},
	{"its name means another address", "movedMsg", nil, func(s *stage) { s.conn.moves() },
		[8]string{same, same, same, same, same, same, same, same}},
	{"the right member answers there", "movedMsg helloMsg nextMsg", nil, func(s *stage) { s.next().hello(mongoconn.Secondary) },
		[8]string{never, never, never, same, restart, restart, never, never}},
	{"another member answers there", "movedMsg wrongMsg", nil, func(s *stage) { _ = s.next().strange("b:1") },
		[8]string{never, never, never, same, same, same, never, never}},
	{"nobody answers there", "movedMsg lostMsg nextMsg", nil, func(s *stage) { s.next().obs.Lost(errRefused) },
		[8]string{never, never, never, same, same, same, never, never}},
	{"it is a member no more", "leaveMsg", nil, func(s *stage) { s.h.Leave("removed") },
		[8]string{toLeaving, toLeaving, toLeaving, toLeaving, toLeaving, toLeaving, never, same}},
	{"the actor panics", "*actor.Restarting *actor.Started", nil, func(s *stage) { s.h.send(s.pid, bang{}) },
		[8]string{toDialing, restart, restart, restart, restart, restart, same, same}},
	{"somebody poisons the actor", "", nil, func(s *stage) { s.w.system.Root.Poison(s.pid) },
		[8]string{same, same, same, same, same, same, same, same}},
	{"the app stops", "*actor.Stopping", nil, func(s *stage) { s.stop() },
		[8]string{toStopped, toStopped, toStopped, toStopped, toStopped, toStopped, toStopped, same}},
}

func (e edge) String() string {
	return "| " + e.what + " | " + strings.Join(e.want[:], " | ") + " |"
}

// stage is a slave in one of its states.
type stage struct {
	w       *world
	h       *Host
	pid     *actor.PID
	conn    *fakeConn // the latest
	earlier *Host     // another one, that is configured before
	asked   chan error
	open    chan struct{} // closed when pings are answered again
}

// bang lets the actor panic.
type bang struct{}

func explosive(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
		if _, ok := env.Message.(bang); ok {
			panic("bang")
		}
		next(ctx, env)
	}
}

// onStage runs a test with a slave that waits for its next attempt.
func onStage(t *testing.T, f func(s *stage)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.cfg.MaxLag, w.cfg.Clock = time.Second, NewClock(0)
		w.opens(func(string, *fakeConn) error { return errRefused })
		h, err := New(w.system, "a:1", w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := &stage{w: w, h: h, earlier: &Host{name: "z:1", cfg: Config{Order: -1}}, asked: make(chan error), open: make(chan struct{})}
		if err := w.super.Spawn("slave-a:1", h.Props(actor.WithReceiverMiddleware(explosive))); err != nil {
			t.Fatal(err)
		}
		s.pid = pidOf(w)
		w.is(h, Waiting)
		f(s)
	})
}

// gated is a ping that waits for its answer.
func (s *stage) gated(ctx context.Context) error {
	select {
	case err := <-s.asked:
		return err
	case <-s.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reach brings a slave that is Waiting into another state. What it dials from then on says nothing.
func (s *stage) reach(state State) {
	w := s.w
	switch state {
	case Dialing:
		w.opens(nil)
	case Checking:
		w.opens(func(_ string, c *fakeConn) error {
			c.pings(s.gated)
			c.hello(mongoconn.Secondary)
			return nil
		})
	case Standby:
		w.opens(answers(mongoconn.Recovering))
	case Live, Ejected, Leaving, Stopped:
		w.opens(answers(mongoconn.Secondary))
	}
	if state != Waiting {
		w.pass(DefaultBackoffMax)
	}
	s.conn = w.conn()
	w.opens(nil)
	s.conn.pings(s.gated)
	switch state {
	case Ejected:
		s.h.send(s.pid, hungMsg{service: s.service()})
	case Leaving:
		s.h.Leave("removed")
	case Stopped:
		s.stop()
	}
	w.is(s.h, state)
}

// quarantined is Standby after three wrong sockets.
func (s *stage) quarantined() {
	s.h.wrong = slices.Repeat([]time.Time{time.Now()}, quarantineWrong) // The actor waits.
	s.w.opens(answers(mongoconn.Secondary))
	s.w.pass(DefaultBackoffBase)
	s.conn = s.w.main()
	s.conn.pings(s.gated)
	s.w.is(s.h, Standby)
}

func (s *stage) stop() {
	if err := s.w.super.Stop(context.Background()); err != nil {
		s.w.t.Error(err)
	}
}

// service is the number of the present service, 0 for none.
func (s *stage) service() uint64 {
	if svc := s.h.live.Load(); svc != nil {
		return svc.inc
	}
	return 0
}

// behind lets it say how far it is behind the primary.
func (s *stage) behind(lag time.Duration) {
	now := time.Now()
	s.w.cfg.Clock.note(s.earlier, mongoconn.Hello{Kind: mongoconn.Primary, LastWrite: now}, now)
	s.conn.obs.Hello(mongoconn.Hello{Kind: mongoconn.Secondary, ProcessID: processOf("a:1"), LastWrite: now.Add(-lag)})
}

// question makes sure that a ping or a probe is under way.
func (s *stage) question() {
	switch s.h.Stat().State {
	case Live:
		s.h.send(s.pid, hungMsg{service: s.service(), suspect: true})
	case Ejected:
		s.w.pass(probeFirst)
	}
	synctest.Wait()
}

// answer answers the ping, or the probe.
func (s *stage) answer(err error) {
	s.w.t.Helper()
	s.question()
	select {
	case s.asked <- err:
	default:
		s.w.t.Fatal("nothing was asked")
	}
}

// silence lets the time for the answer pass.
func (s *stage) silence() {
	if st := s.h.Stat(); st.State == Checking {
		s.w.pass(time.Until(st.Since.Add(mongoconn.DefaultConnectTimeout)))
		return
	}
	s.question()
	s.w.pass(testHungAfter)
}

// next is the second connection.
func (s *stage) next() *fakeConn {
	s.w.t.Helper()
	n := s.w.dials()
	s.conn.moves()
	if synctest.Wait(); s.w.dials() != n+1 {
		s.w.t.Fatal("there is no second connection")
	}
	return s.w.conn()
}

// mustComeBack lets everything be well again: the host serves, over one connection.
func (s *stage) mustComeBack() {
	w := s.w
	w.t.Helper()
	w.claims.release(s.earlier)
	w.cfg.Clock.forget(s.earlier)
	close(s.open)
	w.opens(answers(mongoconn.Secondary))
	for range 10 { // Heartbeats.
		if c := w.main(); !c.closed() {
			c.hello(mongoconn.Secondary)
		}
		s.conn.hello(mongoconn.Secondary)
		w.pass(2 * time.Second)
	}
	w.is(s.h, Live)
	if w.router.target("a:1") == nil {
		w.t.Error("it is live, and not in rotation")
	}
	s.mustHave(1)
}

// mustHave checks how many connections are open.
func (s *stage) mustHave(n int) {
	s.w.t.Helper()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	open := 0
	for _, c := range s.w.conns {
		if !c.closed() {
			open++
		}
	}
	if open != n {
		s.w.t.Errorf("%d connections are open, want %d", open, n)
	}
}

func TestEachEdgeOfTheStatesIsTaken(t *testing.T) {
	for _, e := range edges {
		for i, from := range columns {
			if e.want[i] == never {
				continue
			}
			t.Run(fmt.Sprintf("%s, %s", e.what, from), func(t *testing.T) {
				onStage(t, func(s *stage) {
					if reach := e.reach[from]; reach != nil {
						reach(s)
					} else {
						s.reach(from)
					}
					s.w.is(s.h, from)
					own, all := s.h.restarts.Load(), s.w.super.Restarts()
					e.do(s)
					to, restarts := from, int64(0)
					switch want := e.want[i]; want {
					case same:
					case restart:
						to, restarts = Waiting, 1
					default:
						to = State(want)
					}
					s.w.is(s.h, to)
					if n := s.h.restarts.Load() - own; n != restarts {
						t.Errorf("%d restarts, want %d", n, restarts)
					}
					if n := s.w.super.Restarts() - all; n != restarts && e.what != "the actor panics" {
						t.Errorf("%d restarts by the supervisor, want %d", n, restarts)
					}
					if inRotation := s.w.router.target("a:1") != nil; inRotation != (to == Live) {
						t.Errorf("it is %s, and in rotation: %v", to, inRotation)
					}
					if to != Leaving && to != Stopped {
						s.mustComeBack()
						return
					}
					s.mustHave(0)
					dials := s.w.dials()
					s.w.pass(time.Minute)
					if s.w.is(s.h, to); s.w.dials() != dials {
						t.Error("it is dialled")
					}
				})
			})
		}
	}
}

// late are all messages with a number, as they come of what had that number.
func late(n uint64) []any {
	wrong := &messages.WrongHostError{Address: "a:1", Field: "me", Want: "a:1", Got: "b:1"}
	return []any{
		helloMsg{conn: n, hello: mongoconn.Hello{Kind: mongoconn.Arbiter}},
		helloMsg{conn: n, hello: mongoconn.Hello{Kind: mongoconn.Secondary}},
		wrongMsg{conn: n, err: wrong},
		lostMsg{conn: n, err: errReset},
		lostMsg{conn: n, err: authRefused()},
		lostMsg{conn: n, err: context.Canceled},
		movedMsg{conn: n, err: &mongoconn.MovedError{Host: "a:1"}},
		nextMsg{conn: n}, nextMsg{conn: n, err: errReset},
		hungMsg{service: n}, hungMsg{service: n, suspect: true},
		slowMsg{service: n, reason: "slow"},
		brokenMsg{service: n, err: wrong},
		recallMsg{service: n},
		tickMsg{wait: n},
		answerMsg{wait: n}, answerMsg{wait: n, err: errReset},
		duplicateMsg{of: "z:1", process: bson.ObjectID{byte(n)}}, // Not the process that is there.
	}
}

func TestWhatADeadIncarnationHadBegunIsDroppedInEveryState(t *testing.T) {
	const moving State = "moving" // Live, and there is a second connection.
	for _, state := range append([]State{moving}, columns...) {
		t.Run(string(state), func(t *testing.T) {
			onStage(t, func(s *stage) {
				w := s.w
				first := numbers.Load()
				// It has been in every state, has asked and waited, and had two connections.
				s.reach(Checking)
				s.answer(nil)
				w.is(s.h, Live)
				s.conn.moves()
				s.answer(context.DeadlineExceeded)
				w.is(s.h, Ejected)
				s.answer(nil)
				w.is(s.h, Live)
				s.h.send(s.pid, hungMsg{service: s.service(), suspect: true})
				synctest.Wait()
				old := s.conn
				old.obs.Lost(errReset)
				synctest.Wait()
				last := numbers.Load()
				w.opens(func(string, *fakeConn) error { return errRefused })
				w.pass(time.Second)
				if state == moving {
					state = Live
					s.reach(Live)
					s.next()
				} else {
					s.reach(state)
				}
				w.told()
				own, all, dials := s.h.restarts.Load(), w.super.Restarts(), w.dials()
				for n := first; n <= last; n++ {
					for _, msg := range late(n) {
						s.h.send(s.pid, msg)
					}
				}
				w.is(s.h, state)
				if got := w.told(); len(got) > 0 || s.h.restarts.Load() != own || w.super.Restarts() != all || w.dials() != dials {
					t.Errorf("told %v, %d restarts, %d dials", got, w.super.Restarts()-all, w.dials()-dials)
				}
				if state != Leaving && state != Stopped {
					s.mustComeBack()
				}
			})
		})
	}
}

func TestTheTableOfEdgesHasAllThatTheSlaveKnows(t *testing.T) {
	files := token.NewFileSet()
	parse := func(name string) *ast.File {
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	name := func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.Ident:
			return e.Name
		case *ast.StarExpr:
			return "*actor." + e.X.(*ast.SelectorExpr).Sel.Name
		}
		return fmt.Sprintf("%T", e)
	}
	listed, cases := map[string]bool{}, map[string]bool{}
	for _, e := range edges {
		for _, of := range strings.Fields(e.of) {
			listed[of] = true
		}
	}
	ast.Inspect(parse("incarnation.go"), func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok {
			return f.Name.Name == "Receive"
		}
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				cases[name(e)] = true
			}
		}
		return true
	})
	if len(cases) < 10 {
		t.Fatalf("only %v were found in Receive", cases)
	}
	for of := range cases {
		if !listed[of] {
			t.Errorf("%s has no row in the table", of)
		}
	}
	for of := range listed {
		if !cases[of] {
			t.Errorf("%s is in the table, and not in Receive", of)
		}
	}
	tried := map[string]bool{"leaveMsg": true} // It belongs to the host, whatever incarnation there is.
	for _, msg := range late(1) {
		tried[strings.TrimPrefix(fmt.Sprintf("%T", msg), "slave.")] = true
	}
	for of := range cases {
		if !strings.HasPrefix(of, "*actor.") && !tried[of] {
			t.Errorf("%s is not among what may come late", of)
		}
	}
	var states []State
	ast.Inspect(parse("host.go"), func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil && name(v.Type) == "State" {
			states = append(states, State(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)))
		}
		return true
	})
	for _, s := range states {
		if !slices.Contains(columns, s) {
			t.Errorf("%s has no column in the table", s)
		}
	}
	if len(states) != len(columns) {
		t.Errorf("the states are %v, and the columns %v", states, columns)
	}
}

func TestTheTableOfEdgesIsThatOfTheArchitecture(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### What becomes of a host\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got, want []string
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") && !strings.HasPrefix(line, "| **") {
			got = append(got, line)
		}
	}
	for _, e := range edges {
		want = append(want, e.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("ARCHITECTURE.md has\n%s\nand should have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
