package replset

import (
	"fmt"
	"slices"

	"github.com/evenkeel/evenkeel/replset/internal/server"
)

// known is the user as a server knows it.
func (u *User) known() (server.User, error) {
	if u.X509 {
		return server.NewCertificateUser(u.Name)
	}
	return server.NewUser(u.Name, u.Password)
}

// SetPassword gives a user another password, on all members at once. Connections that
// are logged in stay so, as with a server; Member.Restart makes clients log in anew.
func (s *Set) SetPassword(name, password string) error {
	is := func(u User) bool { return u.Name == name && !u.X509 }
	s.mu.Lock()
	i := slices.IndexFunc(s.logins, is)
	s.mu.Unlock()
	if i < 0 {
		return fmt.Errorf("replset: there is no user %q with a password", name)
	}
	user := User{Name: name, Password: password}
	known, err := user.known()
	if err != nil {
		return fmt.Errorf("replset: %w", err)
	}
	s.mu.Lock()
	s.logins[i] = user
	s.users = slices.Clone(s.users)
	s.users[i] = known
	members := slices.Clone(s.members)
	s.mu.Unlock()
	for _, m := range members {
		// One that is being started has read the users before, and holds this lock until its
		// server is there.
		m.mu.Lock()
		if srv := m.server.Load(); srv != nil {
			srv.SetUser(known)
		}
		m.mu.Unlock()
	}
	return nil
}
