package evenkeel_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
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
			crowd := g.crowd(t, 4, unhurried, nil)
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
			ledger.mustBeApplied(t)
			g.mustBeUntouched(t, c.set.Member(stranger))
			g.mustBeRight(t)
		})
	}
}

// logins is how many of them the members have begun to check for the app: with the password that
// is there, or with another.
func (g *game) logins() (n int64) {
	for _, t := range g.tally() {
		n += t.Commands["saslContinue"]
	}
	return n
}

// loginRefused writes until the master knows that its login is refused: a login takes its
// time, and a write that has none is not told why.
func (g *game) loginRefused(t testing.TB) {
	t.Helper()
	mark := g.events.mark()
	w := g.insert("log", bson.D{{Key: "_id", Value: "refused"}})
	w.Deadline, w.Correlation = time.Now().Add(patience), 0
	g.inbox(t).send(g.Master(), w)
	await(t, g.events, mark, func(e messages.WritesHeld) bool { return strings.Contains(e.Reason, "login") })
}

func TestACertificateThatIsNobodysIsRefusedInSoManyWords(t *testing.T) {
	t.Parallel()
	opts := secured(replset.TLSMutual, true)
	opts.Users = append(opts.Users, replset.User{Name: "CN=somebody else", X509: true})
	c := ownSet(t, "a set with other credentials", opts)
	c.seed(t, "us")
	uri := "mongodb://" + c.host(0) + "," + c.host(1) + "/?authMechanism=MONGODB-X509&tls=true&replicaSet=" + c.set.Name()
	g := c.play(t, app.Config{URI: uri})
	for _, m := range []int{0, 1} {
		var refused *messages.LoginError
		lost := await(t, g.events, 0, of[messages.HostLost](c.host(m)))
		if !errors.As(lost.Err, &refused) || refused.Mechanism != "MONGODB-X509" || refused.Source != "$external" || refused.Code != 18 ||
			!strings.Contains(lost.Reason, "certificate's subject") {
			t.Errorf("%s is lost: %s", c.host(m), lost.Reason)
		}
	}
	g.loginRefused(t)
	w := g.insert("log", bson.D{{Key: "_id", Value: 1}})
	w.Deadline = time.Now().Add(500 * time.Millisecond)
	if rep := g.write(t, w); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrLoginRefused) {
		t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
	}
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestARefusedLoginIsTriedSlowlyHoweverMuchIsWritten(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a set with other credentials", secured(replset.TLSOff, true))
	c.seed(t, "us")
	uri := "mongodb://game:wrongword@" + c.host(0) + "," + c.host(1) + "/?authSource=admin&replicaSet=" + c.set.Name()
	log := &lines{}
	g := c.play(t, app.Config{URI: uri, WriteLanes: 4, Logger: zerolog.New(log).Level(zerolog.DebugLevel)})
	for _, m := range []int{0, 1} {
		await(t, g.events, 0, of[messages.HostLost](c.host(m)))
	}
	g.loginRefused(t)
	in := g.inbox(t)
	began, n := time.Now(), 0
	for ; time.Since(began) < 3*time.Second || n < 500; n++ {
		r, w := g.point(n%players), g.insert("log", bson.D{{Key: "_id", Value: n}})
		w.Key, r.Correlation, w.Correlation = fmt.Sprint(n), n, n
		r.Deadline, w.Deadline = time.Now().Add(2*time.Second), time.Now().Add(2*time.Second)
		in.send(g.Router(), r)
		in.send(g.Master(), w)
		in.await(t, 2*(n-500))
	}
	in.await(t, 2*n)
	// A few at once and then ever fewer, of each host's slave and of the master.
	if got := g.logins(); got > 60 {
		t.Errorf("%d logins for %d writes", got, n)
	}
	for k := range n {
		if rep := in.writes[k][0]; rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrLoginRefused) {
			t.Fatalf("write %d is %v: %v", k, rep.Outcome, rep.Err)
		}
	}
	g.stop(t)
	if text := log.String(); strings.Contains(text, "wrongword") || !strings.Contains(text, "login of") {
		t.Errorf("the log says %s", text)
	}
	g.mustHide(t, "wrongword")
	if held := byKind[messages.WritesHeld](g.events, 0); len(held) > 5 {
		t.Errorf("WritesHeld is told %d times", len(held))
	}
	if changed := byKind[messages.PrimaryChanged](g.events, 0); len(changed) > 20 {
		t.Errorf("PrimaryChanged is told %d times", len(changed))
	}
}

func TestAPasswordThatIsGoodAgainIsNoticed(t *testing.T) {
	t.Parallel()
	opts := secured(replset.TLSOff, true)
	opts.Members, opts.Priority = 3, map[int]float64{1: 0, 2: 0}
	c := ownSet(t, "passwords that change", opts)
	c.seed(t, "us")
	g := c.play(t, app.Config{WriteTimeout: patience})
	g.steady(t, 3)
	crowd := g.crowd(t, 4, patience, nil)
	crowd.more(t, 50)
	mark := g.events.mark()

	// Somebody has rotated it, and the game has the old one still.
	if err := c.set.SetPassword("game", "an0ther"); err != nil {
		t.Fatal(err)
	}
	crowd.more(t, 50) // Who is logged in stays so.
	crowd.mustBeFine(t)
	for _, m := range c.set.Members() {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitSteady(t)
	for _, m := range c.set.Members() {
		await(t, g.events, mark, func(e messages.HostLost) bool {
			return e.Host == m.Host() && errors.Is(e.Err, messages.ErrLoginRefused)
		})
	}
	in := g.inbox(t)
	for n := range 10 {
		w := g.insert("log", bson.D{{Key: "_id", Value: n}})
		w.Correlation = n
		in.send(g.Master(), w)
	}
	await(t, g.events, mark, func(e messages.WritesHeld) bool { return strings.Contains(e.Reason, "login") })
	w := g.insert("log", bson.D{{Key: "_id", Value: "too early"}})
	w.Deadline = time.Now().Add(300 * time.Millisecond)
	if rep := g.write(t, w); rep.Outcome != messages.NotApplied || !errors.Is(rep.Err, messages.ErrLoginRefused) {
		t.Errorf("a write is %v: %v", rep.Outcome, rep.Err)
	}
	mark = g.events.mark()
	if err := c.set.SetPassword("game", password); err != nil {
		t.Fatal(err)
	}
	good := time.Now()
	g.steady(t, 3)
	await[messages.WritesResumed](t, g.events, mark, nil)
	t.Logf("noticed after %v", time.Since(good))
	in.await(t, 10)
	for n := range 10 {
		if rep := in.writes[n][0]; rep.Outcome != messages.Applied {
			t.Errorf("write %d, which was held, is %v: %v", n, rep.Outcome, rep.Err)
		}
	}
	crowd = g.crowd(t, 4, patience, nil)
	crowd.more(t, 50)
	crowd.mustBeFine(t)
	g.mustHide(t, password)
}
