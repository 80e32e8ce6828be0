package mongoconn

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// pipes is a network whose other end is never there.
type pipes struct{}

func (pipes) DialContext(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	there.Close()
	return here, nil
}

func pacedDialer(t *testing.T) *Dialer {
	t.Helper()
	d, err := NewDialer(DialerConfig{Host: "a.test:1", Check: func(bson.Raw, net.Addr) error { return nil }, Via: pipes{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Shut)
	return d
}

// paced opens a socket and returns how long that took.
func paced(t *testing.T, d *Dialer) (net.Conn, time.Duration) {
	t.Helper()
	began := time.Now()
	nc, err := d.DialContext(context.Background(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	return nc, time.Since(began)
}

func TestSocketsThatEndAtOnceAreOpenedAtABoundedRate(t *testing.T) {
	for _, sockets := range []int{1, 4, 100} { // that are opened and ended at one time
		synctest.Test(t, func(t *testing.T) {
			d := pacedDialer(t)
			began, opened := time.Now(), 0
			for time.Since(began) < 10*time.Second && opened < 10_000 {
				var all []net.Conn
				var took []time.Duration
				var mu sync.Mutex
				var wg sync.WaitGroup
				for range sockets {
					wg.Go(func() {
						nc, waited := paced(t, d)
						mu.Lock()
						defer mu.Unlock()
						all, took = append(all, nc), append(took, waited)
					})
				}
				wg.Wait()
				for i, nc := range all {
					opened++
					nc.Close()
					nc.Close() // Ends once.
					if took[i] > paceMost {
						t.Fatalf("a dial has waited for %v", took[i])
					}
				}
			}
			// 4 are what the driver opens to a host at one time: two of the pool, the heartbeat's
			// and the one for round trip times.
			if sockets <= 4 && (opened > paceBurst+100+sockets || opened < paceBurst+100-sockets) {
				t.Errorf("%d sockets in 10 s, %d at a time", opened, sockets)
			}
		})
	}
}

func TestSocketsThatLastAreOpenedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDialer(t)
		for range 20 {
			var all []net.Conn
			for range 100 {
				nc, waited := paced(t, d)
				if waited > 0 {
					t.Fatalf("a dial has waited for %v", waited)
				}
				all = append(all, nc)
			}
			time.Sleep(youth)
			for _, nc := range all {
				nc.Close()
			}
		}
	})
}

func TestWhatIsHeldUpIsForgottenAndEndsWithItsContextAndItsDialer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pacedDialer(t)
		spend := func() {
			for range paceBurst + 5 {
				d.pace.ended(time.Now(), time.Now())
			}
		}
		spend()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := d.DialContext(ctx, "tcp", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("a dial that is called off: %v", err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if nc, err := d.DialContext(ctx, "tcp", ""); err != nil {
			t.Errorf("a dial of little time: %v", err)
		} else {
			time.Sleep(youth)
			nc.Close()
		}
		time.Sleep(paceMost)
		if _, waited := paced(t, d); waited > 0 {
			t.Errorf("half a second later a dial has waited for %v", waited)
		}
		spend()
		time.AfterFunc(time.Millisecond, d.Shut)
		if _, err := d.DialContext(context.Background(), "tcp", ""); err == nil {
			t.Error("a dial has survived its dialer")
		}
	})
}

// A host that answers a heartbeat's first hello and hangs up on the second was dialled some hundred
// times a second: the driver does not wait after the first failure of a server that it knows.
func TestAHostThatHangsUpAfterItsHelloIsNotDialledWithoutPause(t *testing.T) {
	f := serve(t, nil)
	me := member(f.addr, "rs0", asPrimary(1)...)
	f.change(func() {
		told := map[int]bool{}
		f.hello = func(socket int) bson.D {
			if told[socket] {
				return nil
			}
			told[socket] = true
			return me
		}
	})
	began := time.Now()
	openSet(t, SetConfig{Base: hosts(f.addr), Expect: Expect{SetName: "rs0"}})
	sockets := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.sockets
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sockets() < paceBurst+15 {
		next(t, tick.C, "a tick")
		if time.Since(began) > patience {
			t.Fatalf("%d sockets in %v", sockets(), patience)
		}
	}
	if n, took := sockets(), time.Since(began); n > paceBurst+4+int(took/paceEvery) {
		t.Errorf("%d sockets in %v", n, took)
	}
}
