package messages

import (
	"fmt"
	"strings"
	"time"
)

// Event is something that happened to a host, to the set or to a queue. Each
// kind is a struct of its own; all embed Header. In JSON its durations are nanoseconds.
type Event interface {
	// Head returns the event's number, time and host.
	Head() Header
	// Kind is the event's name, the same as its type's.
	Kind() Kind
	// With returns the event with another header.
	With(Header) Event
	// String is one line for people.
	String() string
}

// Kind names a kind of event.
type Kind string

// The kinds of events.
const (
	KindHostDialing     Kind = "HostDialing"
	KindHostLive        Kind = "HostLive"
	KindHostStandby     Kind = "HostStandby"
	KindHostLost        Kind = "HostLost"
	KindWrongHost       Kind = "WrongHost"
	KindDuplicateHost   Kind = "DuplicateHost"
	KindHostEjected     Kind = "HostEjected"
	KindHostRestored    Kind = "HostRestored"
	KindHostRestarting  Kind = "HostRestarting"
	KindRoleChanged     Kind = "RoleChanged"
	KindPrimaryChanged  Kind = "PrimaryChanged"
	KindReadsDegraded   Kind = "ReadsDegraded"
	KindReadsRestored   Kind = "ReadsRestored"
	KindWritesHeld      Kind = "WritesHeld"
	KindWritesResumed   Kind = "WritesResumed"
	KindWritesBlocked   Kind = "WritesBlocked"
	KindWritesUnblocked Kind = "WritesUnblocked"
	KindWriteSettled    Kind = "WriteSettled"
	KindOverloaded      Kind = "Overloaded"
	KindAddressChanged  Kind = "AddressChanged"
	KindMemberAdded     Kind = "MemberAdded"
	KindMemberRemoved   Kind = "MemberRemoved"
	KindStopped         Kind = "Stopped"
)

// Header is what every event has. The app fills in Seq and Time as it publishes.
type Header struct {
	// Seq rises by one with every event of an app. After the present state, with which a
	// subscription starts, a gap in one to all kinds is a dropped event.
	Seq uint64 `json:"seq"`
	// Time is when it was published.
	Time time.Time `json:"time"`
	// Host is the configured host it concerns, "" for the whole set.
	Host string `json:"host,omitempty"`
}

// Head returns the header.
func (h Header) Head() Header { return h }

// Role is what a member is in its set, as the events say it.
type Role string

// The roles of a member.
const (
	RoleUnknown   Role = "unknown"
	RolePrimary   Role = "primary"
	RoleSecondary Role = "secondary"
	// RoleOther is a member that cannot serve: recovering, in initial sync, hidden, an arbiter.
	RoleOther Role = "other"
	// RoleStandalone is a server that is no member of any set.
	RoleStandalone Role = "standalone"
)

// HostDialing: a slave began to try its host; once per outage, not per attempt.
type HostDialing struct{ Header }

// HostLive: a host may serve.
type HostLive struct {
	Header
	Role Role `json:"role"`
	// Down is how long it had not been live; zero the first time.
	Down time.Duration `json:"down"`
	// Attempts is how often it was dialled in that time.
	Attempts int `json:"attempts"`
}

// HostStandby: the right member answers and cannot serve yet.
type HostStandby struct {
	Header
	Reason string `json:"reason"`
}

// HostLost: the connection to a host is gone, or does not come about.
type HostLost struct {
	Header
	Err error `json:"-"`
	// Reason is Err's text.
	Reason string `json:"reason"`
}

