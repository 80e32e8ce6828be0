package evenkeel_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// The set of these tests has a primary, two secondaries that the app is told of, and one
// that it is not: whatever that one executes for the app has come over a wrong
// address.
const stranger = 3

func identitySet(t *testing.T) *cluster {
	c := ownSet(t, "addresses that lead elsewhere", primaryFirst(4))
	c.seed(t, "us")
	return c
}

// mustBeUntouched fails the test if a member has executed anything for the app.
func (g *game) mustBeUntouched(t *testing.T, m *replset.Member) {
	t.Helper()
	if done := m.Counters().ByApp[g.name]; done.Reads != 0 || done.Writes != 0 {
		t.Errorf("%v, which the app must not talk to, has executed %d reads and %d writes for it", m, done.Reads, done.Writes)
	}
}

// mustBeRight fails the test if a member of the set has executed anything that came
// over another one's address.
func (g *game) mustBeRight(t *testing.T) {
	t.Helper()
	for _, m := range g.c.set.Members() {
		if done := m.Counters().Astray[g.name]; done.Reads != 0 || done.Writes != 0 {
			t.Errorf("%v has executed %d reads and %d writes that were sent to other addresses", m, done.Reads, done.Writes)
		}
	}
}

func TestNoReadReachesAMemberWhoseAddressWasSwapped(t *testing.T) {
	t.Parallel()
	c := identitySet(t)
	g := c.play(t, app.Config{URI: c.only(0, 1, 2)})
	g.steady(t, 3)
	crowd := g.crowd(t, 8, unhurried, nil)
	ledger := g.ledger(t, 8)
	crowd.more(t, 200)
	mark := g.events.mark()

	if err := c.set.SwapAddresses(2, stranger); err != nil {
		t.Fatal(err)
	}
	wrong := await(t, g.events, mark, of[messages.WrongHost](c.host(2)))
	if wrong.Field != "me" || wrong.Want != c.host(2) || wrong.Got != c.host(stranger) {
		t.Errorf("the event says %+v", wrong)
	}
	await(t, g.events, mark, of[messages.HostRestarting](c.host(2)))
	crowd.more(t, 200)
	ledger.more(t, 50)
	if g.events.isLive(c.host(2)) {
		t.Error("a host at a wrong address is live")
	}
	if n := len(byKind[messages.WrongHost](g.events, mark)); n != 1 {
		t.Errorf("%d WrongHost events for one outage", n)
	}

	if err := c.set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	crowd.moreAt(t, c.host(2), 50)
	crowd.mustBeFine(t)
	ledger.mustBeApplied(t)
	g.mustBeUntouched(t, c.set.Member(stranger))
	g.mustBeRight(t)
}

