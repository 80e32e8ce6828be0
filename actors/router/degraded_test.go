package router

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// watched runs a test with a router whose events of reads come as their reasons, "" for
// that they are restored.
func watched(t *testing.T, cfg Config, f func(r *Router, told func() []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		reasons := make(chan string, 100)
		cfg.Encoder, cfg.SlowStart = &command.Encoder{}, -1
		cfg.Hosts = func() []string { return []string{"a:1 live"} }
		cfg.Emit = func(e messages.Event) {
			switch e := e.(type) {
			case messages.ReadsDegraded:
				reasons <- e.Reason
			case messages.ReadsRestored:
				reasons <- ""
			}
		}
		r, err := New(system, cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(r, func() (got []string) {
			synctest.Wait()
			for len(reasons) > 0 {
				got = append(got, <-reasons)
			}
			return got
		})
		r.Stop()
		r.Close()
		system.Shutdown()
		time.Sleep(time.Minute)
	})
}

var (
	primary   = request.Member{Primary: true}
	secondary = request.Member{}
	east      = request.Member{Tags: map[string]string{"dc": "east"}}
	eastMain  = request.Member{Primary: true, Tags: map[string]string{"dc": "east"}}
	inEast    = []messages.TagSet{{"dc": "east"}}
)

func TestReadsAreDegradedWhenTheyCannotGoWhereTheAppWantsThem(t *testing.T) {
	const fine = ""
	for _, c := range []struct {
		cfg  Config
		live []request.Member
		want string
	}{
		{Config{}, nil, "no host is live: reads wait"},
		{Config{}, []request.Member{primary}, "no secondary is live: reads go to the primary"},
		{Config{}, []request.Member{secondary}, fine},
		{Config{NoPrimaryFallback: true}, []request.Member{primary}, "no secondary is live: reads wait"},
		{Config{From: messages.FromSecondariesOnly}, []request.Member{primary}, "no secondary is live: reads wait"},
		{Config{From: messages.FromSecondariesOnly}, []request.Member{secondary}, fine},
		{Config{From: messages.FromAll}, []request.Member{primary}, fine},
		{Config{From: messages.FromPrimary}, []request.Member{secondary}, "no primary is live: reads wait"},
		{Config{From: messages.FromPrimary}, []request.Member{primary}, fine},
		{Config{From: messages.FromPrimaryPreferred}, []request.Member{secondary}, "no primary is live: reads go to secondaries"},
		{Config{From: messages.FromPrimaryPreferred}, []request.Member{primary}, fine},
		{Config{Tags: inEast}, []request.Member{primary, secondary}, "no secondary that has the tags is live: reads go to the primary"},
		{Config{Tags: inEast}, []request.Member{secondary}, "no secondary that has the tags is live: reads wait"},
		{Config{Tags: inEast}, []request.Member{eastMain, secondary}, "no secondary that has the tags is live: reads go to the primary"},
		{Config{Tags: inEast}, []request.Member{primary, east}, fine},
		{Config{Tags: []messages.TagSet{{"dc": "west"}, {}}}, []request.Member{primary, secondary}, fine},
		{Config{Tags: inEast, From: messages.FromAll}, []request.Member{primary, secondary}, "no host that has the tags is live: reads wait"},
		{Config{Tags: inEast, From: messages.FromAll}, []request.Member{eastMain}, fine},
		{Config{Tags: inEast, From: messages.FromPrimary}, []request.Member{primary}, fine},
		{Config{Tags: inEast, From: messages.FromPrimaryPreferred}, []request.Member{secondary}, "no primary is live, and no secondary that has the tags: reads wait"},
		{Config{Tags: inEast, From: messages.FromPrimaryPreferred}, []request.Member{east}, "no primary is live: reads go to secondaries"},
	} {
		watched(t, c.cfg, func(r *Router, told func() []string) {
			for i, as := range c.live {
				r.Join(&desk{name: string(rune('a'+i)) + ":1", inc: uint64(i + 1)}, as)
			}
			if got := told(); len(got) != 0 {
				t.Errorf("told %q while the hosts connect", got)
			}
			time.Sleep(startGrace)
			want := []string{c.want}
			if c.want == fine {
				want = nil
			}
			if got := told(); !slices.Equal(got, want) {
				t.Errorf("%v from %v with %v live: told %q, want %q", c.cfg.Tags, r.cfg.From, c.live, got, want)
			}
			// A read goes where the event says.
			reply := make(chan *messages.ReadReply, 1)
			cancel := r.Submit(byID(1), func(rep *messages.ReadReply) { reply <- rep })
			waits, falls := strings.HasSuffix(c.want, "wait"), strings.Contains(c.want, "go to")
			if st := r.Stat(); (st.Parked == 1) != waits || (st.Fallbacks == 1) != falls {
				t.Errorf("%v from %v with %v live: %+v, but told %q", c.cfg.Tags, r.cfg.From, c.live, st, c.want)
			}
			cancel(nil)
			<-reply
			all := &desk{name: "x:1", inc: 100}
			r.Join(all, eastMain)
			r.Join(&desk{name: "y:1", inc: 101}, east)
			if got := told(); c.want != fine && (len(got) == 0 || got[len(got)-1] != "") {
				t.Errorf("%v from %v: told %q when all are live again", c.cfg.Tags, r.cfg.From, got)
			}
		})
	}
}

