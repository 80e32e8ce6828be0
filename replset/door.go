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
	listener *listener // nil while nobody is to be reached
	silence  *silence  // while new connections are not accepted
	nobodys  []int     // the ports of connections that are only there to be accepted
	targets  []*Member
	turn     int // the next target
	conns    map[*line]*Member
}

func newDoor(wg *sync.WaitGroup, owner *Member) (*door, error) {
	hold, err := reserve()
	if err != nil {
		return nil, err
	}
	d := &door{owner: owner, addr: hold.addr, hold: hold, wg: wg, conns: map[*line]*Member{}}
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
	// Where nothing gets through, there is not even a refusal.
	silent := !d.closed && !slices.ContainsFunc(d.targets, func(m *Member) bool { return m.link.whole() })
	open := !d.closed && slices.ContainsFunc(d.targets, (*Member).Running) || silent
	switch {
	case open && d.listener == nil:
		inner, err := d.hold.listen()
		if err != nil {
			return err
		}
		l := &listener{Listener: inner}
		d.listener = l
		d.wg.Go(func() { d.accept(l) })
	case !open && d.listener != nil:
		_, _ = d.silence.end() // the listener goes with it
		d.silence = nil
		d.listener.Close()
		d.listener, d.nobodys = nil, nil
	}
	switch {
	case silent && d.silence == nil:
		var err error
		d.silence, err = silenced(d.listener)
		return err
	case !silent && d.silence != nil:
		nobodys, err := d.silence.end()
		d.nobodys = append(d.nobodys, nobodys...)
		d.silence = nil
		return err
	}
	return nil
}

// listener is one whose accepting can be held up: by a deadline that ends the Accept
// under way, and then by its lock.
type listener struct {
	net.Listener
	accepting sync.Mutex
}

func (l *listener) Accept() (net.Conn, error) {
	l.accepting.Lock()
	defer l.accepting.Unlock()
	return l.Listener.Accept()
}

func (d *door) accept(l *listener) {
	for {
		nc, err := l.Accept()
		if isTimeout(err) {
			continue
		}
		if err != nil {
			return
		}
		if m, line := d.admit(l, nc); m != nil {
			d.wg.Go(func() { d.serve(m, line) })
		}
	}
}

// admit chooses the member that a new connection reaches.
func (d *door) admit(l *listener, nc net.Conn) (*Member, *line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != l || d.isNobodys(nc) {
		reset(nc)
		return nil, nil
	}
	m := d.targets[d.turn%len(d.targets)]
	d.turn++
	line := newLine(nc, m.link)
	d.conns[line] = m
	return m, line
}

// isNobodys says that a connection has only filled the queue. The caller must hold
// d.mu.
func (d *door) isNobodys(nc net.Conn) bool {
	from, ok := nc.RemoteAddr().(*net.TCPAddr)
	i := -1
	if ok {
		i = slices.Index(d.nobodys, from.Port)
	}
	if i < 0 {
		return false
	}
	d.nobodys = slices.Delete(d.nobodys, i, i+1)
	return true
}

func (d *door) serve(m *Member, l *line) {
	if srv := m.server.Load(); srv != nil {
		serve := srv.Serve
		if m != d.owner {
			serve = srv.ServeAstray
		}
		_ = serve(l) // it says how the client left
	}
	d.mu.Lock()
	delete(d.conns, l)
	d.mu.Unlock()
	l.abort()
}

// reset cuts those of the address's connections that which says.
func (d *door) reset(which func(l *line, to *Member) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l, to := range d.conns {
		if which(l, to) {
			l.abort()
		}
	}
}

// reset closes a connection with a reset, as the end of a process does that has
// unread data, and not with an orderly end.
func reset(nc net.Conn) {
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
	for l := range d.conns {
		l.abort()
	}
	d.hold.release()
}
