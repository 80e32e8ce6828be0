package mongoconn

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAConnectionStringIsTakenApart(t *testing.T) {
	u, err := ParseURI("mongodb://player:s3cret@A.test,b.test:2000,a.test:27017/game?replicaSet=rs0&readPreference=secondary&w=majority&appName=x")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.test:27017", "b.test:2000"}; !slices.Equal(u.Hosts, want) {
		t.Errorf("the hosts are %v, want %v", u.Hosts, want)
	}
	if u.SetName != "rs0" || !u.HasReadPreference || !u.HasWriteConcern || u.Direct || u.SRV() != "" || *u.Options.AppName != "x" || u.Options.Auth.Password != "s3cret" {
		t.Errorf("parsed is %+v", u)
	}
	u, err = ParseURI("mongodb://localhost")
	if err != nil || u.SetName != "" || u.HasReadPreference || u.HasWriteConcern || !slices.Equal(u.Hosts, []string{"localhost:27017"}) {
		t.Errorf("parsed is %+v, %v", u, err)
	}
	if same, err := u.Resolve(context.Background(), nil); same != u || err != nil {
		t.Errorf("a plain one resolves to %v, %v", same, err)
	}
}

func TestAConnectionStringThatCannotWorkIsRefusedWithoutItsSecrets(t *testing.T) {
	for _, uri := range []string{
		"",
		"localhost:27017",
		"http://u:s3cretword@a",
		"mongodb://",
		"mongodb://u:s3cretword@",
		"mongodb://u:s3cretword@a:0",
		"mongodb://u:s3cretword@a:port",
		"mongodb://u:s3cretword@a,:1",
		"mongodb://u:s3cretword@@a",
		"mongodb://u:s3cret@word@a",
		"mongodb://u:s3cret/word@a",
		"mongodb://u:s3cret:word@a",
		"mongodb://u:s3cret%zzword@a",
		"mongodb://u:s3cret?word@a?x",
		"mongodb://u:s3cretword@a/?w=-1&connectTimeoutMS=s3cretword",
		"mongodb://u:s3cretword@a?w=1",
		"mongodb://u:s3cretword@a/?readPreference=primery",
		"mongodb://u:s3cretword@a/?directConnection=true&loadBalanced=true",
		"mongodb://u:s3cretword@a/?loadBalanced=true",
		"mongodb://u:s3cretword@a,b/?directConnection=true",
		"mongodb://a/?tlsCertificateKeyFile=/nowhere&tlsCertificateKeyFilePassword=s3cretword",
		"mongodb://u:p@a/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:s3cretword&connectTimeoutMS=s3cretword",
		"mongodb+srv://",
		"mongodb+srv://u:s3cretword@",
		"mongodb+srv://u:s3cretword@db.example.test:27017",
		"mongodb+srv://u:s3cretword@a.example.test,b.example.test",
		"mongodb+srv://u:s3cret@word@db.example.test",
		"mongodb+srv://u:s3cret/word@db.example.test",
		"mongodb+srv://u:s3cret:word@db.example.test",
		"mongodb+srv://u:s3cretword@db.example.test?w=1",
		"mongodb+srv://u:s3cretword@db.example.test/?directConnection=true",
		"mongodb+srv://u:s3cretword@db.example.test/?srvMaxHosts=2&replicaSet=rs0",
		"mongodb+srv://u:s3cretword@db.example.test/?srvMaxHosts=s3cretword",
		"mongodb+srv://u:s3cretword@db.example.test/?srvServiceName=",
		"mongodb+srv://u:s3cretword@db.example.test/?loadBalanced=true",
	} {
		u, err := ParseURI(uri)
		var bad *URIError
		if !errors.As(err, &bad) || u != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		for i := 0; i+4 <= len("s3cretword"); i++ {
			if part := "s3cretword"[i : i+4]; strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q holds %q", uri, err, part)
			}
		}
	}
}

