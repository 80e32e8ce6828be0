package app

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/messages"
)

// OutcomeOf tells from the error of a Collection's write, or of RunWriteCommand, what
// became of the write:
//
//   - Applied: err is nil, or mongo.ErrNoDocuments of a FindOneAnd… that matched
//     nothing, or an *OutcomeError of one whose document was lost with its reply: see
//     Collection.Verify.
//   - NotApplied: it was refused, or is proven not to have been executed. Whether
//     to send it again is a question to messages.Retryable.
//   - Partial: an InsertMany, some documents of which were inserted, whose err is a
//     mongo.BulkWriteException; or a RunWriteCommand whose statements were refused in
//     part, whose err is an *OutcomeError.
//   - Unknown: it was sent and nobody can say; err matches
//     messages.ErrUnknownOutcome. Do not send it again blindly.
//
// The error may have been wrapped since. Of a *SingleResult pass what Err
// returns: Decode also fails where a document does not fit the value. An error that no
// write has returned is Unknown, never anything that it does not prove.
func OutcomeOf(err error) messages.Outcome {
	var marked *OutcomeError
	if errors.As(err, &marked) {
		return marked.Outcome
	}
	return evident(err)
}

// OutcomeError is returned by a write whose outcome cannot be seen from the
// error alone: a context that was over before the write was sent, for one. Others are returned as they
// are, with the driver's own types. Errors.As and errors.Is look through it.
type OutcomeError struct {
	Outcome messages.Outcome
	Err     error
}

func (e *OutcomeError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *OutcomeError) Unwrap() error { return e.Err }

// Is matches messages.ErrUnknownOutcome when the outcome is Unknown.
func (e *OutcomeError) Is(target error) bool {
	return target == messages.ErrUnknownOutcome && e.Outcome == messages.Unknown
}

// noWritesPerformed is the server's own label for an error without effect.
const noWritesPerformed = "NoWritesPerformed"

// told is a reply's error, such that OutcomeOf finds the reply's outcome in it.
func told(rep *messages.WriteReply) error {
	err := rep.Err
	switch {
	case err == nil && rep.Outcome == messages.Applied:
		return nil
	case err == nil:
		err = errors.New("evenkeel: the write was not acknowledged") // No reply is like that.
	case evident(err) == rep.Outcome && (rep.Outcome != messages.Unknown || errors.Is(err, messages.ErrUnknownOutcome)):
		return err
	}
	if many, ok := err.(mongo.BulkWriteException); ok && rep.Outcome == messages.NotApplied { //nolint:errorlint // only the bare value can be given a label
		// Stays of the type that programs look for.
		many.Labels = append(many.Labels[:len(many.Labels):len(many.Labels)], noWritesPerformed)
		if evident(many) == rep.Outcome {
			return many
		}
	}
	return &OutcomeError{Outcome: rep.Outcome, Err: err}
}

// evident is the outcome that an error proves by itself, Unknown when it proves
// none.
func evident(err error) messages.Outcome {
	if err == nil {
		return messages.Applied
	}
	if errors.Is(err, messages.ErrUnknownOutcome) {
		return messages.Unknown // Whatever it wraps is only how that came about.
	}
	if errors.Is(err, mongo.ErrNoDocuments) {
		return messages.Applied
	}
	var many mongo.BulkWriteException
	if errors.As(err, &many) {
		switch {
		case many.WriteConcernError != nil || len(many.WriteErrors) == 0:
			return messages.Unknown
		case many.HasErrorLabel(noWritesPerformed):
			return messages.NotApplied
		}
		return messages.Partial
	}
	var one mongo.WriteException
	if errors.As(err, &one) && one.WriteConcernError == nil && len(one.WriteErrors) > 0 {
		return messages.NotApplied
	}
	var refused mongo.CommandError
	if errors.As(err, &refused) && refused.Code != 0 && !refused.HasErrorLabel("NetworkError") && !mongo.IsTimeout(err) {
		return messages.NotApplied
	}
	for _, unsent := range []error{
		messages.ErrInvalid, messages.ErrOverloaded, messages.ErrNoPrimary, messages.ErrStopped, messages.ErrDeadline,
	} {
		if errors.Is(err, unsent) {
			return messages.NotApplied
		}
	}
	return messages.Unknown
}
