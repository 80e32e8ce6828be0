package messages

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The states that callers branch on.
var (
	// ErrOverloaded is returned when a queue or an in-flight limit is full. The
	// request was not sent; it may be tried again later.
	ErrOverloaded = errors.New("evenkeel: overloaded")
	// ErrNotLive is matched by every *NotLiveError: the one host that could answer (a
	// cursor's owner, or the last one that had not been tried) is not live, or no socket to it
	// could be opened in time.
	ErrNotLive = errors.New("evenkeel: host is not live")
	// ErrNoLiveHost is returned when no live host may serve the read before its
	// deadline.
	ErrNoLiveHost = errors.New("evenkeel: no live host may serve this read")
	// ErrNoPrimary is matched by every *NoPrimaryError.
	ErrNoPrimary = errors.New("evenkeel: no primary to write to")
	// ErrDeadline is returned when the deadline passed before the outcome was
	// there. It matches context.DeadlineExceeded too.
	ErrDeadline = errors.New("evenkeel: deadline passed")
	// ErrStopped is returned when the app is stopping or stopped. The request was not
	// sent.
	ErrStopped = errors.New("evenkeel: stopped")
	// ErrNotARead is returned for an operation sent to the router that may change
	// data. Send it to the master.
	ErrNotARead = errors.New("evenkeel: not a read")
	// ErrCursorLost is matched by every *CursorLostError.
	ErrCursorLost = errors.New("evenkeel: cursor lost")
	// ErrUnknownOutcome is matched by every *UnknownOutcomeError.
	ErrUnknownOutcome = errors.New("evenkeel: outcome unknown")
	// ErrWrongHost is matched by every *WrongHostError.
	ErrWrongHost = errors.New("evenkeel: wrong host")
	// ErrProtocol is matched by every *ProtocolError.
	ErrProtocol = errors.New("evenkeel: protocol broken")
	// ErrLoginRefused is matched by every *LoginError.
	ErrLoginRefused = errors.New("evenkeel: login refused")
	// ErrInvalid is matched by every *InvalidError.
	ErrInvalid = errors.New("evenkeel: invalid request")
	// ErrPanicked is matched by every *PanicError.
	ErrPanicked = errors.New("evenkeel: panicked")
)

// InvalidError is returned when a request can never work as it is: no
// operation, a filter that does not encode, an option that this operation does not
// have. The request was not sent.
type InvalidError struct {
	// Field is the part of the message that is wrong, such as "Filter".
	Field string
	// Err says what is wrong with it and what to write instead.
	Err error
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("evenkeel: invalid request: %s: %v", e.Field, e.Err)
}

// Unwrap returns what is wrong.
func (e *InvalidError) Unwrap() error { return e.Err }

// Is matches ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// OverloadedError is returned when a limit is reached. Its text names the limit
// and the Config field that sets it.
type OverloadedError struct {
	// Limit is the name of the Config field.
	Limit string
	// Max is the limit's value; Pending what was there when the request came.
	Max, Pending int64
	// Host is set where the limit is a host's.
	Host string
	// Recent are the last transitions before, oldest first; see Detail.
	Recent []Transition
}

func (e *OverloadedError) Error() string {
	at := ""
	if e.Host != "" {
		at = " at " + e.Host
	}
	less := "send less"
	if e.Limit == "MaxCursors" {
		less = "close cursors that are not read to their end"
	}
	return fmt.Sprintf("evenkeel: overloaded%s: %d of %s=%d in use; %s, or raise the limit", at, e.Pending, e.Limit, e.Max, less)
}

// Is matches ErrOverloaded.
func (e *OverloadedError) Is(target error) bool { return target == ErrOverloaded }

// NoLiveHostError is returned when no live host may serve a read.
type NoLiveHostError struct {
	From From
	// Tags are the read's tag sets, nil for any member.
	Tags []TagSet
	// Hosts is a line for each configured host: its state, and why.
	Hosts []string
	// Err is the last attempt's failure, nil when there was none.
	Err error
	// Recent are the last transitions before, oldest first; see Detail.
	Recent []Transition
}

