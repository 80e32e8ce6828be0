package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

func TestEveryRowOfTheTableForOneAttempt(t *testing.T) {
	for _, c := range []struct {
		name    string
		shape   shape
		failure error
		want    state
	}{
		{"context over before it was written", one, context.DeadlineExceeded, unsent},
		{"asker gone before it was written", one, context.Canceled, unsent},
		{"no time for a round trip", one, fmt.Errorf("%w: stats", driver.ErrDeadlineWouldBeExceeded), unsent},
		{"connection reset", one, networkError(), lost},
		{"time-out while reading", one, driver.Error{Labels: []string{driver.NetworkError}, Wrapped: context.DeadlineExceeded}, lost},
		{"asker gone while reading", one, driver.Error{Labels: []string{driver.NetworkError}, Wrapped: context.Canceled}, lost},
		{"a reply that is no reply", one, errors.New("malformed wire message"), lost},
		{"a wrapped time-out is no proof", one, fmt.Errorf("reading: %w", context.DeadlineExceeded), lost},

		{"not primary, one document", one, serverError(10107), refused},
		{"not primary, legacy", one, serverError(10058), refused},
		{"not primary, no secondaryOk", one, serverError(13435), refused},
		{"recovering", one, serverError(13436), refused},
		{"not primary, several documents", several, serverError(10107), interrupted},
		{"not primary, several, nothing written", several, serverError(10107, driver.NoWritesPerformed), refused},
		{"not primary, a command", custom, serverError(10107), refused},

		{"stepped down in the middle", one, serverError(189), interrupted},
		{"interrupted by a change of role", one, serverError(11602), interrupted},
		{"interrupted, nothing written", one, serverError(11602, driver.NoWritesPerformed), refused},
		{"shutting down", one, serverError(91), interrupted},
		{"interrupted at shutdown", one, serverError(11600), interrupted},
		{"killed", one, serverError(11601), interrupted},
		{"out of the server's time", one, serverError(50), interrupted},
		{"out of the server's time, a command", custom, serverError(50), interrupted},

		{"duplicate key of a find-and-modify", one, serverError(11000), refused},
		{"unauthorized", one, serverError(13), refused},
		{"unauthorized, several", several, serverError(13), refused},
		{"failed to parse, several", several, serverError(9), refused},
		{"transaction too old", one, serverError(225), refused},
		{"duplicate key, several", several, serverError(11000), interrupted},
		{"a command's own refusal", custom, serverError(48), refused},
		{"unauthorized, in several collections", mixed, serverError(13), refused},
		{"unknown command, in several collections", mixed, serverError(59), refused},
		{"unknown for now, in several collections", mixed, serverError(115), refused},
		{"a strict API does not have it", mixed, serverError(323), refused},
		{"failed to parse, in several collections", mixed, serverError(9), interrupted},
		{"a namespace that is none, among several", mixed, serverError(73), interrupted},
		{"a namespace that is none", several, serverError(73), refused},
		{"not primary, in several collections", mixed, serverError(10107), interrupted},
		{"not primary, in several, nothing written", mixed, serverError(10107, driver.NoWritesPerformed), refused},
		{"any other, in several collections", mixed, serverError(2), interrupted},
		{"overloaded", several, serverError(462, driver.ErrSystemOverloadedError, driver.ErrRetryableError), refused},
	} {
		if got := judgeFailure(c.shape, c.failure); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestEveryRowOfTheTableForAnOperation(t *testing.T) {
	ok := attempt{state: replied}
	gone := attempt{state: lost, err: networkError()}
	pending := attempt{state: begun}
	broken := attempt{state: interrupted, err: serverError(11602)}
	notNow := attempt{state: refused, err: serverError(10107)}
	never := attempt{state: refused, err: serverError(13)}
	busy := attempt{state: refused, err: serverError(462, driver.ErrSystemOverloadedError, driver.ErrRetryableError)}
	duplicate := mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 11000}}}
	selection := topology.ServerSelectionError{}

	for _, c := range []struct {
		name     string
		shape    shape
		sent     []attempt
		err      error
		want     conclusion
		doubtful bool
	}{
		{"no server", one, nil, selection, unexecuted, false},
		{"no time", one, nil, context.DeadlineExceeded, unexecuted, false},
		{"no connection", one, nil, mongo.CommandError{Labels: []string{"NetworkError"}}, unexecuted, false},
		{"too large", one, nil, driver.ErrDocumentTooLarge, rejected, false},
		{"client closed", one, nil, mongo.ErrClientDisconnected, rejected, false},

		{"success", one, []attempt{ok}, nil, answered, false},
		{"write error", one, []attempt{ok}, duplicate, answered, false},
		{"bulk write error", several, []attempt{ok}, mongo.BulkWriteException{}, answered, false},
		{"success of the retry after a lost reply", one, []attempt{gone, ok}, nil, answered, true},
		{"duplicate key of the retry after a lost reply", one, []attempt{gone, ok}, duplicate, answered, true},
		{"success of the retry after a refusal", one, []attempt{notNow, ok}, nil, answered, false},
		{"success of the retry after an interruption, which is over", one, []attempt{broken, ok}, nil, answered, false},
		{"a mixed reply counts, whatever the driver reports", mixed, []attempt{broken, ok}, mongo.CommandError{Code: 11602}, answered, false},
		{"a mixed reply to the retry after a lost one", mixed, []attempt{gone, ok}, nil, answered, true},
		{"a mixed operation in two commands", mixed, []attempt{{state: replied, number: 1}, {state: replied, number: 2}}, nil, open, false},

		{"lost", one, []attempt{gone}, networkError(), open, false},
		{"no word at all", one, []attempt{pending}, io.EOF, open, false},
		{"interrupted", one, []attempt{broken}, io.EOF, open, false},
		{"lost and then out of time", one, []attempt{gone}, context.DeadlineExceeded, open, false},
		{"lost and then no server", one, []attempt{gone}, selection, open, false},
		{"lost and then refused: the refusal says nothing of the first", one, []attempt{gone, notNow}, mongo.CommandError{Code: 10107}, open, false},
		{"lost and then refused for good", one, []attempt{gone, never}, mongo.CommandError{Code: 13}, open, false},
		{"executed without majority and then refused", one, []attempt{ok, notNow}, mongo.CommandError{Code: 10107}, open, false},
		{"a reply, and the driver reports another attempt", one, []attempt{notNow, ok}, mongo.CommandError{Code: 10107}, open, false},

		{"refused for now", one, []attempt{notNow}, mongo.CommandError{Code: 10107}, unexecuted, false},
		{"refused for now, all the time", one, []attempt{notNow, notNow, notNow}, context.DeadlineExceeded, unexecuted, false},
		{"too busy", one, []attempt{busy}, mongo.CommandError{Code: 462}, unexecuted, false},
		{"a command refused for now is not sent again", custom, []attempt{notNow}, mongo.CommandError{Code: 10107}, rejected, false},
		{"refused for good", one, []attempt{never}, mongo.CommandError{Code: 13}, rejected, false},
		{"refused for now and then for good", one, []attempt{notNow, never}, mongo.CommandError{Code: 13}, rejected, false},
	} {
		got := classify(c.shape, c.sent, c.err)
		if got.conclusion != c.want || got.doubtful != c.doubtful {
			t.Errorf("%s: %v (doubtful %v) because %s; want %v (%v)", c.name, got.conclusion, got.doubtful, got.reason, c.want, c.doubtful)
		}
	}
}

