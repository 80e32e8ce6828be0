package mongoconn

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// Expect says who must answer at an address.
type Expect struct {
	// Address is the configured host:port.
	Address string
	// Aliases maps a configured host:port to the name by which its member is known
	// in the set's configuration, where the two differ.
	Aliases map[string]string
	// SetName is the set's name. Empty if the URI names none: then Learned decides.
	SetName string
	// Learned holds the name that the first verified member of the app gave. It is
	// shared by all hosts, and binding for all of them. Optional.
	Learned *SetName
	// AllowStandalone accepts a server that is no member of a set, as long as no set
	// is named or learned.
	AllowStandalone bool
}

// Identity is who has answered.
type Identity struct {
	// Me is the member's name in the set's configuration, "" for a standalone.
	Me, SetName string
	// ProcessID is new with every start of the server; zero before MongoDB 4.4.
	ProcessID  bson.ObjectID
	Standalone bool
}

// SetName holds the name of the app's replica set once a member has told it. The
// zero value holds none. It may be used from any goroutine.
type SetName struct{ name atomic.Pointer[string] }

// Get returns the name, "" for none yet.
func (s *SetName) Get() string {
	if s == nil {
		return ""
	}
	if name := s.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Learn returns the name that binds: the one held, or else the one given, which
// is held from now on.
func (s *SetName) Learn(name string) string {
	if s == nil {
		return name
	}
	s.name.CompareAndSwap(nil, &name)
	return *s.name.Load()
}

// NotMemberError says that a server was started as a member of a set, but has no
// valid configuration of one: it is still starting, was never initiated, or has
// been removed. It may be the right one, and cannot serve.
type NotMemberError struct {
	// Address is the configured address that was dialled, Remote the one that
	// answered.
	Address, Remote string
	// Info is what the server says about it.
	Info string
}

func (e *NotMemberError) Error() string {
	s := fmt.Sprintf("evenkeel: %s is not a member of a replica set (yet)", e.Address)
	if e.Info != "" {
		s += ": " + e.Info
	}
	return s
}

// HelloError says that a server has refused the handshake's hello, such as while
// it shuts down. Who it is stays unknown.
type HelloError struct {
	Address string
	Code    int32
	Message string
}

func (e *HelloError) Error() string {
	return fmt.Sprintf("evenkeel: %s refused hello: (%d) %s", e.Address, e.Code, e.Message)
}

// IsRefusal reports whether err says that a socket's server is the wrong one, is no
// member, or sends what no server sends: *messages.WrongHostError, *NotMemberError or
// *messages.ProtocolError.
func IsRefusal(err error) bool {
	var notMember *NotMemberError
	return errors.Is(err, messages.ErrWrongHost) || errors.As(err, &notMember) || errors.Is(err, messages.ErrProtocol)
}

// Check verifies the first reply of a socket from remote, which may be nil. Its
// error is a *messages.WrongHostError, a *NotMemberError or a *HelloError.
func (e *Expect) Check(hello bson.Raw, remote net.Addr) (Identity, error) {
	h, err := readHello(hello)
	from := ""
	if remote != nil {
		from = remote.String()
	}
	switch {
	case err != nil:
		return Identity{}, &messages.WrongHostError{
			Address: e.Address, Field: "protocol", Want: "a MongoDB server's hello", Got: err.Error(), Remote: from,
		}
	case !h.ok:
		return Identity{}, &HelloError{Address: e.Address, Code: h.code, Message: short(h.errmsg)}
	case h.msg == "isdbgrid":
		return Identity{}, &messages.WrongHostError{
			Address: e.Address, Field: "kind", Want: "a member of a replica set", Got: "a mongos", Remote: from,
		}
	case h.isReplicaSet:
		return Identity{}, &NotMemberError{Address: e.Address, Remote: from, Info: short(h.info)}
	}
	if err := e.names(h.me, h.setName); err != nil {
		err.Remote = from
		return Identity{}, err
	}
	if h.setName == "" {
		return Identity{ProcessID: h.processID, Standalone: true}, nil
	}
	return Identity{Me: Canonical(h.me), SetName: h.setName, ProcessID: h.processID}, nil
}

// maxText is how much is kept of a text that a server has sent, where it goes into
// events and snapshots.
const maxText = 1 << 10

func short(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// names checks what a server calls itself and its set. A server without a set's
// name is a standalone.
func (e *Expect) names(me, setName string) *messages.WrongHostError {
	if setName != "" {
		return e.member(me, setName)
	}
	want := e.set()
	if want == "" {
		if e.AllowStandalone {
			return nil
		}
		want = "that of a replica set"
	}
	return &messages.WrongHostError{Address: e.Address, Field: "setName", Want: want}
}

// member checks a member's name and its set's. The name comes first: a set's
// name is learned only from a host that has the right one.
func (e *Expect) member(me, setName string) *messages.WrongHostError {
	at := Canonical(e.Address)
	me = Canonical(me)
	if me == "" || me != at && me != e.alias() {
		want := at
		if alias := e.alias(); alias != "" {
			want = alias
		}
		return &messages.WrongHostError{Address: e.Address, Field: "me", Want: want, Got: short(me)}
	}
	want := e.SetName
	if want == "" {
		want = e.Learned.Learn(setName)
	}
	if setName != want {
		return &messages.WrongHostError{Address: e.Address, Field: "setName", Want: short(want), Got: short(setName)}
	}
	return nil
}

// set returns the name the set must have, "" while any will do.
func (e *Expect) set() string {
	if e.SetName != "" {
		return e.SetName
	}
	return e.Learned.Get()
}

// alias returns the member name that is configured for the address, "" for none.
func (e *Expect) alias() string {
	at := Canonical(e.Address)
	for configured, member := range e.Aliases {
		if Canonical(configured) == at {
			return Canonical(member)
		}
	}
	return ""
}

// AddressOf returns the address that is configured for the member of that name, or the
// name itself.
func (e *Expect) AddressOf(member string) string {
	member = Canonical(member)
	for addr, alias := range e.Aliases {
		if Canonical(alias) == member {
			return Canonical(addr)
		}
	}
	return member
}

// check is Check for who needs no Identity.
func (e *Expect) check(hello bson.Raw, remote net.Addr) error {
	_, err := e.Check(hello, remote)
	return err
}