// The event is that of reads which follow the app's settings; a read of other ones is counted, and
// its error says what it wanted.
func TestAReadWithSettingsOfItsOwnIsCountedAndNoEvent(t *testing.T) {
	watched(t, Config{}, func(r *Router, told func() []string) {
		main := &desk{name: "a:1", inc: 1}
		r.Join(main, primary)
		r.Join(&desk{name: "b:1", inc: 2}, secondary)
		time.Sleep(startGrace)
		reply := make(chan *messages.ReadReply, 1)
		ask := func(from messages.From, tags []messages.TagSet) {
			m := byID(1)
			m.From, m.Tags = from, tags
			r.Submit(m, func(rep *messages.ReadReply) { reply <- rep })
		}
		ask(messages.FromDefault, inEast)
		read, _ := main.last(t)
		if st := r.Stat(); st.Fallbacks != 1 || st.Parked != 0 {
			t.Errorf("%+v, want a read that has fallen back", st)
		}
		read.Reply(&messages.ReadReply{})
		<-reply
		ask(messages.FromSecondariesOnly, inEast)
		if st := r.Stat(); st.Fallbacks != 1 || st.Parked != 1 {
			t.Errorf("%+v, want a read that waits", st)
		}
		var none *messages.NoLiveHostError
		rep := <-reply
		if !errors.As(rep.Err, &none) || none.From != messages.FromSecondariesOnly || len(none.Tags) != 1 || len(none.Hosts) != 1 {
			t.Errorf("got %v", rep.Err)
		}
		if got := told(); len(got) != 0 {
			t.Errorf("told %q, though all who do not say where are served", got)
		}
	})
}

func TestReadsAreRestoredOnceAndTheStopTellsNothing(t *testing.T) {
	watched(t, Config{}, func(r *Router, told func() []string) {
		a, b := &desk{name: "a:1", inc: 1}, &desk{name: "b:1", inc: 2}
		r.Join(a, primary)
		r.Join(b, secondary)
		time.Sleep(startGrace)
		r.Leave(b)
		r.Leave(b)
		r.Leave(a)
		r.Join(b, secondary)
		r.Join(b, secondary)
		want := []string{"no secondary is live: reads go to the primary", "no host is live: reads wait", ""}
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		r.Stop()
		r.Leave(b)
		if got := told(); len(got) != 0 {
			t.Errorf("told %q after the stop", got)
		}
	})
}
