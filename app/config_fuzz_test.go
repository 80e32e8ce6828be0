package app

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// nowhere is a network that leads nowhere, and a name server that does not answer.
type nowhere struct{}

var errNowhere = errors.New("nowhere")

func (nowhere) DialContext(context.Context, string, string) (net.Conn, error) { return nil, errNowhere }
func (nowhere) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errNowhere
}
func (nowhere) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, errNowhere
}
func (nowhere) LookupTXT(context.Context, string) ([]string, error) { return nil, errNowhere }

// numbers are what is drawn for a field of Config: few bits of a fuzz input, so that most of its
// fields are as they should be.
var numbers = []int64{
	0, 0, 0, 0, 1, 2, 4, 100, 1000, 1024, 1025, 100_000, -1, int64(time.Millisecond), int64(time.Millisecond) - 1, int64(500 * time.Millisecond), int64(time.Second),
	int64(time.Minute), int64(time.Hour), int64(24 * time.Hour), math.MaxInt32, math.MaxInt64 / 2, math.MaxInt64, math.MinInt64,
}

// drawn makes a Config of a fuzz input.
func drawn(uri, alias, tag string, share float64, raw []byte) Config {
	next := func() int64 {
		if len(raw) == 0 {
			return 0
		}
		n := numbers[int(raw[0])%len(numbers)]
		raw = raw[1:]
		return n
	}
	d := func() time.Duration { return time.Duration(next()) }
	n := func() int { return int(next()) }
	c := Config{
		URI: uri, Policy: Policy(next()), From: messages.From(next()), NoPrimaryFallback: n() > 0, Discover: n() > 0, NoBatch: n() > 0, Hedge: n() > 0, HedgeShare: share,
		ReadTimeout: d(), WriteTimeout: d(), MaxLag: d(), SlowStart: d(), HungAfter: d(), Heartbeat: d(), ConnectTimeout: d(), ResolveEvery: d(),
		ReadQueue: n(), ReadQueueBytes: n(), WriteQueue: n(), WriteQueueBytes: n(), WriteLanes: n(), PointWorkers: n(), OtherWorkers: n(), HostQueue: n(), MaxCursors: n(), EventBuffer: n(), AfterWorkers: n(),
	}
	if at, member, ok := strings.Cut(alias, "="); ok {
		c.Aliases = map[string]string{at: member, tag: member}
	}
	if k, v, ok := strings.Cut(tag, ":"); ok {
		c.Tags = []messages.TagSet{{k: v}, {}, nil}
	}
	return c
}

// FuzzConfig starts an app with whatever Config there may be: that is refused by the name of the
// field, or an app starts, at once, and stops.
func FuzzConfig(f *testing.F) {
	for _, uri := range []string{
		"", "mongodb://a", "mongodb://a,b:1,[::1]:2/db?replicaSet=rs0", "mongodb+srv://cluster.example.test/?w=1", "mongodb://%2Ftmp%2Fmongodb.sock",
		"mongodb://u:p@a/?readPreference=nearest&readPreferenceTags=dc:east,x:y&readPreferenceTags=&maxStalenessSeconds=90", "mongodb://a/?directConnection=true&w=0",
		"mongodb://a/?authMechanism=MONGODB-X509&tls=true", "mongodb://a/?compressors=zstd,snappy&maxPoolSize=0&minPoolSize=9", "mongodb://a/?w=tag&wtimeoutMS=1&journal=true",
		"mongodb://a/?readConcernLevel=x&retryWrites=false&appName=%00", "mongodb://a/?loadBalanced=true", "mongodb://u@a/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure",
	} {
		f.Add(uri, "", "dc:east", 0.05, []byte(nil))
	}
	f.Add("mongodb://a", "a:27017=b:1", "c", 0.0, []byte(nil))
	f.Add("mongodb://a", "a:27017=b:1", "", 0.0, []byte(nil))
	for field := range 25 {
		for _, n := range []int64{-1, 1, math.MaxInt64} {
			f.Add("mongodb://a,b/?replicaSet=rs0", "", "", 0.0, append(make([]byte, field), byte(slices.Index(numbers, n))))
		}
	}
	f.Add("mongodb://a", "", "", math.NaN(), []byte(nil))
	f.Fuzz(func(t *testing.T, uri, alias, tag string, share float64, raw []byte) {
		if strings.Contains(strings.ToLower(uri), "file") || len(uri) > 4096 {
			t.Skip("the driver reads the files that a URI names, such as /dev/zero, to their end")
		}
		checkConfig(t, drawn(uri, alias, tag, share, raw))
	})
}

func checkConfig(t *testing.T, c Config) {
	c.Resolver = nowhere{}
	c.ClientOptions = func(o *options.ClientOptions) { o.SetDialer(nowhere{}) }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	a, err := Start(context.Background(), c)
	took := time.Since(began)
	if err == nil {
		err = a.StopAndCancel()
		if err != nil {
			t.Errorf("Stop: %v", err)
		}
	} else if bad := (*ConfigError)(nil); !errors.As(err, &bad) || bad.Field == "" || bad.Reason == "" {
		t.Errorf("%T: %v", err, err)
	}
	runtime.ReadMemStats(&after)
	if took > patience || time.Since(began) > 2*patience {
		t.Errorf("it takes %v to start, and %v in all", took, time.Since(began))
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<20 {
		t.Errorf("it takes %d MB", got>>20)
	}
}

// patience is how long anything may take.
const patience = 10 * time.Second
