package server

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
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

// User may log in. It holds no password, only what the server needs to check
// one. The members of a set share their users.
type User struct {
	name        string
	id          [16]byte
	credentials map[string]scram.StoredCredentials // by mechanism
}

// NewUser derives a user's credentials, which takes some milliseconds. It fails on a
// password that SASLprep refuses.
func NewUser(name, password string) (User, error) {
	u := User{name: name, id: newUUID(), credentials: map[string]scram.StoredCredentials{}}
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

// usersInfo tells about users, who are all the database admin's.
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
	for _, name := range slices.Sorted(maps.Keys(c.s.users)) {
		u := c.s.users[name]
		if !wanted(name) {
			continue
		}
		one := w.docAt(n)
		n++
		w.string("_id", "admin."+u.name)
		w.binary("userId", bson.TypeBinaryUUID, u.id[:])
		w.string("user", u.name)
		w.string("db", "admin")
		roles := w.array("roles")
		role := w.docAt(0)
		w.string("role", "root")
		w.string("db", "admin")
		w.close(role)
		w.close(roles)
		w.strings("mechanisms", scramMechanisms)
		w.close(one)
	}
	w.close(list)
	return nil
}

// wantedUsers reads whom a usersInfo is about: 1 for the database's users, forAllDBs,
// or users by their names.
func wantedUsers(r *request) (func(name string) bool, error) {
	names := map[string]bool{}
	add := func(v bson.RawValue) bool {
		switch v.Type {
		case bson.TypeString:
			if r.db == "admin" {
				names[string(text(v))] = true
			}
			return true
		case bson.TypeEmbeddedDocument:
			user, ok1 := lookup(v.Value, "user")
			db, ok2 := lookup(v.Value, "db")
			if ok1 && ok2 && user.Type == bson.TypeString && db.Type == bson.TypeString {
				if string(text(db)) == "admin" {
					names[string(text(user))] = true
				}
				return true
			}
		}
		return false
	}
	named := func(name string) bool { return names[name] }
	if n, ok := integral(r.first); ok && n == 1 {
		return func(string) bool { return r.db == "admin" }, nil
	}
	if r.first.Type == bson.TypeEmbeddedDocument {
		if _, ok := lookup(r.first.Value, "forAllDBs"); ok {
			return func(string) bool { return true }, nil
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
