package slave

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// The defaults of Config.
const (
	DefaultPointWorkers = 2
	DefaultAfterWorkers = 8
	DefaultOtherWorkers = 16
	DefaultHostQueue    = 4096
	DefaultMaxCursors   = 1000
	DefaultHungReads    = 2
	DefaultHungAfter    = 250 * time.Millisecond
)

// Conn is a connection to one host, every socket of which is checked.
// *mongoconn.Direct is one.
type Conn interface {
	// Run sends a command once and returns the server's whole reply.
	Run(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error)
	// RunCursor is Run for a command that may leave a cursor open: the server is not told ctx's
	// deadline, which would be the cursor's.
	RunCursor(ctx context.Context, db string, cmd bson.Raw, sess *mongo.Session) (bson.Raw, error)
	// Ping proves that a socket can be opened and is logged in.
	Ping(ctx context.Context) error
	StartSession() (*mongo.Session, error)
	// Close closes it in the background.
	Close()
}

// Router is what a slave tells about itself. *router.Router is one.
type Router interface {
	Join(host request.Target, as request.Member)
	Leave(host request.Target)
	// Pause is Leave for a host that stays connected: its cursors go on.
	Pause(host request.Target)
	Eject(host request.Target, slow bool) bool
	Unserved(*request.Read)
	Evacuated(*request.Read, request.Target)
	Failed(*request.Read, request.Target, error)
}

// Config is what a Host needs. Open, Router and Claims are required, the rest has
// defaults.
type Config struct {
	// Open opens a connection to the host, which tells the observer what happens to it.
	// It does not wait until it is connected.
	Open   func(host string, obs mongoconn.Observer) (Conn, error)
	Router Router
	// Claims is shared by all hosts of an app.
	Claims *Claims
	// Paces lets a host be ejected that is much slower than the others, and than usual; it is
	// shared by all hosts of an app. Optional.
	Paces *Paces
	// MaxLag keeps reads off the host while it is further behind the primary; 0 for no limit.
	// Clock, which is required with it, is shared by all hosts of an app.
	MaxLag time.Duration
	Clock  *Clock
	// Order is the host's place in the configured list: of two names for one server the
	// first one stays.
	Order int
	// PointWorkers is how many reads by _id are on the wire to the host at one time, AfterWorkers how
	// many reads, by _id or not, that must see what others have written and may have to wait for it there, and
	// OtherWorkers how many other reads. Default to DefaultPointWorkers, DefaultAfterWorkers and
	// DefaultOtherWorkers.
	PointWorkers, AfterWorkers, OtherWorkers int
	// HostQueue is how many reads of each of the three sorts wait for a worker at most.
	// Defaults to DefaultHostQueue.
	HostQueue int
	// NoBatch sends every point read alone. Otherwise those that wait for a worker share
	// round trips.
	NoBatch bool
	// MaxCursors is how many cursors may be open on the host at one time. Defaults to
	// DefaultMaxCursors.
	MaxCursors int
	// HungReads and HungAfter: a host that gives no reply at all for HungAfter while
	// HungReads or more reads are on the wire is ejected; with fewer, when a ping
	// gets none either. Default to DefaultHungReads and DefaultHungAfter.
	HungReads int
	HungAfter time.Duration
	// CheckTimeout bounds a ping before the host goes live. Defaults to
	// mongoconn.DefaultConnectTimeout.
	CheckTimeout time.Duration
	// BackoffBase, BackoffMax and LoginBackoffMax are the waits before the host is
	// dialled again. Default to the constants of those names.
	BackoffBase, BackoffMax, LoginBackoffMax time.Duration
	// ReadConcern is the level of reads, "" for the server's default.
	ReadConcern string
	// Note records what happens in the flight recorder. Optional.
	Note func(host, what string)
	// Emit takes the events; it must not block. Optional.
	Emit   func(messages.Event)
	Logger zerolog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Open == nil || c.Router == nil || c.Claims == nil {
		return c, errors.New("slave: Config.Open, Router and Claims are required")
	}
	if c.MaxLag != 0 && (c.Clock == nil || c.MaxLag < MinMaxLag) {
		return c, fmt.Errorf("slave: Config.MaxLag is %v; it needs a Clock, and must be %v or more", c.MaxLag, MinMaxLag)
	}
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"PointWorkers", &c.PointWorkers, DefaultPointWorkers},
		{"AfterWorkers", &c.AfterWorkers, DefaultAfterWorkers},
		{"OtherWorkers", &c.OtherWorkers, DefaultOtherWorkers},
		{"HostQueue", &c.HostQueue, DefaultHostQueue},
		{"MaxCursors", &c.MaxCursors, DefaultMaxCursors},
		{"HungReads", &c.HungReads, DefaultHungReads},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("slave: Config.%s is %d; it must be positive, or 0 for the default of %d", f.name, *f.value, f.zero)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"HungAfter", &c.HungAfter, DefaultHungAfter},
		{"CheckTimeout", &c.CheckTimeout, mongoconn.DefaultConnectTimeout},
		{"BackoffBase", &c.BackoffBase, DefaultBackoffBase},
		{"BackoffMax", &c.BackoffMax, DefaultBackoffMax},
		{"LoginBackoffMax", &c.LoginBackoffMax, DefaultLoginBackoffMax},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("slave: Config.%s is %v; it must be positive, or 0 for the default of %v", f.name, *f.value, f.zero)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	if c.Note == nil {
		c.Note = func(string, string) {}
	}
	if c.Emit == nil {
		c.Emit = func(messages.Event) {}
	}
	return c, nil
}

// PoolSize is how many sockets a connection needs for reads: one for each worker
// and one for pings, which must not wait behind reads that hang.
func (c Config) PoolSize() int {
	or := func(v, zero int) int {
		if v == 0 {
			return zero
		}
		return v
	}
	return or(c.PointWorkers, DefaultPointWorkers) + or(c.AfterWorkers, DefaultAfterWorkers) + or(c.OtherWorkers, DefaultOtherWorkers) + 1
}
