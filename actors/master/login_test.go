package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/backoff"
	"github.com/evenkeel/evenkeel/messages"
)

func refusedBy(host string) *messages.LoginError {
	return &messages.LoginError{Host: host, Mechanism: "SCRAM-SHA-256", User: "game", Source: "admin", Code: 18, Reason: "Authentication failed."}
}

// bouncer is a primary that refuses logins until it is told otherwise.
type bouncer struct {
	mu    sync.Mutex
	in    bool        // mu
	host  string      // mu
	tries []time.Time // mu
	err   error       // mu; what a try finds in place of the refusal
}

func (b *bouncer) letsIn(in bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in = in
}

// serve is the wire's server.
func (b *bouncer) serve(ctx context.Context, batch *batch, a *attempts) result {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.in {
		return result{err: fmt.Errorf("handshake: %w", refusedBy(b.host))}
	}
	return succeed(ctx, batch, a)
}

func (b *bouncer) try(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries = append(b.tries, time.Now())
	switch {
	case b.in:
		return nil
	case b.err != nil:
		return b.err
	}
	return refusedBy(b.host)
}

func (b *bouncer) tried() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.tries)
}

// barred is a master whose primary, a:1, refuses the login.
func barred(t *testing.T, cfg Config) (*rig, *bouncer) {
	b := &bouncer{host: "a:1"}
	r := rigWithoutPrimary(t, cfg, &fakeWire{serve: b.serve})
	r.logins.try = b.try
	r.PrimaryChanged("a:1")
	return r, b
}

func TestWritesWaitForALoginAndSayThatItWasRefused(t *testing.T) {
	for _, lanes := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			r, b := barred(t, Config{WriteLanes: lanes})
			var replies []chan *messages.WriteReply
			for n := range 100 {
				w := until(insert(n), time.Second)
				w.Key = fmt.Sprint(n)
				reply, _ := r.ask(w)
				replies = append(replies, reply)
				time.Sleep(time.Millisecond)
			}
			for n, reply := range replies {
				rep := r.get(reply)
				var late *messages.DeadlineError
				var refused *messages.LoginError
				if rep.Outcome != messages.NotApplied || !errors.As(rep.Err, &late) || late.Phase != "held" || !errors.As(rep.Err, &refused) ||
					refused.Host != "a:1" || errors.Is(rep.Err, messages.ErrNoPrimary) || messages.Retryable(rep.Err) {
					t.Errorf("write %d: %+v", n, rep)
				}
			}
			if n := len(r.wire.sent()); n > lanes {
				t.Errorf("%d batches tried a login, want one of each lane at most", n)
			}
			if n := len(b.tried()); n < 3 || n > 20 {
				t.Errorf("%d logins in a second", n)
			}
			events := r.seen()
			if len(events) != 1 || events[0].(messages.WritesHeld).Reason != refusedBy("a:1").Error() {
				t.Errorf("told %v", events)
			}
		})
	}
}

func TestALoginThatIsGoodAgainIsNoticedWithinItsLimitHoweverLongItWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{WriteTimeout: time.Hour})
		var replies []chan *messages.WriteReply
		for n := range 5 {
			reply, _ := r.ask(insert(n))
			replies = append(replies, reply)
		}
		time.Sleep(10 * time.Minute)
		tries := b.tried()
		if n := len(tries); n < 80 || n > 250 {
			t.Errorf("%d logins in ten minutes", n)
		}
		for i := 1; i < len(tries); i++ {
			if gap := tries[i].Sub(tries[i-1]); gap > backoff.LoginLimit {
				t.Errorf("%v between two logins", gap)
			}
		}
		b.letsIn(true)
		good := time.Now()
		for _, reply := range replies {
			if rep := <-reply; rep.Outcome != messages.Applied {
				t.Errorf("a write that waited: %+v", rep)
			}
		}
		if took := time.Since(good); took > backoff.LoginLimit {
			t.Errorf("noticed after %v", took)
		}
		if got := numbers(r.wire.sent()); !slices.Equal(got[len(got)-5:], []int{0, 1, 2, 3, 4}) {
			t.Errorf("sent %v", got)
		}
		events := r.seen()
		if len(events) != 2 || events[1].(messages.WritesResumed).Sent != 5 {
			t.Errorf("told %v", events)
		}
		n := len(b.tried())
		time.Sleep(time.Hour)
		if len(b.tried()) != n {
			t.Error("logins are tried for no reason")
		}
		// The next one that is refused is tried again soon.
		b.letsIn(false)
		reply, _ := r.ask(until(insert(9), time.Minute))
		time.Sleep(backoff.Base + time.Millisecond)
		if len(b.tried()) == n {
			t.Error("after a good login the waits are as long as before")
		}
		b.letsIn(true)
		if rep := <-reply; rep.Outcome != messages.Applied {
			t.Errorf("%+v", rep)
		}
	})
}

func TestAtAnotherPrimaryALoginIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{WriteTimeout: time.Hour})
		reply, _ := r.ask(insert(1))
		time.Sleep(10 * time.Minute)
		n := len(b.tried())
		// The driver holds one that refuses a login for lost until its next heartbeat.
		r.PrimaryChanged("")
		r.PrimaryChanged("a:1")
		synctest.Wait()
		if len(b.tried()) != n {
			t.Error("a login is tried because the primary flickers")
		}
		b.letsIn(true)
		r.PrimaryChanged("b:1")
		changed := time.Now()
		if rep := <-reply; rep.Outcome != messages.Applied || time.Since(changed) > 0 {
			t.Errorf("after %v: %+v", time.Since(changed), rep)
		}
	})
}

