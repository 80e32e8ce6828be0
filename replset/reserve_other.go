//go:build !linux && !darwin

package replset

import "net"

// reservation remembers a port. Here it cannot be kept while nobody listens on it:
// a restart fails in the rare case that someone else has taken it meanwhile.
type reservation struct{ addr string }

func reserve() (*reservation, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &reservation{addr: l.Addr().String()}, nil
}

func (r *reservation) listen() (net.Listener, error) { return net.Listen("tcp4", r.addr) }

func (r *reservation) release() {}
