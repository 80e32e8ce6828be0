package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// allOpen is how long a client takes, at most, to open all its monitoring connections: the
// one that measures round trips comes with the second heartbeat.
const allOpen = 700 * time.Millisecond

// metric is one thing to look at in a closed loop.
type metric int

const (
	throughput metric = iota
	medianLatency
	cpuTime
	allocations
	commands
)

// closedLoad is a closed loop of one sort of request.
type closedLoad struct {
	callers int
	lanes   bool // evenkeel has many
	fills   []metric
	// counted are the server's commands that carry the requests.
	counted []string
	// updates says that the requests are updates.
	updates bool
	// one makes a side's request.
	one func(*stage, side) operation
	// ready prepares a measurement, and returns a number for check, which says
	// afterwards what is wrong with what the server has. Both may be nil.
	ready func(context.Context, *stage) (int64, error)
	check func(ctx context.Context, st *stage, before int64, l *loop) error
}

// scenario completes one whose rows are those of fills, in the same order.
func (load closedLoad) scenario(s scenario) scenario {
	rows := s.rows
	s.open = func(st *stage) (contest, error) { return &closedContest{stage: st, load: load, rows: rows}, nil }
	return s
}

// The requests.

func readOne(st *stage, s side) operation {
	return func(ctx context.Context) error { return s.read(ctx, st.place.one()) }
}

func readRange(_ *stage, s side) operation {
	return func(ctx context.Context) error { return s.readRange(ctx, rand.Int32N(seats-rangeSize+1)) }
}

func insertOne(_ *stage, s side) operation {
	return func(ctx context.Context) error { return s.insert(ctx, newPlayer(newID(), 0)) }
}

func updateOne(st *stage, s side) operation {
	return func(ctx context.Context) error { return s.update(ctx, st.place.one()) }
}

// insertInOrder keeps one order on both sides: evenkeel's one lane does by itself, the
// driver needs a lock, as a game that needs the order would have one.
func insertInOrder(st *stage, s side) operation {
	insert := insertOne(st, s)
	if _, is := s.(*ours); is {
		return insert
	}
	var order sync.Mutex
	return func(ctx context.Context) error {
		order.Lock()
		defer order.Unlock()
		return insert(ctx)
	}
}

// What the server has afterwards.

func emptyInserts(ctx context.Context, st *stage) (int64, error) {
	return 0, st.judge.empty(ctx, st.place)
}

func countInserts(ctx context.Context, st *stage, _ int64, l *loop) error {
	n, err := st.judge.inserted(ctx, st.place)
	return account("inserts", n, err, l)
}

func sumSaves(ctx context.Context, st *stage) (int64, error) {
	return st.judge.saves(ctx, st.place)
}

func checkSaves(ctx context.Context, st *stage, before int64, l *loop) error {
	n, err := st.judge.saves(ctx, st.place)
	return account("updates", n-before, err, l)
}

// account compares what the primary has with what was acknowledged: no less, and no
// more than what has failed besides.
func account(what string, n int64, err error, l *loop) error {
	if err == nil && (n < l.whole || n > l.whole+l.errors) {
		err = fmt.Errorf("of %d acknowledged %s and %d failed ones the primary has %d", l.whole, what, l.errors, n)
	}
	return err
}

// closedContest measures a closed load.
type closedContest struct {
	stage *stage
	load  closedLoad
	rows  []Row

	sides sides
	note  string
	// idle is how many connections each member has before the driver is there.
	idle                 map[string]int
	ourConns, theirConns int
}

func (c *closedContest) lanes() int {
	if c.load.lanes {
		return manyLanes
	}
	return 1
}

// open opens and warms up both sides, and chooses the driver's pool.
func (c *closedContest) open(ctx context.Context) error {
	st := c.stage
	before, err := st.judge.quiet(ctx)
	if err != nil {
		return err
	}
	if c.load.ready != nil {
		if _, err := c.load.ready(ctx, st); err != nil {
			return err
		}
	}
	opened := time.Now()
	if c.sides.ours, err = openOurs(st.config(nil), c.lanes()); err != nil {
		return err
	}
	st.settle(ctx, c.sides.ours)
	closedLoop(ctx, c.load.callers, st.warm(), false, c.load.one(st, c.sides.ours))
	if err := pause(ctx, time.Until(opened.Add(allOpen))); err != nil {
		return err
	}
	if c.idle, err = st.judge.connections(ctx); err != nil {
		return err
	}
	c.ourConns = more(before, c.idle)
	if err := c.choosePool(ctx); err != nil {
		return err
	}
	if c.load.updates && !st.server.bulkWrite() {
		c.note += "; evenkeel's updates want errors only, since the server has no bulkWrite"
	}
	return nil
}

