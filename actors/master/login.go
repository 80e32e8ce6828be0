package master

import (
	"context"
	"errors"
	"time"

	"github.com/evenkeel/evenkeel/internal/backoff"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// A primary that refuses the login is there, and no write gets through to it. Each write would
// try another login, which costs the server a key derivation and may count towards a
// lock-out; so the gate is closed, the writes wait in order as they do for a primary, and one
// login at a time is tried, more and more slowly, beside the client. What waits in vain
// says that the login was refused, and not that there is no primary.

// loginTimeout bounds one try.
const loginTimeout = mongoconn.DefaultConnectTimeout + time.Second

// logins is how the master's client logs in. The master's gate guards it.
type logins struct {
	// explain makes an error of the wire's a refused login, or returns nil.
	explain func(error) *messages.LoginError
	// try logs in once more. Without it the next write does.
	try func(context.Context) error

	accepted chan struct{} // closed, and made anew, when a login is let in

	waits   backoff.Backoff
	timer   *time.Timer // until the next try; nil while none is waited for
	cancel  context.CancelFunc
	stopped bool
}

func newLogins() logins {
	return logins{
		explain: func(err error) *messages.LoginError {
			var refused *messages.LoginError
			_ = errors.As(err, &refused)
			return refused
		},
		accepted: make(chan struct{}),
		waits:    backoff.New(backoff.Base, backoff.LoginLimit),
	}
}

// noteLogin makes a refused login of an error that is one, and lets the master know.
func (l *lane) noteLogin(err error) error {
	if err == nil || !mongoconn.IsAuth(err) {
		return err
	}
	refused := l.m.logins.explain(err)
	if refused == nil {
		return err
	}
	l.m.LoginRefused(refused)
	return refused
}

// throughLogins does something on the wire, and again when its login was refused and another one
// was let in, as long as ctx lasts.
func (l *lane) throughLogins(ctx context.Context, do func() error) error {
	for {
		err := l.noteLogin(do())
		if !errors.Is(err, messages.ErrLoginRefused) {
			return err
		}
		l.m.gate.Lock()
		accepted := l.m.logins.accepted
		again := l.m.hold.refusal() == nil // It was let in just now.
		l.m.gate.Unlock()
		if again {
			continue
		}
		select {
		case <-accepted:
		case <-ctx.Done():
			return err
		}
	}
}

// LoginRefused closes the gate until a login is let in. The client's pool tells of a
// refusal as well, which a write whose time was up before does not hear of.
func (m *Master) LoginRefused(err *messages.LoginError) {
	m.gate.Lock()
	defer m.gate.Unlock()
	_, closed := m.hold.set(func(h *hold) { h.refused = err })
	if closed {
		held := 0
		for _, l := range m.lanes {
			held += l.holdAll()
		}
		m.hold.wait(held)
	}
	m.nextLogin(m.logins.waits.Next())
}

// nextLogin has a login tried after d. The caller must hold gate.
func (m *Master) nextLogin(d time.Duration) {
	g := &m.logins
	if g.stopped || g.timer != nil || g.cancel != nil {
		return // One is waited for, or under way.
	}
	g.timer = time.AfterFunc(d, m.tryLogin)
}

// hurryLogin has a login tried at once at another primary than the one that refused it.
// The caller must hold gate.
func (m *Master) hurryLogin(primary string) {
	refused := m.hold.refusal()
	if refused == nil || primary == "" || refused.Host == primary {
		return
	}
	if t := m.logins.timer; t != nil && t.Stop() {
		m.logins.timer = nil
		m.nextLogin(0)
	}
}

// tryLogin is one try, in the timer's goroutine.
func (m *Master) tryLogin() {
	m.gate.Lock()
	g := &m.logins
	g.timer = nil
	if g.stopped {
		m.gate.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	try := g.try
	g.cancel = cancel
	m.gate.Unlock()
	var err error
	if try != nil {
		m.safely("trying a login", func() { err = errors.New("evenkeel: the login was not tried"); err = try(ctx) })
	}
	m.gate.Lock()
	defer m.gate.Unlock()
	g.cancel = nil
	if err == nil {
		if try != nil {
			g.waits.Reset()
		}
		close(g.accepted)
		g.accepted = make(chan struct{})
		if opened, _ := m.hold.set(func(h *hold) { h.refused = nil }); opened {
			m.release()
		}
		return
	}
	var refused *messages.LoginError
	if errors.As(err, &refused) {
		m.hold.set(func(h *hold) { h.refused = refused })
	}
	// Without a primary, or without an answer, nobody knows; the last word stands.
	m.nextLogin(g.waits.Next())
}

// stopLogins ends the tries.
func (m *Master) stopLogins() {
	m.gate.Lock()
	defer m.gate.Unlock()
	g := &m.logins
	g.stopped = true
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.cancel != nil {
		g.cancel()
	}
}
