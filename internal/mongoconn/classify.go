package mongoconn

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// retryableReads are the server's codes after which the driver would read
// again: they speak of the member's state or its connections, not of the query.
var retryableReads = []int32{
	6,     // HostUnreachable
	7,     // HostNotFound
	89,    // NetworkTimeout
	91,    // ShutdownInProgress
	134,   // ReadConcernMajorityNotAvailableYet
	189,   // PrimarySteppedDown
	262,   // ExceededTimeLimit
	9001,  // SocketException
	10107, // NotWritablePrimary
	11600, // InterruptedAtShutdown
	11602, // InterruptedDueToReplStateChange
	13435, // NotPrimaryNoSecondaryOk
	13436, // NotPrimaryOrSecondary
}

// IsNetwork reports whether err is a failure of the connection: the request may
// or may not have reached the server, and no reply came back.
func IsNetwork(err error) bool {
	if err == nil {
		return false
	}
	var op *net.OpError
	var calledOff calledOffError
	return mongo.IsNetworkError(err) || errors.As(err, &op) || errors.As(err, &calledOff) || errors.Is(err, net.ErrClosed)
}

// OtherHostMayServe reports whether another host may answer a read that has
// failed with err at this one. It never holds for the server's own error on the
// query, which any other host would repeat, nor for a cancellation, whose
// reason is known to who cancelled.
func OtherHostMayServe(err error) bool {
	var limit limitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &limit): // The query took longer than its own maxTimeMS.
		return false
	case IsRefusal(err): // A new socket led to a stranger.
		return true
	case IsAuth(err): // A new socket's login failed; users replicate, and may lag.
		return true
	case errors.Is(err, context.DeadlineExceeded): // The attempt's own time-out, here or on the server.
		return true
	case isUnsent(err):
		return true
	case errors.Is(err, context.Canceled):
		return false
	case IsNetwork(err): // No reply; and a read may be sent twice.
		return true
	}
	var cmd mongo.CommandError
	if !errors.As(err, &cmd) {
		return false // The query did not encode, its session is closed, and the like.
	}
	if slices.Contains(retryableReads, cmd.Code) {
		return true
	}
	// The server turned the read away for its load, and says that it may be sent
	// again.
	return cmd.HasErrorLabel("SystemOverloadedError") && cmd.HasErrorLabel("RetryableError")
}

// HostIsGone reports whether a read has failed because its host, or the way there, is
// gone or about to go: it says nothing of the read, and the host may be found lost at
// any moment.
func HostIsGone(err error) bool {
	if err == nil || IsAuth(err) {
		return false
	}
	if IsRefusal(err) || isUnsent(err) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var cmd mongo.CommandError
	return IsNetwork(err) || errors.As(err, &cmd) && slices.Contains(leaving, cmd.Code)
}

// leaving are the codes of a member that goes down, or changes its state.
var leaving = []int32{
	91,    // ShutdownInProgress
	11600, // InterruptedAtShutdown
	11602, // InterruptedDueToReplStateChange
	13436, // NotPrimaryOrSecondary
}

// isUnsent reports whether the driver gave up before it had a socket: its pool
// was cleared or closed, no server was there to select, the client is closed, or none could be opened in time.
func isUnsent(err error) bool {
	// Errors of a cleared pool, alone among those of the driver, say of themselves
	// whether they may be retried.
	var cleared interface {
		error
		Retryable() bool
	}
	if errors.As(err, &cleared) {
		return cleared.Retryable()
	}
	if errors.Is(err, mongo.ErrClientDisconnected) {
		return true
	}
	var cmd mongo.CommandError
	if errors.As(err, &cmd) && cmd.Code != 0 {
		return false // The server has answered; its text is its own.
	}
	// The others have types in one of the driver's unstable packages; their texts
	// are pinned by this package's tests.
	text := err.Error()
	return !errors.Is(err, context.Canceled) && (IsSelection(err) || HadNoSocket(err) ||
		// A new socket could not be opened: the name is gone, a certificate is bad.
		strings.Contains(text, "error occurred during connection handshake")) ||
		text == "server is closed" ||
		strings.HasPrefix(text, "attempted to check out a connection from closed connection pool") ||
		strings.HasPrefix(text, "server at ") && strings.Contains(text, "wire version")
}

// HadNoSocket reports whether an operation's time was over before a socket was there for it, so that it was
// not sent. The error's type lies in one of the driver's unstable packages; its text is pinned by this package's
// tests.
func HadNoSocket(err error) bool {
	return err != nil && strings.Contains(err.Error(), "while checking out a connection from connection pool")
}

// IsSelection reports whether the driver found no server for an operation. The error's
// type lies in one of the driver's unstable packages; its text is pinned by this package's
// tests.
func IsSelection(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "server selection error")
}
