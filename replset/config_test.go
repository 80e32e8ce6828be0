package replset

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// gone says that a connection has been ended by the member.
func gone(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// end waits until the member ends the connection.
func (s *socket) end() error {
	_ = s.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := s.nc.Read(make([]byte, 1))
	return err
}

func TestARemovedMemberHangsUpAndSaysThatItBelongsToNoSet(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	s := dial(t, m)
	s.run("admin", pingCommand)
	before := hello(t, direct(t, primaryOf(t, set))).Lookup("setVersion").Int32()
	if err := set.Remove(soon(t), m.Index()); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); !gone(err) {
		t.Errorf("the connection ended with %v", err)
	}
	s = dial(t, m)
	h := s.run("admin", bson.D{{Key: "hello", Value: 1}})
	if !h.Lookup("isreplicaset").Boolean() || h.Lookup("setName").Type != 0 || h.Lookup("secondary").Boolean() || h.Lookup("me").Type != 0 || m.State() != "REMOVED" {
		t.Errorf("it is %s and says %v", m.State(), h)
	}
	if reply := s.run("game", bson.D{{Key: "find", Value: "players"}, {Key: "$readPreference", Value: bson.D{{Key: "mode", Value: "secondary"}}}}); reply.Lookup("code").Int32() != 13436 {
		t.Errorf("a read: %v", reply)
	}
	if reply := s.run("game", insertCommand(1, nil)); reply.Lookup("code").Int32() != 10107 {
		t.Errorf("a write: %v", reply)
	}
	status := s.run("admin", bson.D{{Key: "replSetGetStatus", Value: 1}})
	if status.Lookup("code").Int32() != 93 || status.Lookup("codeName").StringValue() != "InvalidReplicaSetConfig" || status.Lookup("stateStr").StringValue() != "REMOVED" {
		t.Errorf("its status: %v", status)
	}
	if err := set.Return(soon(t), m.Index()); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	// Out, in without a vote, and with one.
	if h := hello(t, direct(t, m)); h.Lookup("setVersion").Int32() != before+3 || listed(h) != [3]int{3, 0, 0} || !h.Lookup("secondary").Boolean() {
		t.Errorf("after its return it says %v", h)
	}
}

// settle has a majority acknowledge a write of the primary's term. Before that no config is
// replaced.
func settle(t *testing.T, primary *Member) {
	t.Helper()
	reply := dial(t, primary).run("game", insertCommand("settled", bson.D{{Key: "w", Value: "majority"}}))
	if reply.Lookup("n").Int32() != 1 || reply.Lookup("writeConcernError").Type != 0 {
		t.Fatal(reply)
	}
}

func TestARemovalThatWasNotWaitedForCanBeFinished(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute})
	primary := primaryOf(t, set).Index()
	m, other := set.Member((primary+1)%3), set.Member((primary+2)%3)
	settle(t, set.Member(primary))
	other.Freeze() // The new config's majority does not get it.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := set.Remove(ctx, m.Index()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("removed with %v", err)
	}
	other.Unfreeze()
	if err := set.Hide(soon(t), m.Index(), true); err == nil || !strings.Contains(err.Error(), "does not list it") {
		t.Errorf("changed with %v", err)
	}
	if err := set.Remove(soon(t), m.Index()); err != nil {
		t.Errorf("removed again with %v", err)
	}
	eventually(t, "it knows that it is removed", func() bool { return m.State() == "REMOVED" })
}

