package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/actors/master"
	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/actors/supervisor"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// Resolver finds the addresses of a host's name. It must return soon after its context has
// ended. *net.Resolver is one.
type Resolver = mongoconn.Resolver

// Policy says which of the live hosts that may serve a read should.
type Policy = router.Policy

// The policies; see package router for what each does.
const (
	Adaptive     = router.Adaptive
	RoundRobin   = router.RoundRobin
	LeastPending = router.LeastPending
	Random       = router.Random
)

// The defaults of Config.
const (
	DefaultReadTimeout     = router.DefaultReadTimeout
	DefaultWriteTimeout    = master.DefaultWriteTimeout
	DefaultReadQueue       = router.DefaultReadQueue
	DefaultReadQueueBytes  = router.DefaultReadQueueBytes
	DefaultWriteQueue      = master.DefaultWriteQueue
	DefaultWriteQueueBytes = master.DefaultWriteQueueBytes
	DefaultPointWorkers    = slave.DefaultPointWorkers
	DefaultAfterWorkers    = slave.DefaultAfterWorkers
	DefaultOtherWorkers    = slave.DefaultOtherWorkers
	DefaultHostQueue       = slave.DefaultHostQueue
	DefaultMaxCursors      = slave.DefaultMaxCursors
	DefaultEventBuffer     = supervisor.DefaultEventBuffer
	DefaultHedgeShare      = router.DefaultHedgeShare
	DefaultSlowStart       = router.DefaultSlowStart
	DefaultHeartbeat       = mongoconn.DefaultHeartbeat
	DefaultConnectTimeout  = mongoconn.DefaultConnectTimeout
	DefaultResolveEvery    = mongoconn.DefaultResolveEvery
)

// MinMaxLag is the least Config.MaxLag.
const MinMaxLag = slave.MinMaxLag

// The greatest values of Config's numbers: of lanes, of workers of a sort, and of events that a subscription
// holds. What is above is a mistake, and would take the game server's memory at once.
const (
	MaxWriteLanes  = 1024
	MaxWorkers     = 1024
	MaxEventBuffer = 1 << 20
)

// minTimeout is the least of Config's time-outs: what is below has forgotten its unit. maxInterval is
// the greatest of those that the driver adds to others: what is above is no time-out, and the sum of two
// may be negative.
const (
	minTimeout  = time.Millisecond
	maxInterval = time.Hour
)

// maxHosts is the protocol's limit of members in a set.
const maxHosts = 50

