package slave

import (
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Claims knows which server process each host of an app has reached. Two hosts
// with one process are two names for one server: the one configured first has it.
type Claims struct {
	mu     sync.Mutex
	owners map[bson.ObjectID]*Host // mu
}

// NewClaims returns Claims without any.
func NewClaims() *Claims { return &Claims{owners: map[bson.ObjectID]*Host{}} }

// claim gives the process to the host unless one configured earlier has it, whose name
// it then returns. An owner configured later loses it, and is told.
func (c *Claims) claim(process bson.ObjectID, h *Host) (owner string) {
	if process.IsZero() {
		return "" // Before MongoDB 4.4 nobody can tell.
	}
	c.mu.Lock()
	old := c.owners[process]
	if old != nil && old != h && old.cfg.Order < h.cfg.Order {
		c.mu.Unlock()
		return old.name
	}
	if old != h {
		c.forget(h) // The server has another process since it was started anew.
		c.owners[process] = h
	}
	c.mu.Unlock()
	if old != nil && old != h {
		old.tell(duplicateMsg{of: h.name, process: process})
	}
	return ""
}

// release gives up what the host has.
func (c *Claims) release(h *Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(h)
}

// forget takes the host's claim away. c.mu must be held.
func (c *Claims) forget(h *Host) {
	for process, owner := range c.owners {
		if owner == h {
			delete(c.owners, process)
		}
	}
}
