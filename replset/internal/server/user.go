package server

import (
	"crypto/rand"
	"fmt"

	"github.com/xdg-go/scram"
)

// scramIterations is the server's own default for SCRAM-SHA-256.
const scramIterations = 15000

// User may log in. It holds no password, only what the server needs to check
// one. The members of a set share their users.
type User struct {
	name        string
	credentials scram.StoredCredentials
}

// NewUser derives a user's SCRAM-SHA-256 credentials, which takes some
// milliseconds. It fails on a password that SASLprep refuses.
func NewUser(name, password string) (User, error) {
	if name == "" {
		return User{}, fmt.Errorf("server: a user needs a name")
	}
	client, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		return User{}, fmt.Errorf("server: password of user %q: %w", name, err)
	}
	salt := make([]byte, 28)
	if _, err := rand.Read(salt); err != nil {
		return User{}, fmt.Errorf("server: salt of user %q: %w", name, err)
	}
	creds, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: scramIterations})
	if err != nil {
		return User{}, fmt.Errorf("server: credentials of user %q: %w", name, err)
	}
	return User{name: name, credentials: creds}, nil
}

// Name is the name to log in with.
func (u User) Name() string { return u.name }