// Config says what to connect to and how. The zero value of every field but URI
// works.
type Config struct {
	// URI is a MongoDB connection string (mongodb:// or mongodb+srv://) that names
	// every member to read from, or some of them with Discover. Its readPreference, readConcernLevel and write concern
	// hold for the app. Required.
	URI string
	// System is the game's own actor system. Defaults to one of the app's.
	System *actor.ActorSystem
	// Logger is where the app logs. The zero Logger logs nothing.
	Logger zerolog.Logger

	// Policy spreads the reads. Defaults to Adaptive.
	Policy Policy
	// From is which members answer a read that does not say. Defaults to what the URI's
	// readPreference means, and to messages.FromSecondaries when it names none.
	From messages.From
	// Tags are tag sets (messages.Read.Tags) of the reads that have none. Default to the URI's
	// readPreferenceTags.
	Tags []messages.TagSet
	// MaxLag keeps reads off a secondary that is further behind the primary, until it has
	// caught up. What a secondary has is known from its heartbeats (Heartbeat, half a second); a
	// read may therefore be older by as much. It holds for reads that begin: an open
	// cursor goes on where it is. While all secondaries lag, reads from
	// them go to the primary, or wait with NoPrimaryFallback. Defaults to the URI's
	// maxStalenessSeconds, and to no limit; the least is MinMaxLag, or Heartbeat where that is longer.
	MaxLag time.Duration
	// NoPrimaryFallback keeps reads from secondaries off the primary even while no
	// secondary is live; they wait instead, up to their deadline. Defaults to false.
	NoPrimaryFallback bool
	// Aliases maps a host as the URI names it to the member's own name (its
	// host:port in the set's configuration, hello.me), where the two differ.
	Aliases map[string]string
	// Discover lets the app follow the set's own configuration: members that are added are
	// read from, and members that are removed, hidden or delayed are given up, while the app
	// runs. The URI's hosts are where it starts; those that the set does not list, for
	// clients to read from, are given up too. Package roster says who is believed about
	// the set. Aliases hold for members that come later as well. Defaults to false: the
	// hosts are those of the URI. With a mongodb+srv URI it is always so.
	Discover bool

	// ReadTimeout and WriteTimeout are the deadlines of reads and writes that bring
	// none. Default to the URI's timeoutMS, and to DefaultReadTimeout and
	// DefaultWriteTimeout when it has none.
	ReadTimeout, WriteTimeout time.Duration
	// ReadQueue is how many reads may be unanswered at one time, and ReadQueueBytes how many bytes
	// their commands may hold in memory together. Default to DefaultReadQueue and
	// DefaultReadQueueBytes.
	ReadQueue, ReadQueueBytes int
	// WriteQueue is how many writes may be unanswered at one time, and WriteQueueBytes
	// how much memory they may hold. Where WriteLanes is more than 1, half of each is
	// divided among the lanes, so that one that is stuck leaves the others room.
	// Default to DefaultWriteQueue and DefaultWriteQueueBytes.
	WriteQueue, WriteQueueBytes int
	// WriteLanes is how many ordered queues of writes there are; messages.Write.Key
	// chooses. Defaults to 1: one order for all writes; at most MaxWriteLanes.
	WriteLanes int
	// PointWorkers, AfterWorkers and OtherWorkers are how many reads by _id, reads with After (by _id or
	// not, those of a Session among them, which wait where a member lags), and others are on the
	// wire to one host at one time; their sum and one is the size of a host's connection pool. Default
	// to DefaultPointWorkers, DefaultAfterWorkers and DefaultOtherWorkers; at most MaxWorkers each.
	PointWorkers, AfterWorkers, OtherWorkers int
	// HostQueue is how many reads of each of the three sorts wait for one host at most.
	// Defaults to DefaultHostQueue.
	HostQueue int
	// NoBatch sends every read by _id alone. Otherwise those that wait for one host share
	// round trips (messages.Read.NoBatch). Defaults to false.
	NoBatch bool
	// MaxCursors is how many cursors may be open on one host. Defaults to
	// DefaultMaxCursors.
	MaxCursors int
	// SlowStart is how long a host that came back takes to get its full share.
	// Defaults to DefaultSlowStart; negative for none.
	SlowStart time.Duration
	// HungAfter is after how long without any reply, while several reads wait, a
	// host is ejected. Defaults to slave.DefaultHungAfter.
	HungAfter time.Duration
	// Hedge sends a second copy of a point or range read to another host when the first has
	// not been answered for as long as 95 % of its class take of late; the first answer
	// wins. HedgeShare bounds the copies to a part of all reads. Default to false and
	// DefaultHedgeShare.
	Hedge      bool
	HedgeShare float64
	// Heartbeat is how long a server may leave a heartbeat open when nothing
	// changes. Defaults to DefaultHeartbeat, which is also the least. A longer one saves little:
	// where a socket to the primary breaks just as a heartbeat begins, the driver waits for the end
	// of that one before it writes again.
	Heartbeat time.Duration
	// ConnectTimeout bounds name resolution, TCP, TLS and each reply of a
	// handshake. Defaults to DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Resolver finds the addresses behind the hosts' names; one that is a *net.Resolver, or
	// has its LookupSRV and LookupTXT, is also asked for what is behind a mongodb+srv URI.
	// Where ClientOptions sets a dialer, names are the dialer's business. Defaults to
	// net.DefaultResolver.
	Resolver Resolver
	// ResolveEvery is how often a live host's name is resolved again, more or less at
	// random. When the address that its sockets go to is not among the answers any more,
	// they move to where the same member answers at a new one, and stay where they are until it
	// does. Defaults to DefaultResolveEvery; negative for never.
	ResolveEvery time.Duration
	// EventBuffer is how many events a subscription holds for a subscriber that does
	// not read. Defaults to DefaultEventBuffer; at most MaxEventBuffer.
	EventBuffer int

	// ClientOptions may change the driver's options, after the URI was applied:
	// registry, BSON options, credentials, TLS, dialer, monitors (which are called
	// beside the app's own, and with contexts of its own: a command may be that of many
	// reads or writes). What the app must own is refused by name.
	ClientOptions func(*options.ClientOptions)
}