func TestARefusalIsReportedEvenIfTimeRanOutAfterwards(t *testing.T) {
	r := classify(one, []attempt{{state: refused, err: serverError(13)}}, context.DeadlineExceeded)
	var cmd mongo.CommandError
	if !errors.As(r.err, &cmd) || cmd.Code != 13 {
		t.Errorf("reported %v, want the server's own refusal", r.err)
	}
}

func TestTheMonitorRecordsAttemptsInTheOperationsContext(t *testing.T) {
	var cancelled bool
	a := &attempts{single: true, cancel: func() { cancelled = true }}
	a.start(attempt{id: 1, fenced: true})
	a.end(1, refused, nil)
	if cancelled {
		t.Fatal("the first attempt of a command was stopped")
	}
	a.start(attempt{id: 2, fenced: true})
	if !cancelled {
		t.Error("a command was let go out a second time")
	}
	if a.revoke() {
		t.Error("an operation was revoked that had been sent")
	}
}

func TestWhatWasRevokedIsStoppedBeforeItIsWritten(t *testing.T) {
	var cancelled bool
	a := &attempts{cancel: func() { cancelled = true }}
	if !a.revoke() {
		t.Fatal("an operation that was not sent could not be revoked")
	}
	a.start(attempt{id: 1, fenced: true})
	if !cancelled {
		t.Error("it went out nevertheless")
	}
}
