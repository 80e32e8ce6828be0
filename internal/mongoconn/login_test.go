package mongoconn

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

func TestARefusedLoginIsTypedAndHoldsNoPassword(t *testing.T) {
	f := serve(t, nil)
	f.change(func() {
		f.reply = func(name string, cmd bson.Raw) bson.D {
			if name == "saslStart" {
				return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 18}, {Key: "codeName", Value: "AuthenticationFailed"}, {Key: "errmsg", Value: "Authentication failed, s3cretword."}}
			}
			return bson.D{{Key: "ok", Value: 1}}
		}
	})
	base := options.Client().SetAuth(options.Credential{Username: "player", Password: "s3cretword", AuthMechanism: "SCRAM-SHA-256"})
	d, h := open(t, DirectConfig{Host: f.addr, Base: base})
	next(t, h.hellos, "a hello")
	err := d.Ping(patient(t))
	var auth *messages.LoginError
	if !errors.As(err, &auth) || auth.Code != 18 || auth.Host != f.addr ||
		auth.Mechanism != "SCRAM-SHA-256" || auth.User != "player" || auth.Source != "admin" {
		t.Fatalf("the ping fails with %#v", err)
	}
	lost := until(t, h.lost, "the refused login", func(err error) bool { return errors.As(err, &auth) })
	if auth.Code != 18 || strings.Contains(auth.Reason, "connection") {
		t.Errorf("the pool tells %#v", auth)
	}
	for _, err := range []error{err, lost} {
		if strings.Contains(err.Error(), "s3cretword") {
			t.Errorf("the password is in %q", err)
		}
	}
	if !OtherHostMayServe(err) {
		t.Error("no other host may serve")
	}
	if f.count("ping") > 0 {
		t.Error("a command was sent without a login")
	}
}

func TestALoginThatTheClientGivesUpIsARefusedLogin(t *testing.T) {
	f := serve(t, nil)
	f.change(func() {
		f.reply = func(name string, cmd bson.Raw) bson.D {
			// No payload that SCRAM could go on with.
			return bson.D{{Key: "ok", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "done", Value: false}, {Key: "payload", Value: []byte("nonsense")}}
		}
	})
	base := options.Client().SetAuth(options.Credential{Username: "player", Password: "s3cretword", AuthMechanism: "SCRAM-SHA-256"})
	d, h := open(t, DirectConfig{Host: f.addr, Base: base})
	next(t, h.hellos, "a hello")
	var auth *messages.LoginError
	if err := d.Ping(patient(t)); !errors.As(err, &auth) || auth.Code != 0 {
		t.Errorf("the ping fails with %v", err)
	}
}

func TestALoginThatIsCutOffIsNoRefusedLogin(t *testing.T) {
	f := serve(t, nil)
	f.change(func() { f.reply = func(name string, cmd bson.Raw) bson.D { return nil } })
	base := options.Client().SetAuth(options.Credential{Username: "player", Password: "s3cretword", AuthMechanism: "SCRAM-SHA-256"})
	d, h := open(t, DirectConfig{Host: f.addr, Base: base})
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); err == nil || IsAuth(err) || !IsNetwork(err) {
		t.Errorf("the ping fails with %v", err)
	}
}

// Those who wait for a pool that is cleared for another one's login are told of that as a text.
func TestALoginThatIsCutOffIsNoRefusedLoginToThoseWhoWaitForThePool(t *testing.T) {
	for name, test := range map[string]struct {
		reply   bson.D
		refused bool
	}{
		"cut off":     {nil, false},
		"going down":  {bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 91}, {Key: "codeName", Value: "ShutdownInProgress"}, {Key: "errmsg", Value: "bye"}}, false},
		"not serving": {bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 13436}, {Key: "codeName", Value: "NotPrimaryOrSecondary"}, {Key: "errmsg", Value: "recovering"}}, false},
		"refused":     {bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 18}, {Key: "codeName", Value: "AuthenticationFailed"}, {Key: "errmsg", Value: "no"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, nil)
			gate := make(chan struct{})
			f.change(func() {
				f.reply = func(name string, cmd bson.Raw) bson.D {
					<-gate
					return test.reply
				}
			})
			base := options.Client().SetAuth(options.Credential{Username: "player", Password: "s3cretword", AuthMechanism: "SCRAM-SHA-256"})
			d, h := open(t, DirectConfig{Host: f.addr, Base: base, PoolSize: 8})
			next(t, h.hellos, "a hello")
			errs := make(chan error)
			const callers = 8 // The driver opens two sockets at a time: the others wait.
			for range callers {
				go func() { errs <- d.Ping(patient(t)) }()
			}
			close(gate)
			waited := false
			for range callers {
				err := <-errs
				waited = waited || strings.Contains(err.Error(), "was cleared")
				if err == nil || IsAuth(err) != test.refused {
					t.Errorf("the ping fails with %v", err)
				}
			}
			if !waited && !test.refused { // A refusal's own text has nothing of the pool.
				t.Error("nobody has waited for the pool")
			}
		})
	}
}

func TestAUserWithoutAPasswordIsHiddenUnlessItsMechanismKnowsOne(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://t0ken@a": `login of "[hidden]" refused`,
		"mongodb://CN%3Dplayer@a/?authMechanism=MONGODB-X509":                 `login of "CN=player" refused`,
		"mongodb://player@a/?authMechanism=mongodb-x509&authSource=$external": `login of "player" refused`,
	} {
		l := loginOf(options.Client().ApplyURI(uri))
		err := l.error("a:1", mongo.CommandError{Code: 18, Message: "no"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", uri, err, want)
		}
	}
}

func TestARefusedLoginSaysWhoWasRefusedAndHow(t *testing.T) {
	for _, tt := range []struct {
		name string
		auth options.Credential
		want string
	}{
		{"no mechanism", options.Credential{Username: "player", Password: "s3cretword"}, `login of "player" refused by a:1 (SCRAM, authSource admin): (18) no`},
		{"a mechanism and a source", options.Credential{AuthMechanism: "scram-sha-1", AuthSource: "game", Username: "player", Password: "s3cretword"}, `login of "player" refused by a:1 (SCRAM-SHA-1, authSource game): (18) no`},
		{"a certificate", options.Credential{AuthMechanism: "MONGODB-X509"}, `login refused by a:1 (MONGODB-X509, authSource $external): (18) no; check that the client certificate's subject`},
		{"a certificate's subject", options.Credential{AuthMechanism: "MONGODB-X509", Username: "CN=player"}, `login of "CN=player" refused by a:1 (MONGODB-X509`},
		{"half of a key", options.Credential{AuthMechanism: "MONGODB-AWS", Username: "AKIA1234", Password: "s3cretword"}, `login refused by a:1 (MONGODB-AWS, authSource $external): (18) no`},
		{"a name like the password", options.Credential{Username: "s3cret", Password: "s3cretword"}, `login of "[hidden]" refused by a:1`},
	} {
		l := loginOf(options.Client().SetAuth(tt.auth))
		err := l.error("a:1", mongo.CommandError{Code: 18, Message: "no"})
		if err == nil || !errors.Is(err, messages.ErrLoginRefused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
