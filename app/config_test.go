package app

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

func TestAConfigThatCanNeverWorkIsRefusedByTheNameOfItsField(t *testing.T) {
	for want, c := range map[string]Config{
		"WriteLanes":     {WriteLanes: 1e9},
		"PointWorkers":   {PointWorkers: MaxWorkers + 1},
		"AfterWorkers":   {AfterWorkers: MaxWorkers + 1},
		"OtherWorkers":   {OtherWorkers: 1e9},
		"EventBuffer":    {EventBuffer: 1e12},
		"ResolveEvery":   {ResolveEvery: 30},
		"ReadTimeout":    {ReadTimeout: 5},
		"WriteTimeout":   {WriteTimeout: 10},
		"HungAfter":      {HungAfter: 250},
		"ConnectTimeout": {ConnectTimeout: 1},
		"MaxLag":         {MaxLag: 2},
		"Heartbeat":      {Heartbeat: time.Millisecond},
		"HedgeShare":     {HedgeShare: 2},
		"URI":            {URI: "mongodb://127.0.0.1:1/?readPrefrence=primary"},
	} {
		if want != "URI" {
			c.URI = "mongodb://127.0.0.1:1/?replicaSet=rs0"
		}
		mustRefuse(t, want, c)
	}
}

func TestAliasesThatContradictThemselvesAreRefused(t *testing.T) {
	for _, aliases := range []map[string]string{
		{"": "m:1"},
		{"a:1": ""},
		{"a:1": "m", "b:1": "M:27017"},
		{"A": "m:1", "a:27017": "n:1"},
	} {
		mustRefuse(t, "Aliases", Config{URI: "mongodb://a:1/?replicaSet=rs0", Aliases: aliases})
	}
}

func mustRefuse(t *testing.T, want string, c Config) {
	t.Helper()
	a, err := Start(t.Context(), c)
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.Field != want {
		t.Errorf("%s: %v", want, err)
	}
	if a != nil {
		_ = a.StopAndCancel()
		t.Errorf("%s: it was started", want)
	}
}

func TestAUserNeedsThePasswordThatItsMechanismNeeds(t *testing.T) {
	for uri, ok := range map[string]bool{
		"mongodb://game@127.0.0.1:1/?replicaSet=rs0":                                 false,
		"mongodb://game@127.0.0.1:1/?replicaSet=rs0&authMechanism=SCRAM-SHA-256":     false,
		"mongodb://game:@127.0.0.1:1/?replicaSet=rs0":                                true, // It says that it is empty.
		"mongodb://game:pw@127.0.0.1:1/?replicaSet=rs0":                              true,
		"mongodb://CN%3Dgame@127.0.0.1:1/?replicaSet=rs0&authMechanism=MONGODB-X509": true,
	} {
		c := Config{URI: uri}
		_, _, err := c.prepare()
		var ce *ConfigError
		if ok && err != nil || !ok && (!errors.As(err, &ce) || ce.Field != "URI" || !strings.Contains(ce.Reason, "password")) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	c := Config{URI: "mongodb://game@127.0.0.1:1/?replicaSet=rs0", ClientOptions: func(o *options.ClientOptions) {
		o.SetAuth(options.Credential{Username: "game", Password: "pw"})
	}}
	if _, _, err := c.prepare(); err != nil {
		t.Errorf("ClientOptions bring the password: %v", err)
	}
	for _, mechanism := range []string{"", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"} {
		mustRefuse(t, "ClientOptions", Config{URI: "mongodb://127.0.0.1:1/?replicaSet=rs0", ClientOptions: func(o *options.ClientOptions) {
			o.SetAuth(options.Credential{Username: "game", AuthMechanism: mechanism})
		}})
	}
}

func TestAnAppDoesNotStartInAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("shutting down"))
	if _, err := Start(ctx, Config{URI: "mongodb://127.0.0.1:1/?replicaSet=rs0"}); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("Start returns %v", err)
	}
}

