package server

import (
	"context"
	"sync"
)

// gate is what every connection passes before it executes a request and before it
// sends a reply; frozen, it lets none through.
type gate struct {
	mu   sync.RWMutex
	open chan struct{} // closed while the gate is open
}

func (g *gate) init() {
	g.open = make(chan struct{})
	close(g.open)
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		g.open = make(chan struct{})
	default:
	}
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// pass returns when the gate is open, or with an error when ctx ends first.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.RLock()
		open := g.open
		g.mu.RUnlock()
		select {
		case <-open:
			return nil
		default:
		}
		select {
		case <-open:
			// Not nil yet: frozen again before this goroutine ran, it must wait again.
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
