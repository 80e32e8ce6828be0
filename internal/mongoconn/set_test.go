package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// openSet opens a set-aware client until the test ends. The channel gets each primary.
func openSet(t testing.TB, cfg SetConfig) (*Set, <-chan string) {
	t.Helper()
	primaries := make(chan string, 100)
	cfg.OnPrimary = func(host string, _ bson.ObjectID, _ uint32) { primaries <- host }
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = patience
	}
	s, err := OpenSet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		next(t, s.Closed(), "the end of a closed client")
	})
	return s, primaries
}

func hosts(addrs ...string) *options.ClientOptions { return options.Client().SetHosts(addrs) }

func insert(ctx context.Context, s *Set) error {
	_, err := s.Client().Database("game").Collection("players").InsertOne(ctx, bson.D{{Key: "_id", Value: 7}})
	return err
}

func TestTheSetIsFoundFromOneHostAndItsPrimaryIsTold(t *testing.T) {
	a, b := serve(t, nil), serve(t, nil)
	all := bson.E{Key: "hosts", Value: bson.A{a.addr, b.addr}}
	a.says(member(a.addr, "rs0", all, bson.E{Key: "primary", Value: b.addr}))
	b.says(member(b.addr, "rs0", append(asPrimary(1), all)...))
	s, primaries := openSet(t, SetConfig{Base: hosts(a.addr), Expect: Expect{Learned: new(SetName)}})
	if got := next(t, primaries, "a primary"); got != b.addr {
		t.Errorf("the primary is %s, not %s", got, b.addr)
	}
	if err := insert(patient(t), s); err != nil {
		t.Fatal(err)
	}
	if !s.Reaches(a.addr) || !s.Reaches(b.addr) || s.Reaches("c:1") {
		t.Error("it does not know whom it reaches")
	}
	if a.count("insert") != 0 || b.count("insert") != 1 {
		t.Errorf("inserts: %d at the secondary, %d at the primary", a.count("insert"), b.count("insert"))
	}
	b.mu.Lock()
	for _, cmd := range b.got {
		if _, err := cmd.LookupErr("insert"); err == nil && cmd.Lookup("writeConcern", "w").StringValue() != "majority" {
			t.Errorf("the insert is %v", cmd)
		}
	}
	b.mu.Unlock()

	// The other one takes over.
	b.says(member(b.addr, "rs0", all))
	if got := next(t, primaries, "the old primary's end"); got != "" {
		t.Errorf("the primary is %s, not none", got)
	}
	a.says(member(a.addr, "rs0", append(asPrimary(2), all)...))
	if got := next(t, primaries, "a new primary"); got != a.addr {
		t.Errorf("the primary is %s, not %s", got, a.addr)
	}
}

func TestTheWireVersionIsThatOfWhoeverIsThePrimaryNow(t *testing.T) {
	old, young := serve(t, nil), serve(t, nil)
	all := bson.E{Key: "hosts", Value: bson.A{old.addr, young.addr}}
	old.says(member(old.addr, "rs0", all))
	young.says(member(young.addr, "rs0", append(asPrimary(1), all, bson.E{Key: "maxWireVersion", Value: 25})...))
	s, primaries := openSet(t, SetConfig{Base: hosts(old.addr), Expect: Expect{SetName: "rs0"}})
	if got := next(t, primaries, "a primary"); got != young.addr || s.WireVersion() != 25 {
		t.Errorf("the primary is %s with wire version %d", got, s.WireVersion())
	}
	young.says(member(young.addr, "rs0", all, bson.E{Key: "maxWireVersion", Value: 25}))
	if got := next(t, primaries, "its end"); got != "" || s.WireVersion() != 0 {
		t.Errorf("the primary is %q with wire version %d", got, s.WireVersion())
	}
	old.says(member(old.addr, "rs0", append(asPrimary(2), all)...))
	if got := next(t, primaries, "an older primary"); got != old.addr || s.WireVersion() != 21 {
		t.Errorf("the primary is %s with wire version %d", got, s.WireVersion())
	}
}

