package master

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// The outcome of a write is judged by its attempts, never by the driver's last
// error. The rules, first for one attempt and then for all of an operation's; with
// codes and sources they are in ARCHITECTURE.md, which a test holds against this file:
//
//	what the server, or the socket, said                     attempt
//	-------------------------------------------------------  -----------
//	announced by the driver, never written                   unsent
//	written, and no whole reply (network error, time-out)    lost
//	ok: 1, with or without write (concern) errors            replied
//	ok: 0, label NoWritesPerformed                           refused
//	ok: 0, code checked before anything is executed          refused
//	   (fewer of them with several collections)
//	ok: 0, not primary, the operation has one document       refused
//	ok: 0, not primary, several documents                    interrupted
//	ok: 0, interrupted, shut down, stepped down, timed out   interrupted
//	ok: 0, any other code, one document or most commands     refused
//	ok: 0, any other code, several documents                 interrupted
//
//	attempts                                                 operation
//	-------------------------------------------------------  -----------
//	none sent, for a reason that passes                      unexecuted
//	none sent, for a reason in the operation itself          rejected
//	all refused, for a reason that passes                    unexecuted
//	all refused, for a reason in the operation itself        rejected
//	the last replied                                         answered
//	anything else                                            open

// shape is what of an operation decides how a refusal is read.
type shape uint8

const (
	// one: exactly one document is written, or none. The server aborts its
	// storage transaction when it fails, so that a failure means that nothing
	// happened.
	one shape = iota
	// several: documents are written one after the other, and a failure may come
	// in the middle.
	several
	// mixed: as several, in any number of collections: what concerns one of them may
	// be found out in the middle as well.
	mixed
	// custom: whatever the caller's own command does. It is trusted to have done
	// nothing when it is refused, and is never sent again.
	custom
	// customParts: a command of the caller's own that writes documents one after the other. It is
	// never sent again either.
	customParts
)

// partly are the commands that may be refused with some of their work done: an aggregate with $merge or
// $out, and those that carry statements of their own.
var partly = map[string]bool{
	"aggregate": true, "applyOps": true, "bulkWrite": true, "delete": true, "insert": true, "mapReduce": true, "mapreduce": true, "update": true,
}

var (
	// notPrimary codes are given before execution starts, and between documents of
	// one command: NotWritablePrimary, NotPrimaryNoSecondaryOk,
	// NotPrimaryOrSecondary, LegacyNotPrimary.
	notPrimary = map[int32]bool{10107: true, 13435: true, 13436: true, 10058: true}
	// unclear codes may come at any moment of an execution: HostUnreachable,
	// HostNotFound, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown,
	// ExceededTimeLimit, SocketException, InterruptedAtShutdown, Interrupted,
	// InterruptedDueToReplStateChange, MaxTimeMSExpired, WriteConcernFailed,
	// UnknownReplWriteConcern, CannotSatisfyWriteConcern.
	unclear = map[int32]bool{
		6: true, 7: true, 89: true, 91: true, 189: true, 262: true, 9001: true, 11600: true, 11601: true,
		11602: true, 50: true, 64: true, 79: true, 100: true,
	}
	// early codes are given before the first document: FailedToParse,
	// Unauthorized, AuthenticationFailed, IllegalOperation, CommandNotFound,
	// InvalidOptions, InvalidNamespace, CommandNotSupported,
	// TransactionTooOld, APIVersionError, APIStrictError,
	// IngressRequestRateLimitExceeded, unknown or missing field of a command.
	early = map[int32]bool{
		9: true, 13: true, 18: true, 20: true, 59: true, 72: true, 73: true, 115: true,
		225: true, 322: true, 323: true, 462: true, 40414: true, 40415: true,
	}
	// late codes are early for a command on one collection only: FailedToParse,
	// IllegalOperation, InvalidOptions, InvalidNamespace.
	late = map[int32]bool{9: true, 20: true, 72: true, 73: true}
	// steppingDown codes say of one document that it was not written, where notPrimary codes might
	// have: ShutdownInProgress, PrimarySteppedDown.
	steppingDown = map[int32]bool{91: true, 189: true}
)

// atOnce reports whether a code in the reply to an update or a delete of many says that none was written. An
// expression that fails at one document may have those that are late.
func atOnce(code int32) bool { return early[code] && !late[code] }

