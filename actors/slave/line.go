package slave

import (
	"context"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// line is a connection and the life of what is asked over it beside reads, which closing it ends: what waits for a server
// when its client is closed spins in the driver until its context ends, or its selection time-out.
type line struct {
	Conn
	life context.Context
	end  context.CancelFunc
}

// open opens a connection to the host.
func (h *Host) open(obs mongoconn.Observer) (*line, error) {
	conn, err := h.cfg.Open(h.name, obs)
	if err != nil {
		return nil, err
	}
	l := &line{Conn: conn}
	l.life, l.end = context.WithCancel(context.Background())
	return l, nil
}

// Close ends what was asked, and closes the connection. Closing twice is fine.
func (l *line) Close() {
	l.end()
	l.Conn.Close()
}
