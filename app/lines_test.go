package app

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// A host that is read from over its own sockets may be out of reach of the master's client.
func TestTheLineOfAHostSaysWhenWritesDoNotReachIt(t *testing.T) {
	set, err := replset.Start(replset.Options{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	a, err := Start(context.Background(), Config{URI: set.URI()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.StopAndCancel() })
	want := set.Member(0).Host() + " live (primary)"
	events := a.Events(messages.KindHostLive, messages.KindRoleChanged, messages.KindPrimaryChanged)
	defer events.Cancel()
	late, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond) // What Stat shows may come after its event.
	defer tick.Stop()
	for a.Stat().Primary == "" || !slices.Equal(a.writeLines(), []string{want}) {
		select {
		case <-events.Events():
		case <-tick.C:
		case <-late:
			t.Fatalf("its line is %q, want %q", a.writeLines(), want)
		}
	}
	elsewhere, err := mongoconn.OpenSet(mongoconn.SetConfig{Base: options.Client().SetHosts([]string{"127.0.0.1:1"})})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(s *mongoconn.Set) (old *mongoconn.Set) {
		a.mu.Lock()
		defer a.mu.Unlock()
		old, a.set = a.set, s
		return old
	}
	ours := swap(elsewhere)
	if got := a.writeLines(); len(got) != 1 || !strings.HasPrefix(got[0], want+", and not reached") {
		t.Errorf("%q", got)
	}
	if got := a.readLines(); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	swap(ours)
	elsewhere.Close()
	<-elsewhere.Closed()
}
