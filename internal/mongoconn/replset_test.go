package mongoconn

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

func startSet(t *testing.T, opts replset.Options) *replset.Set {
	t.Helper()
	set, err := replset.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	if opts.Standalone {
		return set
	}
	if err := set.AwaitSecondaries(patient(t)); err != nil {
		t.Fatal(err)
	}
	return set
}

// to opens a direct client of a member, which calls itself app.
func to(t *testing.T, set *replset.Set, m *replset.Member, app string) (*Direct, *heard) {
	t.Helper()
	u, err := ParseURI(set.URI())
	if err != nil {
		t.Fatal(err)
	}
	return open(t, DirectConfig{Host: m.Host(), Base: u.Options.SetAppName(app).SetTLSConfig(set.ClientTLS()), Expect: Expect{SetName: set.Name()}})
}

var findOne = bson.D{{Key: "find", Value: "players"}, {Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}}

// secondaries returns the members that are no primary.
func secondaries(set *replset.Set) (list []*replset.Member) {
	primary := set.Primary()
	for _, m := range set.Members() {
		if m != primary {
			list = append(list, m)
		}
	}
	return list
}

func TestEveryMemberOfASetServesOverAClientOfItsOwn(t *testing.T) {
	set := startSet(t, replset.Options{Members: 5, Hidden: map[int]bool{2: true}, Delay: map[int]time.Duration{3: time.Hour}, Priority: map[int]float64{4: 0}})
	for i, m := range set.Members() {
		d, h := to(t, set, m, "app")
		want := Secondary
		switch {
		case m.IsPrimary():
			want = Primary
		case i == 2:
			want = Hidden
		case i == 3:
			want = Delayed
		}
		if hello := next(t, h.hellos, "a hello"); hello.Kind != want || hello.Me != m.Host() || hello.SetName != set.Name() || hello.Primary != set.Primary().Host() {
			t.Errorf("member %d says %+v", i, hello)
		}
		if _, err := d.Run(patient(t), "game", raw(t, findOne), nil); err != nil {
			t.Errorf("member %d: %v", i, err)
		}
		if n := m.Counters().ByApp["app"].Reads; n != 1 {
			t.Errorf("member %d was read from %d times", i, n)
		}
	}
}

func TestNoReadReachesAMemberThatAnswersAtAnothersAddress(t *testing.T) {
	other := startSet(t, replset.Options{Members: 1, Name: "other"})
	for name, swap := range map[string]func(set *replset.Set, a, b int) error{
		"swapped":      func(set *replset.Set, a, b int) error { return set.SwapAddresses(a, b) },
		"alternating":  func(set *replset.Set, a, b int) error { return set.Alternate(a, b, a) },
		"another set":  func(set *replset.Set, a, b int) error { return set.Impersonate(a, other.Member(0)) },
		"a standalone": func(set *replset.Set, a, b int) error { return set.Member(a).RestartStandalone() },
	} {
		t.Run(name, func(t *testing.T) {
			set := startSet(t, replset.Options{})
			list := secondaries(set)
			a, b := list[0], list[1]
			d, h := to(t, set, a, "reader")
			next(t, h.hellos, "a hello")
			if err := d.Ping(patient(t)); err != nil {
				t.Fatal(err)
			}
			reads := func() int64 {
				return b.Counters().ByApp["reader"].Reads + other.Member(0).Counters().ByApp["reader"].Reads
			}
			if err := swap(set, a.Index(), b.Index()); err != nil {
				t.Fatal(err)
			}
			right := a.Counters().ByApp["reader"].Reads
			served := int64(0)
			// Reads at the same time need new sockets, of which some go wrong.
			ends := make(chan error, 64)
			for range cap(ends) {
				go func() {
					ctx, cancel := context.WithTimeout(patient(t), time.Second)
					defer cancel()
					_, err := d.Run(ctx, "game", raw(t, findOne), nil)
					ends <- err
				}()
			}
			for range cap(ends) {
				if err := next(t, ends, "a read's end"); err == nil {
					served++
				} else if !OtherHostMayServe(err) {
					t.Errorf("a read fails for good: %v", err)
				}
			}
			if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
				t.Error(err)
			}
			if n := reads(); n != 0 {
				t.Errorf("%d reads reached somebody else", n)
			}
			if name == "a standalone" && (served != 0 || a.Counters().ByApp["reader"].Reads != right) {
				t.Errorf("the standalone has served %d reads", served)
			}
		})
	}
}