func (e *NoLiveHostError) Error() string {
	s := fmt.Sprintf("evenkeel: no live host may serve a read from %v", e.From)
	for i, set := range e.Tags {
		s += []string{" with tags ", " or "}[min(i, 1)] + set.String()
	}
	return s + after(e.Hosts, e.Err)
}

// Unwrap returns the last attempt's failure.
func (e *NoLiveHostError) Unwrap() error { return e.Err }

// Is matches ErrNoLiveHost.
func (e *NoLiveHostError) Is(target error) bool { return target == ErrNoLiveHost }

// NoPrimaryError is returned when a write was held for a primary until its deadline. It
// was not executed.
type NoPrimaryError struct {
	// Hosts is a line for each configured host: its state, and why.
	Hosts []string
	// Err is the last attempt's failure, nil when there was none.
	Err error
	// Recent are the last transitions before, oldest first; see Detail.
	Recent []Transition
}

func (e *NoPrimaryError) Error() string {
	return ErrNoPrimary.Error() + after(e.Hosts, e.Err)
}

// Unwrap returns the last attempt's failure.
func (e *NoPrimaryError) Unwrap() error { return e.Err }

// Is matches ErrNoPrimary.
func (e *NoPrimaryError) Is(target error) bool { return target == ErrNoPrimary }

// after is how the text of an error ends that tells of every host.
func after(hosts []string, last error) (s string) {
	for _, h := range hosts {
		s += "; " + h
	}
	switch {
	case errors.Is(last, ErrDeadline): // It tells of the last attempt itself, if there was one.
		s += "; " + last.Error()
	case last != nil:
		s += "; last attempt: " + last.Error()
	}
	return s
}

// DeadlineError is returned when the deadline passed. It matches ErrDeadline and
// context.DeadlineExceeded, so that mongo.IsTimeout holds for it.
type DeadlineError struct {
	// Phase says where the request was: "queued", "held" (a read for a host, a
	// write for a primary or its login) or "sent".
	Phase string
	// After is how long it had been there.
	After time.Duration
	// Err is the last failure before, nil when there was none.
	Err error
}

