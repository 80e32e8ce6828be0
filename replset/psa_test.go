package replset

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// psa is a set of a primary, which is member 0, a secondary and an arbiter.
func psa(t *testing.T, opts Options) *Set {
	t.Helper()
	opts.Arbiters = map[int]bool{2: true}
	opts.Priority = map[int]float64{1: 0.5}
	set := steady(t, opts)
	if p := primaryOf(t, set); p != set.Member(0) {
		t.Fatalf("the primary is %v", p)
	}
	return set
}

func insertCommand(id any, concern bson.D) bson.D {
	cmd := bson.D{{Key: "insert", Value: "players"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: id}}}}}
	if concern != nil {
		cmd = append(cmd, bson.E{Key: "writeConcern", Value: concern})
	}
	return cmd
}

func TestAMajorityWriteBesideAnArbiterTimesOutWhileTheSecondaryIsDown(t *testing.T) {
	set := psa(t, Options{})
	s := dial(t, set.Member(0))
	majority := func(wtimeout int) bson.D {
		return bson.D{{Key: "w", Value: "majority"}, {Key: "wtimeout", Value: wtimeout}}
	}
	if reply := s.run("game", insertCommand(1, majority(20_000))); reply.Lookup("writeConcernError").Type != 0 {
		t.Errorf("with the secondary: %v", reply)
	}
	set.Member(1).Kill()
	reply := s.run("game", insertCommand(2, majority(50)))
	if reply.Lookup("n").Int32() != 1 || reply.Lookup("writeConcernError", "code").Int32() != 64 || !reply.Lookup("writeConcernError", "errInfo", "wtimeout").Boolean() {
		t.Errorf("without it: %v", reply)
	}
	if !set.Member(0).IsPrimary() {
		t.Error("the arbiter does not keep the primary elected")
	}
	reply = s.run("game", insertCommand(3, bson.D{{Key: "w", Value: 3}}))
	if reply.Lookup("writeConcernError", "code").Int32() != 100 {
		t.Errorf("three of two members with data: %v", reply)
	}
}

func TestWithAnArbiterInThreeAWriteDoesNotWaitForAMajorityUnlessToldTo(t *testing.T) {
	for _, test := range []struct {
		opts  Options
		waits bool
	}{
		{Options{Arbiters: map[int]bool{2: true}}, false},
		{Options{Members: 3}, true},
		{Options{Members: 4, Arbiters: map[int]bool{3: true}}, false}, // 3 of 4 voters are a majority, and all who have data
		{Options{Members: 5, Arbiters: map[int]bool{4: true}}, true},
		{Options{Members: 2, Version: "4.4"}, false},
	} {
		set := steady(t, test.opts)
		primary := primaryOf(t, set)
		for _, m := range set.Members() {
			if m != primary {
				m.Lag(time.Hour)
			}
		}
		s := dial(t, primary)
		s.send("game", insertCommand(1, nil))
		if test.waits {
			s.silent(50 * time.Millisecond)
		} else if reply := s.receive(); reply.Lookup("writeConcernError").Type != 0 {
			t.Error(reply)
		}
		if test.opts.Version != "" {
			continue
		}
		want := map[bool]any{true: "majority", false: int32(1)}[test.waits]
		reply := dial(t, primary).run("admin", bson.D{{Key: "getDefaultRWConcern", Value: 1}})
		var got any
		if err := reply.Lookup("defaultWriteConcern", "w").Unmarshal(&got); err != nil || got != want {
			t.Errorf("the default is %v, not %v", got, want)
		}
	}
}

func TestNobodyLogsInToAnArbiter(t *testing.T) {
	set := psa(t, Options{Users: []User{{Name: "ann", Password: "secret"}}})
	hello := bson.D{{Key: "hello", Value: 1}, {Key: "saslSupportedMechs", Value: "admin.ann"}}
	login := bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: "SCRAM-SHA-256"}, {Key: "payload", Value: []byte("n,,n=ann,r=nonce")}}
	s := dial(t, set.Member(1))
	if known, begun := s.run("admin", hello), s.run("admin", login); known.Lookup("saslSupportedMechs").Type == 0 || begun.Lookup("ok").Double() != 1 {
		t.Errorf("the secondary: %v, %v", known, begun)
	}
	s = dial(t, set.Member(2))
	if known, begun := s.run("admin", hello), s.run("admin", login); known.Lookup("saslSupportedMechs").Type != 0 || begun.Lookup("code").Int32() != 18 {
		t.Errorf("the arbiter: %v, %v", known, begun)
	}
	if reply := s.run("game", bson.D{{Key: "find", Value: "players"}}); reply.Lookup("code").Int32() != 13 {
		t.Errorf("without a login: %v", reply)
	}
}

func TestAnArbiterHasNoOperationTimeAndNoData(t *testing.T) {
	set := psa(t, Options{})
	if _, err := players(connect(t, set.URI())).InsertOne(soon(t), bson.D{}); err != nil {
		t.Fatal(err)
	}
	s := dial(t, set.Member(2))
	h := s.run("admin", bson.D{{Key: "hello", Value: 1}})
	at, written := h.Lookup("lastWrite", "opTime", "ts").Timestamp()
	if at != 0 || written != 0 || h.Lookup("lastWrite", "opTime", "t").Int64() != -1 || h.Lookup("lastWrite", "majorityOpTime").Type != 0 ||
		h.Lookup("lastWrite", "lastWriteDate").DateTime() != 0 || h.Lookup("passive").Type != 0 || h.Lookup("electionId").Type != 0 {
		t.Errorf("hello says %v", h)
	}
	if h.Lookup("operationTime").Type != 0 || h.Lookup("$clusterTime").Type != 0 {
		t.Errorf("a time without data: %v", h)
	}
	if reply := s.run("game", insertCommand(1, nil)); reply.Lookup("code").Int32() != 10107 {
		t.Error(reply)
	}
	if set.Member(2).repl.Node().Status().LastApplied.TS.T != 0 {
		t.Error("it has applied something")
	}
}