func TestAMemberIsFoundAgainByTheSameClientAfterEverythingButAMove(t *testing.T) {
	set := startSet(t, replset.Options{})
	m := secondaries(set)[0]
	d, h := to(t, set, m, "app")
	for name, fault := range map[string]func() error{
		"killed":    func() error { m.Kill(); next(t, h.lost, "a loss"); return m.Restart() },
		"restarted": m.Restart,
		"restarted as a standalone": func() error {
			if err := m.RestartStandalone(); err != nil {
				return err
			}
			next(t, h.wrong, "a refusal")
			return m.Restart()
		},
		"in maintenance": func() error {
			if err := m.SetMaintenance(true); err != nil {
				return err
			}
			until(t, h.hellos, "a recovering member", func(h Hello) bool { return h.Kind == Recovering })
			return m.SetMaintenance(false)
		},
		"removed": func() error {
			if err := set.Remove(patient(t), m.Index()); err != nil {
				return err
			}
			// It says so once more on the sockets that it closes then, or to the next one.
			until(t, ticks(t), "a ghost", func(time.Time) bool {
				select {
				case h := <-h.hellos:
					return h.Kind == Ghost
				case err := <-h.wrong:
					var not *NotMemberError
					return errors.As(err, &not)
				default:
					return false
				}
			})
			return set.Return(patient(t), m.Index())
		},
	} {
		until(t, h.hellos, "a hello before it is "+name, func(h Hello) bool { return h.Kind == Secondary })
		if err := fault(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for len(h.hellos) > 0 {
			<-h.hellos
		}
		for len(h.wrong) > 0 {
			<-h.wrong
		}
		until(t, h.hellos, "a hello after it was "+name, func(h Hello) bool { return h.Kind == Secondary })
		// A socket of before may break only now.
		until(t, ticks(t), "a ping after it was "+name, func(time.Time) bool {
			ctx, cancel := context.WithTimeout(patient(t), time.Second)
			defer cancel()
			return d.Ping(ctx) == nil
		})
	}
}

func TestAFrozenMemberIsLostByTheConnectTimeout(t *testing.T) {
	set := startSet(t, replset.Options{})
	m := secondaries(set)[0]
	u, err := ParseURI(set.URI())
	if err != nil {
		t.Fatal(err)
	}
	d, h := open(t, DirectConfig{Host: m.Host(), Base: u.Options, ConnectTimeout: 300 * time.Millisecond})
	until(t, h.hellos, "a hello", func(h Hello) bool { return h.Kind == Secondary })
	until(t, ticks(t), "a ping", func(time.Time) bool { return d.Ping(patient(t)) == nil })
	_, slow := open(t, DirectConfig{Host: m.Host(), Base: u.Options, ConnectTimeout: time.Hour})
	until(t, slow.hellos, "a hello", func(h Hello) bool { return h.Kind == Secondary })
	m.Freeze()
	for len(h.lost) > 0 { // By a machine that is as slow as that.
		<-h.lost
	}
	next(t, h.lost, "a loss")
	if len(slow.lost) > 0 {
		t.Errorf("it is not the time-out that tells: %v", <-slow.lost)
	}
	m.Unfreeze()
	for len(h.hellos) > 0 {
		<-h.hellos
	}
	until(t, h.hellos, "a hello after the thaw", func(h Hello) bool { return h.Kind == Secondary })
}

func TestLoginsWorkOverMutualTLSAndWrongPasswordsAreTold(t *testing.T) {
	set := startSet(t, replset.Options{TLS: replset.TLSMutual, Users: []replset.User{{Name: "player", Password: "s3cretword"}}})
	m := secondaries(set)[0]
	d, h := to(t, set, m, "app")
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(patient(t), "game", raw(t, findOne), nil); err != nil {
		t.Error(err)
	}

	base := options.Client().SetTLSConfig(set.ClientTLS()).SetAuth(options.Credential{Username: "player", Password: "wr0ngword"})
	wrong, h := open(t, DirectConfig{Host: m.Host(), Base: base, Expect: Expect{SetName: set.Name()}})
	next(t, h.hellos, "a hello")
	var auth *messages.LoginError
	if err := wrong.Ping(patient(t)); !errors.As(err, &auth) || auth.Code != 18 {
		t.Errorf("a wrong password: %v", err)
	}
	until(t, h.lost, "the refused login", func(err error) bool { return errors.As(err, &auth) })
}

// ofSet opens the set-aware client of a set.
func ofSet(t *testing.T, set *replset.Set) (*Set, <-chan string) {
	t.Helper()
	u, err := ParseURI(set.URI())
	if err != nil {
		t.Fatal(err)
	}
	return openSet(t, SetConfig{Base: u.Options.SetTLSConfig(set.ClientTLS()).SetAppName("writer"), Expect: Expect{SetName: set.Name()}})
}

func TestThePrimaryIsFollowedThroughElections(t *testing.T) {
	set := startSet(t, replset.Options{})
	s, primaries := ofSet(t, set)
	first := until(t, primaries, "a primary", func(host string) bool { return host != "" })
	if first != set.Primary().Host() {
		t.Errorf("%s is taken for the primary", first)
	}
	players := s.Client().Database("game").Collection("players")
	write := func(n int) {
		t.Helper()
		ctx, attempts := WithAttempts(patient(t))
		_, err := players.InsertOne(ctx, bson.D{{Key: "_id", Value: n}})
		for err != nil && attempts.Sent() == 0 && ctx.Err() == nil {
			// The driver does not go on where its pool is cleared just then; whoever knows that nothing was sent may.
			_, err = players.InsertOne(ctx, bson.D{{Key: "_id", Value: n}})
		}
		if err != nil {
			t.Fatalf("write %d: %v; %+v", n, err, attempts.List())
		}
		if list := attempts.List(); len(list) == 0 || list[len(list)-1].State != Succeeded {
			t.Errorf("write %d: the attempts are %+v", n, list)
		}
	}
	write(1)
	if err := set.StepDown(patient(t)); err != nil {
		t.Fatal(err)
	}
	write(2)
	second := until(t, primaries, "a new primary", func(host string) bool { return host != "" })
	if second == first {
		t.Error("the old primary is told again")
	}
	set.Primary().Kill()
	write(3)
	if n, err := players.CountDocuments(patient(t), bson.D{}); n != 3 || err != nil {
		t.Errorf("%d documents, %v", n, err)
	}
}

func TestNoWriteReachesAStrangerAtThePrimarysAddress(t *testing.T) {
	other := startSet(t, replset.Options{Members: 1, Name: "other"})
	set := startSet(t, replset.Options{})
	s, primaries := ofSet(t, set)
	until(t, primaries, "a primary", func(host string) bool { return host != "" })
	if err := insert(patient(t), s); err != nil {
		t.Fatal(err)
	}
	if err := set.Impersonate(set.Primary().Index(), other.Member(0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(patient(t), time.Second)
	defer cancel()
	if _, err := s.Client().Database("game").Collection("players").InsertOne(ctx, bson.D{}); err == nil {
		t.Error("a write succeeds while the primary cannot be reached")
	}
	if n := other.Member(0).Counters().ByApp["writer"].Writes; n != 0 {
		t.Errorf("%d writes reached the stranger", n)
	}
	if err := set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client().Database("game").Collection("players").InsertOne(patient(t), bson.D{}); err != nil {
		t.Errorf("after the return: %v", err)
	}
}

func TestALoginIsTriedBesideTheSetAwareClient(t *testing.T) {
	set := startSet(t, replset.Options{Users: []replset.User{{Name: "game", Password: "s3cretword"}}})
	u, err := ParseURI(set.URI())
	if err != nil {
		t.Fatal(err)
	}
	s, primaries := openSet(t, SetConfig{Base: u.Options, Expect: Expect{SetName: set.Name()}})
	if err := s.TryLogin(patient(t)); err != nil && !errors.Is(err, messages.ErrNoPrimary) {
		t.Errorf("before there is a primary: %v", err)
	}
	until(t, primaries, "a primary", func(host string) bool { return host != "" })
	if err := s.TryLogin(patient(t)); err != nil {
		t.Errorf("a good login: %v", err)
	}
	if err := set.SetPassword("game", "an0therword"); err != nil {
		t.Fatal(err)
	}
	var refused *messages.LoginError
	for range 3 {
		if err := s.TryLogin(patient(t)); !errors.As(err, &refused) || refused.Code != 18 || refused.Host != set.Primary().Host() || refused.User != "game" {
			t.Errorf("a login that is good no more: %v", err)
		}
	}
	if len(primaries) > 0 {
		t.Errorf("the primary is told to be %q", <-primaries)
	}
	// The client's own is refused, and says the same.
	err = insert(patient(t), s)
	if got := s.LoginError(err); got == nil || got.Host != set.Primary().Host() || got.User != "game" {
		t.Errorf("an insert: %v", err)
	}
	if got := s.LoginError(context.Canceled); got != nil {
		t.Errorf("another error is %v", got)
	}
	if err := set.SetPassword("game", "s3cretword"); err != nil {
		t.Fatal(err)
	}
	until(t, primaries, "the primary again", func(host string) bool { return host != "" })
	if err := s.TryLogin(patient(t)); err != nil {
		t.Errorf("a login that is good again: %v", err)
	}
	if err := insert(patient(t), s); err != nil {
		t.Error(err)
	}
}

func TestACloseEndsALoginThatIsUnderWay(t *testing.T) {
	set := startSet(t, replset.Options{})
	u, err := ParseURI(set.URI())
	if err != nil {
		t.Fatal(err)
	}
	s, primaries := openSet(t, SetConfig{Base: u.Options, Expect: Expect{SetName: set.Name()}})
	until(t, primaries, "a primary", func(host string) bool { return host != "" })
	m := set.Primary()
	m.Freeze()
	defer m.Unfreeze()
	end := make(chan error, 1)
	go func() { end <- s.TryLogin(patient(t)) }()
	s.Close() // It may be before the try has begun, too.
	if err := next(t, end, "the try's end"); err == nil {
		t.Error("the login was let in")
	}
	next(t, s.Closed(), "the end")
	if err := s.TryLogin(patient(t)); !errors.Is(err, messages.ErrNoPrimary) {
		t.Errorf("after the end: %v", err)
	}
}
