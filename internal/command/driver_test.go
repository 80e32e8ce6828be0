package command

import (
	"context"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/replset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// driver is a client of a set of its own, and what it puts on the wire.
type driver struct {
	*mongo.Client
	mu   sync.Mutex
	sent []bson.Raw
}

func connect(t *testing.T, opts *options.ClientOptions) *driver {
	t.Helper()
	set, err := replset.Start(replset.Options{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	d := &driver{}
	opts.ApplyURI(set.URI()).SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "killCursors" || e.CommandName == "endSessions" {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sent = append(d.sent, append(bson.Raw(nil), e.Command...))
	}})
	if d.Client, err = mongo.Connect(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// sends returns the one command that f makes the driver send. What the server says
// of it does not matter.
func (d *driver) sends(t *testing.T, f func()) bson.Raw {
	t.Helper()
	d.mu.Lock()
	d.sent = nil
	d.mu.Unlock()
	f()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sent) != 1 {
		t.Fatalf("the driver sent %d commands: %v", len(d.sent), d.sent)
	}
	return d.sent[0]
}

// added is what the driver adds to every command, or evenkeel on the wire.
var added = map[string]bool{
	"$db": true, "lsid": true, "$clusterTime": true, "maxTimeMS": true, "$readPreference": true,
	"txnNumber": true, "readConcern": true, "writeConcern": true,
}

// fields are what a command says, without what is added: the order of fields is
// of no matter but for the first.
func fields(t *testing.T, cmd bson.Raw) map[string]string {
	t.Helper()
	if err := valid(cmd); err != nil {
		t.Fatalf("% x: %v", []byte(cmd), err)
	}
	elements, err := cmd.Elements()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for i, el := range elements {
		if i == 0 {
			said["command"] = el.String()
		} else if !added[el.Key()] {
			if _, twice := said[el.Key()]; twice {
				t.Errorf("%s is there twice: %v", el.Key(), cmd)
			}
			said[el.Key()] = el.String()
		}
	}
	return said
}

func sameCommand(t *testing.T, got, want bson.Raw) {
	t.Helper()
	g, w := fields(t, got), fields(t, want)
	for key, v := range w {
		if g[key] != v {
			t.Errorf("%s:\n got %v\nwant %v", key, g[key], v)
		}
	}
	for key, v := range g {
		if _, ok := w[key]; !ok {
			t.Errorf("it has %v, which the driver does not send", v)
		}
	}
}