func TestTheStatusTellsVotesArbitersAndWhoIsGone(t *testing.T) {
	set := steady(t, Options{Members: 4, Arbiters: map[int]bool{2: true}, NonVoting: map[int]bool{3: true}, Priority: map[int]float64{1: 0.5}, ElectionTimeout: 200 * time.Millisecond})
	s := dial(t, set.Member(0))
	status := func() (all bson.Raw, members []bson.Raw) {
		all = s.run("admin", bson.D{{Key: "replSetGetStatus", Value: 1}})
		values, err := all.Lookup("members").Array().Values()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			members = append(members, v.Document())
		}
		return all, members
	}
	all, members := status()
	for key, want := range map[string]int32{"majorityVoteCount": 2, "writeMajorityCount": 2, "votingMembersCount": 3, "writableVotingMembersCount": 2, "myState": 1} {
		if got := all.Lookup(key).Int32(); got != want {
			t.Errorf("%s is %d, not %d", key, got, want)
		}
	}
	if all.Lookup("heartbeatIntervalMillis").Int64() != 20 {
		t.Error(all.Lookup("heartbeatIntervalMillis"))
	}
	if me := members[0]; !me.Lookup("self").Boolean() || me.Lookup("electionTime").Type == 0 || me.Lookup("lastHeartbeat").Type != 0 || me.Lookup("optimeDurable").Type != 0 {
		t.Errorf("the primary: %v", me)
	}
	if other := members[1]; other.Lookup("optimeDurable").Type == 0 || other.Lookup("electionTime").Type != 0 || other.Lookup("lastHeartbeat").Type == 0 || other.Lookup("state").Int32() != 2 {
		t.Errorf("the secondary: %v", other)
	}
	if arbiter := members[2]; arbiter.Lookup("stateStr").StringValue() != "ARBITER" || arbiter.Lookup("state").Int32() != 7 || arbiter.Lookup("optime").Type != 0 || arbiter.Lookup("optimeDate").Type != 0 {
		t.Errorf("the arbiter: %v", arbiter)
	}
	set.Member(1).Kill()
	eventually(t, "the killed one is missed", func() bool { _, members = status(); return members[1].Lookup("health").Double() == 0 })
	if gone := members[1]; gone.Lookup("stateStr").StringValue() != "(not reachable/healthy)" || gone.Lookup("configVersion").Int32() != -1 || gone.Lookup("optime", "t").Int64() != -1 || gone.Lookup("lastHeartbeatMessage").StringValue() == "" {
		t.Errorf("the killed one: %v", gone)
	}
}

func TestAMemberWithoutAVoteDoesNotKeepAPrimaryElected(t *testing.T) {
	set := steady(t, Options{NonVoting: map[int]bool{2: true}, Priority: map[int]float64{1: 0.5}, ElectionTimeout: 100 * time.Millisecond})
	h := hello(t, direct(t, set.Member(2)))
	if listed(h) != [3]int{2, 1, 0} || !h.Lookup("passive").Boolean() || !h.Lookup("secondary").Boolean() {
		t.Errorf("it says %v", h)
	}
	set.Member(1).Kill()
	eventually(t, "one of two voters is no primary", func() bool { return set.Primary() == nil })
}

func TestTheConfigShowsEveryKindOfMember(t *testing.T) {
	set := steady(t, Options{
		Members: 5, Priority: map[int]float64{0: 2}, Hidden: map[int]bool{1: true}, Delay: map[int]time.Duration{2: time.Hour},
		Arbiters: map[int]bool{3: true}, NonVoting: map[int]bool{4: true}, Tags: map[int]map[string]string{0: {"dc": "east"}},
	})
	config := direct(t, primaryOf(t, set)).Database("admin").RunCommand(soon(t), bson.D{{Key: "replSetGetConfig", Value: 1}})
	var reply struct {
		Config struct {
			Members []struct {
				Priority           float64
				Hidden             bool
				ArbiterOnly        bool  `bson:"arbiterOnly"`
				SecondaryDelaySecs int64 `bson:"secondaryDelaySecs"`
				Votes              int32
				Tags               map[string]string
			}
		}
	}
	if err := config.Decode(&reply); err != nil {
		t.Fatal(err)
	}
	m := reply.Config.Members
	if m[0].Priority != 2 || m[0].Votes != 1 || m[0].Tags["dc"] != "east" ||
		!m[1].Hidden || m[1].Priority != 0 ||
		m[2].SecondaryDelaySecs != 3600 || m[2].Priority != 0 ||
		!m[3].ArbiterOnly || m[3].Priority != 0 || m[3].Votes != 1 ||
		m[4].Votes != 0 || m[4].Priority != 0 {
		t.Errorf("the config is %+v", m)
	}
}