// ConfigError is returned by Start for what can never work.
type ConfigError struct {
	// Field is the field of Config.
	Field string
	// Reason says what is wrong, such as which option of the URI, and what to write
	// instead.
	Reason string
}

func (e *ConfigError) Error() string { return "evenkeel: Config." + e.Field + ": " + e.Reason }

// validate says what can never work, before anything is started.
func (c *Config) validate() error {
	if c.URI == "" {
		return &ConfigError{"URI", "it is empty; write mongodb://host1,host2,host3/?replicaSet=NAME"}
	}
	if c.Policy > Random {
		return &ConfigError{"Policy", fmt.Sprintf("%d is none; use Adaptive, RoundRobin, LeastPending or Random", c.Policy)}
	}
	if c.From > messages.FromPrimaryPreferred {
		return &ConfigError{"From", fmt.Sprintf("%d is none; use one of the messages.From… constants", c.From)}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ReadTimeout", int64(c.ReadTimeout)}, {"WriteTimeout", int64(c.WriteTimeout)},
		{"ReadQueue", int64(c.ReadQueue)}, {"ReadQueueBytes", int64(c.ReadQueueBytes)}, {"WriteQueue", int64(c.WriteQueue)}, {"WriteQueueBytes", int64(c.WriteQueueBytes)},
		{"WriteLanes", int64(c.WriteLanes)}, {"PointWorkers", int64(c.PointWorkers)}, {"AfterWorkers", int64(c.AfterWorkers)}, {"OtherWorkers", int64(c.OtherWorkers)},
		{"HostQueue", int64(c.HostQueue)}, {"MaxCursors", int64(c.MaxCursors)}, {"HungAfter", int64(c.HungAfter)},
		{"MaxLag", int64(c.MaxLag)}, {"Heartbeat", int64(c.Heartbeat)}, {"ConnectTimeout", int64(c.ConnectTimeout)}, {"EventBuffer", int64(c.EventBuffer)},
	} {
		if f.value < 0 {
			return &ConfigError{f.name, fmt.Sprintf("%d is negative; leave it at 0 for the default", f.value)}
		}
	}
	for _, f := range []struct {
		name       string
		value, max int
	}{
		{"WriteLanes", c.WriteLanes, MaxWriteLanes}, {"PointWorkers", c.PointWorkers, MaxWorkers}, {"AfterWorkers", c.AfterWorkers, MaxWorkers}, {"OtherWorkers", c.OtherWorkers, MaxWorkers},
		{"EventBuffer", c.EventBuffer, MaxEventBuffer},
	} {
		if f.value > f.max {
			return &ConfigError{f.name, fmt.Sprintf("%d is more than %d, the most there may be", f.value, f.max)}
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"ReadTimeout", c.ReadTimeout}, {"WriteTimeout", c.WriteTimeout}, {"HungAfter", c.HungAfter}, {"ConnectTimeout", c.ConnectTimeout},
		{"ResolveEvery", max(c.ResolveEvery, 0)},
	} {
		if f.value != 0 && f.value < minTimeout {
			return &ConfigError{f.name, fmt.Sprintf("%v is less than %v; write it with its unit, such as 5*time.Second", f.value, minTimeout)}
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"ConnectTimeout", c.ConnectTimeout}, {"Heartbeat", c.Heartbeat}} {
		if f.value > maxInterval {
			return &ConfigError{f.name, fmt.Sprintf("%v is more than the most there may be, %v: a host that is lost would not be missed before", f.value, maxInterval)}
		}
	}
	if !(c.HedgeShare >= 0 && c.HedgeShare <= 1) {
		return &ConfigError{"HedgeShare", fmt.Sprintf("%v is no part of all reads; write one between 0 and 1, such as 0.05", c.HedgeShare)}
	}
	if c.Heartbeat != 0 && c.Heartbeat < DefaultHeartbeat {
		return &ConfigError{"Heartbeat", fmt.Sprintf("%v is less than the least that the driver takes, %v", c.Heartbeat, DefaultHeartbeat)}
	}
	return c.checkLag()
}

