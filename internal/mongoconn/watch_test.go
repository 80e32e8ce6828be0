package mongoconn

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

var (
	home = netip.MustParseAddr("10.0.0.1")
	away = netip.MustParseAddr("10.0.0.2")
)

// server is a name server of a test, in virtual time.
type server struct {
	mu     sync.Mutex
	asked  []time.Time // mu
	answer func() ([]netip.Addr, error)
}

func (s *server) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, time.Now())
	return s.answer()
}

func (s *server) says(addrs ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = func() ([]netip.Addr, error) { return addrs, nil }
}

// times is how often it was asked, and the least and the longest time in between.
func (s *server) times() (n int, least, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	least = time.Hour
	for i := 1; i < len(s.asked); i++ {
		gap := s.asked[i].Sub(s.asked[i-1])
		least, longest = min(least, gap), max(longest, gap)
	}
	return len(s.asked), least, longest
}

// watching is a Dialer whose sockets go to home, and what it tells.
func watching(t *testing.T, change func(*DialerConfig)) (*Dialer, *server, chan *MovedError) {
	t.Helper()
	s := &server{}
	s.says(home)
	moved := make(chan *MovedError, 1000)
	cfg := DialerConfig{
		Host: "db.test:27017", Resolver: s, Moved: func(err *MovedError) { moved <- err },
		Check: func(bson.Raw, net.Addr) error { return nil },
	}
	if change != nil {
		change(&cfg)
	}
	d, err := NewDialer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Shut)
	if err := d.accept(&Conn{at: home}); err != nil {
		t.Fatal(err)
	}
	return d, s, moved
}

func TestANameIsResolvedAgainNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s, moved := watching(t, nil)
		time.Sleep(time.Hour)
		n, least, longest := s.times()
		if n < 110 || n > 130 || least < DefaultResolveEvery*3/4 || longest > DefaultResolveEvery*5/4+time.Second || longest-least < DefaultResolveEvery/4 {
			t.Errorf("asked %d times in an hour, %v to %v apart", n, least, longest)
		}
		if len(moved) > 0 {
			t.Errorf("told: %v", <-moved)
		}
		d.Shut()
		time.Sleep(time.Hour)
		if again, _, _ := s.times(); again != n {
			t.Error("it goes on after Shut")
		}
	})
}

func TestANameThatMovedIsToldAsLongAsThatIsSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, moved := watching(t, nil)
		time.Sleep(time.Minute)
		s.says(away, netip.MustParseAddr("::ffff:10.0.0.3"))
		time.Sleep(DefaultResolveEvery*5/4 + 2*time.Second)
		if len(moved) == 0 {
			t.Fatal("it is not told")
		}
		if err := <-moved; err.From != home || len(err.To) != 2 || err.To[1] != netip.MustParseAddr("10.0.0.3") ||
			err.Error() != "evenkeel: db.test:27017 means 10.0.0.2, 10.0.0.3 now, and no longer 10.0.0.1" {
			t.Errorf("told: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if n := len(moved); n < 7 || n > 14 {
			t.Errorf("told %d times more in five minutes", n)
		}
		s.says(away, netip.MustParseAddr("::ffff:10.0.0.1"))
		time.Sleep(time.Minute)
		for len(moved) > 0 {
			<-moved
		}
		time.Sleep(time.Hour)
		if len(moved) > 0 {
			t.Error("it is told after the name has come back")
		}
	})
}

func TestOneAnswerWithoutTheAddressIsNoMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, moved := watching(t, nil)
		turn := 0
		s.mu.Lock()
		s.answer = func() ([]netip.Addr, error) { turn++; return []netip.Addr{[]netip.Addr{home, away}[turn%2]}, nil }
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if len(moved) > 0 {
			t.Errorf("told: %v", <-moved)
		}
	})
}

func TestNoAnswerIsNoMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, moved := watching(t, nil)
		for _, answer := range []func() ([]netip.Addr, error){
			func() ([]netip.Addr, error) { return nil, nil },
			func() ([]netip.Addr, error) { return nil, errors.New("server misbehaving") },
			func() ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "db.test", IsNotFound: true}
			},
		} {
			s.mu.Lock()
			s.answer = answer
			s.mu.Unlock()
			time.Sleep(10 * time.Minute)
		}
		if len(moved) > 0 {
			t.Errorf("told: %v", <-moved)
		}
	})
}

func TestSocketsThatCannotBeOpenedAskSoonerButNotWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s, moved := watching(t, nil)
		time.Sleep(10 * time.Second)
		s.says(away)
		_ = d.exhausted(errTest)
		time.Sleep(resolveAgain + time.Millisecond)
		if len(moved) != 1 {
			t.Errorf("told %d times at once after the first socket", len(moved))
		}
		s.says(home)
		before, _, _ := s.times()
		for range 6000 {
			_ = d.exhausted(errTest)
			time.Sleep(10 * time.Millisecond)
		}
		if n, _, _ := s.times(); n-before > 12 || n-before < 10 {
			t.Errorf("asked %d times in a minute in which every socket failed", n-before)
		}
	})
}

func TestWhatIsNotResolvedHereIsNotWatched(t *testing.T) {
	for name, change := range map[string]func(*DialerConfig){
		"an IP address":          func(c *DialerConfig) { c.Host = "10.0.0.1:27017" },
		"an IPv6 address":        func(c *DialerConfig) { c.Host = "[::1]:27017" },
		"nobody wants to know":   func(c *DialerConfig) { c.Moved = nil },
		"it is switched off":     func(c *DialerConfig) { c.ResolveEvery = -1 },
		"it is as another wants": func(c *DialerConfig) { c.ResolveEvery = 100 * time.Hour },
	} {
		synctest.Test(t, func(t *testing.T) {
			d, s, _ := watching(t, change)
			_ = d.exhausted(errTest)
			time.Sleep(time.Second)
			if name == "it is as another wants" {
				time.Sleep(time.Hour)
			} else if d.watch.on {
				t.Errorf("%s: there is a goroutine", name)
			}
			if n, _, _ := s.times(); n > 1 {
				t.Errorf("%s: asked %d times", name, n)
			}
		})
	}
}

// tunnel dials whatever it is asked for at one address.
type tunnel struct{ addr string }

func (d tunnel) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, d.addr)
}

func TestAMoveIsToldToTheObserverAndTheSocketsStay(t *testing.T) {
	one, two, port := twins(t)
	me := member("a.test:"+port, "rs0")
	one.says(me)
	two.says(me)
	table := &server{}
	table.says(both23[0])
	d, h := open(t, DirectConfig{Host: "a.test:" + port, Resolver: table, ResolveEvery: 20 * time.Millisecond})
	next(t, h.hellos, "a hello")
	table.says(both23[1])
	if err := next(t, h.moved, "a move"); err.From != both23[0] || err.To[0] != both23[1] {
		t.Errorf("told: %v", err)
	}
	next(t, h.moved, "the same again")
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if n := two.opened(); n != 0 || len(h.lost)+len(h.wrong) > 0 {
		t.Errorf("%d sockets went to the new address", n)
	}
}

func TestASocketOpenedByTheEmbeddersDialerIsNotWatched(t *testing.T) {
	f := serve(t, nil)
	f.says(member("a.test:1", "rs0"))
	table := &server{}
	table.says(away)
	base := options.Client().SetDialer(tunnel{f.addr})
	d, h := open(t, DirectConfig{Host: "a.test:1", Base: base, Resolver: table, ResolveEvery: time.Millisecond})
	for range 3 {
		next(t, h.hellos, "a hello")
	}
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := table.times(); n > 0 || len(h.moved) > 0 {
		t.Errorf("the name server was asked %d times", n)
	}
}

func TestANameThatIsNeverToBeResolvedAgainIsNot(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 24 * time.Hour, math.MaxInt64 / 2, math.MaxInt64} {
		for range 100 {
			if got := about(d); got < min(d, math.MaxInt64/2)/4*3-3 || got < 0 {
				t.Fatalf("about %v is %v", d, got)
			}
		}
	}
}