// judgeRefusal reads an ok: 0 reply.
func judgeRefusal(s shape, code int32, labels []string) state {
	for _, l := range labels {
		if l == "NoWritesPerformed" {
			return refused
		}
	}
	inParts := s == several || s == mixed || s == customParts
	switch {
	case early[code] && !((s == mixed || s == customParts) && late[code]):
		return refused
	case notPrimary[code] && !inParts:
		return refused
	case unclear[code], notPrimary[code], inParts:
		return interrupted
	}
	return refused
}

// conclusion is what all attempts of an operation together say.
type conclusion uint8

const (
	// open: nobody can say whether it was executed, or will be.
	open conclusion = iota
	// answered: the last reply tells of every document.
	answered
	// unexecuted: nothing was executed, nor will be, and it may be sent again.
	unexecuted
	// rejected: nothing was executed, nor will be, and sending it again would not
	// help.
	rejected
)

func (c conclusion) String() string {
	return [...]string{"open", "answered", "unexecuted", "rejected"}[c]
}

// ruling is a conclusion with its grounds.
type ruling struct {
	conclusion conclusion
	// doubtful says of an answered operation that an earlier attempt may still be
	// under way. What it has changed stands: attempts of one transaction number are executed
	// once between them, so that the reply is that one execution's. Its refusals do
	// not stand yet: a refused document leaves no trace in the session, and the
	// earlier attempt is tried afresh when it arrives; if what stood in the way (the
	// other document with that key) is gone by then, it succeeds. It is the same with what
	// found nothing to change. Only a fence ends that.
	doubtful bool
	// err is the failure that says most: a refusal where there is one, else the
	// driver's last error.
	err    error
	reason string
}

// classify judges an operation by the attempts that were sent and the driver's
// error. An answered operation's error, if any, is the reply's own.
func classify(s shape, sent []attempt, err error) ruling {
	if len(sent) == 0 {
		if passing(err) {
			return ruling{conclusion: unexecuted, err: err, reason: "never sent"}
		}
		return ruling{conclusion: rejected, err: err, reason: "refused by the driver"}
	}
	last := sent[len(sent)-1]
	earlierOpen, earlierReply, underway := false, false, false
	for _, at := range sent[:len(sent)-1] {
		underway = underway || at.state.underway()
		earlierOpen = earlierOpen || at.state.open()
		earlierReply = earlierReply || at.state == replied
	}
	if last.state == refused && !fromServer(err) {
		err = public(last.err) // The driver ran out of time afterwards: that says less.
	}
	switch {
	case s == mixed && split(sent):
		return ruling{conclusion: open, err: err, reason: "went out in several commands"}
	case last.state == replied && (s == mixed || isReply(err)):
		// The reply itself is read of a mixed one, not what the driver reports.
		return ruling{conclusion: answered, doubtful: underway, err: err, reason: "replied"}
	case last.state == replied:
		// The driver reports another attempt's failure: it takes a reply that says
		// "no writes performed" for less than the attempt before it.
		return ruling{conclusion: open, err: err, reason: "the reply is not the one reported"}
	case last.state.open():
		return ruling{conclusion: open, err: err, reason: "no reply to the last attempt"}
	case earlierOpen:
		return ruling{conclusion: open, err: err, reason: "refused after an attempt without reply"}
	case earlierReply:
		// An earlier part of the operation, or its first execution with a write
		// concern error, was executed.
		return ruling{conclusion: open, err: err, reason: "refused after an attempt that was executed"}
	case transientRefusal(last.err) && s != custom && s != customParts:
		return ruling{conclusion: unexecuted, err: err, reason: "refused for now"}
	}
	return ruling{conclusion: rejected, err: err, reason: "refused"}
}

// fromServer reports whether a server said err.
func fromServer(err error) bool {
	var server mongo.ServerError
	return errors.As(err, &server) && !mongo.IsNetworkError(err)
}

// isReply reports whether err is what an ok: 1 reply makes of an operation.
func isReply(err error) bool {
	var one mongo.WriteException
	var many mongo.BulkWriteException
	return err == nil || errors.As(err, &one) || errors.As(err, &many)
}
