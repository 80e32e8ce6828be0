package mongoconn

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// open opens a client of the set rs0 until the test ends.
func open(t testing.TB, cfg DirectConfig) (*Direct, *heard) {
	t.Helper()
	h := newHeard()
	cfg.Observer = h
	if cfg.Base == nil {
		cfg.Base = options.Client()
	}
	if cfg.Expect.SetName == "" && !cfg.Expect.AllowStandalone {
		cfg.Expect.SetName = "rs0"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = patience
	}
	d, err := OpenDirect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		next(t, d.Closed(), "the end of a closed client")
	})
	return d, h
}

func TestARightHostSaysHelloAndServes(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	hello := next(t, h.hellos, "a hello")
	if hello.Kind != Secondary || hello.Me != f.addr || hello.SetName != "rs0" || hello.ProcessID.IsZero() ||
		!hello.LastWrite.Equal(time.UnixMilli(1_700_000_000_000)) || hello.RTT <= 0 || hello.RTT > time.Minute || hello.MaxWireVersion != 21 {
		t.Errorf("the hello is %+v", hello)
	}
	next(t, h.hellos, "a second heartbeat")
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D { return bson.D{{Key: "n", Value: 7}, {Key: "ok", Value: 1}} }
	})
	sess, err := d.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer sess.EndSession(context.Background())
	reply, err := d.Run(patient(t), "game", raw(t, bson.D{{Key: "count", Value: "players"}}), sess)
	if err != nil || reply.Lookup("n").Int32() != 7 {
		t.Fatalf("%v, %v", reply, err)
	}
	var cmd bson.Raw
	f.mu.Lock()
	for _, got := range f.got {
		if got.Lookup("count").Type != 0 {
			cmd = got
		}
	}
	f.mu.Unlock()
	if cmd.Lookup("$db").StringValue() != "game" || cmd.Lookup("$readPreference", "mode").StringValue() != "primaryPreferred" {
		t.Errorf("the server got %v", cmd)
	}
	if lsid := cmd.Lookup("lsid").Document(); string(lsid) != string(sess.ID()) {
		t.Errorf("the session is %v, not %v", lsid, sess.ID())
	}
	if len(h.wrong)+len(h.lost) > 0 {
		t.Error("something is reported to be wrong")
	}
}

func TestAStrangerIsReportedAndGetsNoCommand(t *testing.T) {
	for name, doc := range map[string]func(addr string) bson.D{
		"another member":   func(string) bson.D { return member("other.test:1", "rs0") },
		"another set":      func(addr string) bson.D { return member(addr, "rs1") },
		"a standalone":     func(string) bson.D { return standalone() },
		"a mongos":         func(string) bson.D { return with(standalone(), bson.E{Key: "msg", Value: "isdbgrid"}) },
		"a member unnamed": func(addr string) bson.D { return member(addr, "rs0", bson.E{Key: "me"}) },
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, nil)
			f.says(doc(f.addr))
			d, h := open(t, DirectConfig{Host: f.addr})
			var wrong *messages.WrongHostError
			if err := next(t, h.wrong, "a refusal"); !errors.As(err, &wrong) || wrong.Address != f.addr || wrong.Remote != f.addr {
				t.Errorf("reported is %v", err)
			}
			ctx, cancel := context.WithTimeout(patient(t), 50*time.Millisecond)
			defer cancel()
			if err := d.Ping(ctx); !OtherHostMayServe(err) {
				t.Errorf("a ping: %v", err)
			}
			if f.count("ping") > 0 || len(h.hellos) > 0 {
				t.Error("the stranger was served with commands")
			}
		})
	}
}

