package messages

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Transition is an entry of the flight recorder: a change of a host's state, or an
// event.
type Transition struct {
	Time time.Time `json:"time"`
	// Host is "" for what concerns the whole set.
	Host string `json:"host,omitempty"`
	What string `json:"what"`
	// Again is how often the same has happened to the host since, and Last when it did
	// for the last time; zero for never.
	Again int       `json:"again,omitempty"`
	Last  time.Time `json:"last,omitzero"`
}

// String is one line for people.
func (t Transition) String() string {
	s := t.Time.Format("15:04:05.000") + " "
	if t.Host != "" {
		s += t.Host + ": "
	}
	s += t.What
	if t.Again > 0 {
		s += fmt.Sprintf(" (%d more times, lastly at %s)", t.Again, t.Last.Format("15:04:05.000"))
	}
	return s
}

// NotLiveError is returned when the one host that could answer is not live any more.
type NotLiveError struct {
	Host string
	// Err says what happened to it.
	Err error
	// Recent are the last transitions before, oldest first.
	Recent []Transition
}

func (e *NotLiveError) Error() string { return fmt.Sprintf("%v: %s: %v", ErrNotLive, e.Host, e.Err) }

// Unwrap returns what happened to the host.
func (e *NotLiveError) Unwrap() error { return e.Err }

// Is matches ErrNotLive.
func (e *NotLiveError) Is(target error) bool { return target == ErrNotLive }

// Recent returns the last transitions before an error that has them: those that say
// that a host is not live, that there is no primary, that something is overloaded, or that
// an outcome is unknown.
func Recent(err error) []Transition {
	if err == nil {
		return nil
	}
	if list := recent(err); list != nil {
		return *list
	}
	return nil
}

// recent finds where an error keeps its transitions.
func recent(err error) *[]Transition {
	var notLive *NotLiveError
	var noLive *NoLiveHostError
	var noPrimary *NoPrimaryError
	var overloaded *OverloadedError
	var unknown *UnknownOutcomeError
	switch {
	case errors.As(err, &unknown):
		return &unknown.Recent
	case errors.As(err, &noLive):
		return &noLive.Recent
	case errors.As(err, &noPrimary):
		return &noPrimary.Recent
	case errors.As(err, &overloaded):
		return &overloaded.Recent
	case errors.As(err, &notLive):
		return &notLive.Recent
	}
	return nil
}

// SetRecent gives an error that can have them the last transitions, unless it has some.
// The error must not be shared yet.
func SetRecent(err error, last func() []Transition) {
	if err == nil || last == nil {
		return
	}
	if list := recent(err); list != nil && *list == nil {
		*list = last()
	}
}

// Detail is an error's text with the last transitions before it, a line for each.
func Detail(err error) string {
	if err == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(err.Error())
	for _, t := range Recent(err) {
		b.WriteString("\n\t")
		b.WriteString(t.String())
	}
	return b.String()
}
