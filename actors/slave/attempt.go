package slave

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// attempt is what is on the wire together: one read, or several that share a round
// trip. Whoever claims it decides what becomes of its reads: the worker that has the
// result, or the evacuation that does not wait for it.
type attempt struct {
	reads   []*request.Read
	cancel  context.CancelFunc
	prompt  bool // it waits for no cluster time
	moves   bool // it may be evacuated, and its silence tells of the host's health
	claimed bool // the service's mu
}

// result is what an attempt has found for one of its reads.
type result struct {
	rep   *messages.ReadReply
	err   error
	again again
	// orphan is a cursor that the read has opened, and that is not kept.
	orphan *orphan
}

// again says how a read is to be sent to this host once more, since its batch has
// brought no answer for it.
type again uint8

const (
	answered again = iota
	together       // with the others of which that is true: the reply was cut off before theirs
	alone          // it may be what the server refused, or what its reply cannot be matched to
)

// serve sends reads in one round trip and says what becomes of each. The slice is the
// callee's. It returns the cursors that are to be closed then: whoever works for himself has his
// reply and must not wait for that.
func (s *service) serve(reads []*request.Read) (left []*orphan) {
	defer s.guard(reads)
	start := time.Now()
	n, weighed := len(reads), reads[0].LoadClass() // They share it.
	reads = slices.DeleteFunc(reads, (*request.Read).Done)
	for range n - len(reads) {
		s.load.Cancel(weighed, start)
	}
	if len(reads) == 0 {
		return nil
	}
	// All of the reads' own fields are used before begin: after it an evacuation may hand
	// them to another host at any time.
	first := reads[0]
	deadline := first.AttemptDeadline
	results := make([]result, len(reads))
	for i, r := range reads {
		if r.AttemptDeadline.After(deadline) {
			deadline = r.AttemptDeadline
		}
		r.Shared = len(reads)
		results[i].rep = &messages.ReadReply{Host: s.host.name, Attempts: r.Attempts + 1}
	}
	ctx, cancel := context.WithDeadline(s.ctx, deadline)
	defer cancel()
	a := &attempt{reads: reads, cancel: cancel}
	a.prompt = first.After.IsZero()
	class := first.Cmd.Class
	a.moves = a.prompt && (class == command.Point || class == command.Range)
	a.attach()
	if !s.begin(a, start) {
		for _, r := range reads {
			s.load.Cancel(weighed, start)
			s.unserved(r)
		}
		return nil
	}
	err := s.try(ctx, reads, results)
	if a.moves && errors.Is(err, messages.ErrProtocol) {
		// Before the reads go elsewhere. Not for an aggregate or a command: one that is answered in
		// a way that is not known here must not take host after host out.
		s.broken(err)
	}
	end := time.Now()
	// What a read waited for its cluster time says nothing of the host's speed.
	latency := time.Duration(0)
	if err == nil && a.prompt {
		latency = end.Sub(start)
	}
	failed := mongoconn.HostIsGone(err) || mongoconn.OtherHostMayServe(err)
	mine := s.settle(a, end, latency, err)
	var rest []*request.Read
	var mode again
	for i, r := range reads {
		res := &results[i]
		if err != nil {
			res.err, res.again = err, answered
		}
		if mine && res.again != answered {
			mode, rest = max(mode, res.again), append(rest, r)
			continue
		}
		if failed {
			s.load.Fail(weighed, end.Sub(start), end)
		} else {
			s.load.End(weighed, latency, end)
		}
		latency, failed = 0, false // One round trip is one sample.
		if s.conclude(r, res, mine); res.orphan != nil {
			left = append(left, res.orphan)
		}
	}
	return append(left, s.repeat(rest, mode)...)
}

// guard answers reads whose worker has panicked, so that it goes on.
func (s *service) guard(reads []*request.Read) {
	if v := recover(); v != nil {
		err := asPanicError(v)
		s.panicked(err)
		for _, r := range reads {
			if r != nil {
				r.Fail(err)
			}
		}
	}
}

// rescue answers a read whose receiver has panicked, which is that read's alone: whoever
// has answered it goes on with the others.
func (s *service) rescue(r *request.Read) {
	if v := recover(); v != nil {
		err := asPanicError(v)
		s.panicked(err)
		r.Fail(err)
	}
}

// unserved hands a read back that was never sent.
func (s *service) unserved(r *request.Read) {
	defer s.rescue(r)
	s.host.cfg.Router.Unserved(r)
}

