package repl

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// MemberConfig is one member in a set's config.
type MemberConfig struct {
	ID       int32
	Host     string
	Priority float64 // 0 never stands for election
	Votes    int     // 0 or 1
	Hidden   bool
	// Delay is how far behind the primary the member stays on purpose; it must have
	// priority 0.
	Delay time.Duration
	// Arbiter has a vote and no data; it must have priority 0.
	Arbiter bool
	Tags    map[string]string

	wanted *wanted // of a newly added member
}

// delaySecs is the delay as the config and hello say it.
func (m *MemberConfig) delaySecs() int64 { return int64((m.Delay + time.Second - 1) / time.Second) }

// config is a set's config. It never changes: a reconfiguration makes a new one.
type config struct {
	name    string
	version int32
	term    int64
	timing  timing
	members []MemberConfig
	id      bson.ObjectID // the set's
}

// timing is how fast a set notices and decides.
type timing struct {
	election  time.Duration
	heartbeat time.Duration
	catchUp   time.Duration
	takeover  time.Duration // 0 for the server's own rule
}

func timingOf(election time.Duration) timing {
	return timing{election: election, heartbeat: max(election/10, time.Millisecond), catchUp: 2 * election}
}

// newer says that c replaces other.
func (c *config) newer(other *config) bool {
	if c.term != other.term {
		return c.term > other.term
	}
	return c.version > other.version
}

func (c *config) find(id int32) *MemberConfig {
	i := slices.IndexFunc(c.members, func(m MemberConfig) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return &c.members[i]
}

func (c *config) host(id int32) string {
	if m := c.find(id); m != nil {
		return m.Host
	}
	return ""
}

func (c *config) voters() int {
	n := 0
	for _, m := range c.members {
		n += m.Votes
	}
	return n
}

// majority is how many voters are more than half of them.
func (c *config) majority() int { return c.voters()/2 + 1 }

// writable is how many voters have data.
func (c *config) writable() int {
	n := 0
	for _, m := range c.members {
		if !m.Arbiter {
			n += m.Votes
		}
	}
	return n
}

// bearers is how many of the voters that have data make an entry a majority's: as many
// as more than half of all voters, or where there are not as many, all of them.
func (c *config) bearers() int { return min(c.writable(), c.majority()) }

func (c *config) votes() Votes {
	return Votes{Voters: c.voters(), Writable: c.writable(), Majority: c.majority(), WriteMajority: c.bearers()}
}

// change returns the next config, with other members.
func (c *config) change(term int64, members []MemberConfig) *config {
	next := *c
	next.version++
	next.term = term
	next.members = members
	return &next
}

// inTerm returns the same config as a new primary takes it over.
func (c *config) inTerm(term int64) *config {
	next := *c
	next.term = term
	return &next
}

// document is what replSetGetConfig shows.
func (c *config) document() bson.Raw {
	members := bson.A{}
	for _, m := range c.members {
		m.grant() // that it is withheld is not shown
		tags := bson.M{}
		for k, v := range m.Tags {
			tags[k] = v
		}
		members = append(members, bson.D{
			{Key: "_id", Value: m.ID},
			{Key: "host", Value: m.Host},
			{Key: "arbiterOnly", Value: m.Arbiter},
			{Key: "buildIndexes", Value: true},
			{Key: "hidden", Value: m.Hidden},
			{Key: "priority", Value: m.Priority},
			{Key: "tags", Value: tags},
			{Key: "secondaryDelaySecs", Value: m.delaySecs()},
			{Key: "votes", Value: int32(m.Votes)},
		})
	}
	return mustMarshal(bson.D{
		{Key: "_id", Value: c.name},
		{Key: "version", Value: c.version},
		{Key: "term", Value: c.term},
		{Key: "members", Value: members},
		{Key: "protocolVersion", Value: int64(1)},
		{Key: "writeConcernMajorityJournalDefault", Value: true},
		{Key: "settings", Value: bson.D{
			{Key: "chainingAllowed", Value: true},
			{Key: "heartbeatIntervalMillis", Value: int32(c.timing.heartbeat.Milliseconds())},
			{Key: "heartbeatTimeoutSecs", Value: int32(max(1, c.timing.election/time.Second))},
			{Key: "electionTimeoutMillis", Value: int32(c.timing.election.Milliseconds())},
			{Key: "catchUpTimeoutMillis", Value: int32(c.timing.catchUp.Milliseconds())},
			{Key: "catchUpTakeoverDelayMillis", Value: int32(30000)},
			{Key: "getLastErrorModes", Value: bson.D{}},
			{Key: "getLastErrorDefaults", Value: bson.D{{Key: "w", Value: int32(1)}, {Key: "wtimeout", Value: int32(0)}}},
			{Key: "replicaSetId", Value: c.id},
		}},
	})
}
