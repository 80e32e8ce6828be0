package evenkeel_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// What is nobody's business but the game's and the servers'. It is planted wherever the game hands
// it over, and must not be in anything that an app tells of itself. The login has what is
// escaped in a URI.
const (
	secretUser     = "user-5f0c:d/1%"
	secretPassword = "pass-word-9b7e@7c/4%"
	secretOwner    = "owner-of-players-41d2"
	secretNote     = "content-of-documents-c06b"
	secretKey      = "key-of-streams-8ea3"
	secretSign     = "signed-token-77f019a" // 20 bytes, as a token's signature has
)

// secrets are texts to be looked for, as they are and as they come out of what encodes them.
type secrets []secret

type secret struct {
	name  string
	forms []string
}

func (s *secrets) plant(name, text string) {
	quoted, _ := json.Marshal(text)
	bytes := strings.Trim(fmt.Sprint([]byte(text)), "[]")
	forms := []string{
		text, url.QueryEscape(text), url.PathEscape(text), url.UserPassword(text, "").String(), strings.Trim(string(quoted), `"`),
		strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(text)), "="), hex.EncodeToString([]byte(text)), bytes, strings.ReplaceAll(bytes, " ", ","),
	}
	for i, f := range forms {
		forms[i] = strings.TrimSuffix(f, ":") // Of an empty password.
	}
	*s = append(*s, secret{name, forms})
}

// in names the secret that is in a text, "" for none.
func (s secrets) in(text string) string {
	for _, secret := range s {
		for _, form := range secret.forms {
			if strings.Contains(text, form) {
				return secret.name
			}
		}
	}
	return ""
}

// ofChaos are those that a storm plants. The user's name is none: an error that a login was refused says
// whose.
func ofChaos() (s secrets) {
	s.plant("the password", secretPassword)
	s.plant("the content of a document that is read", secretOwner)
	s.plant("the content of a document that is written", secretNote)
	s.plant("a key", secretKey)
	s.plant("a token's signature", secretSign)
	return s
}

// users are those of a storm's set: one of three storms has logins. What a login costs, on both sides and
// in one process, would leave the faults of all storms little to strike.
func (x *storm) users() []replset.User {
	if rand.New(rand.NewPCG(x.seed, uint64(x.members())<<8)).IntN(3) > 0 {
		return nil
	}
	return []replset.User{{Name: secretUser, Password: secretPassword}}
}

// signed is a token that says the same, with the planted signature.
func signed(t messages.Token) messages.Token {
	at, err := t.ClusterTime.LookupErr("$clusterTime", "clusterTime")
	if err != nil {
		return t
	}
	raw, err := bson.Marshal(bson.D{{Key: "$clusterTime", Value: bson.D{
		{Key: "clusterTime", Value: at},
		{Key: "signature", Value: bson.D{{Key: "hash", Value: bson.Binary{Data: []byte(secretSign)}}, {Key: "keyId", Value: int64(7)}}},
	}}})
	if err != nil {
		return t
	}
	t.ClusterTime = raw
	return t
}

// keepsSecrets holds a text of the app's against the secrets.
func (x *storm) keepsSecrets(p, what, text string) {
	if name := x.secrets.in(text); name != "" {
		x.violate("secret", "%q: %s is in %s: %s", p, name, what, text)
	}
}

// keepsSecret does so with an error.
func (x *storm) keepsSecret(p *party, err error) {
	if err == nil {
		return
	}
	x.keepsSecrets(p.name, "an error", fmt.Sprintf("%s\n%+v", messages.Detail(err), err))
}

// logTo is where an app's log goes.
type logTo struct {
	x    *storm
	name string
}

// Write takes a line of it.
func (l logTo) Write(line []byte) (int, error) {
	l.x.logged.Add(1)
	l.x.keepsSecrets(l.name, "the log", string(line))
	return len(line), nil
}

func (x *storm) logger(name string) zerolog.Logger { return zerolog.New(logTo{x, name}) }

// overhear reads all of an app's events, and now and then its Stat and its Dump, until the
// app has stopped.
func (x *storm) overhear(p *party) {
	sub := p.Events()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case e, more := <-sub.Events():
			if !more {
				x.look(p)
				return
			}
			x.heard.Add(1)
			if e, ok := e.(messages.WriteSettled); ok {
				p.settled[e.Write] = e.Outcome
			}
			for _, text := range renderings(e) {
				x.keepsSecrets(p.name, "an event", text)
			}
		case <-tick.C:
			x.look(p)
		}
	}
}

// look reads the app's Stat and its Dump.
func (x *storm) look(p *party) {
	st := p.Stat()
	flat, err := json.Marshal(st)
	if err != nil {
		x.violate("secret", "Stat does not encode: %v", err)
	}
	var dump strings.Builder
	if err := p.Dump(&dump); err != nil {
		x.violate("secret", "Dump returns %v", err)
	}
	x.keepsSecrets(p.name, "Stat", fmt.Sprintf("%+v\n%s", st, flat))
	x.keepsSecrets(p.name, "Dump", dump.String())
}

// renderings are the ways in which an event is shown.
func renderings(e messages.Event) []string {
	flat, err := json.Marshal(e)
	if err != nil {
		flat = []byte(err.Error())
	}
	texts := []string{e.String(), string(flat), fmt.Sprintf("%+v", e)}
	if lost, ok := e.(messages.HostLost); ok {
		texts = append(texts, messages.Detail(lost.Err), fmt.Sprintf("%+v", lost.Err))
	}
	return texts
}

func TestChaosWouldSeeASecret(t *testing.T) {
	s := ofChaos()
	token := signed(messages.Token{ClusterTime: mustMarshal(t, bson.D{{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: bson.Timestamp{T: 1}}}}})})
	doc := mustMarshal(t, bson.D{{Key: "note", Value: secretNote}})
	for name, text := range map[string]string{
		"the password": url.UserPassword("u", secretPassword).String(),
		"the content of a document that is written": doc.String(),
		"the content of a document that is read":    fmt.Sprintf("%q", secretOwner),
		"a key":                                     fmt.Sprint([]byte("{" + secretKey + "}")),
		"a token's signature":                       fmt.Sprintf("%+v", token),
	} {
		if got := s.in("something " + text + " more"); got != name {
			t.Errorf("in %s is found %q, want %q", text, got, name)
		}
	}
	if got := s.in("nothing"); got != "" {
		t.Errorf("in nothing is found %q", got)
	}
}

func mustMarshal(t *testing.T, doc any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
