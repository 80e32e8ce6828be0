package replset

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// Member is one member of a set: an address, a disk, and, unless it is killed, a
// process. All methods may be called from any goroutine.
type Member struct {
	set   *Set
	index int
	door  *door // its own address
	repl  *repl.Member

	faults   *server.Faults
	link     *link
	config   repl.MemberConfig // guarded by the set's config
	removed  atomic.Bool       // from the config
	unlisted atomic.Bool       // hidden, delayed or an arbiter: no URI names it
	server   atomic.Pointer[server.Server]

	mu         sync.Mutex // held while the process is started, ended or frozen
	standalone bool
	frozen     bool
	slow       map[string]time.Duration
	past       Counters // of the processes that have ended

	doorsMu sync.Mutex
	doors   map[*door]struct{} // the addresses that reach this member
}

func newMember(s *Set, index int) (*Member, error) {
	m := &Member{set: s, index: index, faults: &server.Faults{}, link: newLink(&s.wg), slow: map[string]time.Duration{}, doors: map[*door]struct{}{}}
	d, err := newDoor(&s.wg, m)
	if err != nil {
		return nil, fmt.Errorf("replset: address for member %d: %w", index, err)
	}
	m.door = d
	m.list(s.opts.member(index, m.Host()))
	return m, nil
}

// list notes what the config says of the member, and whether clients learn of it.
func (m *Member) list(mc repl.MemberConfig) {
	m.config = mc
	m.unlisted.Store(mc.Hidden || mc.Delay > 0 || mc.Arbiter)
}

// Index is the member's place in its set.
func (m *Member) Index() int { return m.index }

// Host is the member's address, host:port, which it keeps for life.
func (m *Member) Host() string { return m.door.addr }

func (m *Member) String() string { return fmt.Sprintf("member %d at %s", m.index, m.Host()) }

// IsPrimary reports whether the member holds itself for the primary and takes
// writes.
func (m *Member) IsPrimary() bool {
	st := m.status()
	return st.Role == repl.Primary && st.WritablePrimary
}

// IsSecondary reports whether the member is a secondary.
func (m *Member) IsSecondary() bool { return m.status().Role == repl.Secondary }

// Running reports whether the member has a process, be it frozen.
func (m *Member) Running() bool { return m.server.Load() != nil }

// State is the member's state in the server's own words (PRIMARY, SECONDARY, ARBITER,
// STARTUP, STARTUP2, RECOVERING, ROLLBACK, REMOVED), else STANDALONE, FROZEN or DOWN.
func (m *Member) State() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.Running():
		return "DOWN"
	case m.frozen:
		return "FROZEN"
	}
	return m.status().Role.String()
}

func (m *Member) status() repl.Status {
	if m.server.Load() != nil {
		if node := m.repl.Node(); node != nil {
			return node.Status()
		}
	}
	return repl.Status{Role: repl.Down}
}

// takesPart says that the member should be in a steady state.
func (m *Member) takesPart() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Running() && !m.frozen && !m.standalone && !m.removed.Load()
}

// serve puts a server in front of a node, and opens the doors. The caller must hold m.mu, or
// be alone with m.
func (m *Member) serve(node repl.Node) error {
	m.set.mu.Lock()
	cfg := server.Config{Node: node, Users: m.set.users, Faults: m.faults, Version: m.set.version}
	m.set.mu.Unlock()
	if m.set.certs != nil {
		cfg.TLS = m.set.certs.server
	}
	srv := server.New(cfg)
	for command, d := range m.slow {
		srv.Slow(command, d)
	}
	m.server.Store(srv)
	return m.refresh()
}

// refresh opens or closes every address that reaches this member.
func (m *Member) refresh() error {
	m.doorsMu.Lock()
	doors := make([]*door, 0, len(m.doors))
	for d := range m.doors {
		doors = append(doors, d)
	}
	m.doorsMu.Unlock()
	for _, d := range doors {
		if err := d.refresh(); err != nil {
			return fmt.Errorf("replset: %v: %w", m, err)
		}
	}
	return nil
}