func TestAnotherProtocolAtTheAddressIsAWrongHost(t *testing.T) {
	f := serve(t, nil)
	f.change(func() { f.greeting = []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") })
	_, h := open(t, DirectConfig{Host: f.addr})
	var wrong *messages.WrongHostError
	if err := next(t, h.wrong, "a refusal"); !errors.As(err, &wrong) || wrong.Field != "protocol" {
		t.Error(err)
	}
}

func TestASocketOfThePoolThatLeadsToAStrangerIsRefused(t *testing.T) {
	f := serve(t, nil)
	me, other := member(f.addr, "rs0"), member("other.test:1", "rs0")
	f.change(func() {
		f.hello = func(socket int) bson.D {
			if socket == 1 { // the monitor's
				return me
			}
			return other
		}
	})
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	// A socket may be called off with its pool when the driver's measuring of round trips
	// meets the stranger first.
	var wrong *messages.WrongHostError
	until(t, ticks(t), "a ping that meets the stranger", func(time.Time) bool {
		err := d.Ping(patient(t))
		if !OtherHostMayServe(err) || IsAuth(err) {
			t.Fatalf("%v: OtherHostMayServe %v, IsAuth %v", err, OtherHostMayServe(err), IsAuth(err))
		}
		return errors.As(err, &wrong)
	})
	if wrong.Got != "other.test:1" {
		t.Errorf("the ping fails with %v", wrong)
	}
	if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
		t.Error(err)
	}
	if f.count("ping") > 0 {
		t.Error("the stranger got the command")
	}
}

func TestAServerThatTakesAnotherNameIsRefusedOnItsLivingSocket(t *testing.T) {
	for name, doc := range map[string]func(addr string) bson.D{
		"another name": func(string) bson.D { return member("renamed.test:1", "rs0") },
		"another set":  func(addr string) bson.D { return member(addr, "rs1") },
		"no set":       func(string) bson.D { return standalone() },
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, nil)
			_, h := open(t, DirectConfig{Host: f.addr})
			next(t, h.hellos, "a hello")
			f.says(doc(f.addr))
			if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
				t.Error(err)
			}
		})
	}
}

// The test above is passed by what the driver does as well: it opens a socket anew, which is refused.
func TestAHeartbeatOfAnotherNameIsNoHello(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	d.heartbeat(&event.ServerHeartbeatSucceededEvent{Reply: event.ServerDescription{Kind: "RSSecondary", CanonicalAddr: "renamed.test:1", SetName: "rs0"}})
	var wrong *messages.WrongHostError
	if err := next(t, h.wrong, "a refusal"); !errors.As(err, &wrong) || wrong.Field != "me" || wrong.Remote != "" {
		t.Error(err)
	}
	for len(h.hellos) > 0 {
		if hello := <-h.hellos; hello.Me != f.addr {
			t.Errorf("it is told of %q", hello.Me)
		}
	}
}

func TestWhatAMemberIsShowsInItsHellos(t *testing.T) {
	f := serve(t, nil)
	_, h := open(t, DirectConfig{Host: f.addr})
	other := bson.E{Key: "secondary", Value: false}
	for _, c := range []struct {
		doc  bson.D
		want Kind
	}{
		{member(f.addr, "rs0"), Secondary},
		{member(f.addr, "rs0", asPrimary(1)...), Primary},
		{member(f.addr, "rs0", other), Recovering},
		{member(f.addr, "rs0", other, bson.E{Key: "arbiterOnly", Value: true}), Arbiter},
		{ghost(), Ghost},
		{member(f.addr, "rs0"), Secondary},
	} {
		// The monitor's first socket is told. A new one, such as that for round trips, would be refused at a ghost.
		f.change(func() {
			f.hello = func(socket int) bson.D {
				if socket == 1 {
					return c.doc
				}
				return member(f.addr, "rs0")
			}
		})
		until(t, h.hellos, c.want.String(), func(h Hello) bool { return h.Kind == c.want })
	}
	if len(h.wrong)+len(h.lost) > 0 {
		t.Error("something is reported to be wrong")
	}
}

func TestAHiddenMemberIsToldFromARecoveringOne(t *testing.T) {
	f := serve(t, nil)
	hidden := member(f.addr, "rs0", bson.E{Key: "hosts", Value: bson.A{"a:1", "b:1"}}, bson.E{Key: "hidden", Value: true})
	listed := with(hidden, bson.E{Key: "passives", Value: bson.A{f.addr}})
	f.says(hidden)
	_, h := open(t, DirectConfig{Host: f.addr})
	if hello := next(t, h.hellos, "a hello"); hello.Kind != Hidden {
		t.Errorf("it is %v", hello.Kind)
	}
	// The same sockets stay: what only their first hello would tell is of no use here.
	for _, c := range []struct {
		doc  bson.D
		want Kind
	}{
		{with(listed, bson.E{Key: "hidden", Value: false}), Secondary},
		{with(listed, bson.E{Key: "hidden", Value: false}, bson.E{Key: "secondary", Value: false}), Recovering},
		{hidden, Hidden},
	} {
		f.says(c.doc)
		until(t, h.hellos, c.want.String(), func(h Hello) bool { return h.Kind == c.want })
	}
}

