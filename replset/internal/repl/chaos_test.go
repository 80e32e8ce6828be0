package repl

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 0, "seed of the chaos test; 0 takes a new one")
	chaosSteps = flag.Int("chaos.steps", 150, "faults in one run of the chaos test")
	chaosRuns  = flag.Int("chaos.runs", 4, "runs of the chaos test")
)

// TestWhateverFailsNoMajorityWriteIsLost lets writers append numbered writes while
// members are killed, frozen, delayed, cut off, deposed and restarted. At the end all
// members must have the same data, and in it every write that a majority had
// acknowledged, once and in its writer's order.
func TestWhateverFailsNoMajorityWriteIsLost(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for run := range *chaosRuns {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Logf("-chaos.seed=%d -chaos.runs=1", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			seed++
			n, short, preferred := []int{3, 3, 4, 5, 7}[r.IntN(5)], r.IntN(2) == 0, r.IntN(3) == 0
			inCluster(t, n, func(c *cluster) { chaos(c, r, n) }, func(o *Options) {
				if short {
					o.OplogLimit = 40
				}
				if preferred {
					o.Members[n-1].Priority = 2
				}
			})
		})
	}
}

// ledger is what one writer knows of its writes, by their numbers.
type ledger struct {
	lsid    string
	acked   []int32
	unknown map[int32]bool // neither acknowledged nor certainly without effect
}

func chaos(c *cluster, r *rand.Rand, n int) {
	stop, cancel := context.WithCancel(c.ctx)
	defer cancel()
	const writers = 3
	done := make(chan *ledger)
	for w := range writers {
		seed := r.Uint64()
		go func() { done <- c.write(stop, w, rand.New(rand.NewPCG(seed, 1))) }()
	}
	for range *chaosSteps {
		c.harm(r, n)
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		c.oneLeaderATerm()
	}
	c.Heal()
	for i := range int32(n) {
		m := c.Member(i)
		m.Unfreeze()
		m.Lag(0)
		if p := m.proc.Load(); p != nil && p.standalone {
			m.Kill()
		}
		m.Start()
		if err := m.SetMaintenance(false); err != nil {
			c.t.Error(err)
		}
	}
	c.until("a primary", func() bool { return c.leader() >= 0 })
	pass(10 * time.Second)
	cancel()
	var ledgers []*ledger
	for range writers {
		ledgers = append(ledgers, <-done)
	}
	c.converged()
	for _, l := range ledgers {
		c.audit(l)
	}
}

// write appends numbers to a document of its own, as a client with retryable
// writes and w: majority does, until stop ends.
func (c *cluster) write(stop context.Context, w int, r *rand.Rand) *ledger {
	l := &ledger{lsid: fmt.Sprint("writer ", w), unknown: map[int32]bool{}}
	for number := int32(1); stop.Err() == nil; number++ {
		l.unknown[number] = true
		for try := 0; stop.Err() == nil; try++ {
			time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(stop, time.Duration(r.IntN(3000))*time.Millisecond)
			err := c.push(ctx, l.lsid, number)
			cancel()
			if err == nil {
				l.acked = append(l.acked, number)
				delete(l.unknown, number)
				break
			}
			if try == 20 {
				break // it stays unknown
			}
		}
	}
	return l
}

