package evenkeel_test

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// writing keeps the primary writing until the test ends: a secondary cannot lag behind
// a primary that does not write.
func (c *cluster) writing(t testing.TB) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	// Acknowledged by the primary alone: it is not to wait for those that lag.
	one := options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1})
	coll := c.driver(t).Database(c.db).Collection("clock", one)
	written, last := 0, error(nil) // What a fault does to one write is the driver's business.
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := coll.InsertOne(context.Background(), bson.D{{Key: "_id", Value: i}}); err != nil {
				last = err
			} else {
				written++
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		if <-done; written == 0 {
			t.Errorf("the bare driver has written nothing: %v", last)
		}
	})
}

func TestASecondaryBeyondMaxLagIsOutUntilItHasCaughtUp(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a secondary that lags", primaryFirst(4))
	c.seed(t, "us")
	g := c.play(t, app.Config{MaxLag: time.Second})
	g.steady(t, 4)
	crowd := g.crowd(t, 4, unhurried, nil)
	c.writing(t)
	m := c.set.Member(2)
	crowd.moreAt(t, m.Host(), 50)
	mark := g.events.mark()

	m.Lag(time.Minute)
	await(t, g.events, mark, of[messages.HostEjected](m.Host()))
	crowd.more(t, 50) // what was on the wire
	out := m.Counters().ByApp[g.name].Reads
	crowd.more(t, 200)
	if n := m.Counters().ByApp[g.name].Reads; n != out {
		t.Errorf("%d reads were sent to a member that lags", n-out)
	}

	m.Lag(0)
	await(t, g.events, mark, of[messages.HostRestored](m.Host()))
	crowd.moreAt(t, m.Host(), 50)
	crowd.mustBeFine(t)
}

func TestWhileAllSecondariesLagReadsGoToThePrimary(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "secondaries that lag", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{MaxLag: time.Second})
	g.steady(t, 3)
	crowd := g.crowd(t, 2, unhurried, nil)
	c.writing(t)
	mark := g.events.mark()
	for i := 1; i < 3; i++ {
		c.set.Member(i).Lag(time.Minute)
	}
	await[messages.ReadsDegraded](t, g.events, mark, nil)
	crowd.moreAt(t, c.host(0), 100)
	for i := 1; i < 3; i++ {
		c.set.Member(i).Lag(0)
	}
	await[messages.ReadsRestored](t, g.events, mark, nil)
	crowd.mustBeFine(t)
}
