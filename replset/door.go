package replset

import (
	"net"
	"slices"
	"sync"
)

// door is an address: it accepts connections and hands them to the member that the
// address is to reach, which is its owner unless a fault says otherwise. It
// listens as long as there is somebody to reach.
//
// Its lock may be held while a member's doorsMu is taken, never the other way round.
type door struct {
	owner *Member
	addr  string
	hold  *reservation
	wg    *sync.WaitGroup // the set's

	mu       sync.Mutex
	closed   bool
	listener net.Listener // nil while nobody is to be reached
	targets  []*Member
	turn     int // the next target
	conns    map[net.Conn]*Member
}

func newDoor(wg *sync.WaitGroup, owner *Member) (*door, error) {
	hold, err := reserve()
	if err != nil {
		return nil, err
	}
	d := &door{owner: owner, addr: hold.addr, hold: hold, wg: wg, conns: map[net.Conn]*Member{}}
	return d, d.lead(owner)
}

// lead makes the address reach other members, each new connection the next one of
// them. Connections that there are stay.
func (d *door) lead(targets ...*Member) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
	d.targets, d.turn = targets, 0
	for _, t := range targets {
		t.doorsMu.Lock()
		t.doors[d] = struct{}{}
		t.doorsMu.Unlock()
	}
	return d.adjust()
}

// leave makes the address's targets forget it. The caller must hold d.mu.
func (d *door) leave() {
	for _, t := range d.targets {
		t.doorsMu.Lock()
		delete(t.doors, d)
		t.doorsMu.Unlock()
	}
}

// refresh opens or closes the address as its targets have come or gone.
func (d *door) refresh() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.adjust()
}

// adjust is refresh. The caller must hold d.mu.
func (d *door) adjust() error {
	open := !d.closed && slices.ContainsFunc(d.targets, (*Member).Running)
	switch {
	case open && d.listener == nil:
		l, err := d.hold.listen()
		if err != nil {
			return err
		}
		d.listener = l
		d.wg.Go(func() { d.accept(l) })
	case !open && d.listener != nil:
		d.listener.Close()
		d.listener = nil
	}
	return nil
}

func (d *door) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if m := d.admit(l, nc); m != nil {
			d.wg.Go(func() { d.serve(m, nc) })
		}
	}
}

// admit chooses the member that a new connection reaches.
func (d *door) admit(l net.Listener, nc net.Conn) *Member {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != l {
		abort(nc)
		return nil
	}
	m := d.targets[d.turn%len(d.targets)]
	d.turn++
	d.conns[nc] = m
	return m
}

func (d *door) serve(m *Member, nc net.Conn) {
	if srv := m.server.Load(); srv != nil {
		serve := srv.Serve
		if m != d.owner {
			serve = srv.ServeAstray
		}
		_ = serve(nc) // it says how the client left
	}
	d.mu.Lock()
	delete(d.conns, nc)
	d.mu.Unlock()
	abort(nc)
}

// reset cuts those of the address's connections that which says.
func (d *door) reset(which func(nc net.Conn, to *Member) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for nc, to := range d.conns {
		if which(nc, to) {
			abort(nc)
		}
	}
}

// abort closes a connection with a reset, as the end of a process does that has
// unread data, and not with an orderly end.
func abort(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	nc.Close()
}

// shut gives the address up.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	d.leave()
	_ = d.adjust() // closing cannot fail
	for nc := range d.conns {
		abort(nc)
	}
	d.hold.release()
}
