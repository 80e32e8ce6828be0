package evenkeel_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

var (
	chaosLasts = flag.Duration("chaos.d", 5*time.Second, "how long TestChaos has faults strike, in all")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "what TestChaos makes its schedule of faults from; 0 draws one")
)

// TestChaos has faults of every kind that replset knows strike a set of three members, and
// then one of five, several at once, while apps come and go, read and write. In the end
// everything is held against what the servers have: that each request was answered
// once and in time, each outcome true, each order kept, the registers linearizable, no money
// made or lost, no session taken back in time, no wrong host asked, nothing told of what is secret, and
// nothing left behind.
//
// The schedule of faults is made from the seed alone, before anything runs. What the
// machine makes of it differs from run to run.
func TestChaos(t *testing.T) {
	if realURI() != "" {
		t.Skip("EVENKEEL_URI: a real set cannot be told to have these faults")
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test -run Chaos . -chaos.d=%v -chaos.seed=%d", *chaosLasts, seed)
	for _, members := range []int{3, 5} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			x := newStorm(t, seed, members, *chaosLasts/2)
			x.run()
		})
	}
}

// storm is one run.
type storm struct {
	t        *testing.T
	seed     uint64
	lasts    time.Duration
	version  string
	schedule []strike
	c        *cluster
	stranger *replset.Set // nobody of it may ever be asked
	secrets  secrets      // that no app may tell

	quiet sync.RWMutex // held by what must find the set whole, shared by what makes it not so

	began time.Time
	over  chan struct{} // closed when the faults end
	calm  chan struct{} // closed when the load is to end

	ending sync.Once     // closes calm
	quit   chan struct{} // closed when the scribe is to end

	log        journal
	parties    partyList
	streams    streamList
	registers  registerBook
	bank       bank
	reads      readTally
	scribe     scribe
	unanswered atomic.Int64
	logged     atomic.Int64 // lines
	heard      atomic.Int64 // events
	late       int          // writes whose outcome was told of after their reply
	stalled    atomic.Int64 // nanoseconds that the machine let the process wait
}

// The epochs of documents that grow with each write: new ones are taken after a while.
const (
	registerEpoch = 3 * time.Second
	bankEpoch     = 10 * time.Second
)

// afterglow is for how long the load goes on when the last fault is over.
const afterglow = 500 * time.Millisecond

func newStorm(t *testing.T, seed uint64, members int, lasts time.Duration) *storm {
	r := rand.New(rand.NewPCG(seed, uint64(members)))
	versions := replset.Versions()
	x := &storm{
		t: t, seed: seed, lasts: lasts, version: versions[len(versions)-1],
		over: make(chan struct{}), calm: make(chan struct{}), quit: make(chan struct{}),
		scribe: scribe{entries: map[bson.Timestamp][]operation{}}, secrets: ofChaos(),
	}
	if r.IntN(2) == 0 { // An older one, without bulkWrite.
		x.version = versions[r.IntN(len(versions)-1)]
	}
	x.schedule = drawSchedule(r, members, lasts)
	x.log.t = t
	t.Cleanup(func() {
		if t.Failed() || os.Getenv("EVENKEEL_TAPE") != "" {
			t.Logf("the schedule of seed %d:\n%s", seed, x.timetable())
			t.Logf("what became of it:\n%s", x.log.all())
			t.Logf("the machine let it wait for %v", time.Duration(x.stalled.Load()))
		}
	})
	return x
}

// timetable is the schedule, a line for each fault.
func (x *storm) timetable() string {
	var b strings.Builder
	for i, s := range x.schedule {
		fmt.Fprintf(&b, "%4d  %v\n", i, s)
	}
	return b.String()
}

func (x *storm) run() {
	t := x.t
	before := goleak.IgnoreCurrent()
	x.open()
	x.began = time.Now()
	load := x.load()
	var copying sync.WaitGroup
	copying.Go(x.watch)
	for _, m := range x.c.set.Members() {
		copying.Go(func() { x.scribe.copyFrom(x, m.Host()) })
	}
	t.Cleanup(func() { // For what follows a run that was given up.
		x.end()
		for _, p := range x.parties.lasting() {
			_ = p.close(x, 0)
		}
		within(patience, load.Wait)
		select {
		case <-x.quit:
		default:
			close(x.quit)
		}
		copying.Wait()
	})
	x.strikeAll()
	x.recover()
	x.await(afterglow, nil)
	x.end()
	if !within(patience, load.Wait) {
		t.Fatalf("the load does not end: %d requests are not answered", x.unanswered.Load())
	}
	x.log.add(x.since(), "the load has ended")
	close(x.quit)
	copying.Wait()
	x.dismiss()
	x.log.add(x.since(), "the apps have stopped")
	x.audit()
	x.log.add(x.since(), "all is audited")
	x.c.set.Stop()
	x.stranger.Stop()
	x.log.add(x.since(), "the sets have stopped")
	if err := goleak.Find(before); err != nil {
		t.Errorf("after all has stopped: %v", err)
	}
	x.report()
}

// end ends the load.
func (x *storm) end() { x.ending.Do(func() { close(x.calm) }) }

