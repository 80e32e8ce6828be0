package evenkeel_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// read asks the router, as an actor of the game's does, and waits.
func (g *game) read(t testing.TB, m *messages.Read) *messages.ReadReply {
	t.Helper()
	return ask[*messages.ReadReply](t, g, g.Router(), m)
}

// write asks the master, and waits.
func (g *game) write(t testing.TB, m *messages.Write) *messages.WriteReply {
	t.Helper()
	return ask[*messages.WriteReply](t, g, g.Master(), m)
}

func ask[R any](t testing.TB, g *game, to *actor.PID, m any) R {
	t.Helper()
	got, err := g.System().Root.RequestFuture(to, m, patience).Result()
	rep, ok := got.(R)
	if err != nil || !ok {
		t.Fatalf("no reply but %v, %v", got, err)
	}
	return rep
}

// point is a read of one player.
func (g *game) point(id int) *messages.Read {
	return &messages.Read{Database: g.c.db, Collection: "players", Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}}}
}

// insert is a write of one document.
func (g *game) insert(coll string, doc any) *messages.Write {
	return &messages.Write{Database: g.c.db, Collection: coll, Operation: messages.InsertOne{Document: doc}}
}

// inbox is an actor of the game's that keeps each reply it gets, by its
// correlation.
type inbox struct {
	pid    *actor.PID
	system *actor.ActorSystem

	mu     sync.Mutex
	reads  map[int][]*messages.ReadReply
	writes map[int][]*messages.WriteReply
	count  int
}

func (g *game) inbox(t testing.TB) *inbox {
	in := &inbox{system: g.System(), reads: map[int][]*messages.ReadReply{}, writes: map[int][]*messages.WriteReply{}}
	in.pid = in.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		in.mu.Lock()
		defer in.mu.Unlock()
		switch m := ctx.Message().(type) {
		case *messages.ReadReply:
			n := m.Correlation.(int)
			in.reads[n] = append(in.reads[n], m)
			in.count++
		case *messages.WriteReply:
			n := m.Correlation.(int)
			in.writes[n] = append(in.writes[n], m)
			in.count++
		}
	}))
	t.Cleanup(func() { in.system.Root.Stop(in.pid) })
	return in
}

func (in *inbox) send(to *actor.PID, m any) { in.system.Root.RequestWithCustomSender(to, m, in.pid) }

func (in *inbox) len() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.count
}

func (in *inbox) await(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replies", n), func() bool { return in.len() >= n })
}

// crowd is a number of callers that read one player after the other.
type crowd struct {
	g    *game
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	rounds   []int // how many reads of each caller have ended
	served   []served
	failures []error
	wrong    []string // documents that are not what was asked for
}

// served is one read that was answered.
type served struct {
	at   time.Time
	host string
	took time.Duration
}

// fails is the first failure, if any.
func (c *crowd) fails() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.failures[:min(1, len(c.failures))]...)
}

// unhurried is the deadline of reads that nothing should fail. How soon a read is served elsewhere is told by the tests
// in virtual time and by the bench: here it would be told of the machine.
const unhurried = 10 * time.Second

// crowd starts the callers. Each read has that deadline; change may make another
// read of it.
func (g *game) crowd(t testing.TB, callers int, deadline time.Duration, change func(*messages.Read)) *crowd {
	t.Helper()
	c := &crowd{g: g, stop: make(chan struct{}), rounds: make([]int, callers)}
	for i := range callers {
		c.wg.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
					c.one(i, deadline, change)
				}
			}
		})
	}
	t.Cleanup(func() {
		c.end()
		if err := c.fails(); err != nil && t.Failed() {
			t.Logf("%d reads failed, such as: %v", len(c.failures), err)
		}
	})
	return c
}

func (c *crowd) one(caller int, deadline time.Duration, change func(*messages.Read)) {
	id := rand.N(players)
	m := c.g.point(id)
	if change != nil {
		change(m)
	}
	began := time.Now()
	m.Deadline = began.Add(deadline)
	got, err := c.g.System().Root.RequestFuture(c.g.Router(), m, patience).Result()
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rounds[caller]++
	rep, ok := got.(*messages.ReadReply)
	if err != nil || !ok {
		c.failures = append(c.failures, fmt.Errorf("no reply but %v: %w", got, err))
		return
	}
	if rep.Err != nil {
		c.failures = append(c.failures, rep.Err)
		return
	}
	if over := now.Sub(m.Deadline); over > time.Second {
		c.failures = append(c.failures, fmt.Errorf("answered %v after the deadline", over))
	}
	if _, is := m.Operation.(messages.FindOne); is {
		var doc struct {
			ID    int `bson:"_id"`
			Owner string
		}
		if err := bson.Unmarshal(rep.Document, &doc); err != nil || doc.ID != id || doc.Owner != "us" {
			c.wrong = append(c.wrong, fmt.Sprintf("asked for %d, got %v (%v)", id, rep.Document, err))
		}
	}
	c.served = append(c.served, served{now, rep.Host, now.Sub(began)})
}

