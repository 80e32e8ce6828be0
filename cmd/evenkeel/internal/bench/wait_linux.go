package bench

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// newWaiter returns a function that sleeps until a moment, and one that ends it. An idle
// Go program's own timers are up to a millisecond late, which would be most of what a
// read takes: its poller counts in those. The kernel's timers, waited for as one waits for
// a socket, are late by some ten microseconds, and hold up no other goroutine.
func newWaiter() (wait func(time.Time), end func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return sleepUntil, func() {}
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	expirations := make([]byte, 8)
	wait = func(t time.Time) {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
		if unix.TimerfdSettime(fd, 0, &spec, nil) != nil {
			sleepUntil(t)
			return
		}
		if _, err := f.Read(expirations); err != nil {
			sleepUntil(t)
		}
	}
	return wait, func() { _ = f.Close() }
}