// byKind lists the events of a kind from a mark on.
func byKind[E messages.Event](tp *tape, from int) (out []E) {
	for _, e := range tp.all()[from:] {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

func TestNoWriteGoesOverASwappedAddress(t *testing.T) {
	t.Parallel()
	c := identitySet(t)
	g := c.play(t, app.Config{})
	g.steady(t, 4)
	if rep := g.write(t, g.insert("log", bson.D{{Key: "_id", Value: "before"}})); rep.Outcome != messages.Applied {
		t.Fatalf("%v: %v", rep.Outcome, rep.Err)
	}
	crowd := g.crowd(t, 4, unhurried, nil)
	mark := g.events.mark()
	before := g.writes()

	// The primary is still there, and would take the write that comes over the other
	// address; the driver alone sends it.
	if err := c.set.SwapAddresses(0, 1); err != nil {
		t.Fatal(err)
	}
	await(t, g.events, mark, of[messages.WrongHost](c.host(0)))
	await(t, g.events, mark, of[messages.WrongHost](c.host(1)))
	eventually(t, "there is no primary to be seen", func() bool { return g.events.primary() == "" })
	short := g.insert("log", bson.D{{Key: "_id", Value: "short"}})
	short.Deadline = time.Now().Add(300 * time.Millisecond)
	if rep := g.write(t, short); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrNoPrimary) {
		t.Errorf("a write that could not be sent is %v: %v", rep.Outcome, rep.Err)
	}
	in := g.inbox(t)
	long := g.insert("log", bson.D{{Key: "_id", Value: "long"}})
	long.Deadline, long.Correlation = time.Now().Add(patience), 1
	in.send(g.Master(), long)
	await[messages.WritesHeld](t, g.events, mark, nil)
	crowd.more(t, 50)
	swapped := time.Now()
	crowd.more(t, 50)
	for host, n := range byHost(crowd.since(swapped)) {
		if (host == c.host(0) || host == c.host(1)) && n > 0 {
			t.Errorf("%d reads were answered over the swapped address %s", n, host)
		}
	}
	if now := g.writes(); !equal(now, before) {
		t.Errorf("while the addresses were swapped, the members' writes went from %v to %v", before, now)
	}

	if err := c.set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	in.await(t, 1)
	if rep := in.writes[1][0]; rep.Outcome != messages.Applied {
		t.Errorf("the held write is %v: %v", rep.Outcome, rep.Err)
	}
	await[messages.WritesResumed](t, g.events, mark, nil)
	crowd.mustBeFine(t)
	g.mustBeRight(t)
	for id, want := range map[string]int64{"before": 1, "short": 0, "long": 1} {
		if n, err := c.coll(t, "log").CountDocuments(soon(t), bson.D{{Key: "_id", Value: id}}); err != nil || n != want {
			t.Errorf("%q is there %d times (%v)", id, n, err)
		}
	}
}

func equal(a, b []int64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestNoReadReachesAnotherSetAtTheAddress(t *testing.T) {
	for _, tt := range []struct{ name, set string }{
		{"of the same name", replset.DefaultName},
		{"of another name", "others"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := identitySet(t)
			opts := primaryFirst(2)
			opts.Name = tt.set
			others := ownSet(t, "addresses that lead elsewhere", opts)
			others.db = c.db
			others.seed(t, "them")
			g := c.play(t, app.Config{URI: c.only(0, 1, 2)})
			g.steady(t, 3)
			crowd := g.crowd(t, 8, unhurried, nil)
			crowd.more(t, 200)
			mark := g.events.mark()

			if err := c.set.Impersonate(2, others.set.Member(1)); err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.WrongHost](c.host(2)))
			crowd.more(t, 200)
			if err := c.set.RestoreAddresses(); err != nil {
				t.Fatal(err)
			}
			crowd.moreAt(t, c.host(2), 50)
			crowd.mustBeFine(t)
			for _, m := range others.set.Members() {
				g.mustBeUntouched(t, m)
			}
		})
	}
}

func TestNothingReachesAStrangerAtThePrimarysAddress(t *testing.T) {
	t.Parallel()
	c := identitySet(t)
	others := ownSet(t, "addresses that lead elsewhere", primaryFirst(1))
	others.db = c.db
	others.seed(t, "them")
	g := c.play(t, app.Config{URI: c.only(0, 1, 2)})
	g.steady(t, 3)
	crowd := g.crowd(t, 4, unhurried, nil)
	ledger := g.ledger(t, 8)
	ledger.more(t, 50)
	mark := g.events.mark()

	// The stranger says that it is the primary of a set of the same name, and takes
	// writes from anybody.
	if err := c.set.Impersonate(0, others.set.Member(0)); err != nil {
		t.Fatal(err)
	}
	await(t, g.events, mark, of[messages.WrongHost](c.host(0)))
	// One more write waits for a primary, or behind those that were on the wire just then.
	late, ctx := make(chan error, 1), soon(t)
	go func() {
		_, err := g.Collection(c.db, "late").InsertOne(ctx, bson.D{{Key: "_id", Value: 1}})
		late <- err
	}()
	await(t, g.events, mark, func(e messages.Event) bool {
		return e.Kind() == messages.KindWritesHeld || e.Kind() == messages.KindWritesBlocked
	})
	primary := g.point(7)
	primary.From, primary.Deadline = messages.FromPrimary, time.Now().Add(300*time.Millisecond)
	if rep := g.read(t, primary); !errors.Is(rep.Err, messages.ErrNoLiveHost) {
		t.Errorf("a read from the primary got %v, %v", rep.Document, rep.Err)
	}
	crowd.more(t, 50)

	if err := c.set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	ledger.more(t, 50)
	crowd.mustBeFine(t)
	if err := <-late; err != nil {
		t.Error(err)
	}
	// The replies to those on the wire may be lost, and the retry meet the stranger: the driver returns the first error then.
	ledger.mustBeTrue(t, 1)
	g.mustBeUntouched(t, others.set.Member(0))
}

