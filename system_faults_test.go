package evenkeel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// The driver's own direct client never comes back from this: it drops a server that
// once answered as a standalone.
func TestAHostThatWasRestartedAsAStandaloneComesBack(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member restarted without --replSet", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	crowd := g.crowd(t, 4, unhurried, nil)
	crowd.more(t, 200)
	mark := g.events.mark()

	m := c.set.Member(2)
	if err := m.RestartStandalone(); err != nil {
		t.Fatal(err)
	}
	alone := m.Counters().ByApp[g.name].Reads
	wrong := await(t, g.events, mark, of[messages.WrongHost](m.Host()))
	if wrong.Field != "setName" || wrong.Got != "" {
		t.Errorf("the event says %+v", wrong)
	}
	crowd.more(t, 500)
	if n := m.Counters().ByApp[g.name].Reads; n != alone {
		t.Errorf("the standalone has executed %d reads", n-alone)
	}

	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	crowd.moreAt(t, m.Host(), 50)
	crowd.mustBeFine(t)
}

func TestAHostThatHangsFailsNoRead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		callers int
		change  func(*messages.Read)
	}{
		{"many point reads", 32, nil},
		{"one caller", 1, nil},
		{"many range reads", 32, func(m *messages.Read) {
			m.Operation = messages.Find{
				Filter:  bson.D{{Key: "level", Value: bson.D{{Key: "$gte", Value: 40}}}},
				Options: []options.Lister[options.FindOptions]{options.Find().SetLimit(5)},
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "a process that is stopped and continued", primaryFirst(4))
			c.seed(t, "us")
			g := c.play(t, app.Config{})
			g.steady(t, 4)
			crowd := g.crowd(t, tt.callers, unhurried, tt.change)
			crowd.more(t, 200)

			m := c.set.Member(3)
			m.Freeze()
			eventually(t, "the host is out", func() bool { return !g.events.isLive(m.Host()) })
			crowd.more(t, 20*tt.callers)
			m.Unfreeze()
			crowd.moreAt(t, m.Host(), 20)
			crowd.mustBeFine(t)
		})
	}
}

// A host whose reads hang while its heartbeats are fine: the driver would go on
// reading from it.
func TestAHostWhoseReadsHangIsEjectedWhileItsHeartbeatsAreFine(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a member that is slow", primaryFirst(4))
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	g.steady(t, 4)
	crowd := g.crowd(t, 16, unhurried, nil)
	crowd.more(t, 200)
	mark := g.events.mark()

	m := c.set.Member(3)
	m.Slow("find", patience)
	ejected := await(t, g.events, mark, of[messages.HostEjected](m.Host()))
	if ejected.Floor || ejected.Evacuated == 0 {
		t.Errorf("the event says %+v", ejected)
	}
	crowd.more(t, 300)
	if lost := byKind[messages.HostLost](g.events, mark); len(lost) > 0 {
		t.Errorf("a host that answers heartbeats was lost: %v", lost[0])
	}
	m.Slow("find", 0)
	await(t, g.events, mark, of[messages.HostRestored](m.Host()))
	crowd.moreAt(t, m.Host(), 50)
	crowd.mustBeFine(t)
}

// An aggregate is not moved when its host is ejected, and its silence tells nothing: it may honestly take long. One
// that has waited for a socket in vain was not sent.
func TestAnAggregateThatGetsNoSocketIsAnsweredByAnotherHost(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a process that is stopped and continued", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	m := c.set.Member(2)
	m.Freeze()
	players := g.Collection(c.db, "players")
	got := make(chan error)
	const asked = 20
	for range asked {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), unhurried)
			defer cancel()
			cur, err := players.Aggregate(ctx, bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "_id", Value: 7}}}}})
			if err == nil {
				var docs []player
				err = cur.All(ctx, &docs)
			}
			got <- err
		}()
	}
	for range asked {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	m.Unfreeze()
}

