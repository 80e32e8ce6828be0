package mongoconn

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// refuse makes the fake refuse every command with a code.
func (f *fake) refuse(code int32, labels ...string) {
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			doc := bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"}}
			if len(labels) > 0 {
				doc = append(doc, bson.E{Key: "errorLabels", Value: labels})
			}
			return doc
		}
	})
}

func TestAnotherHostIsAskedAfterErrorsOfTheMemberNotOfTheQuery(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	for _, code := range append(slices.Clone(retryableReads), 2, 9, 13, 43, 50, 59, 96, 211, 11000, 11601) {
		f.refuse(code)
		_, err := d.Run(patient(t), "game", raw(t, bson.D{{Key: "find", Value: "players"}, {Key: "maxTimeMS", Value: 10}}), nil)
		var cmd mongo.CommandError
		if !errors.As(err, &cmd) || cmd.Code != code {
			t.Fatalf("code %d comes as %v", code, err)
		}
		if got, want := OtherHostMayServe(err), slices.Contains(retryableReads, code); got != want {
			t.Errorf("code %d: %v, want %v", code, got, want)
		}
		if got, want := HostIsGone(err), code == 91 || code == 11600 || code == 11602 || code == 13436; got != want {
			t.Errorf("code %d: the host is gone: %v, want %v", code, got, want)
		}
	}
	f.refuse(462, "SystemOverloadedError", "RetryableError")
	before := f.count("ping")
	if err := d.Ping(patient(t)); !OtherHostMayServe(err) {
		t.Errorf("an overloaded server: %v", err)
	}
	if n := f.count("ping") - before; n != 1 {
		t.Errorf("an overloaded server was asked %d times", n)
	}
}

func TestACommandIsSentOnceAlsoWithADeadline(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	f.refuse(91)
	if err := d.Ping(patient(t)); err == nil {
		t.Fatal("a refused ping succeeds")
	}
	if n := f.count("ping"); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestTheDeadlineIsToldTheServerUnlessTheCommandBringsItsOwn(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	limits := make(chan []int64, 1)
	f.change(func() {
		f.reply = func(_ string, cmd bson.Raw) bson.D {
			var got []int64
			elements, _ := cmd.Elements()
			for _, e := range elements {
				if e.Key() == "maxTimeMS" {
					got = append(got, e.Value().AsInt64())
				}
			}
			limits <- got
			return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: 50}, {Key: "codeName", Value: "MaxTimeMSExpired"}, {Key: "errmsg", Value: "too late"}}
		}
	})
	for _, c := range []struct {
		cmd bson.D
		// own is the command's maxTimeMS, -1 where the deadline's is expected and 0 for
		// none.
		own int64
		run func(context.Context, string, bson.Raw, *mongo.Session) (bson.Raw, error)
	}{
		{bson.D{{Key: "find", Value: "players"}}, -1, d.Run},
		{bson.D{{Key: "find", Value: "players"}, {Key: "maxTimeMS", Value: 7}}, 7, d.Run},
		{bson.D{{Key: "getMore", Value: int64(1)}, {Key: "collection", Value: "players"}}, 0, d.Run},
		{bson.D{{Key: "find", Value: "players"}}, 0, d.RunCursor},
		{bson.D{{Key: "find", Value: "players"}, {Key: "maxTimeMS", Value: 7}}, 7, d.RunCursor},
	} {
		_, err := c.run(patient(t), "game", raw(t, c.cmd), nil)
		got := next(t, limits, "the command")
		switch {
		case c.own == -1 && (len(got) != 1 || got[0] < 1000 || got[0] > patience.Milliseconds()),
			c.own == 0 && len(got) != 0,
			c.own > 0 && (len(got) != 1 || got[0] != c.own):
			t.Errorf("%v is sent with maxTimeMS %v", c.cmd, got)
		}
		// A limit of the command's own is part of the query; the deadline's is ours.
		var cmd mongo.CommandError
		if !errors.As(err, &cmd) || cmd.Code != 50 || !mongo.IsTimeout(err) || OtherHostMayServe(err) != (c.own == -1) {
			t.Errorf("%v: too late on the server is %v", c.cmd, err)
		}
	}
}

func TestAReadThatOpensACursorEndsAtItsDeadlineAllTheSame(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr, PoolSize: 1})
	next(t, h.hellos, "a hello")
	release := make(chan struct{})
	defer close(release)
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			<-release
			return nil
		}
	})
	ctx, cancel := context.WithTimeout(patient(t), 100*time.Millisecond)
	defer cancel()
	_, err := d.RunCursor(ctx, "game", raw(t, bson.D{{Key: "find", Value: "players"}}), nil)
	if !errors.Is(err, context.DeadlineExceeded) || !OtherHostMayServe(err) {
		t.Errorf("a read that is out of time: %v", err)
	}
}