// choosePool opens the driver with the pool that does best under this load.
func (c *closedContest) choosePool(ctx context.Context) error {
	st := c.stage
	sizes := []int{max(1, c.ourConns-driverMonitors), EqualPool, defaultPool}
	switch {
	case st.settings.DriverPool > 0:
		sizes = []int{st.settings.DriverPool}
	case c.load.callers == 1:
		sizes = []int{EqualPool}
	case st.judge.blind:
		sizes = sizes[1:]
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	best := 0.0
	for _, size := range sizes {
		d, err := openDriver(st.config(nil), size, st.settings.DriverHeartbeat)
		if err != nil {
			return err
		}
		st.settle(ctx, d)
		closedLoop(ctx, c.load.callers, st.warm(), false, c.load.one(st, d))
		rate := 0.0
		if len(sizes) > 1 {
			l := closedLoop(ctx, c.load.callers, st.warm(), false, c.load.one(st, d))
			rate = float64(l.ops) / l.elapsed.Seconds()
		}
		if c.sides.driver != nil && rate <= best {
			d.close()
			continue
		}
		if c.sides.driver != nil {
			c.sides.driver.close()
		}
		c.sides.driver, best = d, rate
		c.note = fmt.Sprintf("the driver's maxPoolSize is %d", size)
	}
	if len(sizes) > 1 {
		c.note += fmt.Sprintf(", its best of %v", sizes)
	}
	return nil
}

func (c *closedContest) round(ctx context.Context, oursFirst bool) (round, error) {
	var r round
	first := c.sides.driver == nil
	if first {
		if err := c.open(ctx); err != nil {
			return r, err
		}
	}
	for _, s := range c.sides.order(oursFirst) {
		if err := c.measure(ctx, s, r.of(s)); err != nil {
			return r, err
		}
	}
	if first { // By now the pools that were not chosen are closed.
		now, err := c.stage.judge.connections(ctx)
		if err != nil {
			return r, err
		}
		c.theirConns = more(c.idle, now)
	}
	return r, nil
}

func (c *closedContest) measure(ctx context.Context, s side, out *outcome) error {
	st, load := c.stage, &c.load
	var before, sent, executed int64
	var err error
	if load.ready != nil {
		if before, err = load.ready(ctx, st); err != nil {
			return err
		}
	}
	counting := slices.Contains(load.fills, commands)
	if counting {
		if sent, err = st.judge.executed(ctx, load.counted); err != nil {
			return err
		}
	}
	runtime.GC() // Neither side pays for what the other one has left.
	l := closedLoop(ctx, load.callers, st.settings.Length, slices.Contains(load.fills, medianLatency), load.one(st, s))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if counting {
		if executed, err = st.judge.executed(ctx, load.counted); err != nil {
			return err
		}
	}
	out.failed(l.errors, l.err)
	if load.check != nil {
		if err := load.check(ctx, st, before, &l); err != nil {
			out.failed(1, err)
		}
	}
	out.values = map[string]float64{}
	for i, m := range load.fills {
		if v, ok := l.value(m, executed-sent); ok {
			out.values[c.rows[i].ID] = v
		}
	}
	return nil
}

// value is what a loop says of one thing; false when it says nothing.
func (l *loop) value(m metric, executed int64) (float64, bool) {
	switch n := float64(l.ops); {
	case m == throughput:
		return n / l.elapsed.Seconds(), true
	case m == medianLatency:
		d, ok := l.latencies.at(50)
		return float64(d) / float64(time.Microsecond), ok
	case l.ops == 0:
		return 0, false
	case m == cpuTime:
		return float64(l.cpu) / float64(time.Microsecond) / n, l.hasCPU
	case m == allocations:
		return float64(l.allocations) / n, true
	}
	return float64(executed) / float64(l.whole), executed > 0 // None: a judge that may not see them.
}

func (c *closedContest) finish(results []Result) {
	for i := range results {
		results[i].OurConnections, results[i].DriverConnections, results[i].Note = c.ourConns, c.theirConns, c.note
	}
	c.sides.close()
}