// evacuated hands a read back that was sent, and is not waited for here any more.
func (s *service) evacuated(r *request.Read) {
	defer s.rescue(r)
	s.host.cfg.Router.Evacuated(r, s)
}

// attach lets the attempt end when none of its reads waits for it any more.
func (a *attempt) attach() {
	var gone atomic.Int32
	all := int32(len(a.reads)) // A read's place is another one's later.
	left := func() {
		if gone.Add(1) == all {
			a.cancel()
		}
	}
	for _, r := range a.reads {
		r.SetAttempt(&left)
	}
}

// repeat serves what a batch had no answer for.
func (s *service) repeat(rest []*request.Read, mode again) (left []*orphan) {
	if mode == together {
		return s.serve(rest)
	}
	for _, r := range rest {
		left = append(left, s.serve([]*request.Read{r})...)
	}
	return left
}

// try asks, and makes a panic an error: what was counted is to be counted back. Its error is
// that of all the reads.
func (s *service) try(ctx context.Context, reads []*request.Read, results []result) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = asPanicError(v)
		}
	}()
	if len(reads) > 1 {
		return s.askAll(ctx, reads, results)
	}
	return s.ask(ctx, reads[0], &results[0])
}

// begin registers an attempt. It reports false when the service serves no more.
func (s *service) begin(a *attempt, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takes(a.reads[0].Cmd) {
		return false
	}
	if a.moves {
		s.flying[a] = true
		s.health.sent(now, a.reads[0].Cmd.Class == command.Point)
	}
	return true
}

// settle gives an attempt's reads to its worker, unless the evacuation has them.
func (s *service) settle(a *attempt, now time.Time, latency time.Duration, err error) bool {
	s.mu.Lock()
	slow := ""
	if a.moves {
		delete(s.flying, a)
		reply := err == nil || !unanswered(err)
		cmd := a.reads[0].Cmd
		s.health.answered(now, cmd.Class == command.Point, reply)
		if reply {
			s.answeredAt.Store(&now)
		}
		if latency > 0 {
			s.noteQuick(cmd, latency)
			slow = s.took(cmd.Class, latency, now)
		}
	}
	mine := !a.claimed
	a.claimed = true
	s.mu.Unlock()
	if slow != "" {
		s.slow(a.reads[0].Cmd.Class, slow)
	}
	return mine
}

// claim takes an attempt's reads from its worker, which has not settled them yet.
func (s *service) claim(a *attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := !a.claimed
	a.claimed = true
	return mine
}

// conclude answers a read, or hands it on.
func (s *service) conclude(r *request.Read, res *result, mine bool) {
	defer s.rescue(r)
	switch {
	case res.err == nil && mine:
		s.host.reads.Add(1)
		res.orphan = s.deliver(r, res.rep)
	case res.err == nil && res.rep.Cursor != nil: // Evacuated: it is somebody else's now.
		res.orphan = s.abandon(res.rep.Cursor)
	case res.err != nil && mine && !r.Done():
		s.host.failed.Add(1)
		s.decide(r, res.err)
	}
}

// decide says what becomes of a read whose attempt failed.
func (s *service) decide(r *request.Read, err error) {
	var panicked *messages.PanicError
	switch {
	case errors.As(err, &panicked):
		s.panicked(panicked)
	case s.ctx.Err() != nil:
		// Called off by close: the host was lost while the read was there.
		s.host.cfg.Router.Failed(r, s, &messages.NotLiveError{Host: s.host.name, Err: fmt.Errorf("it was lost while the read was there: %w", err)})
		return
	case mongoconn.HostIsGone(err):
		s.host.cfg.Router.Failed(r, s, &messages.NotLiveError{Host: s.host.name, Err: err})
		return
	case mongoconn.OtherHostMayServe(err):
		s.host.cfg.Router.Failed(r, s, err)
		return
	}
	r.Reply(&messages.ReadReply{Err: err, Host: s.host.name, Attempts: r.Attempts + 1})
}

func (s *service) panicked(err *messages.PanicError) {
	s.host.cfg.Logger.Error().Str("host", s.host.name).Err(err).Bytes("stack", err.Stack).Msg("panic in a read")
}

// unanswered reports whether an attempt ended without any word from the server.
func unanswered(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, messages.ErrPanicked) || mongoconn.IsNetwork(err)
}
