package messages_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

func TestTypedErrorsMatchTheirSentinelsAndUnwrap(t *testing.T) {
	for _, c := range []struct {
		err      error
		sentinel error
	}{
		{&messages.InvalidError{Field: "Filter", Err: io.EOF}, messages.ErrInvalid},
		{&messages.NoLiveHostError{Err: io.EOF}, messages.ErrNoLiveHost},
		{&messages.NoPrimaryError{Err: io.EOF}, messages.ErrNoPrimary},
		{&messages.DeadlineError{Phase: "queued", Err: io.EOF}, messages.ErrDeadline},
		{&messages.UnknownOutcomeError{Attempts: 1, Err: io.EOF}, messages.ErrUnknownOutcome},
		{&messages.CursorLostError{Host: "a:1", Err: io.EOF}, messages.ErrCursorLost},
		{&messages.PanicError{Value: io.EOF}, messages.ErrPanicked},
	} {
		err := fmt.Errorf("wrapped: %w", c.err)
		if !errors.Is(err, c.sentinel) {
			t.Errorf("%T does not match %v", c.err, c.sentinel)
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%T does not unwrap to its cause", c.err)
		}
	}
}

func TestAPassedDeadlineIsATimeoutToTheDriverToo(t *testing.T) {
	err := error(&messages.DeadlineError{Phase: "queued"})
	if !errors.Is(err, context.DeadlineExceeded) || !mongo.IsTimeout(err) {
		t.Errorf("%v is not a time-out to the driver", err)
	}
}

func TestWhatMayHaveBeenExecutedIsNeverRetryable(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&messages.OverloadedError{Limit: "WriteQueue", Max: 1, Pending: 1}, true},
		{&messages.NoLiveHostError{}, true},
		{messages.ErrNotLive, true},
		{&messages.DeadlineError{Phase: "held", Err: &messages.NoPrimaryError{Err: io.EOF}}, true},
		{&messages.UnknownOutcomeError{Attempts: 1, Err: messages.ErrNoPrimary}, false},
		{&messages.InvalidError{Field: "Filter", Err: io.EOF}, false},
		{messages.ErrStopped, false},
		{&messages.DeadlineError{Phase: "queued"}, false},
		{nil, false},
	} {
		if got := messages.Retryable(c.err); got != c.want {
			t.Errorf("Retryable(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestThatNoHostMayServeNamesTheTags(t *testing.T) {
	err := &messages.NoLiveHostError{From: messages.FromSecondaries, Tags: []messages.TagSet{{"use": "ranking", "dc": "east"}, {}}, Hosts: []string{"a:1 live"}}
	if got, want := err.Error(), "evenkeel: no live host may serve a read from secondaries with tags {dc: east, use: ranking} or {}; a:1 live"; got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

func TestWhatWasNeverTriedHasNoLastAttempt(t *testing.T) {
	late := &messages.DeadlineError{Phase: "held", After: time.Second}
	err := &messages.NoLiveHostError{From: messages.FromAll, Hosts: []string{"a:1 waiting"}, Err: late}
	if got, want := err.Error(), "evenkeel: no live host may serve a read from all; a:1 waiting; evenkeel: deadline passed after 1s (held)"; got != want {
		t.Errorf("%s\n%s", got, want)
	}
	late.Err = io.EOF
	if got, want := err.Error(), "evenkeel: no live host may serve a read from all; a:1 waiting; evenkeel: deadline passed after 1s (held): EOF"; got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

func TestARefusalForCursorsSaysToCloseThem(t *testing.T) {
	err := &messages.OverloadedError{Limit: "MaxCursors", Max: 1000, Pending: 1000, Host: "a:1"}
	if got := err.Error(); !strings.Contains(got, "1000 of MaxCursors=1000 in use; close cursors") {
		t.Error(got)
	}
}

func TestThatThereIsNoPrimaryNamesTheHosts(t *testing.T) {
	err := &messages.DeadlineError{Phase: "held", Err: &messages.NoPrimaryError{Hosts: []string{"a:1 live (secondary)", "b:1 waiting: gone"}, Err: io.EOF}}
	want := "evenkeel: deadline passed after 0s (held): evenkeel: no primary to write to; a:1 live (secondary); b:1 waiting: gone; last attempt: EOF"
	if got := err.Error(); got != want {
		t.Errorf("%s\n%s", got, want)
	}
	messages.SetRecent(err, func() []messages.Transition { return []messages.Transition{{Host: "b:1", What: "live → waiting"}} })
	if got := messages.Recent(err); len(got) != 1 || got[0].Host != "b:1" {
		t.Errorf("recent: %v", got)
	}
}

func TestAnOutcomeNobodySetClaimsNothing(t *testing.T) {
	var reply messages.WriteReply
	if reply.Outcome != messages.Unknown {
		t.Errorf("the zero outcome is %v", reply.Outcome)
	}
}
