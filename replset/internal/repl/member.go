package repl

import (
	"sync"
	"sync/atomic"
	"time"
)

// Member is one place in a set: its disk, and the process that runs on it, if any.
type Member struct {
	set  *Set
	id   int32
	disk disk
	lag  atomic.Int64 // nanoseconds

	initialSync atomic.Int64 // nanoseconds

	mu   sync.Mutex // held while a process is started or ended
	proc atomic.Pointer[process]
}

// ID is the member's in the set's config.
func (m *Member) ID() int32 { return m.id }

// Node is the running process as its server sees it, nil when there is none.
func (m *Member) Node() Node {
	if p := m.proc.Load(); p != nil {
		return p
	}
	return nil
}

// Start runs the member on the data it has. A running one stays as it is.
func (m *Member) Start() Node { return m.start(m.set.opts.Standalone) }

// StartStandalone runs the member without replication, as a mongod that is
// started without --replSet.
func (m *Member) StartStandalone() Node { return m.start(true) }

func (m *Member) start(standalone bool) Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.proc.Load(); p != nil {
		return p
	}
	p := newProcess(m, standalone)
	m.proc.Store(p)
	m.set.net.change(func() {
		m.set.net.procs[m.id] = p
		delete(m.set.net.frozen, m.id)
	})
	p.start()
	return p
}

// Kill ends the member's process at once. Its data stays, as on a journalled
// disk.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.proc.Load()
	if p == nil {
		return
	}
	m.set.net.change(func() {
		delete(m.set.net.procs, m.id)
		delete(m.set.net.frozen, m.id)
	})
	p.die()
	m.proc.Store(nil)
}

// Freeze stops the member's process as SIGSTOP does.
func (m *Member) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.proc.Load(); p != nil {
		m.set.net.change(func() { m.set.net.frozen[m.id] = true })
		p.freeze()
	}
}

// Unfreeze ends Freeze.
func (m *Member) Unfreeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.proc.Load(); p != nil {
		p.thaw()
		m.set.net.change(func() { delete(m.set.net.frozen, m.id) })
	}
}

// Lag delays what the member applies by d after it was written on the primary.
func (m *Member) Lag(d time.Duration) {
	m.lag.Store(int64(max(d, 0)))
	if p := m.proc.Load(); p != nil {
		poke(p.pull)
	}
}

// SetMaintenance makes a secondary RECOVERING, which goes on replicating and
// voting but refuses reads, and a recovering one a secondary again. A primary refuses
// with NotSecondary (95). A restart ends it.
func (m *Member) SetMaintenance(on bool) error {
	p := m.proc.Load()
	if p == nil {
		return errShutdown()
	}
	return p.SetMaintenance(on)
}

// SetMaintenance is what Member's is.
func (p *process) SetMaintenance(on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.role == Primary && on {
		return refuse(codeNotSecondary, "primaries can't modify maintenance mode")
	}
	if p.standalone {
		return refuse(codeNotSecondary, "a standalone has no maintenance mode")
	}
	p.maintenance = on
	if p.role == Secondary || p.role == Recovering {
		p.enterConfig()
		p.announce()
	}
	poke(p.wake)
	return nil
}

// InitialSync is how long the member takes to copy the data when it has none.
func (m *Member) InitialSync(d time.Duration) {
	m.initialSync.Store(int64(max(d, 0)))
	if p := m.proc.Load(); p != nil {
		poke(p.pull)
	}
}

// Wipe takes a killed member's data and config away, as emptying its directory does. Its
// vote is kept, which would be gone too: to vote twice in a term is nothing that
// anybody wants to test.
func (m *Member) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc.Load() == nil {
		m.disk = disk{term: m.disk.term, voted: m.disk.voted}
	}
}