// checkLag refuses a limit that no heartbeat comes in time for.
func (c *Config) checkLag() error {
	if least := max(MinMaxLag, c.Heartbeat); c.MaxLag != 0 && c.MaxLag < least {
		return &ConfigError{"MaxLag", fmt.Sprintf("%v, or the URI's maxStalenessSeconds, is less than what is known of a secondary, by a heartbeat each %v; write %v or more, or a shorter Heartbeat",
			c.MaxLag, max(DefaultHeartbeat, c.Heartbeat), least)}
	}
	return nil
}

// apply runs ClientOptions on o, and refuses what the app must own.
func (c *Config) apply(o *options.ClientOptions) error {
	if c.ClientOptions == nil {
		return nil
	}
	before := *o
	c.ClientOptions(o)
	type owned struct {
		name    string
		changed bool
		instead string
	}
	for _, f := range []owned{
		{"SetHosts", !equalHosts(before.Hosts, o.Hosts), "name the hosts in the URI"},
		{"SetDirect", changed(before.Direct, o.Direct), "each host has a direct connection anyway"},
		{"SetReplicaSet", changed(before.ReplicaSet, o.ReplicaSet), "write replicaSet=NAME in the URI"},
		{"SetLoadBalanced", changed(before.LoadBalanced, o.LoadBalanced), "members behind a load balancer cannot be told apart"},
		{"SetReadPreference", before.ReadPreference != o.ReadPreference, "use Config.From, or readPreference= in the URI"},
		{"SetRetryReads", changed(before.RetryReads, o.RetryReads), "the router retries, on another host"},
		{"SetRetryWrites", changed(before.RetryWrites, o.RetryWrites), "the master needs retryable writes"},
		{"SetHeartbeatInterval", changed(before.HeartbeatInterval, o.HeartbeatInterval), "use Config.Heartbeat"},
		{"SetConnectTimeout", changed(before.ConnectTimeout, o.ConnectTimeout), "use Config.ConnectTimeout"},
		{"SetServerSelectionTimeout", changed(before.ServerSelectionTimeout, o.ServerSelectionTimeout), "use Config.ReadTimeout and WriteTimeout"},
		{"SetTimeout", changed(before.Timeout, o.Timeout), "use Config.ReadTimeout and WriteTimeout"},
		{"SetMaxPoolSize", changed(before.MaxPoolSize, o.MaxPoolSize), "use Config.PointWorkers, AfterWorkers and OtherWorkers"},
		{"SetServerMonitoringMode", changed(before.ServerMonitoringMode, o.ServerMonitoringMode), "the app streams heartbeats"},
		{"SetAutoEncryptionOptions", o.AutoEncryptionOptions != nil, "automatic encryption is not supported; use a driver client of your own for encrypted collections"},
	} {
		if f.changed {
			return &ConfigError{"ClientOptions", f.name + " is the app's own; " + f.instead}
		}
	}
	if err := o.Validate(); err != nil {
		return &ConfigError{"ClientOptions", err.Error()}
	}
	return nil
}

func equalHosts(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }

func changed[T comparable](a, b *T) bool {
	return (a == nil) != (b == nil) || a != nil && *a != *b
}