func TestOptionsThatTheDriverIgnoresAreRefusedByName(t *testing.T) {
	for options, want := range map[string]string{
		"readPrefrence=primary":               "readPrefrence",
		"w=1&tlsAllowInvalidCertificates=yes": "tlsAllowInvalidCertificates",
		"readConcernLevel=majorty":            "majority",
		"maxStalenessSeconds=90":              "readPreference=",
		"readPreferenceTags=dc:east":          "readPreference=",
	} {
		_, err := ParseURI("mongodb://u:p%3Fx=y@a,b/?replicaSet=rs0&" + options)
		var bad *URIError
		if !errors.As(err, &bad) || !strings.Contains(bad.Reason, want) {
			t.Errorf("%s: %v, want it to say %q", options, err, want)
		}
	}
	for _, options := range []string{
		"", "?", "?replicaSet=rs0", "?REPLICASET=rs0&wTimeoutMS=1&uuidRepresentation=standard", "?w=1;readConcernLevel=local",
		"?maxStalenessSeconds=90&readPreference=nearest",
	} {
		if _, err := ParseURI("mongodb://u:p@a/" + options); err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func FuzzNoErrorHoldsThePassword(f *testing.F) {
	f.Add("s3cretword", "mongodb://u:", "@a:port")
	f.Add("xy ab zz", "mongodb://u:", "@a/?connectTimeoutMS=xy ab zz")
	f.Add(`a"b"c"d`, "mongodb://u:", "@@a")
	f.Add("a/b@c:d?e", "mongodb+srv://u:", "@a.example.test")
	f.Add("%zz%%%1", "mongodb+srv://u:", "@a:1")
	f.Fuzz(func(t *testing.T, password, before, after string) {
		if !strings.HasPrefix(before, "mongodb") || !strings.Contains(before, "://") || !strings.Contains(before[strings.Index(before, "://")+3:], ":") || !strings.HasPrefix(after, "@") {
			return
		}
		_, err := ParseURI(before + password + after)
		if err == nil || len(password) < 4 {
			return
		}
		said := strings.TrimPrefix(err.Error(), (&URIError{}).Error())
		if strings.Contains(strings.ReplaceAll(said, hiddenWord, ""), password) {
			t.Errorf("%q: %q", before+password+after, err)
		}
	})
}

// zone is a name server.
type zone struct {
	srv      []*net.SRV
	txt      []string
	srvErr   error
	txtErr   error
	failures int // how often srvErr is given before there is an answer; below 0: always
	asked    []string
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	z.asked = append(z.asked, "_"+service+"._"+proto+"."+name)
	if z.srvErr != nil && z.failures != 0 {
		z.failures--
		return "", nil, z.srvErr
	}
	return name, z.srv, nil
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if z.txtErr != nil {
		return nil, z.txtErr
	}
	if z.txt == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return z.txt, nil
}

func at(targets ...string) (list []*net.SRV) {
	for i, target := range targets {
		list = append(list, &net.SRV{Target: target, Port: uint16(27017 + i)})
	}
	return list
}

func TestASeedlistBecomesAPlainConnectionString(t *testing.T) {
	u, err := ParseURI("mongodb+srv://player:s3%2Fcret@DB.example.test/game?retryReads=false")
	if err != nil {
		t.Fatal(err)
	}
	if u.SRV() != "db.example.test" || u.Hosts != nil || u.Options.Hosts != nil || u.Options.TLSConfig == nil {
		t.Errorf("parsed is %+v", u)
	}
	z := &zone{srv: at("a.example.test.", "B.example.test."), txt: []string{"replicaSet=rs0&authSource=users"}}
	plain, err := u.Resolve(context.Background(), z)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(plain.Hosts, []string{"a.example.test:27017", "b.example.test:27018"}) || plain.SetName != "rs0" || plain.SRV() != "" {
		t.Errorf("resolved is %+v", plain)
	}
	o := plain.Options
	if o.Auth.AuthSource != "users" || o.Auth.Password != "s3/cret" || o.TLSConfig == nil || *o.RetryReads {
		t.Errorf("the options are %+v, %+v", o, o.Auth)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if !slices.Equal(z.asked, []string{"_mongodb._tcp.db.example.test"}) {
		t.Errorf("asked for %v", z.asked)
	}
}

func TestASeedlistsOwnOptionsWinOverTheNameServers(t *testing.T) {
	u, err := ParseURI("mongodb+srv://u:p@db.example.test/?replicaSet=mine&authSource=own&tls=false&srvServiceName=other")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{srv: at("a.example.test"), txt: []string{"replicaSet=rs0&authSource=users"}}
	plain, err := u.Resolve(context.Background(), z)
	if err != nil {
		t.Fatal(err)
	}
	if plain.SetName != "mine" || plain.Options.Auth.AuthSource != "own" || plain.Options.TLSConfig != nil || z.asked[0] != "_other._tcp.db.example.test" {
		t.Errorf("resolved is %+v", plain)
	}
}

func TestSRVMaxHostsTakesThatMany(t *testing.T) {
	u, err := ParseURI("mongodb+srv://db.example.test/?srvMaxHosts=2")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{srv: at("a.example.test", "b.example.test", "c.example.test")}
	if plain, err := u.Resolve(context.Background(), z); err != nil || len(plain.Hosts) != 2 {
		t.Errorf("resolved is %+v, %v", plain, err)
	}
	z.txt = []string{"replicaSet=rs0"}
	if _, err := u.Resolve(context.Background(), z); err == nil {
		t.Error("some hosts of a set are taken for all")
	}
}

func TestANameServersAnswerIsHeldToTheRules(t *testing.T) {
	gone := errors.New("server misbehaving")
	for name, c := range map[string]struct {
		uri string
		z   zone
		ok  bool
	}{
		"no records":                   {"db.example.test", zone{}, false},
		"a host elsewhere":             {"db.example.test", zone{srv: at("a.example.test", "evil.test")}, false},
		"a domain that only ends so":   {"db.example.test", zone{srv: at("a.badexample.test")}, false},
		"the domain itself":            {"db.example.test", zone{srv: at("example.test")}, false},
		"a deeper host":                {"db.example.test", zone{srv: at("a.b.example.test")}, true},
		"a name of two labels":         {"example.test", zone{srv: at("a.example.test")}, true},
		"a name of two labels, itself": {"example.test", zone{srv: at("example.test")}, false},
		"a name of two, a sister":      {"example.test", zone{srv: at("other.test")}, false},
		"a name of one label":          {"local", zone{srv: at("a.local")}, true},
		"port 0":                       {"db.example.test", zone{srv: []*net.SRV{{Target: "a.example.test"}}}, false},
		"two TXT records":              {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"replicaSet=a", "authSource=b"}}, false},
		"a TXT record with more":       {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"tls=false"}}, false},
		"a TXT record of something":    {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"v=spf1"}}, false},
		"a TXT record cut off":         {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"replicaSet"}}, false},
		"an empty TXT record":          {"db.example.test", zone{srv: at("a.example.test"), txt: []string{""}}, true},
		"a load balancer":              {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"loadBalanced=true"}}, false},
		"no load balancer":             {"db.example.test", zone{srv: at("a.example.test"), txt: []string{"loadBalanced=false"}}, true},
		"SRV is not answered":          {"db.example.test", zone{srv: at("a.example.test"), srvErr: gone, failures: -1}, false},
		"TXT is not answered":          {"db.example.test", zone{srv: at("a.example.test"), txtErr: gone}, false},
	} {
		u, err := ParseURI("mongodb+srv://u:s3cretword@" + c.uri)
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.Resolve(context.Background(), &c.z)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: the password is in %q", name, err)
		}
	}
}

