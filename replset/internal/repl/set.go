package repl

import (
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What Options leave open.
const (
	DefaultElectionTimeout = time.Second
	DefaultOplogLimit      = 100_000
)

// Options say what set NewSet makes.
type Options struct {
	Name string
	// Members have different ids, none of them negative.
	Members []MemberConfig
	// ElectionTimeout is how long a primary may give no sign of life before it is
	// replaced. Heartbeats are ten times as frequent. Defaults to DefaultElectionTimeout.
	ElectionTimeout time.Duration
	// OplogLimit is how many entries a member keeps for those that lack them. One
	// that falls behind further copies all data anew. Defaults to DefaultOplogLimit.
	OplogLimit int
	// TakeoverDelay is how long a member waits before it takes over from a primary of
	// lower priority. Defaults to as many election time-outs as there are members of
	// still higher priority, and one.
	TakeoverDelay time.Duration
	// NewlyAdded gives an added member its vote and its priority only when it has
	// become a secondary, as since 5.0.
	NewlyAdded bool
	// Standalone makes a set of nobody: its one member runs without replication.
	Standalone bool
}

// Set is a replica set without its sockets. All methods may be called from any
// goroutine.
type Set struct {
	opts Options
	net  *network

	mu      sync.Mutex
	members []*Member
}

// NewSet makes a set that has just been initiated: every member has the config
// and the same first oplog entry. None of them runs yet.
func NewSet(opts Options) *Set {
	if opts.ElectionTimeout <= 0 {
		opts.ElectionTimeout = DefaultElectionTimeout
	}
	if opts.OplogLimit <= 0 {
		opts.OplogLimit = DefaultOplogLimit
	}
	s := &Set{opts: opts, net: newNetwork()}
	if opts.Standalone {
		s.members = []*Member{{set: s, id: 0}}
		return s
	}
	cfg := &config{
		name: opts.Name, version: 1, members: opts.Members, id: bson.NewObjectID(), timing: timingOf(opts.ElectionTimeout),
	}
	cfg.timing.takeover = opts.TakeoverDelay
	now := time.Now()
	first := moment{op: OpTime{TS: bson.Timestamp{T: uint32(now.Unix()), I: 1}}, wall: now, data: &state{}}
	for _, mc := range opts.Members {
		m := &Member{set: s, id: mc.ID}
		m.disk.cfg = cfg
		if !mc.Arbiter {
			m.disk.begin(first)
		}
		s.members = append(s.members, m)
	}
	return s
}

// Member returns the one with that id.
func (s *Set) Member(id int32) *Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (s *Set) all() []*Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.members)
}

// Start lets every member run, and the one with the highest priority stand for
// election at once.
func (s *Set) Start() {
	var procs []*process
	members := s.all()
	for _, m := range members {
		procs = append(procs, newProcess(m, s.opts.Standalone))
	}
	s.net.change(func() {
		for _, p := range procs {
			s.net.procs[p.id] = p
		}
	})
	var first *process
	for i, p := range procs {
		members[i].proc.Store(p)
		p.mu.Lock()
		if p.candidate() && (first == nil || p.member().Priority > first.member().Priority) {
			first = p
		}
		p.mu.Unlock()
	}
	if first != nil {
		first.stands()
	}
	for _, p := range procs {
		p.start()
	}
}

// Stop ends every member.
func (s *Set) Stop() {
	for _, m := range s.all() {
		m.Kill()
	}
}

// Partition cuts the network between the members into groups. Those that no group
// names are together in one more. A member that two groups name connects neither
// with the other, but speaks with both.
func (s *Set) Partition(groups ...[]int32) {
	s.net.change(func() {
		s.net.groups = make([][]int32, len(groups))
		for i, g := range groups {
			s.net.groups[i] = slices.Clone(g)
		}
	})
}

// Heal ends Partition.
func (s *Set) Heal() { s.net.change(func() { s.net.groups = nil }) }

// Leader returns the member that writes: of several the one with the newest
// term. It is nil when there is none.
func (s *Set) Leader() *Member {
	var leader *Member
	term := int64(-1)
	for _, m := range s.all() {
		p := m.proc.Load()
		if p == nil || p.standalone && !s.opts.Standalone {
			continue
		}
		p.mu.Lock()
		writes := !p.dead && !p.frozen && (p.standalone || p.role == Primary && p.writable)
		if writes && p.disk.term > term {
			leader, term = m, p.disk.term
		}
		p.mu.Unlock()
	}
	return leader
}

// Add gives the set one more member, which is to be started, and takes it into the config.
// The new one copies its data from another.
func (s *Set) Add(mc MemberConfig) *Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &Member{set: s, id: mc.ID}
	s.members = append(s.members, m)
	return m
}
