package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func withUser(t *testing.T, name, password string) func(*Config) {
	t.Helper()
	u, err := NewUser(name, password)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Users = []User{u} }
}

func TestOnlyAUserWithTheRightPasswordGetsIn(t *testing.T) {
	s := start(t, "rs0", withUser(t, "alice", "secret"))
	ctx := context.Background()
	for _, mechanism := range []string{scramSHA256, scramSHA1} {
		login := func(password string) error {
			cred := options.Credential{AuthMechanism: mechanism, Username: "alice", Password: password}
			return s.driver(options.Client().SetAuth(cred)).Ping(ctx, nil)
		}
		if err := login("secret"); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
		if err := login("guess"); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
			t.Errorf("%s: a wrong password: %v", mechanism, err)
		}
	}
	// Without naming a mechanism the driver asks the server for one.
	if err := s.driver(options.Client().SetAuth(options.Credential{Username: "alice", Password: "secret"})).Ping(ctx, nil); err != nil {
		t.Error(err)
	}
	w := s.dial()
	reply := w.refused("test", bson.D{{Key: "find", Value: "c"}}, codeUnauthorized)
	if got := reply.Lookup("errmsg").StringValue(); got != "Command find requires authentication" {
		t.Error(got)
	}
	hello := w.ok("admin", bson.D{{Key: "hello", Value: 1}, {Key: "saslSupportedMechs", Value: "admin.alice"}})
	if mechanisms, _ := hello.Lookup("saslSupportedMechs").Array().Values(); len(mechanisms) != 2 {
		t.Errorf("alice may log in with %v", mechanisms)
	}
	w.refused("admin", bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "payload", Value: []byte("x")}}, codeProtocolError)
	w.refused("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: "PLAIN"}, {Key: "payload", Value: []byte("x")}}, codeMechanismUnavailable)
	w.refused("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: scramSHA256}, {Key: "payload", Value: []byte("n,,n=bob,r=abc")}}, codeAuthenticationFailed)
}

func TestTheLastExchangeOfALoginNeedNotBeEmpty(t *testing.T) {
	s := start(t, "rs0", withUser(t, "alice", "secret"))
	for _, mechanism := range scramMechanisms {
		w := s.dial()
		client, err := scramClient(mechanism, "alice", "secret")
		if err != nil {
			t.Fatal(err)
		}
		talk := client.NewConversation()
		said, err := talk.Step("")
		if err != nil {
			t.Fatal(err)
		}
		reply := w.ok("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: mechanism}, {Key: "payload", Value: []byte(said)}})
		for !talk.Done() {
			_, heard := reply.Lookup("payload").Binary()
			if said, err = talk.Step(string(heard)); err != nil {
				t.Fatal(err)
			}
			if talk.Done() {
				said = string(heard) // as a client that answers with the server's proof
			}
			reply = w.ok("admin", bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "payload", Value: []byte(said)}})
		}
		if !reply.Lookup("done").Boolean() {
			t.Errorf("%s: not done: %v", mechanism, reply)
		}
		w.ok("test", bson.D{{Key: "find", Value: "c"}})
	}
}

func TestUsersInfoTellsWhoMayLogIn(t *testing.T) {
	s := start(t, "rs0", withUser(t, "alice", "secret"))
	admin := s.driver(options.Client().SetAuth(options.Credential{Username: "alice", Password: "secret"}))
	for _, c := range []struct {
		db    string
		about any
		found int
	}{
		{"admin", 1, 1}, {"test", 1, 0}, {"admin", "alice", 1}, {"admin", "bob", 0}, {"test", "alice", 0},
		{"test", bson.D{{Key: "user", Value: "alice"}, {Key: "db", Value: "admin"}}, 1},
		{"admin", bson.A{"bob", "alice"}, 1}, {"test", bson.D{{Key: "forAllDBs", Value: true}}, 1},
	} {
		var reply struct{ Users []struct{ User, DB string } }
		err := admin.Database(c.db).RunCommand(context.Background(), bson.D{{Key: "usersInfo", Value: c.about}}).Decode(&reply)
		if err != nil || len(reply.Users) != c.found || c.found > 0 && (reply.Users[0].User != "alice" || reply.Users[0].DB != "admin") {
			t.Errorf("%s, %v: %+v, %v", c.db, c.about, reply, err)
		}
	}
	if err := admin.Database("admin").RunCommand(context.Background(), bson.D{{Key: "usersInfo", Value: true}}).Err(); err == nil {
		t.Error("usersInfo: true is answered")
	}
}

// certificate makes a self-signed one for loopback.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSIsSpokenAndClientsAreAskedForTheirCertificates(t *testing.T) {
	cert, pool := certificate(t)
	s := start(t, "rs0", func(c *Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	ctx := context.Background()
	if err := s.driver(options.Client().SetTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}})).Ping(ctx, nil); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := s.driver(options.Client().SetTLSConfig(&tls.Config{RootCAs: pool})).Ping(short, nil); err == nil {
		t.Error("a client without a certificate got in")
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	w := s.dial()
	w.write([]byte("plain text, plain text"))
	if _, err := io.Copy(io.Discard, w.nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a plain connection stays open")
	}
}