// Kill ends the member's process as kill -9 does: its connections are reset, its
// address refuses new ones, and what it has written stays, as on a journalled
// disk. Killing a killed one is fine.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kill()
}

func (m *Member) kill() {
	srv := m.server.Swap(nil)
	if srv == nil {
		return
	}
	_ = m.refresh() // closing cannot fail
	m.reset()
	// From here on no reply gets out. The state goes before the server, since the
	// server's end waits for its commands, and these may wait for a frozen state.
	m.repl.Kill()
	srv.Close()
	m.past = sum(m.past, countersOf(srv))
	m.frozen, m.standalone = false, false
}

// reset cuts the connections to this member, whatever address they were made to.
func (m *Member) reset() {
	m.doorsMu.Lock()
	doors := make([]*door, 0, len(m.doors))
	for d := range m.doors {
		doors = append(doors, d)
	}
	m.doorsMu.Unlock()
	for _, d := range append(doors, m.door) {
		d.reset(func(_ *line, to *Member) bool { return to == m })
	}
}

// Restart starts a killed member again at its address and on its data, and
// restarts a running one. What Slow and Lag have set stays.
func (m *Member) Restart() error { return m.restart(false) }

// RestartStandalone is Restart without replication, as when an operator starts a
// member without --replSet to repair it: it answers as a standalone with the data it has,
// and takes writes that the set will not know of. Restart makes it a member again.
func (m *Member) RestartStandalone() error { return m.restart(true) }

// Resync is Restart without the data, as after a member's directory has been emptied:
// it copies the data from another member, for as long as d, and until then is STARTUP2 and
// serves no reads. What it had and a majority with it is on one member less meanwhile.
func (m *Member) Resync(d time.Duration) error {
	if m.set.opts.Standalone {
		return errors.New("replset: a standalone has nobody to copy the data from")
	}
	return m.restartAfter(func() {
		m.repl.Wipe()
		m.repl.InitialSync(d)
	}, false)
}

func (m *Member) restart(standalone bool) error { return m.restartAfter(func() {}, standalone) }

func (m *Member) restartAfter(prepare func(), standalone bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kill()
	prepare()
	m.set.mu.Lock()
	stopped := m.set.stopped
	m.set.mu.Unlock()
	if stopped {
		return ErrStopped
	}
	start := m.repl.Start
	if standalone {
		start = m.repl.StartStandalone
	}
	m.standalone = standalone
	return m.serve(start())
}

// Freeze stops the member's process as SIGSTOP does: its address still accepts
// connections, but nothing is answered, replicated or voted for, so that a frozen
// primary is replaced.
func (m *Member) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if srv := m.server.Load(); srv != nil {
		m.frozen = true
		srv.Freeze()
		m.repl.Freeze()
	}
}

// Unfreeze ends Freeze. What clients have sent meanwhile is worked off, also by a
// primary that does not know yet that it has been replaced.
func (m *Member) Unfreeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if srv := m.server.Load(); srv != nil {
		m.frozen = false
		m.repl.Unfreeze()
		srv.Unfreeze()
	}
}

// Slow makes each execution of a command take d longer, or of every command for
// the empty name. 0 takes it away again.
func (m *Member) Slow(command string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slow[command] = d
	if srv := m.server.Load(); srv != nil {
		srv.Slow(command, d)
	}
}

// Lag makes the member apply, and acknowledge, what the primary writes only d
// after it was written. 0 lets it catch up.
func (m *Member) Lag(d time.Duration) { m.repl.Lag(d) }

// SetMaintenance makes a secondary RECOVERING: it replicates and votes, but
// refuses reads; false makes it a secondary again. A primary refuses. A restart
// ends it.
func (m *Member) SetMaintenance(on bool) error {
	if err := m.repl.SetMaintenance(on); err != nil {
		return fmt.Errorf("replset: %v: %w", m, err)
	}
	return nil
}

// Counters returns what the member has executed since the set was started,
// restarts included.
func (m *Member) Counters() Counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	if srv := m.server.Load(); srv != nil {
		return sum(m.past, countersOf(srv))
	}
	return sum(m.past, Counters{})
}
