package mongoconn

import (
	"context"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// closer closes a client in the background, once.
type closer struct {
	closing atomic.Bool
	done    chan struct{} // closed when no goroutine and no socket is left
}

// close gives the client the time of grace to end its sessions and what is in
// flight. Then shut cuts its sockets: the driver waits for its own goroutines,
// and one that reads from a silent server would keep it waiting for as long as a heartbeat
// may take.
//
// The contexts of what waits for a server must have been ended by then: the driver's Topology.SelectServer reads
// from a channel that is closed with the client, again and again, until its context or its time-out ends.
func (c *closer) close(client *mongo.Client, grace time.Duration, shut func()) {
	if !c.closing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer close(c.done)
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		cut := time.AfterFunc(grace, shut)
		// Its error says that something was still in flight when the time was up.
		_ = client.Disconnect(ctx)
		cut.Stop()
		shut()
	}()
}