// count is how many reads were answered.
func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.served)
}

// more waits until n more reads were answered, and each caller has asked and got its answer since.
func (c *crowd) more(t testing.TB, n int) {
	t.Helper()
	from, ended := c.count(), c.ended()
	eventually(t, fmt.Sprintf("%d more reads", n), func() bool {
		for i, k := range c.ended() {
			if k < ended[i]+2 {
				return false
			}
		}
		return c.count() >= from+n
	})
}

// ended is how many reads of each caller have ended.
func (c *crowd) ended() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rounds)
}

// moreAt waits until a host has answered n more reads.
func (c *crowd) moreAt(t testing.TB, host string, n int) {
	t.Helper()
	at := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		k := 0
		for _, s := range c.served {
			if s.host == host {
				k++
			}
		}
		return k
	}
	from := at()
	eventually(t, fmt.Sprintf("%d more reads at %s", n, host), func() bool { return at() >= from+n })
}

// end stops the callers and returns when they have stopped.
func (c *crowd) end() {
	c.mu.Lock()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// mustBeFine stops the callers and fails the test for any read that failed or got
// what it had not asked for.
func (c *crowd) mustBeFine(t testing.TB) {
	t.Helper()
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.wrong); n > 0 {
		t.Errorf("%d wrong documents, such as: %s", n, c.wrong[0])
	}
	if n := len(c.failures); n > 0 {
		t.Errorf("%d of %d reads failed, such as: %v", n, n+len(c.served), c.failures[0])
	}
}

// slowest is the longest that a read took.
func (c *crowd) slowest() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var d time.Duration
	for _, s := range c.served {
		d = max(d, s.took)
	}
	return d
}

// ledger writes numbers in order, from one goroutine: all of them into a list in one
// document ($push), and every second one into a document of its own as well, so that inserts
// and updates alternate. What the replies say is held against what is there.
type ledger struct {
	g      *game
	in     *inbox
	window int
	sent   int
	quit   chan struct{}
	ended  chan struct{}
}

// ledger starts it. No more than window writes are unanswered at a time.
func (g *game) ledger(t testing.TB, window int) *ledger {
	t.Helper()
	if _, err := g.c.coll(t, "ledger").InsertOne(soon(t), bson.D{{Key: "_id", Value: "list"}, {Key: "seq", Value: bson.A{}}}); err != nil {
		t.Fatal(err)
	}
	l := &ledger{g: g, in: g.inbox(t), window: window, quit: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-l.quit:
				l.sent = n
				return
			case <-tick.C:
			}
			for n-l.in.len() < window {
				l.in.send(g.Master(), l.entry(n))
				n++
				if n%4 == 0 {
					break
				}
			}
		}
	}()
	t.Cleanup(l.close)
	return l
}

func (l *ledger) entry(n int) *messages.Write {
	w := &messages.Write{Database: l.g.c.db, Collection: "ledger", Correlation: n, Deadline: time.Now().Add(15 * time.Second)}
	if n%4 == 0 {
		w.Operation = messages.UpdateOne{
			Filter: bson.D{{Key: "_id", Value: "list"}},
			Update: bson.D{{Key: "$push", Value: bson.D{{Key: "seq", Value: n}}}},
		}
	} else {
		w.Operation = messages.InsertOne{Document: bson.D{{Key: "_id", Value: n}}}
	}
	return w
}

func (l *ledger) close() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	<-l.ended
}

// applied is how many writes were acknowledged.
func (l *ledger) applied() int {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	n := 0
	for _, reps := range l.in.writes {
		if reps[0].Outcome == messages.Applied {
			n++
		}
	}
	return n
}

// more waits until n more writes were acknowledged.
func (l *ledger) more(t testing.TB, n int) {
	t.Helper()
	from := l.applied()
	eventually(t, fmt.Sprintf("%d more acknowledged writes", n), func() bool { return l.applied() >= from+n })
}