func (c *cluster) push(ctx context.Context, id string, number int32) error {
	leader := c.Leader()
	if leader == nil {
		return ErrNoPrimary
	}
	node := leader.Node()
	if node == nil {
		return ErrNoPrimary
	}
	op, err := node.Write(ctx, func(w Writer) error {
		done, err := w.BeginStatement(id, int64(number), 0)
		if done != nil || err != nil {
			return err
		}
		var doc struct {
			ID   string `bson:"_id"`
			Seen []int32
		}
		doc.ID = id
		if coll := w.Collection("game", "logs"); coll != nil {
			if have, ok := coll.ByID(idOf(id)); ok {
				if err := bson.Unmarshal(have, &doc); err != nil {
					return err
				}
				doc.Seen = append(doc.Seen, number)
				err = w.Replace("game", "logs", idOf(id), raw(doc))
			} else {
				doc.Seen = append(doc.Seen, number)
				err = w.Insert("game", "logs", raw(doc))
			}
		} else {
			doc.Seen = append(doc.Seen, number)
			err = w.Insert("game", "logs", raw(doc))
		}
		if err != nil {
			return err
		}
		return w.Remember(id, int64(number), RetryRecord{Result: emptyDocument})
	})
	if err != nil {
		return err
	}
	return node.AwaitReplication(ctx, op, 0)
}

// harm does one thing to the set.
func (c *cluster) harm(r *rand.Rand, n int) {
	m := c.Member(int32(r.IntN(n)))
	switch r.IntN(14) {
	case 0, 1:
		m.Kill()
	case 2, 3, 4:
		m.Kill()
		m.Start()
	case 5:
		m.Freeze()
	case 6, 7:
		m.Unfreeze()
	case 8:
		m.Lag(time.Duration(r.IntN(500)) * time.Millisecond)
	case 9:
		var groups [2][]int32
		for i := range int32(n) {
			g := r.IntN(2)
			groups[g] = append(groups[g], i)
		}
		c.Partition(groups[0], groups[1])
	case 10:
		c.Heal()
	case 11:
		if leader := c.Leader(); leader != nil {
			if node := leader.Node(); node != nil {
				_ = node.StepDown(c.ctx, 5*time.Second, time.Second, r.IntN(2) == 0)
			}
		}
	case 12:
		_ = m.SetMaintenance(r.IntN(2) == 0)
	case 13:
		for i := range int32(n) {
			if r.IntN(2) == 0 {
				c.Member(i).Kill()
			}
		}
		for i := range int32(n) {
			c.Member(i).Start()
		}
	}
}

// oneLeaderATerm checks what elections promise.
func (c *cluster) oneLeaderATerm() {
	c.t.Helper()
	synctest.Wait()
	leaders := map[int64]int32{}
	for _, m := range c.all() {
		p := m.proc.Load()
		if p == nil || p.Status().Role != Primary {
			continue
		}
		p.mu.Lock()
		term := p.disk.term
		p.mu.Unlock()
		if other, taken := leaders[term]; taken {
			c.t.Errorf("members %d and %d both lead term %d", other, m.id, term)
		}
		leaders[term] = m.id
	}
}

// audit compares a writer's ledger with what the set has.
func (c *cluster) audit(l *ledger) {
	c.t.Helper()
	var doc struct{ Seen []int32 }
	if coll := c.node(0).seen.Load().now.data.of("game"); len(coll) > 0 {
		if have, ok := coll[0].ByID(idOf(l.lsid)); ok {
			if err := bson.Unmarshal(have, &doc); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	at := map[int32]int{}
	last := int32(0)
	for i, number := range doc.Seen {
		if _, twice := at[number]; twice {
			c.t.Errorf("%s: write %d was applied twice", l.lsid, number)
		}
		if number < last {
			c.t.Errorf("%s: write %d came after %d", l.lsid, number, last)
		}
		at[number], last = i, number
	}
	for _, number := range l.acked {
		if _, ok := at[number]; !ok {
			c.t.Errorf("%s: write %d was acknowledged by a majority and is lost", l.lsid, number)
		}
		delete(at, number)
	}
	for number := range at {
		if !l.unknown[number] {
			c.t.Errorf("%s: nobody has written %d", l.lsid, number)
		}
	}
	if len(l.acked) < 20 {
		c.t.Errorf("%s: only %d writes were acknowledged, which proves nothing", l.lsid, len(l.acked))
	}
	c.t.Logf("%s: %d writes acknowledged, %d of unknown fate", l.lsid, len(l.acked), len(l.unknown))
}
