package replset

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// meAt asks over a new connection who answers at an address.
func meAt(t testing.TB, m *Member) string {
	t.Helper()
	s := dial(t, m)
	defer s.nc.Close()
	me, _ := s.run("admin", bson.D{{Key: "hello", Value: 1}}).Lookup("me").StringValueOK()
	return me
}

func TestAnAddressThatAlternatesReachesBothMembers(t *testing.T) {
	set := steady(t, Options{})
	if err := set.Alternate(0, 1, 2); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	eventually(t, "both have answered", func() bool {
		seen[meAt(t, set.Member(0))] = true
		return len(seen) == 2
	})
	if !seen[set.Member(1).Host()] || !seen[set.Member(2).Host()] {
		t.Errorf("%v have answered", seen)
	}
	set.Member(1).Kill()
	set.Member(2).Kill()
	if set.Member(0).door.listener != nil {
		t.Error("the address accepts although both that it reaches are dead")
	}
	if err := set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	if me := meAt(t, set.Member(0)); me != set.Member(0).Host() {
		t.Errorf("after all is restored, %s answers", me)
	}
}

func TestAnotherSetAtAnAddress(t *testing.T) {
	set, other := steady(t, Options{Name: "a"}), steady(t, Options{Name: "b", Members: 1})
	if err := set.Impersonate(0, other.Member(0)); err != nil {
		t.Fatal(err)
	}
	client := direct(t, set.Member(0))
	if name := hello(t, client).Lookup("setName").StringValue(); name != "b" {
		t.Errorf("the set that answers is %q", name)
	}
	other.Stop()
	eventually(t, "the address refuses when the stranger is gone", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return client.Ping(ctx, nil) != nil
	})
	if err := set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	if me := meAt(t, set.Member(0)); me != set.Member(0).Host() {
		t.Errorf("after all is restored, %s answers", me)
	}
}

func TestAKilledMemberTakesTheAddressAlongThatReachesIt(t *testing.T) {
	set := steady(t, Options{})
	if err := set.SwapAddresses(0, 1); err != nil {
		t.Fatal(err)
	}
	set.Member(0).Kill()
	if set.Member(1).door.listener != nil {
		t.Error("an address accepts for a dead member")
	}
	if me := meAt(t, set.Member(0)); me != set.Member(1).Host() {
		t.Errorf("%s answers at the address of the dead one", me)
	}
	if err := set.Member(0).Restart(); err != nil {
		t.Fatal(err)
	}
	if me := meAt(t, set.Member(1)); me != set.Member(0).Host() {
		t.Errorf("after the restart, %s answers at the swapped address", me)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	coll := players(connect(t, set.URI()))
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	added, err := set.Add(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(direct(t, added)), bson.D{}); n != 1 {
		t.Errorf("the added member has %d documents", n)
	}
	primary := primaryOf(t, set)
	if err := set.Remove(soon(t), primary.Index()); err != nil {
		t.Fatal(err)
	}
	gone := direct(t, primary)
	eventually(t, "it knows that it is removed", func() bool {
		// It hangs up on its clients as it learns of it, perhaps in the middle of this.
		reply, err := gone.Database("admin").RunCommand(soon(t), bson.D{{Key: "hello", Value: 1}}).Raw()
		return err == nil && reply.Lookup("setName").Type == 0
	})
	if err := set.Remove(soon(t), primary.Index()); err == nil {
		t.Error("it was removed twice")
	}
	if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 2}}); err != nil {
		t.Fatal(err)
	}
	if err := set.Return(soon(t), primary.Index()); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(gone), bson.D{}); n != 2 {
		t.Errorf("the returned member has %d documents", n)
	}
}

func TestHiddenAndTaggedMembersShowAsSuch(t *testing.T) {
	set := steady(t, Options{
		Priority: map[int]float64{1: 0}, Hidden: map[int]bool{2: true}, Tags: map[int]map[string]string{1: {"dc": "east"}},
	})
	if p := primaryOf(t, set); p != set.Member(0) {
		t.Fatalf("the primary is %v", p)
	}
	h := hello(t, direct(t, set.Member(1)))
	if h.Lookup("passives", "0").StringValue() != set.Member(1).Host() || h.Lookup("tags", "dc").StringValue() != "east" {
		t.Errorf("hello says %v", h)
	}
	if n, _ := h.Lookup("hosts").Array().Values(); len(n) != 1 {
		t.Errorf("hello says %v", h)
	}
}