// open starts the sets and puts the data there.
func (x *storm) open() {
	t := x.t
	x.c = ownSet(t, "all of replset's faults", replset.Options{
		Members: x.members(), ElectionTimeout: 400 * time.Millisecond, InitialSync: 200 * time.Millisecond, Version: x.version, Users: x.users(),
	})
	stranger, err := replset.Start(replset.Options{Members: 1, Version: x.version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Stop)
	x.stranger = stranger
	x.c.seed(t, secretOwner)
	x.registers.open(x)
	x.bank.open(x)
}

// members is how many the set begins with.
func (x *storm) members() int {
	n := 0
	_, _ = fmt.Sscanf(x.t.Name(), "TestChaos/%d", &n)
	return n
}

// since is how long the storm has lasted.
func (x *storm) since() time.Duration { return time.Since(x.began) }

// await waits until a moment of the storm's, or until a channel is closed, and says
// which of the two it was.
func (x *storm) await(d time.Duration, closed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-closed:
		return false
	}
}

// within says whether a function has returned in time.
func within(d time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// recover waits until all is well again: the set steady, each host that an app has to read
// from live, and a read and a write of each app served.
func (x *storm) recover() {
	t := x.t
	if err := x.c.set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatalf("after the faults the set does not become steady: %v", err)
	}
	x.log.add(x.since(), "the set is steady")
	for _, p := range x.parties.lasting() {
		x.mustRecover(p)
		x.log.add(x.since(), "all hosts of %q are live", p.name)
		x.mustServe(p)
		x.log.add(x.since(), "%q serves", p.name)
	}
}

// mustRecover waits until each host of an app has been live again, and its writes are not held. Not
// until all are at one moment: the load goes on, and a machine that lets it wait for longer than a
// read may has now this host ejected and now that one.
func (x *storm) mustRecover(p *party) {
	before, back := p.hosts(), map[string]bool{}
	defer func() {
		if x.t.Failed() {
			x.t.Logf("its hosts when the set was steady: %v\nand now: %v", before, p.hosts())
		}
	}()
	eventually(x.t, fmt.Sprintf("all hosts of %q are live again, and its writes are not held", p.name), func() bool {
		st := p.Stat()
		all := true
		for _, h := range st.Hosts {
			back[h.Host] = back[h.Host] || isLive(h)
			all = all && back[h.Host]
		}
		return all && st.Primary != ""
	})
}

// dismiss stops the apps, and waits until no socket of theirs is left.
func (x *storm) dismiss() {
	for _, p := range x.parties.lasting() {
		if err := p.close(x, patience); err != nil {
			x.violate("stop", "%q, with nothing to do, returned %v when it was stopped", p.name, err)
		}
	}
	if n := x.unanswered.Load(); n != 0 {
		x.violate("reply", "%d requests were never answered", n)
	}
	for _, m := range append(x.c.set.Members(), x.stranger.Members()...) {
		eventually(x.t, fmt.Sprintf("%v has no client any more", m), func() bool { return m.Counters().Connections == 0 })
	}
}

// journal collects what happens and what must not.
type journal struct {
	t *testing.T

	mu         sync.Mutex
	lines      []string
	violations map[string]int
}

func (j *journal) add(at time.Duration, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%9.3f  %s", at.Seconds(), fmt.Sprintf(format, args...)))
}

func (j *journal) all() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

// mostTold is how many violations of one sort are told in full.
const mostTold = 10

// violate notes that an invariant does not hold.
func (x *storm) violate(sort, format string, args ...any) {
	j := &x.log
	at := x.since()
	text := fmt.Sprintf(format, args...)
	j.add(at, "VIOLATION (%s): %s", sort, text)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.violations == nil {
		j.violations = map[string]int{}
	}
	if j.violations[sort]++; j.violations[sort] <= mostTold {
		j.t.Errorf("%s, at %.3f s: %s", sort, at.Seconds(), text)
	}
}

// report tells what the run was.
func (x *storm) report() {
	x.log.mu.Lock()
	violations := 0
	for _, n := range x.log.violations {
		violations += n
	}
	x.log.mu.Unlock()
	writes, outcomes := x.outcomes()
	x.t.Logf("seed %d, %d members of %s, %v: %d faults, %d apps, %d reads (%d failed), %d writes (%d applied, %d not applied, %d partial, %d unknown), %d violations",
		x.seed, x.members(), x.version, x.lasts, len(x.schedule), x.parties.count(), x.reads.total(), x.reads.failed(), writes,
		outcomes[messages.Applied], outcomes[messages.NotApplied], outcomes[messages.Partial], outcomes[messages.Unknown], violations)
	x.t.Logf("%d outcomes were told of after Unknown", x.late)
	x.t.Logf("the machine let it wait for %v", time.Duration(x.stalled.Load()).Round(time.Millisecond))
	x.t.Logf("%d lines of the logs and %d events were searched for secrets", x.logged.Load(), x.heard.Load())
	x.t.Logf("faults: %v", x.strokes())
	x.t.Logf("reads that failed: %v", x.reads.reasons())
}