func TestAStrangerAtThePrimarysAddressGetsNoWrite(t *testing.T) {
	for _, retries := range []bool{false, true} {
		t.Run(fmt.Sprintf("retries %v", retries), func(t *testing.T) {
			f := serve(t, nil)
			me := member(f.addr, "rs0", asPrimary(1)...)
			other := member("other.test:1", "rs0", asPrimary(9)...)
			f.change(func() {
				f.hello = func(socket int) bson.D {
					if socket == 1 { // the monitor's
						return me
					}
					return other
				}
			})
			refusals := make(chan error, 100)
			s, primaries := openSet(t, SetConfig{
				Base: hosts(f.addr).SetRetryWrites(retries), Expect: Expect{SetName: "rs0"},
				OnRefused: func(address string, err error) {
					if address != f.addr {
						t.Errorf("the address is %s", address)
					}
					refusals <- err
				},
			})
			next(t, primaries, "a primary")
			ctx, attempts := WithAttempts(patient(t))
			// A retry may be called off in its handshake, by the end of the heartbeat that the first refusal ends.
			if err := insert(ctx, s); err == nil || !retries && !errors.Is(err, messages.ErrWrongHost) {
				t.Errorf("the insert fails with %v", err)
			}
			if n := f.count("insert"); n != 0 || attempts.Sent() != 0 {
				t.Errorf("%d inserts reached the stranger, %d attempts", n, attempts.Sent())
			}
			if err := next(t, refusals, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
				t.Errorf("the refusal is %v", err)
			}
		})
	}
}

func TestAliasesHoldForTheSetAwareClientToo(t *testing.T) {
	// The member's own name means nothing here; the configured address does.
	f := serve(t, nil)
	f.says(member("inner.test:9", "rs0", asPrimary(1)...))
	s, primaries := openSet(t, SetConfig{
		Base: hosts(f.addr), Resolver: names{},
		Expect: Expect{SetName: "rs0", Aliases: map[string]string{f.addr: "Inner.test:9"}},
	})
	if got := next(t, primaries, "a primary"); got != "inner.test:9" {
		t.Errorf("the primary is %s", got)
	}
	if err := insert(patient(t), s); err != nil {
		t.Error(err)
	}
}

func TestASetIsReachedByItsMembersNames(t *testing.T) {
	f := serve(t, nil)
	_, port, _ := net.SplitHostPort(f.addr)
	name := "a.test:" + port
	f.says(member(name, "rs0", asPrimary(1)...))
	s, primaries := openSet(t, SetConfig{Base: hosts(name), Expect: Expect{SetName: "rs0"}, Resolver: names{"a.test": {netip.MustParseAddr("127.0.0.1")}}})
	next(t, primaries, "a primary")
	if err := insert(patient(t), s); err != nil {
		t.Error(err)
	}
}

func TestAStandaloneIsItsOwnPrimary(t *testing.T) {
	f := serve(t, nil)
	f.says(standalone())
	s, primaries := openSet(t, SetConfig{Base: hosts(f.addr), Expect: Expect{AllowStandalone: true, Learned: new(SetName)}})
	if got := next(t, primaries, "a primary"); got != f.addr {
		t.Errorf("the primary is %s", got)
	}
	if err := insert(patient(t), s); err != nil {
		t.Error(err)
	}
}

// primarySet is a client of a set of one primary.
func primarySet(t *testing.T) (*fake, *Set) {
	f := serve(t, nil)
	f.says(member(f.addr, "rs0", asPrimary(1)...))
	s, primaries := openSet(t, SetConfig{Base: hosts(f.addr), Expect: Expect{SetName: "rs0"}})
	next(t, primaries, "a primary")
	return f, s
}

func TestEachAttemptOfAWriteIsRecorded(t *testing.T) {
	f, s := primarySet(t)
	numbers := make(chan int64, 10)
	f.change(func() {
		var tries atomic.Int32
		f.reply = func(name string, cmd bson.Raw) bson.D {
			if name != "insert" {
				return bson.D{{Key: "ok", Value: 1}}
			}
			numbers <- cmd.Lookup("txnNumber").AsInt64()
			if tries.Add(1) == 1 {
				return nil // the reply is lost
			}
			return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}}
		}
	})
	ctx, attempts := WithAttempts(patient(t))
	sess, err := s.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer sess.EndSession(context.Background())
	if err := insert(mongo.NewSessionContext(ctx, sess), s); err != nil {
		t.Fatal(err)
	}
	list := attempts.List()
	if len(list) != 2 || attempts.Sent() != 2 || list[0].State != Failed || !mongo.IsNetworkError(list[0].Err) || list[0].NotSent || list[1].State != Succeeded {
		t.Fatalf("the attempts are %+v", list)
	}
	for _, a := range list {
		if a.Command != "insert" || a.Host != f.addr || a.Reply != nil {
			t.Errorf("an attempt is %+v", a)
		}
	}
	if first, second := <-numbers, <-numbers; first != second {
		t.Errorf("retried with transaction number %d after %d", second, first)
	}
	if other := attempts.List(); &other[0] == &list[0] {
		t.Error("the list is shared")
	}
}