func TestTLSAndLogins(t *testing.T) {
	for _, mode := range []TLSMode{TLSOff, TLSServer, TLSMutual} {
		set := steady(t, Options{TLS: mode, Users: []User{{Name: "ann", Password: "s3cret/@"}}})
		good := connect(t, set.URI(), func(o *options.ClientOptions) {
			if mode != TLSOff {
				o.SetTLSConfig(set.ClientTLS())
			}
		})
		if _, err := players(good).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
			t.Fatalf("mode %d: %v", mode, err)
		}
		fails := func(what string, change func(*options.ClientOptions)) {
			t.Helper()
			client := connect(t, set.URI(), func(o *options.ClientOptions) {
				if mode != TLSOff {
					o.SetTLSConfig(set.ClientTLS())
				}
				o.SetServerSelectionTimeout(300 * time.Millisecond)
				change(o)
			})
			if err := players(client).FindOne(soon(t), bson.D{}).Err(); err == nil {
				t.Errorf("mode %d: %s works", mode, what)
			}
		}
		fails("a wrong password", func(o *options.ClientOptions) {
			o.SetAuth(options.Credential{Username: "ann", Password: "wrong", AuthSource: "admin"})
		})
		fails("no login", func(o *options.ClientOptions) { o.Auth = nil })
		if mode == TLSOff {
			if set.ClientTLS() != nil {
				t.Error("there is a TLS config without TLS")
			}
			continue
		}
		fails("another authority", func(o *options.ClientOptions) { o.SetTLSConfig(&tls.Config{}) })
		if mode == TLSMutual {
			fails("no client certificate", func(o *options.ClientOptions) {
				cfg := set.ClientTLS()
				cfg.Certificates = nil
				o.SetTLSConfig(cfg)
			})
		}
	}
}

func TestOptionsThatCannotWorkAreRefusedByName(t *testing.T) {
	for want, opts := range map[string]Options{
		"Options.Members":         {Members: 51},
		"Options.NonVoting":       {Members: 8},
		"Options.Standalone":      {Members: 2, Standalone: true},
		"Options.ElectionTimeout": {ElectionTimeout: -1},
		"Options.TLS":             {TLS: 9},
		"Options.Priority[1]":     {Priority: map[int]float64{1: -1}},
		"Hidden":                  {Members: 1, Hidden: map[int]bool{0: true}},
		"Arbiters":                {Members: 1, Arbiters: map[int]bool{0: true}},
		"Options.Delay[0]":        {Delay: map[int]time.Duration{0: -1}},
		"Options.Delay[1]":        {Delay: map[int]time.Duration{1: 1}, Arbiters: map[int]bool{1: true}},
		"Options.Users":           {Users: []User{{Password: "x"}}},
		"Options.Users[0]":        {TLS: TLSServer, Users: []User{{Name: ClientSubject, X509: true}}},
		"Options.Users[1]":        {TLS: TLSMutual, Users: []User{{Name: "a"}, {Name: ClientSubject, Password: "x", X509: true}}},
	} {
		set, err := Start(opts)
		if err == nil {
			set.Stop()
			t.Errorf("%+v is accepted", opts)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%+v is refused with %v, which does not name %s", opts, err, want)
		}
	}
}

func TestAStoppedSetStaysStopped(t *testing.T) {
	set := steady(t, Options{})
	set.Stop()
	set.Stop()
	if err := set.Member(0).Restart(); err != ErrStopped {
		t.Errorf("a restart ended with %v", err)
	}
	if _, err := set.AwaitPrimary(soon(t)); err != ErrStopped {
		t.Errorf("a wait ended with %v", err)
	}
	if _, err := set.Add(soon(t)); err != ErrStopped {
		t.Errorf("an addition ended with %v", err)
	}
}
