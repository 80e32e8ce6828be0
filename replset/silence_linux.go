package replset

import (
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// backlogWhole is what a listener's queue holds as a rule; the kernel has a limit of
// its own.
const backlogWhole = 4096

// backlogSilent is what it holds in silence: the least that does not make the kernel
// take a first connection for a flood of them and answer with a cookie.
const backlogSilent = 1

// silence is that of a listener whose queue of connections that wait to be accepted is
// full, so that the kernel drops the SYN of every further one.
type silence struct {
	listener *listener
	fillers  []int // sockets that have filled the queue
	ports    []int // of those that are connected
}

// silenced makes the queue full with connections from here. Nobody accepts until the
// silence ends.
func silenced(l *listener) (*silence, error) {
	s := &silence{listener: l}
	if err := s.tcp().SetDeadline(longGone); err != nil {
		return nil, err
	}
	l.accepting.Lock()
	err := s.control(func(fd int) error {
		if err := unix.Listen(fd, backlogSilent); err != nil {
			return os.NewSyscallError("listen", err)
		}
		return s.fill(fd)
	})
	if err != nil {
		_, _ = s.end()
		return nil, err
	}
	return s, nil
}

func (s *silence) tcp() *net.TCPListener { return s.listener.Listener.(*net.TCPListener) }

func (s *silence) control(fn func(fd int) error) error {
	raw, err := s.tcp().SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = fn(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// fill connects until the queue is full: for a listener, the kernel gives its length
// as the number of unacknowledged segments.
func (s *silence) fill(fd int) error {
	to := s.listener.Addr().(*net.TCPAddr)
	at := &unix.SockaddrInet4{Port: to.Port}
	copy(at.Addr[:], to.IP.To4())
	for {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if info.Unacked > backlogSilent {
			return nil
		}
		syscall.ForkLock.RLock()
		filler, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		syscall.ForkLock.RUnlock()
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		s.fillers = append(s.fillers, filler)
		if err := unix.Connect(filler, at); err != nil && err != unix.EINPROGRESS {
			return os.NewSyscallError("connect", err)
		}
		if connects(filler) {
			name, err := unix.Getsockname(filler)
			if err != nil {
				return os.NewSyscallError("getsockname", err)
			}
			s.ports = append(s.ports, name.(*unix.SockaddrInet4).Port)
		}
	}
}

// connects waits until a socket is connected, which it is at once, unless somebody
// else has just filled the queue.
func connects(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 100)
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// end lets connections be accepted again, and returns the ports of those that are
// nobody's. Ending no silence is fine.
func (s *silence) end() (nobodys []int, err error) {
	if s == nil {
		return nil, nil
	}
	for _, fd := range s.fillers {
		_ = unix.Close(fd)
	}
	err = s.control(func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, backlogWhole)) })
	if err == nil {
		err = s.tcp().SetDeadline(time.Time{})
	}
	s.listener.accepting.Unlock()
	return s.ports, err
}