// WrongHost: a socket to a configured address was answered by somebody else.
type WrongHost struct {
	Header
	Field  string `json:"field"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Remote string `json:"remote,omitempty"`
}

// DuplicateHost: two configured names lead to one server. Host stands by, Of stays.
type DuplicateHost struct {
	Header
	Of string `json:"of"`
}

// HostEjected: a host that still answers heartbeats is kept from reads.
type HostEjected struct {
	Header
	Reason string `json:"reason"`
	// Evacuated is how many reads were moved to other hosts.
	Evacuated int `json:"evacuated"`
	// Floor says that the host should have been ejected and was not, because too
	// few would have remained.
	Floor bool `json:"floor"`
}

// HostRestored: an ejected host serves again.
type HostRestored struct {
	Header
	// After is how long it was out.
	After time.Duration `json:"after"`
	// Floor says that it is as slow as it was, and that too few hosts were left without it.
	Floor bool `json:"floor"`
}

// HostRestarting: the supervisor restarts a slave that failed. Of the same wrong host it is
// told once in an outage; a panic is logged instead.
type HostRestarting struct {
	Header
	Reason string `json:"reason"`
	// Restarts counts this slave's restarts, this one included.
	Restarts int `json:"restarts"`
	// Backoff is how long the new incarnation waits before it dials.
	Backoff time.Duration `json:"backoff"`
}

// RoleChanged: a live host has another role.
type RoleChanged struct {
	Header
	From Role `json:"from"`
	To   Role `json:"to"`
}

// PrimaryChanged: the primary is another one, or there has been none for 100 ms (To is "").
type PrimaryChanged struct {
	Header
	From string `json:"from"`
	To   string `json:"to"`
}

// ReadsDegraded: reads go where they should not have to, or wait. That is said of those that
// follow the app's settings (Config.From, Config.Tags). A read with a From or Tags of its own that
// finds no such member waits, or falls back, without an event: App.Stat().Reads counts it as
// Parked or among the Fallbacks, and the error of one that has waited in vain names what it
// wanted and how the hosts are. Of several tag sets any will do.
type ReadsDegraded struct {
	Header
	Reason string `json:"reason"`
}

// ReadsRestored: those of which ReadsDegraded was told go where they should again.
type ReadsRestored struct {
	Header
	// After is how long they did not.
	After time.Duration `json:"after"`
}

// WritesHeld: there is no primary, or it refuses the login; writes wait. That there is no
// primary yet is told a second after the start, or when a write's deadline passes before.
type WritesHeld struct {
	Header
	// Waiting is how many writes wait at this moment.
	Waiting int `json:"waiting"`
	// Reason is the refused login's text, "" while they wait for a primary.
	Reason string `json:"reason,omitempty"`
}

// WritesResumed: there is a primary again, and it lets us in.
type WritesResumed struct {
	Header
	// Held is how many writes had to wait; Expired of them passed their
	// deadline meanwhile, and Sent go out now.
	Held    int `json:"held"`
	Sent    int `json:"sent"`
	Expired int `json:"expired"`
	// After is for how long they had waited.
	After time.Duration `json:"after"`
}

// WritesBlocked: writes of a lane wait behind one that has been on the wire for a second
// or more.
type WritesBlocked struct {
	Header
	Lane int `json:"lane"`
	// For is how long it has been on the wire, Waiting how many wait behind it.
	For     time.Duration `json:"for"`
	Waiting int           `json:"waiting"`
}

// WritesUnblocked: that write, or batch of writes, is done.
type WritesUnblocked struct {
	Header
	Lane int `json:"lane"`
	// After is how long they had waited.
	After time.Duration `json:"after"`
}

// WriteSettled: it was found out what became of a write that had been answered Unknown. One that another
// process has undone before that counts as not applied.
type WriteSettled struct {
	Header
	Lane int `json:"lane"`
	// Write is the number that its UnknownOutcomeError gave it.
	Write uint64 `json:"write"`
	// Outcome is Applied, NotApplied or Partial.
	Outcome Outcome `json:"outcome"`
	// After is how long after its acceptance it is known.
	After time.Duration `json:"after"`
}

// Overloaded: requests were refused because a limit is reached. At most one a
// second for each limit and host.
type Overloaded struct {
	Header
	// Limit is the Config field.
	Limit string `json:"limit"`
	Max   int64  `json:"max"`
	// Refused is how many requests were refused since the last such event.
	Refused int64 `json:"refused"`
}

// AddressChanged: a host's name has come to mean other addresses than the one that its
// sockets go to. They have moved, all of them, without a moment in which it was not live;
// or they stay, since who answers there has not proven to be the member.
type AddressChanged struct {
	Header
	From string   `json:"from"`
	To   []string `json:"to"`
	// Stays says why the sockets have not moved, "" when they have.
	Stays string `json:"stays,omitempty"`
}

// MemberAdded: the set's own config lists one more member to read from.
type MemberAdded struct{ Header }

// MemberRemoved: the set's own config does not list a member any more, or not as one to
// read from. It is the last that is told of the host, unless it is added again.
type MemberRemoved struct{ Header }

// Stopped: the app has stopped. It is the last event.
type Stopped struct{ Header }

// Kind returns the event's name.
func (HostDialing) Kind() Kind     { return KindHostDialing }
func (HostLive) Kind() Kind        { return KindHostLive }
func (HostStandby) Kind() Kind     { return KindHostStandby }
func (HostLost) Kind() Kind        { return KindHostLost }
func (WrongHost) Kind() Kind       { return KindWrongHost }
func (DuplicateHost) Kind() Kind   { return KindDuplicateHost }
func (HostEjected) Kind() Kind     { return KindHostEjected }
func (HostRestored) Kind() Kind    { return KindHostRestored }
func (HostRestarting) Kind() Kind  { return KindHostRestarting }
func (RoleChanged) Kind() Kind     { return KindRoleChanged }
func (PrimaryChanged) Kind() Kind  { return KindPrimaryChanged }
func (ReadsDegraded) Kind() Kind   { return KindReadsDegraded }
func (ReadsRestored) Kind() Kind   { return KindReadsRestored }
func (WritesHeld) Kind() Kind      { return KindWritesHeld }
func (WritesResumed) Kind() Kind   { return KindWritesResumed }
func (WritesBlocked) Kind() Kind   { return KindWritesBlocked }
func (WritesUnblocked) Kind() Kind { return KindWritesUnblocked }
func (WriteSettled) Kind() Kind    { return KindWriteSettled }
func (Overloaded) Kind() Kind      { return KindOverloaded }
func (AddressChanged) Kind() Kind  { return KindAddressChanged }
func (MemberAdded) Kind() Kind     { return KindMemberAdded }
func (MemberRemoved) Kind() Kind   { return KindMemberRemoved }
func (Stopped) Kind() Kind         { return KindStopped }

func (e HostDialing) String() string { return e.Host + " is being dialled" }

func (e HostLive) String() string {
	if e.Down == 0 {
		return fmt.Sprintf("%s is live (%s)", e.Host, e.Role)
	}
	again := fmt.Sprintf("%s is live again (%s) after %v", e.Host, e.Role, e.Down.Round(time.Millisecond))
	if e.Attempts == 0 { // It was connected all the time.
		return again
	}
	return fmt.Sprintf("%s and %d attempts to connect", again, e.Attempts)
}

func (e HostStandby) String() string { return fmt.Sprintf("%s stands by: %s", e.Host, e.Reason) }
func (e HostLost) String() string    { return fmt.Sprintf("%s is lost: %s", e.Host, e.Reason) }

func (e WrongHost) String() string {
	return fmt.Sprintf("%s was answered by a wrong host: %s is %q, not %q", e.Host, e.Field, e.Got, e.Want)
}

func (e DuplicateHost) String() string {
	return fmt.Sprintf("%s is the same server as %s and stands by", e.Host, e.Of)
}

func (e HostEjected) String() string {
	if e.Floor {
		return fmt.Sprintf("%s should be ejected (%s) but too few hosts would remain", e.Host, e.Reason)
	}
	return fmt.Sprintf("%s is ejected: %s; %d reads moved", e.Host, e.Reason, e.Evacuated)
}

func (e HostRestored) String() string {
	s := fmt.Sprintf("%s is restored after %v", e.Host, e.After.Round(time.Millisecond))
	if e.Floor {
		s += ": it is slow, and too few others are left"
	}
	return s
}

func (e HostRestarting) String() string {
	return fmt.Sprintf("%s restarts (number %d, dials in %v): %s", e.Host, e.Restarts, e.Backoff.Round(time.Millisecond), e.Reason)
}

func (e RoleChanged) String() string {
	return fmt.Sprintf("%s was %s and is %s", e.Host, e.From, e.To)
}

func (e PrimaryChanged) String() string {
	if e.To == "" {
		return "there is no primary; it was " + e.From
	}
	return fmt.Sprintf("the primary is %s; it was %q", e.To, e.From)
}

func (e ReadsDegraded) String() string { return "reads are degraded: " + e.Reason }

func (e ReadsRestored) String() string {
	return fmt.Sprintf("reads are restored after %v", e.After.Round(time.Millisecond))
}

func (e WritesHeld) String() string {
	if e.Reason != "" {
		return fmt.Sprintf("writes are held, %d waiting: %s", e.Waiting, e.Reason)
	}
	return fmt.Sprintf("writes are held for a primary, %d waiting", e.Waiting)
}

func (e WritesResumed) String() string {
	return fmt.Sprintf("writes resume after %v: %d held, %d sent, %d expired", e.After.Round(time.Millisecond), e.Held, e.Sent, e.Expired)
}

func (e WritesBlocked) String() string {
	return fmt.Sprintf("%d writes of lane %d wait behind one that has been on the wire for %v", e.Waiting, e.Lane, e.For.Round(time.Millisecond))
}

func (e WritesUnblocked) String() string {
	return fmt.Sprintf("lane %d goes on: what blocked it took %v", e.Lane, e.After.Round(time.Millisecond))
}

func (e WriteSettled) String() string {
	return fmt.Sprintf("write %d, whose outcome was unknown, was %v, as is known %v after it was sent off", e.Write, e.Outcome, e.After.Round(time.Millisecond))
}

func (e Overloaded) String() string {
	return fmt.Sprintf("overloaded: %s=%d reached, %d refused", e.Limit, e.Max, e.Refused)
}

func (e AddressChanged) String() string {
	to := strings.Join(e.To, ", ")
	if e.Stays != "" {
		return fmt.Sprintf("%s means %s now; its sockets stay at %s: %s", e.Host, to, e.From, e.Stays)
	}
	return fmt.Sprintf("%s has moved from %s to %s", e.Host, e.From, to)
}

func (e MemberAdded) String() string   { return e.Host + " is a member to read from now" }
func (e MemberRemoved) String() string { return e.Host + " is no member to read from any more" }
func (Stopped) String() string         { return "stopped" }

// With returns the event with another header.
func (e HostDialing) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostLive) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostStandby) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostLost) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WrongHost) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e DuplicateHost) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostEjected) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostRestored) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e HostRestarting) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e RoleChanged) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e PrimaryChanged) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e ReadsDegraded) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e ReadsRestored) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WritesHeld) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WritesResumed) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WritesBlocked) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WritesUnblocked) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e WriteSettled) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e Overloaded) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e AddressChanged) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e MemberAdded) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e MemberRemoved) With(h Header) Event { e.Header = h; return e }

// With returns the event with another header.
func (e Stopped) With(h Header) Event { e.Header = h; return e }