// audit ends the ledger and compares: each write was answered once, each applied
// one is there once, each that was not applied is not there, and the list is in order. It
// returns the replies that were not Applied.
func (l *ledger) audit(t testing.TB) (rest []*messages.WriteReply) {
	t.Helper()
	l.close()
	l.in.await(t, l.sent)
	var list struct{ Seq []int }
	if err := l.g.c.coll(t, "ledger").FindOne(soon(t), bson.D{{Key: "_id", Value: "list"}}).Decode(&list); err != nil {
		t.Fatal(err)
	}
	there := map[int]int{}
	for i, n := range list.Seq {
		there[n]++
		if i > 0 && n <= list.Seq[i-1] {
			t.Errorf("order: %d is behind %d in the list", n, list.Seq[i-1])
		}
	}
	var docs []struct {
		ID int `bson:"_id"`
	}
	cur, err := l.g.c.coll(t, "ledger").Find(soon(t), bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: 0}}}})
	if err == nil {
		err = cur.All(soon(t), &docs)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		there[d.ID]++
	}
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	outcomes := map[messages.Outcome]int{}
	for n := range l.sent {
		reps := l.in.writes[n]
		if len(reps) != 1 {
			t.Errorf("write %d got %d replies", n, len(reps))
			continue
		}
		rep := reps[0]
		outcomes[rep.Outcome]++
		switch {
		case rep.Outcome == messages.Applied && there[n] != 1:
			t.Errorf("write %d was acknowledged and is there %d times", n, there[n])
		case rep.Outcome == messages.NotApplied && there[n] != 0:
			t.Errorf("write %d was reported as not applied (%v) and is there", n, rep.Err)
		case there[n] > 1:
			t.Errorf("write %d is there %d times", n, there[n])
		}
		if rep.Outcome == messages.Unknown && !errors.Is(rep.Err, messages.ErrUnknownOutcome) {
			t.Errorf("write %d is unknown with the error %v", n, rep.Err)
		}
		if rep.Outcome != messages.Applied {
			rest = append(rest, rep)
		}
	}
	t.Logf("%d writes: %v", l.sent, outcomes)
	return rest
}

// mustBeApplied is audit, where every write must have been applied.
func (l *ledger) mustBeApplied(t testing.TB) {
	t.Helper()
	l.mustBeGivenUp(t, l.audit(t), 0)
}

// mustBeGivenUp is about the rest of an audit: what the driver gave up as it was refused a socket that many times, which
// happens once in some hundred sockets that break: having lost one it clears the pool and ends the heartbeat that waits
// on another; a reply to that heartbeat that came just before opens the pool again, the end of it clears it once more,
// and a retry in between that has chosen the host is refused a socket. The driver returns the first error then, and what
// can be told of the writes of that batch is what a majority read finds: that they are not there, or nothing.
func (l *ledger) mustBeGivenUp(t testing.TB, rest []*messages.WriteReply, refused int) {
	t.Helper()
	if len(rest) > l.window*refused {
		t.Errorf("%d writes were not applied, such as %v: %v", len(rest), rest[0].Outcome, rest[0].Err)
	}
	for _, rep := range rest {
		if rep.Outcome != messages.Unknown && !(rep.Outcome == messages.NotApplied && rep.Settled) {
			t.Errorf("a write was %v: %v", rep.Outcome, rep.Err)
		}
	}
}

// mustBeTrue is audit, where the primary hangs up that many times on what is on the wire: the replies are lost, the driver's
// retry may find nobody to go to, and what becomes of it is what mustBeGivenUp says.
func (l *ledger) mustBeTrue(t testing.TB, times int) {
	t.Helper()
	l.mustBeGivenUp(t, l.audit(t), times)
}

// spread is the coefficient of variation of some counts: their standard deviation
// over their mean.
func spread(counts []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, n := range counts {
		sum += n
	}
	mean := sum / float64(len(counts))
	for _, n := range counts {
		squares += (n - mean) * (n - mean)
	}
	return math.Sqrt(squares/float64(len(counts))) / mean
}

// byHost counts what a host has served of the given reads.
func byHost(reads []served) map[string]int {
	out := map[string]int{}
	for _, s := range reads {
		out[s.host]++
	}
	return out
}

// since returns the reads that were answered after a moment, in order.
func (c *crowd) since(at time.Time) []served {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []served
	for _, s := range c.served {
		if s.at.After(at) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b served) int { return a.at.Compare(b.at) })
	return out
}
