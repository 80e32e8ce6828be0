package server

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// replSetGetStatus tells of the set and of every member, with the fields that a
// server of 7.0 gives, in its order (TopologyCoordinator::prepareStatusResponse), but for
// the metrics of elections and of an initial sync.
func replSetGetStatus(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "initialSync":
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	st, err := c.member()
	if err != nil {
		if st.Role == repl.Removed {
			return c.statusOfRemoved(err, &st)
		}
		return err
	}
	w := &c.out
	members := c.s.node.MembersStatus()
	sync := ""
	for _, m := range members {
		if m.Self {
			sync = m.SyncFrom
		}
	}
	w.string("set", st.SetName)
	w.date("date", time.Now())
	w.int32("myState", int32(st.Role))
	w.int64("term", st.Term)
	w.string("syncSourceHost", sync)
	w.int32("syncSourceId", memberID(members, sync))
	w.int64("heartbeatIntervalMillis", st.Heartbeat.Milliseconds())
	w.int32("majorityVoteCount", int32(st.Votes.Majority))
	w.int32("writeMajorityCount", int32(st.Votes.WriteMajority))
	w.int32("votingMembersCount", int32(st.Votes.Voters))
	w.int32("writableVotingMembersCount", int32(st.Votes.Writable))
	at := w.doc("optimes")
	appendOpTime(w, "lastCommittedOpTime", st.MajorityCommitted)
	w.date("lastCommittedWallTime", epoch(st.MajorityCommittedAt))
	if st.MajorityCommitted != (repl.OpTime{}) {
		appendOpTime(w, "readConcernMajorityOpTime", st.MajorityCommitted)
	}
	appendOpTime(w, "appliedOpTime", st.LastApplied)
	appendOpTime(w, "durableOpTime", st.LastApplied)
	w.date("lastAppliedWallTime", epoch(st.LastAppliedWall))
	w.date("lastDurableWallTime", epoch(st.LastAppliedWall))
	w.close(at)
	at = w.array("members")
	for i, m := range members {
		one := w.docAt(i)
		c.appendMember(&m, members)
		w.close(one)
	}
	w.close(at)
	return nil
}

func (c *conn) appendMember(m *repl.MemberStatus, all []repl.MemberStatus) {
	w := &c.out
	health, up := 0.0, time.Duration(0)
	switch {
	case m.Self:
		health, up = 1, time.Since(c.s.started)
	case m.Health:
		health, up = 1, time.Since(m.UpSince)
	}
	w.int32("_id", m.ID)
	w.string("name", m.Host)
	w.double("health", health)
	w.int32("state", int32(m.Role))
	w.string("stateStr", roleName(m.Role))
	w.int32("uptime", int32(up/time.Second))
	if !m.Arbiter {
		date := time.Unix(int64(m.OpTime.TS.T), 0)
		appendOpTime(w, "optime", m.OpTime)
		if !m.Self {
			appendOpTime(w, "optimeDurable", m.OpTime)
		}
		w.date("optimeDate", date)
		if !m.Self {
			w.date("optimeDurableDate", date)
		}
		w.date("lastAppliedWallTime", epoch(m.OpTimeAt))
		w.date("lastDurableWallTime", epoch(m.OpTimeAt))
	}
	if !m.Self {
		w.date("lastHeartbeat", epoch(m.Heard))
		w.date("lastHeartbeatRecv", epoch(m.Heard))
		w.int64("pingMs", 0)
		w.string("lastHeartbeatMessage", m.Message)
	}
	w.string("syncSourceHost", m.SyncFrom)
	w.int32("syncSourceId", memberID(all, m.SyncFrom))
	w.string("infoMessage", "")
	if m.Role == repl.Primary {
		w.timestamp("electionTime", m.Elected)
		w.date("electionDate", time.Unix(int64(m.Elected.T), 0))
	}
	w.int32("configVersion", m.ConfigVersion)
	w.int32("configTerm", int32(m.ConfigTerm))
	if m.Self {
		w.bool("self", true)
		w.string("lastHeartbeatMessage", "")
	}
}

// statusOfRemoved is the refusal of a member that is in no config, with what it says
// of itself all the same.
func (c *conn) statusOfRemoved(err error, st *repl.Status) error {
	e := *err.(*query.Error)
	op := st.LastApplied
	e.Extra = bson.D{
		{Key: "state", Value: int32(st.Role)},
		{Key: "stateStr", Value: st.Role.String()},
		{Key: "uptime", Value: int32(time.Since(c.s.started) / time.Second)},
		{Key: "optime", Value: bson.D{{Key: "ts", Value: op.TS}, {Key: "t", Value: op.Term}}},
		{Key: "optimeDate", Value: time.Unix(int64(op.TS.T), 0)},
		{Key: "lastHeartbeatMessage", Value: ""},
		{Key: "syncSourceHost", Value: ""},
		{Key: "syncSourceId", Value: int32(-1)},
		{Key: "infoMessage", Value: ""},
	}
	return &e
}

// roleName is how replSetGetStatus writes a member's state: one that cannot be
// reached is told from one that says of itself that it is down.
func roleName(role repl.Role) string {
	if role == repl.Down {
		return "(not reachable/healthy)"
	}
	return role.String()
}

// epoch is a time, and that of the epoch for none, as in the server.
func epoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

func memberID(members []repl.MemberStatus, host string) int32 {
	for _, m := range members {
		if host != "" && m.Host == host {
			return m.ID
		}
	}
	return -1
}