func TestWhatASucceededAttemptReportsIsRecorded(t *testing.T) {
	f, s := primarySet(t)
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "waiting"}}}}
		}
	})
	ctx, attempts := WithAttempts(patient(t))
	if err := insert(ctx, s); err == nil {
		t.Error("a write concern error is no error")
	}
	list := attempts.List()
	if len(list) != 1 || list[0].State != Succeeded || list[0].Reply.Lookup("writeConcernError", "code").AsInt64() != 64 {
		t.Errorf("the attempts are %+v", list)
	}

	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 2}, {Key: "errmsg", Value: "bad"}}
		}
	})
	ctx, attempts = WithAttempts(patient(t))
	if err := insert(ctx, s); err == nil {
		t.Error("a refused write is no error")
	}
	if list = attempts.List(); len(list) != 1 || list[0].State != Failed || mongo.IsNetworkError(list[0].Err) || list[0].NotSent {
		t.Errorf("the attempts are %+v", list)
	}
}

func TestAnAttemptThatWasNotSentSaysSo(t *testing.T) {
	f, s := primarySet(t)
	if err := insert(patient(t), s); err != nil { // from now on a socket is there
		t.Fatal(err)
	}
	before := f.count("insert")
	ctx, cancel := context.WithCancel(patient(t))
	cancel()
	ctx, attempts := WithAttempts(ctx)
	if err := insert(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled insert: %v", err)
	}
	if list := attempts.List(); len(list) != 1 || !list[0].NotSent || attempts.Sent() != 0 {
		t.Errorf("the attempts are %+v", list)
	}
	if f.count("insert") != before {
		t.Error("a cancelled insert was sent")
	}
}

func TestAnEmbeddersMonitorsOfTheSetAreCalledToo(t *testing.T) {
	f := serve(t, nil)
	f.says(member(f.addr, "rs0", asPrimary(1)...))
	var topologies, commands atomic.Int32
	base := hosts(f.addr).
		SetServerMonitor(&event.ServerMonitor{TopologyDescriptionChanged: func(*event.TopologyDescriptionChangedEvent) { topologies.Add(1) }}).
		SetMonitor(&event.CommandMonitor{Succeeded: func(context.Context, *event.CommandSucceededEvent) { commands.Add(1) }})
	s, primaries := openSet(t, SetConfig{Base: base, Expect: Expect{SetName: "rs0"}})
	next(t, primaries, "a primary")
	if err := insert(patient(t), s); err != nil {
		t.Fatal(err)
	}
	if topologies.Load() == 0 || commands.Load() != 1 {
		t.Errorf("called for %d changes and %d commands", topologies.Load(), commands.Load())
	}
}

func TestASetWithoutHostsIsRefused(t *testing.T) {
	if _, err := OpenSet(SetConfig{Base: options.Client()}); err == nil {
		t.Error("it is taken")
	}
}

func TestTheURIsPoolSizeDoesNotHoldUpTheWriters(t *testing.T) {
	for uri, least := range map[string]uint64{"mongodb://a/?maxPoolSize=2&minPoolSize=1": 1, "mongodb://a/?maxPoolSize=900&minPoolSize=800": 108} {
		s := &Set{cfg: SetConfig{Base: options.Client().ApplyURI(uri), Writers: 8}}
		s.dialer = &setDialer{set: s}
		if o := s.options(); *o.MaxPoolSize != 108 || *o.MinPoolSize != least {
			t.Errorf("%s: from %d to %d sockets", uri, *o.MinPoolSize, *o.MaxPoolSize)
		}
	}
}
