package app

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
