// Package roster knows which members of a replica set may be read from, by what the
// members themselves say. It decides whom to believe; see Hear.
package roster

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// Limit is the protocol's limit of members in a set.
const Limit = 50

const (
	// DefaultGrace is how long a member must be missing from the primary's list before it
	// is taken off.
	DefaultGrace = 2 * time.Second
	// DefaultFresh is how long it counts that somebody with a newer config than the
	// primary's lists a member: a few heartbeats.
	DefaultFresh = 10 * time.Second
)

// Config is what a Roster needs. Its zero values mean the defaults.
type Config struct {
	// Seeds are the hosts to begin with, in their order: addresses, as all hosts of a
	// Roster are.
	Seeds []string
	// Address is where a member of that name is dialled. Defaults to its name.
	Address func(member string) string
	// Grace defaults to DefaultGrace, Fresh to DefaultFresh.
	Grace, Fresh time.Duration
}

// Roster is the list. Safe for concurrent use.
type Roster struct {
	cfg Config

	mu      sync.Mutex
	hosts   []string             // mu; the list, in the order in which they came
	missing map[string]time.Time // mu; hosts on the list that the primary does not list, since when
	claims  map[string]claim     // mu; by host: who lists it, if with a newer config than the primary's
	primary reign                // mu; the latest that was believed
	led     bool                 // mu; there was one
	version uint32               // mu; of the config that the list is of
}

// claim says that somebody other than the primary lists a host.
type claim struct {
	version uint32 // of the config of who says so
	at      time.Time
}

// reign tells a primary, and what it says of the set, from those before and after it.
type reign struct {
	election bson.ObjectID
	version  uint32
}

// New returns a Roster of the seeds.
func New(cfg Config) *Roster {
	if cfg.Address == nil {
		cfg.Address = func(member string) string { return member }
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Fresh <= 0 {
		cfg.Fresh = DefaultFresh
	}
	return &Roster{cfg: cfg, hosts: slices.Clone(cfg.Seeds), missing: map[string]time.Time{}, claims: map[string]claim{}}
}

// Hosts returns the list.
func (r *Roster) Hosts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hosts)
}

// Hear takes what a verified member says of its set, and reports whether that has changed
// the list.
//
// Who is believed. Every hello has come over a socket whose server is the member that was
// dialled, of the right set; nobody else is heard at all. A server that is in no config (one
// that was removed, or never was initiated) says nothing of the set. Of the others:
//
//   - The newest primary decides: its list of hosts and passives is the list. Newest is by its
//     election id, which holds the term, and then by its config's version; for a server
//     before 6.0 the other way round. It is the order of the specification that all drivers
//     follow. A primary that is older than the newest one heard of was cut off
//     and does not know yet that it was replaced: it is not heard.
//     https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-discovery-and-monitoring.md
//   - A primary that does not list itself, or lists nobody, contradicts itself, and is not heard.
//   - Anybody else may add, never take away, and only with a config that is newer than that of
//     the list. That is how the primary is found when no seed is one, and how the members
//     of a newer config are found while the app reaches only a primary that was cut off from
//     them.
//   - A host that somebody lists with a newer config than the primary's stays on the list:
//     there is a later primary, which will say.
//   - A host is taken off when the primary has gone on not listing it for the time of grace. A
//     config that a primary has not got to a majority before it lost its role, or one that
//     takes a member out to put it in again, passes by. Nothing is lost by waiting: a member
//     that knows that it is removed, hidden or delayed says so itself, and stands by at once.
//   - Nothing is taken off because nobody answers: without a primary the list stays as it is.
//   - No list is longer than Limit.
//
// What is not covered: a set that is initiated anew under the same name counts its
// terms from the beginning, and its primaries look older than those before; the driver's
// own discovery, through which the writes go, holds them for that too. It takes a restart of
// the app.
func (r *Roster) Hear(h mongoconn.Hello, now time.Time) (changed bool) {
	switch h.Kind {
	case mongoconn.Unknown, mongoconn.Ghost, mongoconn.Standalone:
		return false
	}
	if h.SetName == "" || h.SetVersion == 0 {
		return false
	}
	listed := r.addresses(h)
	if len(listed) == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Kind != mongoconn.Primary {
		return r.follow(h.SetVersion, listed, now)
	}
	is := reign{h.ElectionID, h.SetVersion}
	if !slices.Contains(listed, r.cfg.Address(h.Me)) || r.led && is.before(r.primary, h.MaxWireVersion) {
		return false
	}
	r.primary, r.led, r.version = is, true, h.SetVersion
	return r.lead(listed, now)
}

// addresses are those of the members that a hello lists, as many as there may be.
func (r *Roster) addresses(h mongoconn.Hello) []string {
	var list []string
	for _, member := range slices.Concat(h.Hosts, h.Passives) {
		if at := r.cfg.Address(member); at != "" && len(list) < Limit && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list
}

// electionFirst is the wire version of MongoDB 6.0.
const electionFirst = 17

// before reports whether a primary with that wire version is older than another one.
func (r reign) before(other reign, wire int32) bool {
	election := bytes.Compare(r.election[:], other.election[:])
	if wire >= electionFirst {
		return election < 0 || election == 0 && r.version < other.version
	}
	return r.version < other.version || r.version == other.version && election < 0
}

// lead makes a primary's list the list, but for those that must stay. r.mu must be held.
func (r *Roster) lead(listed []string, now time.Time) bool {
	for _, host := range listed {
		delete(r.missing, host)
	}
	var off []string
	for _, host := range r.hosts {
		if slices.Contains(listed, host) {
			continue
		}
		if c, ok := r.claims[host]; ok && c.version > r.version && now.Sub(c.at) < r.cfg.Fresh {
			delete(r.missing, host)
			continue
		}
		since, known := r.missing[host]
		if !known {
			since = now
			r.missing[host] = now
		}
		if now.Sub(since) >= r.cfg.Grace {
			off = append(off, host)
		}
	}
	for _, host := range off {
		r.hosts = slices.DeleteFunc(slices.Clone(r.hosts), func(h string) bool { return h == host })
		delete(r.missing, host)
		delete(r.claims, host)
	}
	return r.add(listed) || len(off) > 0
}

// follow takes the list of somebody who is no primary. r.mu must be held.
func (r *Roster) follow(version uint32, listed []string, now time.Time) bool {
	switch {
	case version > r.version:
	case version == r.version && !r.led: // Nobody to decide, and as good as the list.
	default:
		return false
	}
	if !r.led {
		r.version = version
	}
	changed := r.add(listed)
	for _, host := range listed {
		if slices.Contains(r.hosts, host) { // Those only: there is a limit.
			r.claims[host] = claim{version, now}
		}
	}
	return changed
}

// add puts hosts on the list, as long as there is room. r.mu must be held.
func (r *Roster) add(listed []string) (changed bool) {
	for _, host := range listed {
		if len(r.hosts) < Limit && !slices.Contains(r.hosts, host) {
			r.hosts = append(r.hosts[:len(r.hosts):len(r.hosts)], host)
			changed = true
		}
	}
	return changed
}