func TestReadsAndWritesResumeAfterAllHostsWereDown(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "killed members", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	g.steady(t, 3)
	for _, m := range c.set.Members() {
		m.Kill()
	}
	eventually(t, "no host is live", func() bool { return len(g.events.live()) == 0 && g.events.primary() == "" })

	short := g.point(1)
	short.Deadline = time.Now().Add(200 * time.Millisecond)
	rep := g.read(t, short)
	var none *messages.NoLiveHostError
	if !errors.As(rep.Err, &none) || len(none.Hosts) != 3 || !errors.Is(rep.Err, context.DeadlineExceeded) {
		t.Errorf("a read got %v", rep.Err)
	}
	brief := g.insert("log", bson.D{{Key: "_id", Value: "brief"}})
	brief.Deadline = time.Now().Add(200 * time.Millisecond)
	var nobody *messages.NoPrimaryError
	if rep := g.write(t, brief); rep.Outcome != messages.NotApplied || !errors.As(rep.Err, &nobody) || len(nobody.Hosts) != 3 || len(nobody.Recent) == 0 {
		t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
	}

	in := g.inbox(t)
	read, write := g.point(2), g.insert("log", bson.D{{Key: "_id", Value: "patient"}})
	read.Deadline, write.Deadline = time.Now().Add(patience), time.Now().Add(patience)
	read.Correlation, write.Correlation = 1, 2
	in.send(g.Router(), read)
	in.send(g.Master(), write)
	for _, m := range c.set.Members() {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	in.await(t, 2)
	if rep := in.reads[1][0]; rep.Err != nil {
		t.Errorf("the patient read got %v", rep.Err)
	}
	if rep := in.writes[2][0]; rep.Outcome != messages.Applied {
		t.Errorf("the patient write is %v: %v", rep.Outcome, rep.Err)
	}
	g.steady(t, 3)
	crowd := g.crowd(t, 4, unhurried, nil)
	crowd.moreAt(t, c.host(1), 50)
	crowd.moreAt(t, c.host(2), 50)
	crowd.mustBeFine(t)
}

func TestTheAppStartsWithAllHostsDown(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "killed members", primaryFirst(3))
	c.seed(t, "us")
	for _, m := range c.set.Members() {
		m.Kill()
	}
	began := time.Now()
	g := c.play(t, app.Config{})
	if took := time.Since(began); took > patience/6 {
		t.Errorf("Start took %v", took)
	}
	for _, m := range c.set.Members() {
		await(t, g.events, 0, of[messages.HostLost](m.Host()))
	}
	in := g.inbox(t)
	read, write := g.point(2), g.insert("log", bson.D{{Key: "_id", Value: 1}})
	read.Deadline, write.Deadline = time.Now().Add(patience), time.Now().Add(patience)
	read.Correlation, write.Correlation = 1, 2
	in.send(g.Router(), read)
	in.send(g.Master(), write)
	for _, m := range c.set.Members() {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	in.await(t, 2)
	if rep := in.reads[1][0]; rep.Err != nil {
		t.Errorf("the read got %v", rep.Err)
	}
	if rep := in.writes[2][0]; rep.Outcome != messages.Applied {
		t.Errorf("the write is %v: %v", rep.Outcome, rep.Err)
	}
	g.steady(t, 3)
}

func TestReadsFallBackToThePrimaryWhileNoSecondaryIsLive(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "maintenance mode", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{HungAfter: patience})
	proud := c.play(t, app.Config{NoPrimaryFallback: true, HungAfter: patience})
	g.steady(t, 3)
	proud.steady(t, 3)
	crowd := g.crowd(t, 4, unhurried, nil)
	crowd.more(t, 100)
	mark := g.events.mark()
	if n := g.reads()[0]; n != 0 {
		t.Errorf("the primary has served %d reads while there were secondaries", n)
	}

	maintenance := func(on bool) {
		for _, m := range c.set.Members()[1:] {
			if err := m.SetMaintenance(on); err != nil {
				t.Fatal(err)
			}
		}
	}
	maintenance(true)
	await[messages.ReadsDegraded](t, g.events, mark, nil)
	crowd.moreAt(t, c.host(0), 200)
	eventually(t, "the other app has no secondary either", func() bool { return len(proud.events.live()) == 1 })
	short := proud.point(1)
	short.Deadline = time.Now().Add(200 * time.Millisecond)
	if rep := proud.read(t, short); !errors.Is(rep.Err, messages.ErrNoLiveHost) {
		t.Errorf("without the fallback, a read got %v from %q", rep.Err, rep.Host)
	}
	only := g.point(1)
	only.From, only.Deadline = messages.FromSecondariesOnly, time.Now().Add(200*time.Millisecond)
	if rep := g.read(t, only); !errors.Is(rep.Err, messages.ErrNoLiveHost) {
		t.Errorf("a read from secondaries only got %v from %q", rep.Err, rep.Host)
	}
	in := proud.inbox(t)
	patient := proud.point(3)
	patient.Deadline, patient.Correlation = time.Now().Add(patience), 1
	in.send(proud.Router(), patient)

	maintenance(false)
	await[messages.ReadsRestored](t, g.events, mark, nil)
	crowd.moreAt(t, c.host(1), 20)
	crowd.moreAt(t, c.host(2), 20)
	crowd.more(t, 1) // Of before, none is under way any more.
	served := g.reads()[0]
	crowd.more(t, 200)
	if n := g.reads()[0]; n != served {
		t.Errorf("the primary has served %d reads since the secondaries are back", n-served)
	}
	crowd.mustBeFine(t)
	in.await(t, 1)
	if rep := in.reads[1][0]; rep.Err != nil || rep.Host == c.host(0) {
		t.Errorf("the patient read got %v from %q", rep.Err, rep.Host)
	}
	if n := proud.reads()[0]; n != 0 {
		t.Errorf("without the fallback, the primary has served %d reads", n)
	}
}

func TestASingleStandaloneServes(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a server that is no replica set", replset.Options{Standalone: true})
	c.seed(t, "us")
	g := c.play(t, app.Config{})
	eventually(t, "the host is live", func() bool { return len(g.events.live()) == 1 })
	if rep := g.write(t, g.insert("log", bson.D{{Key: "_id", Value: 1}})); rep.Outcome != messages.Applied {
		t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
	}
	if rep := g.read(t, g.point(7)); rep.Err != nil {
		t.Errorf("a read got %v", rep.Err)
	}
}
