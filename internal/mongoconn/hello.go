package mongoconn

import (
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/tag"
)

// Kind is what a server is in its set.
type Kind uint8

// The kinds of servers.
const (
	Unknown Kind = iota
	Primary
	Secondary
	// Recovering is a member that cannot serve: in initial sync, catching up,
	// rolling back, in maintenance.
	Recovering
	// Hidden is a member that the set's configuration hides from clients.
	Hidden
	// Delayed is a secondary that stays behind the primary on purpose.
	Delayed
	Arbiter
	// Ghost is a server that was started for a set and is not in its configuration
	// any more.
	Ghost
	Standalone
)

func (k Kind) String() string {
	switch k {
	case Primary:
		return "primary"
	case Secondary:
		return "secondary"
	case Recovering:
		return "recovering"
	case Hidden:
		return "hidden"
	case Delayed:
		return "delayed"
	case Arbiter:
		return "arbiter"
	case Ghost:
		return "ghost"
	case Standalone:
		return "standalone"
	}
	return "unknown"
}

// Hello is what a verified server says of itself in a heartbeat. Addresses are
// in lower case and have a port.
type Hello struct {
	Kind Kind
	// Me is the member's name in the set's configuration, SetName the set's; empty for
	// a Standalone and a Ghost.
	Me, SetName string
	// Primary is the member that this one takes for the primary, "" for none.
	Primary                   string
	Hosts, Passives, Arbiters []string
	// Passive is a member that can never be the primary.
	Passive bool
	Tags    map[string]string
	// LastWrite is the wall clock time of the last write this member has applied; zero
	// when not told.
	LastWrite time.Time
	// ProcessID is new with every start of the server, TopologyCounter rises with
	// every change it sees in the set. Zero before MongoDB 4.4.
	ProcessID       bson.ObjectID
	TopologyCounter int64
	// SetVersion is the version of the config that the member has. With ElectionID, which
	// only a primary has, it tells of two primaries which is the later.
	ElectionID     bson.ObjectID
	SetVersion     uint32
	MaxWireVersion int32
	// RTT is the latest round trip of a hello that the server did not hold back:
	// each new socket's first.
	RTT time.Duration
}

// kindOf reads the driver's name for a kind. Hidden members and those that cannot
// serve are one kind to it, as delayed ones and other secondaries are.
func kindOf(driver string) Kind {
	switch driver {
	case "RSPrimary":
		return Primary
	case "RSSecondary":
		return Secondary
	case "RSArbiter":
		return Arbiter
	case "RSOther":
		return Recovering
	case "RSGhost":
		return Ghost
	case "Standalone":
		return Standalone
	}
	return Unknown
}

func helloOf(d *event.ServerDescription, rtt time.Duration) Hello {
	h := Hello{
		Kind:            kindOf(d.Kind),
		SetName:         d.SetName,
		Primary:         Canonical(string(d.Primary)),
		Hosts:           canonicals(d.Hosts),
		Passives:        canonicals(d.Passives),
		Arbiters:        canonicals(d.Arbiters),
		Passive:         d.Passive,
		Tags:            tags(d.Tags),
		LastWrite:       d.LastWriteTime,
		ProcessID:       d.TopologyVersionProcessID,
		TopologyCounter: d.TopologyVersionCounter,
		ElectionID:      d.ElectionID,
		SetVersion:      d.SetVersion,
		MaxWireVersion:  d.MaxWireVersion,
		RTT:             rtt,
	}
	// The driver puts the dialled address where a server gives no name.
	if h.SetName != "" {
		h.Me = Canonical(string(d.CanonicalAddr))
	}
	if h.unlisted() {
		switch h.Kind {
		case Secondary:
			h.Kind = Delayed
		case Recovering:
			h.Kind = Hidden
		}
	}
	return h
}

// unlisted reports whether the member is none of those that its own config tells clients
// of. A server leaves out the hidden members and the delayed ones; what they say of themselves
// only the first hello of a socket would show, and it may be no longer so.
func (h *Hello) unlisted() bool {
	return len(h.Hosts) > 0 && !slices.Contains(h.Hosts, h.Me) && !slices.Contains(h.Passives, h.Me)
}

func canonicals(addrs []string) []string {
	if len(addrs) == 0 {
		return nil
	}
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = Canonical(a)
	}
	return out
}

func tags(set tag.Set) map[string]string {
	if len(set) == 0 {
		return nil
	}
	m := make(map[string]string, len(set))
	for _, t := range set {
		m[t.Name] = t.Value
	}
	return m
}

// rawHello are the fields of a hello's document that tell who sent it.
type rawHello struct {
	ok, isReplicaSet               bool
	code                           int32
	msg, me, setName, info, errmsg string
	processID                      bson.ObjectID
}

// readHello reads a hello as the driver does: the last of several fields of one
// name counts, and a field of the wrong type is an error.
func readHello(doc bson.Raw) (h rawHello, err error) {
	elements, err := doc.Elements()
	if err != nil {
		return h, err
	}
	for _, e := range elements {
		v, ok := e.Value(), true
		switch e.Key() {
		case "ok":
			var n int64
			n, ok = v.AsInt64OK()
			h.ok = n == 1
		case "isreplicaset":
			h.isReplicaSet, ok = v.BooleanOK()
		case "hidden":
			_, ok = v.BooleanOK()
		case "msg":
			h.msg, ok = v.StringValueOK()
		case "me":
			h.me, ok = v.StringValueOK()
		case "setName":
			h.setName, ok = v.StringValueOK()
		case "topologyVersion":
			var tv bson.Raw
			if tv, ok = v.DocumentOK(); ok {
				h.processID, ok = tv.Lookup("processId").ObjectIDOK()
			}
		case "info":
			h.info, _ = v.StringValueOK()
		case "errmsg", "$err":
			h.errmsg, _ = v.StringValueOK()
		case "code":
			n, _ := v.AsInt64OK()
			h.code = int32(n)
		}
		if !ok {
			return h, fmt.Errorf("a hello whose %q is of type %s", e.Key(), v.Type)
		}
	}
	return h, nil
}
