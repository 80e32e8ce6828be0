package evenkeel_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// withFiles lets the URI name the set's certificates by their files.
func (c *cluster) withFiles(t testing.TB) {
	t.Helper()
	authority, client := c.set.ClientPEM()
	c.pem = t.TempDir()
	query := url.Values{}
	for key, pem := range map[string][]byte{"tlsCAFile": authority, "tlsCertificateKeyFile": client} {
		path := filepath.Join(c.pem, key+".pem")
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		query.Set(key, path)
	}
	c.uri += "&" + query.Encode()
}

func TestTheAppLogsInWithACertificate(t *testing.T) {
	for _, files := range []bool{true, false} {
		t.Run(map[bool]string{true: "of a file that the URI names", false: "of ClientOptions"}[files], func(t *testing.T) {
			t.Parallel()
			opts := secured(replset.TLSMutual, false)
			opts.Users = []replset.User{{Name: replset.ClientSubject, X509: true}}
			c := ownSet(t, "a set with other credentials", opts)
			c.seed(t, "us")
			var change func(*options.ClientOptions)
			if files {
				c.withFiles(t)
			} else {
				change = func(o *options.ClientOptions) {
					o.SetTLSConfig(c.set.ClientTLS()).SetAuth(options.Credential{AuthMechanism: "MONGODB-X509"})
				}
			}
			g := c.play(t, app.Config{URI: c.only(0, 1, 2), ClientOptions: change})
			g.steady(t, 3)
			crowd := g.crowd(t, 4, 2*time.Second, nil)
			ledger := g.ledger(t, 8)
			crowd.more(t, 100)
			mark := g.events.mark()

			// Identity is checked before the certificate's user is anybody.
			if err := c.set.SwapAddresses(2, stranger); err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.WrongHost](c.host(2)))
			ledger.more(t, 20)
			if err := c.set.RestoreAddresses(); err != nil {
				t.Fatal(err)
			}
			crowd.moreAt(t, c.host(2), 20)
			crowd.mustBeFine(t)
			if rest := ledger.audit(t); len(rest) > 0 {
				t.Errorf("%d writes were not applied, such as: %v", len(rest), rest[0].Err)
			}
			g.mustBeUntouched(t, c.set.Member(stranger))
			g.mustBeRight(t)
		})
	}
}
