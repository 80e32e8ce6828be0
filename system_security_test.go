package evenkeel_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

const password = "pa:ss/w@rd%41"

func secured(mode replset.TLSMode, users bool) replset.Options {
	o := primaryFirst(4)
	o.TLS = mode
	if users {
		o.Users = []replset.User{{Name: "game", Password: password}}
	}
	return o
}

func TestTheAppWorksOverTLSAndWithALogin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mode  replset.TLSMode
		users bool
	}{
		{"TLS", replset.TLSServer, false},
		{"mutual TLS", replset.TLSMutual, false},
		{"SCRAM-SHA-256", replset.TLSOff, true},
		{"mutual TLS and SCRAM-SHA-256", replset.TLSMutual, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := ownSet(t, "a set with other credentials", secured(tt.mode, tt.users))
			c.seed(t, "us")
			g := c.play(t, app.Config{URI: c.only(0, 1, 2)})
			g.steady(t, 3)
			crowd := g.crowd(t, 4, unhurried, nil)
			ledger := g.ledger(t, 8)
			crowd.more(t, 100)
			mark := g.events.mark()

			// Identity is checked inside TLS as well.
			if err := c.set.SwapAddresses(2, stranger); err != nil {
				t.Fatal(err)
			}
			await(t, g.events, mark, of[messages.WrongHost](c.host(2)))
			ledger.more(t, 20)
			crowd.more(t, 100)
			crowd.mustBeFine(t)
			ledger.mustBeApplied(t)
			g.mustBeUntouched(t, c.set.Member(stranger))
			g.mustBeRight(t)
			g.mustHide(t, password)
		})
	}
}

// mustHide fails the test if a secret is in anything that the app tells of itself.
func (g *game) mustHide(t *testing.T, secret string) {
	t.Helper()
	var hidden secrets
	hidden.plant("a credential", secret)
	for _, e := range g.events.all() {
		if _, err := json.Marshal(e); err != nil {
			t.Errorf("%T does not encode: %v", e, err)
		}
		for _, s := range renderings(e) {
			if hidden.in(s) != "" {
				t.Errorf("a credential is in the event %s", s)
			}
		}
	}
	var dump strings.Builder
	if err := g.Dump(&dump); err != nil {
		t.Error(err)
	}
	for _, s := range []string{fmt.Sprintf("%+v", g.Stat()), dump.String()} {
		if hidden.in(s) != "" {
			t.Errorf("a credential is in the Stat, or in the Dump: %s", s)
		}
	}
}

func TestARefusedLoginIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a set with other credentials", secured(replset.TLSOff, true))
	c.seed(t, "us")
	const wrong = "hunter2-hunter2"
	hosts := c.host(0) + "," + c.host(1)
	g := c.play(t, app.Config{URI: "mongodb://game:" + wrong + "@" + hosts + "/?authSource=admin&replicaSet=" + c.set.Name()})
	for _, host := range strings.Split(hosts, ",") {
		lost := await(t, g.events, 0, of[messages.HostLost](host))
		if !strings.Contains(lost.Reason, "login") && !strings.Contains(lost.Reason, "uthentication") {
			t.Errorf("the event does not say that the login was refused: %s", lost.Reason)
		}
	}
	r := g.point(1)
	r.Deadline = time.Now().Add(300 * time.Millisecond)
	rep := g.read(t, r)
	if !errors.Is(rep.Err, messages.ErrNoLiveHost) || !strings.Contains(rep.Err.Error(), "uthentication") {
		t.Errorf("a read got %v", rep.Err)
	}
	g.loginRefused(t)
	w := g.insert("log", bson.D{{Key: "_id", Value: 1}})
	w.Deadline = time.Now().Add(500 * time.Millisecond)
	wrote := g.write(t, w)
	var refused *messages.LoginError
	if wrote.Outcome != messages.NotApplied || !errors.As(wrote.Err, &refused) || errors.Is(wrote.Err, messages.ErrNoPrimary) {
		t.Errorf("a write is %v: %v", wrote.Outcome, wrote.Err)
	} else if refused.User != "game" || refused.Code != 18 || refused.Host == "" {
		t.Errorf("a write says %+v", refused)
	}
	for _, s := range []string{rep.Err.Error(), fmt.Sprintf("%+v", rep.Err), fmt.Sprint(wrote.Err), fmt.Sprintf("%+v", wrote.Err)} {
		if strings.Contains(s, wrong) {
			t.Errorf("the password is in the error %s", s)
		}
	}
	g.mustHide(t, wrong)
	if live := byKind[messages.HostLive](g.events, 0); len(live) > 0 {
		t.Errorf("a host that refuses the login was live: %v", live[0])
	}
	if n := g.reads(); n[0] != 0 || n[1] != 0 {
		t.Errorf("the members have executed reads: %v", n)
	}
}

func TestWithoutItsCertificateNoHostIsLive(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a set with other certificates", secured(replset.TLSMutual, false))
	for name, change := range map[string]func(*tls.Config){
		"a client without a certificate": func(cfg *tls.Config) { cfg.Certificates = nil },
		"a client that trusts others":    func(cfg *tls.Config) { cfg.RootCAs = nil },
	} {
		g := c.play(t, app.Config{ConnectTimeout: patience, ClientOptions: func(o *options.ClientOptions) {
			cfg := c.set.ClientTLS()
			change(cfg)
			o.SetTLSConfig(cfg)
		}})
		for _, m := range c.set.Members() {
			lost := await(t, g.events, 0, of[messages.HostLost](m.Host()))
			if !strings.Contains(lost.Reason, "certificate") {
				t.Errorf("%s: the event does not say why: %s", name, lost.Reason)
			}
		}
		if live := byKind[messages.HostLive](g.events, 0); len(live) > 0 {
			t.Errorf("%s: a host was live: %v", name, live[0])
		}
	}
}
