package server

import (
	"crypto/tls"
	"fmt"
)

// mechanismX509 logs in who has shown a certificate in the TLS handshake: its subject is
// the name of a user of the database $external.
const mechanismX509 = "MONGODB-X509"

// NewCertificateUser makes a user who logs in with a certificate of that subject, as
// RFC 2253 writes it.
func NewCertificateUser(subject string) (User, error) {
	if subject == "" {
		return User{}, fmt.Errorf("server: a user needs a name")
	}
	return User{name: subject, db: externalDB, id: newUUID()}, nil
}

// subjectOf returns whom a client's certificate is made out to, "" when it has shown
// none that was verified.
func subjectOf(tc *tls.Conn) string {
	chains := tc.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return ""
	}
	return chains[0][0].Subject.String()
}

func authenticate(c *conn, r *request) error {
	mechanism, db, user := "", r.db, ""
	p := r.fields()
	for p.next() {
		switch string(p.f.key) {
		case "mechanism":
			mechanism = p.text()
		case "user":
			user = p.text()
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
	switch {
	case mechanism != mechanismX509:
		return refuse(codeMechanismUnavailable, "Received authentication for mechanism %s which is unknown or not enabled", mechanism)
	case c.s.tls == nil:
		return refuse(codeProtocolError, "SSL support is required for the MONGODB-X509 mechanism.")
	case db != externalDB:
		return refuse(codeProtocolError, "X.509 authentication must always use the $external database.")
	case c.subject == "":
		return refuse(codeAuthenticationFailed, "No verified subject name available from client")
	case user != "" && user != c.subject:
		return refuse(codeAuthenticationFailed, "There is no x.509 client certificate matching the user.")
	}
	if _, ok := c.s.user(externalDB, c.subject); !ok {
		return errAuthentication // as for any other user that there is not
	}
	c.enter(externalDB, c.subject)
	c.out.string("dbname", externalDB)
	c.out.string("user", c.subject)
	return nil
}
