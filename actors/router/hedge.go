package router

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

const (
	// hedgeQuantile of a class's recent reads are faster than the wait before a hedge.
	hedgeQuantile = 0.95
	// hedgeSamples are remembered of each class, and the quantile is found anew after every
	// hedgeStep of them; before there are that many, nothing is hedged.
	hedgeSamples = 256
	hedgeStep    = 32
	// hedgeLeast is the shortest wait: less is the noise of timers and schedulers.
	hedgeLeast = time.Millisecond
	// hedgeBurst is how many hedges may come at once when there were none for a while.
	hedgeBurst = 10
	// hedgeable are the classes Point and Range. An aggregate may be the reason why its
	// host is slow, and is not to be given to a second one.
	hedgeable = int(command.Range) + 1
)

// errHedge ends a second copy that is not needed, or of no use.
var errHedge = errors.New("evenkeel: the other copy of this read was answered")

// hedger sends a second copy of a read to another host when the first takes longer than
// most reads of its class do. The first answer wins, and the loser is called off. The
// copies are bounded to a share of the reads.
type hedger struct {
	router *Router
	budget budget

	sent, won atomic.Int64

	mu      sync.Mutex
	classes [hedgeable]recent // mu
}

// recent knows what the latest reads of a class took.
type recent struct {
	took [hedgeSamples]time.Duration
	n    int // ever
	wait time.Duration
}

func newHedger(r *Router, share float64, now time.Time) *hedger {
	return &hedger{router: r, budget: budget{ratio: share, capacity: hedgeBurst, at: now}}
}

// observe notes what a read took that was answered.
func (h *hedger) observe(class command.Class, took time.Duration) {
	if int(class) >= hedgeable {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &h.classes[class]
	c.took[c.n%hedgeSamples] = took
	if c.n++; c.n%hedgeStep != 0 {
		return
	}
	sorted := slices.Clone(c.took[:min(c.n, hedgeSamples)])
	slices.Sort(sorted)
	c.wait = max(hedgeLeast, sorted[int(float64(len(sorted)-1)*hedgeQuantile)])
}

// wait is how long a read of a class is left alone; false while that is not known.
func (h *hedger) wait(class command.Class) (time.Duration, bool) {
	if int(class) >= hedgeable {
		return 0, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &h.classes[class]
	return c.wait, c.wait > 0
}

// hedge is a read that may get a second copy.
type hedge struct {
	h    *hedger
	read *request.Read
	at   uint64 // the incarnation that has the first copy

	mu    sync.Mutex
	ended bool
	timer *time.Timer
	twin  *request.Read
}

// watch arms the hedge of a read that a host has just been given. It must not have been
// answered by others than this host yet.
func (h *hedger) watch(read *request.Read, host request.Target) {
	wait, known := h.wait(read.Cmd.Class)
	if !known {
		return
	}
	g := &hedge{h: h, read: read, at: host.Incarnation()}
	g.mu.Lock()
	g.timer = time.AfterFunc(wait, g.fire)
	g.mu.Unlock()
	read.OnReply(g.end)
}

// end is called when the read is answered.
func (g *hedge) end() {
	g.mu.Lock()
	g.ended = true
	g.timer.Stop()
	twin := g.twin
	g.mu.Unlock()
	if twin != nil {
		twin.Fail(errHedge)
	}
}

// fire sends the second copy.
func (g *hedge) fire() {
	h := g.h
	g.mu.Lock()
	if g.ended || !h.budget.spend(time.Now(), 1) {
		g.mu.Unlock()
		return
	}
	twin := g.read.Twin(g.at, g.deliver)
	g.twin = twin
	g.mu.Unlock()
	// From here on end may call it off at any moment; its host notices.
	if _, placed, _ := h.router.place(twin, false); !placed {
		h.budget.refund()
		twin.Fail(errHedge)
		return
	}
	h.sent.Add(1)
}

// deliver takes the twin's reply. What is no host's answer is dropped: the first copy is
// still there to be answered, or to go elsewhere.
func (g *hedge) deliver(rep *messages.ReadReply) {
	if rep.Host == "" || !isAnswer(rep.Err) {
		return
	}
	if g.read.Reply(rep) {
		g.h.won.Add(1)
		return
	}
	if rep.Cursor != nil { // Nobody will ask of it.
		close := &messages.Read{Database: rep.Cursor.Database, Operation: messages.CloseCursor{Cursor: rep.Cursor}}
		g.h.router.Submit(close, func(*messages.ReadReply) {})
	}
}

// isAnswer reports whether a host has said this, of the data or of the query.
func isAnswer(err error) bool {
	var cmd mongo.CommandError
	return err == nil || errors.Is(err, mongo.ErrNoDocuments) || errors.As(err, &cmd)
}