func TestAMemberThatItsOwnConfigDoesNotListIsDelayed(t *testing.T) {
	f := serve(t, nil)
	delayed := member(f.addr, "rs0", bson.E{Key: "hosts", Value: bson.A{"a:1", "b:1"}}, bson.E{Key: "passive", Value: true},
		bson.E{Key: "secondaryDelaySecs", Value: int64(60)})
	_, h := open(t, DirectConfig{Host: f.addr})
	// The same sockets stay: what only their first hello would tell is of no use here.
	for _, c := range []struct {
		doc  bson.D
		want Kind
	}{
		{delayed, Delayed},
		{with(delayed, bson.E{Key: "passives", Value: bson.A{f.addr}}), Secondary},
		{with(delayed, bson.E{Key: "hosts", Value: bson.A{"a:1", f.addr}}), Secondary},
		{delayed, Delayed},
		{with(delayed, bson.E{Key: "hidden", Value: true}), Hidden},
	} {
		f.says(c.doc)
		until(t, h.hellos, c.want.String(), func(h Hello) bool { return h.Kind == c.want })
	}
}

func TestAGhostIsRefusedUntilItIsAMember(t *testing.T) {
	f := serve(t, nil)
	f.says(ghost())
	d, h := open(t, DirectConfig{Host: f.addr})
	var notMember *NotMemberError
	if err := next(t, h.wrong, "a refusal"); !errors.As(err, &notMember) || errors.Is(err, messages.ErrWrongHost) {
		t.Errorf("reported is %v", err)
	}
	f.says(member(f.addr, "rs0"))
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); err != nil {
		t.Error(err)
	}
}

// serveAgain serves at the address of a fake that was stopped.
func serveAgain(t *testing.T, f *fake) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, nil)
}

func TestAHostThatIsLostIsReportedAndFoundAgain(t *testing.T) {
	f := serve(t, nil)
	_, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	f.stop()
	if err := next(t, h.lost, "a loss"); IsRefusal(err) || IsAuth(err) {
		t.Errorf("reported is %v", err)
	}
	for len(h.hellos) > 0 {
		<-h.hellos
	}
	serveAgain(t, f)
	next(t, h.hellos, "a hello after the return")
}

func TestAHostThatIsDownFromTheStartIsReported(t *testing.T) {
	f := serve(t, nil)
	f.stop()
	_, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.lost, "a failure")
}

func TestAStandaloneRestartDoesNotEndTheClientForGood(t *testing.T) {
	// The bare driver drops a server that has answered once as a standalone, and
	// never looks for it again.
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	f.stop()
	alone := serveAgain(t, f)
	alone.says(standalone())
	if err := next(t, h.wrong, "a refusal"); !errors.Is(err, messages.ErrWrongHost) {
		t.Error(err)
	}
	alone.stop()
	for len(h.hellos) > 0 {
		<-h.hellos
	}
	serveAgain(t, f)
	next(t, h.hellos, "a hello after the return")
	if err := d.Ping(patient(t)); err != nil {
		t.Error(err)
	}
	for len(h.lost) > 0 {
		if err := <-h.lost; errors.Is(err, ErrRemoved) {
			t.Error("the driver has dropped the server")
		}
	}
}

func TestAServerThatTheDriverDropsIsLost(t *testing.T) {
	// With the options of a direct client it has no reason to. If it does so all
	// the same, the client must not be waited for.
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	d.options(DirectConfig{Host: f.addr, Base: options.Client()}).ServerMonitor.ServerClosed(&event.ServerClosedEvent{})
	until(t, h.lost, "the news of the drop", func(err error) bool { return errors.Is(err, ErrRemoved) })
}

