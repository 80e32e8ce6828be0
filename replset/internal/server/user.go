package server

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// The mechanisms to log in with, which a server gives every user that it creates.
const (
	scramSHA1   = "SCRAM-SHA-1"
	scramSHA256 = "SCRAM-SHA-256"
)

var scramMechanisms = []string{scramSHA1, scramSHA256}

// The server's own defaults: how often a password is hashed, and how long the salt
// is.
var (
	scramIterations = map[string]int{scramSHA1: 10000, scramSHA256: 15000}
	scramSalt       = map[string]int{scramSHA1: 16, scramSHA256: 28}
)

var scramHashes = map[string]scram.HashGeneratorFcn{scramSHA1: scram.SHA1, scramSHA256: scram.SHA256}

// Where a user is: the database admin's, with a password, or one of another authority,
// which for this server are certificates.
const (
	adminDB    = "admin"
	externalDB = "$external"
)

// User may log in. It holds no password, only what the server needs to check
// one. The members of a set share their users.
type User struct {
	name, db    string
	id          [16]byte
	credentials map[string]scram.StoredCredentials // by mechanism
}

// users are those who may log in, by key.
type users struct {
	mu    sync.RWMutex
	byKey map[string]User // mu
}

func newUsers(list []User) *users {
	u := &users{byKey: make(map[string]User, len(list))}
	for _, one := range list {
		u.byKey[one.key()] = one
	}
	return u
}

// key is how the server names a user among those of all databases.
func (u *User) key() string { return u.db + "." + u.name }

func (u *users) find(db, name string) (User, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	one, ok := u.byKey[db+"."+name]
	return one, ok
}

// user finds who may log in here. Users are data like any other, of which an arbiter
// has none: nobody can log in to one.
func (s *Server) user(db, name string) (User, bool) {
	if s.users == nil || s.node.Status().Role == repl.Arbiter {
		return User{}, false
	}
	return s.users.find(db, name)
}

// list returns all of them, in the order of their keys.
func (u *users) list() []User {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return slices.SortedFunc(maps.Values(u.byKey), func(a, b User) int { return strings.Compare(a.key(), b.key()) })
}

// SetUser lets a user log in with other credentials from now on. Who is logged in stays
// so. A server that was made without users takes none.
func (s *Server) SetUser(u User) {
	if s.users == nil {
		return
	}
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	s.users.byKey[u.key()] = u
}

// NewUser derives a user's credentials, which takes some milliseconds. It fails on a
// password that SASLprep refuses.
func NewUser(name, password string) (User, error) {
	u := User{name: name, db: adminDB, id: newUUID(), credentials: map[string]scram.StoredCredentials{}}
	if name == "" {
		return User{}, fmt.Errorf("server: a user needs a name")
	}
	for _, mechanism := range scramMechanisms {
		client, err := scramClient(mechanism, name, password)
		if err != nil {
			return User{}, fmt.Errorf("server: password of user %q: %w", name, err)
		}
		salt := make([]byte, scramSalt[mechanism])
		rand.Read(salt) // never fails
		creds, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: scramIterations[mechanism]})
		if err != nil {
			return User{}, fmt.Errorf("server: credentials of user %q: %w", name, err)
		}
		u.credentials[mechanism] = creds
	}
	return u, nil
}

// scramClient is one that knows the password as the mechanism has it: SCRAM-SHA-1 a
// digest, which is older than SCRAM, for which MD5 is good enough and the only choice.
func scramClient(mechanism, name, password string) (*scram.Client, error) {
	if mechanism == scramSHA1 {
		sum := md5.Sum([]byte(name + ":mongo:" + password))
		return scramHashes[mechanism].NewClientUnprepped(name, hex.EncodeToString(sum[:]), "")
	}
	return scramHashes[mechanism].NewClient(name, password, "")
}

// Name is the name to log in with.
func (u User) Name() string { return u.name }

// usersInfo tells about users.
func usersInfo(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		switch key := string(p.f.key); key {
		case "showCredentials", "showPrivileges", "showAuthenticationRestrictions":
			if p.flag() {
				p.fail(refuse(codeNotImplemented, "usersInfo with %s is not supported", key))
			}
		case "showCustomData":
			p.flag() // nobody has any
		case "filter":
			if doc := p.document(); len(doc) > 5 {
				p.fail(refuse(codeNotImplemented, "usersInfo with a filter is not supported"))
			}
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	wanted, err := wantedUsers(r)
	if err != nil {
		return err
	}
	w := &c.out
	list := w.array("users")
	n := 0
	var all []User
	if c.s.users != nil {
		all = c.s.users.list()
	}
	for _, u := range all {
		if !wanted(u) {
			continue
		}
		one := w.docAt(n)
		n++
		w.string("_id", u.key())
		w.binary("userId", bson.TypeBinaryUUID, u.id[:])
		w.string("user", u.name)
		w.string("db", u.db)
		roles := w.array("roles")
		role := w.docAt(0)
		w.string("role", "root")
		w.string("db", "admin")
		w.close(role)
		w.close(roles)
		if u.db == externalDB {
			w.strings("mechanisms", []string{"external"})
		} else {
			w.strings("mechanisms", scramMechanisms)
		}
		w.close(one)
	}
	w.close(list)
	return nil
}

// wantedUsers reads whom a usersInfo is about: 1 for the database's users, forAllDBs,
// or users by their names.
func wantedUsers(r *request) (func(User) bool, error) {
	keys := map[string]bool{}
	add := func(v bson.RawValue) bool {
		switch v.Type {
		case bson.TypeString:
			keys[r.db+"."+string(text(v))] = true
			return true
		case bson.TypeEmbeddedDocument:
			user, ok1 := lookup(v.Value, "user")
			db, ok2 := lookup(v.Value, "db")
			if ok1 && ok2 && user.Type == bson.TypeString && db.Type == bson.TypeString {
				keys[string(text(db))+"."+string(text(user))] = true
				return true
			}
		}
		return false
	}
	named := func(u User) bool { return keys[u.key()] }
	if n, ok := integral(r.first); ok && n == 1 {
		return func(u User) bool { return u.db == r.db }, nil
	}
	if r.first.Type == bson.TypeEmbeddedDocument {
		if _, ok := lookup(r.first.Value, "forAllDBs"); ok {
			return func(User) bool { return true }, nil
		}
	}
	if r.first.Type == bson.TypeArray {
		for s := scan(r.first.Value); ; {
			e, ok := s.next()
			if !ok {
				return named, nil
			}
			if !add(e.value) {
				break
			}
		}
	} else if add(r.first) {
		return named, nil
	}
	return nil, refuse(codeBadValue, "User and role names must be either strings or objects")
}
