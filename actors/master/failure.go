package master

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// The driver's error labels that matter here.
const (
	labelNetwork    = "NetworkError"
	labelRetryable  = "RetryableWriteError"
	labelOverloaded = "SystemOverloadedError"
	labelNoWrites   = "NoWritesPerformed"
)

// judgeFailure says what a failed attempt leaves open.
func judgeFailure(s shape, failure error) state {
	server := mongoconn.ServerErrorOf(failure)
	if server == nil {
		// Not an error of the round trip, which always has the server's or the network's
		// own: the driver looked at the context, or at the clock, after it had announced the
		// command and before it wrote it. Anything else is a reply that could not be read.
		if mongoconn.NotSent(failure) {
			return unsent
		}
		return lost
	}
	if server.HasErrorLabel(labelNetwork) || server.Raw == nil {
		return lost
	}
	return judgeRefusal(s, server.Code, server.Labels)
}

// passing reports whether an operation failed before any attempt for a reason
// that passes: no server to be had, no connection, no time. Everything else is
// wrong with the operation itself, such as a document that is too large.
func passing(err error) bool {
	var pool interface{ Retryable() bool }
	return mongoconn.IsSelection(err) || mongo.IsTimeout(err) || mongo.IsNetworkError(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, errNoFence) || errors.Is(err, messages.ErrLoginRefused) ||
		errors.As(err, &pool) && pool.Retryable()
}

// transientRefusal reports whether a refused attempt may be made again later: the
// server was not primary, or had too much to do.
func transientRefusal(failure error) bool {
	server := mongoconn.ServerErrorOf(failure)
	if server == nil {
		return false
	}
	for _, label := range []string{labelRetryable, labelOverloaded} {
		if server.HasErrorLabel(label) {
			return true
		}
	}
	return notPrimary[server.Code] || unclear[server.Code] && server.HasErrorLabel(labelNoWrites)
}

// refusedForGood reports whether a server has refused what the driver's own method has asked for, and not only for now.
func refusedForGood(err error) bool {
	code, passes := int32(0), false
	var whole mongo.CommandError
	var part mongo.WriteException
	switch {
	case errors.As(err, &whole):
		code = whole.Code
		passes = mongo.IsNetworkError(err) || whole.HasErrorLabel(labelRetryable) || whole.HasErrorLabel(labelOverloaded)
	case errors.As(err, &part) && len(part.WriteErrors) > 0:
		code = int32(part.WriteErrors[0].Code)
	}
	return code != 0 && !passes && !notPrimary[code] && !steppingDown[code] && !unclear[code] && !errors.Is(err, messages.ErrLoginRefused)
}

// public gives a command monitor's error the type that the driver's own methods
// return.
func public(err error) error {
	if server := mongoconn.ServerErrorOf(err); server != nil {
		return server.CommandError()
	}
	return err
}
