package app_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/messages"
)

func TestStatShowsHostsReadsAndWrites(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(100))
	for i := range 20 {
		if err := c.FindOne(soon(t), doc("_id", i)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	cur, err := c.Find(soon(t), doc(), options.Find().SetBatchSize(10))
	if err != nil {
		t.Fatal(err)
	}
	st := a.Stat()
	var served int64
	var open int
	for i, h := range st.Hosts {
		if h.Host != set.Member(i).Host() || !strings.Contains(set.URI(), h.Host) {
			t.Errorf("host %d is %s", i, h.Host)
		}
		if want := map[bool]messages.Role{true: messages.RolePrimary, false: messages.RoleSecondary}[i == 0]; h.State != slave.Live || h.Role != want {
			t.Errorf("%s is %s, %s", h.Host, h.State, h.Role)
		}
		served += h.Served
		open += h.Cursors
	}
	if st.Primary != set.Primary().Host() || served != 21 || open != 1 || st.Reads.Reads != 21 || st.Writes.Applied != 1 ||
		st.Writes.Accepted != 1 || st.Stopping || st.Events.Published < 4 || st.Restarts != 0 {
		t.Errorf("%+v", st)
	}
	if err := cur.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	st.Hosts[0].Host = "changed"
	if a.Stat().Hosts[0].Host == "changed" {
		t.Error("a snapshot shares its hosts with the next")
	}
	set.Member(1).Kill()
	eventually(t, "the loss is counted", func() bool { return a.Stat().Restarts > 0 && a.Stat().Hosts[1].State != slave.Live })
	if err := a.Stop(soon(t)); err != nil {
		t.Fatal(err)
	}
	if st := a.Stat(); !st.Stopping || st.Hosts[2].State != slave.Stopped {
		t.Errorf("after Stop: %+v", st)
	}
}

func TestErrorsTellWhatHappenedBefore(t *testing.T) {
	set := steady(t)
	a := start(t, set)
	c := seed(t, set, a, "players", numbered(1))
	for _, m := range set.Members() {
		m.Kill()
	}
	eventually(t, "no host is live, and no primary known", func() bool {
		st := a.Stat()
		for _, h := range st.Hosts {
			if h.State == slave.Live {
				return false
			}
		}
		return st.Primary == ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.FindOne(ctx, doc("_id", 0)).Err()
	if !errors.Is(err, messages.ErrNoLiveHost) {
		t.Fatalf("got %v", err)
	}
	host := set.Member(1).Host()
	var none *messages.NoPrimaryError
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.InsertOne(ctx, doc("_id", "late")); !errors.As(err, &none) || !strings.Contains(err.Error(), host+" waiting: ") && !strings.Contains(err.Error(), host+" dialing: ") {
		t.Errorf("a write got %v", err)
	}
	detail := messages.Detail(err)
	for _, want := range []string{err.Error(), host + ": checking → live", host + ": live → waiting: ", "HostLost: " + host} {
		if !strings.Contains(detail, want) {
			t.Errorf("%q is not in the detail:\n%s", want, detail)
		}
	}
	var out strings.Builder
	if err := a.Dump(&out); err != nil || !strings.Contains(out.String(), "host "+host+": ") || !strings.Contains(out.String(), "HostLost: "+host) {
		t.Errorf("%v; dumped:\n%s", err, out.String())
	}
}
