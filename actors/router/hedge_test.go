package router

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// host is a live host that keeps the reads it is given.
type host struct {
	fake
	mu    sync.Mutex
	takes time.Duration // what it answers within; 0 for never
	err   error         // what it answers with
	reads []*request.Read
}

func (h *host) Offer(r *request.Read, _ bool) (func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, r)
	if takes, err := h.takes, h.err; takes > 0 {
		time.AfterFunc(takes, func() { h.answer(r, err) })
	}
	return nil, nil
}

func (h *host) answer(r *request.Read, err error) bool {
	h.load.Cancel(r.LoadClass(), time.Now())
	return r.Reply(&messages.ReadReply{Host: h.name, Err: err})
}

func (h *host) read(i int) *request.Read {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reads[i]
}

func (h *host) given() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.reads)
}

// hedged is a router with hedges over two secondaries and a primary.
func hedged(t *testing.T, share float64) (r *Router, hosts []*host) {
	t.Helper()
	system := actor.NewActorSystem()
	r, err := New(system, Config{Encoder: &command.Encoder{}, Policy: RoundRobin, Hedge: true, HedgeShare: share, Emit: func(messages.Event) {}, Hosts: func() []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Stop()
		r.Close()
		system.Shutdown()
	})
	for i, name := range []string{"a", "b", "p"} {
		h := &host{fake: fake{name: name, inc: uint64(i + 1)}, takes: 5 * time.Millisecond}
		r.Join(h, request.Member{Primary: name == "p"})
		hosts = append(hosts, h)
	}
	for range hedgeStep { // A read that takes longer than this is hedged.
		r.hedger.observe(command.Point, 8*time.Millisecond)
	}
	return r, hosts
}

// does sets what a host does with the reads that it is given from now on.
func (h *host) does(takes time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takes, h.err = takes, err
}

func point(id int) *messages.Read {
	return &messages.Read{Database: "game", Collection: "players", Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}}}
}

// ask sends reads one after the other and returns their replies.
func askAll(r *Router, n int) []*messages.ReadReply {
	replies := make([]*messages.ReadReply, n)
	for i := range replies {
		got := make(chan *messages.ReadReply, 2)
		r.Submit(point(i), func(rep *messages.ReadReply) { got <- rep })
		replies[i] = <-got
	}
	return replies
}

func TestAReadThatTakesLongGetsASecondCopyAndTheFirstAnswerWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 1)
		askAll(r, 20)
		if n := r.Stat().Hedges; n != 0 {
			t.Errorf("%d hedges while every read takes the same", n)
		}
		hosts[0].does(time.Second, nil)
		before := hosts[0].given()
		for i, rep := range askAll(r, 2) {
			if rep.Host != "b" || rep.Err != nil {
				t.Errorf("reply %d is %+v", i, rep)
			}
		}
		synctest.Wait() // A win is counted behind the reply.
		slow := int64(hosts[0].given() - before)
		if st := r.Stat(); slow == 0 || st.Hedges != slow || st.HedgesWon != slow || hosts[2].given() != 0 {
			t.Errorf("%+v; the slow host was given %d and the primary %d", st, slow, hosts[2].given())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := r.Stat(); st.Pending != 0 || st.Reads != 22 {
			t.Errorf("%+v", st)
		}
	})
}

func TestTheCopyThatLosesIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 1)
		askAll(r, 20)
		hosts[0].does(20*time.Millisecond, nil)
		hosts[1].does(time.Second, nil)
		asked := hosts[1].given()
		got := make(chan *messages.ReadReply, 2)
		r.Submit(point(0), func(rep *messages.ReadReply) { got <- rep })
		time.Sleep(10 * time.Millisecond)
		if hosts[1].given() != asked+1 {
			t.Fatal("there is no second copy")
		}
		copied := hosts[1].read(asked)
		var called atomic.Bool
		left := func() { called.Store(true) }
		copied.SetAttempt(&left)
		time.Sleep(15 * time.Millisecond)
		if synctest.Wait(); len(got) != 1 || !copied.Done() || !called.Load() {
			t.Errorf("%d replies; the copy is done: %v, called off: %v", len(got), copied.Done(), called.Load())
		}
	})
}

func TestHedgesAreBoundedToAShareOfTheReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 0.05)
		askAll(r, 200)
		hosts[0].does(time.Second, nil)
		hosts[1].does(time.Second, nil)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Add(1)
			r.Submit(point(i), func(*messages.ReadReply) { wg.Done() })
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		if n := r.Stat().Hedges; n < 40 || n > hedgeBurst+60 {
			t.Errorf("%d hedges of 1200 reads, and 5 %% are allowed", n)
		}
	})
}

func TestACopyThatFailsLeavesTheFirstAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 1)
		askAll(r, 20)
		hosts[0].does(50*time.Millisecond, nil)
		hosts[1].does(0, nil)
		asked := hosts[1].given()
		replies := make(chan *messages.ReadReply, 2)
		r.Submit(point(0), func(rep *messages.ReadReply) { replies <- rep })
		time.Sleep(10 * time.Millisecond)
		r.Failed(hosts[1].read(asked), hosts[1], errors.New("reset"))
		if synctest.Wait(); len(replies) != 0 {
			t.Fatalf("answered with %+v", <-replies)
		}
		time.Sleep(50 * time.Millisecond)
		if synctest.Wait(); len(replies) != 1 {
			t.Fatalf("there are %d replies", len(replies))
		}
		if rep := <-replies; rep.Host != "a" {
			t.Errorf("answered with %+v", rep)
		}
	})
}

func TestTheServersErrorOnTheQueryEndsBothCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 1)
		askAll(r, 20)
		hosts[0].does(time.Second, nil)
		hosts[1].does(5*time.Millisecond, mongo.CommandError{Code: 2})
		rep := askAll(r, 1)[0]
		if e := (mongo.CommandError{}); !errors.As(rep.Err, &e) || rep.Host != "b" {
			t.Errorf("got %+v", rep)
		}
	})
}

func TestNothingIsHedgedWithoutAnotherHostOrToThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hosts := hedged(t, 1)
		askAll(r, 20)
		r.Leave(hosts[1])
		hosts[0].does(100*time.Millisecond, nil)
		askAll(r, 3)
		if st := r.Stat(); st.Hedges != 0 || hosts[2].given() != 0 {
			t.Errorf("%+v; the primary was given %d", st, hosts[2].given())
		}
	})
}
