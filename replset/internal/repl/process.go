package repl

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// disk is what a member keeps when its process is killed. It belongs to the
// process that runs on it, and is guarded by that process's lock.
type disk struct {
	log   oplog
	hist  history
	term  int64
	voted vote
	cfg   *config // nil until the member has heard of one
}

// vote is a member's newest vote. It is kept, so that it is given once.
type vote struct {
	term int64
	to   int32
}

// view is what reads see; it never changes.
type view struct {
	now       moment
	committed moment
}

// process is one run of a member, from its start until it is killed. It is the
// Node that the member's server works with.
//
// Two goroutines are its own: run, which exchanges heartbeats and takes part in
// elections, and tail, which pulls the oplog of another member.
type process struct {
	id         int32
	self       bson.ObjectID // new with every process
	net        *network
	disk       *disk
	lag        *atomic.Int64 // the member's, in nanoseconds
	syncFor    *atomic.Int64 // how long an initial sync takes, likewise
	limit      int           // of the oplog's entries
	standalone bool
	newlyAdded bool // the set's Options.NewlyAdded

	ctx    context.Context // ends when the process is killed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	clock  logicalClock
	seen   atomic.Pointer[view]
	shown  atomic.Pointer[Status] // what hello says, without the op times
	writes chan struct{}          // the write lock: whoever has put a token in has it
	wake   chan struct{}          // run has something to do
	pull   chan struct{}          // tail has something to do

	mu       sync.Mutex
	dead     bool
	frozen   bool
	thawed   chan struct{} // closed at the thaw; set while frozen
	changed  chan struct{} // closed and replaced when hello would say something else
	grew     chan struct{} // closed and replaced when the oplog or the commit point moves
	awaited  bool          // somebody has taken grew
	role     Role
	writable bool
	over     chan struct{} // of a primary: closed when it stops being one
	primary  int32         // -1 while none is known

	electedAt bson.Timestamp // of a primary: when it was elected

	hangUps     int64
	maintenance bool
	stepping    bool      // a step down waits for a secondary to catch up
	admitting   bool      // admit runs
	catchUpTo   time.Time // of a new primary: until when it may catch up; zero when it has
	standNow    bool      // another member has handed over to this one
	yielded     int       // elections left to a better candidate in a row
	takeoverAt  time.Time // when to take over from a primary of lower priority
	heard       time.Time // when the primary last gave a sign of life
	electionAt  time.Time // when to stand for election if it gives no other
	standFrom   time.Time // not to stand for election before that
	source      int32     // the member whose oplog is pulled, -1 for none
	syncing     struct {  // of an initial sync
		from  int32
		since time.Time
	}

	peers     map[int32]*peer
	positions map[int32]OpTime // how far each other member is known to be
	waiters   waiters
}

// peer is what a member knows of another one by its heartbeats.
type peer struct {
	pulse
	seen  time.Time // the last sign of life
	since time.Time // from when on calls have got through
	up    bool      // the last call got through
}

const nobody = -1

func newProcess(m *Member, standalone bool) *process {
	p := &process{
		id: m.id, self: bson.NewObjectID(), net: m.set.net, disk: &m.disk, lag: &m.lag, syncFor: &m.initialSync, limit: m.set.opts.OplogLimit,
		standalone: standalone, newlyAdded: m.set.opts.NewlyAdded,
		writes: make(chan struct{}, 1), wake: make(chan struct{}, 1), pull: make(chan struct{}, 1),
		changed: make(chan struct{}), grew: make(chan struct{}),
		primary: nobody, source: nobody,
		peers: map[int32]*peer{}, positions: map[int32]OpTime{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if len(p.disk.hist.moments) == 0 {
		p.disk.hist.add(moment{data: &state{}})
	}
	p.clock.advance(p.disk.log.top().TS)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.role = Standalone
	if !standalone {
		p.enterConfig()
	}
	p.reschedule(time.Now())
	p.show()
	p.announce()
	return p
}

// start lets the process live. A standalone has nobody to talk to.
func (p *process) start() {
	if p.standalone {
		return
	}
	p.wg.Go(p.run)
	p.wg.Go(p.tail)
}

// die ends the process as kill -9 does. What it has on its disk stays as it is.
func (p *process) die() {
	p.mu.Lock()
	p.dead = true
	p.waiters.fail(errShutdown())
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}

func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.frozen {
		p.frozen, p.thawed = true, make(chan struct{})
	}
}

func (p *process) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen {
		p.frozen = false
		close(p.thawed)
	}
}

// enter takes the process's lock, which it can only do while it is neither
// frozen nor dead: whatever goes on in a process starts here.
func (p *process) enter(ctx context.Context) error {
	for {
		p.mu.Lock()
		switch {
		case p.dead:
			p.mu.Unlock()
			return errShutdown()
		case !p.frozen:
			return nil
		}
		thawed := p.thawed
		p.mu.Unlock()
		select {
		case <-thawed:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ctx.Done():
			return errShutdown()
		}
	}
}

