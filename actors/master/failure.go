package master

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// This file alone knows the driver's inner error types: command monitor events
// carry them as they are, and the ones of server selection have no public name.

// judgeFailure says what a failed attempt leaves open.
func judgeFailure(s shape, failure error) state {
	var server driver.Error
	if !errors.As(failure, &server) {
		// Not an error of the round trip, which always is a driver.Error: the driver
		// looked at the context, or at the clock, after it had announced the command
		// and before it wrote it. Anything else is a reply that could not be read.
		if errors.Is(failure, driver.ErrDeadlineWouldBeExceeded) ||
			failure == context.DeadlineExceeded || failure == context.Canceled { //nolint:errorlint // only the bare value proves it
			return unsent
		}
		return lost
	}
	if server.HasErrorLabel(driver.NetworkError) || server.Raw == nil {
		return lost
	}
	return judgeRefusal(s, server.Code, server.Labels)
}

// passing reports whether an operation failed before any attempt for a reason
// that passes: no server to be had, no connection, no time. Everything else is
// wrong with the operation itself, such as a document that is too large.
func passing(err error) bool {
	var selection topology.ServerSelectionError
	var pool interface{ Retryable() bool }
	return errors.As(err, &selection) || mongo.IsTimeout(err) || mongo.IsNetworkError(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, errNoFence) ||
		errors.As(err, &pool) && pool.Retryable()
}

// transientRefusal reports whether a refused attempt may be made again later: the
// server was not primary, or had too much to do.
func transientRefusal(failure error) bool {
	var server driver.Error
	if !errors.As(failure, &server) {
		return false
	}
	for _, label := range []string{driver.RetryableWriteError, driver.ErrSystemOverloadedError} {
		if server.HasErrorLabel(label) {
			return true
		}
	}
	return notPrimary[server.Code] || unclear[server.Code] && server.HasErrorLabel(driver.NoWritesPerformed)
}

// public gives a command monitor's error the type that the driver's own methods
// return.
func public(err error) error {
	var server driver.Error
	if !errors.As(err, &server) {
		return err
	}
	return mongo.CommandError{
		Code: server.Code, Message: server.Message, Labels: server.Labels,
		Name: server.Name, Wrapped: server, Raw: bson.Raw(server.Raw),
	}
}
