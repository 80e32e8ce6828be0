package master

import (
	"container/list"
	"errors"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// phase is where an item is. It moves between queued and onWire, and ends in done.
type phase uint8

const (
	arriving phase = iota
	queued
	onWire
	done
)

// The phases as a DeadlineError names them.
const (
	phaseQueued = "queued"
	phaseHeld   = "held"
	phaseSent   = "sent"
)

// item is an accepted write in its lane. The lane's mutex guards what is not
// marked otherwise.
type item struct {
	*request.Write
	lane *lane
	// number is what an Unknown outcome is told by; 0 before, and once the outcome is known.
	number  atomic.Uint64
	untimed bool // whoever waits for it gives it up at its deadline

	phase phase
	elem  *list.Element // while queued
	held  bool          // waits behind the closed gate

	// The lane's goroutine sets these before it puts the item back into the queue.
	alone   bool  // goes without company
	lastErr error // why it was not executed the last time
	tried   int   // attempts in earlier batches
}

// fenceable reports whether the driver gives the write a transaction number where
// the server knows them. Updates and deletes of many, and commands, have none.
func (it *item) fenceable() bool {
	switch it.Cmd.Class {
	case command.Insert, command.Single, command.FindAndModify:
		return true
	case command.Multi:
		_, isInsert := documentsOf(it.Cmd.Operation)
		return isInsert
	}
	return false
}

// settleable reports whether a read can tell whether the write has happened.
func (it *item) settleable() bool {
	switch it.Cmd.Class {
	case command.Insert:
		return !it.Cmd.ID.IsZero()
	case command.Single, command.FindAndModify:
		return len(it.Cmd.Verify) > 0
	case command.Multi:
		docs, _ := documentsOf(it.Cmd.Operation)
		return len(docs) > 0
	}
	return false
}

// tooLate answers a write whose deadline passed before it was sent, or that was
// given up with cause.
func (it *item) tooLate(cause error, held bool) *messages.WriteReply {
	rep := &messages.WriteReply{Outcome: messages.NotApplied, Err: cause, Attempts: it.tried}
	if cause != nil {
		return rep
	}
	late := &messages.DeadlineError{Phase: phaseQueued, After: time.Since(it.Asked)}
	refused := it.lane.m.hold.refusal()
	switch {
	case it.lastErr == nil && !held:
	case refused != nil: // Whatever went wrong before it is known.
		late.Phase, late.Err = phaseHeld, refused
	case errors.Is(it.lastErr, messages.ErrLoginRefused):
		late.Phase, late.Err = phaseHeld, it.lastErr
	default:
		late.Phase, late.Err = phaseHeld, it.noPrimary()
	}
	rep.Err = late
	return rep
}

// noPrimary says what is known of the hosts while there is no primary.
func (it *item) noPrimary() error {
	return &messages.NoPrimaryError{Hosts: it.lane.m.cfg.Hosts(), Err: it.lastErr}
}

// unknown answers a write that nobody can say anything about. Unanswered says
// that no reply to it was read.
func (it *item) unknown(cause error, sent []attempt, unanswered bool) *messages.WriteReply {
	n := it.tried + len(sent)
	open := unanswered && !(it.fenceable() && fenced(sent))
	return &messages.WriteReply{
		Outcome:   messages.Unknown,
		Err:       &messages.UnknownOutcomeError{Write: it.name(), Attempts: n, OrderOpen: open, Err: cause},
		Attempts:  n,
		OrderOpen: open,
	}
}