func TestWhileNobodyCanSayTheLastRefusalStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{})
		first, _ := r.ask(until(insert(1), time.Second))
		r.get(first)
		b.mu.Lock()
		b.err = messages.ErrNoPrimary
		b.mu.Unlock()
		time.Sleep(time.Minute)
		second, _ := r.ask(until(insert(2), time.Second))
		if rep := r.get(second); !errors.Is(rep.Err, messages.ErrLoginRefused) || errors.Is(rep.Err, messages.ErrNoPrimary) {
			t.Errorf("%+v", rep)
		}
		if n := len(r.wire.sent()); n != 1 {
			t.Errorf("%d batches went out", n)
		}
		b.letsIn(true)
		time.Sleep(backoff.LoginLimit)
		third, _ := r.ask(insert(3))
		if rep := r.get(third); rep.Outcome != messages.Applied {
			t.Errorf("%+v", rep)
		}
	})
}

func TestALoginThatIsRefusedAfterALostReplyIsWaitedForToSettleTheWrite(t *testing.T) {
	for _, good := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r, b := barred(t, Config{})
			r.wire.serve = func(_ context.Context, _ *batch, a *attempts) result {
				try(a, lost, networkError())
				return result{err: refusedBy("a:1")}
			}
			fences := 0
			r.wire.fenced = func() error {
				fences++
				b.mu.Lock()
				defer b.mu.Unlock()
				if !b.in {
					return fmt.Errorf("fencing: %w", refusedBy("a:1"))
				}
				return nil
			}
			r.wire.stored = []bson.Raw{mustMarshal(bson.D{{Key: "_id", Value: 1}})}
			reply, _ := r.ask(until(update(bson.D{{Key: "v", Value: 2}}), 20*time.Second))
			time.Sleep(5 * time.Second)
			b.letsIn(good)
			rep := r.get(reply)
			if good && (rep.Outcome != messages.Applied || !rep.Settled) {
				t.Errorf("%+v", rep)
			}
			if !good && (rep.Outcome != messages.Unknown || !errors.Is(rep.Err, messages.ErrUnknownOutcome)) {
				t.Errorf("%+v", rep)
			}
			if fences != map[bool]int{true: 2, false: 1}[good] {
				t.Errorf("%d fences", fences)
			}
			synctest.Wait() // The reply is sent first.
			if r.hold.open() != good {
				t.Errorf("the gate is open: %v", r.hold.open())
			}
			b.letsIn(true)
			time.Sleep(time.Minute)
			if !r.hold.open() {
				t.Error("the gate is closed")
			}
		})
	}
}

func TestWithoutATryTheNextWriteIsTheTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{})
		r.logins.try = nil
		first, _ := r.ask(until(insert(1), time.Minute))
		time.Sleep(30 * time.Second)
		if n := len(r.wire.sent()); n < 4 || n > 30 {
			t.Errorf("%d batches tried a login in half a minute", n)
		}
		b.letsIn(true)
		if rep := r.get(first); rep.Outcome != messages.Applied {
			t.Errorf("%+v", rep)
		}
	})
}

func TestAStopEndsTheLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := barred(t, Config{})
		tries := make(chan time.Duration, 1000) // How long each lasted.
		entered := make(chan struct{}, 1000)
		r.logins.try = func(ctx context.Context) error {
			entered <- struct{}{}
			began := time.Now()
			<-ctx.Done()
			tries <- time.Since(began)
			return ctx.Err()
		}
		reply, _ := r.ask(insert(1))
		<-entered
		r.Close()
		if rep := r.get(reply); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrStopped) {
			t.Errorf("%+v", rep)
		}
		time.Sleep(time.Hour)
		if n := len(tries); n != 1 || <-tries > 0 {
			t.Errorf("%d logins, or one that went on", n)
		}
	})
}

func TestATryThatPanicsIsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{})
		r.logins.try = func(ctx context.Context) error {
			if len(b.tried()) == 0 {
				_ = b.try(ctx)
				panic("a monitor of the game's")
			}
			return b.try(ctx)
		}
		reply, _ := r.ask(until(insert(1), time.Minute))
		time.Sleep(time.Second)
		b.letsIn(true)
		if rep := r.get(reply); rep.Outcome != messages.Applied {
			t.Errorf("%+v", rep)
		}
	})
}

func TestAHoldThatGoesOnForAnotherReasonIsToldAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := barred(t, Config{})
		r.PrimaryChanged("")
		first, _ := r.ask(insert(1))
		second, _ := r.ask(insert(2))
		// The pool tells of the login, whatever becomes of the writes that wait for it.
		r.LoginRefused(refusedBy("a:1"))
		r.PrimaryChanged("a:1")
		time.Sleep(time.Second)
		b.letsIn(true)
		for _, reply := range []chan *messages.WriteReply{first, second} {
			if rep := r.get(reply); rep.Outcome != messages.Applied {
				t.Errorf("%+v", rep)
			}
		}
		events := r.seen()
		if len(events) != 3 {
			t.Fatalf("told %v", events)
		}
		if e := events[0].(messages.WritesHeld); e.Reason != "" {
			t.Errorf("told %v first", e)
		}
		if e := events[1].(messages.WritesHeld); e.Waiting != 2 || e.Reason != refusedBy("a:1").Error() {
			t.Errorf("told %v then", e)
		}
		if e := events[2].(messages.WritesResumed); e.Held != 2 || e.Sent != 2 {
			t.Errorf("told %v in the end", e)
		}
	})
}