func TestASecondNameForOneMemberStandsBy(t *testing.T) {
	for _, tt := range []struct {
		name        string
		localhost   int // the place of the second name in the URI
		stays, goes func(ip, name string) string
	}{
		{"configured later", 2, first, second},
		{"configured first", 1, second, first},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := identitySet(t)
			ip := c.host(1)
			name := strings.Replace(ip, "127.0.0.1", "localhost", 1)
			hosts := []string{c.host(0), ip, c.host(2)}
			hosts = append(hosts[:tt.localhost], append([]string{name}, hosts[tt.localhost:]...)...)
			uri := "mongodb://" + strings.Join(hosts, ",") + "/?replicaSet=" + c.set.Name()
			g := c.play(t, app.Config{URI: uri, Policy: app.RoundRobin, Aliases: map[string]string{name: ip}, HungAfter: patience, NoBatch: true})
			stays, goes := tt.stays(ip, name), tt.goes(ip, name)

			dup := await(t, g.events, 0, of[messages.DuplicateHost](goes))
			if dup.Of != stays {
				t.Errorf("the event says %+v", dup)
			}
			g.steady(t, 3)
			if live := g.events.live(); contains(live, goes) || !contains(live, stays) {
				t.Errorf("live are %v; %s must be, %s must not", live, stays, goes)
			}
			crowd := g.crowd(t, 4, unhurried, nil)
			from := g.reads()
			crowd.more(t, 600)
			crowd.mustBeFine(t)
			to := g.reads()
			// One server with two names must not get twice its share.
			one, two := float64(to[1]-from[1]), float64(to[2]-from[2])
			if one > 1.1*two || two > 1.1*one {
				t.Errorf("the member with two names has served %v reads, the other one %v", one, two)
			}

			// The name that stays is lost: the other may serve. Both lead to the
			// member that is killed, so both must come back as they were.
			if err := c.set.Member(1).Restart(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the first name is live again and the later one is not", func() bool {
				return g.events.isLive(stays) && !g.events.isLive(goes)
			})
			g.mustBeUntouched(t, c.set.Member(stranger))
			g.mustBeRight(t)
		})
	}
}

func first(a, _ string) string  { return a }
func second(_, b string) string { return b }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestAnAddressThatAlternatesBetweenTwoMembersIsKeptOut(t *testing.T) {
	t.Parallel()
	c := identitySet(t)
	g := c.play(t, app.Config{URI: c.only(0, 1, 2)})
	g.steady(t, 3)
	crowd := g.crowd(t, 8, unhurried, nil)
	crowd.more(t, 200)
	mark := g.events.mark()

	// The sockets that there are stay right; more callers need more of them.
	dials := c.set.Member(stranger).Counters().TotalConnections
	if err := c.set.Alternate(2, stranger, 2); err != nil {
		t.Fatal(err)
	}
	more := g.crowd(t, 32, unhurried, func(m *messages.Read) {
		m.Operation = messages.Count{Filter: bson.D{{Key: "level", Value: 7}}}
	})
	await(t, g.events, mark, of[messages.WrongHost](c.host(2)))
	eventually(t, "the address has been tried often, and led to the stranger", func() bool {
		return c.set.Member(stranger).Counters().TotalConnections >= dials+10
	})
	if n := len(byKind[messages.HostLive](g.events, mark)); n > 3 {
		t.Errorf("the host went live %d times with an address that leads elsewhere every second time", n)
	}
	if g.events.isLive(c.host(2)) {
		t.Error("a host with an alternating address is live")
	}

	restored := time.Now()
	if err := c.set.RestoreAddresses(); err != nil {
		t.Fatal(err)
	}
	crowd.moreAt(t, c.host(2), 20)
	t.Logf("back after %v", time.Since(restored))
	more.mustBeFine(t)
	crowd.mustBeFine(t)
	g.mustBeUntouched(t, c.set.Member(stranger))
	g.mustBeRight(t)
}
