package server

import (
	"bytes"
	"errors"
	"strings"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

var authCommands = []*command{
	{name: "saslStart", run: saslStart, noAuth: true, inV1: true},
	{name: "saslContinue", run: saslContinue, noAuth: true, inV1: true},
	{name: "authenticate", run: authenticate, noAuth: true, inV1: true},
	{name: "logout", run: logout, noAuth: true},
	{name: "connectionStatus", run: connectionStatus, noAuth: true},
	{name: "usersInfo", run: usersInfo, where: optIn, readable: true},
}

// login is a SCRAM conversation under way.
type login struct {
	talk *scram.ServerConversation
	// short ends the conversation with the server's proof, without the empty
	// exchange that older drivers expect after it.
	short bool
	// proven says that only that empty exchange is missing.
	proven bool
}

var errAuthentication = refuse(codeAuthenticationFailed, "Authentication failed.")

// credentials looks users up for a mechanism.
func (c *conn) credentials(mechanism string) scram.CredentialLookup {
	return func(name string) (scram.StoredCredentials, error) {
		u, ok := c.s.user(adminDB, name)
		if !ok {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		return u.credentials[mechanism], nil
	}
}

func saslStart(c *conn, r *request) error {
	mechanism, db := "", r.db
	var payload []byte
	short := false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "mechanism":
			mechanism = p.text()
		case "payload":
			payload = p.payload()
		case "options":
			if v, ok := lookup(p.document(), "skipEmptyExchange"); ok {
				short = query.Truthy(v)
			}
		case "autoAuthorize":
		case "db": // as in a hello's speculativeAuthenticate
			db = p.text()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	c.login = nil
	hash := scramHashes[mechanism]
	if hash == nil {
		return refuse(codeMechanismUnavailable, "Received authentication for mechanism %s which is unknown or not enabled", mechanism)
	}
	if db != "admin" {
		return errAuthentication // the users are the database admin's
	}
	server, err := hash.NewServer(c.credentials(mechanism))
	if err != nil {
		return err
	}
	c.login = &login{talk: server.NewConversation(), short: short}
	return c.stepLogin(payload)
}

func saslContinue(c *conn, r *request) error {
	var payload []byte
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "conversationId":
			if n := p.count(); p.err == nil && n != 1 {
				p.fail(refuse(codeProtocolError, "sasl: Mismatched conversation id"))
			}
		case "payload":
			payload = p.payload()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	if c.login == nil {
		return refuse(codeProtocolError, "No SASL session state found")
	}
	return c.stepLogin(payload)
}

// stepLogin takes the conversation one message further.
func (c *conn) stepLogin(payload []byte) error {
	l := c.login
	done := false
	var answer string
	if l.proven {
		// What the client says in the empty exchange does not matter: some repeat the
		// server's proof.
		done = true
	} else {
		var err error
		answer, err = l.talk.Step(string(payload))
		if err != nil {
			c.login = nil
			return errAuthentication
		}
		if l.talk.Valid() {
			l.proven = true
			done = l.short
		}
	}
	c.out.int32("conversationId", 1)
	c.out.bool("done", done)
	c.out.binary("payload", bson.TypeBinaryGeneric, []byte(answer))
	if done {
		c.enter(adminDB, l.talk.Username())
	}
	return nil
}

// payload reads a SASL message: binary, or text as some clients send it.
func (p *fieldReader) payload() []byte {
	switch p.f.value.Type {
	case bson.TypeBinary:
		_, data := p.f.value.Binary()
		return bytes.Clone(data)
	case bson.TypeString:
		return bytes.Clone(text(p.f.value))
	}
	p.wrongType("binData")
	return nil
}

// appendMechanisms tells how a user may log in; of an unknown one it says
// nothing.
func (c *conn) appendMechanisms(user string) {
	name, ok := strings.CutPrefix(user, "admin.")
	if !ok {
		return
	}
	if _, ok := c.s.user(adminDB, name); ok {
		c.out.strings("saslSupportedMechs", scramMechanisms)
	}
}

// appendSpeculative starts a login within a hello. What does not work out is left
// to an ordinary saslStart or authenticate.
func (c *conn) appendSpeculative(doc bson.Raw) {
	s := scan(doc)
	first, ok := s.next()
	if !ok {
		return
	}
	inner, run := request{name: string(first.key)}, saslStart
	switch inner.name {
	case "saslStart":
		inner.db = adminDB
	case "authenticate":
		inner.db, run = externalDB, authenticate
	default:
		return
	}
	for f, ok := s.next(); ok; f, ok = s.next() {
		inner.args = append(inner.args, f)
	}
	mark := len(c.out.b)
	at := c.out.doc("speculativeAuthenticate")
	if err := run(c, &inner); err != nil {
		c.out.b = c.out.b[:mark]
		return
	}
	c.out.close(at)
}

func logout(c *conn, r *request) error {
	p := r.fields()
	for p.next() {
		p.unknown()
	}
	c.loggedIn, c.user, c.userDB, c.login = false, "", "", nil
	return p.err
}

// enter ends a login that went well.
func (c *conn) enter(db, user string) {
	c.loggedIn, c.user, c.userDB, c.login = true, user, db, nil
}

func connectionStatus(c *conn, r *request) error {
	privileges := false
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "showPrivileges":
			privileges = p.flag()
		default:
			p.unknown()
		}
	}
	if p.err != nil {
		return p.err
	}
	w := &c.out
	info := w.doc("authInfo")
	users := w.array("authenticatedUsers")
	if c.loggedIn {
		at := w.docAt(0)
		w.string("user", c.user)
		w.string("db", c.userDB)
		w.close(at)
	}
	w.close(users)
	roles := w.array("authenticatedUserRoles")
	if c.loggedIn {
		at := w.docAt(0)
		w.string("role", "root")
		w.string("db", "admin")
		w.close(at)
	}
	w.close(roles)
	if privileges {
		w.close(w.array("authenticatedUserPrivileges"))
	}
	w.close(info)
	return nil
}