func TestANameServerThatIsDownIsAskedUntilItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := ParseURI("mongodb+srv://db.example.test")
		if err != nil {
			t.Fatal(err)
		}
		z := &zone{srv: at("a.example.test"), srvErr: errors.New("no route"), failures: 40}
		failed := 0
		start := time.Now()
		plain, err := u.Await(t.Context(), z, func(err error, next time.Duration) {
			failed++
			if err == nil || next <= 0 || next > lastBackoff+time.Millisecond {
				t.Errorf("failure %d is %v, the next try in %v", failed, err, next)
			}
		})
		if err != nil || len(plain.Hosts) != 1 || failed != 40 {
			t.Errorf("resolved is %+v, %v, after %d failures", plain, err, failed)
		}
		if took := time.Since(start); took < 10*time.Second || took > 40*lastBackoff {
			t.Errorf("40 tries took %v", took)
		}
	})
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := ParseURI("mongodb+srv://db.example.test")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := u.Await(ctx, &zone{srvErr: errors.New("no route"), failures: -1}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
	})
}

func TestWhatHasNoEffectIsSaidWithWhatHas(t *testing.T) {
	got := Unused("mongodb://u:p?timeoutMS=1@a/?retryWrites=true&w=majority&SocketTimeoutMS=500&retryReads=false&compressors=zstd;maxPoolSize=100&wtimeoutMS=5&slaveOk=true")
	want := []string{
		"the URI's SocketTimeoutMS is not used: Config.ReadTimeout and WriteTimeout are",
		"the URI's retryReads is not used: the router asks another host",
		"the URI's maxPoolSize is not used: the pools are as large as Config.PointWorkers, AfterWorkers, OtherWorkers and WriteLanes need",
		"the URI's wtimeoutMS is not used: Config.WriteTimeout and each write's deadline are",
		"the URI's slaveOk is not used: this driver does not know it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	for key := range unusedOptions {
		if name, _, _ := strings.Cut(key, "="); !slices.Contains(uriOptions, name) && !slices.Contains(foreignOptions, name) {
			t.Errorf("%s is no option of a connection string", name)
		}
	}
}
