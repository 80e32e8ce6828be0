package replset

import (
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// What Options leave open.
const (
	DefaultMembers         = 3
	DefaultName            = "rs0"
	DefaultElectionTimeout = repl.DefaultElectionTimeout
	DefaultVersion         = server.DefaultVersion
)

// How many members a set can have, and how many of them may vote, as in a server.
const (
	MaxMembers = 50
	MaxVoters  = 7
)

// Options say what set to start. The zero value is one of three members.
type Options struct {
	// Members is how many members the set has, 1 to MaxMembers; those above MaxVoters
	// must be NonVoting ones. Defaults to DefaultMembers.
	Members int
	// Name is the set's name. Defaults to DefaultName.
	Name string
	// ElectionTimeout is how long a primary may give no sign of life before the
	// others replace it, and how long one without a majority stays primary.
	// Heartbeats are ten times as frequent. Defaults to DefaultElectionTimeout.
	ElectionTimeout time.Duration
	// TakeoverDelay is how long a member waits until it takes over from a primary of
	// lower priority, when it has caught up. Defaults to the server's rule: as many
	// election time-outs as there are members of still higher priority, and one.
	TakeoverDelay time.Duration
	// InitialSync is how long a member that Add starts takes to copy the data, and is no
	// secondary. Defaults to no time at all.
	InitialSync time.Duration
	// TLS is whether clients must use TLS, and show a certificate. Defaults to
	// TLSOff. Clients take their side of it from Set.ClientTLS.
	TLS TLSMode
	// Users may log in with SCRAM-SHA-256, or the older SCRAM-SHA-1, or with a
	// certificate, and do everything. With any, nothing but hello and its like works
	// without a login, and Set.URI logs in the first one.
	Users []User
	// Priority is the priority of members that have another one than 1, by index:
	// the higher one takes the primary's role over, 0 never becomes primary.
	Priority map[int]float64
	// Hidden are the members, by index, that clients do not learn of; their
	// priority is 0.
	Hidden map[int]bool
	// Delay is how far behind the primary members stay on purpose, by index; their
	// priority is 0, and clients do not learn of them.
	Delay map[int]time.Duration
	// Arbiters are the members, by index, that vote and have no data. Where they could
	// keep a primary elected that no majority of those with data follows, as with one
	// arbiter in three, a write that names no write concern does not wait for a majority.
	Arbiters map[int]bool
	// NonVoting are the members, by index, that have no vote; their priority is 0.
	NonVoting map[int]bool
	// Tags are the members' tags, by index.
	Tags map[int]map[string]string
	// Version is the series of server releases that the members show themselves as: "4.4",
	// "5.0", "6.0", "7.0" or "8.0". It decides what hello and buildInfo announce, and with it
	// what a driver asks of them; which commands there are (bulkWrite since 8.0); and what
	// else of a reply a driver acts on, such as the write concern of a write that names none
	// (one member before 5.0, majority since). Defaults to DefaultVersion.
	Version string
	// Standalone starts a single server that is no replica set.
	Standalone bool
}

// Versions are what Options.Version may be, oldest first.
func Versions() []string { return server.Versions() }

// User may log in to a set.
type User struct {
	// Name is the user's; of an X509 one the subject of the certificate, as RFC 2253
	// writes it. That of the set's own clients is ClientSubject.
	Name string
	// Password is what proves it, but for an X509 user, who has none.
	Password string
	// X509 makes it a user who logs in with the certificate that TLSMutual has clients
	// show (mechanism MONGODB-X509, database $external).
	X509 bool
}

func (o *Options) complete() error {
	if o.Members == 0 {
		o.Members = DefaultMembers
		if o.Standalone {
			o.Members = 1
		}
	}
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = DefaultElectionTimeout
	}
	switch {
	case o.Members < 1 || o.Members > MaxMembers:
		return fmt.Errorf("replset: Options.Members is %d, must be 1 to %d", o.Members, MaxMembers)
	case o.Standalone && o.Members != 1:
		return fmt.Errorf("replset: Options.Members is %d, but Options.Standalone makes a single server", o.Members)
	case o.ElectionTimeout < 0:
		return fmt.Errorf("replset: Options.ElectionTimeout is %v, must not be negative", o.ElectionTimeout)
	case o.TakeoverDelay < 0:
		return fmt.Errorf("replset: Options.TakeoverDelay is %v, must not be negative", o.TakeoverDelay)
	case o.InitialSync < 0:
		return fmt.Errorf("replset: Options.InitialSync is %v, must not be negative", o.InitialSync)
	case o.TLS < TLSOff || o.TLS > TLSMutual:
		return fmt.Errorf("replset: Options.TLS is %d, must be TLSOff, TLSServer or TLSMutual", o.TLS)
	}
	if _, err := server.ParseVersion(o.Version); err != nil {
		return fmt.Errorf("replset: Options.Version: %w", err)
	}
	for i, u := range o.Users {
		switch {
		case u.X509 && o.TLS != TLSMutual:
			return fmt.Errorf("replset: Options.Users[%d] logs in with a certificate, which needs Options.TLS to be TLSMutual", i)
		case u.X509 && u.Password != "":
			return fmt.Errorf("replset: Options.Users[%d] logs in with a certificate, and has no password", i)
		}
	}
	for i, no := range o.NonVoting {
		if no && o.Arbiters[i] {
			return fmt.Errorf("replset: Options.NonVoting[%d] is set, but Options.Arbiters makes it a member that only votes", i)
		}
	}
	for i, d := range o.Delay {
		switch {
		case d < 0:
			return fmt.Errorf("replset: Options.Delay[%d] is %v, must not be negative", i, d)
		case d > 0 && o.Arbiters[i]:
			return fmt.Errorf("replset: Options.Delay[%d] is %v, but Options.Arbiters makes it a member without data", i, d)
		}
	}
	electable, voters := false, 0
	for i := range o.Members {
		if !o.NonVoting[i] {
			voters++
		}
		switch p := o.priority(i); {
		case p < 0 || p > 1000:
			return fmt.Errorf("replset: Options.Priority[%d] is %v, must be 0 to 1000", i, p)
		case p > 0:
			electable = true
		}
	}
	if voters > MaxVoters {
		return fmt.Errorf("replset: Options.NonVoting leaves %d members of %d that vote, and must leave at most %d", voters, o.Members, MaxVoters)
	}
	if !electable {
		return fmt.Errorf("replset: Options.Priority, Hidden, Delay, Arbiters and NonVoting leave no member of %d that may become primary", o.Members)
	}
	return nil
}

func (o *Options) priority(i int) float64 {
	if o.Hidden[i] || o.Delay[i] > 0 || o.Arbiters[i] || o.NonVoting[i] {
		return 0
	}
	return o.chosenPriority(i)
}

// chosenPriority is that of a member that nothing keeps from being primary.
func (o *Options) chosenPriority(i int) float64 {
	if p, ok := o.Priority[i]; ok {
		return p
	}
	return 1
}

func (o *Options) member(i int, host string) repl.MemberConfig {
	votes := 1
	if o.NonVoting[i] {
		votes = 0
	}
	return repl.MemberConfig{
		ID: int32(i), Host: host, Priority: o.priority(i), Votes: votes, Hidden: o.Hidden[i],
		Delay: o.Delay[i], Arbiter: o.Arbiters[i], Tags: o.Tags[i],
	}
}
