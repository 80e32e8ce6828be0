package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// startTimeout bounds the start of the server and the storing of the documents.
	startTimeout = 60 * time.Second
	// settleTimeout bounds how long a side may take to find every member.
	settleTimeout = 15 * time.Second
	// warmUp is the longest a side is warmed up; less where a measurement is shorter.
	warmUp = 300 * time.Millisecond
)

// server is what both sides run against.
type server struct {
	uri     string
	child   *child // nil for a set that is not ours
	canFail bool   // it has the fail point failCommand
	members int
	version string
	maxWire int
}

// stage is what every scenario plays on.
type stage struct {
	settings Settings
	server   server
	judge    *judge
	place    *place
	say      Progress
}

// contest is a scenario that has begun.
type contest interface {
	// round measures both sides once, evenkeel first or not. Its error ends the
	// contest.
	round(ctx context.Context, oursFirst bool) (round, error)
	// finish says what else there is to know of the results, and ends both sides.
	finish(results []Result)
}

// sides are the two that compete, each warmed up by whoever opened them.
type sides struct {
	ours   *ours
	driver *driver
}

func (s *stage) config(monitor *event.CommandMonitor) sideConfig {
	return sideConfig{uri: s.server.uri, place: s.place, concern: s.settings.Concern, errorsOnly: !s.server.bulkWrite(), monitor: monitor}
}

// wireWithBulkWrite is the first wire version of a server that has the command bulkWrite.
const wireWithBulkWrite = 25

func (s *server) bulkWrite() bool { return s.maxWire >= wireWithBulkWrite }

// openSides opens both, with a pool of that size for the driver.
func (s *stage) openSides(ctx context.Context, lanes, pool int) (sides, error) {
	return s.openWatched(ctx, lanes, pool, nil, nil)
}

func (s *stage) openWatched(ctx context.Context, lanes, pool int, watchOurs, watchDriver *event.CommandMonitor) (sides, error) {
	var both sides
	var err error
	if both.ours, err = openOurs(s.config(watchOurs), lanes); err != nil {
		return both, err
	}
	if both.driver, err = openDriver(s.config(watchDriver), s.pool(pool), s.settings.DriverHeartbeat); err != nil {
		both.close()
		return sides{}, err
	}
	s.settle(ctx, both.ours)
	s.settle(ctx, both.driver)
	return both, nil
}

// close closes those that there are.
func (b sides) close() {
	if b.ours != nil {
		b.ours.close()
	}
	if b.driver != nil {
		b.driver.close()
	}
}

// order is both, in the order in which they are measured.
func (b sides) order(oursFirst bool) []side {
	if oursFirst {
		return []side{b.ours, b.driver}
	}
	return []side{b.driver, b.ours}
}

// settle waits for a side. One that does not find everybody competes all the same, but
// that is said.
func (s *stage) settle(ctx context.Context, one side) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := one.settled(ctx); err != nil {
		s.say("warning: " + oneLine(err))
	}
}

// pool is the driver's pool size: what is wanted, unless the user says another one.
func (s *stage) pool(wanted int) int {
	if s.settings.DriverPool > 0 {
		return s.settings.DriverPool
	}
	return wanted
}

// warm is how long a side is warmed up.
func (s *stage) warm() time.Duration { return min(warmUp, s.settings.Length) }

// of gives a side's outcome its place in a round.
func (r *round) of(one side) *outcome {
	if _, is := one.(*ours); is {
		return &r.ours
	}
	return &r.driver
}

// hostsIn counts the hosts that a connection string names; 0 for one whose hosts the
// name server knows.
func hostsIn(uri string) int {
	if strings.HasPrefix(uri, "mongodb+srv:") {
		return 0
	}
	return len(options.Client().ApplyURI(uri).Hosts)
}

func (s *stage) sayf(format string, args ...any) { s.say(fmt.Sprintf(format, args...)) }