func TestAnAdditionThatWasNotWaitedForCanBeFinished(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: time.Minute})
	primary := primaryOf(t, set).Index()
	others := []*Member{set.Member((primary + 1) % 3), set.Member((primary + 2) % 3)}
	settle(t, set.Member(primary))
	for _, m := range others {
		m.Freeze() // The new config's majority does not get it.
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m, err := set.Add(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || m == nil {
		t.Fatalf("added %v with %v", m, err)
	}
	for _, m := range others {
		m.Unfreeze()
	}
	// The config that lists it is the set's all the same.
	eventually(t, "it is a secondary", func() bool { return m.State() == "SECONDARY" })
	if err := set.Return(soon(t), m.Index()); err != nil {
		t.Fatalf("returned with %v", err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if h := hello(t, direct(t, m)); listed(h) != [3]int{4, 0, 0} || !h.Lookup("secondary").Boolean() {
		t.Errorf("it says %v", h)
	}
}

func TestAMemberThatRollsBackHangsUp(t *testing.T) {
	set := steady(t, Options{ElectionTimeout: 200 * time.Millisecond})
	old := primaryOf(t, set)
	lag(set, time.Hour, old)
	s := dial(t, old)
	if reply := s.run("game", oneInsert); reply.Lookup("n").Int32() != 1 {
		t.Fatal(reply)
	}
	cutOff(t, set, old)
	s.run("admin", pingCommand)
	set.Heal()
	if err := s.end(); !gone(err) {
		t.Errorf("the connection ended with %v", err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestAResyncedMemberServesNothingUntilItHasTheData(t *testing.T) {
	set := steady(t, Options{})
	if _, err := players(connect(t, set.URI())).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	if err := m.Resync(time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it copies the data", func() bool { return m.State() == "STARTUP2" })
	s := dial(t, m)
	h := s.run("admin", bson.D{{Key: "hello", Value: 1}})
	if h.Lookup("secondary").Boolean() || h.Lookup("isWritablePrimary").Boolean() || h.Lookup("setName").StringValue() != set.Name() || listed(h) != [3]int{3, 0, 0} {
		t.Errorf("it says %v", h)
	}
	for _, cmd := range []bson.D{{{Key: "find", Value: "players"}}, {{Key: "count", Value: "players"}}, {{Key: "aggregate", Value: "players"}, {Key: "pipeline", Value: bson.A{}}, {Key: "cursor", Value: bson.D{}}}} {
		reply := s.run("game", append(cmd, bson.E{Key: "$readPreference", Value: bson.D{{Key: "mode", Value: "nearest"}}}))
		if reply.Lookup("code").Int32() != 13436 || reply.Lookup("topologyVersion").Type == 0 {
			t.Errorf("%v: %v", cmd, reply)
		}
	}
	m.repl.InitialSync(0)
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(direct(t, m)), bson.D{}); n != 1 {
		t.Errorf("it has %d documents", n)
	}
	if err := steady(t, Options{Standalone: true}).Member(0).Resync(0); err == nil {
		t.Error("a standalone was resynced")
	}
}

func TestAnAddedMemberIsPassiveWhileItCopiesTheData(t *testing.T) {
	for version, passive := range map[string]bool{"4.4": false, "7.0": true} {
		set := steady(t, Options{Version: version, InitialSync: time.Hour})
		m, err := set.Add(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it copies the data", func() bool { return m.State() == "STARTUP2" })
		h := hello(t, direct(t, m))
		if want := map[bool][3]int{true: {3, 1, 0}, false: {4, 0, 0}}[passive]; listed(h) != want || h.Lookup("secondary").Boolean() {
			t.Errorf("%s: meanwhile it says %v", version, h)
		}
		m.repl.InitialSync(0)
		if err := set.AwaitSecondaries(soon(t)); err != nil {
			t.Fatal(err)
		}
		if h := hello(t, direct(t, m)); listed(h) != [3]int{4, 0, 0} || !h.Lookup("secondary").Boolean() || h.Lookup("passive").Type != 0 {
			t.Errorf("%s: then it says %v", version, h)
		}
	}
}

// holdBack keeps a secondary from standing for election; 0 lets it stand again.
func holdBack(t *testing.T, m *Member, secs int) {
	t.Helper()
	if reply := dial(t, m).run("admin", bson.D{{Key: "replSetFreeze", Value: secs}}); reply.Lookup("ok").Double() != 1 {
		t.Fatal(reply)
	}
}

func TestAMemberWhosePriorityIsRaisedTakesOver(t *testing.T) {
	set := steady(t, Options{TakeoverDelay: 20 * time.Millisecond, ElectionTimeout: 500 * time.Millisecond})
	old := primaryOf(t, set)
	m := set.Member((old.Index() + 1) % 3)
	holdBack(t, m, 3600) // until it is known that a majority has the config
	if err := set.Configure(soon(t), m.Index(), func(mc *MemberConfig) { mc.Priority = 3 }); err != nil {
		t.Fatal(err)
	}
	holdBack(t, m, 0)
	eventually(t, "it has taken over", func() bool { return set.Primary() == m })
	if got := set.Config(m.Index()); got.Priority != 3 {
		t.Errorf("its config is %+v", got)
	}
	// Without a priority, it must give the role up.
	if err := set.Configure(soon(t), m.Index(), func(mc *MemberConfig) { mc.Priority = 0 }); err != nil {
		t.Fatal(err)
	}
	if set.Primary() == m {
		t.Error("it is still the primary")
	}
	if h := hello(t, direct(t, m)); !h.Lookup("passive").Boolean() || listed(h) != [3]int{2, 1, 0} {
		t.Errorf("it says %v", h)
	}
}

func TestChangesThatAServerRefusesAreRefused(t *testing.T) {
	set := steady(t, Options{Arbiters: map[int]bool{2: true}})
	secondary := (primaryOf(t, set).Index() + 1) % 2
	for want, change := range map[string]func(*MemberConfig){
		"priority must be 0 when hidden=true":        func(mc *MemberConfig) { mc.Hidden = true },
		"priority must be 0 when secondaryDelaySecs": func(mc *MemberConfig) { mc.Delay = time.Second },
		"priority must be 0 when non-voting":         func(mc *MemberConfig) { mc.NonVoting = true },
		"the priority 1001 is not":                   func(mc *MemberConfig) { mc.Priority = 1001 },
		"the delay -1s is negative":                  func(mc *MemberConfig) { mc.Delay = -time.Second },
	} {
		if err := set.Configure(soon(t), secondary, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := set.Configure(soon(t), 2, func(*MemberConfig) {}); err == nil {
		t.Error("an arbiter was changed")
	}
}

func TestFiftyMembersOfWhichSevenVote(t *testing.T) {
	silent := map[int]bool{}
	for i := MaxVoters; i < MaxMembers-1; i++ {
		silent[i] = true
	}
	set := steady(t, Options{Members: MaxMembers - 1, NonVoting: silent, ElectionTimeout: 20 * time.Second})
	err := set.Configure(soon(t), MaxVoters, func(mc *MemberConfig) { mc.NonVoting = false })
	if err == nil || !strings.Contains(err.Error(), "8 members would vote") {
		t.Errorf("an eighth voter: %v", err)
	}
	if _, err := set.Add(soon(t)); err == nil || !strings.Contains(err.Error(), "8 members would vote") {
		t.Errorf("a new one as the eighth voter: %v", err)
	}
	if n := len(set.Members()); n != MaxMembers {
		t.Errorf("there are %d members", n)
	}
}

func TestAnArbiterThatWouldChangeTheDefaultWriteConcernIsNotAdded(t *testing.T) {
	const want = "would change the implicit default write concern"
	for _, test := range []struct {
		opts    Options
		refused bool
	}{
		{Options{Members: 3, Arbiters: map[int]bool{3: true}}, true},
		{Options{Members: 3, Arbiters: map[int]bool{3: true}, Version: "4.4"}, false},
		{Options{Members: 4, Arbiters: map[int]bool{4: true}}, false},
	} {
		set := steady(t, test.opts)
		if _, err := set.Add(soon(t)); test.refused != (err != nil && strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v", test.opts, err)
		}
	}
}

// TestTheConfigChangesUnderLoad changes members while clients write and read.
func TestTheConfigChangesUnderLoad(t *testing.T) {
	set := steady(t, Options{Members: 4, TakeoverDelay: 50 * time.Millisecond})
	client := connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTimeout(10 * time.Second) })
	ctx, stop := context.WithCancel(soon(t))
	defer stop()
	var wg sync.WaitGroup
	var acked, reads atomic.Int32
	var failed atomic.Value
	wg.Go(func() {
		for i := int32(1); ctx.Err() == nil; i++ {
			if _, err := players(client).InsertOne(ctx, bson.D{{Key: "_id", Value: i}}); err == nil {
				acked.Add(1)
			} else if ctx.Err() == nil {
				failed.Store(err.Error())
			}
		}
	})
	wg.Go(func() {
		nearest := client.Database("game").Collection("players", options.Collection().SetReadPreference(readpref.Nearest()))
		for ctx.Err() == nil {
			if _, err := nearest.CountDocuments(ctx, bson.D{}); err == nil {
				reads.Add(1)
			}
		}
	})
	version := int32(0)
	went := func(what string) {
		t.Helper()
		a, r := acked.Load(), reads.Load()
		eventually(t, "clients go on after "+what, func() bool { return acked.Load() > a+3 && reads.Load() > r+3 })
		p, err := set.AwaitPrimary(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		now := p.status().SetVersion
		if now <= version {
			t.Errorf("after %s the version is %d, not after %d", what, now, version)
		}
		version = now
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	went("the start")
	other := (primaryOf(t, set).Index() + 1) % 4
	// No change may meet the takeover: a primary that is deposed in the middle of one fails it.
	holdBack(t, set.Member(other), 3600)
	must(set.Configure(soon(t), other, func(mc *MemberConfig) { mc.Priority = 5 }))
	went("a higher priority")
	holdBack(t, set.Member(other), 0)
	eventually(t, "it has taken over", func() bool { return set.Primary() == set.Member(other) })
	must(set.Configure(soon(t), other, func(mc *MemberConfig) { mc.Tags = map[string]string{"dc": "east"} }))
	went("a tag")
	must(set.Hide(soon(t), primaryOf(t, set).Index(), true))
	went("the primary was hidden")
	m, err := set.Add(soon(t))
	must(err)
	went("a member was added")
	must(set.Remove(soon(t), (primaryOf(t, set).Index()+1)%4))
	went("a member was removed")
	must(set.Configure(soon(t), m.Index(), func(mc *MemberConfig) { mc.Priority, mc.NonVoting = 0, true }))
	went("a vote was taken away")
	stop()
	wg.Wait()
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(connect(t, set.URI())), bson.D{}); n < int64(acked.Load()) {
		t.Errorf("%d documents of %d acknowledged writes", n, acked.Load())
	}
	if text := failed.Load(); text != nil {
		t.Errorf("a write failed: %v", text)
	}
}