// prepare reads the URI, lets it fill what c leaves open, and refuses what can never work. The options
// are those that ClientOptions leaves.
func (c *Config) prepare() (*mongoconn.URI, *options.ClientOptions, error) {
	if err := c.validate(); err != nil {
		return nil, nil, err
	}
	uri, err := mongoconn.ParseURI(c.URI)
	if err != nil {
		var ue *mongoconn.URIError
		if errors.As(err, &ue) {
			return nil, nil, &ConfigError{"URI", ue.Reason}
		}
		return nil, nil, &ConfigError{"URI", err.Error()}
	}
	if err := checkHosts(uri, c.Aliases); err != nil {
		return nil, nil, err
	}
	if c.Discover && uri.Direct {
		return nil, nil, &ConfigError{"Discover", "the URI says directConnection=true, which is for one host whatever its set; leave one of the two out"}
	}
	if uri.HasReadPreference {
		if err := c.adopt(uri.Options.ReadPreference); err != nil {
			return nil, nil, err
		}
		if err := c.checkLag(); err != nil {
			return nil, nil, err
		}
	}
	if d := uri.Options.Timeout; d != nil && *d > 0 {
		c.ReadTimeout, c.WriteTimeout = cmp.Or(c.ReadTimeout, *d), cmp.Or(c.WriteTimeout, *d)
	}
	o := *uri.Options
	if err := c.apply(&o); err != nil {
		return nil, nil, err
	}
	if needsPassword(o.Auth) {
		if uri.Options.Auth != nil && uri.Options.Auth.Username == o.Auth.Username {
			return nil, nil, &ConfigError{"URI", "it has a user and no password; write user:password@, with what is special in them percent-encoded, or name an authMechanism that needs none, such as MONGODB-X509"}
		}
		return nil, nil, &ConfigError{"ClientOptions", "SetAuth has a user and no password; give it one, or an AuthMechanism that needs none, such as MONGODB-X509"}
	}
	if wc := o.WriteConcern; wc != nil && !wc.Acknowledged() {
		return nil, nil, &ConfigError{"URI", "w=0 would leave no outcome to tell; use w=1 or more, or w=majority"}
	}
	return uri, &o, nil
}

// needsPassword reports whether a user has not the password that its mechanism needs. The driver would take it for an empty one.
func needsPassword(c *options.Credential) bool {
	if c == nil || c.Username == "" || c.Password != "" || c.PasswordSet {
		return false
	}
	switch strings.ToUpper(c.AuthMechanism) {
	case "", "DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN":
		return true
	}
	return false
}

// checkHosts refuses a list of hosts, or of aliases, that can never work.
func checkHosts(uri *mongoconn.URI, aliases map[string]string) error {
	if n := len(uri.Hosts); n > maxHosts {
		return &ConfigError{"URI", fmt.Sprintf("it names %d hosts; a replica set has %d members at most", n, maxHosts)}
	}
	members, hosts := map[string]string{}, map[string]string{}
	for at, member := range aliases {
		if at == "" || member == "" {
			return &ConfigError{"Aliases", fmt.Sprintf("%q: %q: write the host as the URI names it, and the member's name", at, member)}
		}
		m, h := mongoconn.Canonical(member), mongoconn.Canonical(at)
		if other, twice := members[m]; twice {
			return &ConfigError{"Aliases", fmt.Sprintf("%q and %q are both said to be the member %q; a member has one address here", other, at, member)}
		}
		if other, twice := hosts[h]; twice {
			return &ConfigError{"Aliases", fmt.Sprintf("%q and %q are one host, which can not be two members; leave one of them out", other, at)}
		}
		members[m], hosts[h] = at, at
	}
	return nil
}

// astray are the aliases whose host is none of the URI's.
func astray(uri *mongoconn.URI, aliases map[string]string) []string {
	var out []string
	for at := range aliases {
		if !slices.Contains(uri.Hosts, mongoconn.Canonical(at)) {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out
}
