package app

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

// repliesOf are the errors that writes are answered with.
var repliesOf = []struct {
	name    string
	err     error
	outcome messages.Outcome
}{
	{"nothing", nil, messages.Applied},
	{"no document matched", mongo.ErrNoDocuments, messages.Applied},
	{"a duplicate", mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000}}}, messages.NotApplied},
	{"some duplicates", mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{}}}, messages.Partial},
	{"all duplicates", mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{}}}, messages.NotApplied},
	{"a refused command", mongo.CommandError{Code: 59}, messages.NotApplied},
	{"a broken connection before it was sent", mongo.CommandError{Labels: []string{"NetworkError"}}, messages.NotApplied},
	{"a broken connection", &messages.UnknownOutcomeError{Err: mongo.CommandError{Labels: []string{"NetworkError"}}}, messages.Unknown},
	{"an open deadline", &messages.UnknownOutcomeError{Err: &messages.DeadlineError{Phase: "sent"}}, messages.Unknown},
	{"an open refusal", &messages.UnknownOutcomeError{Err: mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000}}}}, messages.Unknown},
	{"a deadline in the queue", &messages.DeadlineError{Phase: "queued"}, messages.NotApplied},
	{"no primary", &messages.DeadlineError{Phase: "held", Err: messages.ErrNoPrimary}, messages.NotApplied},
	{"overload", &messages.OverloadedError{}, messages.NotApplied},
	{"a stopped app", fmt.Errorf("%w before the write was sent", messages.ErrStopped), messages.NotApplied},
	{"an invalid filter", &messages.InvalidError{Err: mongo.ErrNilDocument}, messages.NotApplied},
	{"a panic before it was sent", &messages.PanicError{Value: 1}, messages.NotApplied},
	{"a cancellation before it was sent", context.Canceled, messages.NotApplied},
	{"an error without a name, unknown", errors.New("x"), messages.Unknown},
	{"an error without a name, not applied", errors.New("x"), messages.NotApplied},
}

func TestOutcomeOfIsTheRepliesOwnForEveryError(t *testing.T) {
	for _, r := range repliesOf {
		err := told(&messages.WriteReply{Outcome: r.outcome, Err: r.err})
		wrapped := err
		if err != nil {
			wrapped = fmt.Errorf("saving: %w", err)
		}
		if OutcomeOf(err) != r.outcome || OutcomeOf(wrapped) != r.outcome {
			t.Errorf("%s: %v, wrapped %v, want %v", r.name, OutcomeOf(err), OutcomeOf(wrapped), r.outcome)
		}
		if errors.Is(err, messages.ErrUnknownOutcome) != (r.outcome == messages.Unknown) {
			t.Errorf("%s: it matches ErrUnknownOutcome: %t", r.name, errors.Is(err, messages.ErrUnknownOutcome))
		}
		if (err == nil) != (r.err == nil) || err != nil && err.Error() != r.err.Error() && r.name != "all duplicates" {
			t.Errorf("%s: the text has become %q", r.name, err)
		}
	}
}

func TestTheDriversErrorsKeepTheirTypes(t *testing.T) {
	for _, r := range repliesOf {
		err := told(&messages.WriteReply{Outcome: r.outcome, Err: r.err})
		switch r.err.(type) {
		case mongo.WriteException:
			if _, ok := err.(mongo.WriteException); !ok {
				t.Errorf("%s has become a %T", r.name, err)
			}
		case mongo.BulkWriteException:
			if _, ok := err.(mongo.BulkWriteException); !ok {
				t.Errorf("%s has become a %T", r.name, err)
			}
		case mongo.CommandError:
			if e := (mongo.CommandError{}); !errors.As(err, &e) {
				t.Errorf("%s has become a %T", r.name, err)
			}
		}
	}
}

func TestALabelIsNotWrittenIntoWhatOthersHold(t *testing.T) {
	labels := append(make([]string, 0, 4), "theirs")
	rep := &messages.WriteReply{Outcome: messages.NotApplied, Err: mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{}}, Labels: labels}}
	if got := OutcomeOf(told(rep)); got != messages.NotApplied {
		t.Errorf("the outcome is %v", got)
	}
	if labels[:2][1] != "" {
		t.Errorf("the labels are %q now", labels[:2])
	}
}

func TestOtherErrorsProveNothing(t *testing.T) {
	for _, err := range []error{
		errors.New("x"), context.Canceled, context.DeadlineExceeded, &messages.PanicError{}, mongo.CommandError{Code: 50},
		mongo.CommandError{Code: 91, Labels: []string{"NetworkError"}}, mongo.ErrClientDisconnected,
		mongo.WriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}},
		mongo.BulkWriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}, WriteErrors: []mongo.BulkWriteError{{}}},
	} {
		if got := OutcomeOf(err); got != messages.Unknown {
			t.Errorf("%v: %v", err, got)
		}
	}
}
