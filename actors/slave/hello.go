package slave

import (
	"maps"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// onHello follows what the right server says of itself.
func (i *incarnation) onHello(hello mongoconn.Hello) {
	before := i.hello
	i.hello = hello
	if owner := i.h.cfg.Claims.claim(hello.ProcessID, i.h); owner != "" {
		i.duplicate(owner)
		return
	}
	i.noteLag()
	reason := cannotServe(hello.Kind)
	if reason == "" {
		reason = i.farBehind()
	}
	if reason != "" {
		i.standby(reason)
		return
	}
	switch i.state {
	case Dialing:
		i.check()
	case Standby:
		if i.quarantine.IsZero() {
			i.check()
		}
	case Live, Ejected:
		i.svc.load.Written(hello.LastWrite)
		i.follow(before)
		i.onLag()
	}
}

// member is what the host is in its set, by its latest hello.
func (i *incarnation) member() request.Member {
	return request.Member{Primary: i.hello.Kind != mongoconn.Secondary, Election: i.hello.ElectionID, Tags: i.hello.Tags}
}

// follow takes note of another role, election or tags of a server that goes on serving.
func (i *incarnation) follow(before mongoconn.Hello) {
	old, role := i.h.view.Load(), roleOf(i.hello.Kind)
	if old.role == role && before.ElectionID == i.hello.ElectionID && maps.Equal(before.Tags, i.hello.Tags) {
		return
	}
	if old.role != role {
		i.h.emit(messages.RoleChanged{Header: i.h.header(), From: old.role, To: role})
		i.show(role, old.reason)
	}
	if i.state == Live {
		i.h.cfg.Router.Join(i.svc, i.member())
	}
}

// cannotServe says why a member does not serve reads, "" when it does.
func cannotServe(k mongoconn.Kind) string {
	switch k {
	case mongoconn.Primary, mongoconn.Secondary, mongoconn.Standalone:
		return ""
	case mongoconn.Recovering:
		return "the member is recovering or in initial sync"
	case mongoconn.Hidden:
		return "the member is hidden, or delayed and recovering"
	case mongoconn.Delayed:
		return "the member is delayed, on purpose"
	case mongoconn.Arbiter:
		return "the member is an arbiter"
	case mongoconn.Ghost:
		return "the server is not in its set's configuration"
	}
	return "the server does not say what it is"
}

func roleOf(k mongoconn.Kind) messages.Role {
	switch k {
	case mongoconn.Primary:
		return messages.RolePrimary
	case mongoconn.Secondary:
		return messages.RoleSecondary
	case mongoconn.Standalone:
		return messages.RoleStandalone
	}
	return messages.RoleOther
}

// standby keeps the connection to a server that must not be read from.
func (i *incarnation) standby(reason string) {
	if i.standsBy(reason) {
		i.h.emit(messages.HostStandby{Header: i.h.header(), Reason: reason})
	}
}

// duplicate stands by for another name of the same server.
func (i *incarnation) duplicate(of string) {
	if i.standsBy("it is the same server as " + of) {
		i.h.emit(messages.DuplicateHost{Header: i.h.header(), Of: of})
	}
}

// standsBy goes into Standby, and reports whether that, or the reason, is new.
func (i *incarnation) standsBy(reason string) bool {
	if i.state == Standby {
		if i.h.view.Load().reason == reason {
			return false
		}
		i.show(messages.RoleOther, reason) // A quarantine goes on.
		return true
	}
	i.retire()
	i.h.outage.lost = "" // It is there; a loss from here on is news.
	i.enter(Standby, messages.RoleOther, reason)
	return true
}