// answerable takes the process's lock for a call from another member. It is false for a
// process that has ended since the call got through.
func (p *process) answerable() bool {
	p.mu.Lock()
	if p.dead || p.frozen {
		p.mu.Unlock()
		return false
	}
	return true
}

// run exchanges heartbeats and acts on them until the process dies.
func (p *process) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		// First the others are heard: a process that was frozen must not act on
		// deadlines that passed meanwhile before it knows what has happened.
		p.beat()
		again, wait := p.decide()
		if again {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-p.ctx.Done():
			return
		}
	}
}

// reschedule puts the next election an election time-out after a sign of life at
// the given time, and a random part more, so that two members rarely stand at
// once. The caller must hold p.mu.
func (p *process) reschedule(heard time.Time) {
	timeout := p.timing().election
	p.electionAt = heard.Add(timeout + rand.N(timeout*15/100+1))
}

// timing is that of the config. The caller must hold p.mu.
func (p *process) timing() timing {
	if p.disk.cfg == nil {
		return timingOf(DefaultElectionTimeout)
	}
	return p.disk.cfg.timing
}

// hear notes a sign of life of the primary. The caller must hold p.mu.
func (p *process) hear(at time.Time) {
	if at.After(p.heard) {
		p.heard = at
		p.reschedule(at)
	}
}

// enterConfig takes the role that a member has at first under its config. The
// caller must hold p.mu.
func (p *process) enterConfig() {
	switch {
	case p.disk.cfg == nil:
		p.role = Startup
	case p.disk.cfg.find(p.id) == nil:
		p.role = Removed
	case p.disk.cfg.find(p.id).Arbiter:
		p.role = Arbiter
	case p.disk.log.top().IsZero():
		p.role = Startup2
	case p.maintenance:
		p.role = Recovering
	default:
		p.role = Secondary
	}
}

// show publishes what reads see. The caller must hold p.mu.
func (p *process) show() {
	p.seen.Store(&view{now: *p.disk.hist.now(), committed: *p.disk.hist.committed()})
}

// append adds one entry to a primary's oplog and returns its op time. The caller
// must hold p.mu.
func (p *process) append(changes []change, data *state) OpTime {
	now := time.Now()
	e := &entry{op: OpTime{TS: p.clock.tick(now), Term: p.disk.term}, wall: now, changes: changes}
	p.disk.log.entries = append(p.disk.log.entries, e)
	p.disk.hist.add(moment{op: e.op, wall: e.wall, data: data})
	p.recount()
	p.moved()
	return e.op
}

// moved lets everyone know that the oplog's top, the commit point or what is known
// of other members may have moved. The caller must hold p.mu.
func (p *process) moved() {
	was := p.seen.Load()
	if was.now.op == p.disk.hist.now().op && was.committed.op == p.disk.hist.committed().op {
		p.waiters.settle(was)
		return
	}
	p.show()
	v := p.seen.Load()
	p.waiters.settle(v)
	if p.awaited {
		p.awaited = false
		close(p.grew)
		p.grew = make(chan struct{})
	}
	p.disk.log.trim(p.slowest(), v.committed.op, p.limit)
}

// slowest is how far every member of the config is known to be. The caller must
// hold p.mu.
func (p *process) slowest() OpTime {
	least := p.disk.log.top()
	if p.disk.cfg == nil {
		return least
	}
	for _, m := range p.disk.cfg.members {
		if m.ID != p.id && !m.Arbiter {
			least = earlier(least, p.positions[m.ID])
		}
	}
	return least
}

// reach notes how far another member is. Positions only rise: one that a rollback
// takes back belongs to an older term than everything that is still to be
// committed, so that it never counts. The caller must hold p.mu.
func (p *process) reach(id int32, op OpTime) {
	if id != p.id && p.positions[id].Before(op) {
		p.positions[id] = op
	}
}

// recount moves a primary's commit point to what a majority of the voters has.
// Only an entry of its own term counts: having one implies having all before it,
// and no later primary can lack it. The caller must hold p.mu, and call moved.
func (p *process) recount() {
	if p.role != Primary {
		return
	}
	need := p.disk.cfg.bearers()
	best := OpTime{}
	for _, m := range p.disk.cfg.members {
		candidate := p.position(m.ID)
		if m.Votes > 0 && !m.Arbiter && best.Before(candidate) && p.holders(candidate, true) >= need {
			best = candidate
		}
	}
	if best.Term == p.disk.term {
		p.disk.hist.commit(best)
	}
}

// position is how far a member is known to be. The caller must hold p.mu.
func (p *process) position(id int32) OpTime {
	if id == p.id {
		return p.disk.log.top()
	}
	return p.positions[id]
}

// holders counts the members, or only the voters, that have op. The caller must
// hold p.mu.
func (p *process) holders(op OpTime, voters bool) int {
	n := 0
	for _, m := range p.disk.cfg.members {
		if (!voters || m.Votes > 0) && !m.Arbiter && !p.position(m.ID).Before(op) {
			n++
		}
	}
	return n
}