func TestAnotherHostIsAskedWhenThisOneDoesNotAnswer(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr, PoolSize: 1, ConnectTimeout: DefaultConnectTimeout}) // which ends the commands that wait for a server
	next(t, h.hellos, "a hello")
	arrived := make(chan struct{}, 10)
	release := make(chan struct{})
	defer close(release)
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			arrived <- struct{}{}
			<-release
			return nil
		}
	})
	for name, cmd := range map[string]bson.D{
		"a read":                         {{Key: "find", Value: "players"}},
		"a read with a limit of its own": {{Key: "find", Value: "players"}, {Key: "maxTimeMS", Value: 100_000}},
	} {
		err := untilSent(t, func(ctx context.Context) error {
			_, err := d.Run(ctx, "game", raw(t, cmd), nil)
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) || !OtherHostMayServe(err) {
			t.Errorf("%s that is out of time: %v", name, err)
		}
		next(t, arrived, "the command")
		release <- struct{}{}
	}

	ctx, cancel := context.WithCancel(patient(t))
	ends := make(chan error, 3)
	run := func(ctx context.Context) {
		_, err := d.Run(ctx, "admin", ping, nil)
		ends <- err
	}
	go run(ctx)
	next(t, arrived, "the command")
	cancel()
	if err := next(t, ends, "the cancelled command's end"); OtherHostMayServe(err) {
		t.Errorf("a cancelled read: %v", err)
	}
	release <- struct{}{}

	// One command is under way and two wait for its socket when the host goes.
	go run(patient(t))
	next(t, arrived, "the command")
	go run(patient(t))
	go run(patient(t))
	f.ln.Close()
	f.hangUp()
	for range 3 {
		if err := next(t, ends, "a command's end"); !OtherHostMayServe(err) {
			t.Errorf("a read from a lost host: %v", err)
		}
	}
}

func TestACommandThatHadNoSocketIsToldFromOneThatGetsNoReply(t *testing.T) {
	f := serve(t, nil)
	d, h := open(t, DirectConfig{Host: f.addr, PoolSize: 1})
	next(t, h.hellos, "a hello")
	arrived := make(chan struct{}, 10)
	release := make(chan struct{})
	defer close(release)
	f.change(func() {
		f.reply = func(string, bson.Raw) bson.D {
			arrived <- struct{}{}
			<-release
			return nil
		}
	})
	holds, drop := context.WithCancel(patient(t))
	defer drop()
	sent := make(chan error, 1)
	go func() { sent <- d.Ping(holds) }()
	next(t, arrived, "the command")
	waits, cancel := context.WithTimeout(patient(t), 10*time.Millisecond)
	defer cancel()
	if err := d.Ping(waits); !HadNoSocket(err) || !errors.Is(err, context.DeadlineExceeded) || !HostIsGone(err) {
		t.Errorf("one for which there was no socket: %v", err)
	}
	drop()
	next(t, sent, "the command's end")
	if err := untilSent(t, d.Ping); !errors.Is(err, context.DeadlineExceeded) || HostIsGone(err) {
		t.Errorf("one without a reply: %v", err)
	}
	next(t, arrived, "the command")
}

// untilSent calls do with a context that ends too soon for it, and with longer ones until the command
// was on the wire. The error is the last call's.
func untilSent(t *testing.T, do func(context.Context) error) error {
	t.Helper()
	for give := 100 * time.Millisecond; give < patience; give *= 2 {
		ctx, cancel := context.WithTimeout(patient(t), give)
		err := do(ctx)
		cancel()
		if err == nil {
			t.Fatal("there is a reply")
		}
		// The driver sends nothing for which a round trip does not fit any more: ErrDeadlineWouldBeExceeded.
		if !isUnsent(err) && !strings.Contains(err.Error(), "would be exceeded") {
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) || !OtherHostMayServe(err) {
			t.Errorf("not sent in %v: %v", give, err)
		}
	}
	t.Fatal("it is never sent")
	panic("unreachable")
}

func TestWithoutAServerAReadEndsAtTheSelectionTimeoutForAnotherHost(t *testing.T) {
	f := serve(t, nil)
	f.stop()
	d, _ := open(t, DirectConfig{Host: f.addr, ConnectTimeout: 100 * time.Millisecond})
	if err := d.Ping(patient(t)); !OtherHostMayServe(err) || !isUnsent(err) || !HostIsGone(err) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(patient(t))
	cancel()
	if err := d.Ping(ctx); OtherHostMayServe(err) || HostIsGone(err) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAnotherHostIsAskedWhenNoNewSocketCanBeOpened(t *testing.T) {
	for name, fault := range map[string]error{
		"a name that is gone":       &net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true},
		"a certificate for another": x509.HostnameError{Certificate: new(x509.Certificate), Host: "a.test"},
		"something else":            errTest,
		"a reset":                   &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNRESET},
		"no answer in time":         context.DeadlineExceeded,
	} {
		f := serve(t, nil)
		var broken atomic.Bool
		base := options.Client().SetDialer(dial(func(ctx context.Context) (net.Conn, error) {
			if broken.Load() {
				return nil, fault
			}
			return new(net.Dialer).DialContext(ctx, "tcp", f.addr)
		}))
		d, h := open(t, DirectConfig{Host: f.addr, Base: base})
		next(t, h.hellos, "a hello")
		broken.Store(true)
		if err := d.Ping(patient(t)); err == nil || !OtherHostMayServe(err) || !HostIsGone(err) || IsAuth(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAServerTooOldForTheDriverLeavesTheReadToOthers(t *testing.T) {
	f := serve(t, nil)
	f.says(member(f.addr, "rs0", bson.E{Key: "maxWireVersion", Value: 5}))
	d, h := open(t, DirectConfig{Host: f.addr})
	next(t, h.hellos, "a hello")
	if err := d.Ping(patient(t)); !OtherHostMayServe(err) {
		t.Error(err)
	}
}
