package server

import (
	"context"
	"errors"
	"os"
	"time"
)

// patience is how long such a wait goes on before it looks whether the client is
// still there.
const patience = 250 * time.Millisecond

// patiently runs a wait at the end of a command, and gives it up when the client
// hangs up meanwhile: a connection has one goroutine, which would otherwise sit
// there until the wait is over, for nobody. What comes before a command takes
// effect is not waited for in this way: as in the server, a write that was received
// is executed also when nobody is left to hear of it.
func (c *conn) patiently(ctx context.Context, wait func(context.Context) error) error {
	watched := make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		defer close(watched)
		// Nothing else reads while the command runs. A byte that comes is the next
		// request, which stays in the buffer.
		if _, err := c.br.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.cut()
		}
	})
	err := wait(ctx)
	if !timer.Stop() {
		// The Peek may be under way: make it end, and read on as before. A deadline
		// that passes leaves both the buffer and a TLS stream intact.
		c.raw.SetReadDeadline(time.Unix(1, 0))
		<-watched
		c.raw.SetReadDeadline(time.Time{})
	}
	return err
}
