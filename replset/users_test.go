package replset

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// code is the server's error code, 0 for none.
func code(err error) int32 {
	var cmd mongo.CommandError
	if errors.As(err, &cmd) {
		return cmd.Code
	}
	return 0
}

func TestAClientLogsInWithTheCertificateThatItShows(t *testing.T) {
	set := steady(t, Options{TLS: TLSMutual, Users: []User{{Name: ClientSubject, X509: true}, {Name: "ann", Password: "s3cret"}}})
	if !strings.Contains(set.URI(), "authMechanism=MONGODB-X509") {
		t.Errorf("the URI is %s", set.URI())
	}
	dir := t.TempDir()
	authority, client := set.ClientPEM()
	query := url.Values{}
	for key, pem := range map[string][]byte{"tlsCAFile": authority, "tlsCertificateKeyFile": client} {
		path := filepath.Join(dir, key)
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		query.Set(key, path)
	}
	for how, client := range map[string]*mongo.Client{
		"with options":           connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTLSConfig(set.ClientTLS()) }),
		"with files":             connect(t, set.URI()+"&"+query.Encode(), func(*options.ClientOptions) {}),
		"with a password beside": connect(t, set.URI()+"&"+query.Encode(), func(o *options.ClientOptions) { o.SetAuth(options.Credential{Username: "ann", Password: "s3cret"}) }),
	} {
		if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "who", Value: how}}); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		var reply struct {
			AuthInfo struct {
				AuthenticatedUsers []struct{ User, DB string }
			}
		}
		if err := client.Database("admin").RunCommand(soon(t), bson.D{{Key: "connectionStatus", Value: 1}}).Decode(&reply); err != nil {
			t.Fatal(err)
		}
		want := struct{ User, DB string }{ClientSubject, "$external"}
		if how == "with a password beside" {
			want.User, want.DB = "ann", "admin"
		}
		if users := reply.AuthInfo.AuthenticatedUsers; len(users) != 1 || users[0] != want {
			t.Errorf("%s: logged in is %v", how, users)
		}
		external := client.Database("$external")
		for name, refused := range map[string]struct {
			db   *mongo.Database
			cmd  bson.D
			code int32
		}{
			"another's name":    {external, bson.D{{Key: "user", Value: "CN=somebody"}, {Key: "mechanism", Value: "MONGODB-X509"}}, 18},
			"another database":  {client.Database("admin"), bson.D{{Key: "mechanism", Value: "MONGODB-X509"}}, 17},
			"another mechanism": {external, bson.D{{Key: "mechanism", Value: "MONGODB-CR"}}, 334},
		} {
			cmd := append(bson.D{{Key: "authenticate", Value: 1}}, refused.cmd...)
			if err := refused.db.RunCommand(soon(t), cmd).Err(); code(err) != refused.code {
				t.Errorf("%s, authenticate for %s: %v", how, name, err)
			}
		}
	}
	in := connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTLSConfig(set.ClientTLS()) })
	if err := in.Database("$external").Collection("players").FindOne(soon(t), bson.D{}).Err(); code(err) != 73 {
		t.Errorf("a find in $external: %v", err)
	}
	for _, who := range []any{bson.D{{Key: "user", Value: ClientSubject}, {Key: "db", Value: "$external"}}, bson.D{{Key: "forAllDBs", Value: true}}} {
		var reply struct {
			Users []struct {
				ID         string `bson:"_id"`
				Mechanisms []string
			}
		}
		cmd := bson.D{{Key: "usersInfo", Value: who}}
		if err := in.Database("admin").RunCommand(soon(t), cmd).Decode(&reply); err != nil {
			t.Fatal(err)
		}
		if u := reply.Users[0]; u.ID != "$external."+ClientSubject || len(u.Mechanisms) != 1 || u.Mechanisms[0] != "external" {
			t.Errorf("usersInfo of %v says %+v", who, reply)
		}
	}
}

func TestACertificateWhoseSubjectIsNoUserIsRefused(t *testing.T) {
	set := steady(t, Options{TLS: TLSMutual, Users: []User{{Name: "CN=somebody else", X509: true}, {Name: ClientSubject, Password: "s3cret"}}})
	err := players(connect(t, set.URI(), func(o *options.ClientOptions) { o.SetTLSConfig(set.ClientTLS()) })).FindOne(soon(t), bson.D{}).Err()
	if err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
		t.Errorf("a find: %v", err)
	}
}

func TestACertificateWithoutTLSIsRefused(t *testing.T) {
	set := steady(t, Options{Users: []User{{Name: "ann", Password: "s3cret"}}})
	client := connect(t, set.URI(), func(*options.ClientOptions) {})
	err := client.Database("$external").RunCommand(soon(t), bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: "MONGODB-X509"}}).Err()
	if code(err) != 17 {
		t.Errorf("authenticate: %v", err)
	}
}

func TestAPasswordCanBeChangedAndHoldsOnMembersThatAreStartedLater(t *testing.T) {
	set := steady(t, Options{Users: []User{{Name: "ann", Password: "old"}}})
	before := set.URI()
	in := connect(t, before, func(*options.ClientOptions) {})
	if err := in.Ping(soon(t), nil); err != nil {
		t.Fatal(err)
	}
	if err := set.SetPassword("ann", "new"); err != nil {
		t.Fatal(err)
	}
	if err := set.SetPassword("bob", "new"); err == nil {
		t.Error("somebody who is no user has a password")
	}
	if err := in.Ping(soon(t), nil); err != nil {
		t.Errorf("who was logged in is out: %v", err)
	}
	for range 2 {
		if err := connect(t, set.URI(), func(*options.ClientOptions) {}).Ping(soon(t), nil); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if err := connect(t, before, func(*options.ClientOptions) {}).Ping(soon(t), nil); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
			t.Errorf("the old password: %v", err)
		}
		for _, m := range set.Members() {
			if err := m.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		if err := set.AwaitSecondaries(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
}