func (e *DeadlineError) Error() string {
	s := fmt.Sprintf("evenkeel: deadline passed after %v (%s)", e.After.Round(time.Microsecond), e.Phase)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the last failure.
func (e *DeadlineError) Unwrap() error { return e.Err }

// Is matches ErrDeadline and context.DeadlineExceeded.
func (e *DeadlineError) Is(target error) bool {
	return target == ErrDeadline || target == context.DeadlineExceeded
}

// UnknownOutcomeError is returned when a write was sent and nobody can say
// whether it has happened. Do not send it again blindly: read, or make the write
// one that Write.Verify can settle.
type UnknownOutcomeError struct {
	// Write is the number by which a WriteSettled event tells what became of the write, if that is
	// found out later.
	Write uint64
	// Attempts is how often the write was put on the wire.
	Attempts int
	// OrderOpen says that the write might yet take effect after later writes of its
	// lane, as WriteReply.OrderOpen does.
	OrderOpen bool
	// Err is the failure that left it open.
	Err error
	// Recent are the last transitions before, oldest first; see Detail.
	Recent []Transition
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("evenkeel: outcome of write %d unknown after %d attempt(s): %v", e.Write, e.Attempts, e.Err)
}

// Unwrap returns the failure that left it open.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// Is matches ErrUnknownOutcome.
func (e *UnknownOutcomeError) Is(target error) bool { return target == ErrUnknownOutcome }

// CursorLostError is returned when the member that holds a cursor is lost, or
// has forgotten it. A cursor cannot move to another member: run the query again.
type CursorLostError struct {
	Host string
	// Returned is how many documents had been returned before.
	Returned int64
	Err      error
}

func (e *CursorLostError) Error() string {
	return fmt.Sprintf("evenkeel: cursor lost with its host %s after %d documents: %v; run the query again", e.Host, e.Returned, e.Err)
}

// Unwrap returns why it was lost.
func (e *CursorLostError) Unwrap() error { return e.Err }

// Is matches ErrCursorLost.
func (e *CursorLostError) Is(target error) bool { return target == ErrCursorLost }

// WrongHostError says that a socket to a configured address was answered by
// somebody else. No read or write went over it.
type WrongHostError struct {
	// Address is the configured address that was dialled.
	Address string
	// Want and Got are the member's own name (hello.me) as it should be and as it
	// was, or the set's name where Field is "setName".
	Field, Want, Got string
	// Remote is the IP address and port that answered, where known.
	Remote string
}

func (e *WrongHostError) Error() string {
	got := e.Got
	if got == "" {
		got = "none"
	}
	s := fmt.Sprintf("evenkeel: wrong host: dialled %s, and %s is %s, not %s", e.Address, e.Field, got, e.Want)
	if e.Remote != "" {
		s += " (answered from " + e.Remote + ")"
	}
	if e.Field == "me" {
		s += "; if both names mean one member, say so in Config.Aliases"
	}
	return s
}

// Is matches ErrWrongHost.
func (e *WrongHostError) Is(target error) bool { return target == ErrWrongHost }

// ProtocolError says that a host which had proven to be the right one sent something that no
// server sends: a reply to another request, one that is too long, or cut to pieces, or that does not
// hold what was asked for. None of it was passed on, and the socket is closed.
type ProtocolError struct {
	Host string
	// Remote is the IP address and port that sent it, where known.
	Remote string
	// Reason says what came. It holds nothing of a document.
	Reason string
}

func (e *ProtocolError) Error() string {
	s := "evenkeel: " + e.Host + " breaks the protocol: " + e.Reason
	if e.Remote != "" {
		s += " (from " + e.Remote + ")"
	}
	return s + "; check what stands between, and the server's version"
}

// Is matches ErrProtocol.
func (e *ProtocolError) Is(target error) bool { return target == ErrProtocol }

// LoginError says that a host is there and refuses the login. It holds no
// credentials: whatever of its text might be part of one is hidden.
type LoginError struct {
	Host string
	// Mechanism is what the URI or ClientOptions say, "" where it is left to the driver
	// (SCRAM-SHA-256, or SCRAM-SHA-1 if the server knows no better).
	Mechanism string
	// User is the user's name and Source the database that knows it. User is "" where
	// nobody is named: then the certificate, or the environment, says who logs in.
	User, Source string
	// Code is the server's, such as 18 (AuthenticationFailed); 0 when the login failed on
	// this side, such as over a mechanism that the server does not offer.
	Code int32
	// Reason is the server's text, or the driver's.
	Reason string
}

func (e *LoginError) Error() string {
	who, mechanism, check := "", e.Mechanism, "user, password and authSource"
	if e.User != "" {
		who = fmt.Sprintf(" of %q", e.User)
	}
	switch mechanism {
	case "":
		mechanism = "SCRAM"
	case "MONGODB-X509":
		check = "that the client certificate's subject is a user of $external"
	}
	return fmt.Sprintf("evenkeel: login%s refused by %s (%s, authSource %s): (%d) %s; check %s",
		who, e.Host, mechanism, e.Source, e.Code, e.Reason, check)
}

// Is matches ErrLoginRefused.
func (e *LoginError) Is(target error) bool { return target == ErrLoginRefused }

// PanicError is a panic inside evenkeel, with its stack.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("evenkeel: panicked: %v", e.Value) }

// Is matches ErrPanicked.
func (e *PanicError) Is(target error) bool { return target == ErrPanicked }

// Unwrap returns the panic's value when it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Retryable reports whether sending the same request again is both safe and of
// use later: it is a read, or was certainly not executed, and what stood in the way passes.
// Of a *CursorLostError it is the query that may be sent again, not the GetMore.
func Retryable(err error) bool {
	if errors.Is(err, ErrUnknownOutcome) {
		return false // It may have been executed.
	}
	switch {
	case errors.Is(err, ErrOverloaded): // Queues drain.
	case errors.Is(err, ErrNoLiveHost), errors.Is(err, ErrNotLive): // Hosts come back.
	case errors.Is(err, ErrNoPrimary): // Elections end.
	default:
		// Invalid for ever, stopped for good, out of its own time, or with a login that
		// somebody has to put right first.
		return false
	}
	return true
}
