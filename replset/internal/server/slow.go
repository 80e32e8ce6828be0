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

// wait sleeps for as long as the command has been slowed: its own latency, else
// that of all commands. It ends early with ctx.
func (l *slowness) wait(ctx context.Context, command string) error {
	by := l.by.Load()
	if by == nil {
		return nil
	}
	d, ok := (*by)[strings.ToLower(command)]
	if !ok {
		d = (*by)[""]
	}
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
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
