package request

import (
	"context"
	"sync"
	"time"
)

// Askers are where replies of type R are waited for. The zero value is ready.
type Askers[R any] struct{ free sync.Pool }

// Asker waits for one reply. Since a request is answered exactly once, it serves another one
// after that.
type Asker[R any] struct {
	// Replies has the reply. Whoever has received it calls Free.
	Replies chan R
	// Deliver is called with the reply.
	Deliver func(R)
	of      *Askers[R]
}

// Get returns an Asker for one request.
func (s *Askers[R]) Get() *Asker[R] {
	if a, ok := s.free.Get().(*Asker[R]); ok {
		return a
	}
	a := &Asker[R]{Replies: make(chan R, 1), of: s}
	a.Deliver = func(r R) { a.Replies <- r }
	return a
}

// Wait waits for the reply and frees the Asker.
func (a *Asker[R]) Wait() R {
	r := <-a.Replies
	a.Free()
	return r
}

// Free gives the Asker back, after its reply was received.
func (a *Asker[R]) Free() { a.of.free.Put(a) }

// EndsBy reports whether ctx is sure to end by a deadline, so that who waits for ctx needs no
// timer for it.
func EndsBy(ctx context.Context, deadline time.Time) bool {
	at, ok := ctx.Deadline()
	return ok && ctx.Done() != nil && !at.After(deadline)
}
