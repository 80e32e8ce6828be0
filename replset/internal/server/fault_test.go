package server

import (
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// faulty starts a server with a fault at work.
func faulty(t *testing.T, spec FaultSpec) (*served, *Fault) {
	t.Helper()
	faults := &Faults{}
	s := start(t, "rs0", func(c *Config) { c.Faults = faults })
	f, err := NewFault(spec)
	if err != nil {
		t.Fatal(err)
	}
	faults.Add(f)
	t.Cleanup(func() { faults.Remove(f) })
	return s, f
}

func helloAs(app string) bson.D {
	return bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: app}}}}}}
}

func (s *served) count() int32 {
	s.t.Helper()
	return s.dial().ok("test", bson.D{{Key: "count", Value: "c"}}).Lookup("n").Int32()
}

func TestACutConnectionHasExecutedWhatItsPhaseSays(t *testing.T) {
	for name, test := range map[string]struct {
		phase    CutPhase
		executed int32
		replied  bool
	}{
		"before execution": {CutBefore, 0, false},
		"before the reply": {CutAfter, 1, false},
		"within the reply": {CutWithin, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := faulty(t, FaultSpec{Commands: []string{"insert", "update"}, Cut: test.phase, Times: 1})
			w := s.dial()
			w.send(0, append(insertOf(1), bson.E{Key: "$db", Value: "test"}))
			got, err := io.ReadAll(w.nc)
			if err != nil {
				t.Fatalf("the connection ended with %v", err)
			}
			if test.replied {
				if len(got) < headerSize || len(got) >= int(int32(uint32(got[0])|uint32(got[1])<<8)) {
					t.Errorf("%d bytes of the reply", len(got))
				}
			} else if len(got) > 0 {
				t.Errorf("%d bytes of the reply", len(got))
			}
			if n := s.count(); n != test.executed {
				t.Errorf("it was executed %d times", n)
			}
			s.dial().ok("test", insertOf(2))
			if f.Struck() != 1 {
				t.Errorf("it struck %d times", f.Struck())
			}
		})
	}
}

func TestAWriteThatExpectsNoReplyIsCutAsWell(t *testing.T) {
	s, _ := faulty(t, FaultSpec{Commands: []string{"insert"}, Cut: CutWithin})
	w := s.dial()
	w.send(flagMoreToCome, append(insertOf(1), bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: 0}}}, bson.E{Key: "$db", Value: "test"}))
	w.gone()
	if n := s.count(); n != 1 {
		t.Errorf("it was executed %d times", n)
	}
}

func TestAFaultStrikesOnlyTheApplicationItNames(t *testing.T) {
	s, _ := faulty(t, FaultSpec{AppName: "a", Cut: CutBefore})
	hit, spared, nameless := s.dial(), s.dial(), s.dial()
	// A connection is opened all the same, where no command is named.
	hit.ok("admin", helloAs("a"))
	spared.ok("admin", helloAs("b"))
	for _, w := range []*wire{spared, nameless} {
		w.ok("test", bson.D{{Key: "ping", Value: 1}})
	}
	hit.send(0, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "test"}})
	hit.gone()
}

func TestAFaultForHelloMeetsTheFirstOneOfAConnection(t *testing.T) {
	s, _ := faulty(t, FaultSpec{Commands: []string{"hello"}, AppName: "a", Cut: CutBefore, Times: 1})
	w := s.dial()
	w.send(0, append(helloAs("a"), bson.E{Key: "$db", Value: "admin"}))
	w.gone()
	s.dial().ok("admin", helloAs("a"))
}

func TestAnOverloadedServerTurnsAShareAway(t *testing.T) {
	outcome := func(seed uint64) (turned []bool) {
		s, f := faulty(t, FaultSpec{Commands: []string{"find"}, Share: 0.3, Seed: seed, Overloaded: true})
		w := s.dial()
		w.ok("test", bson.D{{Key: "ping", Value: 1}})
		for range 200 {
			reply := w.run("test", bson.D{{Key: "find", Value: "c"}})
			no := reply.Lookup("ok").Double() == 0
			turned = append(turned, no)
			if !no {
				continue
			}
			if reply.Lookup("code").Int32() != 462 || reply.Lookup("codeName").StringValue() != "IngressRequestRateLimitExceeded" {
				t.Fatal(reply)
			}
			if got := labels(t, reply); len(got) != 2 || got[0] != "SystemOverloadedError" || got[1] != "RetryableError" {
				t.Fatal(got)
			}
		}
		n := 0
		for _, no := range turned {
			if no {
				n++
			}
		}
		if n < 30 || n > 90 || f.Struck() != int64(n) {
			t.Errorf("%d of 200 turned away, for a share of 0.3; %d struck", n, f.Struck())
		}
		return turned
	}
	a, b := outcome(7), outcome(7)
	for i := range a {
		if a[i] != b[i] {
			t.Fatal("the same seed has turned others away")
		}
	}
}

func TestAWriteIsTurnedAwayWithoutTheLabelsOfRetryableWrites(t *testing.T) {
	s, _ := faulty(t, FaultSpec{Overloaded: true, Times: 1})
	w := s.dial()
	if got := labels(t, w.refused("test", retryable(insertOf(1), 1), codeIngressRateLimit)); len(got) != 2 {
		t.Error(got)
	}
	w.ok("test", retryable(insertOf(1), 1))
}

func TestNewConnectionsAreRefusedBeforeTheyAreHeard(t *testing.T) {
	faults := &Faults{}
	s := start(t, "rs0", func(c *Config) { c.Faults = faults })
	open := s.dial()
	open.ok("admin", helloAs("a"))
	f, err := NewFault(FaultSpec{Refuse: true, Times: 2})
	if err != nil {
		t.Fatal(err)
	}
	faults.Add(f)
	for range 2 {
		s.dial().gone()
	}
	s.dial().ok("admin", helloAs("a"))
	open.ok("test", bson.D{{Key: "ping", Value: 1}})
}

func TestALatencyIsDrawnForEachCommandItIsFor(t *testing.T) {
	draws := 0
	s, _ := faulty(t, FaultSpec{Commands: []string{"find"}, Times: 2, Latency: func(*rand.Rand) time.Duration {
		draws++
		if draws == 2 {
			return time.Hour
		}
		return 0
	}})
	w := s.dial()
	find := bson.D{{Key: "find", Value: "c"}}
	w.ok("test", bson.D{{Key: "count", Value: "c"}})
	w.ok("test", find)
	w.refused("test", append(find, bson.E{Key: "maxTimeMS", Value: 20}), codeMaxTimeMSExpired)
	w.ok("test", find)
}

func TestAFaultOfNoCommandIsNone(t *testing.T) {
	for _, spec := range []FaultSpec{{Commands: []string{"fnid"}}, {Share: 2}, {Share: -1}, {Times: -1}} {
		if _, err := NewFault(spec); err == nil {
			t.Errorf("%+v is a fault", spec)
		}
	}
}