func TestWhatMayBeMeantOtherwiseIsLogged(t *testing.T) {
	const set = "mongodb://127.0.0.1:1/?replicaSet=rs0"
	for _, c := range []struct {
		cfg  Config
		want string // "" for nothing
	}{
		{Config{URI: "mongodb://127.0.0.1:1/"}, "has no replicaSet"},
		{Config{URI: "mongodb://127.0.0.1:1/?directConnection=true"}, ""},
		{Config{URI: set}, ""},
		{Config{URI: set + "&wtimeoutMS=100"}, "wtimeoutMS is not used"},
		{Config{URI: set, Aliases: map[string]string{"127.0.0.1:1": "a"}}, ""},
		{Config{URI: set, Aliases: map[string]string{"127.0.0.1:2": "a"}}, `"host":"127.0.0.1:2","message":"Aliases names`},
		{Config{URI: set, Aliases: map[string]string{"127.0.0.1:2": "a"}, Discover: true}, ""},
	} {
		log := &lines{}
		c.cfg.Logger = zerolog.New(log).Level(zerolog.WarnLevel)
		a, err := Start(context.Background(), c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		var none context.Context
		if err := a.Stop(none); err != nil { // As good as one that never ends.
			t.Error(err)
		}
		log.mu.Lock()
		if got := log.text.String(); c.want == "" && (strings.Contains(got, "the URI") || strings.Contains(got, "Aliases")) || !strings.Contains(got, c.want) {
			t.Errorf("%s, %v: logged is %q, want %q", c.cfg.URI, c.cfg.Aliases, got, c.want)
		}
		log.mu.Unlock()
	}
}

// lines is where a logger may write to.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// The driver adds the two, and a sum below zero has passed before a host can answer: none was ever live.
func TestAHeartbeatThatIsMeantNeverToEndIsRefused(t *testing.T) {
	const uri = "mongodb://127.0.0.1:1/?replicaSet=rs0"
	mustRefuse(t, "Heartbeat", Config{URI: uri, Heartbeat: math.MaxInt64})
	mustRefuse(t, "ConnectTimeout", Config{URI: uri, ConnectTimeout: math.MaxInt64})
}

// Of two heartbeats that far apart, none said in time that a secondary was behind.
func TestAMaxLagThatIsShorterThanTheHeartbeatIsRefused(t *testing.T) {
	const uri = "mongodb://127.0.0.1:1/?replicaSet=rs0"
	mustRefuse(t, "MaxLag", Config{URI: uri, Heartbeat: time.Minute, MaxLag: 59 * time.Second})
	mustRefuse(t, "MaxLag", Config{URI: uri + "&readPreference=secondary&maxStalenessSeconds=90", Heartbeat: 2 * time.Minute})
	c := Config{URI: uri, Heartbeat: time.Minute, MaxLag: time.Minute}
	if _, _, err := c.prepare(); err != nil {
		t.Error(err)
	}
}

func TestTheURIsTimeoutIsTheDeadlineOfWhatTheConfigSaysNothingAbout(t *testing.T) {
	for timeout, want := range map[string]time.Duration{"": 0, "&timeoutMS=0": 0, "&timeoutMS=700": 700 * time.Millisecond} {
		c := Config{URI: "mongodb://127.0.0.1:1/?replicaSet=rs0" + timeout}
		if _, _, err := c.prepare(); err != nil || c.ReadTimeout != want || c.WriteTimeout != want {
			t.Errorf("%q: %v and %v, %v", timeout, c.ReadTimeout, c.WriteTimeout, err)
		}
		c.ReadTimeout, c.WriteTimeout = time.Second, 0
		if _, _, err := c.prepare(); err != nil || c.ReadTimeout != time.Second || c.WriteTimeout != want {
			t.Errorf("%q, with a ReadTimeout: %v and %v, %v", timeout, c.ReadTimeout, c.WriteTimeout, err)
		}
	}
}

func TestAnAppStartsAndLivesWhileNoNameServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := Start(t.Context(), Config{URI: "mongodb+srv://cluster.example.test/", Resolver: nowhere{}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		began := time.Now()
		err = a.Collection("game", "players").FindOne(context.Background(), map[string]int{"_id": 1}).Err()
		if !errors.Is(err, messages.ErrNoLiveHost) || time.Since(began) != DefaultReadTimeout || !strings.Contains(err.Error(), "name server") {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := a.StopAndCancel(); err != nil {
			t.Error(err)
		}
	})
}

func TestAClientThatIsMadeWhileTheAppStopsIsClosed(t *testing.T) {
	a, err := Start(t.Context(), Config{URI: "mongodb+srv://cluster.example.test/", Resolver: nowhere{}})
	if err != nil {
		t.Fatal(err)
	}
	uri, err := mongoconn.ParseURI("mongodb://127.0.0.1:1/?replicaSet=rs0")
	if err != nil {
		t.Fatal(err)
	}
	a.stopping.Store(true) // It has looked for a client, and found none.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.connect(ctx, uri); !errors.Is(err, messages.ErrStopped) || a.Client() != nil {
		t.Errorf("connected with %v", err)
	}
	if err := a.StopAndCancel(); err != nil { // Main looks for goroutines that are left.
		t.Error(err)
	}
}
