package replset

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// ErrStopped is returned by what needs a set that has not been stopped.
var ErrStopped = errors.New("replset: the set has been stopped")

// Set is a running replica set. All methods may be called from any goroutine.
type Set struct {
	opts    Options
	inner   *repl.Set
	certs   *certificates // nil without TLS
	version server.Version

	wg sync.WaitGroup // what serves clients

	mu      sync.Mutex
	logins  []User        // mu; as they are now
	users   []server.User // mu; the same, as servers know them; replaced, never changed
	stopped bool
	members []*Member // by index; a removed one keeps its place
	config  sync.Mutex
}

// Start starts a set. When it returns, the members serve clients, and the first
// election, which needs no time-out, is under way.
func Start(opts Options) (*Set, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	s := &Set{opts: opts, logins: slices.Clone(opts.Users)}
	s.version, _ = server.ParseVersion(opts.Version) // complete has checked it
	for _, u := range opts.Users {
		user, err := u.known()
		if err != nil {
			return nil, fmt.Errorf("replset: Options.Users: %w", err)
		}
		s.users = append(s.users, user)
	}
	if opts.TLS != TLSOff {
		certs, err := newCertificates(opts.TLS)
		if err != nil {
			return nil, err
		}
		s.certs = certs
	}
	var config []repl.MemberConfig
	for i := range opts.Members {
		m, err := newMember(s, i)
		if err != nil {
			s.Stop()
			return nil, err
		}
		s.members = append(s.members, m)
		config = append(config, opts.member(i, m.Host()))
	}
	s.inner = repl.NewSet(repl.Options{
		Name: opts.Name, Members: config, ElectionTimeout: opts.ElectionTimeout, TakeoverDelay: opts.TakeoverDelay,
		NewlyAdded: opts.Version != "4.4", Standalone: opts.Standalone,
	})
	s.inner.Start()
	for i, m := range s.members {
		m.repl = s.inner.Member(int32(i))
		if err := m.serve(m.repl.Node()); err != nil {
			s.Stop()
			return nil, err
		}
	}
	return s, nil
}

// Stop kills every member and gives its port back. When it returns, nothing of the
// set runs any more. Stopping twice is fine.
func (s *Set) Stop() {
	s.mu.Lock()
	s.stopped = true
	members := slices.Clone(s.members)
	s.mu.Unlock()
	for _, m := range members {
		m.Kill()
	}
	if s.inner != nil {
		s.inner.Stop() // whoever a failed Start has not put a server in front of
	}
	for _, m := range members {
		m.link.set(LinkWhole) // what it has held back goes now
		m.door.shut()
	}
	s.wg.Wait()
}

// Name is the set's name; a standalone has none.
func (s *Set) Name() string {
	if s.opts.Standalone {
		return ""
	}
	return s.opts.Name
}

// Members returns every member the set has or has had, by index.
func (s *Set) Members() []*Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.members)
}

// Member returns the one with that index. It panics when there is none.
func (s *Set) Member(i int) *Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 || i >= len(s.members) {
		panic(fmt.Sprintf("replset: there is no member %d in a set of %d", i, len(s.members)))
	}
	return s.members[i]
}

// URI is the connection string for the set: its members but the removed, the hidden and
// the delayed ones and the arbiters, its name, and the first of Options.Users. With TLS, a client also needs
// ClientTLS.
func (s *Set) URI() string {
	var hosts []string
	for _, m := range s.Members() {
		if !m.removed.Load() && !m.unlisted.Load() {
			hosts = append(hosts, m.Host())
		}
	}
	u := url.URL{Scheme: "mongodb", Host: strings.Join(hosts, ","), Path: "/"}
	query := url.Values{}
	if s.opts.Standalone {
		query.Set("directConnection", "true")
	} else {
		query.Set("replicaSet", s.opts.Name)
	}
	if s.certs != nil {
		query.Set("tls", "true")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.logins) == 0:
	case s.logins[0].X509:
		query.Set("authMechanism", "MONGODB-X509")
	default:
		u.User = url.UserPassword(s.logins[0].Name, s.logins[0].Password)
		query.Set("authSource", "admin")
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// ClientTLS returns what a client needs to connect to the set: whom to trust,
// and, with TLSMutual, its certificate. It is nil without TLS.
func (s *Set) ClientTLS() *tls.Config {
	if s.certs == nil {
		return nil
	}
	return s.certs.client.Clone()
}

// ClientPEM returns what ClientTLS does as PEM, for clients that read files: the
// certificate of the authority to trust (tlsCAFile in a connection string), and, with
// TLSMutual, the client's own certificate and its key (tlsCertificateKeyFile). Both
// are nil without TLS.
func (s *Set) ClientPEM() (authority, client []byte) {
	if s.certs == nil {
		return nil, nil
	}
	return slices.Clone(s.certs.authorityPEM), slices.Clone(s.certs.clientPEM)
}

// Primary returns the member that takes writes, nil when there is none. Of two
// that both believe to be it, as after a partition, it is the later one.
func (s *Set) Primary() *Member {
	leader := s.inner.Leader()
	if leader == nil {
		return nil
	}
	return s.Member(int(leader.ID()))
}

// pace is how often a waiting method looks.
const pace = time.Millisecond

func (s *Set) await(ctx context.Context, ready func() (bool, string)) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		ok, missing := ready()
		if ok {
			return nil
		}
		s.mu.Lock()
		stopped := s.stopped
		s.mu.Unlock()
		if stopped {
			return ErrStopped
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("replset: %s: %w", missing, ctx.Err())
		}
	}
}

// AwaitPrimary waits until there is a primary that takes writes, and returns it.
func (s *Set) AwaitPrimary(ctx context.Context) (*Member, error) {
	var primary *Member
	err := s.await(ctx, func() (bool, string) {
		primary = s.Primary()
		return primary != nil, "no primary yet"
	})
	return primary, err
}

// AwaitSecondaries waits until the set is in its steady state: one member is the primary,
// and every other one a secondary that knows it and has applied what the primary
// had written when AwaitSecondaries was called. Members that are killed, frozen,
// standalone or removed are not waited for, arbiters and delayed ones have no data to wait
// for; one in maintenance or cut off by a
// partition is.
func (s *Set) AwaitSecondaries(ctx context.Context) error {
	primary, err := s.AwaitPrimary(ctx)
	if err != nil || s.opts.Standalone {
		return err
	}
	target := primary.status().LastApplied
	return s.await(ctx, func() (bool, string) {
		leader := s.Primary()
		if leader == nil {
			return false, "the primary is gone"
		}
		for _, m := range s.Members() {
			if m == leader || !m.takesPart() {
				continue
			}
			st := m.status()
			switch {
			case st.Role == repl.Arbiter:
			case st.Role != repl.Secondary:
				return false, fmt.Sprintf("member %d is no secondary", m.index)
			case st.Primary != leader.Host():
				return false, fmt.Sprintf("member %d does not know the primary", m.index)
			case st.SecondaryDelaySecs == 0 && st.LastApplied.TS.Before(target.TS):
				return false, fmt.Sprintf("member %d has not caught up", m.index)
			case st.NewlyAdded:
				return false, fmt.Sprintf("member %d has no vote yet", m.index)
			}
		}
		return true, ""
	})
}
