package mongoconn

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
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
	var auth *AuthError
	if !errors.As(err, &auth) || auth.Code != 18 || auth.Host != f.addr {
		t.Fatalf("the ping fails with %v", err)
	}
	lost := until(t, h.lost, "the refused login", func(err error) bool { return errors.As(err, &auth) })
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
	var auth *AuthError
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