func TestAStandaloneServesWhereItIsWelcome(t *testing.T) {
	f := serve(t, nil)
	f.says(standalone())
	d, h := open(t, DirectConfig{Host: f.addr, Expect: Expect{AllowStandalone: true, Learned: new(SetName)}})
	if hello := next(t, h.hellos, "a hello"); hello.Kind != Standalone || hello.Me != "" {
		t.Errorf("the hello is %+v", hello)
	}
	if err := d.Ping(patient(t)); err != nil {
		t.Error(err)
	}
}

func TestAnEmbeddersMonitorsAreCalledToo(t *testing.T) {
	f := serve(t, nil)
	var heartbeats, sockets, commands atomic.Int32
	base := options.Client().
		SetServerMonitor(&event.ServerMonitor{ServerHeartbeatSucceeded: func(*event.ServerHeartbeatSucceededEvent) { heartbeats.Add(1) }}).
		SetPoolMonitor(&event.PoolMonitor{Event: func(*event.PoolEvent) { sockets.Add(1) }}).
		SetMonitor(&event.CommandMonitor{Started: func(context.Context, *event.CommandStartedEvent) { commands.Add(1) }})
	d, h := open(t, DirectConfig{Host: f.addr, Base: base})
	next(t, h.hellos, "a hello")
	next(t, h.hellos, "a second hello") // by now theirs has seen the first
	if err := d.Ping(patient(t)); err != nil {
		t.Fatal(err)
	}
	if heartbeats.Load() == 0 || sockets.Load() == 0 || commands.Load() != 1 {
		t.Errorf("called for %d heartbeats, %d pool events, %d commands", heartbeats.Load(), sockets.Load(), commands.Load())
	}
	if base.Dialer != nil || base.Hosts != nil || base.Direct != nil {
		t.Error("the embedder's options were changed")
	}
}

func TestAnEmbeddersDialerOpensTheSockets(t *testing.T) {
	f := serve(t, nil)
	f.says(member("far.away:1", "rs0"))
	base := options.Client().SetDialer(dial(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", f.addr)
	}))
	d, h := open(t, DirectConfig{Host: "far.away:1", Base: base})
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); err != nil {
		t.Error(err)
	}
}

func TestCloseReturnsAtOnceAndEndsAllWithASilentServer(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr, ConnectTimeout: time.Hour, Heartbeat: time.Hour})
	next(t, h.hellos, "a hello")
	f.change(func() { f.silent = true })
	failed := make(chan error, 1)
	go func() {
		_, err := d.Run(context.Background(), "admin", ping, nil)
		failed <- err
	}()
	// The monitor has two sockets, for its stream and for round trips.
	until(t, ticks(t), "a socket for the command", func(time.Time) bool { return f.opened() == 3 })
	closed := make(chan struct{})
	go func() {
		d.Close()
		d.Close()
		close(closed)
	}()
	next(t, closed, "the return of Close")
	next(t, d.Closed(), "the end")
	if err := next(t, failed, "the command's end"); !OtherHostMayServe(err) {
		t.Errorf("the command under way ends with %v", err)
	}
	if len(h.lost)+len(h.wrong) > 0 {
		t.Error("closing is reported as a loss")
	}
	_, err := d.Run(patient(t), "admin", ping, nil)
	if !OtherHostMayServe(err) {
		t.Errorf("a command on a closed client: %v", err)
	}
}

// ticks is for waiting until something can be seen.
func ticks(t testing.TB) <-chan time.Time {
	tick := time.NewTicker(time.Millisecond)
	t.Cleanup(tick.Stop)
	return tick.C
}

func TestOpenDirectSaysWhatCanNeverWork(t *testing.T) {
	if _, err := OpenDirect(DirectConfig{Host: "a:b", Base: options.Client(), Observer: newHeard()}); err == nil {
		t.Error("a host without a port number is taken")
	}
	base := options.Client().SetAuth(options.Credential{Username: "u", Password: "s3cretword", AuthMechanism: "s3cretword"})
	_, err := OpenDirect(DirectConfig{Host: "a:1", Base: base, Observer: newHeard()})
	if err == nil || strings.Contains(err.Error(), "s3cretword") {
		t.Errorf("an unknown mechanism: %v", err)
	}
}
