package server

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// slowness is the latency added to commands, read by every command without a
// lock.
type slowness struct {
	mu sync.Mutex // serializes set
	by atomic.Pointer[map[string]time.Duration]
}

func (l *slowness) set(command string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := map[string]time.Duration{}
	if old := l.by.Load(); old != nil {
		maps.Copy(next, *old)
	}
	key := strings.ToLower(command)
	if d > 0 {
		next[key] = d
	} else {
		delete(next, key)
	}
	if len(next) == 0 {
		l.by.Store(nil)
		return
	}
	l.by.Store(&next)
}

// of returns how long a command has been slowed: its own latency, else that of
// all commands.
func (l *slowness) of(command string) time.Duration {
	by := l.by.Load()
	if by == nil {
		return 0
	}
	if d, ok := (*by)[strings.ToLower(command)]; ok {
		return d
	}
	return (*by)[""]
}

// sleep waits, or fails when ctx ends before or as the wait is over.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		// A context ends in a goroutine of its own, which on a busy machine may come after
		// a timer that was to fire later. A command whose time is up must not run by that.
		<-ctx.Done()
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
