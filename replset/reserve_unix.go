//go:build linux || darwin

package replset

import (
	"context"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// reservation keeps a port while nobody listens on it: it is a socket that is bound
// to the address but never listens, so that connections are refused, and that shares the
// port with the listeners made from it and with nobody else. Without it, the port
// of a killed member might be taken by the next client that connects to anything.
type reservation struct {
	addr string
	fd   int
}

func reserve() (*reservation, error) {
	// Between the two calls a child process might inherit the socket, were it not
	// for the lock.
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	r := &reservation{fd: fd}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		r.release()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		r.release()
		return nil, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		r.release()
		return nil, os.NewSyscallError("getsockname", err)
	}
	r.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*unix.SockaddrInet4).Port))
	return r, nil
}

// listen accepts connections at the address, until the listener is closed.
func (r *reservation) listen() (net.Listener, error) {
	cfg := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err != nil {
			return err
		}
		return os.NewSyscallError("setsockopt", failed)
	}}
	return cfg.Listen(context.Background(), "tcp4", r.addr)
}

func (r *reservation) release() { _ = unix.Close(r.fd) }
